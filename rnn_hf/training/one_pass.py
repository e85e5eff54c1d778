"""Fit a model in one pass over its training data, without an optimiser: by counting, or by solving for all of it."""

from typing import Any

from .module import TextModule

ONE_PROCESS = "{} is fitted to all training data by one process: start one, with trainer.devices 1"


class OnePassModule(TextModule):
    """A LightningModule that hands all training batches of one epoch to `fit_batches`, before the first evaluation.

    A task gives what `TextModule` wants, and `fit_batches` in the place of a training loss.

    Raises:
        ValueError: more than one process, or epochs other than one.
    """

    one_pass = True
    trainer_defaults = {"max_epochs": 1, "enable_checkpointing": False}  # a run takes seconds: nothing to go on from

    def __init__(self, **arguments: Any):
        super().__init__(**arguments)
        self.automatic_optimization = False
        self.batches: list[dict[str, Any]] = []

    def setup(self, stage: str) -> None:
        name, epochs = self.model.config.model_type, self.trainer.max_epochs
        if self.trainer.world_size > 1:
            raise ValueError(ONE_PROCESS.format(name))
        if stage == "fit" and epochs != 1:
            raise ValueError(f"{name} is fitted in one pass: trainer.max_epochs must be 1; got {epochs}")

    def configure_optimizers(self):
        return None

    def training_step(self, batch, batch_idx):
        self.batches.append({name: value.cpu() for name, value in batch.items() if hasattr(value, "cpu")})
        if self.trainer.is_last_batch:
            self.fit_batches(self.batches)
            self.batches = []

    def fit_batches(self, batches: list[dict[str, Any]]) -> None:
        """Fits `self.model` to all training data."""
        raise NotImplementedError
