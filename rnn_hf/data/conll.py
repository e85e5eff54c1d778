"""CoNLL files: one word a line with its annotation in columns, a blank line after each sentence.

Two kinds, told apart by the file's ending:
- `.conllu`, CoNLL-U (Universal Dependencies, https://universaldependencies.org/format.html): ten columns separated by
  tabs. Lines that start with `#`, multiword tokens ("3-4") and empty nodes ("8.1") are no words and are passed over.
- any other, columns as in the shared tasks of 2000 to 2003: the word first, its tag last, separated by tabs, or by
  spaces where the first line holds no tab. `-DOCSTART-` ends a document. A line that starts with `#` is a comment,
  unless it has as many columns as the others and its last one is a tag of theirs: "#" is a word as well.

The columns have names: "tokens" is the word and "tags" the universal part of speech or the last column; others are
CoNLL-U's own (`xpos`, `deprel`, ...), and in other files the number of the column, from 1.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

ENDINGS = (".conll", ".conllu", ".iob", ".iob2", ".bio")
LONGEST_SENTENCE = 10_000  # words; beyond, the blank lines are taken to be missing
CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


def sentences(file: Path, lines: Iterable[str], columns: Iterable[str]) -> Iterator[list[list[str]]]:
    """For each sentence, the list of each of `columns`.

    Raises ValueError naming file and line for a word that lacks a column and for a sentence that does not end,
    `readers.MissingColumn` for a column that does not exist.
    """
    columns, is_conllu = list(columns), _is_conllu(file)
    places = None
    for sentence in _word_groups(file, lines):
        places = places or [_place(file, name, len(sentence[0][1]), is_conllu) for name in columns]
        for number, fields in sentence:
            for name, place in zip(columns, places, strict=True):
                value = fields[place]
                if not value.strip() or (is_conllu and value == "_" and place != 1):  # as a word, "_" is an underscore
                    raise ValueError(f"{file} line {number}: the word {fields[is_conllu]!r} has no {name} ({value!r})")
        yield [[fields[place] for _, fields in sentence] for place in places]


def whole_sentences(file: Path, lines: Iterable[str]) -> Iterator[dict[str, list[str]]]:
    """Every column of each sentence by its name, "tokens" first; values may be missing ("_").

    Raises ValueError as `sentences` does, for values apart.
    """
    names = [{"form": "tokens", "upos": "tags"}.get(name, name) for name in CONLLU]
    for sentence in _word_groups(file, lines):
        columns = zip(*(fields for _, fields in sentence), strict=True)
        if not _is_conllu(file):
            names = ["tokens", *(str(number) for number in range(2, len(sentence[0][1]))), "tags"]
        named = dict(zip(names, map(list, columns), strict=True))
        yield {"tokens": named["tokens"]} | named


def _is_conllu(file: Path) -> bool:
    return file.suffix.lower() == ".conllu"


def _word_groups(file: Path, lines: Iterable[str]) -> Iterator[list[tuple[int, list[str]]]]:
    """(line, its columns) of each word of a sentence, for each sentence."""
    sentence = []
    for number, fields in _conllu_words(file, lines) if _is_conllu(file) else _column_words(file, lines):
        if fields is not None:
            sentence.append((number, fields))
        elif sentence:
            yield sentence
            sentence = []
        if len(sentence) > LONGEST_SENTENCE:
            raise ValueError(
                f"{file} line {number}: no blank line in {LONGEST_SENTENCE:,} words; put one after each sentence"
            )
    if sentence:
        yield sentence


def _conllu_words(file: Path, lines: Iterable[str]) -> Iterator[tuple[int, list[str] | None]]:
    """(line, its columns) of each word, (line, None) where a sentence ends."""
    words = 0  # of the sentence at hand
    for number, line in enumerate(lines, 1):
        if not line.strip():
            words = 0
            yield number, None
            continue
        if line.startswith("#"):
            continue
        fields = line.rstrip("\n").split("\t")
        if len(fields) != len(CONLLU):
            raise ValueError(
                f"{file} line {number} has {len(fields)} columns separated by tabs, CoNLL-U has {len(CONLLU)}: "
                "give files in another format the ending .conll"
            )
        if re.fullmatch(r"\d+-\d+|\d+\.\d+", fields[0]):
            continue
        words += 1
        if fields[0] != str(words):
            raise ValueError(
                f"{file} line {number}: the word's id must be {words}; got {fields[0]!r}: is the blank line missing "
                "that ends a sentence?"
            )
        yield number, fields


def _column_words(file: Path, lines: Iterable[str]) -> Iterator[tuple[int, list[str] | None]]:
    """As `_conllu_words`."""
    lines = [line.rstrip("\n") for line in lines]
    first = next((line for line in lines if line.strip() and not line.startswith(("#", "-DOCSTART-"))), "")

    def columns(line: str) -> list[str]:
        return line.split("\t") if "\t" in first else re.split(r"[ \t]+", line.strip(" \t"))

    width = len(columns(first))
    tags = {columns(line)[-1] for line in lines if not line.startswith("#")}
    for number, line in enumerate(lines, 1):
        fields = columns(line)
        if not line.strip() or line.startswith("-DOCSTART-"):
            yield number, None
        elif line.startswith("#") and (len(fields) != width or fields[-1] not in tags):
            continue
        elif len(fields) != width or width < 2:
            separator = "tabs" if "\t" in first else "spaces or tabs"
            raise ValueError(
                f"{file} line {number} has {len(fields)} columns ({line[:60]!r}), expected {max(width, 2)}: a word "
                f"first, its tag last, separated by {separator}"
            )
        else:
            yield number, fields


def _place(file: Path, name: str, width: int, is_conllu: bool) -> int:
    """The index of the column called `name`."""
    if is_conllu:
        places = {"tokens": 1, "tags": 3} | {column: i for i, column in enumerate(CONLLU)}
    else:
        places = {"tokens": 0, "tags": width - 1} | {str(i + 1): i for i in range(width)}
    if name.lower() not in places:
        from .readers import MissingColumn  # which imports this module

        raise MissingColumn(name, str(file), places)
    return places[name.lower()]
