"""What regularisers add to a training loss: by their formulas, whatever the padding, and never to a logged loss."""

import math

import lightning as L
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from rnn_hf import ClassificationModule, LanguageModelingModule, train_word_tokenizer
from rnn_hf.models.rnn_layers import LockedDropout
from rnn_hf.training.regularisation import activation_penalty, drop_words, leads, temporal_activation_penalty
from rnn_hf.training.tagging import TaggingModule

from .conftest import CONFIG, WORDS, trainer

TOKENIZER = train_word_tokenizer([" ".join(WORDS)])
NAMES = {0: "no", 1: "yes", 2: "perhaps"}
ALL = {"activation_penalty": 2.0, "temporal_activation_penalty": 1.0, "label_smoothing": 0.1}
DROPOUTS = {"input_dropout": 0.3, "output_dropout": 0.4, "weight_dropout": 0.2}


def ids(*shape, seed=0):
    return torch.randint(4, len(TOKENIZER), shape, generator=torch.Generator().manual_seed(seed))


def stream(*lengths, lanes=3):
    return [{"input_ids": ids(lanes, time), "shift_labels": ids(lanes, time, seed=1)} for time in lengths]


def padded_texts(task):
    """Seven texts of 1 to 7 words, padded on either side."""
    mask = torch.ones(7, 7, dtype=torch.long).tril()
    mask[3] = mask[3].flip(0)
    words = torch.tensor([0, 1, 0, 2, 1, 1, 2])
    labels = {
        "one": words,
        "several": F.one_hot(words, 3).float(),
        "tags": (torch.arange(49).view(7, 7) % 3).masked_fill(mask == 0, -100),
    }[task]
    return {"input_ids": ids(7, 7) * mask, "attention_mask": mask, "labels": labels}


def module(task, config=None, **arguments):
    L.seed_everything(1, verbose=False)
    arguments = {"optimizer": "sgd", "schedule": "constant", "warmup_share": 0, **arguments}
    config = {**CONFIG, **(config or {})}
    if task == "lm":
        return LanguageModelingModule(TOKENIZER, config=config, **arguments)
    if task == "tags":
        return TaggingModule(TOKENIZER, NAMES, config=config, **arguments)
    kind = "multi_label_classification" if task == "several" else "single_label_classification"
    return ClassificationModule(TOKENIZER, NAMES, config=config, problem_type=kind, **arguments)


class Steps(L.Callback):
    """Keeps losses and gradients; each step draws the same numbers."""

    def __init__(self):
        self.losses, self.gradients, self.reported = [], [], []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        torch.manual_seed(5)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.losses.append(outputs["loss"])
        self.reported.append(trainer.callback_metrics["train/loss"])
        if trainer.global_step > len(self.gradients) and not module.guard.skipped:
            self.gradients.append([p.grad.clone() for p in module.model.parameters()])


def steps_of(part, batches, **settings):
    steps = Steps()
    run = trainer(max_epochs=1, callbacks=[steps], precision="64-true", **settings)
    run.fit(part, DataLoader(batches, batch_size=None))
    return steps


def last_outputs(model, batch):
    """(raw, dropped) under the seed of `Steps`, as the model is put together."""
    model.train()
    torch.manual_seed(5)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch}
    raw = model.model(**inputs, use_cache=False).last_hidden_state
    dropout = next((part for part in model.children() if isinstance(part, LockedDropout)), None)
    return raw, raw if dropout is None else dropout(raw)


@pytest.mark.parametrize("config", [DROPOUTS, {**DROPOUTS, "tie_word_embeddings": True, "last_hidden_size": 6}])
def test_a_language_model_s_penalties_are_those_of_awd_lstm(config):
    """alpha and beta of Merity et al. 2017, and torch's label smoothing, in float64; the reported loss has none."""
    part = module("lm", config, learning_rate=0.0, **ALL)
    [batch] = stream(9)
    steps = steps_of(part, [batch])
    raw, dropped = last_outputs(part.model, batch)
    head_input = dropped if part.model.projection is None else part.model.projection(dropped)
    logits, targets = part.model.lm_head(head_input).flatten(0, 1), batch["shift_labels"].flatten()
    expected = F.cross_entropy(logits, targets, label_smoothing=0.1)
    expected = expected + 2 * dropped.pow(2).mean() + (raw[:, 1:] - raw[:, :-1]).pow(2).mean()
    torch.testing.assert_close(steps.losses[0], expected.detach(), rtol=1e-12, atol=0)
    gradients = torch.autograd.grad(expected, list(part.model.parameters()))
    torch.testing.assert_close(steps.gradients[0], list(gradients), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(steps.reported[0], F.cross_entropy(logits, targets).detach(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", list(ALL))
@pytest.mark.parametrize("task", ["lm", "one", "several", "tags"])
def test_each_option_changes_the_loss_and_not_the_report(task, name):
    batches = stream(5) if task == "lm" else [padded_texts(task)]
    plain, changed = (
        steps_of(module(task, learning_rate=0.0, **arguments), batches) for arguments in ({}, {name: ALL[name]})
    )
    assert abs(changed.losses[0] - plain.losses[0]) > 1e-4
    assert changed.reported == plain.reported
    assert plain.reported == plain.losses


def test_label_smoothing_of_classifiers():
    """Against torch; of several labels each goes toward one half. Class weights weigh rows."""
    for task in ("one", "several", "tags"):
        part, batch = module(task, learning_rate=0.0, label_smoothing=0.2), padded_texts(task)
        loss = steps_of(part, [batch]).losses[0]
        with torch.no_grad():
            logits, labels = part.model.double()(**batch).logits, batch["labels"]
        if task == "several":
            expected = F.binary_cross_entropy_with_logits(logits, 0.8 * labels.double() + 0.1)
        else:
            expected = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), label_smoothing=0.2)
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    part = module("one", learning_rate=0.0, label_smoothing=0.2, label_weights=[1.0, 2.0, 0.0])
    batch, weights = padded_texts("one"), torch.tensor([1.0, 2.0, 0.0])
    loss = steps_of(part, [batch]).losses[0]
    rows = F.cross_entropy(part.model(**batch).logits, batch["labels"], label_smoothing=0.2, reduction="none")
    of_rows = weights[batch["labels"]].double()
    torch.testing.assert_close(loss, (rows @ of_rows / of_rows.sum()).detach(), rtol=1e-12, atol=0)


def test_the_lead_of_what_is_not_scored_is_zero():
    logits = torch.tensor([[1.0, 2.0, 6.0], [5.0, 1.0, 0.0]])
    assert leads(logits, torch.tensor([2, -100])).tolist() == [3.0, 0.0]


@pytest.mark.parametrize("task", ["one", "several", "tags"])
def test_padding_adds_nothing_to_a_penalty(task):
    """Of the whole batch it is the mean of its rows alone, without their padding, as the loss is."""
    arguments = {"activation_penalty": 2.0, "temporal_activation_penalty": 3.0}
    part, batch = module(task, learning_rate=0.0, **arguments), padded_texts(task)
    steps = steps_of(part, [batch])
    total = scored = 0
    for row in range(7):
        real = batch["attention_mask"][row].bool()
        raw, _ = last_outputs(part.model, {"input_ids": batch["input_ids"][row, real][None]})
        changes = raw.diff(dim=1).pow(2).mean() if raw.shape[1] > 1 else 0
        weight = int(real.sum()) if task == "tags" else 1
        total, scored = total + weight * (2 * raw.pow(2).mean() + 3 * changes).detach(), scored + weight
    plain = steps_of(module(task, learning_rate=0.0), [batch]).losses[0]
    torch.testing.assert_close(steps.losses[0] - plain, total / scored, rtol=1e-9, atol=0)


@pytest.mark.parametrize("task", ["one", "several", "tags"])
def test_accumulated_and_shared_batches_have_the_penalty_of_the_whole(task):
    """5 rows and 2 rows, which a step accumulates, give the gradient of the 7; processes' shares are weighted alike."""
    whole = padded_texts(task)
    parts = [{name: value[rows] for name, value in whole.items()} for rows in (slice(5), slice(5, 7))]
    arguments = {"learning_rate": 0.0, **ALL}
    if task == "one":
        arguments["label_weights"] = [1.0, 3.0, 0.5]
    [gradient] = steps_of(module(task, **arguments), [whole]).gradients
    [accumulated] = steps_of(module(task, **arguments), parts, accumulate_grad_batches=2).gradients
    torch.testing.assert_close(accumulated, gradient, rtol=1e-9, atol=1e-14)


def test_unscored_ends_of_lanes_add_nothing():
    """What fills up a lane or a text is neither penalised nor smoothed."""
    [batch] = stream(6)
    batch["shift_labels"][1, 4:] = batch["shift_labels"][2] = -100
    part = module("lm", learning_rate=0.0, **ALL)
    loss = steps_of(part, [batch]).losses[0]
    raw, _ = last_outputs(part.model, batch)
    lanes = [(6, raw[0]), (4, raw[1, :4])]
    penalties = sum(n * (2 * lane.pow(2).mean() + lane.diff(dim=0).pow(2).mean()) for n, lane in lanes) / 10
    logits = part.model.lm_head(raw).flatten(0, 1)
    smoothed = F.cross_entropy(logits, batch["shift_labels"].flatten(), label_smoothing=0.1)
    torch.testing.assert_close(loss, (smoothed + penalties).detach(), rtol=1e-12, atol=0)


def test_penalties_of_half_precision_are_summed_in_float32():
    output = torch.full((2, 3, 4), 100.0, dtype=torch.bfloat16)
    rows = torch.tensor([3, 3])
    assert activation_penalty(output, None, rows) == torch.tensor(10_000.0)
    assert temporal_activation_penalty(output, None, rows) == torch.tensor(0.0)
    assert temporal_activation_penalty(output[:, :1], None, rows) == torch.tensor(0.0)  # no neighbour, no change


def test_a_step_without_a_target_is_none():
    """Its loss is NaN, its gradient zero: the guard lets it pass."""
    [batch] = stream(4)
    batch["shift_labels"][:] = -100
    steps = steps_of(module("lm", **ALL), [batch])
    assert all(not gradient.any() for gradient in steps.gradients[0])


def test_the_guard_leaves_out_a_penalty_that_is_not_finite():
    """The loss that is reported stays what it is."""
    part = module("lm", learning_rate=0.1, activation_penalty=1.0, skip_nonfinite=1)
    part.activation_penalty = math.inf
    before = [weight.double() for weight in part.model.state_dict().values()]
    steps = steps_of(part, stream(5))
    assert part.guard.skipped == 1
    assert math.isinf(steps.losses[0])
    assert steps.reported[0].isfinite()
    assert all(map(torch.equal, part.model.state_dict().values(), before))


def test_dropped_words():
    special = TOKENIZER.all_special_ids
    given = torch.cat([ids(200, 100), torch.tensor(special).repeat(200, 5)], 1)
    torch.manual_seed(0)
    dropped = drop_words(given, 0.25, TOKENIZER.unk_token_id, special)
    changed = dropped != given
    assert not changed[:, 100:].any()
    assert (dropped[changed] == TOKENIZER.unk_token_id).all()
    assert float(changed[:, :100].float().mean()) == pytest.approx(0.25, abs=0.01)  # 20,000 words: 3 standard errors


@pytest.mark.parametrize("task", ["lm", "one", "tags"])
def test_words_are_dropped_in_training_alone(task):
    """The targets stay; an evaluation reads every word."""
    read = []

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            hook = lambda embedding, inputs: read.append((module.training, inputs[0].clone()))  # noqa: E731
            module.model.get_input_embeddings().register_forward_pre_hook(hook)

    batch = stream(50)[0] if task == "lm" else padded_texts(task)
    loader = DataLoader([batch], batch_size=None)
    trainer(max_epochs=1, callbacks=[Watch()]).fit(module(task, word_dropout=0.5), loader, loader)
    (in_training, trained), (in_evaluation, evaluated) = read
    assert (in_training, in_evaluation) == (True, False)
    assert torch.equal(evaluated, batch["input_ids"])
    share = float((trained != evaluated).sum()) / int((evaluated != TOKENIZER.pad_token_id).sum())
    assert 0.2 < share < 0.8
    assert (trained[trained != evaluated] == TOKENIZER.unk_token_id).all()


@pytest.mark.parametrize("task", ["lm", "one", "tags"])
def test_zero_changes_no_bit_and_hooks_nothing(task):
    """What is descended is what is reported, and the weights are those of a run that names no option."""
    batches = stream(5, 4) if task == "lm" else [padded_texts(task)] * 2
    zeros = {**dict.fromkeys(ALL, 0.0), "word_dropout": 0.0, "ema_decay": 0.0, "averaging_patience": 0}
    weights = []
    for arguments in ({}, zeros):
        part = module(task, DROPOUTS, learning_rate=0.1, **arguments)
        assert not any(inner._forward_hooks for inner in part.modules())
        steps = steps_of(part, batches)
        assert steps.losses == steps.reported
        weights.append(part.model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(("arguments", "message"), [
    ({"activation_penalty": -1}, "model.activation_penalty must be a number from 0 to 1000; got -1"),
    ({"temporal_activation_penalty": "1"}, "model.temporal_activation_penalty must be a number .*; got '1'"),
    ({"label_smoothing": 1.0}, "model.label_smoothing must be a number from 0 to below 1; got 1.0"),
    ({"word_dropout": 1.5, "ema_decay": 1}, "model.word_dropout must be .*; model.ema_decay must be a number from 0"),
    ({"label_smoothing": 0.1, "config": {"lm_head": "adaptive"}}, "model.label_smoothing needs model.config.lm_head"),
])  # fmt: skip
def test_wrong_values_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        module("lm", **arguments)


def test_word_dropout_needs_an_unknown_word():
    tokenizer = train_word_tokenizer([" ".join(WORDS)])
    tokenizer.unk_token = None
    with pytest.raises(ValueError, match=r"model.word_dropout needs a tokenizer with an <unk>"):
        LanguageModelingModule(tokenizer, config=dict(CONFIG), word_dropout=0.1)
