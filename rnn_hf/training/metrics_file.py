"""`metrics.csv`: what a run logged, a row for each step that reports."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from ..files import whole_file


class MetricsFile(Logger):
    """Lightning's CSVLogger deletes the file where a run goes on; this one has its rows in every checkpoint.

    Args:
        epoch: gives the epoch that runs, from 1 on as everywhere that people see it. Lightning counts from 0 while it
            trains, and from 1 in an evaluation afterwards.
        steps: gives the optimiser steps that are done, which is the step of an evaluation's row, as it is `best_step`.
            Lightning gives an evaluation within training the number of the step before it, from 0 on.

    Attributes:
        rows: all that was logged, each with `epoch` (where Lightning gives one), `step` and metrics.
    """

    name = version = ""  # of no folder: Lightning's own callbacks write to the run folder's checkpoints/ too

    def __init__(self, folder: Path, epoch: Callable[[], int], steps: Callable[[], int]):
        super().__init__()
        self.file, self.epoch, self.steps = folder / "metrics.csv", epoch, steps
        self.rows: list[dict[str, float | int]] = []
        self._columns: list[str] = []
        self._written = 0  # rows of `rows` that the file holds

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        step = len(self.rows) if step is None else step
        if "epoch" in metrics:
            metrics = metrics | {"epoch": self.epoch()}
        if any(name.startswith(("validation/", "test/")) for name in metrics):
            step = self.steps()
        self.rows.append({"step": step} | {name: _plain(value) for name, value in metrics.items()})

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Not here: `recipe.yaml` in the model folder has them."""

    @rank_zero_only
    def save(self) -> None:
        """Writes the rows that the file lacks; all of them where a new metric needs a new column."""
        new = self.rows[self._written :]
        if not new:
            return
        columns = list(dict.fromkeys([*self._columns, *(name for row in new for name in row)]))
        if columns == self._columns:
            with open(self.file, "a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, columns).writerows(new)
        else:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self.file, newline="") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(self.rows)
        self._columns, self._written = columns, len(self.rows)

    def evaluations(self, saved: int | None, most: int = 20) -> list[dict[str, float | int]]:
        """What `metrics.json` tells of the run: a row for each validation, thinned evenly to about `most` of them.

        The first, the last and the one at step `saved` are always there. `train/loss` is the mean of what was logged
        since the validation before it; such a row has `step`, `epoch`, and all of `validation/`.
        """
        found, losses = [], []
        for row in self.rows:
            if "train/loss" in row:
                losses.append(row["train/loss"])
            metrics = {name: value for name, value in row.items() if name.startswith("validation/")}
            if metrics:
                loss = {"train/loss": sum(losses) / len(losses)} if losses else {}
                found.append({"step": row["step"], "epoch": row["epoch"], **loss, **metrics})
                losses = []
        every = max(1, -(-len(found) // most))
        last = len(found) - 1
        return [row for i, row in enumerate(found) if i % every == 0 or i == last or row["step"] == saved]

    def continue_from(self, rows: list[dict[str, float | int]]) -> None:
        """Takes the rows of the run so far; whatever the file held is replaced at the next `save`."""
        self.rows, self._columns, self._written = list(rows), [], 0

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()


def _plain(value: Any) -> float | int:
    return int(value) if isinstance(value, int) else float(value)
