"""Data sets by name: where one is looked for, and its splits as rows.

A name is looked for in this order, and the place where it was found is printed:
1. `path` (`--data.path`): a file or folder that is read in the name's place.
2. A file or folder of that name. The names of `KNOWN` and `PACKAGED` are no paths: write `./trec` for a folder trec.
3. A folder of that name in `RNN_HF_DATA`, case, `-` and `_` aside: of a Hub id its last part, or its name in `KNOWN`.
   So `CogComp/trec` and `trec` are `$RNN_HF_DATA/trec`, and no request is sent.
4. `PACKAGED`: data sets that come from PyPI.
5. The Hub: `owner/name`, `owner/name:config`, `owner/name@revision`, or the id of a name in `KNOWN`.

A folder holds `train.*`, `validation.*` (valid, val, dev) and `test.*`, or one file alone, which is then "train".
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from ..files import md5
from ..models.config_checks import suggestion
from .about import ABOUT
from .hub_sets import HUB_ID, load_hub_set
from .large_text import LargeTexts, is_large
from .packaged import PACKAGED, Packaged
from .readers import READERS, MissingColumn, MissingLabel, Rows, checked_rows, collected, dataset_columns, read_columns

SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}


@dataclass(frozen=True)
class KnownSet:
    """What is known of a data set beyond its name.

    Attributes:
        hub: its id on the Hub, None where it has no copy there.
        columns: what the Hub calls the columns text, label, tokens and tags; tried first, whatever the rows come from.
        splits: expressions for the splits on the Hub, as in `load_hub_set`.
        lines: each line of a text is a row, as in a .txt file.
        origin: where to get the files of a set without a Hub id.
    """

    hub: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str | None] = field(default_factory=dict)
    lines: bool = False
    origin: str = ""


KNOWN = {
    "names": KnownSet(origin="a file of columns text,label made of https://download.pytorch.org/tutorial/data.zip"),
    # the 6,920 / 872 / 1,821 sentences; GLUE's set of that name has phrases and a test split without labels
    "sst2": KnownSet("SetFit/sst2", columns={"label": "label_text"}),
    # 90 % and 5 % + 5 %: the usual split is the first 90 % and the last 10 %
    "tiny_shakespeare": KnownSet(
        "karpathy/tiny_shakespeare@refs/convert/parquet",
        splits={"validation": "validation+test", "test": None},
        lines=True,
    ),
    "trec": KnownSet("CogComp/trec@refs/convert/parquet", columns={"label": "coarse_label"}),
    "ud_ewt": KnownSet("universal-dependencies/universal_dependencies:en_ewt", columns={"tags": "upos"}),
    "wikitext2": KnownSet("Salesforce/wikitext:wikitext-2-v1", lines=True),
    "wikitext103": KnownSet("Salesforce/wikitext:wikitext-103-v1", lines=True),
}


class NoDataSet(FileNotFoundError):
    """A name that is neither a file nor a folder nor known."""


@dataclass
class Source:
    """The splits of a data set as rows.

    Attributes:
        place: where they came from.
        is_local: whether `place` is a path, which belongs in no file that is shared.
        files: the local files among it, if there are any.
        overlap: how many texts of a held-out split are training texts too, where it was counted.
        overlap_removed: how many training rows were dropped as held-out text.
        dropped: how many rows of a split were dropped for an empty text.
        notices: what its user must know.
        held_out: share of the training rows that became a split, where the set has none.
    """

    splits: dict[str, Rows]
    place: str
    files: list[Path]
    is_local: bool = False
    overlap: dict[str, int] = field(default_factory=dict)
    overlap_removed: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    held_out: dict[str, float] = field(default_factory=dict)

    def md5s(self) -> dict[str, str]:
        """The md5 of each file; where there is none, as for a set of the Hub, that of each split's rows."""
        if self.files:
            return {file.name: md5(file) for file in self.files}
        return {split: rows_md5(rows) for split, rows in self.splits.items()}


@dataclass
class SplitReader:
    """A split that was found: `name` for errors, `names` it goes by, and the values of columns in each of its rows."""

    name: str
    names: Sequence[str]
    read: Callable[[list[str]], Iterator[Sequence[Any]]]
    file: Path | None = None


@dataclass
class DataSet:
    """A data set that was found. Its rows are read as they are asked for.

    Attributes:
        splits: "train", "validation" and "test", those that it has.
        is_local: `place` is a path.
        is_file: it is one file that was named itself; any split of it is all its rows.
    """

    name: str
    place: str
    splits: dict[str, SplitReader]
    known: KnownSet = KnownSet()
    is_local: bool = False
    is_file: bool = False
    overlap_removed: int = 0

    @property
    def files(self) -> list[Path]:
        """The local files of the splits."""
        return list(dict.fromkeys(split.file for split in self.splits.values() if split.file))

    def iter_rows(
        self,
        split: str,
        text_column: str = "text",
        label_column: str | None = None,
        row_kind: str = "text",
        label_separator: str | None = None,
    ) -> Iterator[tuple[Any, Any]]:
        """(text, label) of each row of a split, one at a time: arguments and errors as in `readers.iter_rows`.

        Raises FileNotFoundError for a split that the data set lacks.
        """
        reader = self.splits.get("train" if self.is_file else split)
        if reader is None:
            raise FileNotFoundError(f"{self.name} has no {split} split; its splits: {', '.join(self.splits)}")
        columns = [text_column] if label_column is None else [text_column, label_column]
        names, rows = self._first_present(reader, columns)
        if self.known.lines:
            rows = ([line, *rest] for text, *rest in rows for line in _lines(text))
        return checked_rows(reader.name, rows, names, row_kind, label_separator)

    def first_value(self, split: str, column: str) -> Any:
        """What the column holds in the split's first row; None where it holds no row.

        Raises MissingColumn for a split without that column, and what reading a row raises.
        """
        reader = self.splits["train" if self.is_file else split]
        _, rows = self._first_present(reader, [column])
        return next(iter(rows), [None])[0]

    def _first_present(self, reader: SplitReader, columns: list[str]) -> tuple[list[str], Iterator[Sequence[Any]]]:
        """The columns by the names that the known set has for them, or by those that were asked for; and their rows."""
        names = [self.known.columns.get(column, column) for column in columns]
        try:
            rows = reader.read(names)
            first = list(next(rows, ()))
        except MissingColumn:
            if names == columns:
                raise
            names, rows, first = columns, reader.read(columns), []
        return names, chain([first], rows) if first else rows


def load_source(
    dataset: str,
    text_column: str = "text",
    label_column: str | None = None,
    row_kind: str = "text",
    label_separator: str | None = None,
    path: str | None = None,
    splits: Mapping[str, str | None] | None = None,
    empty_text: str = "keep",
    large_text: bool = False,
) -> Source:
    """All splits of `dataset`: a name, a file or a folder.

    Args:
        row_kind: with `label_separator`, see `readers.iter_rows`.
        path: with `splits`, see `find_data_set`.
        empty_text: see `readers.collected`.
        large_text: the texts of a large file are not read here but by each loop over them (`LargeTexts`).

    A test split without labels, as competitions have them, is left out and named in `notices`.

    Raises what `find_data_set` and `readers.iter_rows` raise, and ValueError for a split without text.
    """
    found = find_data_set(dataset, path, splits)
    source = Source({}, found.place, found.files, found.is_local, overlap_removed=found.overlap_removed)
    for split, reader in found.splits.items():
        if large_text and reader.file and is_large(reader.file):
            source.splits[split] = _large_rows(found, split, text_column, empty_text)
            continue
        try:
            rows = found.iter_rows(split, text_column, label_column, row_kind, label_separator)
            rows = collected(reader.name, rows, label_column, empty_text)
        except MissingLabel as error:
            if split != "test":
                raise
            source.notices.append(f"the test split is left out: it has no labels ({error})")
            continue
        if split == "test" and _all_hidden(rows) and not _all_hidden(source.splits.get("train")):
            source.notices.append(f"the test split is left out: it has no labels (all {len(rows)} are -1)")
            continue
        source.splits[split] = rows
        source.dropped |= {split: rows.dropped} if rows.dropped else {}
    return source


def load_rows(
    dataset: str | DataSet,
    split: str,
    text_column: str = "text",
    label_column: str | None = None,
    row_kind: str = "text",
    label_separator: str | None = None,
    path: str | None = None,
    splits: Mapping[str, str | None] | None = None,
    large_text: bool = False,
) -> Rows:
    """One split of a data set, or all rows of a file. Arguments and errors as in `load_source`; `dataset` may also be
    what `find_data_set` found."""
    _check_split_names([split])
    found = dataset if isinstance(dataset, DataSet) else find_data_set(dataset, path, splits, required=split)
    reader = found.splits["train" if found.is_file else split]
    if large_text and reader.file and is_large(reader.file):
        return _large_rows(found, split, text_column, "keep")
    rows = found.iter_rows(split, text_column, label_column, row_kind, label_separator)
    return collected(reader.name, rows, label_column)


def _large_rows(found: DataSet, split: str, text_column: str, empty_text: str) -> Rows:
    reader = found.splits["train" if found.is_file else split]
    if empty_text != "keep":
        raise ValueError(f"empty_text must be keep for a file as large as {reader.file}; got {empty_text!r}")

    def read() -> Iterator[str]:
        return (text for text, _ in found.iter_rows(split, text_column))

    return Rows(reader.name, LargeTexts(reader.file, f"{text_column} {found.known}", read))


def find_data_set(
    dataset: str,
    path: str | None = None,
    splits: Mapping[str, str | None] | None = None,
    required: str = "train",
) -> DataSet:
    """The data set of that name, looked for in the order that stands above; no row is read.

    Args:
        path: a file or folder that is read in its place.
        splits: what holds train, validation or test where the names do not say so: a file of the folder, with or
            without its ending, or a split of the Hub, also "train[:1000]" or "validation+test". None: not that split.
        required: the split that it must have.

    Raises FileNotFoundError for a data set or split that is not there, ConnectionError where the Hub is needed and
    cannot be reached, ValueError for a name that is empty and for `splits` that it lacks.
    """
    splits = splits or {}
    _check_split_names(splits)
    if not dataset.strip():
        raise ValueError(f"the data set must be a file, a folder, a Hub id or one of {_names()}; got {dataset!r}")
    is_name = dataset in KNOWN or dataset in PACKAGED
    local = Path(path or dataset).expanduser()
    short, known = _known(dataset)
    if path or not is_name:
        if local.is_file():
            return _one_file(dataset, local, known, splits)
        if local.is_dir():
            return _folder(dataset, local, known, splits, required)
        if path:
            raise _not_found(path)
    if folder := _stand_in(dataset, short):
        return _folder(dataset, folder, known, splits, required)
    if short in PACKAGED and "/" not in dataset:
        packaged = PACKAGED[short]()
        chosen = _chosen_splits(_packaged_splits(packaged), splits, required, dataset)
        return DataSet(dataset, f"package {packaged.name}", chosen, overlap_removed=packaged.overlap_removed)
    return _hub_set(dataset, short, known, splits, required)


def about(dataset: str, place: str) -> dict[str, Any]:
    """What is known of a data set by its name (`about.About`), for facts; nothing of an unknown one.

    Args:
        place: where its rows were found, as in `Source`.
    """
    short, known = _known(dataset)
    is_other = dataset not in ABOUT and (Path(dataset).expanduser().exists() or ("/" in dataset and not known.hub))
    found = None if is_other else ABOUT.get(short)
    return found.facts(place.startswith("package ")) if found else {}


def rows_md5(rows: Rows) -> str:
    """The md5 of the rows' texts and labels, in hexadecimal."""
    digest = hashlib.md5()
    for text, label in zip(rows.texts, rows.labels or [None] * len(rows), strict=True):
        digest.update(repr((text, label)).encode())
    return digest.hexdigest()


def _known(dataset: str) -> tuple[str, KnownSet]:
    """(short name, what is known) of a name or Hub id; of an id that is not in the table its last part and nothing."""
    for short, known in KNOWN.items():
        if known.hub and dataset in (known.hub, known.hub.partition("@")[0]):
            return short, known
    if parts := HUB_ID.fullmatch(dataset):
        return parts["id"].split("/")[1], KnownSet()
    short = next((name for name in (*KNOWN, *PACKAGED) if _plain(name) == _plain(dataset)), dataset)
    return short, KNOWN.get(short, KnownSet())


def _one_file(dataset: str, file: Path, known: KnownSet, splits: Mapping[str, str | None]) -> DataSet:
    if splits:
        raise ValueError(f"splits are parts of a folder or of a Hub data set, and {file} is a file; got {splits}")
    reader = SplitReader(str(file), [], lambda columns: read_columns(file, columns), file)
    return DataSet(dataset, str(file), {"train": reader}, known, is_local=True, is_file=True)


def _folder(dataset: str, folder: Path, known: KnownSet, splits: Mapping[str, str | None], required: str) -> DataSet:
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.suffix.lower() in READERS)
    readers = [
        SplitReader(str(file), (file.name, file.stem), lambda columns, file=file: read_columns(file, columns), file)
        for file in files
    ]
    if len(files) == 1 and files[0].stem not in chain(*SPLIT_NAMES.values()):
        readers[0].names = (*readers[0].names, "train")
    chosen = _chosen_splits(readers, splits, required, str(folder))
    read = [reader.names[0] for reader in chosen.values()]
    left = [file.name for file in files if file.name not in read]
    place = f"{folder} ({', '.join(read)}" + (f"; not read: {_listed(left)})" if left else ")")
    return DataSet(dataset, place, chosen, known, is_local=True)


def _hub_set(dataset: str, short: str, known: KnownSet, splits: Mapping[str, str | None], required: str) -> DataSet:
    hub_id = known.hub or dataset
    if not HUB_ID.fullmatch(hub_id) or Path(dataset).suffix.lower() in READERS:
        raise _not_found(dataset)
    expressions = {**known.splits, **splits}
    try:
        loaded = load_hub_set(hub_id, expressions)
    except ConnectionError as error:
        raise ConnectionError(f"{error}. {_instead(dataset, short)}") from error
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}. Nor is it elsewhere: {_not_found(dataset)}") from error
    readers = [_hub_split(hub_id, name, rows) for name, rows in loaded.items()]
    chosen = _chosen_splits(readers, {s: e and s for s, e in expressions.items()}, required, hub_id)
    return DataSet(dataset, f"the Hub, {hub_id} ({', '.join(chosen)})", chosen, known)


def _packaged_splits(packaged: Packaged) -> list[SplitReader]:
    def read(name: str, rows: Rows, columns: list[str]) -> Iterator[Sequence[Any]]:
        values = {"text": rows.texts} if rows.labels is None else {"text": rows.texts, "label": rows.labels}
        for column in columns:
            if column not in values:
                raise MissingColumn(column, name, values)
        return zip(*(values[column] for column in columns), strict=True)

    return [
        SplitReader(rows.name, (split,), lambda columns, rows=rows: read(rows.name, rows, columns), packaged.file)
        for split, rows in packaged.splits.items()
    ]


def _hub_split(hub_id: str, name: str, rows: Any) -> SplitReader:
    where = f"{hub_id} {name}"
    return SplitReader(where, (name,), lambda columns: dataset_columns(where, rows, columns))


def _chosen_splits(
    readers: list[SplitReader], splits: Mapping[str, str | None], required: str, where: str
) -> dict[str, SplitReader]:
    held = [reader.names[0] for reader in readers]
    chosen = {}
    for split, names in SPLIT_NAMES.items():
        if split in splits:
            if splits[split] is None:
                continue
            names = (splits[split],)
        found = [reader for reader in readers if set(names) & set(reader.names)]
        if split in splits and not found:
            near = suggestion(names[0], chain(*(reader.names for reader in readers)))
            raise ValueError(f"splits.{split} must be one of {_listed(held)} of {where}; got {names[0]!r}{near}")
        if len(found) > 1:
            many = _listed(reader.names[0] for reader in found)
            raise ValueError(f"{where} holds more than one file for {split}: {many}; keep one, or name it in splits")
        if found:
            chosen[split] = found[0]
            if twin := next((other for other in chosen if other != split and chosen[other] is found[0]), None):
                raise ValueError(
                    f"{twin} and {split} are both {found[0].names[0]} of {where}: set one to null in splits"
                )
    if required not in chosen:
        raise FileNotFoundError(
            f"{where} has no {required} split; it holds {_listed(held)}: name the one that is meant, splits.{required}"
        )
    return chosen


def _stand_in(dataset: str, short: str) -> Path | None:
    """The folder of RNN_HF_DATA that stands for a name or Hub id."""
    root = _stand_in_root()
    if root is None or not (HUB_ID.fullmatch(dataset) or "/" not in dataset):
        return None
    found = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and _plain(folder.name) == _plain(short)]
    if len(found) > 1:
        raise ValueError(f"RNN_HF_DATA holds more than one folder for {dataset}: {_listed(f.name for f in found)}")
    return found[0] if found else None


def _stand_in_root() -> Path | None:
    named = os.environ.get("RNN_HF_DATA", "")
    root = Path(named).expanduser()
    if named and not root.is_dir():
        raise FileNotFoundError(f"RNN_HF_DATA must be a folder of <data set>/<split>.<ending>; got {named!r}")
    return root if named else None


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _instead(dataset: str, short: str) -> str:
    root = _stand_in_root()
    held = f"; RNN_HF_DATA={root} holds {_listed(sorted(p.name for p in root.iterdir()))}" if root else ""
    return (
        f"Without it, {dataset} can stand in files: in the folder {short}/ of the folder that RNN_HF_DATA names, or "
        f"where path (--data.path) says{held}"
    )


def _not_found(dataset: str) -> NoDataSet:
    path = Path(dataset).expanduser()
    beside = sorted(p.name for p in path.parent.glob("[!.]*") if p.is_dir() or p.suffix.lower() in READERS)
    root = _stand_in_root()
    held = sorted(p.name for p in root.iterdir() if p.is_dir()) if root else []
    near = suggestion(path.name, [*KNOWN, *PACKAGED, *beside, *held])
    if (known := _known(dataset)[1]).origin:
        return NoDataSet(f"{dataset} is not on the Hub: it is {known.origin}. {_instead(dataset, dataset)}")
    return NoDataSet(
        f"no data set {dataset!r}{near}: give a file ({', '.join(READERS)}), a folder with train.*, a Hub id "
        f"(owner/name) or one of {_names()}; {path.parent.resolve()} "
        + (f"holds {_listed(beside)}" if path.parent.is_dir() else "does not exist")
        + (f"; RNN_HF_DATA={root} holds {_listed(held)}" if root else "")
    )


def _lines(text: Any) -> list[Any]:
    return text.removesuffix("\n").split("\n") if isinstance(text, str) else [text]


def _all_hidden(rows: Rows | None) -> bool:
    return rows is not None and rows.labels is not None and all(label == "-1" for label in rows.labels)


def _names() -> str:
    return ", ".join(sorted({*KNOWN, *PACKAGED}))


def _check_split_names(splits: Mapping[str, Any] | Sequence[str]) -> None:
    for split in splits:
        if split not in SPLIT_NAMES:
            near = suggestion(split, SPLIT_NAMES)
            raise ValueError(f"split must be one of {', '.join(SPLIT_NAMES)}; got {split!r}{near}")


def _listed(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") if names else "nothing"
