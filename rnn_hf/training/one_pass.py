"""Fit a model in one pass over its training data, without an optimiser: by counting, or by solving for all of it."""

from typing import Any

from .module import TextModule

ONE_PROCESS = "{} is fitted to all training data by one process: start one, with trainer.devices 1"
# of the trainer: what takes all batches once and evaluates only then, and has no optimiser
ONE_PASS = {
    "max_steps": (-1,),
    "max_epochs": (1,),
    "val_check_interval": (1.0, None),
    "accumulate_grad_batches": (1,),
    "gradient_clip_val": (None,),
}


def check_trainer(model_type: str, trainer: Any) -> None:
    """Raises ValueError unless `trainer`, or its arguments, takes all batches once and evaluates only then."""
    if trainer.fast_dev_run:
        return
    for name, allowed in ONE_PASS.items():
        # as text: 1 is not 1.0 there, which are a batch and an epoch
        if str(given := getattr(trainer, name)) not in map(str, allowed):
            raise ValueError(f"{model_type} is fitted in one pass: trainer.{name} must be {allowed[0]}; got {given}")


class OnePassModule(TextModule):
    """A LightningModule that hands all training batches of one epoch to `fit_batches`, before the first evaluation.

    A task gives what `TextModule` wants, and `fit_batches` in the place of a training loss.

    Raises:
        ValueError: more than one process, epochs other than one, or steps.
    """

    one_pass = True
    trainer_defaults = {"max_epochs": 1, "enable_checkpointing": False}  # a run takes seconds: nothing to go on from

    def __init__(self, **arguments: Any):
        super().__init__(**arguments)
        self.automatic_optimization = False
        self.batches: list[dict[str, Any]] = []

    def setup(self, stage: str) -> None:
        if self.trainer.world_size > 1:
            raise ValueError(ONE_PROCESS.format(self.model.config.model_type))
        if stage == "fit":
            check_trainer(self.model.config.model_type, self.trainer)

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
