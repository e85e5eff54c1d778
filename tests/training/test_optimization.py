"""What `TextModule` does to gradients and rates: accumulated batches, checkpointed layers, schedules, optimisers."""

import math

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from rnn_hf import ClassificationModule, LanguageModelingModule, train_word_tokenizer
from rnn_hf.models.cache import detach_, new_cache

from .conftest import CONFIG, WORDS, trainer


def language_model(**arguments):
    L.seed_everything(1, verbose=False)
    return LanguageModelingModule(train_word_tokenizer([" ".join(WORDS)]), config=dict(CONFIG), **arguments)


def stream(lengths, lanes=3):
    generator = torch.Generator().manual_seed(0)
    draw = [torch.randint(3, 12, (2, lanes, time), generator=generator) for time in lengths]
    return [{"input_ids": ids, "shift_labels": targets} for ids, targets in draw]


class Gradients(L.Callback):
    """Keeps the gradients of each optimiser step, after the module has scaled them."""

    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step > len(self.steps):
            self.steps.append([p.grad.clone() for p in module.model.parameters()])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_accumulated_batches_are_weighted_by_their_tokens_and_carry_the_state(precision):
    """Three batches of 7, 4 and 2 steps of time make the gradient of the mean over all their tokens; the last step of
    the epoch holds one batch alone."""
    batches = stream([7, 4, 2, 5])
    batches[1]["shift_labels"][0] = -100  # a lane that scores nothing
    module, gradients = language_model(optimizer="sgd", learning_rate=0.0), Gradients()
    run = trainer(max_epochs=1, accumulate_grad_batches=3, callbacks=[gradients], precision=precision)
    run.fit(module, DataLoader(batches, batch_size=None))

    model, state, expected = module.model, new_cache(module.model.config), []
    for group in (batches[:3], batches[3:]):
        model.zero_grad()
        tokens = sum(int((batch["shift_labels"] != -100).sum()) for batch in group)
        for batch in group:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
                loss = model(**batch, past_key_values=state).loss
            detach_(state)
            (loss * (batch["shift_labels"] != -100).sum() / tokens).backward()
        expected.append([p.grad.clone() for p in model.parameters()])
    assert len(gradients.steps) == len(expected) == 2
    for step, wanted in zip(gradients.steps, expected, strict=True):
        assert max(float(gradient.abs().max()) for gradient in wanted) > 1e-3
        torch.testing.assert_close(step, wanted, atol=5e-4 if precision == "bf16-mixed" else 1e-6, rtol=1e-5)


def test_accumulated_texts_are_weighted_by_rows():
    """A batch of 5 rows and one of 2 give the gradient of the 7 rows together."""
    tokenizer = train_word_tokenizer([" ".join(WORDS)])
    generator = torch.Generator().manual_seed(0)
    ids, labels = torch.randint(3, 12, (7, 6), generator=generator), torch.tensor([0, 1, 0, 0, 1, 1, 1])
    whole = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    parts = [{k: v[:5] for k, v in whole.items()}, {k: v[5:] for k, v in whole.items()}]
    steps = []
    for batches, settings in ((parts, {"accumulate_grad_batches": 2}), ([whole], {})):
        L.seed_everything(1, verbose=False)
        gradients = Gradients()
        names = {0: "no", 1: "yes"}
        module = ClassificationModule(tokenizer, names, config=dict(CONFIG), optimizer="sgd", learning_rate=0.0)
        run = trainer(max_epochs=1, callbacks=[gradients], **settings)
        run.fit(module, DataLoader(batches, batch_size=None))
        steps.append(gradients.steps[-1])
    torch.testing.assert_close(steps[0], steps[1], atol=1e-7, rtol=1e-5)


def test_gradient_checkpointing_changes_no_weight():
    """Carried state and dropout included."""
    weights = []
    for checkpointing in (False, True):
        module = language_model(gradient_checkpointing=checkpointing)
        module.model.model.input_dropout.p = 0.3
        L.seed_everything(2, verbose=False)
        trainer(max_epochs=2).fit(module, DataLoader(stream([6, 6, 3]), batch_size=None))
        assert module.model.is_gradient_checkpointing == checkpointing
        weights.append(module.model.state_dict())
    torch.testing.assert_close(weights[0], weights[1], atol=1e-7, rtol=0)


class Rates(L.Callback):
    def __init__(self):
        self.rates = []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.rates.append((trainer.current_epoch + 1, optimizer.param_groups[0]["lr"]))


def test_step_decay_halves_after_its_epoch():
    """Zaremba et al. 2014, the small network: the fifth epoch is the first at half the rate."""
    rates = Rates()
    module = language_model(optimizer="sgd", learning_rate=1.0, weight_decay=0, schedule="step_decay")
    trainer(max_epochs=6, callbacks=[rates]).fit(module, DataLoader(stream([3, 3]), batch_size=None))
    expected = {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0, 5: 0.5, 6: 0.25}
    assert rates.rates == [(epoch, rate) for epoch, rate in expected.items() for _ in range(2)]


class Momenta(L.Callback):
    """The first beta and the rate of each step, when it is taken."""

    def __init__(self):
        self.steps = []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.rate = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        (betas,) = {group["betas"] for group in trainer.optimizers[0].param_groups}
        self.steps.append((betas, self.rate))


@pytest.mark.parametrize("strategy", ["linear", "cos"])
def test_momentum_falls_as_the_rate_rises_and_comes_back_as_in_one_cycle_of_torch(strategy):
    """The rise here is linear, the fall a cosine; torch has one form for both, so that each is compared in its own."""
    epochs, each = 4, 5
    steps, warmup = epochs * each, 5
    momenta, data = Momenta(), DataLoader(stream([3] * each), batch_size=None)
    module = language_model(warmup_share=warmup / steps, betas=[0.8, 0.95], base_momentum=0.7)
    trainer(max_epochs=epochs, callbacks=[momenta]).fit(module, data)

    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], betas=(0.8, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, module.learning_rate, steps + 1, pct_start=(warmup + 1) / (steps + 1), anneal_strategy=strategy,
        base_momentum=0.7, max_momentum=0.8, div_factor=warmup + 1, final_div_factor=1e9,
    )  # fmt: skip
    expected = []
    for _ in range(steps):
        expected.append((optimizer.param_groups[0]["betas"], optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    found, phase = momenta.steps, slice(warmup) if strategy == "linear" else slice(warmup, steps)
    assert len(found) == steps
    assert [rate for _, rate in found[phase]] == pytest.approx([rate for _, rate in expected[phase]])
    # torch's momentum starts its fall from the highest where the first rate is already a share of its own highest
    allowed = 0.1 / (warmup + 1) + 1e-9 if strategy == "linear" else 1e-9
    for (betas, _), (wanted, _) in zip(found[phase], expected[phase], strict=True):
        assert betas == pytest.approx(wanted, abs=allowed)
    assert min(betas[0] for betas, _ in found) == pytest.approx(0.7)


def test_betas_are_the_optimizer_s_and_stay_unless_they_are_cycled():
    momenta = Momenta()
    module = language_model(betas=[0.7, 0.99])
    trainer(max_epochs=2, callbacks=[momenta]).fit(module, DataLoader(stream([3, 3]), batch_size=None))
    assert [betas for betas, _ in momenta.steps] == [(0.7, 0.99)] * 4


def test_sgd_is_the_plain_step():
    module = language_model(optimizer="sgd", learning_rate=0.5, weight_decay=0, schedule="constant", warmup_share=0)
    gradients = Gradients()
    before = [p.detach().clone() for p in module.model.parameters()]
    trainer(max_steps=1, callbacks=[gradients]).fit(module, DataLoader(stream([5]), batch_size=None))
    after = [p.detach() for p in module.model.parameters()]
    expected = [p - 0.5 * gradient for p, gradient in zip(before, gradients.steps[0], strict=True)]
    torch.testing.assert_close(after, expected)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"optimizer": "adam"}, "model.optimizer must be one of adamw, sgd; got 'adam' .did you mean 'adamw'"),
    ({"decay_factor": 2}, "model.decay_factor must be a number from 0 to 1"),
    ({"decay_after_epoch": -1, "warmup_share": 3}, "warmup_share must be .*; model.decay_after_epoch must be a whole"),
    ({"betas": [0.9]}, r"model.betas must be two numbers from 0 to below 1; got \[0.9\]"),
    ({"betas": [0.9, 1.0], "base_momentum": 1}, "model.betas must be .*; model.base_momentum must be a number from 0"),
    ({"optimizer": "sgd", "base_momentum": 0.7}, "model.base_momentum is for model.optimizer adamw; got sgd"),
    ({"gradient_checkpointing": "yes"}, "model.gradient_checkpointing must be true or false"),
])  # fmt: skip
def test_wrong_arguments_are_listed(arguments, message):
    with pytest.raises(ValueError, match=message):
        language_model(**arguments)


def test_patience_counts_in_the_second_half_of_one_cycle():
    """Elsewhere the rate is high, and what it hides may still come."""
    seen = {}

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            seen.setdefault(module.schedule, []).append(module.patience_counts)

    for schedule in ("one_cycle", "constant", "step_decay"):
        module = language_model(schedule=schedule)
        trainer(max_epochs=2, callbacks=[Watch()]).fit(module, DataLoader(stream([3, 3]), batch_size=None))
    assert seen == {"one_cycle": [False, False, True, True], "constant": [True] * 4, "step_decay": [True] * 4}


def test_the_rate_finder_sweeps_and_suggests():
    from rnn_hf.training.rate_finder import RateFinder

    finder = RateFinder(1e-4, 10.0, 60)
    module = language_model(schedule="constant", warmup_share=0)
    data = DataLoader(stream([8] * 4, lanes=16), batch_size=None)
    rates = Rates()
    trainer(max_steps=60, max_epochs=-1, callbacks=[finder, rates]).fit(module, data)
    assert [rate for _, rate in rates.rates[: len(finder.rates)]] == pytest.approx(finder.rates)
    steps = range(len(finder.rates))
    assert finder.rates == pytest.approx([1e-4 * 1e5 ** (step / 59) for step in steps])
    assert len(finder.losses) == len(finder.rates)
    assert finder.losses[0] == pytest.approx(math.log(12), rel=0.2)
    assert 1e-4 < finder.suggestion < 1


def test_the_suggestion_is_the_middle_of_the_longest_fall():
    from rnn_hf.training.rate_finder import RateFinder

    finder = RateFinder(1, 2, 3)
    finder.rates, finder.losses = [1, 2, 3, 4, 5, 6, 7, 8], [9, 9.5, 9, 7, 5, 3, 1, 20]
    assert finder.suggestion == 4  # the fall has 6 losses and ends at the seventh
    finder.losses = [1, 2, 3, 4, 5, 6, 7, 8]
    assert finder.suggestion is None
