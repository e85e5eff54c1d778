"""Classification data: labelled texts in padded batches of about one length.

Notable: labels are inferred from the training split and sorted (integers by value); the order of training batches is a
function of seed and epoch alone.
"""

from collections import Counter
from functools import cached_property
from typing import Any

from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerFast

from ..models.config_checks import boolean, integer, number, one_of
from .batches import EncodedTexts, LengthBucketSampler, length_sorted, own_share
from .datamodule import COMMON_LABELS, EXAMPLES, TextDataModule, shortened
from .labels import check_class_weights, class_weights, label_names, label_tensor, rarest_labels
from .readers import Rows
from .splits import hold_out


def _separator(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return None
    return f"a string that is not empty, or None; got {value!r}"


class ClassificationDataModule(TextDataModule):
    """Batches of `input_ids`, `attention_mask` `[batch, time]` and `labels` (`batches.EncodedTexts`).

    Args:
        dataset: a file, a folder with train.*, validation.*, test.*, a Hub id or a short name (see `sources`).
        text_column: the column of the text.
        label_column: the column of the label, a string or an integer; with `multi_label`, of the labels.
        multi_label: a row has any number of labels, or none: a list of them (json, parquet), or with `label_separator`
            a string.
        label_separator: what stands between the labels of a string, such as ";" in "a;b". Makes the set multi-label.
        class_weights: "balanced", or label -> weight (1 for a label left out), of each row in the training loss
            (`labels.class_weights`). Validation and test losses stay unweighted.
        sampling: "shuffled" trains on every row once an epoch; "balanced" draws all labels equally often
            (`batches.LengthBucketSampler`).
        tokenizer: what `tokenization.build_tokenizer` takes; None is "word".
        batch_size: texts in a batch.
        max_length: only the first so many tokens of a text are read. Kept as the tokenizer's `model_max_length`, so
            prediction cuts texts too. None: the tokenizer's own.
        validation_fraction: share of the training rows, stratified, held out where there is no validation split.
        seed: of the order of the training batches.
        reading: `path`, `splits`, `test_fraction`, `remove_overlap`, `empty_text`, as in `TextDataModule`.

    Raises ValueError that lists every argument out of range.
    """

    rules = {
        "multi_label": boolean,
        "label_separator": _separator,
        "class_weights": check_class_weights,
        "sampling": one_of("shuffled", "balanced"),
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
        multi_label: bool = False,
        label_separator: str | None = None,
        class_weights: str | dict[str | int, float] | None = None,
        sampling: str = "shuffled",
        tokenizer: str | dict[str, Any] | None = None,
        batch_size: int = 32,
        max_length: int | None = None,
        validation_fraction: float = 0.1,
        seed: int = 0,
        **reading: Any,
    ):
        super().__init__(
            dataset=dataset,
            text_column=text_column,
            label_column=label_column,
            multi_label=multi_label or label_separator is not None,
            label_separator=label_separator,
            class_weights=class_weights,
            sampling=sampling,
            tokenizer=tokenizer,
            batch_size=batch_size,
            max_length=max_length,
            validation_fraction=validation_fraction,
            seed=seed,
            **reading,
        )
        if self.multi_label and sampling == "balanced":
            raise ValueError("sampling balanced is for one label a row: with several, give class_weights balanced")
        if sampling == class_weights == "balanced":
            raise ValueError("class_weights balanced and sampling balanced do the same twice: give one of them")
        self.row_kind = "multi_label" if self.multi_label else "text"

    @property
    def problem_type(self) -> str:
        """Transformers' name for what is asked of a text."""
        return "multi_label_classification" if self.multi_label else "single_label_classification"

    @cached_property
    def id2label(self) -> dict[int, str]:
        """The labels of the training split; ValueError if there is nothing to tell apart."""
        return label_names(self.source.splits["train"])

    @cached_property
    def label_weights(self) -> list[float] | None:
        """What `class_weights` comes to, in the order of `id2label`."""
        if self.class_weights is None:
            return None
        return class_weights(self.class_weights, self.encoded["train"].labels, self.id2label)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """As in `TextDataModule`, with `max_length` as its `model_max_length`."""
        tokenizer = super().tokenizer
        if self.max_length is not None:
            tokenizer.model_max_length = self.max_length
        return tokenizer

    def split_validation(self, train: Rows, count: int) -> tuple[Rows, Rows]:
        """Each label in its share; a row with several counts for the rarest."""
        return hold_out(train, count, rarest_labels(train) if self.multi_label else None)

    def encode_split(self, split: str) -> EncodedTexts:
        """A split as token ids and label ids; ValueError for a label that the training split lacks."""
        rows = self.source.splits[split]
        label2id = {label: number for number, label in self.id2label.items()}
        return EncodedTexts(rows.texts, self.tokenizer, label_tensor(rows, label2id))

    def training_batches(self) -> tuple[Dataset, LengthBucketSampler]:
        """Every row once an epoch, or every label equally often, in the epoch's order (`LengthBucketSampler`).

        Of several processes each takes its `Share` of every batch: `batch_size` is what all of them have together.
        """
        texts = self.encoded["train"]
        balance = texts.labels if self.sampling == "balanced" else None
        return own_share(texts), LengthBucketSampler(texts.lengths, self.batch_size, self.seed, balance)

    def evaluation_batches(self, split: str) -> DataLoader:
        """Every row of a split once, longest first."""
        return length_sorted(self.encoded[split], self.batch_size)

    def baselines(self) -> dict[str, float]:
        """Accuracy of always giving the answer that is most frequent in training: a label, or a set of labels."""
        answer, _ = Counter(_answers(self.source.splits["train"])).most_common(1)[0]
        name = "majority_subset_accuracy" if self.multi_label else "majority_accuracy"
        held_out = {split: _answers(rows) for split, rows in self.source.splits.items() if split != "train"}
        return {f"{split}/{name}": answers.count(answer) / len(answers) for split, answers in held_out.items()}

    def label_examples(self) -> dict[str, list[str]]:
        """The first training texts of each label."""
        rows = self.source.splits["train"]
        labels = [row if self.multi_label else [row] for row in rows.labels]
        counts = Counter(label for row in labels for label in row)
        found: dict[str, list[str]] = {label: [] for label, _ in counts.most_common(COMMON_LABELS)}
        lacking = set(found)
        for text, row in zip(rows.texts, labels, strict=True):
            for label in lacking.intersection(row):
                example = shortened(text)
                if example and example not in found[label]:
                    found[label].append(example)
                if len(found[label]) == EXAMPLES:
                    lacking.remove(label)
            if not lacking:
                break
        return found

    def split_facts(self, split: str) -> dict[str, Any]:
        """Rows, rows a label, tokens read and unknown, lengths, and texts that are cut, empty, without a known word."""
        texts, rows = self.encoded[split], self.source.splits[split]
        labels = Counter(label for row in rows.labels for label in (row if self.multi_label else [row]))
        return {
            "rows": len(texts),
            "labels": dict(sorted(labels.items())),
            **({"rows_without_label": rows.labels.count([])} if self.multi_label else {}),
            "tokens": texts.num_text_tokens,
            "tokens_a_text": texts.length_statistics(),
            "unknown_share": texts.num_unknown / max(1, texts.num_text_tokens),
            "truncated_share": texts.num_truncated / len(texts),
            "empty_texts": int(texts.empty.sum()),
            "texts_without_known_word": int(texts.without_known.sum()),
        }

    def summary(self) -> list[str]:
        """A line on the labels, and one a split on the lengths of its texts, those cut and those empty."""
        facts = {split: self.split_facts(split) for split in self.source.splits}
        label, count = Counter(facts["train"]["labels"]).most_common(1)[0]
        share = count / facts["train"]["rows"]
        lines = [f"{len(self.id2label)} labels, in training most often {label!r:.40} ({share:.1%} of the rows)"]
        for split, fact in facts.items():
            lengths = fact["tokens_a_text"]
            cut = f", {fact['truncated_share']:.1%} cut to {self.max_length}" if self.max_length else ""
            lines.append(
                f"{split}: {fact['rows']:,} texts, {fact['empty_texts']:,} empty | tokens a text: mean "
                f"{lengths['mean']:.1f}, median {lengths['median']}, 95 % up to {lengths['95th_percentile']}, max "
                f"{lengths['max']}{cut}, {fact['unknown_share']:.1%} unknown"
            )
        return lines


def _answers(rows: Rows) -> list[Any]:
    """The label or the set of labels of each row."""
    return [frozenset(row) if isinstance(row, list) else row for row in rows.labels]
