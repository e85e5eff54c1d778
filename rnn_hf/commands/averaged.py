"""The mean of several classifiers' probabilities: of one that reads forward and one that reads backward, as in ULMFiT
(Howard & Ruder 2018), or of different families. Each reads a text by its own tokenizer.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.modeling_outputs import SequenceClassifierOutput

from ..data.batches import EncodedTexts, labelled_batches
from ..data.sources import DataSet
from ..training.classification_metrics import EVALUATIONS
from .common import open_model

TEXTS_A_BATCH = 64
TOKENS_A_BATCH = 2**16  # so that of very long texts few are read at once


def add_average(parser) -> None:
    """`--average`."""
    parser.add_argument(
        "--average",
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="other classifiers of the same labels, one that reads backward for example: the mean of all their "
        "probabilities",
    )


class Classifiers:
    """Classifiers of the same labels, the first of which gives the labels their order.

    Args:
        models: name -> model and its tokenizer, of the one that the others join.
        others: names of those, as `common.open_model` takes them.

    Raises:
        ValueError: a name that comes twice, other labels, one label a text with several, or no classifier.
        FileNotFoundError: neither here nor on the Hub.
    """

    def __init__(self, models: dict[str, tuple[Any, Any]], others: Sequence[str] = ()):
        ((name, (first, _)),) = models.items()
        self.models = dict(models)
        self.problem = problem_of(first)
        self.labels = [first.config.id2label[i] for i in range(first.config.num_labels)]
        for other in others:
            if other in self.models:
                raise ValueError(f"--average takes other models than {name!r}, each once; got {other!r} twice")
            self.models[other] = model, _ = open_model(other, "ForSequenceClassification")
            if problem_of(model) != self.problem:
                raise ValueError(
                    f"--average takes models of one kind of answer: {name!r} is for {self.problem}, {other!r} for "
                    f"{problem_of(model)}"
                )
            differences = set(self.labels) ^ set(model.config.label2id)
            if differences:
                raise ValueError(
                    f"--average takes models of the same labels: {', '.join(sorted(map(repr, differences)))} "
                    f"not in both of {name!r} and {other!r}"
                )

    @property
    def several(self) -> bool:
        """Whether a text may have several labels."""
        return self.problem == "multi_label_classification"

    def logits(self, texts: Sequence[EncodedTexts]) -> Tensor:
        """Of each model, float32 `[models, texts, labels]`; `texts`: as each of them reads them."""
        found = []
        for (model, _), encoded in zip(self.models.values(), texts, strict=True):
            order = [model.config.label2id[label] for label in self.labels]
            found.append(text_logits(model, encoded)[:, order])
        return torch.stack(found)

    def probabilities(self, texts: Sequence[EncodedTexts]) -> Tensor:
        """The mean over the models, float32 `[texts, labels]`; they sum to 1 unless a text may have several labels."""
        mean = mean_logits(self.logits(texts), self.several)
        return mean.sigmoid() if self.several else mean.softmax(-1)

    def figures(self, data: DataSet, columns: dict[str, Any]) -> dict[str, Any]:
        """`models`: the metrics of each by itself, by name; `mean`: those of the mean of their probabilities.

        `columns`: of `data.batches.labelled_batches`.
        """
        label2id = {label: i for i, label in enumerate(self.labels)}
        tokenizers = [tokenizer for _, tokenizer in self.models.values()]
        texts = [labelled_batches(data, tokenizer, label2id, **columns).dataset for tokenizer in tokenizers]
        logits, labels = self.logits(texts), texts[0].labels
        alone = dict(zip(self.models, (self._metrics(one, labels) for one in logits), strict=True))
        return {"models": alone, "mean": self._metrics(mean_logits(logits, self.several), labels)}

    def _metrics(self, logits: Tensor, labels: Tensor) -> dict[str, float | int]:
        evaluation = EVALUATIONS[self.problem]()
        labels = labels.float() if self.several else labels
        loss = (F.binary_cross_entropy_with_logits if self.several else F.cross_entropy)(logits, labels)
        evaluation.update(lambda **batch: SequenceClassifierOutput(loss=loss, logits=logits), {"labels": labels})
        return evaluation.compute()


def problem_of(model) -> str:
    """A key of `EVALUATIONS`."""
    return model.config.problem_type or "single_label_classification"


def text_logits(model, texts: EncodedTexts) -> Tensor:
    """float32 `[texts, labels]`; texts of about one length are read together."""
    order = texts.lengths.argsort(stable=True, descending=True)
    found = torch.empty(len(texts), model.config.num_labels)
    start = 0
    while start < len(order):
        size = max(1, min(TEXTS_A_BATCH, TOKENS_A_BATCH // int(texts.lengths[order[start]])))
        rows = order[start : start + size]
        batch = texts[rows]
        batch.pop("labels", None)
        with torch.inference_mode():
            found[rows] = model(**batch).logits.float()
        start += size
    return found


def mean_logits(logits: Tensor, several: bool) -> Tensor:
    """Logits (texts, labels) whose probabilities are the mean of those of logits (models, texts, labels).

    In logarithms: a probability that is 0 in float32 still has one, and a finite loss.
    """
    if len(logits) == 1:
        return logits[0]
    if several:
        return F.logsigmoid(logits).logsumexp(0) - F.logsigmoid(-logits).logsumexp(0)
    return logits.log_softmax(-1).logsumexp(0)
