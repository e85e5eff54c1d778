"""Whole rows, every column as it stands, read from one file and written to another in bounded memory.

Notable:
- Rows are dicts. A file is written beside its place and moved there when it is complete: it is whole or not there.
- Columns that are added say what they hold ("string", "strings", "number", "numbers"), so that a Parquet file has
  their types from its first rows on; the others keep the type that a Parquet input has, or get that of the first rows.
"""

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from ..files import whole_file
from ..models.config_checks import suggestion
from . import conll
from .readers import LONGEST_LINE, READERS, TSV, conll_records, csv_rows, json_records

Row = dict[str, Any]
STANDARD = "-"  # standard input, a text a line, or standard output
ROWS_A_READ = 1000  # of a Parquet file
STANDARD_BYTES = 2**16  # of standard input, at most at once


class Input:
    """The rows of a file, or of standard input; iterated once.

    Attributes:
        name: what errors call it.
        format: its ending, without the dot; "txt" for standard input.
        length: number of rows where the file says it (Parquet), else None.
        schema: the `pyarrow.Schema` of a Parquet file, else None.

    Raises FileNotFoundError, and ValueError for an ending that cannot be read; while it is iterated, what `readers`
    raise, with file and row.
    """

    def __init__(self, name: str):
        self.length = self.schema = None
        if name == STANDARD:
            self.name, self.format, self.file = "standard input", "txt", None
            return
        self.name, self.format, self.file = name, Path(name).suffix[1:].lower(), Path(name).expanduser()
        if not self.file.is_file():
            raise FileNotFoundError(f"no input file {name!r}")
        if f".{self.format}" not in READERS:
            raise ValueError(f"{name}: the file's ending must be one of {', '.join(READERS)}; got {self.file.suffix!r}")
        if self.format == "parquet":
            parquet = self._parquet()
            self.length, self.schema = parquet.metadata.num_rows, parquet.schema_arrow

    def __iter__(self) -> Iterator[Row]:
        if self.file is None:
            return (row for window in self.windows(1) for row in window)
        if self.format == "txt":
            return ({"text": text} for (text,) in READERS[".txt"](self.file, ["text"]))
        if f".{self.format}" in conll.ENDINGS:
            return conll_records(self.file)
        if self.format == "parquet":
            batches = self._parquet().iter_batches(batch_size=ROWS_A_READ)
            return (row for batch in batches for row in batch.to_pylist())
        if self.format in ("csv", "tsv"):
            return self._delimited()
        return json_records(self.file)

    def windows(self, size: int) -> Iterator[list[Row]]:
        """The rows in lists of `size`, the last one shorter; of standard input the lines that are there by now."""
        return windows(self, size) if self.file is not None else self._lines_as_they_come()

    def _lines_as_they_come(self) -> Iterator[list[Row]]:
        number, rest = 0, b""
        while chunk := sys.stdin.buffer.read1(STANDARD_BYTES):  # waits for one byte at least, and for no more
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > LONGEST_LINE:
                raise ValueError(f"{self.name} line {number + len(lines) + 1} holds more than {LONGEST_LINE:,} bytes")
            if lines:
                yield [self._line(line, place) for place, line in enumerate(lines, number + 1)]
            number += len(lines)
        if rest:
            yield [self._line(rest, number + 1)]

    def _line(self, line: bytes, number: int) -> Row:
        try:
            return {"text": line.removesuffix(b"\r").decode()}
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.name} line {number} is not UTF-8: {error}") from error

    def _delimited(self) -> Iterator[Row]:
        rows = csv_rows(self.file, **(TSV if self.format == "tsv" else {}))
        header = next(rows)
        if twice := [name for name in header if header.count(name) > 1]:
            raise ValueError(f"{self.name} has more than one column {twice[0]!r}: rename one of them")
        return (dict(zip(header, row, strict=True)) for row in rows)

    def _parquet(self):
        import pyarrow.parquet

        try:
            return pyarrow.parquet.ParquetFile(self.file)
        except pyarrow.ArrowInvalid as error:
            raise ValueError(f"{self.name} is not a whole Parquet file: {error}") from error


def check_output(name: str, source: Input) -> str:
    """The format to write: that of the output's ending; for standard output that of the input, or else jsonl.

    Raises ValueError for an ending that cannot be written, for a folder or device, and for the input itself, OSError
    for a folder that is not there or cannot be written to.
    """
    if name == STANDARD:
        return source.format if source.format in ("csv", "tsv") else "jsonl"
    file = Path(name).expanduser()
    ending = file.suffix[1:].lower()
    if ending not in WRITERS:
        endings = [f".{known}" for known in WRITERS]
        near = suggestion(file.suffix, endings)
        raise ValueError(f"the output's ending must be one of {', '.join(endings)}; got {name!r}{near}")
    if ending == "conll" and f".{source.format}" not in conll.ENDINGS:
        raise ValueError(f"the output {name!r} has a word a line, {source.name} has not: write .jsonl, or give CoNLL")
    if file.exists() and not file.is_file():
        raise ValueError(f"the output {name!r} must be a file")
    if source.file is not None and file.exists() and file.samefile(source.file):
        raise ValueError(f"the output {name!r} is the input: give another file")
    if not file.parent.is_dir():
        raise FileNotFoundError(f"no folder {str(file.parent)!r} for the output {name!r}")
    if not os.access(file.parent, os.W_OK):
        raise PermissionError(f"no permission to write to {file.parent}")
    return ending


@contextmanager
def open_output(name: str, source: Input, added: Mapping[str, str], join: Mapping[str, str]) -> Iterator["Writer"]:
    """A writer of the rows of `source` with more columns. A file is complete at the end, or as it was before.

    Args:
        added: name -> kind ("string", "strings", "number", "numbers") of the columns beside the input's.
        join: for csv and tsv, what stands between the items of a column's lists.
    """
    make = WRITERS[check_output(name, source)]
    if name == STANDARD:
        yield make(sys.stdout, source, added, join)
        sys.stdout.flush()
        return
    mode, newline = ("wb", None) if make is ParquetWriter else ("w", "")
    with (
        whole_file(Path(name).expanduser(), mode, newline) as out,
        closing(make(out, source, added, join)) as writer,
    ):
        yield writer


class Writer:
    """Writes rows, which all have the columns that the first ones had, and the added ones."""

    def __init__(self, out: Any, source: Input, added: Mapping[str, str], join: Mapping[str, str]):
        self.out, self.source, self.added, self.join = out, source, added, join
        self.columns: list[str] | None = None
        self.count = 0

    def write(self, rows: Sequence[Row]) -> None:
        """Adds rows. Raises ValueError, with input and row, for what the format cannot hold."""
        raise NotImplementedError

    def close(self) -> None:
        """Writes what is left."""

    def _check_columns(self, rows: Sequence[Row]) -> None:
        """Takes the columns from the first rows; ValueError for a row with another."""
        if self.columns is None:
            own = dict.fromkeys(name for row in rows for name in row if name not in self.added)
            self.columns = [*own, *self.added]
        known = set(self.columns)
        for number, row in enumerate(rows, self.count + 1):
            if new := [name for name in row if name not in known]:
                where = f"{self.source.name} row {number}"
                raise ValueError(f"{where} has the column {new[0]!r}, which the first rows lack: write .jsonl")


class DelimitedWriter(Writer):
    """csv; numbers and lists as JSON writes them, nothing for None."""

    dialect: Mapping[str, Any] = {}

    def write(self, rows: Sequence[Row]) -> None:
        writer = csv.writer(self.out, lineterminator="\n", **self.dialect)
        begun = self.columns is not None
        self._check_columns(rows)
        if not begun:
            writer.writerow(self.columns)
        for row in rows:
            self.count += 1
            try:
                writer.writerow([self._cell(name, row.get(name)) for name in self.columns])
            except csv.Error as error:
                raise ValueError(
                    f"{self.source.name} row {self.count}: a value with a tab or line break is nothing for .tsv "
                    f"({error}): write .csv or .jsonl"
                ) from error

    def _cell(self, name: str, value: Any) -> str:
        if value is None or isinstance(value, str):
            return value or ""
        if name in self.join:
            return self.join[name].join(map(str, value))
        return json.dumps(value, ensure_ascii=False, default=str)


class TsvWriter(DelimitedWriter):
    """Tab-separated, a quote being a character, as `readers` read it."""

    dialect = TSV | {"quotechar": None}


class JsonlWriter(Writer):
    """An object a line; each row has its own columns."""

    def write(self, rows: Sequence[Row]) -> None:
        self.out.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
        self.count += len(rows)


class ParquetWriter(Writer):
    """Parquet, a row group for each call."""

    parquet = None

    def write(self, rows: Sequence[Row]) -> None:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter as Arrow

        self._check_columns(rows)
        if self.parquet is None:
            self.schema = self._schema(rows)
            self.parquet = Arrow(self.out, self.schema)
        arrays = []
        for field in self.schema:
            try:
                arrays.append(pa.array([row.get(field.name) for row in rows], field.type))
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                where = f"{self.source.name} rows {self.count + 1} to {self.count + len(rows)}, column {field.name!r}"
                raise ValueError(
                    f"{where}: not all are of the type of the first rows ({error}): write .jsonl"
                ) from error
        self.parquet.write_table(pa.Table.from_arrays(arrays, schema=self.schema))
        self.count += len(rows)

    def close(self) -> None:
        if self.parquet is not None:
            self.parquet.close()

    def _schema(self, rows: Sequence[Row]):
        import pyarrow as pa

        kinds = {"string": pa.string(), "strings": pa.list_(pa.string()), "number": pa.float32()}
        kinds["numbers"] = pa.list_(kinds["number"])
        added = {name: kinds[kind] for name, kind in self.added.items()}
        if self.source.schema is None:
            types = {name: pa.array([row.get(name) for row in rows]).type for name in self.columns if name not in added}
            types = {name: pa.string() if pa.types.is_null(kind) else kind for name, kind in types.items()}
            return pa.schema(types | added)
        schema = self.source.schema
        for name, kind in added.items():
            schema = schema.append(pa.field(name, kind))
        if b"huggingface" in (schema.metadata or {}):  # what `datasets` keeps there must name every column
            from datasets import Features

            features = Features.from_arrow_schema(self.source.schema)
            features |= Features.from_arrow_schema(pa.schema(added))
            schema = schema.with_metadata(Features(features).arrow_schema.metadata)
        return schema


class ConllWriter(Writer):
    """A word a line with the columns of the input and the predicted tag, separated by tabs; no probabilities."""

    def write(self, rows: Sequence[Row]) -> None:
        self._check_columns(rows)
        tags = [name for name, kind in self.added.items() if kind == "strings"]
        kept = [name for name in self.columns if name not in self.added]
        for row in rows:
            self.count += 1
            lines = zip(*(row[name] for name in [*kept, *tags]), strict=True)
            self.out.write("".join("\t".join(line) + "\n" for line in lines) + "\n")


WRITERS: dict[str, type[Writer]] = {
    "csv": DelimitedWriter,
    "tsv": TsvWriter,
    "jsonl": JsonlWriter,
    "parquet": ParquetWriter,
    "conll": ConllWriter,
}


def windows(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """The rows in lists of `size`, the last one shorter."""
    window = []
    for row in rows:
        window.append(row)
        if len(window) == size:
            yield window
            window = []
    if window:
        yield window
