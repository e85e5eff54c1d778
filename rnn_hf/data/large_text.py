"""Text larger than memory: a split's texts, read anew by each loop over them and never held."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from ..files import md5

LARGE_FILE = 2**28  # bytes; the text of a smaller file is read into memory
SECONDS_A_LINE = 10.0


class LargeTexts:
    """The texts that `read()` gives from row `start` to row `stop`, in place of a list of strings.

    A slice without a step is another such view; single texts cannot be had by index.

    Args:
        file: where they come from, for `identity` and errors.
        reading: says how they are made of the file, such as the column's name.
        read: a new iterator over all texts of the file.
    """

    def __init__(
        self, file: Path, reading: str, read: Callable[[], Iterator[str]], start: int = 0, stop: int | None = None
    ):
        self.file, self.reading, self.read, self.start, self.stop = file, reading, read, start, stop

    def __iter__(self) -> Iterator[str]:
        total = None if self.stop is None else len(self)
        return reported(self.after(0), f"reading {self.file}", total)

    def after(self, count: int) -> Iterator[str]:
        """All texts but the first `count`."""
        return islice(self.read(), self.start + count, self.stop)

    def __len__(self) -> int:
        """How many there are: where `stop` was not given the file is read once to know, which checks each row."""
        if self.stop is None:
            self.stop = self.start + sum(1 for _ in self)
        return self.stop - self.start

    def __getitem__(self, rows: slice) -> "LargeTexts":
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            raise ValueError(
                f"{self.file} has more than {LARGE_FILE:,} bytes and is read from its first row to its last: "
                "rows cannot be picked out of it; do so in the file"
            )
        start, stop, _ = rows.indices(len(self))
        return LargeTexts(self.file, self.reading, self.read, self.start + start, self.start + max(start, stop))

    def identity(self) -> list[Any]:
        """What tells these texts from others, wherever the file lies: its md5, how it is read, and the rows."""
        digest = _md5(self.file, self.file.stat().st_mtime_ns)
        return [digest, self.file.suffix.lower(), self.reading, self.start, self.start + len(self)]


def is_large(file: Path) -> bool:
    """Whether a file's text is not to be held in memory."""
    return file.stat().st_size > LARGE_FILE


def reported(texts: Iterable[str], what: str, total: int | None = None, done: int = 0) -> Iterator[str]:
    """The texts, with a line on stderr now and then: how many of `total` were read, `done` before these."""
    shown = time.monotonic()
    for number, text in enumerate(texts, done + 1):
        yield text
        if not number % 1000 and time.monotonic() - shown > SECONDS_A_LINE:
            shown = time.monotonic()
            share = "" if total is None else f" of {total:,} ({number / total:.0%})"
            print(f"{what}: {number:,}{share} texts", file=sys.stderr, flush=True)


@lru_cache
def _md5(file: Path, modified: int) -> str:
    return md5(file)
