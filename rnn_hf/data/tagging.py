"""Tagging data: sentences of words, each with a tag, in padded batches of about one length.

Notable: tags are inferred from the training split; where they mark spans they are brought to IOB2 (`tag_schemes`),
which keeps the spans. The order of training batches is a function of seed and epoch alone.
"""

from collections import Counter
from functools import cached_property
from typing import Any

from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerFast
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from ..models.config_checks import integer, number
from .batches import LengthBucketSampler, length_sorted, own_share
from .datamodule import COMMON_LABELS, TextDataModule, shortened
from .labels import numbered
from .readers import Rows
from .sentences import TaggedSentences, rows_to_iob2, tag_ids
from .sources import Source
from .splits import hold_out
from .tag_schemes import find_scheme

WORDS_A_TAG = 5  # examples of it


class TaggingDataModule(TextDataModule):
    """Batches of `input_ids`, `attention_mask` and `labels`, int64 `[batch, time]` (`sentences.TaggedSentences`).

    Args:
        dataset: a file, a folder with train.*, validation.*, test.*, a Hub id or a short name (see `sources`). Files
            are json, jsonl or parquet, with a list of words and one of tags a row, or CoNLL (`conll`).
        text_column: the column of the words.
        label_column: the column of the tags, strings or integers. In CoNLL files "tags" is the universal part of speech
            (.conllu) or the last column.
        tokenizer: what `tokenization.build_tokenizer` takes; None is "word". It is trained on the words joined by
            spaces, and may cut a word into pieces.
        batch_size: sentences in a batch.
        validation_fraction: share of the training sentences held out where there is no validation split.
        seed: of the order of the training batches.
        reading: `path`, `splits`, `test_fraction`, `remove_overlap`, as in `TextDataModule`.

    Raises ValueError that lists every argument out of range.
    """

    row_kind = "tokens"
    rules = {
        "batch_size": integer(1),
        "validation_fraction": number(0.001, 0.5),
        "seed": integer(0, 2**31 - 1),
    }

    def __init__(
        self,
        dataset: str,
        text_column: str = "tokens",
        label_column: str = "tags",
        tokenizer: str | dict[str, Any] | None = None,
        batch_size: int = 32,
        validation_fraction: float = 0.1,
        seed: int = 0,
        **reading: Any,
    ):
        super().__init__(
            dataset=dataset,
            text_column=text_column,
            label_column=label_column,
            tokenizer=tokenizer,
            batch_size=batch_size,
            validation_fraction=validation_fraction,
            seed=seed,
            **reading,
        )

    @cached_property
    def source(self) -> Source:
        """As in `TextDataModule`, with tags that mark spans as IOB2."""
        source = super().source
        self.scheme = find_scheme(source.splits["train"].labels)
        self.changed_tags = {}
        if self.scheme is not None:
            for split, rows in source.splits.items():
                self.changed_tags[split] = rows_to_iob2(rows)
        return source

    @cached_property
    def id2label(self) -> dict[int, str]:
        """The tags of the training split, sorted; of spans each B- with its I-. ValueError if there is only one."""
        rows = self.source.splits["train"]
        tags = {tag for sentence in rows.labels for tag in sentence}
        if len(tags) < 2:
            raise ValueError(f"{rows.name} must have at least 2 tags; all its words have {next(iter(tags))!r}")
        if self.scheme is not None:
            tags |= {f"I{tag[1:]}" for tag in tags if tag[0] == "B"}
        return numbered(tags)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """As in `TextDataModule`, trained on the words joined by spaces, and without a `model_max_length`."""
        tokenizer = super().tokenizer
        tokenizer.model_max_length = VERY_LARGE_INTEGER
        return tokenizer

    def split_validation(self, train: Rows, count: int) -> tuple[Rows, Rows]:
        """Sentences from everywhere."""
        return hold_out(train, count)

    def encode_split(self, split: str) -> TaggedSentences:
        """A split as token ids and tag ids; ValueError for a tag that the training split lacks."""
        rows = self.source.splits[split]
        label2id = {label: number for number, label in self.id2label.items()}
        return TaggedSentences(rows.texts, self.tokenizer, tag_ids(rows, label2id))

    def training_batches(self) -> tuple[Dataset, LengthBucketSampler]:
        """Every sentence once an epoch, in the epoch's order (`LengthBucketSampler.set_epoch`).

        Of several processes each takes its `Share` of every batch: `batch_size` is what all of them have together.
        """
        sentences = self.encoded["train"]
        return own_share(sentences), LengthBucketSampler(sentences.lengths, self.batch_size, self.seed)

    def evaluation_batches(self, split: str) -> DataLoader:
        """Every sentence of a split once, longest first."""
        return length_sorted(self.encoded[split], self.batch_size)

    def baselines(self) -> dict[str, float]:
        """Accuracy of each word's most frequent tag in training; of the most frequent tag of all for unseen words."""
        train = self.source.splits["train"]
        counts: dict[str, Counter] = {}
        for words, tags in zip(train.texts, train.labels, strict=True):
            for word, tag in zip(words, tags, strict=True):
                counts.setdefault(word, Counter())[tag] += 1
        usual = {word: max(sorted(tags), key=tags.get) for word, tags in counts.items()}
        total = sum(counts.values(), Counter())
        most = max(sorted(total), key=total.get)
        accuracies = {}
        for split, rows in self.source.splits.items():
            if split != "train":
                right = [
                    usual.get(word, most) == tag
                    for words, tags in zip(rows.texts, rows.labels, strict=True)
                    for word, tag in zip(words, tags, strict=True)
                ]
                accuracies[f"{split}/most_frequent_tag_accuracy"] = sum(right) / len(right)
        return accuracies

    def label_examples(self) -> dict[str, list[str]]:
        """The words that have each tag most often in training."""
        rows = self.source.splits["train"]
        words: dict[str, Counter] = {}
        for sentence, tags in zip(rows.texts, rows.labels, strict=True):
            for word, tag in zip(sentence, tags, strict=True):
                words.setdefault(tag, Counter())[shortened(word)] += 1
        common = sorted(words, key=lambda tag: -words[tag].total())[:COMMON_LABELS]
        return {tag: [word for word, _ in words[tag].most_common(WORDS_A_TAG)] for tag in common}

    def split_facts(self, split: str) -> dict[str, Any]:
        """Sentences, words, words of each tag, and what the tokenizer makes of the words."""
        sentences, rows = self.encoded[split], self.source.splits[split]
        facts = {
            "sentences": len(rows),
            "words": sentences.num_words,
            "tags": dict(sorted(Counter(tag for tags in rows.labels for tag in tags).items())),
            "tokens": sentences.num_text_tokens,
            "unknown_share": sentences.num_unknown / sentences.num_text_tokens,
        }
        return facts | ({"tags_changed_to_iob2": self.changed_tags[split]} if self.scheme else {})

    def facts(self) -> dict[str, Any]:
        """As in `TextDataModule`, with the scheme in which the files mark spans, None where tags mark none."""
        return super().facts() | {"tag_scheme": self.scheme}

    def summary(self) -> list[str]:
        """Sentences, words and tags of each split."""
        kind = "tags of single words" if self.scheme is None else f"spans, {self.scheme} in the files"
        lines = [f"{len(self.id2label)} tags: {kind}"]
        for split, rows in self.source.splits.items():
            encoded = self.encoded[split]
            lines.append(
                f"{split}: {len(rows):,} sentences, {encoded.num_words:,} words, "
                f"{encoded.num_unknown / encoded.num_text_tokens:.1%} of {encoded.num_text_tokens:,} tokens unknown"
            )
            if self.scheme == "IOB2" and self.changed_tags[split]:
                lines.append(f"{split}: {self.changed_tags[split]} I- tags that continue no span are read as B-")
        return lines
