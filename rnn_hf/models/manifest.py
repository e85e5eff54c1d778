"""`SHA256SUMS`: what the files of a model folder were when they were put together, as `sha256sum -c` reads it."""

import hashlib
import re
from pathlib import Path, PurePosixPath

MANIFEST = "SHA256SUMS"
MAY_CHANGE = ("README.md", ".gitattributes")  # a card is edited where it stands, the other is the Hub's


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path) -> None:
    """Writes down the sha256 of every file of the folder, those in folders of it too."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    lines = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / MANIFEST).write_text("".join(lines), encoding="utf-8")


def read_manifest(text: str) -> dict[str, str]:
    """The sha256 of each file, by its path in the folder.

    Raises:
        ValueError: a line that is not one of `sha256sum`, or a path out of the folder.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        parts = re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line)
        path = PurePosixPath(parts[2]) if parts else None
        if path is None or path.is_absolute() or ".." in path.parts:
            raise ValueError(
                f"line {number} must be a sha256, two spaces and a path inside the folder; got {line!r:.120}"
            )
        found[str(path)] = parts[1]
    return found


def check_manifest(file: Path) -> None:
    """Compares the files that are there with the manifest that stands beside them.

    Raises:
        ValueError: one is not what it was, or the manifest cannot be read.
    """
    try:
        listed = read_manifest(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    for name, expected in listed.items():
        path = file.parent / name
        if name not in MAY_CHANGE and path.is_file() and sha256(path) != expected:
            raise ValueError(
                f"{path} is damaged: its sha256 is not the one that stands in {MANIFEST} beside it. Get the file "
                f"again; if you changed it yourself, delete {file}"
            )
