"""Train a text classifier, from scratch or from a pretrained encoder (a language model's folder)."""

from typing import Any

import torch
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from ..models.config_checks import one_of, require
from .classification_metrics import EVALUATIONS, ClassificationEvaluation
from .module import LEAST_SCORED, TextModule
from .regularisation import leads, wide

LOWER_IS_BETTER = ("loss", "calibration_error")


class ClassificationModule(TextModule):
    """A classifier on batches `input_ids`, `attention_mask` `[batch, time]` and `labels`.

    The labels are ids `[batch]`, or with several labels a row `[batch, num_labels]` of 0 and 1. Losses are mean nats
    per row: cross-entropy, or the binary cross-entropy of each label, averaged over the labels.

    Args:
        tokenizer: Decides the vocabulary size and the special tokens.
        id2label: Names of the labels.
        config: Fields of the model's configuration; with `pretrained`, changes to it.
        pretrained: Folder or Hub id of a classifier to go on from, or of a language model whose encoder to start from.
        problem_type: `single_label_classification` or `multi_label_classification`.
        label_weights: Weight of each label in the training loss alone, in the order of `id2label`: of the rows that
            have it. A batch's single-label loss is divided by the sum of its rows' weights.
        monitor: What decides which weights are best, a name of the evaluation's numbers (`classification_metrics`).
            Default: `accuracy`, or `f1_micro` with several labels.
        optimization: See `TextModule`.

    Raises:
        ValueError: as `TextModule` and `build_model`; an unknown `problem_type` or `monitor`.
    """

    auto_class = AutoModelForSequenceClassification
    monitor = ("validation/accuracy", "max")
    Evaluation = ClassificationEvaluation

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        id2label: dict[int, str],
        config: dict[str, Any] | None = None,
        pretrained: str | None = None,
        problem_type: str = "single_label_classification",
        label_weights: list[float] | None = None,
        monitor: str | None = None,
        **optimization,
    ):
        super().__init__(**optimization)
        require(one_of(*EVALUATIONS), problem_type=problem_type)
        self.Evaluation = EVALUATIONS[problem_type]
        usual = self.Evaluation.monitor
        allowed = [name for name in self.Evaluation.names if name != "rows"]
        require(one_of(*allowed), **{"model.monitor": monitor or usual})
        self.monitor = (f"validation/{monitor or usual}", "min" if monitor in LOWER_IS_BETTER else "max")
        self.model = self.build_model(
            tokenizer,
            config,
            pretrained,
            id2label=id2label,
            label2id={label: i for i, label in id2label.items()},
            problem_type=problem_type,
        )
        weights = None if label_weights is None else torch.tensor(label_weights, dtype=torch.float32)
        self.register_buffer("label_weights", weights, persistent=False)  # the data's, not the checkpoint's

    def training_step(self, batch, batch_idx):
        output = self.model(**self.read(batch))
        loss, labels = output.loss, batch["labels"]
        if self.label_weights is not None:
            logits = wide(output.logits)
            weights = self.label_weights.to(logits.dtype)
            if labels.ndim == 1:  # a weight may be 0, and a batch may have only such rows
                total = self.scored(batch).clamp(min=LEAST_SCORED)
                loss = F.cross_entropy(logits, labels, weights, reduction="sum") / total
            else:
                loss = F.binary_cross_entropy_with_logits(logits, labels, pos_weight=weights)
        if self.logs_now:
            self.log("train/loss", self.whole_batch_mean(loss.detach(), self.scored(batch)), prog_bar=True)
            answers = output.logits.detach().argmax(-1) if labels.ndim == 1 else (output.logits.detach() > 0).float()
            right = answers == labels if labels.ndim == 1 else (answers == labels).all(-1)
            share_right = self.whole_batch_mean(right.float().mean(), len(labels))
            self.log(f"train/{self.Evaluation.names[1]}", share_right, prog_bar=True)
        return self.training_loss(loss, output, batch)

    def smoothing(self, plain, output, batch):
        logits, labels = output.logits, batch["labels"]
        if labels.ndim == 1:  # each row with the weight of its label
            rows = self.scored_of_rows(batch)
            return (leads(logits, labels) * rows).sum() / rows.sum().clamp(min=LEAST_SCORED)
        logits = wide(logits)
        weights = None if self.label_weights is None else self.label_weights.to(logits.dtype)
        undecided = torch.full_like(logits, 0.5)
        return F.binary_cross_entropy_with_logits(logits, undecided, pos_weight=weights) - plain

    def scored_of_rows(self, batch) -> torch.Tensor:
        if self.label_weights is None or batch["labels"].ndim == 2:
            return super().scored_of_rows(batch)
        return wide(self.label_weights[batch["labels"]])
