"""Files that are written whole or not at all, and what tells one from another."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PARTIAL = ".partial"  # how the name of an unfinished file ends


@contextmanager
def whole_file(path: str | Path, mode: str = "w", newline: str | None = None) -> Iterator[IO]:
    """Opens a file that takes the place of `path` once the block has ended well, and is on the disk by then.

    An error, or the end of the process at any moment, leaves what was at `path` before.

    Args:
        mode: "w" for text, in UTF-8, or "wb".
        newline: as in `open`.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    # Beside the target: a rename is atomic within one file system only.
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with open(partial, mode, encoding=None if "b" in mode else "utf-8", newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.filename is None:  # as of a full disk, whose message names no file
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)
    flush_to_disk(path.parent)


def flush_to_disk(path: Path) -> None:
    """What the file holds, or the names that a folder holds: until then a power cut may undo writing or renaming."""
    if os.name == "posix":  # elsewhere no folder can be opened
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def md5(file: Path) -> str:
    """The md5 of a file's bytes, in hexadecimal: which data these are, not whether somebody tampered with them."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "md5").hexdigest()
