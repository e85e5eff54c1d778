"""Train a tagger: a label for each word, from scratch, with pre-trained word vectors or from a pretrained encoder."""

from typing import Any

from transformers import AutoModelForTokenClassification, PreTrainedTokenizerBase

from .metrics import IGNORED
from .module import TextModule
from .regularisation import leads
from .tagging_metrics import evaluation_of


class TaggingModule(TextModule):
    """A tagger on batches `input_ids`, `attention_mask` and `labels` `[batch, time]`.

    Losses are mean nats per word: per label other than -100. Best are the weights of the highest validation F1 of spans
    where the tags mark spans (B-TYPE, I-TYPE, O), otherwise of the highest accuracy.

    Args:
        tokenizer: Decides the vocabulary size and the special tokens.
        id2label: Names of the tags.
        config: Fields of the model's configuration; with `pretrained`, changes to it.
        pretrained: Folder or Hub id of a tagger to go on from, or of a model whose encoder to start from.
        optimization: See `TextModule`.
    """

    auto_class = AutoModelForTokenClassification

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        id2label: dict[int, str],
        config: dict[str, Any] | None = None,
        pretrained: str | None = None,
        **optimization,
    ):
        super().__init__(**optimization)
        self.Evaluation = evaluation_of(id2label.values())
        self.monitor = (f"validation/{self.Evaluation.monitor}", "max")
        self.model = self.build_model(
            tokenizer,
            config,
            pretrained,
            id2label=id2label,
            label2id={label: i for i, label in id2label.items()},
        )

    def training_step(self, batch, batch_idx):
        output = self.model(**self.read(batch))
        if self.logs_now:
            words = self.scored(batch)
            self.log("train/loss", self.whole_batch_mean(output.loss.detach(), words), prog_bar=True)
            word = batch["labels"] != IGNORED
            right = output.logits.detach().argmax(-1)[word] == batch["labels"][word]
            self.log("train/accuracy", self.whole_batch_mean(right.float().mean(), words), prog_bar=True)
        return self.training_loss(output.loss, output, batch)

    def smoothing(self, plain, output, batch):
        labels = batch["labels"]
        return leads(output.logits, labels).sum() / (labels != IGNORED).sum()
