"""`--resume auto | PATH`: which folder a run goes on in, and from which checkpoint."""

import sys
from pathlib import Path

from ..training.checkpoint_files import checkpoints, newest_checkpoint, sweep, why_invalid
from .common import run_folder

# what a run leaves in its folder before it is finished
OF_A_RUN = {"checkpoints", "metrics.csv", "curves.png", "tensorboard", "wandb"}


def resume_point(resume: str, output_dir: str | None, name: str) -> tuple[Path, Path | None]:
    """(run folder, checkpoint or None to start anew) of a run that may have begun before.

    Args:
        resume: "auto": the newest complete checkpoint of `output_dir`, by default of the last of runs/NAME,
            runs/NAME-2, ..., and a new run where there is none. Else a run folder or a checkpoint file.

    What killed processes left half written is deleted.

    Raises:
        FileNotFoundError: `resume` is a path that does not exist, or a run folder without a checkpoint.
        ValueError: the checkpoint named is incomplete or damaged, all of the folder's are, or `output_dir` holds what
            no run made.
        SystemExit: with 0, if the run is finished.
    """
    if resume != "auto":
        return _named(Path(resume).expanduser(), output_dir)
    folder = Path(output_dir).expanduser() if output_dir else _last_run(name)
    if folder is None or not folder.is_dir():
        return run_folder(output_dir, name), None
    _say_if_finished(folder)
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in OF_A_RUN and path.name[0] != ".")
    if foreign:
        raise ValueError(f"{str(folder)!r} is no run folder: it holds {', '.join(foreign[:5])}")
    _sweep(folder)
    checkpoint = newest_checkpoint(folder / "checkpoints")
    if checkpoint is None and (damaged := checkpoints(folder / "checkpoints")):
        raise ValueError(
            f"no checkpoint of {folder} is complete ({', '.join(path.name for path in damaged)}): remove the folder "
            "to start anew"
        )
    return folder, checkpoint


def _named(path: Path, output_dir: str | None) -> tuple[Path, Path]:
    if path.is_dir():
        _say_if_finished(path)
        _sweep(path)
        checkpoint = newest_checkpoint(path / "checkpoints")
        if checkpoint is None:
            raise FileNotFoundError(f"--resume {str(path)!r}: no complete checkpoint in its checkpoints/")
    else:
        checkpoint = path
        if problem := why_invalid(path):
            others = [p.name for p in checkpoints(path.parent) if p != path and why_invalid(p) is None]
            raise ValueError(f"{path} {problem}" + (f"; complete beside it: {', '.join(others)}" if others else ""))
    folder = checkpoint.parent.parent
    if output_dir is not None and Path(output_dir).expanduser().resolve() != folder.resolve():
        return run_folder(output_dir, ""), checkpoint
    return folder, checkpoint


def _last_run(name: str) -> Path | None:
    number, found = 1, None
    while (path := Path("runs", name if number == 1 else f"{name}-{number}")).exists():
        number, found = number + 1, path
    return found


def _say_if_finished(folder: Path) -> None:
    if (folder / "model").is_dir():
        print(f"the run is finished: {folder / 'model'}", file=sys.stderr)
        raise SystemExit(0)


def _sweep(folder: Path) -> None:
    for place in (folder, folder / "checkpoints"):
        if place.is_dir():
            sweep(place)
