"""`RateFinder`: the learning-rate range test (Smith 2017) as a callback.

Lightning's own (`Tuner.lr_find`) suggests the steepest point of the loss over the rate on a linear scale, which is
nearly always the smallest rate, and writes a checkpoint to restore a model that nobody keeps here.
"""

import math

import lightning as L

MEMORY = 0.9  # of the moving average that smooths the losses
GONE = 1.5  # the test ends where the smoothed loss is so many times what it was at first


class RateFinder(L.Callback):
    """Raises the learning rate exponentially from `low` to `high` in `steps` optimiser steps, and ends the run early
    where the loss leaves for good.

    Attributes:
        rates: of each step.
        losses: training losses of the steps, smoothed by a moving average (bias-corrected).
    """

    def __init__(self, low: float, high: float, steps: int):
        self.low, self.high, self.steps = low, high, steps
        self.rates, self.losses = [], []
        self._average = 0.0

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        rate = self.low * (self.high / self.low) ** (trainer.global_step / (self.steps - 1))
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = rate

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == len(self.rates):  # gradients are accumulated
            return
        # Lightning divides by the number of accumulated batches
        loss = float(outputs["loss"]) * trainer.accumulate_grad_batches
        self._average = MEMORY * self._average + (1 - MEMORY) * loss
        smoothed = self._average / (1 - MEMORY ** (len(self.losses) + 1))
        if not math.isfinite(smoothed):
            trainer.should_stop = True
            return
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.losses.append(smoothed)
        if smoothed > GONE * self.losses[0]:
            trainer.should_stop = True

    @property
    def suggestion(self) -> float | None:
        """Half the rate at which the smoothed loss was lowest: the highest rate for `one_cycle`.

        Half, because the average lags behind. None if the loss never fell below the first.
        """
        lowest = min(range(len(self.losses)), key=self.losses.__getitem__, default=0)
        return self.rates[lowest] / 2 if lowest else None
