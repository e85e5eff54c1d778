"""Train a text classifier, from scratch or from a pretrained encoder (a language model's folder)."""

from typing import Any

from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from .metrics import ClassificationEvaluation
from .module import TextModule
from .pretrained import build_model


class ClassificationModule(TextModule):
    """A single-label classifier on batches `input_ids`, `attention_mask` `[batch, time]`, `labels` `[batch]`.

    Losses are mean nats per row; accuracy is the share of rows whose likeliest label is right.

    Args:
        tokenizer: Decides the vocabulary size and the special tokens.
        id2label: Names of the labels.
        config: Fields of the model's configuration; with `pretrained`, changes to it.
        pretrained: Folder or Hub id of a classifier to go on from, or of a language model whose encoder to start from.
        optimization: See `TextModule`.
    """

    monitor = ("validation/accuracy", "max")
    Evaluation = ClassificationEvaluation

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        id2label: dict[int, str],
        config: dict[str, Any] | None = None,
        pretrained: str | None = None,
        **optimization,
    ):
        super().__init__(**optimization)
        self.model = build_model(
            AutoModelForSequenceClassification,
            tokenizer,
            config,
            pretrained,
            id2label=id2label,
            label2id={label: i for i, label in id2label.items()},
            problem_type="single_label_classification",
        )

    def training_step(self, batch, batch_idx):
        output = self.model(**batch)
        if self.logs_now:
            self.log("train/loss", output.loss.detach(), prog_bar=True)
            right = output.logits.detach().argmax(-1) == batch["labels"]
            self.log("train/accuracy", right.float().mean(), prog_bar=True)
        return output.loss
