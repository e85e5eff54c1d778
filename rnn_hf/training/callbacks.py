"""`BestWeights` keeps the weights of the best evaluation, `EarlyStop` ends a run that gets no better, `LogInterval`
lets short runs report more often, `Progress` prints lines fit for a terminal or a file."""

import math
import sys
import time

import lightning as L
from lightning.pytorch.callbacks import ProgressBar


def epoch_number(trainer) -> int:
    """The 1-based epoch that runs, or after the run the last one that began.

    Lightning's own number depends on whether a run that `max_steps` ended has been resumed.
    """
    return trainer.fit_loop.epoch_progress.current.ready


class BestWeights(L.Callback):
    """Keeps, on the CPU and in every checkpoint, the weights that were best by the module's `monitor`.

    Attributes:
        best: None before the first evaluation; else `weights`, that evaluation's `metrics` and `reports`, `step` and
            `epoch`.
        evaluated_step: Optimiser steps before the last evaluation; None before the first.
    """

    def __init__(self):
        self.best = self.evaluated_step = self._evaluated = None

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 0:  # here, as averaged weights may stand in the model for the validation alone
            weights = module.model.state_dict()
            self._evaluated = {key: weight.detach().cpu().clone() for key, weight in weights.items()}

    def on_validation_end(self, trainer, module):
        name, mode = module.monitor
        value = module.metrics.get(name, math.nan)
        if trainer.sanity_checking:
            return
        self.evaluated_step = trainer.global_step
        if math.isnan(value):
            return
        sign = {"min": 1, "max": -1}[mode]
        if self.best is None or sign * value < sign * self.best["metrics"][name]:
            self.best = {
                "weights": self._evaluated,
                "metrics": {key: value for key, value in module.metrics.items() if key.startswith("validation/")},
                "reports": {split: report for split, report in module.reports.items() if split == "validation"},
                "step": trainer.global_step,
                "epoch": epoch_number(trainer),
            }

    def restore(self, module) -> None:
        """Puts the best weights back into the model; without any evaluation it stays as it is."""
        if self.best is not None:
            module.model.load_state_dict(self.best["weights"])

    def state_dict(self):
        return {"best": self.best, "evaluated_step": self.evaluated_step}

    def load_state_dict(self, state_dict):
        self.best, self.evaluated_step = state_dict["best"], state_dict["evaluated_step"]


class EarlyStop(L.Callback):
    """Ends training once `patience` evaluations in a row were no better than the best one.

    Only evaluations count that say something about the end of the run (`TextModule.patience_counts`).

    Attributes:
        waited: evaluations in a row that counted and were no better.
    """

    def __init__(self, best: BestWeights, patience: int):
        self.best, self.patience, self.waited = best, patience, 0
        self.asked = False  # for the end; `min_epochs` may put it off
        self.name = None  # of the metric

    @property
    def stopped(self) -> bool:
        """Whether it ended the run."""
        return self.waited >= self.patience

    @property
    def reason(self) -> str:
        """Why it ended the run, for people."""
        value, epoch = self.best.best["metrics"][self.name], self.best.best["epoch"]
        return f"{self.waited} evaluations were no better than {self.name} {value:.5g} of epoch {epoch}"

    def on_validation_end(self, trainer, module):
        if trainer.state.fn != "fit" or trainer.sanity_checking or self.best.best is None:
            return
        self.name = module.monitor[0]
        if self.best.best["step"] == trainer.global_step:
            self.waited = 0
        elif module.patience_counts:
            self.waited += 1
        if self.stopped:
            trainer.should_stop = self.asked = True

    def on_train_start(self, trainer, module):
        if self.asked:  # before the checkpoint that this run goes on from
            trainer.should_stop = True

    def state_dict(self):
        return {"waited": self.waited, "asked": self.asked}

    def load_state_dict(self, state_dict):
        self.waited, self.asked = state_dict["waited"], state_dict["asked"]


class LogInterval(L.Callback):
    """Sets `log_every_n_steps` by the length of the run: 50 reports at least if it has as many steps, and one each 20.

    The length is that of the whole run: a resumed one reports at the steps at which it would have.
    """

    def on_train_start(self, trainer, module):
        trainer.log_every_n_steps = int(min(20, max(1, trainer.estimated_stepping_batches / 50)))  # of inf too


class Progress(ProgressBar):
    """One line on stderr with the step, what the module reports, tokens a second and the time left.

    On a terminal the line is rewritten in place; in a file or a pipe there is a new one every `seconds`. Each
    validation leaves a line of its own.
    """

    def __init__(self, best: BestWeights, seconds: float = 15.0):
        super().__init__()
        self.best = best
        self.live = sys.stderr.isatty()
        self.seconds = 0.5 if self.live else seconds
        self.enabled = True

    def disable(self):
        self.enabled = False

    def enable(self):
        self.enabled = True

    def _write(self, line: str, keep: bool) -> None:
        if self.enabled:
            start, end = ("\r\x1b[K", "\n" if keep else "") if self.live else ("", "\n")
            print(start + line, end=end, file=sys.stderr, flush=True)

    def on_train_start(self, trainer, module):
        self._began, self._first_step = time.monotonic(), trainer.global_step
        self._restart_clock()

    def _restart_clock(self):
        self._shown, self._tokens = time.monotonic(), 0

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        # Stays a tensor on the device: a number here would wait for every step.
        self._tokens = self._tokens + (
            batch["attention_mask"].sum() if "attention_mask" in batch else batch["input_ids"].numel()
        )
        now = time.monotonic()
        if now - self._shown < self.seconds:
            return
        reported = {name.removeprefix("train/"): float(value) for name, value in trainer.progress_bar_metrics.items()}
        parts = [
            f"epoch {epoch_number(trainer)}/{trainer.max_epochs if (trainer.max_epochs or -1) > 0 else '?'}",
            f"step {batch_idx + 1}/{trainer.num_training_batches}",
            *(f"{name} {value:.4g}" for name, value in reported.items()),
            f"{float(self._tokens) * trainer.world_size / (now - self._shown):,.0f} tokens/s",
            *self._left(trainer, now),
        ]
        self._write(" | ".join(parts), keep=False)
        self._restart_clock()

    def _left(self, trainer, now: float) -> list[str]:
        """The time left, where the run has a known length."""
        step, steps = trainer.global_step, trainer.estimated_stepping_batches
        if step == self._first_step or math.isinf(steps):
            return []
        seconds = (now - self._began) / (step - self._first_step) * (steps - step)
        return [f"{int(seconds) // 60}:{int(seconds) % 60:02d} left"]

    def on_validation_end(self, trainer, module):
        if trainer.sanity_checking:
            return
        best = self.best.best is not None and self.best.best["step"] == trainer.global_step
        values = (
            f"{name} {value:{',' if isinstance(value, int) else '.5g'}}"
            for name, value in module.metrics.items()
            if name.startswith("validation/")
        )
        self._write(f"epoch {epoch_number(trainer)} | " + " | ".join(values) + (" | best" if best else ""), keep=True)
        if trainer.state.fn == "fit":
            self._restart_clock()
