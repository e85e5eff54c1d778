"""How runs end: which weights are exported, Ctrl-C, a closed pipe, a crash while the folder is written."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerBase

from rnn_hf import LanguageModelingModule
from rnn_hf.cli import main
from rnn_hf.training.checkpoint_files import newest_checkpoint

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def metrics_of(run):
    return json.loads((run / "model" / "metrics.json").read_text())


def test_fit_exports_the_best_weights_not_the_last(workplace, rnn_hf):
    """A model too large for its 300 texts over-fits: an epoch before the last one is the best."""
    code, _, err = rnn_hf(
        "fit", "--config", "lm.yaml", "--output_dir", "runs/best", "--model.learning_rate", "0.05",
        "--model.schedule", "constant", "--trainer.max_epochs", "6", "--model.config.hidden_size", "64",
    )  # fmt: skip
    assert code == 0, err
    metrics = metrics_of(workplace / "runs/best")
    assert metrics["best_epoch"] < metrics["epochs"] == 6
    last = torch.load(newest_checkpoint(workplace / "runs/best/checkpoints"), weights_only=True)["state_dict"]
    exported = load_file(workplace / "runs/best/model/model.safetensors")
    assert not torch.equal(exported["lm_head.weight"], last["model.lm_head.weight"])
    code, out, _ = rnn_hf("evaluate", "runs/best", "--data", "reviews", "--split", "validation", "--json")
    assert json.loads(out)["perplexity"] == pytest.approx(metrics["metrics"]["validation/perplexity"], rel=1e-5)
    validations = [line for line in err.splitlines() if "validation/perplexity" in line]
    assert len(validations) == 6
    assert validations[metrics["best_epoch"] - 1].endswith("best")


def test_a_run_that_ends_within_an_epoch_is_still_evaluated(workplace, rnn_hf):
    code, _, err = rnn_hf(
        "fit", "--config", "lm.yaml", "--output_dir", "runs/short", "--trainer.max_steps", "5",
    )  # fmt: skip
    assert code == 0, err
    metrics = metrics_of(workplace / "runs/short")
    assert (metrics["steps"], metrics["best_step"], metrics["best_epoch"], metrics["epochs"]) == (5, 5, 1, 1)
    assert math.isfinite(metrics["metrics"]["validation/perplexity"])


def test_validation_can_be_switched_off(workplace, rnn_hf):
    code, _, err = rnn_hf(
        "fit", "--config", "lm.yaml", "--output_dir", "runs/blind", "--trainer.limit_val_batches", "0",
        "--trainer.max_epochs", "1", "--trainer.logger", "false", "--trainer.enable_checkpointing", "false",
    )  # fmt: skip
    assert code == 0, err
    assert set(metrics_of(workplace / "runs/blind")["metrics"]) == {
        f"test/{name}" for name in LanguageModelingModule.Evaluation.names
    }
    assert {p.name for p in (workplace / "runs/blind").iterdir()} == {"model"}


def test_the_checkpoint_holds_the_best_weights_so_far(workplace):
    """Lightning opens it with `weights_only=True`, the best weights included. It stands before the last validation."""
    checkpoint = torch.load(newest_checkpoint(workplace / "runs/lm/checkpoints"), weights_only=True)
    kept = next(state for name, state in checkpoint["callbacks"].items() if name.startswith("BestWeights"))
    exported = load_file(workplace / "runs/lm/model/model.safetensors")
    assert kept["best"]["weights"].keys() == exported.keys()
    assert kept["best"]["epoch"] == 2


def test_ctrl_c_is_130_and_keeps_the_checkpoint(workplace):
    command = [sys.executable, "-m", "rnn_hf.cli", "fit", "--config", "lm.yaml"]
    command += ["--output_dir", "runs/stopped", "--trainer.max_epochs", "100000"]
    run = subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # a shell starts what it puts into the background with Ctrl-C ignored, these tests perhaps
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    checkpoints, deadline = workplace / "runs/stopped/checkpoints", time.monotonic() + 120
    while not checkpoints.exists() and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    try:
        out, err = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130, err
    assert err.endswith("to go on: the same command with --resume auto --output_dir runs/stopped\n")
    assert "Traceback" not in err
    assert out == ""
    assert newest_checkpoint(checkpoints)
    assert not (workplace / "runs/stopped/model").exists()


def test_a_reader_that_leaves_is_no_error(workplace):
    command = f"{sys.executable} -m rnn_hf.cli generate runs/lm --seed 1 --max-new-tokens 3000 | head -c 5"
    done = subprocess.run(command, shell=True, env=ENVIRONMENT, capture_output=True, text=True)
    assert len(done.stdout) == 5
    assert done.stderr == ""


def test_a_run_that_diverges_ends_with_an_error_and_no_model(workplace, rnn_hf, monkeypatch):
    def diverge(module, batch, batch_idx):
        return module.model(**batch).loss * float("nan")

    monkeypatch.setattr(LanguageModelingModule, "training_step", diverge)
    code, _, err = rnn_hf("fit", "--config", "lm.yaml", "--output_dir", "runs/diverged")
    assert code == 2
    assert "the loss is nan. Training stops; weights and checkpoints are as before" in err.splitlines()[-1]
    assert not (workplace / "runs/diverged/model").exists()


def test_a_failure_while_the_folder_is_written_leaves_no_half_of_it(workplace, rnn_hf, monkeypatch):
    save = PreTrainedTokenizerBase.save_pretrained

    def full(self, folder, **options):
        if "full" in str(folder):
            raise OSError(28, "No space left on device")
        return save(self, folder, **options)

    monkeypatch.setattr("transformers.PreTrainedTokenizerBase.save_pretrained", full)
    code, _, err = rnn_hf("fit", "--config", "lm.yaml", "--output_dir", "runs/full", "--trainer.max_epochs", "1")
    assert code == 2
    assert "No space left on device" in err
    assert {p.name for p in (workplace / "runs/full").iterdir()} == {"checkpoints", "metrics.csv", "curves.png"}


def test_the_traceback_is_there_on_request(monkeypatch):
    monkeypatch.setenv("RNN_HF_TRACEBACK", "1")
    with pytest.raises(ValueError, match="unknown command 'fti'"):
        main(["fti"])
