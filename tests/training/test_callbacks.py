"""`EarlyStop` and `Progress`, driven by hand; `BestWeights` is tested with the modules."""

import io
import sys
from types import SimpleNamespace

import pytest
import torch

from rnn_hf.training.callbacks import EarlyStop, Progress


def evaluated(stop, step, best_step, counts=True, fn="fit"):
    trainer = SimpleNamespace(
        global_step=step, should_stop=False, sanity_checking=False, state=SimpleNamespace(fn=fn), current_epoch=step
    )
    stop.best.best = {"step": best_step, "metrics": {"validation/loss": 1.25}, "epoch": best_step}
    stop.on_validation_end(trainer, SimpleNamespace(monitor=("validation/loss", "min"), patience_counts=counts))
    return trainer.should_stop


def test_patience_runs_out_and_starts_anew_at_each_best():
    stop = EarlyStop(SimpleNamespace(best=None), patience=2)
    assert [evaluated(stop, step, best) for step, best in [(1, 1), (2, 1), (3, 3), (4, 3)]] == [False] * 4
    assert not stop.stopped
    assert evaluated(stop, 5, 3)
    assert stop.stopped
    assert stop.reason == "2 evaluations were no better than validation/loss 1.25 of epoch 3"


def test_evaluations_that_do_not_count_and_those_after_the_run_wait():
    stop = EarlyStop(SimpleNamespace(best=None), patience=1)
    assert not evaluated(stop, 2, 1, counts=False)
    assert not evaluated(stop, 2, 1, fn="validate")
    assert evaluated(stop, 3, 1)


def test_patience_is_resumed():
    stop, resumed = EarlyStop(SimpleNamespace(best=None), 3), EarlyStop(SimpleNamespace(best=None), 3)
    evaluated(stop, 2, 1)
    resumed.load_state_dict(stop.state_dict())
    assert resumed.waited == 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("live", [True, False])
def test_progress_rewrites_its_line_on_a_terminal_only(monkeypatch, live):
    out = Terminal() if live else io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    progress = Progress(SimpleNamespace(best={"step": 3}))
    progress.seconds = 0  # every step
    trainer = SimpleNamespace(
        global_step=0, current_epoch=0, max_epochs=2, num_training_batches=3, estimated_stepping_batches=6,
        world_size=1, progress_bar_metrics={"train/loss": 1.5}, state=SimpleNamespace(fn="fit"), sanity_checking=False,
        fit_loop=SimpleNamespace(epoch_progress=SimpleNamespace(current=SimpleNamespace(ready=1))),
    )  # fmt: skip
    module = SimpleNamespace(metrics={"validation/loss": 1.25, "validation/tokens": 111558, "test/loss": 9.0})
    progress.on_train_start(trainer, module)
    for step in range(3):
        trainer.global_step = step + 1
        progress.on_train_batch_end(trainer, module, None, {"input_ids": torch.ones(2, 5)}, step)
    progress.on_validation_end(trainer, module)
    text = out.getvalue()
    assert text.count("\r\x1b[K") == (4 if live else 0)
    assert text.count("\n") == (1 if live else 4)
    lines = text.replace("\r\x1b[K", "\n").strip().splitlines()
    assert lines[0].startswith("epoch 1/2 | step 1/3 | loss 1.5 | ")
    assert lines[-1] == "epoch 1 | validation/loss 1.25 | validation/tokens 111,558 | best"
