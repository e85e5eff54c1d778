"""Averaged weights: by their definitions step by step, evaluated, exported, and the same bits after an interruption."""

import math
import re

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import EMAWeightAveraging
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from rnn_hf import LanguageModelingModule, train_word_tokenizer
from rnn_hf.cli import main
from rnn_hf.training.averaging import NonMonotoneAveraging
from rnn_hf.training.callbacks import BestWeights
from rnn_hf.training.checkpoint_files import CheckpointFiles, newest_checkpoint

from ..commands.conftest import write_reviews
from ..reliability.processes import Fit, fit, result
from .conftest import CONFIG, WORDS, trainer


def module(**arguments):
    L.seed_everything(1, verbose=False)
    tokenizer = train_word_tokenizer([" ".join(WORDS)])
    arguments = {"learning_rate": 0.5, "optimizer": "sgd", "schedule": "constant", "warmup_share": 0, **arguments}
    return LanguageModelingModule(tokenizer, config=dict(CONFIG), **arguments)


def loader(batches):
    draw = torch.Generator().manual_seed(0)
    pairs = [torch.randint(4, 12, (2, 3, 5), generator=draw) for _ in range(batches)]
    return DataLoader([{"input_ids": ids, "shift_labels": targets} for ids, targets in pairs], batch_size=None)


def copied(part):
    return {name: weight.detach().clone() for name, weight in part.model.named_parameters()}


class Watch(L.Callback):
    """Keeps the weights after each step and in each validation, and gives evaluations the values of `says`.

    Comes before the module's own callbacks, as those of the trainer do.
    """

    def __init__(self, says=()):
        self.says, self.trained, self.evaluated, self.patience = list(says), [], [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.trained.append(copied(module))

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        self.evaluated.append(copied(module))

    def on_validation_end(self, trainer, module):
        self.patience.append(module.patience_counts)
        if self.says:
            module.metrics["validation/perplexity"] = self.says.pop(0)


def mean(weights):
    return {name: torch.stack([w[name] for w in weights]).double().mean(0).float() for name in weights[0]}


def test_ema_is_its_definition():
    """a_1 = w_1, a_t = d a_(t-1) + (1 - d) w_t; it is evaluated, best, and what is left at the end. Training goes on
    with the plain weights."""
    watch, best, part = Watch(), BestWeights(), module(ema_decay=0.8)
    trainer(max_epochs=3, callbacks=[watch, best]).fit(part, loader(4), loader(1))
    average, expected = watch.trained[0], []
    for step, weights in enumerate(watch.trained, start=1):
        average = {name: 0.8 * average[name] + 0.2 * weight for name, weight in weights.items()}
        if step % 4 == 0:
            expected.append(average)
    for found, wanted in zip([*watch.evaluated, copied(part)], [*expected, expected[-1]], strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)
    plain, undisturbed = Watch(), module()
    trainer(max_epochs=3, callbacks=[plain]).fit(undisturbed, loader(4), loader(1))
    assert all(torch.equal(plain.trained[-1][name], weight) for name, weight in watch.trained[-1].items())
    assert not torch.equal(plain.trained[-1]["lm_head.bias"], part.model.lm_head.bias)
    epoch = best.best["epoch"]
    torch.testing.assert_close(best.best["weights"]["lm_head.bias"], expected[epoch - 1]["lm_head.bias"])


def begins_at(values, patience):
    """The evaluation, from 0, at which the authors' main.py begins to average; None if it never does."""
    best_val_loss = []
    for t, value in enumerate(values):
        if len(best_val_loss) > patience and value > min(best_val_loss[:-patience]):
            return t
        best_val_loss.append(value)
    return None


@pytest.mark.parametrize(("values", "patience"), [
    ([9, 8, 7, 7.5, 7.2, 7.1, 6, 5], 2),  # of 7, the best, two evaluations are behind 7.1
    ([9, 8, 7, 7.5, 6.5, 6.8, 7.6, 5], 1),
    ([9, 8, 7, 6, 5, 4, 3, 2], 2),
    ([5, 6, 7, 8, 9, 9, 9, 9], 3),
])  # fmt: skip
def test_nt_asgd_is_algorithm_1(values, patience, capsys):
    """Until the trigger nothing differs; from then on w_T to w_k are averaged, each once."""
    watch, part = Watch(values), module(averaging_patience=patience)
    trainer(max_epochs=8, callbacks=[watch]).fit(part, loader(3), loader(1))
    at = begins_at(values, patience)
    first = math.inf if at is None else 3 * (at + 1)  # T, whose weights are those after so many steps
    for evaluation, found in enumerate(watch.evaluated):
        k = 3 * (evaluation + 1)
        averaged = watch.trained[first - 1 : k] if k > first else watch.trained[k - 1 : k]
        torch.testing.assert_close(found, mean(averaged), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(copied(part), found, rtol=0, atol=0)
    said = capsys.readouterr().err
    assert said.count("weights are averaged from step") == (at is not None)
    assert at is None or f"epoch {at + 1} | weights are averaged from step {first} on" in said
    assert watch.patience == [at is not None and evaluation > at for evaluation in range(8)]
    plain = Watch()
    trainer(max_epochs=8, callbacks=[plain]).fit(module(), loader(3), loader(1))
    assert all(torch.equal(plain.trained[-1][name], weight) for name, weight in watch.trained[-1].items())


def test_higher_may_be_better():
    watch, part = Watch([0.5, 0.7, 0.6]), module(averaging_patience=1)
    part.monitor = ("validation/perplexity", "max")
    run = trainer(max_epochs=3, callbacks=[watch])
    run.fit(part, loader(1), loader(1))
    assert not next(c for c in run.callbacks if isinstance(c, NonMonotoneAveraging)).began  # 0.6 is above 0.5
    watch, part = Watch([0.7, 0.8, 0.6]), module(averaging_patience=1)
    part.monitor = ("validation/perplexity", "max")
    run = trainer(max_epochs=3, callbacks=[watch])
    run.fit(part, loader(1), loader(1))
    assert next(c for c in run.callbacks if isinstance(c, NonMonotoneAveraging)).began


def test_each_fit_averages_anew():
    part = module(ema_decay=0.5)
    for _ in range(2):
        watch = Watch()
        trainer(max_epochs=1, callbacks=[watch]).fit(part, loader(2), loader(1))
        expected = {name: 0.5 * (watch.trained[0][name] + weight) for name, weight in watch.trained[1].items()}
        torch.testing.assert_close(copied(part), expected, rtol=1e-5, atol=1e-7)


def test_without_averaging_there_is_no_callback():
    run = trainer(max_epochs=1)
    run.fit(module(), loader(1))
    assert not any(isinstance(callback, EMAWeightAveraging | NonMonotoneAveraging) for callback in run.callbacks)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"ema_decay": 1.0}, "model.ema_decay must be a number from 0 to below 1; got 1.0"),
    ({"averaging_patience": 2.5}, "model.averaging_patience must be a whole number from 0 .*; got 2.5"),
    ({"averaging_patience": 3, "ema_decay": 0.9}, "give model.ema_decay or model.averaging_patience"),
])  # fmt: skip
def test_wrong_values_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        module(**arguments)


# Whole runs, the longer ones in processes of their own.

SIGNALS = [{"class_path": f"tests.reliability.interruptions.{name}"} for name in ("Trace", "SignalAt")]
RECIPE = {
    "task": "language_modeling",
    "model": {
        "config": {"embedding_size": 12, "hidden_size": 12, "output_dropout": 0.3, "weight_dropout": 0.3},
        "activation_penalty": 2, "temporal_activation_penalty": 1, "label_smoothing": 0.1, "word_dropout": 0.1,
        "optimizer": "sgd", "learning_rate": 30, "schedule": "constant", "warmup_share": 0,
    },
    "data": {"dataset": "reviews", "batch_size": 8, "sequence_length": 12, "random_sequence_length": True},
    "trainer": {"max_epochs": 6, "accelerator": "cpu", "callbacks": SIGNALS, "gradient_clip_val": 0.25},
}  # fmt: skip
AVERAGES = {"ema": {"ema_decay": 0.9, "learning_rate": 5}, "nt_asgd": {"averaging_patience": 1}}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("averaging")
    (folder / "reviews").mkdir()
    for split, rows in {"train": 60, "validation": 30, "test": 30}.items():
        write_reviews(folder / "reviews" / f"{split}.csv", rows, seed=rows)
    for name, average in AVERAGES.items():
        recipe = {**RECIPE, "model": {**RECIPE["model"], **average}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.mark.parametrize("name", list(AVERAGES))
def test_a_second_average_by_callback_is_refused(workplace, name, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    options = ["--output_dir", "refused", "--trainer.callbacks", "EMAWeightAveraging"]
    assert main(["fit", "--config", f"{name}.yaml", *options]) == 2
    assert "trainer.callbacks has EMAWeightAveraging, and model.ema_decay or" in capsys.readouterr().err


@pytest.mark.parametrize("name", list(AVERAGES))
def test_a_run_exports_the_average_and_resumes_to_its_bits(workplace, name):
    """Interrupted before and after averaging began, and in the validation that begins it: weights, metrics and rows are
    those of a run that never was. Every regulariser is on."""
    options = ("--config", f"{name}.yaml", "--output_dir")
    whole = Fit(workplace, *options, "whole" + name)
    assert whole.end() == 0, whole.said
    expected = result(workplace / f"whole{name}")
    steps, run = expected["metrics"]["steps"], f"resumed{name}"
    began = re.search(r"weights are averaged from step (\d+)", whole.said)
    assert bool(began) == (name == "nt_asgd")
    for step in ("2", f"{began[1] if began else steps // 2}v", str(steps - 2)):
        assert fit(workplace, *options, run, "--resume", "auto", environment={"STOP_AT": step}) == 143
    assert fit(workplace, *options, run, "--resume", "auto") == 0
    found = result(workplace / run)
    assert found["weights"] == expected["weights"]
    assert found["rows"] == expected["rows"]
    assert {k: v for k, v in found["metrics"].items() if k != "data"} == {
        k: v for k, v in expected["metrics"].items() if k != "data"
    }
    # The last evaluation was the best: its weights are the last average, which stands in the last checkpoint.
    assert expected["metrics"]["best_step"] == steps
    exported = load_file(workplace / run / "model" / "model.safetensors")
    last = CheckpointFiles().load_checkpoint(newest_checkpoint(workplace / run / "checkpoints"))
    assert all(torch.equal(weight, last["state_dict"][f"model.{key}"]) for key, weight in exported.items())
    assert not any(torch.equal(weight, last["current_model_state"][f"model.{key}"]) for key, weight in exported.items())
