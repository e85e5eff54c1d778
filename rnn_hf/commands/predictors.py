"""What a model says of many texts, as columns of rows: a class for each kind of model that `rnn-hf predict` opens."""

import contextlib
import json
import math
from collections.abc import Sequence
from typing import Any

import torch

from ..data.batches import EncodedTexts
from ..data.sentences import split_words, tag_sentences
from .averaged import Classifiers


class ClassifierPredictor:
    """`label`, `score` and `probability_<label>` of each label; all None for an empty text.

    One label a text: `label` is the likeliest, `score` its probability. Several: `label` lists those with a probability
    above 0.5, `score` is the probability of exactly this set, the labels being independent, as they are in training.

    Args:
        classifiers: one, or several whose mean it is.

    Attributes:
        columns: name -> kind of what is added (`data.records`).
        text_columns: what the column of the texts is called unless the user says so.
    """

    text_columns = ("text",)

    def __init__(self, classifiers: Classifiers):
        self.classifiers, self.labels, self.several = classifiers, classifiers.labels, classifiers.several
        kinds = {"label": "strings" if self.several else "string", "score": "number"}
        self.columns = kinds | {f"probability_{label}": "number" for label in self.labels}
        self.empty = self.unknown = 0

    def joins(self, separator: str) -> dict[str, str]:
        """What stands between the strings of a list in csv; ValueError if a label holds it."""
        for label in self.labels if self.several else ():
            if separator in label:
                raise ValueError(f"--label-separator {separator!r} stands in the label {label!r}: give another")
        return {"label": separator}

    def text(self, value: Any) -> str:
        """A cell's text, "" for None. Raises ValueError saying what it must be."""
        if not isinstance(value, str | None):
            raise ValueError(f"must be a string; got {value!r:.60}")
        return value or ""

    def __call__(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """The added columns of each text, in the order given; texts of about one length are read together."""
        encoded = [EncodedTexts(texts, tokenizer) for _, tokenizer in self.classifiers.models.values()]
        without_known = torch.stack([each.without_known for each in encoded]).all(0)  # which those that are empty are
        empty = torch.stack([each.empty for each in encoded]).all(0)
        self.empty += int(empty.sum())
        self.unknown += int((without_known & ~empty).sum())
        found, empty = self.classifiers.probabilities(encoded).tolist(), empty.tolist()
        return [dict.fromkeys(self.columns) if e else self._added(row) for row, e in zip(found, empty, strict=True)]

    def _added(self, row: list[float]) -> dict[str, Any]:
        if self.several:
            label = [name for name, p in zip(self.labels, row, strict=True) if p > 0.5]
            score = math.prod(p if p > 0.5 else 1 - p for p in row)
        else:
            score = max(row)
            label = self.labels[row.index(score)]
        return dict(zip(self.columns, [label, *(round(p, 6) for p in (score, *row))], strict=True))

    def notes(self) -> list[str]:
        """What the user must know of the texts so far."""
        notes = [f"{self.empty:,} of them empty, without a label"] * bool(self.empty)
        return notes + [f"{self.unknown:,} without a word that the tokenizer knows"] * bool(self.unknown)

    def line(self, added: dict[str, Any], text: str, separator: str) -> str:
        """The answer to one text, for people; a tab alone for an empty text."""
        if added["score"] is None:
            return "\t"
        label = separator.join(added["label"]) if self.several else added["label"]
        return f"{label}\t{added['score']:.4f}"


class TaggerPredictor:
    """`tags`, one for each word, and `scores`, their probabilities. A cell is a list of words, or a text to cut."""

    text_columns = ("tokens", "text")
    columns = {"tags": "strings", "scores": "numbers"}

    def __init__(self, model, tokenizer):
        self.model, self.tokenizer = model, tokenizer
        self.empty = 0

    def joins(self, separator: str) -> dict[str, str]:
        """What stands between the items of a list in csv."""
        return dict.fromkeys(self.columns, " ")

    def text(self, value: Any) -> list[str]:
        """A cell's words; csv has a list as JSON writes it. Raises ValueError saying what it must be."""
        if isinstance(value, str) and value.startswith("["):
            with contextlib.suppress(json.JSONDecodeError):
                value = words if _are_words(words := json.loads(value)) else value
        if _are_words(value):
            return value
        if not isinstance(value, str | None):
            raise ValueError(f"must be a string or a list of words; got {value!r:.60}")
        return split_words(value or "")

    def __call__(self, sentences: Sequence[list[str]]) -> list[dict[str, Any]]:
        """The added columns of each sentence, in the order given; empty lists for one without words."""
        self.empty += sum(not words for words in sentences)
        with_words = [words for words in sentences if words]
        tagged = iter(tag_sentences(self.model, self.tokenizer, with_words) if with_words else ())
        added = [next(tagged) if words else ([], []) for words in sentences]
        return [{"tags": tags, "scores": [round(p, 6) for p in scores]} for tags, scores in added]

    def notes(self) -> list[str]:
        """What the user must know of the texts so far."""
        return [f"{self.empty:,} of them without words, and so without tags"] * bool(self.empty)

    def line(self, added: dict[str, Any], words: list[str], separator: str) -> str:
        """The answer to one text, for people."""
        return " ".join(f"{word}/{tag}" for word, tag in zip(words, added["tags"], strict=True))


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)
