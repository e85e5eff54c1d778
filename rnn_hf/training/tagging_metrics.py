"""What a tagger gets right and wrong in one pass over evaluation data, every word counted once.

Notable: spans are read as conlleval (Tjong Kim Sang & Buchholz 2000) and seqeval's default mode read them, out of any
sequence of B-, I- and O: an I- that continues no span of its type begins one. A span is right if its type, its first
and its last word are.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from .classification_metrics import label_table, scores
from .metrics import IGNORED, WeightedMean


def marks_spans(tags: Iterable[str]) -> bool:
    """Whether these are the tags of spans: B-TYPE, I-TYPE and O, or B, I and O."""
    tags = set(tags)
    typed = any("-" in tag for tag in tags) or {"B", "O"} <= tags
    return typed and all(re.fullmatch(r"O|[BI](-.+)?", tag, re.DOTALL) for tag in tags)


def spans(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """(type, first word, last word) of each span of a sentence."""
    found, kind, start = set(), None, 0
    for i, tag in enumerate([*tags, "O"]):
        here = None if tag == "O" else tag[2:]
        if kind is not None and (here != kind or tag[0] == "B"):
            found.add((kind, start, i - 1))
            kind = None
        if here is not None and kind is None:
            kind, start = here, i
    return found


class TaggingEvaluation:
    """Of words with a tag each."""

    names = ("loss", "accuracy", "words")
    monitor = "accuracy"

    def __init__(self):
        self.nats = WeightedMean()
        self.batches = []  # (true, predicted) tags of each batch, [batch, time]
        self.id2label: dict[int, str] = {}

    def update(self, model, batch: dict[str, Tensor]) -> None:
        """Predicts a batch of `input_ids`, `attention_mask` and `labels` `[batch, time]`, of which -100 is no word."""
        output = model(**batch)
        self.id2label = model.config.id2label
        self.nats.update(output.loss, (batch["labels"] != IGNORED).sum())
        self.batches.append((batch["labels"], output.logits.argmax(-1)))

    def compute(self) -> dict[str, float | int]:
        """`loss`: nats per word; `accuracy`: share of words whose likeliest tag is right; `words`."""
        loss, words = self.nats.compute()
        return {"loss": loss, "accuracy": int(self._confusion().diag().sum()) / words, "words": words}

    def report(self, id2label: dict[int, str]) -> dict[str, Any]:
        """What one number does not say, ready for JSON.

        Returns:
            `labels`: see `classification_metrics.label_table`, of words; `confusion_matrix`: rows of true, columns of
            predicted tags, both by id.
        """
        confusion = self._confusion()
        table = label_table(id2label, confusion.diag(), confusion.sum(0), confusion.sum(1))
        return {"labels": table, "confusion_matrix": confusion.tolist()}

    def _confusion(self) -> Tensor:
        """int64 `[tags, tags]`: true by predicted."""
        size = len(self.id2label)
        pairs = torch.zeros(size * size, dtype=torch.int64)
        for true, predicted in self.batches:
            word = true != IGNORED
            pairs += (true[word] * size + predicted[word]).cpu().bincount(minlength=size * size)
        return pairs.view(size, size)


class SpanEvaluation(TaggingEvaluation):
    """Of words whose tags mark spans: named entities, chunks."""

    names = ("loss", "accuracy", "precision", "recall", "f1", "words", "spans")
    monitor = "f1"

    def compute(self) -> dict[str, float | int]:
        """As in `TaggingEvaluation`, and `precision`, `recall` and `f1` of all spans; `spans`, those of the data."""
        right, predicted, true = (torch.tensor(count.total()) for count in self._counts())
        whole = {name: value.item() for name, value in scores(right, predicted, true).items()}
        return {**super().compute(), **whole, "spans": int(true)}

    def report(self, id2label: dict[int, str]) -> dict[str, Any]:
        """As in `TaggingEvaluation`, and `span_types`: the same table as `labels`, of whole spans."""
        counts = self._counts()
        kinds = dict(enumerate(sorted(counts[1] | counts[2])))
        columns = (torch.tensor([count[kind] for kind in kinds.values()], dtype=torch.int64) for count in counts)
        return {"span_types": label_table(kinds, *columns), **super().report(id2label)}

    def _counts(self) -> tuple[Counter, Counter, Counter]:
        """By type: spans that are right, predicted, true."""
        right, predicted, true = Counter(), Counter(), Counter()
        for labels, answers in self.batches:
            for row, answer in zip(labels.cpu(), answers.cpu(), strict=True):
                word = row != IGNORED
                there = spans([self.id2label[i] for i in row[word].tolist()])
                found = spans([self.id2label[i] for i in answer[word].tolist()])
                right.update(kind for kind, *_ in there & found)
                predicted.update(kind for kind, *_ in found)
                true.update(kind for kind, *_ in there)
        return right, predicted, true


def evaluation_of(tags: Iterable[str]) -> type[TaggingEvaluation]:
    """`SpanEvaluation` where the tags mark spans, else `TaggingEvaluation`."""
    return SpanEvaluation if marks_spans(tags) else TaggingEvaluation
