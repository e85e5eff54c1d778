"""What `MetricsFile` tells of a run's evaluations."""

import pytest

from rnn_hf.training.metrics_file import MetricsFile


@pytest.fixture
def file(tmp_path):
    file = MetricsFile(tmp_path, epoch=lambda: 1, steps=lambda: file.done)
    return file


def evaluate(file, after, **metrics):
    """An evaluation within training after so many steps, as Lightning logs it."""
    file.done = after
    file.log_metrics({f"validation/{name}": value for name, value in metrics.items()} | {"epoch": 0}, after - 1)


def test_an_evaluation_has_the_mean_training_loss_since_the_one_before(file):
    file.log_metrics({"train/loss": 4.0, "epoch": 0}, 0)
    file.log_metrics({"train/loss": 2.0, "epoch": 0}, 1)
    evaluate(file, after=2, loss=2.5, tokens=9)
    file.log_metrics({"train/loss": 1.0, "epoch": 0}, 2)
    evaluate(file, after=4, loss=2.0)
    file.log_metrics({"test/loss": 7.0, "epoch": 0}, 4)
    assert file.evaluations(saved=4) == [
        {"step": 2, "epoch": 1, "train/loss": 3.0, "validation/loss": 2.5, "validation/tokens": 9},
        {"step": 4, "epoch": 1, "train/loss": 1.0, "validation/loss": 2.0},
    ]


def test_a_long_log_is_thinned_and_keeps_the_saved_step(file):
    for step in range(1, 101):
        evaluate(file, after=step, loss=1 / step)
    steps = [row["step"] for row in file.evaluations(saved=49)]
    assert len(steps) <= 22
    assert {1, 49, 100} < set(steps) and steps == sorted(steps)
    assert len(file.rows) == 100
