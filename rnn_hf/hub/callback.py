"""`PushBest`: the best weights so far go to the Hub while training goes on, and whatever the network does."""

import copy
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lightning as L

from ..training.callbacks import BestWeights, epoch_number
from .push import PushOptions

SECONDS = 600  # between two pushes


class PushBest(L.Callback):
    """Starts `rnn-hf push` after an evaluation that was the best so far, at most every 10 minutes and one at a time.

    A process of its own: opening the folder draws random numbers and sets torch's default type, which training must
    not notice. What becomes of it is said on standard error; a failure changes nothing.

    Args:
        options: of the push; its tag is kept for the end of the run.
        best: whose weights are pushed. It must come before this callback.
        folder: a new one in the run folder, for the files until they are pushed.
        write: writes a model folder: (folder, model on the CPU, what `best.best` says of the evaluation).
    """

    def __init__(self, options: PushOptions, best: BestWeights, folder: Path, write: Callable):
        self.options, self.best, self.folder, self.write = options, best, folder, write
        self._process: subprocess.Popen | None = None
        self._next = 0.0  # when the next push may start
        self._epoch = 0

    def on_validation_end(self, trainer, module):
        if trainer.state.fn != "fit" or trainer.sanity_checking or not trainer.is_global_zero:
            return
        self._report()
        best = self.best.best
        is_best = best is not None and best["step"] == trainer.global_step
        if is_best and self._process is None and time.monotonic() >= self._next:
            self._start(module.model, epoch_number(trainer))

    def _start(self, model, epoch: int) -> None:
        self._next, self._epoch = time.monotonic() + SECONDS, epoch
        try:
            shutil.rmtree(self.folder, ignore_errors=True)
            kept = copy.deepcopy(model).cpu()
            kept.load_state_dict(self.best.best["weights"])
            self.write(self.folder / "model", kept, self.best.best)
            message = self.options.message or f"Best weights so far, of epoch {epoch}"
            words = replace(self.options, message=message, tag=None).words(self.folder / "model")
            with open(self.folder / "log", "wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "rnn_hf.cli", *words], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                    env={k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "RANK", "TORCHELASTIC_RUN_ID")},
                )  # fmt: skip
        except OSError as error:  # a full disk
            self._say(f"not pushed: {error}")

    def _report(self, wait: bool = False) -> None:
        if self._process is None or (not wait and self._process.poll() is None):
            return
        done = self._process.wait() == 0
        lines = (self.folder / "log").read_text(encoding="utf-8", errors="replace").splitlines() or ["no answer"]
        self._say(f"pushed to {lines[-1]}" if done else f"not pushed, training goes on: {lines[-1]}")
        self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _say(self, what: str) -> None:
        print(f"best weights so far, of epoch {self._epoch}: {what}", file=sys.stderr, flush=True)

    def on_train_end(self, trainer, module):
        self._report(wait=True)

    def on_exception(self, trainer, module, exception):
        if self._process is not None:  # a push is a commit or nothing
            self._process.terminate()
            self._process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)
