"""`StepGuard`: losses and gradients that are not finite, injected; what is clipped and logged; a run that diverges."""

import contextlib
import csv
import json
import math
import re

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.nn.utils import get_total_norm
from torch.utils.data import DataLoader

from rnn_hf import ClassificationModule, LanguageModelingModule, TaggingModule, train_word_tokenizer
from rnn_hf.cli import main
from rnn_hf.training.checkpoint_files import CheckpointFiles, newest_checkpoint
from rnn_hf.training.guard import NonFiniteStep

from .conftest import CONFIG, WORDS, trainer

NAN, INF = math.nan, math.inf
TASKS = ["language_modeling", "classification", "tagging"]


def a_module(task="language_modeling", **arguments):
    L.seed_everything(1, verbose=False)
    tokenizer = train_word_tokenizer([" ".join(WORDS)])
    arguments = {"config": dict(CONFIG), "schedule": "constant", "warmup_share": 0, **arguments}
    if task == "language_modeling":
        return LanguageModelingModule(tokenizer, **arguments)
    kind = ClassificationModule if task == "classification" else TaggingModule
    return kind(tokenizer, {0: "O", 1: "X"}, **arguments)


def batches(task="language_modeling", number=6):
    draw = torch.Generator().manual_seed(0)
    result = []
    for _ in range(number):
        ids = torch.randint(3, 12, (3, 5), generator=draw)
        if task == "language_modeling":
            result.append({"input_ids": ids, "shift_labels": torch.randint(3, 12, (3, 5), generator=draw)})
        else:
            labels = torch.randint(0, 2, (3,) if task == "classification" else (3, 5), generator=draw)
            result.append({"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels})
    return result


def fit(module, data, **settings):
    run = trainer(**{"max_epochs": 1, **settings})
    run.fit(module, DataLoader(data, batch_size=None))
    return run


def weights(module):
    return {name: weight.clone() for name, weight in module.model.state_dict().items()}


def assert_same(weights, expected):
    assert weights.keys() == expected.keys()
    assert [name for name in weights if not torch.equal(weights[name], expected[name])] == []


def spoil_loss(module, at, change):
    """The losses of the batches `at` (from 0) become `change(loss)`."""
    original, seen = module.training_step, iter(range(10**6))

    def training_step(batch, batch_idx):
        loss = original(batch, batch_idx)
        return change(loss) if next(seen) in at else loss

    module.training_step = training_step


def spoil_gradient(module, name, at, value=INF):
    """One entry of the parameter's gradient becomes `value` in the backward passes `at`."""
    seen = iter(range(10**6))

    def hook(gradient):
        if next(seen) in at:
            gradient = gradient.clone()
            gradient.view(-1)[-1] = value
        return gradient

    dict(module.model.named_parameters())[name].register_hook(hook)


class Trace(L.Callback):
    """The weights and the carried state before each batch."""

    def __init__(self):
        self.weights, self.states = [], []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.weights.append(weights(module))
        self.states.append(getattr(module, "train_state", None))


class ScalerOnly(MixedPrecision):
    """A GradScaler as on a GPU, without float16, which not every kernel here has."""

    def __init__(self):
        super().__init__("16-mixed", "cpu")

    def autocast_context_manager(self):
        return contextlib.nullcontext()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("settings", [{}, {"gradient_clip_val": 0.5}], ids=["", "clipping"])
@pytest.mark.parametrize(
    "change",
    [lambda loss: loss * NAN, lambda loss: loss * INF, lambda loss: loss + INF],
    ids=["nan", "inf", "inf-of-finite-gradients"],
)
def test_a_non_finite_loss_stops_before_it_reaches_the_weights(task, settings, change):
    module, trace = a_module(task), Trace()
    spoil_loss(module, [3], change)
    with pytest.raises(NonFiniteStep, match=r"^step 4 \(epoch 1, batch 4\): the loss is (nan|inf)\. ") as error:
        fit(module, batches(task), callbacks=[trace], **settings)
    assert len(trace.weights) == 4
    assert_same(weights(module), trace.weights[3])
    clip = "a lower trainer.gradient_clip_val (it is 0.5)" if settings else "trainer.gradient_clip_val (there is none)"
    for advice in ("a lower model.learning_rate (it is 0.002)", clip, "--skip_nonfinite N"):
        assert advice in str(error.value)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "settings", [{}, {"gradient_clip_val": 0.5}, {"gradient_clip_val": 0.5, "gradient_clip_algorithm": "value"}]
)
def test_an_infinite_gradient_of_a_finite_loss_is_named(task, settings):
    module, trace = a_module(task), Trace()
    names = [name for name, _ in module.model.named_parameters()]
    spoil_gradient(module, names[1], [2])
    spoil_gradient(module, names[3], [2], NAN)
    said = (
        rf"^step 3 \(epoch 1, batch 3\): the gradient of {re.escape(names[1])} is not finite, nor are those of 1 other"
    )
    with pytest.raises(NonFiniteStep, match=said):
        fit(module, batches(task), callbacks=[trace], **settings)
    assert_same(weights(module), trace.weights[2])


def test_a_norm_beyond_float32_stops_too():
    module = a_module()
    spoil_gradient(module, next(iter(dict(module.model.named_parameters()))), [1], 1e30)
    with pytest.raises(
        NonFiniteStep, match=r"step 2 .*: the gradient's norm is inf, though each of its numbers is fin"
    ):
        fit(module, batches())


@pytest.mark.parametrize("bad", [2, 3])
def test_any_of_the_accumulated_batches_counts_for_their_step(bad):
    module, trace = a_module(), Trace()
    spoil_loss(module, [bad], lambda loss: loss + INF)
    with pytest.raises(NonFiniteStep, match=r"^step 2 \(epoch 1, batch 4\): the loss is inf"):
        fit(module, batches(), accumulate_grad_batches=2, callbacks=[trace])
    assert_same(weights(module), trace.weights[2])


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_skipped_step_leaves_weights_and_moments_and_the_rest_of_the_run_is_as_without_it(
    optimizer, accumulated, capsys
):
    data = batches(number=6 * accumulated)
    module, trace = a_module(optimizer=optimizer, skip_nonfinite=1), Trace()
    spoil_loss(module, [2 * accumulated], lambda loss: loss * NAN)
    run = fit(module, data, callbacks=[trace], accumulate_grad_batches=accumulated)
    assert (module.guard.skipped, run.global_step) == (1, 6)
    assert_same(trace.weights[3 * accumulated], trace.weights[2 * accumulated])
    assert trace.states[3 * accumulated] is None  # a fresh one
    assert trace.states[4 * accumulated] is not None
    said = f"step 3 (epoch 1, batch {3 * accumulated}): the loss is nan; left out, 1 of 1\n"
    assert said in capsys.readouterr().err

    class Fresh(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if batch_idx == 2 * accumulated:
                module.train_state = None

    without = data[: 2 * accumulated] + data[3 * accumulated :]
    expected = a_module(optimizer=optimizer)
    other = fit(expected, without, callbacks=[Fresh()], accumulate_grad_batches=accumulated)
    assert_same(weights(module), weights(expected))
    torch.testing.assert_close(
        run.optimizers[0].state_dict()["state"], other.optimizers[0].state_dict()["state"], rtol=0, atol=0
    )


def test_the_schedule_goes_on_over_a_skipped_step():
    rates = []
    for bad in ([], [2]):
        module = a_module(schedule="one_cycle", skip_nonfinite=1)
        spoil_gradient(module, "lm_head.weight", bad)
        run = fit(module, batches())
        rates.append((run.lr_scheduler_configs[0].scheduler.last_epoch, run.optimizers[0].param_groups[0]["lr"]))
    assert rates[0] == rates[1]


def test_one_step_more_than_the_run_may_skip_stops_it():
    module, trace = a_module(skip_nonfinite=2), Trace()
    spoil_loss(module, [0, 2, 4], lambda loss: loss * NAN)
    with pytest.raises(
        NonFiniteStep, match=r"^step 5 .*: the loss is nan\. .* a few such steps \(2 were\) with --skip"
    ):
        fit(module, batches(), callbacks=[trace])
    assert_same(weights(module), trace.weights[4])


def test_the_count_survives_saving_and_loading(tmp_path):
    module = a_module(skip_nonfinite=2)
    spoil_loss(module, [1, 2], lambda loss: loss * NAN)
    fit(module, batches(number=3)).save_checkpoint(tmp_path / "run.ckpt")
    resumed = a_module(skip_nonfinite=2)
    spoil_loss(resumed, [1], lambda loss: loss * NAN)
    run = trainer(max_epochs=2)
    with pytest.raises(NonFiniteStep, match=r"^step 5 \(epoch 2, batch 2\).*\(2 were\)"):
        run.fit(resumed, DataLoader(batches(number=3), batch_size=None), ckpt_path=tmp_path / "run.ckpt")
    assert resumed.guard.skipped == 2


@pytest.mark.parametrize("task", ["language_modeling", "tagging"])
def test_a_batch_that_scores_nothing_is_no_failure(task):
    """The mean over no target is NaN; its gradient is zero."""
    data = batches(task)
    data[2][{"tagging": "labels"}.get(task, "shift_labels")][:] = -100
    module = a_module(task)
    fit(module, data)
    assert all(weight.isfinite().all() for weight in weights(module).values())


def test_infinite_gradients_under_a_grad_scaler_are_the_scaler_s():
    module, trace = a_module(), Trace()
    spoil_gradient(module, "lm_head.weight", [2])
    run = fit(module, batches(), plugins=[ScalerOnly()], callbacks=[trace], gradient_clip_val=0.5)
    assert module.guard.skipped == 0
    assert run.precision_plugin.scaler.get_scale() == 2**15  # halved once
    assert_same(trace.weights[3], trace.weights[2])
    assert trace.states[3] is not None


@pytest.mark.parametrize("change", [lambda loss: loss * NAN, lambda loss: loss + INF], ids=["nan", "inf"])
def test_a_non_finite_loss_counts_under_a_grad_scaler(change):
    for allowed in (0, 1):
        module, trace = a_module(skip_nonfinite=allowed), Trace()
        spoil_loss(module, [2], change)
        with contextlib.nullcontext() if allowed else pytest.raises(NonFiniteStep, match=r"^step 3 .*: the loss is"):
            fit(module, batches(), plugins=[ScalerOnly()], callbacks=[trace])
        assert_same(trace.weights[3] if allowed else weights(module), trace.weights[2])
        assert module.guard.skipped == allowed


class Unguarded(LanguageModelingModule):
    """Clips as Lightning does."""

    def configure_gradient_clipping(self, *arguments, **settings):
        L.LightningModule.configure_gradient_clipping(self, *arguments, **settings)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true"])
@pytest.mark.parametrize("settings", [
    {}, {"gradient_clip_val": 0.4}, {"gradient_clip_val": 0.4, "gradient_clip_algorithm": "norm"},
    {"gradient_clip_val": 0.02, "gradient_clip_algorithm": "value"}, {"gradient_clip_val": 0},
    {"gradient_clip_val": 0.4, "accumulate_grad_batches": 3},
])  # fmt: skip
def test_clipping_is_lightning_s_bit_for_bit(settings, precision):
    """0.4 clips some of the steps."""
    results = []
    for kind in (LanguageModelingModule, Unguarded):
        L.seed_everything(1, verbose=False)
        tokenizer = train_word_tokenizer([" ".join(WORDS)])
        module = kind(tokenizer, config=dict(CONFIG), optimizer="sgd", learning_rate=1.0)
        fit(module, batches(number=12), precision=precision, **settings)
        results.append(weights(module))
    assert_same(*results)


class Norms(L.Callback):
    """What torch says about each step's final gradient as it is left, and what was logged."""

    def __init__(self):
        self.torch, self.logged = [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step > len(self.torch):
            self.torch.append(float(get_total_norm([p.grad for p in module.model.parameters()])))
            self.logged.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def norms_of(number, **settings):
    norms = Norms()
    fit(a_module(optimizer="sgd", learning_rate=0.0), batches(number=number), callbacks=[norms], **settings)
    return norms


@pytest.mark.parametrize("accumulated", [1, 3])
def test_the_logged_norm_is_torch_s_of_the_final_gradient_before_clipping(accumulated):
    free = norms_of(6, accumulate_grad_batches=accumulated)
    clipped = norms_of(6, accumulate_grad_batches=accumulated, gradient_clip_val=1e-3)
    logged = [step["gradient_norm"] for step in free.logged]
    assert logged == pytest.approx(free.torch, rel=1e-6)  # another order of the sum
    assert logged == [step["gradient_norm"] for step in clipped.logged]
    assert len(logged) == 6 // accumulated
    assert clipped.torch == pytest.approx([1e-3] * len(logged), rel=1e-2)
    assert not any("clipped_share" in step for step in free.logged)
    by_value = norms_of(6, gradient_clip_val=1e-3, gradient_clip_algorithm="value")
    assert not any("clipped_share" in step for step in by_value.logged)


def test_the_clipped_share_is_of_the_steps_since_the_last_report():
    free = norms_of(9)
    limit = sorted(free.torch)[5]
    reports = norms_of(9, gradient_clip_val=limit, log_every_n_steps=3).logged
    for last in (2, 5, 8):
        expected = sum(norm > limit - 1e-6 for norm in free.torch[last - 2 : last + 1]) / 3
        assert reports[last]["clipped_share"] == pytest.approx(expected)


RECIPE = """\
task: language_modeling
model: {config: {embedding_size: 12, hidden_size: 12}, learning_rate: 0.02, optimizer: sgd}
data: {dataset: DATA, tokenizer: word, batch_size: 8, sequence_length: 12}
trainer: {max_epochs: 3, accelerator: cpu}
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = torch.Generator().manual_seed(0)
    for split, rows in {"train": 200, "validation": 20, "test": 20}.items():
        texts = [" ".join(WORDS[i] for i in torch.randint(0, 9, (12,), generator=draw)) for _ in range(rows)]
        (tmp_path / "texts").mkdir(exist_ok=True)
        (tmp_path / "texts" / f"{split}.csv").write_text("text\n" + "\n".join(texts) + "\n")
    (tmp_path / "lm.yaml").write_text(RECIPE.replace("DATA", "texts"))
    return "lm.yaml"


def test_a_run_that_diverges_exits_with_the_message_and_keeps_its_checkpoint(recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("RNN_HF_TRACEBACK", raising=False)
    # The rate rises in steps over the run: the first epoch, and its checkpoint, are good.
    original = LanguageModelingModule.on_train_epoch_start

    def on_train_epoch_start(module):
        original(module)
        if module.trainer.current_epoch == 1:
            module.lr_schedulers().base_lrs = [1e38] * 2

    monkeypatch.setattr(LanguageModelingModule, "on_train_epoch_start", on_train_epoch_start)
    assert main(["fit", "--config", recipe, "--output_dir", "run"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"rnn-hf: error: step \d+ \(epoch 2, batch \d+\): the (loss|gradient)", error)
    assert "Try a lower model.learning_rate (it is 0.02)" in error
    saved = CheckpointFiles().load_checkpoint(newest_checkpoint(tmp_path / "run/checkpoints"))
    assert saved["epoch"] == 0
    assert all(weight.isfinite().all() for weight in saved["state_dict"].values())
    assert not (tmp_path / "run/model").exists()
    assert (tmp_path / "run/metrics.csv").is_file()


def test_an_absurd_rate_from_the_command_line_exits_with_2(recipe, capsys):
    code = main(["fit", "--config", recipe, "--model.learning_rate", "100", "--model.weight_decay", "100"])
    error = capsys.readouterr().err.splitlines()[-1]
    assert code == 2
    assert re.match(r"rnn-hf: error: step \d+ \(epoch \d, batch \d+\): the (loss|gradient)", error)


def test_the_skipped_steps_of_a_run_are_in_its_metrics(recipe, tmp_path, capsys, monkeypatch):
    original, steps = LanguageModelingModule.training_step, iter(range(10**6))

    def training_step(module, batch, batch_idx):
        return original(module, batch, batch_idx) * (NAN if next(steps) in (3, 5) else 1)

    monkeypatch.setattr(LanguageModelingModule, "training_step", training_step)
    options = ["--skip_nonfinite", "2", "--output_dir", "run", "--trainer.log_every_n_steps", "5"]
    code = main(["fit", "--config", recipe, *options, "--trainer.gradient_clip_val", "0.25"])
    err = capsys.readouterr().err
    assert code == 0, err
    assert json.loads((tmp_path / "run/model/metrics.json").read_text())["skipped_nonfinite_steps"] == 2
    assert err.count("the loss is nan; left out, ") == 2
    assert yaml.safe_load((tmp_path / "run/model/recipe.yaml").read_text())["skip_nonfinite"] == 2
    with open(tmp_path / "run/metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["gradient_norm"]]
    assert len(rows) > 3
    assert all(float(row["gradient_norm"]) > 0 and 0 <= float(row["clipped_share"]) <= 1 for row in rows)


def test_the_number_of_steps_to_skip_is_checked(recipe, capsys):
    assert main(["fit", "--config", recipe, "--skip_nonfinite", "-1"]) == 2
    assert "skip_nonfinite must be a whole number from 0; got -1" in capsys.readouterr().err
    assert main(["fit", "--config", recipe, "--model.skip_nonfinite", "1"]) == 2
    assert "it is taken from skip_nonfinite" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"model\.skip_nonfinite must be a whole number"):
        a_module(skip_nonfinite=-1)


def test_a_sweep_of_rates_ends_where_the_model_bears_no_more(recipe, tmp_path, capsys, monkeypatch):
    original, steps = LanguageModelingModule.training_step, iter(range(10**6))

    def training_step(module, batch, batch_idx):
        return original(module, batch, batch_idx) * (NAN if next(steps) == 30 else 1)

    monkeypatch.setattr(LanguageModelingModule, "training_step", training_step)
    code = main(["lr-find", "--config", recipe, "--num_rates", "40", "--max_rate", "1", "--output_dir", "sweep"])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert "suggested: --model.learning_rate" in out
    assert len((tmp_path / "sweep/lr_find.csv").read_text().splitlines()) == 1 + 30
