"""`rnn-hf fit`: layers of recipes, shortcuts, early stopping, loggers and pictures; `rnn-hf lr-find`."""

import csv
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from .conftest import write_workplace

PNG = b"\x89PNG\r\n"


def metrics_of(run):
    return json.loads((run / "model" / "metrics.json").read_text())


def columns(file):
    with open(file, newline="") as opened:
        return list(csv.DictReader(opened))


def test_a_later_recipe_goes_over_an_earlier_one_key_by_key(workplace, rnn_hf):
    """At any depth; a tokenizer of another kind brings its own options."""
    Path("base.yaml").write_text(
        "task: language_modeling\nmodel: {config: {embedding_size: 5, hidden_size: 6}}\n"
        "data: {dataset: reviews, batch_size: 8, tokenizer: {kind: word, vocab_size: 20}}\n"
        "trainer: {max_epochs: 1, limit_train_batches: 2}\n"
    )
    Path("wider.yaml").write_text("model: {config: {hidden_size: 9}}\n")
    Path("chars.yaml").write_text("data: {tokenizer: {kind: char}}\n")
    layers = [f"--config={name}.yaml" for name in ("base", "wider", "chars")]
    code, _, err = rnn_hf("fit", *layers, "--model.config.embedding_size", "7", "--output_dir", "runs/layers")
    assert code == 0, err
    recipe = yaml.safe_load((workplace / "runs/layers/model/recipe.yaml").read_text())
    assert recipe["model"]["config"] == {"embedding_size": 7, "hidden_size": 9}
    assert recipe["data"]["tokenizer"] == {"kind": "char"}
    assert recipe["data"]["batch_size"] == 8
    Path("words.yaml").write_text("data: {tokenizer: {vocab_size: 12}}\n")
    code, _, err = rnn_hf("fit", "--config=base.yaml", "--config=words.yaml", "--output_dir", "runs/words")
    assert code == 0, err
    recipe = yaml.safe_load((workplace / "runs/words/model/recipe.yaml").read_text())
    assert recipe["data"]["tokenizer"] == {"kind": "word", "vocab_size": 12}


def test_fast_dev_run_goes_through_and_writes_nothing(workplace, rnn_hf):
    before = set(workplace.rglob("*"))
    for name in ("lm", "classifier"):
        code, out, err = rnn_hf("fit", "--config", f"{name}.yaml", "--fast_dev_run")
        assert code == 0, err
        assert out == "fast_dev_run: training and evaluation went through; nothing was written\n"
        assert "-> nothing is written | " in err
    assert set(workplace.rglob("*")) == before


def test_max_steps_counts_steps_beyond_the_epochs_too(workplace, rnn_hf):
    code, _, err = rnn_hf("fit", "--config", "lm.yaml", "--max_steps", "150", "--output_dir", "runs/steps")
    assert code == 0, err
    assert metrics_of(workplace / "runs/steps")["steps"] == 150  # 3 epochs of the recipe have 96
    limited = ["--trainer.max_epochs", "1", "--output_dir", "runs/fewer"]
    code, _, err = rnn_hf("fit", "--config", "lm.yaml", "--max_steps", "150", *limited)
    assert code == 0, err
    assert metrics_of(workplace / "runs/fewer")["epochs"] == 1


def test_a_short_run_reports_and_counts_its_epochs_as_the_screen_does(workplace, rnn_hf):
    options = ["--max_steps", "30", "--trainer.accumulate_grad_batches", "4", "--output_dir", "runs/few"]
    code, _, err = rnn_hf("fit", "--config", "lm.yaml", *options)  # 9 steps an epoch
    assert code == 0, err
    rows = columns(workplace / "runs/few/metrics.csv")
    assert [row["step"] for row in rows if row["train/loss"]] == [str(step) for step in range(30)]
    shown = [line.split()[1] for line in err.splitlines() if line.startswith("epoch ") and "validation/loss" in line]
    assert shown == ["1", "2", "3", "4"] == [row["epoch"] for row in rows if row["validation/loss"]]
    assert [row["epoch"] for row in rows if row["train/loss"]] == [str(1 + step // 9) for step in range(30)]


def test_another_kind_of_tokenizer_drops_the_options_of_the_recipe_s(workplace, rnn_hf):
    Path("sized.yaml").write_text("data: {tokenizer: {kind: word, vocab_size: 20, lowercase: true}}\n")
    for kind, kept in {"byte": {}, "char": {"vocab_size": 20}, "word": {"vocab_size": 20, "lowercase": True}}.items():
        run = ["--data.tokenizer.kind", kind, "--max_steps", "2", "--output_dir", f"runs/sized_{kind}"]
        code, _, err = rnn_hf("fit", "--config", "lm.yaml", "--config", "sized.yaml", *run)
        assert code == 0, err
        recipe = yaml.safe_load((workplace / f"runs/sized_{kind}/model/recipe.yaml").read_text())
        assert recipe["data"]["tokenizer"] == {"kind": kind, **kept}
        assert (f"data.tokenizer.kind {kind}: without the recipe's" in err) == (kind != "word")


OVERFIT = ["--model.learning_rate", "0.05", "--model.schedule", "constant", "--model.config.hidden_size", "64"]


def test_a_run_that_gets_no_better_is_stopped_and_says_so(workplace, rnn_hf):
    run = ["fit", "--config", "lm.yaml", "--trainer.max_epochs", "9", *OVERFIT]
    code, _, err = rnn_hf(*run, "--early_stopping_patience", "2", "--output_dir", "runs/stopped_early")
    assert code == 0, err
    metrics = metrics_of(workplace / "runs/stopped_early")
    assert metrics["stopped_early"]
    assert metrics["epochs"] == metrics["best_epoch"] + 2 < 9
    assert "stopped early: 2 evaluations were no better than validation/perplexity " in err
    code, _, err = rnn_hf(*run, "--early_stopping_patience", "0", "--output_dir", "runs/never_stopped")
    assert code == 0, err
    metrics = metrics_of(workplace / "runs/never_stopped")
    assert (metrics["stopped_early"], metrics["epochs"]) == (False, 9)
    assert "stopped early" not in err


def test_one_s_own_early_stopping_replaces_the_default(workplace, rnn_hf):
    stop = {"class_path": "EarlyStopping", "init_args": {"monitor": "validation/loss", "patience": 1}}
    Path("stop.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [stop], "max_epochs": 9}}))
    run = ["fit", "--config", "lm.yaml", "--config", "stop.yaml", *OVERFIT, "--output_dir", "runs/own_stop"]
    code, _, err = rnn_hf(*run)
    assert code == 0, err
    metrics = metrics_of(workplace / "runs/own_stop")
    assert metrics["epochs"] == metrics["best_epoch"] + 1


@pytest.mark.parametrize("name", ["lm", "classifier"])
def test_the_rate_is_logged_and_drawn(workplace, name):
    rows = columns(workplace / "runs" / name / "metrics.csv")
    rates = [(int(row["step"]), float(row["learning_rate"])) for row in rows if row["learning_rate"]]
    assert len(rates) >= 1
    assert all(0 < rate <= 0.02 for _, rate in rates)
    assert [step for step, _ in rates] == [int(row["step"]) for row in rows if row["train/loss"]]
    assert (workplace / "runs" / name / "curves.png").read_bytes().startswith(PNG)


def test_gradient_accumulation_and_checkpointing_from_the_command_line(workplace, rnn_hf):
    code, _, err = rnn_hf(
        "fit", "--config", "lm.yaml", "--trainer.accumulate_grad_batches", "5",
        "--model.gradient_checkpointing", "true", "--trainer.max_epochs", "2", "--trainer.precision", "bf16-mixed",
        "--trainer.gradient_clip_val", "0.5", "--output_dir", "runs/accumulated",
    )  # fmt: skip
    assert code == 0, err
    assert metrics_of(workplace / "runs/accumulated")["steps"] == 14  # 32 batches an epoch


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_logger_that_is_not_installed_is_named(workplace, rnn_hf, monkeypatch, name):
    monkeypatch.setattr("rnn_hf.commands.lightning_cli.find_spec", lambda package: None)
    code, _, err = rnn_hf("fit", "--config", "lm.yaml", "--logger", name)
    assert code == 2
    assert f'logger {name} needs the package {name}: pip install "rnn-hf[{name}]"' in err


def test_tensorboard_records_beside_the_csv_file(workplace, rnn_hf):
    pytest.importorskip("tensorboard", reason="tensorboard is an optional extra")
    code, _, err = rnn_hf("fit", "--config", "lm.yaml", "--logger", "tensorboard", "--output_dir", "runs/board")
    assert code == 0, err
    run = workplace / "runs/board"
    assert {p.name for p in run.iterdir()} == {"model", "checkpoints", "metrics.csv", "curves.png", "tensorboard"}
    assert any(p.name.startswith("events.out.tfevents") for p in (run / "tensorboard").iterdir())
    assert columns(run / "metrics.csv")


@pytest.mark.parametrize("name", ["lm", "classifier"])
def test_lr_find_writes_its_picture_and_suggests(workplace, rnn_hf, name):
    code, out, err = rnn_hf("lr-find", "--config", f"{name}.yaml", "--num_rates", "60")
    assert code == 0, err
    run = workplace / "runs" / f"{name}-lr-find"
    assert {p.name for p in run.iterdir()} == {"lr_find.csv", "lr_find.png"}
    assert (run / "lr_find.png").read_bytes().startswith(PNG)
    rows = columns(run / "lr_find.csv")
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates == sorted(rates) and rates[0] == pytest.approx(1e-5)
    suggested = out.removeprefix("suggested: --model.learning_rate ")
    assert rates[0] < float(suggested) < rates[-1]


def test_a_terminal_sees_one_line_that_is_rewritten(tmp_path):
    """`fit` on a pseudo-terminal: progress in place, each evaluation and the figures on lines of their own."""
    write_workplace(tmp_path)
    primary, secondary = pty.openpty()
    command = [sys.executable, "-m", "rnn_hf.cli", "fit", "--config", "lm.yaml", "--trainer.max_epochs", "3"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path.cwd())}
    run = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=secondary, stderr=secondary)
    os.close(secondary)
    chunks = []
    while True:
        try:
            chunk = os.read(primary, 4096)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        chunks.append(chunk)
    assert run.wait() == 0
    os.close(primary)
    lines = b"".join(chunks).decode().replace("\r\n", "\n").split("\n")
    evaluations = [line for line in lines if "validation/perplexity" in line and "epoch" in line]
    assert len(evaluations) == 3
    assert all(line.rpartition("\r\x1b[K")[2].startswith("epoch ") for line in evaluations)
    assert "wrote runs/lm/model" in lines
