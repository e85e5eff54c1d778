"""`TextModule`: what every task's LightningModule shares: AdamW, its schedule, and exact metrics of an evaluation."""

import math

import lightning as L
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ..models.config_checks import number, one_of


class TextModule(L.LightningModule):
    """A LightningModule that trains `self.model` by AdamW, with warm-up and a schedule over the whole run.

    A task gives `monitor`, `Evaluation` and `training_step`.

    Args:
        learning_rate: The highest of the run.
        weight_decay: Decoupled (Loshchilov & Hutter 2019), on matrices alone: biases and normalisation are exempt.
        schedule: `one_cycle` warms up and then falls to zero along a cosine (Smith 2018); `constant` stays.
        warmup_share: Share of all steps in which the rate rises from zero, linearly.

    Raises:
        ValueError: a value outside its range.
    """

    monitor: tuple[str, str]  # the metric that decides which weights are best, and its better end: "min" or "max"
    Evaluation: type  # one pass over evaluation data, see `metrics.py`; its `names` are what it computes

    def __init__(
        self,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        schedule: str = "one_cycle",
        warmup_share: float = 0.1,
    ):
        super().__init__()
        given = {
            "learning_rate": (learning_rate, number(0, 100)),
            "weight_decay": (weight_decay, number(0, 100)),
            "schedule": (schedule, one_of("one_cycle", "constant")),
            "warmup_share": (warmup_share, number(0, 1)),
        }
        problems = [f"model.{name} must be {problem}" for name, (v, rule) in given.items() if (problem := rule(v))]
        if problems:
            raise ValueError("; ".join(problems))
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.schedule, self.warmup_share = schedule, warmup_share
        # `validation/...` and `test/...` of the last evaluation, in float64: Lightning's own are rounded to float32.
        self.metrics: dict[str, float] = {}
        self.reports: dict[str, dict] = {}  # split -> what its last evaluation says beside them, ready for JSON

    @property
    def logs_now(self) -> bool:
        """Whether this training step reports: `self.log` at every step costs as much as a small model's step."""
        return (self.global_step + 1) % self.trainer.log_every_n_steps == 0

    def configure_optimizers(self):
        trained = [p for p in self.model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        optimizer = AdamW(groups, lr=self.learning_rate, fused=True)
        # Lightning clips no fused optimizer under mixed precision, in case it unscales; without this mark none does.
        optimizer._step_supports_amp_scaling = False
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            if self.schedule == "one_cycle":
                raise ValueError("model.schedule one_cycle needs trainer.max_epochs or trainer.max_steps")
            return optimizer  # a share of an endless run is no number of steps
        schedule = LambdaLR(optimizer, lambda step: rate_factor(step, steps, self.warmup_share * steps, self.schedule))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _start_evaluation(self):
        self.evaluation = self.Evaluation()

    def _evaluation_step(self, batch, batch_idx):
        self.evaluation.update(self.model, batch)

    def _finish_evaluation(self, split: str):
        metrics = {f"{split}/{name}": value for name, value in self.evaluation.compute().items()}
        self.metrics.update(metrics)
        self.log_dict({name: float(value) for name, value in metrics.items()})

    on_validation_epoch_start = on_test_epoch_start = _start_evaluation
    validation_step = test_step = _evaluation_step

    def on_validation_epoch_end(self):
        self._finish_evaluation("validation")

    def on_test_epoch_end(self):
        self._finish_evaluation("test")


def rate_factor(step: int, steps: float, warmup: float, schedule: str) -> float:
    """The learning rate at 0-based `step` of `steps`, as a share of the highest."""
    if step < warmup:
        return (step + 1) / (math.floor(warmup) + 1)
    if schedule == "constant":
        return 1.0
    return (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1.0, steps - warmup)))) / 2
