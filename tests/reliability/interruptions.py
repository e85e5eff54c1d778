"""Callbacks that end a run where a test wants it, given in its recipe: `trainer.callbacks`."""

import os
import signal

import lightning as L


class SignalAt(L.Callback):
    """Sends SIGTERM to the run's own process where the environment says: `STOP_AT=7` in the step after 7 steps,
    `STOP_AT=7v` in the validation after them. So a run and its resumption have one recipe."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self._perhaps(str(trainer.global_step))

    def on_validation_batch_end(self, trainer, module, *batch):
        if trainer.state.fn == "fit":
            self._perhaps(f"{trainer.global_step}v")

    def _perhaps(self, here: str) -> None:
        if os.environ.get("STOP_AT") == here:
            os.kill(os.getpid(), signal.SIGTERM)


class Trace(L.Callback):
    """Appends to a file the ids of each training batch, and the recurrent state that it is read in."""

    def __init__(self, file: str):
        self.file = file

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        state = getattr(module, "train_state", None)
        layers = [] if state is None else [s.double().sum().item() for layer in state.layers for s in layer.states]
        with open(self.file, "a") as file:
            print(trainer.global_step, batch["input_ids"].tolist(), layers, file=file)
