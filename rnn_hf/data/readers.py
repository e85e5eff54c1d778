"""Files as rows: csv, tsv, json, jsonl, parquet and txt, one row at a time; every error names file, row and column.

Notable:
- Text formats are not read by `datasets.load_dataset`: its csv reader turns the text "NA" into a missing value and cuts
  the first field off rows with one comma too many, without a word; its json reader names no row when it fails; and each
  call sends a request to a server that counts downloads. Parquet is read by `datasets`.
- Nothing is held but the row at hand (a json file that is one list excepted), and no line may be longer than
  `LONGEST_LINE`, so that a file without line breaks is refused before it fills the memory.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from ..models.config_checks import one_of, require, suggestion
from . import conll

LONGEST_LINE = 2**24  # characters of a line, a field or a json list; a tokenizer takes some 100 bytes for each
ROW_KINDS = ("text", "multi_label", "tokens")
EMPTY_TEXT = ("keep", "drop", "error")


@dataclass
class Rows:
    """One split.

    Attributes:
        name: how errors call it.
        texts: strings; lists of tokens for tagging.
        labels: strings; lists of labels (multi-label) or of tags (tagging); None where none were asked for.
        numbers: where each row stood in what it was read from, counted from 1; by default 1, 2, 3, ...
        dropped: how many rows with an empty text were left out.
    """

    name: str
    texts: list[Any]
    labels: list[Any] | None = None
    numbers: Sequence[int] | None = field(default=None, compare=False)
    dropped: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if self.numbers is None:
            self.numbers = range(1, len(self.texts) + 1)

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Iterable[int]) -> "Rows":
        """These rows, in this order."""
        if isinstance(indices, range) and indices.step == 1:  # which large text has as well
            rows = slice(indices.start, indices.stop)
            return Rows(self.name, self.texts[rows], self.labels and self.labels[rows], self.numbers[rows])
        indices = list(indices)
        labels = None if self.labels is None else [self.labels[i] for i in indices]
        numbers = [self.numbers[i] for i in indices]
        return Rows(self.name, [self.texts[i] for i in indices], labels, numbers)


class MissingColumn(ValueError):
    """A column that is not among `columns`."""

    def __init__(self, column: str, place: str, columns: Iterable[str]):
        self.column, self.columns = column, [str(name) for name in columns]
        names = ", ".join(name[:40] for name in self.columns)
        cure = suggestion(column, self.columns)
        if len(self.columns) == 1 and (found := next((mark for mark in ";\t|" if mark in names), None)):
            cure += f": they seem to be separated by {found!r}; .csv is separated by commas, .tsv by tabs"
        super().__init__(f"no column {column!r} in {place}; columns: {names}{cure}")


class MissingLabel(ValueError):
    """A row whose label is not given: null, or -1 for the ClassLabel of `datasets`."""


def iter_rows(
    file: Path,
    text_column: str = "text",
    label_column: str | None = None,
    row_kind: str = "text",
    label_separator: str | None = None,
) -> Iterator[tuple[Any, Any]]:
    """(text, label) of each row of one file, read as they are asked for; the label is None without `label_column`.

    Args:
        row_kind: what a row's columns hold. "text": a string, and a label (a string or an integer, given as a string).
            "multi_label": a string, and a list of labels, which may be empty. "tokens": a list of strings, not empty,
            and a list of as many tags.
        label_separator: for "multi_label": the label column holds strings, in which this separates the labels.

    Raises ValueError for an unknown ending, a missing column, broken UTF-8, a malformed row, a value of another kind, a
    line or text of more than `LONGEST_LINE` characters, with file and row (records counted from 1, without the header).
    """
    columns = [text_column] if label_column is None else [text_column, label_column]
    return checked_rows(str(file), read_columns(file, columns), columns, row_kind, label_separator)


def read_rows(
    file: Path,
    text_column: str = "text",
    label_column: str | None = None,
    row_kind: str = "text",
    label_separator: str | None = None,
) -> Rows:
    """All rows of one file. Raises what `iter_rows` raises, and ValueError for a file without rows or without text."""
    return collected(str(file), iter_rows(file, text_column, label_column, row_kind, label_separator), label_column)


def read_columns(file: Path, columns: list[str]) -> Iterator[Sequence[Any]]:
    """The values of these columns in each row of one file, as the file gives them."""
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        raise ValueError(f"{file}: the file's ending must be one of {', '.join(READERS)}; got {file.suffix!r}")
    return reader(file, columns)


def collected(name: str, rows: Iterable[tuple[Any, Any]], label_column: str | None, empty_text: str = "keep") -> Rows:
    """The (text, label) pairs as `Rows`.

    Args:
        empty_text: what becomes of a text that is empty or white space: "keep", "drop" or "error".

    Raises ValueError for no rows, for rows without any text, and under "error" for the first empty text.
    """
    require(one_of(*EMPTY_TEXT), empty_text=empty_text)
    texts, labels, numbers = [], [], []
    number = 0
    for number, (text, label) in enumerate(rows, 1):
        if empty_text != "keep" and not (isinstance(text, list) or text.strip()):
            if empty_text == "error":
                raise ValueError(
                    f"{name} row {number} has an empty text: fill it in, or set empty_text to keep or drop"
                )
            continue
        texts.append(text)
        labels.append(label)
        numbers.append(number)
    if not number:
        raise ValueError(f"{name} holds no rows")
    if not any(isinstance(text, list) or text.strip() for text in texts):
        raise ValueError(f"{name} holds no text: all {number} rows are empty")
    return Rows(name, texts, None if label_column is None else labels, numbers, number - len(texts))


def checked_rows(
    name: str, rows: Iterable[Sequence[Any]], columns: Sequence[str], row_kind: str, label_separator: str | None
) -> Iterator[tuple[Any, Any]]:
    """(text, label) of each row of values; arguments and errors as in `iter_rows`, `name` is how errors call them."""
    require(one_of(*ROW_KINDS), row_kind=row_kind)
    text_of, label_of = {
        "text": (_text, _label),
        "multi_label": (_text, partial(_labels, separator=label_separator)),
        "tokens": (_tokens, _tags),
    }[row_kind]
    for number, values in enumerate(rows, 1):
        column, label = columns[0], None
        try:
            text = text_of(values[0])
            if len(columns) > 1:
                column = columns[1]
                label = label_of(values[1])
                if row_kind == "tokens" and len(label) != len(text):
                    raise ValueError(f"must hold a tag for each token; got {len(text)} tokens, {len(label)} tags")
        except ValueError as error:
            raise type(error)(f"{name} row {number}, column {column!r} {error}") from None
        yield text, label


def _read_txt(file: Path, columns: list[str]) -> Iterator[list[str]]:
    _positions(file, ["text"], columns)
    with _opened(file, newline=None) as lines:
        for line in _lines(file, lines):
            yield [line.rstrip("\n")]


def csv_rows(file: Path, **dialect: Any) -> Iterator[list[str]]:
    """The header, then each row; blank lines are none. A row of another length than the header is an error."""
    csv.field_size_limit(LONGEST_LINE)
    with _opened(file, newline="") as lines:
        rows = csv.reader(_lines(file, lines), **(dialect or {"strict": True}))
        number, line = 0, 1
        try:
            header = next(rows, None)
            if header is None:
                raise ValueError(f"{file} is empty")
            yield header
            line = rows.line_num + 1
            for row in rows:
                if row:
                    number += 1
                    if len(row) != len(header):
                        raise ValueError(
                            f"{file} row {number} (line {line}) has {len(row)} fields, its header {len(header)}: "
                            "put a field that holds the separator, a quote or a line break in double quotes"
                        )
                    yield row
                line = rows.line_num + 1
        except csv.Error as error:
            raise ValueError(f"{file} row {number + 1} (from line {line}): {error}; check its quotes") from error


# In tab-separated text a quote is a character: read as csv, one opening quote would swallow rows up to the next.
TSV = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}


def _read_csv(file: Path, columns: list[str], **dialect: Any) -> Iterator[list[str]]:
    rows = csv_rows(file, **dialect)
    positions = _positions(file, next(rows), columns)
    for row in rows:
        yield [row[position] for position in positions]


def _read_tsv(file: Path, columns: list[str]) -> Iterator[list[str]]:
    return _read_csv(file, columns, **TSV)


def json_records(file: Path, wanted: str = "an object") -> Iterator[dict[str, Any]]:
    """The objects of a list of them, or one a line, whatever the ending; errors ask for what is `wanted`."""
    with _opened(file, newline=None) as lines:
        is_list = lines.read(1024).lstrip().startswith("[")
        lines.seek(0)
        if is_list:
            pieces = [(0, lines.read(LONGEST_LINE + 1))]
            if len(pieces[0][1]) > LONGEST_LINE:
                most = f"{LONGEST_LINE:,} characters"
                raise ValueError(f"{file} holds one list of more than {most}: write one object a line (.jsonl)")
        else:
            pieces = ((n, line.rstrip("\n")) for n, line in enumerate(_lines(file, lines)) if line.strip())
        row = 0
        for line, piece in pieces:
            try:
                decoded = json.loads(piece)
            except json.JSONDecodeError as error:
                where = f"line {line + error.lineno} column {error.colno}"
                raise ValueError(f"{file} {where} is not JSON: {error.msg}") from error
            for record in decoded if is_list else [decoded]:
                row += 1
                if not isinstance(record, dict):
                    raise ValueError(f"{file} row {row} must be {wanted}; got {str(record)[:60]!r}")
                yield record


def _read_json(file: Path, columns: list[str]) -> Iterator[list[Any]]:
    for row, record in enumerate(json_records(file, f"an object with the keys {', '.join(columns)}"), 1):
        for column in columns:
            if column not in record:
                raise MissingColumn(column, f"{file} row {row}", record)
        yield [record[column] for column in columns]


def _read_parquet(file: Path, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    from datasets import IterableDataset

    with open(file, "rb") as raw:
        if raw.read(4) != b"PAR1" or raw.seek(-4, 2) < 8 or raw.read() != b"PAR1":
            raise ValueError(f"{file} is not a whole Parquet file: it must start and end with PAR1")
    yield from dataset_columns(str(file), IterableDataset.from_parquet(str(file)), columns)


def dataset_columns(name: str, dataset: Any, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    """The values of these columns in each row of a `datasets.Dataset` or `IterableDataset` called `name`.

    The numbers of a ClassLabel, one a row or a list a row, become its names, and None where they name none (-1).
    """
    for column in columns:
        if column not in dataset.column_names:
            raise MissingColumn(column, name, dataset.column_names)
    names = {column: _class_names(dataset.features[column]) for column in columns}

    def named(column: str, value: Any) -> Any:
        if (known := names[column]) is None or value is None:
            return value
        if isinstance(value, list):
            return [named(column, item) for item in value]
        return known[value] if 0 <= value < len(known) else None

    for batch in dataset.select_columns(columns).iter(batch_size=1000):
        yield from zip(*([named(column, value) for value in batch[column]] for column in columns), strict=True)


def _class_names(feature: Any) -> list[str] | None:
    """The names of a ClassLabel, or of a list's ClassLabel; None for any other feature."""
    return getattr(getattr(feature, "feature", feature), "names", None)


def _read_conll(file: Path, columns: list[str]) -> Iterator[list[list[str]]]:
    with _opened(file, newline=None) as lines:
        yield from conll.sentences(file, _lines(file, lines), columns)


def conll_records(file: Path) -> Iterator[dict[str, list[str]]]:
    """The sentences of a CoNLL file, every column by its name (`conll.whole_sentences`)."""
    with _opened(file, newline=None) as lines:
        yield from conll.whole_sentences(file, _lines(file, lines))


READERS: dict[str, Callable[[Path, list[str]], Iterator]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".json": _read_json,
    ".jsonl": _read_json,
    ".parquet": _read_parquet,
    ".txt": _read_txt,
    **dict.fromkeys(conll.ENDINGS, _read_conll),
}


@contextmanager
def _opened(file: Path, newline: str | None) -> Iterator[TextIO]:
    """The file as text; a byte that is not UTF-8 is reported with its line."""
    try:
        with open(file, encoding="utf-8-sig", newline=newline) as opened:
            yield opened
    except UnicodeDecodeError as error:
        with open(file, "rb") as raw:
            for number, line in enumerate(raw, 1):
                try:
                    line.decode()
                except UnicodeDecodeError as bad:
                    what = f"byte 0x{line[bad.start]:02x} at byte {bad.start + 1} is not UTF-8: save the file as UTF-8"
                    raise ValueError(f"{file} line {number}: {what}") from error
        raise


def _lines(file: Path, lines: TextIO) -> Iterator[str]:
    """The lines of an open file with their ends; ValueError for one that is longer than `LONGEST_LINE`."""
    for number, line in enumerate(iter(partial(lines.readline, LONGEST_LINE + 1), ""), 1):
        if len(line) > LONGEST_LINE:
            raise ValueError(
                f"{file} line {number} holds more than {LONGEST_LINE:,} characters: break it into lines, a text each"
            )
        yield line


def _positions(file: Path, header: list[str], columns: list[str]) -> list[int]:
    for column in columns:
        if column not in header:
            raise MissingColumn(column, str(file), header)
    return [header.index(column) for column in columns]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a string; got {str(value)[:60]}")
    if len(value) > LONGEST_LINE:
        raise ValueError(f"must hold at most {LONGEST_LINE:,} characters; got {len(value):,}: break it up")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can spell half a surrogate pair
        raise ValueError(f"is not valid Unicode: {error.reason} at character {error.start + 1}") from None
    return value


def _label(value: Any) -> str:
    if value is None:
        raise MissingLabel("must be a label (a string or an integer); got none")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list):
        raise ValueError(
            f"must be a label (a string or an integer); got {str(value)[:60]}: for lists of labels set "
            "data.multi_label true (--data.multi_label true)"
        )
    if not isinstance(value, str | int) or not str(value).strip():
        raise ValueError(f"must be a label (a string or an integer); got {value!r}")
    return str(value).strip()


def _labels(value: Any, separator: str | None) -> list[str]:
    if separator is not None:
        value = [part for part in _text(value).split(separator) if part.strip()]
    elif isinstance(value, str):
        raise ValueError(f"must be a list of labels; got {value[:60]!r}: label_separator splits a string")
    if not isinstance(value, list):
        raise ValueError(f"must be a list of labels; got {str(value)[:60]!r}")
    labels = [_label(item) for item in value]
    if len(set(labels)) < len(labels):
        raise ValueError(f"must name each label once; got {labels}")
    return labels


def _tokens(value: Any) -> list[str]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"must be a list of at least one token; got {str(value)[:60]!r}")
    return [_text(item) for item in value]


def _tags(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise ValueError(f"must be a list of tags; got {str(value)[:60]!r}")
    return [_label(item) for item in value]
