"""Callbacks that the recipes of these tests name. What they do stands in the environment, so that a run and the one
that goes on from it have one recipe."""

import os
import signal

import lightning as L


class SignalAt(L.Callback):
    """`STOP_AT=7`: SIGTERM to the run's own process in the step after 7 steps; `7v`: in the validation after them."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self._perhaps(str(trainer.global_step))

    def on_validation_batch_end(self, trainer, module, *batch):
        if trainer.state.fn == "fit":
            self._perhaps(f"{trainer.global_step}v")

    def _perhaps(self, here: str) -> None:
        if here in os.environ.get("STOP_AT", "").split():
            os.kill(os.getpid(), signal.SIGTERM)


class Trace(L.Callback):
    """`TRACE=FILE`: appends the ids of each training batch, and the recurrent state that it is read in."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if file := os.environ.get("TRACE"):
            state = getattr(module, "train_state", None)
            layers = [] if state is None else [[s.tolist() for s in layer.states] for layer in state.layers]
            with open(file, "a") as opened:
                print(trainer.global_step, batch["input_ids"].tolist(), layers, file=opened)
