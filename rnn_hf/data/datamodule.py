"""What the datamodules of all tasks share: the named data set, its splits, its tokenizer and the facts about them."""

from functools import cached_property
from typing import Any

from lightning import LightningDataModule
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

from ..models.config_checks import Rule
from ..tokenization import build_tokenizer
from .batches import EncodedTexts, TokenStream, check_known
from .readers import Rows
from .sources import Source, load_source, md5
from .splits import overlap


class TextDataModule(LightningDataModule):
    """Construction reads nothing; rows, tokenizer and token ids are made at first use and kept.

    The tokenizer is trained on the training split only. Where the data set has no validation split, the share
    `validation_fraction` of the training rows becomes it, the same rows in every run.
    """

    rules: dict[str, Rule]  # what each argument may be
    label_column: str | None = None
    label_separator: str | None = None
    row_kind = "text"  # one of `readers.ROW_KINDS`
    padding_side = "right"

    def __init__(self, **arguments: Any):
        super().__init__()
        problems = [f"{name} must be {p}" for name, rule in self.rules.items() if (p := rule(arguments[name]))]
        if problems:
            raise ValueError(f"{type(self).__name__}: " + "; ".join(problems))
        self.tokenizer_spec = arguments.pop("tokenizer") or "word"
        for name, value in arguments.items():
            setattr(self, name, value)

    @property
    def has_test(self) -> bool:
        """Whether the data set has a test split."""
        return "test" in self.source.splits

    def split_validation(self, train: Rows, count: int) -> tuple[Rows, Rows]:
        """(training rows, about `count` validation rows) of a data set without validation split."""
        raise NotImplementedError

    def encode_split(self, split: str) -> TokenStream | EncodedTexts:
        """A split as token ids."""
        raise NotImplementedError

    def split_facts(self, split: str) -> dict[str, Any]:
        """Counts of a split."""
        raise NotImplementedError

    def summary(self) -> list[str]:
        """What a run says about its data before it trains, in lines."""
        return []

    def baselines(self) -> dict[str, float]:
        """What the simplest system fitted on the training split reaches on validation and test, by metric name."""
        raise NotImplementedError

    def evaluation_batches(self, split: str) -> DataLoader:
        """Every row or token of a split once."""
        raise NotImplementedError

    @cached_property
    def source(self) -> Source:
        """The rows of each split: train, validation and, where the data set has one, test."""
        columns = (self.text_column, self.label_column)
        source = load_source(self.dataset, *columns, self.row_kind, self.label_separator)
        train = source.splits["train"]
        if "validation" not in source.splits:
            train, validation = self.split_validation(train, max(1, round(self.validation_fraction * len(train))))
            if not (len(train) and len(validation)):
                raise ValueError(f"{train.name} has too few rows to hold some out: give a folder with validation.*")
            source.splits = {"train": train, "validation": validation} | source.splits | {"train": train}
        return source

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer that the argument of that name describes; if it is trained, then on the training texts."""
        return build_tokenizer(self.tokenizer_spec, self.source.splits["train"].texts, self.padding_side)

    @cached_property
    def encoded(self) -> dict[str, TokenStream | EncodedTexts]:
        """Each split as token ids."""
        encoded = {split: self.encode_split(split) for split in self.source.splits}
        for split, rows in self.source.splits.items():
            check_known(encoded[split], rows.name)
        return encoded

    def val_dataloader(self) -> DataLoader:
        """Every row or token of the validation split once."""
        return self.evaluation_batches("validation")

    def test_dataloader(self) -> DataLoader:
        """Every row or token of the test split once; ValueError where the data set has none."""
        if not self.has_test:
            raise ValueError(f"{self.dataset!r} has no test split; its splits: {', '.join(self.source.splits)}")
        return self.evaluation_batches("test")

    def facts(self) -> dict[str, Any]:
        """What a run's numbers rest on, for `metrics.json`: files with md5, and counts of each split."""
        splits = self.source.splits
        return {
            "dataset": self.dataset,
            "files": {file.name: md5(file) for file in self.source.files},
            "splits": {split: self.split_facts(split) for split in splits},
            "baselines": self.baselines(),
            "train_texts_removed_as_held_out": self.source.overlap_removed,
            "train_texts_equal_to_held_out": len(overlap(splits["train"], [splits[s] for s in splits if s != "train"])),
            "tokenizer": self.tokenizer_spec,
            "vocabulary_size": len(self.tokenizer),
        }
