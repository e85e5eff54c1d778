"""A run that ended anywhere goes on to the same bits: weights, metrics, metrics.csv, batches, recurrent state.

The model has dropout and weight drop, averaged weights (EMA) and a carried state, at random lengths; the classifier
shuffled batches of about one length. Rows 1 to 4 and 16 of the project's table of what must survive what.
"""

import random
import tempfile
from pathlib import Path

import pytest

from .processes import Fit, fit, result, strays


def disturbed_at(workplace, name, steps, workers, undisturbed):
    """Runs until SIGTERM at each of `steps` in turn, and to the end."""
    run = f"{name}-{workers}-{'-'.join(steps)}"
    options = ("--config", f"{name}.yaml", "--output_dir", run, "--resume", "auto", "--data.num_workers", workers)
    environment = {"TRACE": f"{run}.trace"}
    for step in steps:
        code = fit(workplace, *options, environment=environment | {"STOP_AT": step})
        assert code == 143 or (step.endswith("v") and code == 0)  # not every step has a validation
        if code == 0:
            return
    assert fit(workplace, *options, environment=environment) == 0
    found = result(workplace / run)
    reference = undisturbed[name]
    assert found["weights"] == reference["weights"]
    assert (workplace / f"{run}.trace").read_text() == reference["trace"]
    assert found["rows"] == reference["rows"]
    expected = dict(reference["metrics"])
    assert {k: v for k, v in found["metrics"].items() if k != "data"} == {
        k: v for k, v in expected.items() if k != "data"
    }


@pytest.mark.parametrize("name", ["language_model", "classifier"])
def test_resumed_within_an_epoch_and_at_its_end(workplace, undisturbed, name):
    """Last measured: equal, both recipes; 3 interruptions in one epoch, and one in the validation that ends it."""
    last = undisturbed[name]["steps"] // 2
    disturbed_at(workplace, name, ["1", "3", "4"], "0", undisturbed)
    disturbed_at(workplace, name, [f"{last - 1}", f"{last}v"], "0", undisturbed)


def test_resumed_with_workers(workplace, undisturbed):
    """Last measured: equal, 2 worker processes."""
    disturbed_at(workplace, "classifier", ["2", "5"], "2", undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("name", ["language_model", "classifier"])
def test_resumed_at_every_step_of_two_epochs(workplace, undisturbed, name, workers):
    """Last measured: equal at each of 28 and 16 steps and both validations, 0 and 2 workers.

    pytest -m slow tests/reliability/test_resume.py -k every_step
    """
    for step in range(undisturbed[name]["steps"]):
        disturbed_at(workplace, name, [str(step)], workers, undisturbed)
    for step in (undisturbed[name]["steps"] // 2, undisturbed[name]["steps"]):
        disturbed_at(workplace, name, [f"{step}v"], workers, undisturbed)


def killed_until_done(workplace, name, draw, in_save, undisturbed, environment=None):
    """kill -9 at a random moment, once or twice, then the same command to its end."""
    run = f"killed-{name}-{draw.random()}"
    options = ("--config", f"{name}.yaml", "--output_dir", run, "--resume", "auto", "--checkpoint_every_n_steps", "2")
    killed = 0
    for _ in range(draw.choice([1, 2])):
        if in_save:
            code = fit(workplace, *options, environment=environment, kill_in_save=draw.randrange(700))
        else:
            running = Fit(workplace, *options, environment=environment)
            running.process.join(draw.uniform(0.05, 1) * undisturbed[name]["seconds"])
            running.process.kill()
            code = running.end()
        assert code in (0, 137)
        killed += code == 137
    if not (workplace / run / "model").exists():
        assert fit(workplace, *options, environment=environment) == 0
    found = result(workplace / run)
    assert found["weights"] == undisturbed[name]["weights"]
    assert found["rows"] == undisturbed[name]["rows"]
    assert not strays(workplace / run)
    return killed


@pytest.mark.parametrize("in_save", [False, True])
def test_killed_at_random_moments(workplace, undisturbed, in_save):
    """The short form of the next one."""
    draw, killed = random.Random(f"short {in_save}"), 0
    while killed < 2:  # a moment may come after the run's end, how fast it is the machine decides
        killed += killed_until_done(workplace, "language_model", draw, in_save, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(("in_save", "kills"), [(False, 30), (True, 20)])
def test_killed_50_times(workplace, undisturbed, in_save, kills):
    """kill -9 at 50 random moments, 20 of them at an operation on a checkpoint's files: the same weights each time.

    pytest -m slow tests/reliability/test_resume.py -k killed_50
    """
    draw, killed = random.Random(f"long {in_save}"), 0
    while killed < kills:
        name = draw.choice(["language_model", "language_model", "classifier"])
        killed += killed_until_done(workplace, name, draw, in_save, undisturbed)


def test_tmpdir_on_another_file_system(workplace, undisturbed):
    """Checkpoints are written beside their target: nothing passes through TMPDIR."""
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == workplace.stat().st_dev:
        pytest.skip("needs a second file system: /dev/shm is none here")
    with tempfile.TemporaryDirectory(dir=elsewhere) as folder:
        draw = random.Random(1)
        killed_until_done(workplace, "language_model", draw, True, undisturbed, {"TMPDIR": folder})
        assert not list(Path(folder).rglob("*.ckpt*"))


VARIANTS = {
    "every second epoch validated": ("--trainer.check_val_every_n_epoch", "2", "--trainer.max_epochs", "4"),
    "validated within the epoch": ("--trainer.val_check_interval", "0.25"),
    "max_steps within an epoch": ("--max_steps", "11"),
    "accumulated": ("--trainer.accumulate_grad_batches", "3", "--trainer.val_check_interval", "0.5"),
    "min_epochs and no patience": (
        *("--trainer.min_epochs", "3", "--trainer.max_epochs", "4", "--early_stopping_patience", "1"),
        *("--model.schedule", "constant", "--model.learning_rate", "0.5"),
    ),
    "layers that thaw": (
        *("--model.gradual_unfreezing", "true", "--model.layer_rate_divisor", "2.6"),
        *("--model.schedule", "slanted_triangular", "--trainer.max_epochs", "4"),
    ),
    "step_decay": ("--model.schedule", "step_decay", "--model.decay_after_epoch", "1", "--model.optimizer", "sgd"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_resumed_under_other_settings(workplace, variant):
    """Stopped at a step, in the last step of an epoch and in a validation, each time going on from there."""
    options, run = VARIANTS[variant], variant.replace(" ", "_")
    common = ("--config", "classifier.yaml", *options)
    assert fit(workplace, *common, "--output_dir", f"{run}-whole") == 0
    expected = result(workplace / f"{run}-whole")
    steps = expected["metrics"]["steps"]
    for stops in (["2", "9"], [str(steps - 1)], [f"{steps}v"], ["7", "7v", "10"], ["15", "16v", "23"]):
        here = f"{run}-{'-'.join(stops)}"
        for stop in [*stops, ""]:
            code = fit(workplace, *common, "--output_dir", here, "--resume", "auto", environment={"STOP_AT": stop})
            assert code in (0, 143)
        assert result(workplace / here) == expected, stops
