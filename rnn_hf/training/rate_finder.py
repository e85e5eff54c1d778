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
        losses: training losses of the steps with what regularisers add, smoothed by a moving average (bias-corrected).
    """

    def __init__(self, low: float, high: float, steps: int):
        self.low, self.high, self.steps = low, high, steps
        self.rates, self.losses = [], []
        self._average = 0.0

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self._rate = self.low * (self.high / self.low) ** (trainer.global_step / (self.steps - 1))
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self._rate * group["initial_lr"] / module.learning_rate  # layers may have rates of their own

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
        self.rates.append(self._rate)
        self.losses.append(smoothed)
        if smoothed > GONE * self.losses[0]:
            trainer.should_stop = True

    @property
    def suggestion(self) -> float | None:
        """The rate in the middle of the longest fall of the loss; None if it never fell.

        That is fastai's `valley`: the longest falling subsequence, and its middle on the logarithmic scale.
        """
        losses = self.losses
        falls = [1] * len(losses)  # length of the longest falling subsequence that ends at each step
        for i in range(len(losses)):
            falls[i] += max((falls[j] for j in range(i) if losses[j] > losses[i]), default=0)
        length = max(falls, default=0)
        if length < 2:
            return None
        end = falls.index(length)
        return self.rates[end - length // 2]
