"""`Checkpoints`: from any of them a run goes on to the same bits that it would have reached undisturbed.

A checkpoint is written after an optimiser step, before anything that follows it; so there is one kind. After a step
that ends an epoch or is followed by a validation there always is one: a run that ends in its validation or its test
repeats that alone. Lightning restores weights, optimiser, schedule, callbacks and its own counters; here stand what it
leaves out (random number generators, the rows of metrics.csv, the place in the data) and what it gets wrong (a
validation that was still to come).
"""

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from lightning.pytorch.callbacks import Checkpoint

from ..processes import this_process
from .checkpoint_files import NAME, checkpoints
from .metrics_file import MetricsFile
from .ranks import gathered, highest
from .signals import Interrupted, Signals

SECONDS = 600  # between checkpoints within an epoch
KEY = "rnn_hf"  # of ours in a checkpoint

# what one process asks for after a step; a signal is its number and this
NOTHING, SAVE, STOP = 0, 1, 2


class Checkpoints(Checkpoint):
    """Writes the checkpoints of a run to `folder`, each in the place of the one before it.

    Args:
        folder: of the checkpoints.
        identity: what a run must have in common with the checkpoint that it goes on from, see `differences`.
        signals: which ask for a checkpoint after the step that runs, and for the end.
        every_n_steps: also after so many optimiser steps; always after 10 minutes.

    Attributes:
        texts: files of the model folder that a checkpoint is made into, by name (`export.folder_texts`).
        seconds: spent on the run before this process.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], signals: Signals, every_n_steps: int | None = None):
        self.folder, self.identity, self.signals, self.every_n_steps = folder, identity, signals, every_n_steps
        self.texts: dict[str, str] = {}
        self.began, self.seconds = time.monotonic(), 0.0
        self._saved_at = time.monotonic()
        self._random: dict[str, Any] | None = None  # to be restored

    def on_train_start(self, trainer, module):
        if len(set(steps := gathered(trainer.global_step))) > 1:
            raise ValueError(
                f"the processes start at steps {steps}: --resume needs a run folder that all machines see at one path"
            )
        self.signals.install()
        self.signals.can_wait = True
        if self._random is not None:
            # The loaders exist by now, and nothing draws a number between here and the first step.
            set_random_state(self._random)
            self._random = None

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        loop = trainer.fit_loop.epoch_loop
        if loop._should_accumulate():  # gradients of an unfinished step are in no checkpoint
            return
        every = self.every_n_steps and trainer.global_step % self.every_n_steps == 0
        due = every or time.monotonic() - self._saved_at > SECONDS
        due = due or loop._is_training_done or validation_follows(trainer)  # the former of the epoch or of max_steps
        received = self.signals.received
        asked = highest(STOP + received if received else SAVE if due else NOTHING, module.device)
        if asked:
            self.save(trainer)
        if asked > STOP:
            raise Interrupted(asked - STOP)

    def save(self, trainer) -> None:
        """Writes a checkpoint, then deletes those before it. Every process must call it."""
        path = self.folder / NAME.format(trainer.global_step)
        with self.signals.held():
            trainer.save_checkpoint(path, weights_only=False)
            if trainer.is_global_zero:
                for other in checkpoints(self.folder):
                    if other != path:
                        trainer.strategy.remove_checkpoint(other)
        self._saved_at = time.monotonic()

    def on_validation_start(self, trainer, module):
        if trainer.state.fn == "fit":
            self._stop_waiting()

    def on_validation_end(self, trainer, module):
        self.signals.can_wait = trainer.state.fn == "fit"

    def on_train_end(self, trainer, module):
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        self.signals.can_wait = False
        if self.signals.received is not None:
            raise Interrupted(self.signals.received)

    def on_save_checkpoint(self, trainer, module, checkpoint):
        loops = checkpoint["loops"]["fit_loop"]
        pending = validation_follows(trainer)
        normalise(loops, pending)
        checkpoint[KEY] = {
            "identity": self.identity,
            "texts": self.texts,
            "random": gathered(random_state()),
            "metrics": metrics_so_far(trainer),
            "seconds": self.seconds + time.monotonic() - self.began,
        }

    def on_load_checkpoint(self, trainer, module, checkpoint):
        if trainer.state.fn != "fit":
            return
        ours = checkpoint[KEY]
        self.seconds = ours["seconds"]
        self._random = ours["random"][this_process()[0]]
        for logger in trainer.loggers:
            if isinstance(logger, MetricsFile):
                logger.continue_from(ours["metrics"])


def metrics_so_far(trainer) -> list[dict[str, float | int]]:
    """The rows of metrics.csv, with that of the step which Lightning logs only once it is behind the callbacks."""
    logger = next((logger for logger in trainer.loggers if isinstance(logger, MetricsFile)), None)
    if logger is None:
        return []
    connector, coming = trainer._logger_connector, MetricsFile(logger.file.parent, logger.epoch, logger.steps)
    if connector.should_update_logs and connector.metrics["log"]:
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        metrics = convert_tensors_to_scalars(connector.metrics["log"])
        coming.log_metrics(metrics | {"epoch": trainer.current_epoch}, step)
    return logger.rows + coming.rows


def validation_follows(trainer) -> bool:
    """Whether the loop validates after the step that has just been done."""
    return trainer.fit_loop.epoch_loop._should_check_val_fx(trainer.fit_loop._data_fetcher)


def normalise(loops: dict[str, Any], pending: bool) -> None:
    """Makes Lightning's counters those of a moment between two steps, whichever hook they were read in.

    With `pending` they say that a validation had begun and done nothing yet, which Lightning then runs from its start.
    """
    batches = loops["epoch_loop.batch_progress"]
    for counts in (batches["total"], batches["current"]):
        counts.update(dict.fromkeys(counts, counts["ready"]))
    begun = {"ready": int(pending), "started": int(pending), "processed": 0, "completed": 0}
    validation = loops["epoch_loop.val_loop.batch_progress"]
    validation["total"], validation["current"], validation["is_last_batch"] = dict(begun), dict(begun), False
    # counted after a step's validation, if it has one
    loops["epoch_loop.state_dict"]["_batches_that_stepped"] += int(not pending)


def random_state() -> dict[str, Any]:
    """The state of every generator that draws for all, as tensors and plain values."""
    kind, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Puts back what `random_state` gave."""
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    if state["mps"] is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """What two identities differ in, for a message: `key: theirs, now ours` of each, nested keys joined by dots."""
    theirs, ours = _flat(theirs), _flat(ours)
    missing = "nothing"
    return [
        f"{key}: {theirs.get(key, missing)!r}, now {ours.get(key, missing)!r}"
        for key in sorted({*theirs, *ours})
        if theirs.get(key, missing) != ours.get(key, missing)
    ]


def _flat(values: Any, above: str = "") -> dict[str, Any]:
    if not isinstance(values, dict) or not values:
        return {above.removesuffix("."): values}
    return {k: v for key, value in values.items() for k, v in _flat(value, f"{above}{key}.").items()}
