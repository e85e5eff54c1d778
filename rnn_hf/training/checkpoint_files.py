"""Checkpoint files: each written whole, with a sha256 beside it, and read only if it is what was written.

`step-00000042.ckpt` is complete where `step-00000042.ckpt.sha256` holds its checksum. They hold tensors and plain
values, no pickled code.
"""

import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch
from lightning.fabric.plugins import CheckpointIO

from ..files import PARTIAL, whole_file
from ..models.manifest import sha256

NAME = "step-{:08d}.ckpt"
PATTERN = re.compile(r"step-(\d+)\.ckpt")


class CheckpointFiles(CheckpointIO):
    """What Lightning reads and writes checkpoints through. Every OSError is raised."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes a checkpoint and then its checksum; until both are there `path` is none."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, "wb") as file:
            written = _Digested(file)
            try:
                torch.save(checkpoint, written)
            except Exception as error:  # of the disk, where torch reports only what followed from it
                raise written.error or error from None
        with whole_file(_mark(path)) as file:
            file.write(f"{written.digest.hexdigest()}  {path.name}\n")

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """The checkpoint at `path`, on the CPU.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is incomplete or damaged, or holds pickled code.
        """
        path = Path(path)
        if problem := why_invalid(path):
            raise ValueError(f"{path} {problem}")
        try:
            return torch.load(path, map_location=map_location, weights_only=True)
        except Exception as error:
            raise ValueError(f"{path} holds no checkpoint of rnn-hf: {str(error).splitlines()[0]}") from error

    def remove_checkpoint(self, path: str | Path) -> None:
        """Deletes a checkpoint; interrupted, it leaves none that counts."""
        _mark(Path(path)).unlink(missing_ok=True)
        Path(path).unlink(missing_ok=True)


def why_invalid(path: Path) -> str | None:
    """What keeps a file from being a complete checkpoint, for a message; None if nothing does.

    Raises FileNotFoundError where there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {str(path)!r}")
    try:
        expected = _mark(path).read_text(encoding="utf-8").split()[0]
    except (OSError, IndexError, UnicodeDecodeError):
        return f"is incomplete: {_mark(path).name}, the checksum beside it, is missing or empty"
    return None if sha256(path) == expected else "is damaged: its sha256 is not the one that was written beside it"


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoint files of a folder, complete or not, the one of the last step first."""
    found = [path for path in folder.glob("step-*.ckpt") if PATTERN.fullmatch(path.name) and path.is_file()]
    return sorted(found, key=lambda path: int(PATTERN.fullmatch(path.name)[1]), reverse=True)


def is_marked(path: Path) -> bool:
    """Whether a checkpoint has its checksum beside it; without one its writing was interrupted."""
    return _mark(path).is_file()


def newest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint of the last step, if any; standard error names those that are passed over."""
    for path in checkpoints(folder):
        problem = why_invalid(path)
        if problem is None:
            return path
        print(f"{path} {problem}; it is passed over", file=sys.stderr, flush=True)
    return None


def sweep(folder: Path) -> None:
    """Deletes what processes that were killed left half written in a folder of checkpoints, or a run folder."""
    for path in _unfinished(folder):
        path.unlink(missing_ok=True)


def _unfinished(folder: Path) -> Iterator[Path]:
    yield from (path for path in folder.glob(f".*{PARTIAL}") if path.is_file())
    yield from (mark for mark in folder.glob("step-*.ckpt.sha256") if not mark.with_suffix("").exists())


def _mark(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


class _Digested:
    """A file that knows the sha256 of what was written to it, and the error that writing met."""

    def __init__(self, file: IO[bytes]):
        self.file, self.digest, self.error = file, hashlib.sha256(), None

    def write(self, data: Any) -> int:
        try:
            count = self.file.write(data)
        except OSError as error:
            self.error = error
            raise
        self.digest.update(data)
        return count

    def flush(self) -> None:  # torch.save asks for it
        self.file.flush()
