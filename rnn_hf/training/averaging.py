"""Averages of the weights, which are evaluated and exported in the place of the last ones.

Notable: Lightning copies the module before `trainer.precision` converts it, so an average is kept in float32.
"""

import sys

from lightning.pytorch.callbacks import WeightAveraging

from .callbacks import epoch_number


class NonMonotoneAveraging(WeightAveraging):
    """NT-ASGD, averaging that validation triggers (Merity et al. 2018, algorithm 1).

    At the first evaluation that is worse than the best of those more than `patience` before it, averaging begins: from
    that step T on the average is (w_T + ... + w_k) / (k - T + 1), what each later evaluation sees and what the run
    ends with. Training itself goes on with the plain weights. The comparison leaves out the `patience` latest
    evaluations, as the authors' code does. A non-finite step that is left out counts, with the weights as they are.

    Args:
        patience: n of the algorithm.
        device: where the average stands.

    Attributes:
        history: the module's `monitor` at each evaluation before averaging.
        began: whether averaging has.
    """

    def __init__(self, patience: int, device=None):
        super().__init__(device=device, use_buffers=False)
        self.patience, self.history, self.began = patience, [], False

    def should_update(self, step_idx=None, epoch_idx=None):
        return self.began and step_idx is not None

    def on_validation_end(self, trainer, module):
        if trainer.state.fn != "fit" or trainer.sanity_checking or self.began:
            return
        name, mode = module.monitor
        value = module.metrics[name] * {"min": 1, "max": -1}[mode]
        if any(value > earlier for earlier in self.history[: -self.patience]):
            self.began = True
            self._average_model.update_parameters(module)  # the first one: a copy
            if trainer.is_global_zero:
                line = f"epoch {epoch_number(trainer)} | weights are averaged from step {trainer.global_step} on"
                print(line, file=sys.stderr, flush=True)
        self.history.append(value)

    # Until it has begun there is no average to put into the model.

    def on_validation_epoch_start(self, trainer, module):
        if self.began:
            super().on_validation_epoch_start(trainer, module)

    def on_validation_epoch_end(self, trainer, module):
        if self.began:
            super().on_validation_epoch_end(trainer, module)

    def on_train_end(self, trainer, module):
        if self.began:
            super().on_train_end(trainer, module)

    def state_dict(self):
        return {**super().state_dict(), "history": self.history, "began": self.began}

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        self.history, self.began = list(state_dict["history"]), state_dict["began"]
