"""Classification data: labelled texts in padded batches of about one length.

Notable: labels are inferred from the training split and sorted (integers by value); the order of training batches is a
function of seed and epoch alone.
"""

from collections import Counter
from functools import cached_property
from typing import Any

from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

from ..models.config_checks import integer, number
from .batches import EncodedTexts, LengthBucketSampler, label_ids, length_sorted
from .datamodule import TextDataModule
from .readers import Rows
from .splits import hold_out


class ClassificationDataModule(TextDataModule):
    """Batches of `input_ids`, `attention_mask` `[batch, time]` and `labels` `[batch]`, int64 (`batches.EncodedTexts`).

    Args:
        dataset: movie_reviews, rotten_tomatoes, a file, or a folder with train.*, validation.*, test.*.
        text_column: the column of the text.
        label_column: the column of the label, a string or an integer.
        tokenizer: what `tokenization.build_tokenizer` takes; None is "word".
        batch_size: texts in a batch.
        max_length: only the first so many tokens of a text are read. Kept as the tokenizer's `model_max_length`, so
            prediction cuts texts too. None: the tokenizer's own.
        validation_fraction: share of the training rows, stratified, held out where there is no validation split.
        seed: of the order of the training batches.

    Raises ValueError that lists every argument out of range.
    """

    rules = {
        "batch_size": integer(1),
        "max_length": integer(1, 2**31 - 1, optional=True),
        "validation_fraction": number(0.001, 0.5),
        "seed": integer(0, 2**31 - 1),
    }

    def __init__(
        self,
        dataset: str,
        text_column: str = "text",
        label_column: str = "label",
        tokenizer: str | dict[str, Any] | None = None,
        batch_size: int = 32,
        max_length: int | None = None,
        validation_fraction: float = 0.1,
        seed: int = 0,
    ):
        super().__init__(
            dataset=dataset,
            text_column=text_column,
            label_column=label_column,
            tokenizer=tokenizer,
            batch_size=batch_size,
            max_length=max_length,
            validation_fraction=validation_fraction,
            seed=seed,
        )

    @cached_property
    def id2label(self) -> dict[int, str]:
        """The labels of the training split; ValueError if there is only one."""
        rows = self.source.splits["train"]
        labels = set(rows.labels)
        if len(labels) < 2:
            raise ValueError(f"{rows.name} must have at least 2 labels; all {len(rows)} rows have {rows.labels[0]!r}")
        try:
            return dict(enumerate(sorted(labels, key=int)))
        except ValueError:
            return dict(enumerate(sorted(labels)))

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """As in `TextDataModule`, with `max_length` as its `model_max_length`."""
        tokenizer = super().tokenizer
        if self.max_length is not None:
            tokenizer.model_max_length = self.max_length
        return tokenizer

    def split_validation(self, train: Rows, count: int) -> tuple[Rows, Rows]:
        """Each label in its share."""
        return hold_out(train, count)

    def encode_split(self, split: str) -> EncodedTexts:
        """A split as token ids and label ids; ValueError for a label that the training split lacks."""
        rows = self.source.splits[split]
        label2id = {label: number for number, label in self.id2label.items()}
        return EncodedTexts(rows.texts, self.tokenizer, label_ids(rows, label2id))

    def train_dataloader(self) -> DataLoader:
        """Every row once an epoch, in the epoch's order (`LengthBucketSampler.set_epoch`)."""
        texts = self.encoded["train"]
        sampler = LengthBucketSampler(texts.lengths, self.batch_size, self.seed)
        return DataLoader(texts, batch_size=None, sampler=sampler)

    def evaluation_batches(self, split: str) -> DataLoader:
        """Every row of a split once, longest first."""
        return length_sorted(self.encoded[split], self.batch_size)

    def baselines(self) -> dict[str, float]:
        """Accuracy of always answering the label that is most frequent in training."""
        majority = int(self.encoded["train"].labels.bincount().argmax())
        held_out = {split: self.encoded[split].labels for split in self.encoded if split != "train"}
        return {
            f"{split}/majority_accuracy": (labels == majority).double().mean().item()
            for split, labels in held_out.items()
        }

    def split_facts(self, split: str) -> dict[str, Any]:
        """Rows, rows a label, tokens read and unknown, and the texts that are cut, empty or without a known word."""
        texts = self.encoded[split]
        return {
            "rows": len(texts),
            "labels": dict(sorted(Counter(self.source.splits[split].labels).items())),
            "tokens": texts.num_text_tokens,
            "unknown_share": texts.num_unknown / max(1, texts.num_text_tokens),
            "truncated_share": texts.num_truncated / len(texts),
            "empty_texts": texts.num_empty,
            "texts_without_known_word": int(texts.without_known.sum()),
        }
