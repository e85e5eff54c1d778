"""Cache, dynamic evaluation and mixtures against their definitions, written out; nothing sees what is still to come."""

import math

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast

from rnn_hf import RnnForCausalLM
from rnn_hf.generation import adaptation
from rnn_hf.generation.adaptation import (
    ContinuousCache,
    DynamicEvaluation,
    gradient_rms,
    mixed,
    mixture_weights,
    read_text,
    text_log_probs,
)

from ..models.conftest import CELLS, ShapesMade, randomise, tiny_config

HEADS = [{"lm_head": "full"}, {"lm_head": "adaptive", "adaptive_cutoffs": [8, 20]}]
NUM_WORDS = 41


def build(**fields):
    torch.manual_seed(0)
    fields = {"num_hidden_layers": 2, "hidden_dropout": 0.5, "output_dropout": 0.5, **fields}
    return randomise(RnnForCausalLM(tiny_config(**fields)))


def text(length, seed=0):
    return torch.randint(3, NUM_WORDS, (length,), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def whole(model, ids):
    """(log-probabilities of all tokens but the first, states before them), of one call."""
    output = model(ids[None, :-1], output_hidden_states=True)
    return output.logits[0].log_softmax(-1).gather(1, ids[1:, None])[:, 0], output.hidden_states[-1][0]


def cache_by_definition(hidden, words, otherwise, window, theta):
    found = []
    for t in range(len(words)):
        past = range(max(0, t - window), t)
        near = [math.exp(theta * float(hidden[t] @ hidden[i])) for i in past]
        same = sum(n for n, i in zip(near, past, strict=True) if words[i] == words[t])
        found.append(math.log(same / sum(near)) if same else -math.inf if near else float(otherwise[t]))
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head["lm_head"])
@pytest.mark.parametrize("cell", CELLS)
def test_every_token_is_scored_in_any_chunks(cell, head, monkeypatch):
    model, ids = build(cell_type=cell, **head), text(50)
    expected, states = whole(model, ids)
    for chunk in (1, 7, 49, 500):
        monkeypatch.setattr(adaptation, "TOKENS_AT_ONCE", chunk)
        words, log_probs, hidden = (torch.cat(part) for part in zip(*read_text(model, ids, None, True), strict=True))
        assert torch.equal(words, ids[1:])
        torch.testing.assert_close(log_probs, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(hidden, states, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("chunks", [[300], [1] * 5 + [200, 95]])
def test_cache_is_its_definition(chunks):
    torch.manual_seed(0)
    hidden, words, otherwise = 2 * torch.randn(300, 5), text(300), -torch.rand(300)
    cache = ContinuousCache([200, 3, 40], [0.5, 0.0, 2.0])
    parts = zip(hidden.split(chunks), words.split(chunks), otherwise.split(chunks), strict=True)
    found = torch.cat([cache.log_probs(*part) for part in parts], 1)
    assert cache.settings == [(w, theta) for theta in (0.0, 0.5, 2.0) for w in (3, 40, 200)]
    for row, setting in zip(found, cache.settings, strict=True):
        expected = cache_by_definition(hidden.double(), words, otherwise, *setting)
        assert bool(expected.isinf().any()) and bool(expected.isfinite().any())
        torch.testing.assert_close(row.double(), expected, atol=2e-5, rtol=1e-5)
    cache.restart()
    torch.testing.assert_close(cache.log_probs(hidden[:1], words[:1], otherwise[:1])[0], otherwise[:1])


def test_cache_is_a_distribution_however_far_its_scores_are():
    torch.manual_seed(0)
    hidden, words = 100 * torch.randn(30, 5), text(30)
    scores = []
    for last in range(NUM_WORDS):
        words[-1] = last
        scores.append(ContinuousCache([20], [1.0]).log_probs(hidden, words, torch.zeros(30))[0, -1])
    assert float(torch.stack(scores).exp().sum()) == pytest.approx(1)


def learners(model, ids):
    batches = [{"input_ids": ids[None, :-1], "shift_labels": ids[None, 1:]}]
    return [
        None,
        lambda: DynamicEvaluation(model, 0.1, 0.02, segment=6),
        lambda: DynamicEvaluation(model, 0.3, 0.02, gradient_rms(model, batches), segment=6),
    ]


@pytest.mark.parametrize("which", range(3), ids=["static", "sgd", "rms"])
@pytest.mark.parametrize("head", HEADS, ids=lambda head: head["lm_head"])
def test_no_later_token_changes_a_probability(head, which, monkeypatch):
    model, ids = build(**head), text(60)
    make = learners(model, text(40, seed=5))[which]
    monkeypatch.setattr(adaptation, "TOKENS_AT_ONCE", 16)
    found = []
    for place in (None, 20, 37, 59):
        changed = ids.clone()
        if place is not None:
            changed[place] = 3 + (ids[place] - 2) % (NUM_WORDS - 3)
            assert changed[place] != ids[place]
        cache = ContinuousCache([9, 30], [0.7])
        if make is None:
            of_model, of_cache = text_log_probs(model, [changed], None, cache)
        else:
            with make() as learner:
                of_model, of_cache = text_log_probs(model, [changed], learner, cache)
        both = torch.cat([of_model[None], of_cache])
        if place is None:
            found = both
        else:
            assert torch.equal(both[:, : place - 1], found[:, : place - 1])  # token i + 1 stands at i
            assert not torch.equal(both[0, place - 1 :], found[0, place - 1 :])


def by_definition(model, ids, rate, decay, rms, segment):
    """Krause et al. 2018, segment by segment in float64, with plain autograd."""
    trained = {n: p.detach().clone() for n, p in model.named_parameters()}
    mean = None if rms is None else torch.cat([r.flatten() for r in rms]).mean()
    state, scores = None, []
    for start in range(0, len(ids) - 1, segment):
        part = ids[start : start + segment + 1]
        output = model(part[None, :-1], past_key_values=state, use_cache=True)
        log_probs = output.logits[0].log_softmax(-1)[torch.arange(len(part) - 1), part[1:]]
        scores.append(log_probs.detach())
        state = output.past_key_values
        for layer in state.layers:
            layer.detach_()
        model.zero_grad()
        (-log_probs.mean()).backward()
        with torch.no_grad():
            for i, (name, p) in enumerate((n, p) for n, p in model.named_parameters() if p.requires_grad):
                if rms is None:
                    p += decay * (trained[name] - p) - rate * p.grad
                else:
                    p += (decay * rms[i] / mean).clamp(max=1) * (trained[name] - p) - rate * p.grad / (
                        rms[i] / mean + 1
                    )
    model.load_state_dict(trained, strict=False)
    return torch.cat(scores)


@pytest.mark.parametrize("form", ["sgd", "rms"])
@pytest.mark.parametrize(("tied", "frozen"), [(False, False), (True, False), (False, True)])
def test_dynamic_evaluation_is_its_definition_and_leaves_no_trace(form, tied, frozen):
    model, ids = build(tie_word_embeddings=tied).double(), text(47)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.lm_head.bias.requires_grad_(not frozen)
    lanes = text(60, seed=3).view(3, 20)
    batches = [{"input_ids": lanes[:, i : i + 5], "shift_labels": lanes[:, i + 1 : i + 6]} for i in (0, 5, 10)]
    rms = gradient_rms(model, batches) if form == "rms" else None
    rate, decay = 0.5, 0.3
    with DynamicEvaluation(model, rate, decay, rms, segment=4) as learner:
        of_two, _ = text_log_probs(model, [ids, ids], learner)
    found = of_two[: len(ids) - 1]
    assert torch.equal(of_two[len(ids) - 1 :], found)  # the second text begins with the trained weights
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
    torch.testing.assert_close(found, by_definition(model, ids, rate, decay, rms, 4))
    assert float((found - whole(model, ids)[0]).abs().max()) > 0.01


def test_gradient_rms_is_the_root_of_the_mean_square_along_the_lanes():
    model = build().double()
    lanes = text(60, seed=3).view(3, 20)
    batches = [{"input_ids": lanes[:, i : i + 5], "shift_labels": lanes[:, i + 1 : i + 6]} for i in (0, 5)]
    squares, state = 0, None
    for batch in batches:
        model.zero_grad()
        output = model(batch["input_ids"], past_key_values=state, use_cache=True)
        loss = torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), batch["shift_labels"].flatten())
        loss.backward()
        state = output.past_key_values
        for layer in state.layers:
            layer.detach_()
        squares = squares + torch.cat([p.grad.flatten() for p in model.parameters()]).square()
    found = torch.cat([r.flatten() for r in gradient_rms(model, batches)])
    torch.testing.assert_close(found, (squares / 2).sqrt())


def test_a_model_that_learns_nothing_is_refused():
    model = build().requires_grad_(False)
    with (
        DynamicEvaluation(model, 1.0, 0.0) as learner,
        pytest.raises(ValueError, match="needs a model whose loss has a gradient"),
    ):
        text_log_probs(model, [text(9)], learner)


def test_the_weights_are_back_after_an_error():
    model = build()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match="token ids"), DynamicEvaluation(model, 1.0, 0.0, segment=2) as learner:
        text_log_probs(model, [torch.tensor([5, 6, 7, 8, 9, 999, 3])], learner)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_text_that_repeats_itself_is_learnt():
    model, ids = build(), text(8).repeat(40)
    static, cached = text_log_probs(model, [ids], cache=ContinuousCache([50], [1.0]))
    with DynamicEvaluation(model, 0.3, 0.001, segment=8) as learner:
        dynamic, _ = text_log_probs(model, [ids], learner)
    assert dynamic[-80:].mean() > static[-80:].mean() + 1
    parts = torch.stack([static, cached[0]])
    assert mixed(parts, mixture_weights(parts)).mean() > static.mean() + 0.5


def test_float32_is_as_good_as_float64():
    ids, found = text(2000), []
    for dtype in (torch.float32, torch.float64):
        model = build().to(dtype)
        with DynamicEvaluation(model, 0.1, 0.01, segment=20) as learner:
            found += [text_log_probs(model, [ids], learner, ContinuousCache([300], [0.5]))]
    for of_float, of_double in zip(*found, strict=True):
        torch.testing.assert_close(of_float.double(), of_double.double(), atol=1e-4, rtol=1e-5)


def test_memory_does_not_grow_with_the_text():
    model, most = build(), []
    for length in (3000, 6000):
        cache = ContinuousCache([64], [1.0])
        with ShapesMade() as made:
            for words, log_probs, hidden in read_text(model, text(length), None, True):
                cache.log_probs(hidden, words, log_probs)
        most.append(max(map(math.prod, made.shapes)))
    assert most[0] == most[1] < 3000 * 64


def test_texts_are_scored_each_by_itself():
    model, texts = build(), [text(20, seed=1), text(7, seed=2)]
    together = text_log_probs(model, texts, cache=ContinuousCache([10], [1.0]))
    alone = [text_log_probs(model, [one], cache=ContinuousCache([10], [1.0])) for one in texts]
    assert torch.equal(together[0], torch.cat([one[0] for one in alone]))
    assert torch.equal(together[1], torch.cat([one[1] for one in alone], 1))


def test_a_model_of_another_library_is_read_too():
    config = LlamaConfig(
        vocab_size=NUM_WORDS, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2
    )
    torch.manual_seed(0)
    model, ids = LlamaForCausalLM(config).eval(), text(30)
    found, cached = text_log_probs(model, [ids], cache=ContinuousCache([10], [1.0]))
    torch.testing.assert_close(found, whole(model, ids)[0])
    assert cached.shape == (1, 29)


class Unigram(torch.nn.Module):
    """A model of counts: no hidden states, no gradient."""

    def __init__(self, counts):
        super().__init__()
        self.config, self.device = LlamaConfig(vocab_size=len(counts)), counts.device
        self.logits = (counts / counts.sum()).log()

    def forward(self, input_ids, past_key_values=None, **kwargs):
        return CausalLMOutputWithPast(
            logits=self.logits.expand(*input_ids.shape, -1), past_key_values=DynamicCache(), hidden_states=None
        )


def test_a_model_of_counts_can_be_mixed_and_does_not_adapt():
    ids = text(30)
    counts = torch.rand(NUM_WORDS)
    found, _ = text_log_probs(Unigram(counts), [ids])
    torch.testing.assert_close(found, (counts[ids[1:]] / counts.sum()).log())
    with pytest.raises(ValueError, match="a cache needs hidden states, which Unigram does not give"):
        text_log_probs(Unigram(counts), [ids], cache=ContinuousCache([10], [1.0]))
    with (
        DynamicEvaluation(Unigram(counts), 0.1, 0.0) as learner,
        pytest.raises(ValueError, match="needs a model whose loss has a gradient"),
    ):
        text_log_probs(Unigram(counts), [ids], learner)


def test_mixture_weights_are_the_best_there_are():
    torch.manual_seed(0)
    log_probs = torch.log(torch.rand(2, 500))
    log_probs[1, ::3] = -math.inf  # as a cache has them
    grid = torch.linspace(0, 1, 2001, dtype=torch.float64)
    likelihood = [mixed(log_probs, torch.stack([1 - w, w])).mean() for w in grid]
    best = float(grid[int(torch.stack(likelihood).argmax())])
    weights = mixture_weights(log_probs)
    assert 0.05 < best < 0.95
    assert float(weights[1]) == pytest.approx(best, abs=1e-3)
    assert float(weights.sum()) == pytest.approx(1)


def test_given_weights_stand_and_the_others_share_the_rest():
    torch.manual_seed(0)
    log_probs = torch.log(torch.rand(3, 500))
    weights = mixture_weights(log_probs, [None, 0.2, None])
    assert float(weights[1]) == 0.2 and float(weights.sum()) == pytest.approx(1)
    shares = torch.linspace(0.001, 0.799, 799, dtype=torch.float64)
    likelihood = [mixed(log_probs, torch.tensor([0.8 - s, 0.2, s])).mean() for s in shares]
    assert float(weights[2]) == pytest.approx(float(shares[int(torch.stack(likelihood).argmax())]), abs=2e-3)
    assert mixture_weights(log_probs, [None, 0.3, 0.1]).tolist() == pytest.approx([0.6, 0.3, 0.1])
    assert mixture_weights(log_probs, [None, 1.0, None]).tolist() == [0, 1, 0]


@pytest.mark.parametrize(("call", "message"), [
    (lambda model: ContinuousCache([0], [1.0]), "window must be a whole number from 1"),
    (lambda model: ContinuousCache([5], [-1.0]), "theta must be a number from 0"),
    (lambda model: DynamicEvaluation(model, -1, 0), "rate must be a number from 0"),
    (lambda model: DynamicEvaluation(model, 1, 2), "decay must be a number from 0 to 1"),
    (lambda model: DynamicEvaluation(model, 1, 0, segment=0), "segment must be a whole number from 1"),
    (lambda model: mixture_weights(torch.zeros(3, 4), [None, 0.7, 0.6]), "must add up to 1"),
    (lambda model: mixture_weights(torch.zeros(2, 4), [0.7, 0.6]), "must add up to 1"),
])  # fmt: skip
def test_wrong_numbers_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(build())
