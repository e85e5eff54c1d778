"""How a run ends where something outside ends it: signals to a real process, and a disk that takes no more.

Rows 16 and 17 of the project's table of what must survive what.
"""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from rnn_hf.training.checkpoint_files import CheckpointFiles, newest_checkpoint

from .processes import Fit, fit, result, strays

LANGUAGE_MODEL = ("--config", "language_model.yaml")
LONG = ("--trainer.max_epochs", "100000", "--model.schedule", "constant", "--early_stopping_patience", "0")


def steps_trained(trace: Path) -> int:
    return trace.read_text().count("\n") if trace.exists() else 0


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_after_its_step(workplace, number):
    """Exit code 143 or 130, a checkpoint of the step that ran, or the one before, within 5 s; last measured: 0.1 s."""
    run, draw = f"signal-{number}", random.Random(int(number))
    trace = workplace / f"{run}.trace"
    process = Fit(workplace, *LANGUAGE_MODEL, *LONG, "--output_dir", run, environment={"TRACE": str(trace)})
    wait_for(lambda: steps_trained(trace) > 20)
    time.sleep(draw.random())
    os.kill(process.process.pid, number)
    began = time.monotonic()
    assert process.end() == 128 + number
    assert time.monotonic() - began < 5
    saved = CheckpointFiles().load_checkpoint(newest_checkpoint(workplace / run / "checkpoints"))
    assert steps_trained(trace) - saved["global_step"] in (0, 1)  # 1: it came while the epoch was validated
    assert (
        f"interrupted by {signal.Signals(number).name}; to go on: the same command with --resume auto" in process.said
    )
    assert "Traceback" not in process.said


def test_a_signal_before_training_ends_the_run_at_once(workplace):
    process = Fit(workplace, *LANGUAGE_MODEL, *LONG, "--output_dir", "early")
    wait_for(lambda: "reading reviews" in process.said)
    os.kill(process.process.pid, signal.SIGTERM)
    assert process.end(10) == 143
    assert not (workplace / "early" / "model").exists()


# what the disk refuses -> part of the message
REFUSED = {"checkpoints": "checkpoints", "metrics.csv": "metrics.csv", "curves.png": "curves.png"}


def unfinished(workplace, run):
    """A run that was interrupted within its second epoch."""
    assert fit(workplace, *LANGUAGE_MODEL, "--output_dir", run, environment={"STOP_AT": "20"}) == 143
    return newest_checkpoint(workplace / run / "checkpoints")


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_written_is_an_error(workplace, undisturbed, name):
    """The place of each file that a run writes is taken: the error names it, the checkpoint before stays, and the run
    goes on once the place is free."""
    run, place = f"taken-{name}", workplace / f"taken-{name}" / name
    before = unfinished(workplace, run)
    kept = before.read_bytes()
    if name == "checkpoints":  # the next checkpoint's place within it
        place = before.with_name("step-00000028.ckpt")
    place.unlink(missing_ok=True)
    place.mkdir()
    process = Fit(workplace, *LANGUAGE_MODEL, "--output_dir", run, "--resume", str(before))
    assert process.end() == 2
    assert REFUSED[name] in process.said.splitlines()[-1]
    assert (before if before.exists() else newest_checkpoint(before.parent)).is_file()
    assert not before.exists() or before.read_bytes() == kept
    place.rmdir()
    assert fit(workplace, *LANGUAGE_MODEL, "--output_dir", run, "--resume", "auto") == 0
    assert result(workplace / run)["weights"] == undisturbed["language_model"]["weights"]


def test_a_full_disk_is_an_error_and_keeps_the_checkpoint(workplace, undisturbed):
    """No file may grow beyond a few kilobytes, less than a checkpoint."""
    before = unfinished(workplace, "full")
    kept = before.read_bytes()
    options = (*LANGUAGE_MODEL, "--output_dir", "full", "--resume", "auto")
    process = Fit(workplace, *options, file_size=len(kept) // 2)
    assert process.end() == 2
    assert "step-00000028.ckpt" in process.said.splitlines()[-1]
    assert before.read_bytes() == kept
    assert not strays(workplace / "full")
    assert fit(workplace, *options) == 0
    assert result(workplace / "full")["weights"] == undisturbed["language_model"]["weights"]


@pytest.mark.parametrize("place", ["readonly/checkpoints", "readonly"])
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_folder_without_permission_is_an_error(workplace, undisturbed, place, mode):
    """A run folder, or its folder of checkpoints, that may not be written to, or not even read."""
    if not (workplace / "readonly").exists():
        unfinished(workplace, "readonly")
    options = (*LANGUAGE_MODEL, "--output_dir", "readonly", "--resume", "auto")
    (workplace / place).chmod(mode)
    process = Fit(workplace, *options, no_privilege=True)
    code = process.end()
    (workplace / place).chmod(0o755)
    assert code == 2, process.said
    assert "Permission denied" in process.said.splitlines()[-1]
    assert "readonly" in process.said.splitlines()[-1]
    assert newest_checkpoint(workplace / "readonly" / "checkpoints")


def test_a_damaged_checkpoint_is_passed_over(workplace, undisturbed):
    """A flipped bit in the newest: refused by name where it is asked for, passed over for an older one if there is."""
    newest = unfinished(workplace, "damaged")
    older = newest.with_name("step-00000001.ckpt")
    for suffix in ("", ".sha256"):
        shutil.copy(f"{newest}{suffix}", f"{older}{suffix}")
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    process = Fit(workplace, *LANGUAGE_MODEL, "--resume", str(newest))
    assert process.end() == 2
    assert "is damaged: its sha256 is not the one" in process.said
    assert "complete beside it: step-00000001.ckpt" in process.said
    process = Fit(workplace, *LANGUAGE_MODEL, "--output_dir", "damaged", "--resume", "auto")
    assert process.end() == 0
    assert f"{newest.name} is damaged" in process.said
    assert result(workplace / "damaged")["weights"] == undisturbed["language_model"]["weights"]


@pytest.mark.parametrize(
    ("option", "difference"),
    [
        (("--model.learning_rate", "0.5"), "recipe.model.learning_rate: 0.02, now 0.5"),
        (("--data.batch_size", "4"), "recipe.data.batch_size: 8, now 4"),
        (("--seed_everything", "3"), "recipe.seed_everything: 0, now 3"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(workplace, option, difference):
    run = "of another"
    if not (workplace / run).exists():
        unfinished(workplace, run)
    process = Fit(workplace, *LANGUAGE_MODEL, "--output_dir", run, "--resume", "auto", *option)
    assert process.end() == 2
    assert difference in process.said.splitlines()[-1]


def test_a_first_checkpoint_that_was_interrupted_is_no_obstacle(workplace, undisturbed):
    """kill -9 between the first checkpoint and its checksum: there is nothing to go on from, so the run begins anew."""
    before = unfinished(workplace, "first")
    before.with_name(f"{before.name}.sha256").unlink()
    assert fit(workplace, *LANGUAGE_MODEL, "--output_dir", "first", "--resume", "auto") == 0
    assert result(workplace / "first")["weights"] == undisturbed["language_model"]["weights"]


def test_one_process_writes_to_a_run_folder(workplace):
    trace = workplace / "claimed.trace"
    options = (*LANGUAGE_MODEL, *LONG, "--output_dir", "claimed", "--resume", "auto")
    process = Fit(workplace, *options, environment={"TRACE": str(trace)})
    wait_for(lambda: steps_trained(trace) > 5)
    second = Fit(workplace, *options)
    assert second.end() == 2
    assert "another process writes to 'claimed'" in second.said.splitlines()[-1]
    os.kill(process.process.pid, signal.SIGTERM)
    assert process.end() == 143
    assert not (workplace / "claimed" / ".lock").exists()


def test_a_checkpoint_elsewhere_needs_a_folder_for_the_run(workplace):
    before = unfinished(workplace, "moved")
    (workplace / "backup").mkdir()
    for suffix in ("", ".sha256"):
        shutil.copy(f"{before}{suffix}", workplace / "backup")
    process = Fit(workplace, *LANGUAGE_MODEL, "--resume", f"backup/{before.name}")
    assert process.end() == 2
    assert "give --output_dir" in process.said.splitlines()[-1]
    assert not (workplace / "model").exists()


def test_a_checkpoint_of_other_data_is_refused(workplace):
    shutil.copytree(workplace / "reviews", workplace / "elsewhere" / "reviews")
    for file in workplace.glob("*.yaml"):
        shutil.copy(file, workplace / "elsewhere")
    unfinished(workplace / "elsewhere", "run")
    with open(workplace / "elsewhere" / "reviews" / "train.csv", "a") as file:
        file.write("one more,positive\n")
    process = Fit(workplace / "elsewhere", *LANGUAGE_MODEL, "--output_dir", "run", "--resume", "auto")
    assert process.end() == 2
    assert "data.train.csv: " in process.said.splitlines()[-1]


def test_a_pickle_is_not_executed(workplace):
    """A checkpoint that holds code, with a right checksum: refused."""
    import pickle

    class Code:
        def __reduce__(self):
            return (os.system, (f"touch {workplace / 'executed'}",))

    before = unfinished(workplace, "pickled")
    files = CheckpointFiles()
    files.save_checkpoint({"state_dict": {}, "code": Code()}, before)
    process = Fit(workplace, *LANGUAGE_MODEL, "--output_dir", "pickled", "--resume", "auto")
    assert process.end() == 2
    assert "holds no checkpoint of rnn-hf" in process.said
    before.write_bytes(pickle.dumps(Code()))
    process = Fit(workplace, *LANGUAGE_MODEL, "--output_dir", "pickled", "--resume", "auto")
    assert process.end() == 2
    assert not (workplace / "executed").exists()


def test_resume_of_a_finished_run_and_of_none(workplace):
    """Finished: nothing to do, and no error. None yet: the run begins."""
    options = (*LANGUAGE_MODEL, "--output_dir", "twice", "--resume", "auto")
    assert fit(workplace, *options) == 0
    made = (workplace / "twice/model/model.safetensors").stat().st_mtime_ns
    process = Fit(workplace, *options)
    assert process.end() == 0
    assert "the run is finished: twice/model" in process.said
    assert (workplace / "twice/model/model.safetensors").stat().st_mtime_ns == made
    process = Fit(workplace, *LANGUAGE_MODEL, "--resume", "no/such")
    assert process.end() == 2
    assert "no/such" in process.said.splitlines()[-1]
