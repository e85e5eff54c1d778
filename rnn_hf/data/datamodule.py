"""What the datamodules of all tasks share: the named data set, its splits, its tokenizer and the facts about them."""

import inspect
import sys
import textwrap
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Any

from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import PreTrainedTokenizerFast

from ..embeddings import find_word_vectors, words_of
from ..models.config_checks import Rule, boolean, integer, number, one_of, suggestion
from ..tokenization import build_tokenizer
from .batches import EncodedTexts
from .encoding import check_known
from .order import FromPosition
from .readers import EMPTY_TEXT, Rows
from .sources import SPLIT_NAMES, Source, about, load_source
from .splits import as_string, overlap
from .token_stream import TokenStream

COMMON_LABELS = 50  # of more labels, the commonest have examples
EXAMPLES = 2  # of a label


def shortened(text: str) -> str:
    """The words that begin a text, 100 characters of them at most, on one line."""
    return textwrap.shorten(text, 100, placeholder="")


class TextDataModule(LightningDataModule):
    """Construction reads nothing; rows, tokenizer and token ids are made at first use and kept.

    The tokenizer is trained on the training split only. Where the data set has no validation split, the share
    `validation_fraction` of the training rows becomes it, the same rows in every run. Where the rows come from, and
    how many held-out texts are training texts too, is printed once.

    Args:
        path: a file or folder that is read in place of what `dataset` names.
        splits: what holds train, validation or test where the names do not say so, such as {train: train_phrases} for a
            folder or {train: "train[:1000]"} for a Hub data set; null leaves a split out.
        test_fraction: share of the training rows held out as test split where there is none; 0 for no test split.
        remove_overlap: drop training rows whose text is a validation or test text (letters and digits compared).
        empty_text: keep or drop rows whose text is empty, or stop at the first with an error.
        num_workers: processes that make the training batches. They come out of memory: 0, this process, is fastest.

    Raises ValueError that lists every argument out of range, TypeError for an unknown one.
    """

    rules: dict[str, Rule]  # what each argument may be
    label_column: str | None = None
    row_kind = "text"  # see `readers.iter_rows`
    label_separator: str | None = None
    padding_side = "right"
    large_text = False  # whether texts may be `LargeTexts`
    least_overlap_words = 1  # shorter texts are no overlap between splits
    start = (0, 0)  # epoch and batch at which `train_dataloader` begins
    shared_rules = {
        "num_workers": integer(0),
        "test_fraction": number(0, 0.5),
        "remove_overlap": boolean,
        "empty_text": one_of(*EMPTY_TEXT),
    }

    def __init__(
        self,
        *,
        path: str | None = None,
        splits: dict[str, str | None] | None = None,
        test_fraction: float = 0.0,
        remove_overlap: bool = False,
        empty_text: str = "keep",
        num_workers: int = 0,
        **arguments: Any,
    ):
        super().__init__()
        own = list(inspect.signature(type(self).__init__).parameters)
        for name in arguments:
            if name not in own:
                allowed = [*own, *inspect.signature(TextDataModule.__init__).parameters]
                raise TypeError(f"{type(self).__name__} has no argument {name!r}{suggestion(name, allowed)}")
        arguments |= {
            "test_fraction": test_fraction,
            "remove_overlap": remove_overlap,
            "empty_text": empty_text,
            "num_workers": num_workers,
        }
        rules = self.rules | self.shared_rules
        problems = [f"{name} must be {p}" for name, rule in rules.items() if (p := rule(arguments[name]))]
        if problems:
            raise ValueError(f"{type(self).__name__}: " + "; ".join(problems))
        self.path, self.splits = path, splits
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

    def label_examples(self) -> dict[str, list[str]]:
        """Of each label (the `COMMON_LABELS` at most) what a card shows: training texts, shortened, or words."""
        return {}

    def sample_texts(self) -> list[str]:
        """Some held-out texts, shortened, for people to try the model on."""
        texts = islice(map(as_string, self.source.splits[list(self.source.splits)[-1]].texts), 100)
        return [text for text in dict.fromkeys(map(shortened, texts)) if text][:3]

    def training_batches(self) -> tuple[Dataset, Sampler]:
        """The training data, whose items are batches, and what gives the items of an epoch in their order."""
        raise NotImplementedError

    def evaluation_batches(self, split: str) -> DataLoader:
        """Every row or token of a split once."""
        raise NotImplementedError

    @cached_property
    def source(self) -> Source:
        """The rows of each split: train, validation and, where the data set has one, test."""
        source = load_source(
            self.dataset,
            self.text_column,
            self.label_column,
            row_kind=self.row_kind,
            label_separator=self.label_separator,
            path=self.path,
            splits=self.splits,
            empty_text=self.empty_text,
            large_text=self.large_text,
        )
        self._compare(source, [split for split in source.splits if split != "train"])
        held_out = {"test": self.test_fraction, "validation": self.validation_fraction}
        held_out = {split: share for split, share in held_out.items() if share and split not in source.splits}
        for split, share in held_out.items():
            train = source.splits["train"]
            stay, rows = self.split_validation(train, max(1, round(share * len(train))))
            if not (len(stay) and len(rows)):
                raise ValueError(f"{train.name} has too few rows to hold some out: give a folder with {split}.*")
            source.splits |= {"train": stay, split: rows}
            source.held_out[split] = share
        self._compare(source, list(held_out))
        source.splits = {split: source.splits[split] for split in SPLIT_NAMES if split in source.splits}
        for line in self._what_was_read(source):
            print(f"{self.dataset}: {line}", file=sys.stderr)
        return source

    def _compare(self, source: Source, splits: list[str]) -> None:
        """Counts the texts of `splits` that are training texts too, and drops those from training where asked to."""
        train = source.splits["train"]
        held_out = {split: source.splits[split] for split in splits}
        repeated, counts = overlap(train, held_out, self.least_overlap_words)
        if self.remove_overlap and repeated:
            if len(repeated) == len(train):
                raise ValueError(f"remove_overlap leaves no row of {train.name}: all are validation or test texts")
            source.overlap_removed += len(repeated)
            gone = set(repeated)
            source.splits["train"] = train.take(i for i in range(len(train)) if i not in gone)
            counts = dict.fromkeys(counts, 0)
        source.overlap |= counts

    def _what_was_read(self, source: Source) -> Iterator[str]:
        if source.place != self.dataset:
            yield f"from {source.place}"
        yield from source.notices
        if source.dropped:
            yield " and ".join(f"{n} {split}" for split, n in source.dropped.items()) + " rows dropped: no text"
        if source.overlap_removed:
            yield f"{source.overlap_removed} training rows removed: their texts are validation or test texts"
        if counts := [f"{n} of {len(source.splits[split])} {split}" for split, n in source.overlap.items() if n]:
            yield f"{' and '.join(counts)} texts are training texts too; remove_overlap removes them from training"

    @cached_property
    def md5s(self) -> dict[str, str]:
        """`Source.md5s`, which reads every file, once."""
        return self.source.md5s()

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer that the argument of that name describes; if it is trained, then on the training texts.

        Of a word tokenizer `extra_words` names a file of word vectors, whose words are read.
        """
        spec = self.tokenizer_spec
        if isinstance(spec, dict) and isinstance(spec.get("extra_words"), str):
            spec = spec | {"extra_words": words_of(find_word_vectors(spec["extra_words"]))}
        return build_tokenizer(spec, map(as_string, self.source.splits["train"].texts), self.padding_side)

    @cached_property
    def encoded(self) -> dict[str, TokenStream | EncodedTexts]:
        """Each split as token ids."""
        encoded = {split: self.encode_split(split) for split in self.source.splits}
        for split, rows in self.source.splits.items():
            check_known(encoded[split], rows.name)
        return encoded

    def train_dataloader(self) -> DataLoader:
        """The epoch's batches in its order; after a checkpoint was loaded, the first epoch from there on."""
        data, sampler = self.training_batches()
        return DataLoader(
            data, batch_size=None, sampler=FromPosition(sampler, *self.start), num_workers=self.num_workers
        )

    def state_dict(self) -> dict[str, int]:
        """The place in the training data: epoch, and batches of it that were trained on."""
        loop = self.trainer.fit_loop
        return {
            "epoch": loop.epoch_progress.current.processed,
            "batches": loop.epoch_loop.batch_progress.current.ready,
        }

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Makes `train_dataloader` begin at that place."""
        self.start = (state_dict["epoch"], state_dict["batches"])

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
            "place": "local files" if self.source.is_local else self.source.place,
            "files": self.md5s,
            "splits": {split: self.split_facts(split) for split in splits},
            "baselines": self.baselines(),
            "train_texts_removed_as_held_out": self.source.overlap_removed,
            "held_out_texts_also_in_train": self.source.overlap,
            "least_overlap_words": self.least_overlap_words,
            "held_out": self.source.held_out,
            "empty_texts_dropped": self.source.dropped,
            "about": about(self.dataset, self.source.place),
            "label_examples": self.label_examples(),
            "sample_texts": self.sample_texts(),
            "tokenizer": self.tokenizer_spec,
            "vocabulary_size": len(self.tokenizer),
        }
