"""`rnn-hf fit` in processes that are killed, limited and interrupted, and what they leave.

A fork server imports torch and Lightning once, so that a fresh process costs a moment. It runs no thread, and each
process that it forks is as a new one.
"""

import ctypes
import hashlib
import itertools
import json
import multiprocessing
import os
import resource
import signal
import sys
from pathlib import Path
from typing import ClassVar

import yaml

from ..commands.conftest import write_reviews

HERE = "tests.reliability.interruptions"
AVERAGING = {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.9}}

# dropout, weight drop, averaging, carried state, random lengths, a schedule, metrics of every second step
LANGUAGE_MODEL = {
    "task": "language_modeling",
    "model": {
        "config": {"embedding_size": 12, "hidden_size": 12, "input_dropout": 0.3, "weight_dropout": 0.3},
        "learning_rate": 0.02,
    },
    "data": {"dataset": "reviews", "batch_size": 8, "sequence_length": 12, "random_sequence_length": True},
}
CLASSIFIER = {
    "task": "classification",
    "model": {
        "config": {"embedding_size": 12, "hidden_size": 12, "bidirectional": True, "pooling": "max",
                   "input_dropout": 0.3},
    },
    "data": {"dataset": "reviews", "batch_size": 16},
}  # fmt: skip
# of metrics.json: the clock's and the machine's, and how the run was started
OF_NO_RESULT = ("wall_seconds", "evaluation_seconds", "hardware", "command")
RECIPES = {"language_model": LANGUAGE_MODEL, "classifier": CLASSIFIER}

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["rnn_hf.commands.lightning_cli", HERE])


def write_workplace(folder: Path) -> None:
    """Small data and the recipes, each with averaging, a trace of its batches and the signals of `SignalAt`."""
    (folder / "reviews").mkdir()
    for split, rows in {"train": 120, "validation": 30, "test": 30}.items():
        write_reviews(folder / "reviews" / f"{split}.csv", rows, seed=rows)
    for name, recipe in RECIPES.items():
        callbacks = [AVERAGING, {"class_path": f"{HERE}.Trace"}, {"class_path": f"{HERE}.SignalAt"}]
        trainer = {"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 2, "callbacks": callbacks}
        trainer["gradient_clip_val"] = 0.25
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe | {"trainer": trainer}))


class Fit:
    """A process that runs `rnn-hf fit` with these options; its output goes to `log`."""

    def __init__(self, folder: Path, *options: str, environment: dict[str, str] | None = None, **limits):
        Fit.number = next(Fit.numbers)
        self.log = folder / f"log-{self.number}"
        arguments = (folder, ["fit", *map(str, options)], environment or {}, self.log, limits)
        self.process = _context.Process(target=_child, args=arguments)
        self.process.start()
        Fit.started.append(self.process)

    numbers = itertools.count()
    started: ClassVar[list] = []  # the fixtures' end kills those that a failed test left

    def end(self, seconds: float = 120) -> int:
        """The exit code, as a shell gives it, once the process has ended."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"still running after {seconds} s:\n{self.said}")
        code = self.process.exitcode
        return code if code >= 0 else 128 - code

    @property
    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


def fit(folder: Path, *options: str, **keywords) -> int:
    """The exit code of `rnn-hf fit`."""
    return Fit(folder, *options, **keywords).end()


def result(run: Path) -> dict[str, object]:
    """What a finished run must have in common with the one that was never disturbed."""
    metrics = json.loads((run / "model" / "metrics.json").read_text())
    return {
        "weights": hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest(),
        "metrics": {key: value for key, value in metrics.items() if key not in OF_NO_RESULT},
        "rows": (run / "metrics.csv").read_text(),
    }


def strays(folder: Path) -> list[str]:
    """Names of half-written files below a folder."""
    return [path.name for path in folder.rglob("*") if "partial" in path.name or path.name.startswith("tmp")]


def _child(
    folder: Path,
    argv: list[str],
    environment: dict[str, str],
    log: Path,
    limits: dict[str, int],
) -> None:
    """Limits: `kill_in_save`, the operation on checkpoint files at which the process kills itself; `file_size`, the
    bytes that a file may have; `no_privilege`: permissions count for root too."""
    os.chdir(folder)
    os.environ.update(environment | {"HF_HUB_OFFLINE": "1"})
    sys.stdout = sys.stderr = open(log, "w", buffering=1)  # noqa: SIM115  until the process ends
    os.dup2(sys.stdout.fileno(), 1)
    os.dup2(sys.stdout.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    multiprocessing.set_start_method(None, force=True)  # the loader's workers start as they do without a fork server
    import torch

    torch.set_num_threads(1)
    if "file_size" in limits:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file_size"], resource.RLIM_INFINITY))
    if limits.get("no_privilege") and os.getuid() == 0:
        _obey_permissions()
    if "kill_in_save" in limits:
        _kill_in_save(limits["kill_in_save"])
    from rnn_hf.cli import main

    sys.exit(main(argv))


def _obey_permissions() -> None:
    """Gives up the capabilities of root to pass over permissions (Linux, capabilities(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    for i in (0, 1):  # effective, permitted
        data[i] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, data) == 0


def _kill_in_save(number: int) -> None:
    """SIGKILL before the operation of that number (from 0) on a checkpoint's files, counted over the run."""
    from rnn_hf.training import checkpoint_files

    inside, done = [False], itertools.count()

    def counted(operation):
        def perform(*arguments, **keywords):
            if inside[0] and next(done) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return operation(*arguments, **keywords)

        return perform

    def watched(method):
        def perform(*arguments, **keywords):
            inside[0] = True
            try:
                return method(*arguments, **keywords)
            finally:
                inside[0] = False

        return perform

    for name in ("fsync", "replace", "unlink"):
        setattr(os, name, counted(getattr(os, name)))
    files = checkpoint_files.CheckpointFiles
    checkpoint_files._Digested.write = counted(checkpoint_files._Digested.write)
    files.save_checkpoint, files.remove_checkpoint = watched(files.save_checkpoint), watched(files.remove_checkpoint)
