"""`StepGuard`: a step whose loss or gradient is not finite never reaches the weights.

Lightning trains on, to weights of NaN. Here the norm of the final gradient is read once a step, just before the
optimiser: it decides whether the step is taken, it is what the gradient is clipped by, and it is logged. On a GPU
reading it waits for the device, once a step.
"""

import math
import sys
from typing import Any

import lightning as L
import torch
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from .callbacks import epoch_number
from .metrics import IGNORED


class NonFiniteStep(ValueError):
    """A step whose loss or gradient is not finite, and which the run may not leave out."""


class StepGuard:
    """Stops training at a non-finite step, or leaves the step out.

    A step that is left out has no gradient: the weights and the optimiser's moments stay as they are, the schedule goes
    on, and the module drops the state that it carries.

    Args:
        allowed: How many non-finite steps the run may leave out; at the next it ends.

    Attributes:
        skipped: steps left out so far.
    """

    def __init__(self, allowed: int = 0):
        self.allowed, self.skipped = allowed, 0
        self._wrong: torch.Tensor | float = 0.0  # the sum of the non-finite losses of the step's batches
        self._steps = self._clipped = 0  # since the last report

    def start(self, loss: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | None:
        """Where backward starts from: 1 (None says so too), or NaN for a non-finite loss. Nothing waits for the device.

        Finite gradients of an infinite loss would pass. From NaN all are NaN, in the sum over accumulated batches and
        in the mean over processes too, so that the norm alone decides, and every process alike.
        """
        loss = loss.detach()
        if loss.device.type == "cpu" and math.isfinite(loss):  # five operations less, in a small model 2 % of a step
            return None
        # The mean over no target at all is NaN, and its gradient zero: nothing is wrong.
        wrong = torch.where(loss.isfinite() | (targets == IGNORED).all(), 0.0, loss)
        self._wrong = self._wrong + wrong
        return 1 + 0 * wrong

    def clip(self, module: L.LightningModule, optimizer: Any, clip_value: float | None, algorithm: str | None) -> None:
        """Clips the final gradient as Lightning does, bit for bit, or takes a non-finite one away.

        Logs `gradient_norm`, as it was before, and `clipped_share` of the steps since the last report.

        Raises:
            NonFiniteStep: the gradient is not finite, and no further step may be left out.
        """
        parameters = [p for p in module.trainer.precision_plugin.main_params(optimizer) if p.grad is not None]
        wrong, self._wrong = self._wrong, 0.0
        total = get_total_norm([p.grad for p in parameters])
        norm = total.cpu()  # waits for the device
        if not math.isfinite(norm):
            wrong = float(wrong)
            if not self._is_overflow(module, wrong):
                self._leave_out(module, parameters, wrong, norm)
            return
        clips_norm = clip_value is not None and clip_value > 0 and algorithm in (None, "norm")
        if clips_norm:
            self._steps += 1
            if clip_value / (norm + 1e-6) < 1:  # torch's factor; else it multiplies by 1
                self._clipped += 1
                clip_grads_with_norm_(parameters, clip_value, total)
        else:
            module.clip_gradients(optimizer, clip_value, algorithm)
        if module.logs_now:
            module.log("gradient_norm", norm)
            if clips_norm:
                module.log("clipped_share", self._clipped / self._steps)
            self._steps = self._clipped = 0

    def _is_overflow(self, module, wrong: float) -> bool:
        """Whether float16 has overflowed, which its GradScaler answers by leaving the step out at a lower scale.

        Not if the loss itself, of any process, is not finite.
        """
        if getattr(module.trainer.precision_plugin, "scaler", None) is None:
            return False
        processes = module.trainer.strategy.reduce(
            torch.tensor(float(wrong != 0), device=module.device), reduce_op="sum"
        )
        return not processes

    def _leave_out(self, module, parameters: list, wrong: float, norm: torch.Tensor) -> None:
        trainer = module.trainer
        epoch, batch = epoch_number(trainer), trainer.fit_loop.batch_idx + 1
        what = f"step {trainer.global_step + 1} (epoch {epoch}, batch {batch}): {_cause(module, wrong, norm)}"
        for parameter in parameters:
            parameter.grad = None
        module.drop_state()
        if self.skipped >= self.allowed:
            raise NonFiniteStep(f"{what}. {self._advice(module)}")
        self.skipped += 1
        if trainer.is_global_zero:
            start = "\r\x1b[K" if sys.stderr.isatty() else ""  # over the line of progress
            print(f"{start}{what}; left out, {self.skipped} of {self.allowed}", file=sys.stderr, flush=True)

    def _advice(self, module) -> str:
        clipping, left_out = module.trainer.gradient_clip_val, f" ({self.skipped} were)" if self.allowed else ""
        return (
            "Training stops; weights and checkpoints are as before this step. Try a lower model.learning_rate "
            f"(it is {module.learning_rate:g}) or {'a lower ' if clipping else ''}trainer.gradient_clip_val "
            f"({f'it is {clipping:g}' if clipping else 'there is none'}), look at the data of this batch, or leave out "
            f"a few such steps{left_out} with --skip_nonfinite N"
        )

    def state_dict(self) -> dict[str, int]:
        return {"skipped": self.skipped, "steps": self._steps, "clipped": self._clipped}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.skipped, self._steps, self._clipped = state["skipped"], state["steps"], state["clipped"]


def _cause(module, wrong: float, norm: torch.Tensor) -> str:
    """Which tensor is not finite; `wrong` is this process's loss if it is not, else 0."""
    if wrong:
        return f"the loss is {wrong}"
    parameters = module.model.named_parameters()
    names = [name for name, p in parameters if p.grad is not None and not p.grad.isfinite().all()]
    if not names:
        return f"the gradient's norm is {norm.item()}, though each of its numbers is finite"
    others = f", nor are those of {len(names) - 1} other parameters" if names[1:] else ""
    here = " of this process" if module.trainer.world_size > 1 else ""
    return f"the gradient of {names[0]} is not finite{others}, though the loss{here} is"
