"""`--resume auto | PATH`: which folder a run goes on in, and from which checkpoint; and one process a run folder."""

import contextlib
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from ..processes import launched_rank
from ..training.checkpoint_files import checkpoints, is_marked, newest_checkpoint, sweep, why_invalid
from .common import run_folder

CHECKPOINTS = "checkpoints"  # in a run folder


def resume_point(resume: str, output_dir: str | None, name: str) -> tuple[Path, Path | None]:
    """(run folder, checkpoint or None to start anew) of a run that may have begun before.

    Args:
        resume: "auto": the newest complete checkpoint of `output_dir`, by default of the last of runs/NAME,
            runs/NAME-2, ..., and a new run where there is none. Else a run folder or a checkpoint file.

    Raises:
        FileNotFoundError: `resume` is a path that does not exist, or a run folder without a checkpoint.
        ValueError: the checkpoint named is incomplete or damaged, all of the folder's are, or `output_dir` holds what
            no run made.
        SystemExit: with 0, if the run is finished.
    """
    if resume != "auto":
        return _named(resume, output_dir)
    folder = Path(output_dir).expanduser() if output_dir else last_run(name)
    if folder is None or not folder.is_dir() or not any(folder.iterdir()):
        return run_folder(output_dir, name), None
    if not (folder / CHECKPOINTS).is_dir() and not (folder / "metrics.csv").is_file():
        held = sorted(path.name for path in folder.iterdir() if path.name[0] != ".")
        if held:
            raise ValueError(f"{str(folder)!r} is no run folder: it holds {', '.join(held[:5])}")
    _say_if_finished(folder)
    claim(folder)
    checkpoint = newest_checkpoint(folder / CHECKPOINTS)
    damaged = [path.name for path in checkpoints(folder / CHECKPOINTS) if is_marked(path)]
    if checkpoint is None and damaged:
        raise ValueError(f"no checkpoint of {folder} is whole ({', '.join(damaged)}): remove the folder to start anew")
    return folder, checkpoint


def claim(folder: Path) -> None:
    """Keeps every other process from writing to a run folder, until `release` or the end of this one.

    What killed processes left half written there is deleted. Of a run of several processes the first one claims.

    Raises:
        ValueError: another process writes there.
    """
    if launched_rank() or folder in _claims:
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        message = f"another process writes to {str(folder)!r}: wait for its end, or give another --output_dir"
        raise ValueError(message) from None
    except NotImplementedError:  # a file system without locks
        return
    _claims[folder] = lock
    for place in (folder, folder / CHECKPOINTS):
        sweep(place)


def release() -> None:
    """Ends every claim, and removes folders in which nothing was written."""
    while _claims:
        folder, lock = _claims.popitem()
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()


_claims: dict[Path, FileLock] = {}


def _named(resume: str, output_dir: str | None) -> tuple[Path, Path]:
    path = Path(resume).expanduser()
    if not resume.strip():
        raise ValueError(f"resume must be auto, a run folder or a checkpoint; got {resume!r}")
    path = path.parent if path.name == CHECKPOINTS and path.is_dir() else path
    if path.is_dir():
        if output_dir is None:
            _say_if_finished(path)
            claim(path)
        folder, checkpoint = path, newest_checkpoint(path / CHECKPOINTS)
        if checkpoint is None:
            raise FileNotFoundError(f"--resume {resume!r}: no complete checkpoint in its {CHECKPOINTS}/")
    else:
        folder, checkpoint = path.parent.parent, path
        if problem := why_invalid(path):
            others = [p.name for p in checkpoints(path.parent) if p != path and why_invalid(p) is None]
            raise ValueError(f"{path} {problem}" + (f"; complete beside it: {', '.join(others)}" if others else ""))
    if output_dir is not None and Path(output_dir).expanduser().resolve() != folder.resolve():
        return run_folder(output_dir, ""), checkpoint
    if checkpoint.parent.name != CHECKPOINTS:
        raise ValueError(f"{path} is in no run folder's {CHECKPOINTS}/: give --output_dir, a new folder for the run")
    _say_if_finished(folder)
    claim(folder)
    return folder, checkpoint


def last_run(name: str) -> Path | None:
    """The last of runs/NAME, runs/NAME-2, ...; None where there is none."""
    number, found = 1, None
    while (path := Path("runs", name if number == 1 else f"{name}-{number}")).exists():
        number, found = number + 1, path
    return found


def _say_if_finished(folder: Path) -> None:
    if (folder / "model" / "metrics.json").is_file():
        print(f"the run is finished: {folder / 'model'}", file=sys.stderr)
        raise SystemExit(0)
