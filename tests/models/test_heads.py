"""The loss that keeps no logits, against the plain form."""

import importlib.util
import math
import os

import pytest
import torch
from torch.nn import functional as F

from rnn_hf import RnnForCausalLM
from rnn_hf.models import heads
from rnn_hf.models.heads import linear_cross_entropy

from .conftest import ShapesMade, randomise, tiny_config


@pytest.fixture(params=[(1, 3), (300, 4), (10**6, 10**6)], ids=["single", "chunks", "whole"])
def small_pieces(request, monkeypatch):
    """A buffer for the logits of one token, of some, or of all; blocks of few words or one block."""
    monkeypatch.setattr(heads, "BUFFER_BYTES", request.param[0])
    monkeypatch.setattr(heads, "BLOCK", request.param[1])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tokens", [1, 17])
@pytest.mark.parametrize("num_items", [None, 7, torch.tensor(7)])
def test_equals_linear_and_cross_entropy(bias, tokens, num_items, small_pieces):
    shapes = [(tokens, 5), (11, 5), *([(11,)] if bias else [])]
    parameters = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    targets = torch.randint(11, (tokens,))
    targets[1::4] = -100
    ours = linear_cross_entropy(*parameters, *([] if bias else [None]), targets, num_items)
    plain = F.cross_entropy(F.linear(*parameters), targets, reduction="mean" if num_items is None else "sum")
    plain = plain if num_items is None else plain / num_items
    torch.testing.assert_close(ours, plain, atol=1e-12, rtol=0)
    for factor in (1, 3):
        gradients = [torch.autograd.grad(factor * loss, parameters, retain_graph=True) for loss in (ours, plain)]
        torch.testing.assert_close(*gradients, atol=1e-12, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(
            linear_cross_entropy(*parameters, *([] if bias else [None]), targets, num_items), plain, atol=1e-12, rtol=0
        )


@pytest.mark.parametrize("frozen", ["hidden", "weight", "bias"])
def test_only_the_gradients_that_are_wanted(frozen):
    parameters = {"hidden": torch.randn(7, 5), "weight": torch.randn(11, 5), "bias": torch.randn(11)}
    wanted = [p.requires_grad_() for name, p in parameters.items() if name != frozen]
    targets = torch.randint(11, (7,))
    losses = (
        linear_cross_entropy(*parameters.values(), targets),
        F.cross_entropy(F.linear(*parameters.values()), targets),
    )
    torch.testing.assert_close(*(torch.autograd.grad(loss, wanted) for loss in losses))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_target_of_vanishing_probability(dtype):
    """exp(-300) is 0 in these types, its logarithm is not."""
    hidden, weight = torch.eye(3, dtype=dtype, requires_grad=True), torch.zeros(4, 3, dtype=dtype)
    weight[1] = 300
    for context in (torch.enable_grad, torch.no_grad):
        with context():
            loss = linear_cross_entropy(hidden, weight, None, torch.tensor([1, 1, 2]))
        torch.testing.assert_close(float(loss), 100.0)


def test_autocast_is_as_exact_as_the_plain_form_under_autocast(small_pieces):
    parameters = [torch.randn(s, requires_grad=True) for s in ((40, 16), (300, 16), (300,))]
    targets = torch.randint(300, (40,))

    def errors(function):
        with torch.autocast("cpu", torch.bfloat16):
            loss = function(*parameters, targets)
            with torch.no_grad():
                evaluated = function(*parameters, targets)
        found = torch.autograd.grad(loss, parameters)
        assert all(g.dtype == torch.float32 for g in found)
        error = [float((g - e).norm() / e.norm()) for g, e in zip(found, exact, strict=True)]
        return [*error, float((evaluated - exact_loss).abs())]

    double = [p.detach().double().requires_grad_() for p in parameters]
    exact_loss = F.cross_entropy(F.linear(*double), targets)
    exact = torch.autograd.grad(exact_loss, double)
    plain = errors(lambda h, w, b, t: F.cross_entropy(F.linear(h, w, b), t))
    for ours, theirs in zip(errors(linear_cross_entropy), plain, strict=True):
        assert ours < 1.5 * theirs + 1e-4


def plain_loss(hidden, weight, bias, targets, num_items=None):
    loss = F.cross_entropy(F.linear(hidden, weight, bias), targets, reduction="mean" if num_items is None else "sum")
    return loss if num_items is None else loss / num_items


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("num_items", "expected"), [(None, math.nan), (7, 0.0), (torch.tensor(7), 0.0), (0, math.nan)])
def test_nothing_scored(num_items, expected, bias):
    """As in torch; and every parameter gets a gradient, without which DDP refuses the step."""
    shapes = [(3, 5), (11, 5), *([(11,)] if bias else [])]
    parameters = [torch.randn(shape, requires_grad=True) for shape in shapes]
    arguments = [*parameters, *([] if bias else [None])]
    loss = linear_cross_entropy(*arguments, torch.full((3,), -100), num_items)
    torch.testing.assert_close(float(loss.detach()), expected, equal_nan=True)
    assert all(not g.any() for g in torch.autograd.grad(loss, parameters))
    with torch.no_grad():
        assert linear_cross_entropy(*arguments, torch.full((3,), -100)).isnan()


@pytest.mark.parametrize("num_items", [0, torch.tensor(0)])
def test_a_sum_over_no_items_is_infinite(num_items):
    hidden, weight, targets = torch.randn(3, 5, requires_grad=True), torch.randn(11, 5), torch.tensor([1, 2, 3])
    loss = linear_cross_entropy(hidden, weight, None, targets, num_items)
    assert loss.isinf() and not torch.autograd.grad(loss, hidden)[0].isfinite().any()


def test_second_derivatives_are_refused():
    """Whatever the loss goes through, and whichever derivative of a gradient is asked for."""
    parameters = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((4, 5), (7, 5), (7,))]
    targets = torch.randint(7, (4,))
    for factor in (1, 2):
        (gradient,) = torch.autograd.grad(
            factor * linear_cross_entropy(*parameters, targets), parameters[0], create_graph=True
        )
        expected = torch.autograd.grad(factor * plain_loss(*parameters, targets), parameters[0])[0]
        torch.testing.assert_close(gradient.detach(), expected)
        penalty = gradient.square().sum() + sum(p.square().sum() for p in parameters)
        with pytest.raises(RuntimeError, match="call the model with skip_logits=False"):
            torch.autograd.grad(penalty, parameters[1], retain_graph=True)
        with pytest.raises(RuntimeError, match="call the model with skip_logits=False"):
            penalty.backward()


@pytest.mark.parametrize("zeroed", [True, False])
def test_a_second_backward_pass(zeroed):
    """Accumulating into a gradient, or clearing it, leaves what the next pass reads."""
    parameters = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((4, 5), (7, 5), (7,))]
    targets = torch.randint(7, (4,))
    expected = torch.autograd.grad(plain_loss(*parameters, targets), parameters)
    loss = linear_cross_entropy(*parameters, targets)
    for turn in range(1, 4):
        loss.backward(retain_graph=turn < 3)
        torch.testing.assert_close([p.grad for p in parameters], [g * (1 if zeroed else turn) for g in expected])
        for p in parameters if zeroed else []:
            p.grad.zero_()


def test_the_usual_backward_pass_copies_no_gradient():
    weight = torch.randn(7, 5, requires_grad=True)
    loss = linear_cross_entropy(torch.randn(4, 5), weight, None, torch.randint(7, (4,)))
    made = loss.grad_fn.saved_tensors[1].data_ptr()
    loss.backward()
    assert weight.grad.data_ptr() == made


def test_float16_under_a_gradient_scaler():
    """Neither the division by many tokens nor the scale leaves float16's range."""
    scale, targets = 32768.0, torch.randint(200, (20_000,))
    parameters = [torch.randn(20_000, 32).half().requires_grad_(), (0.02 * torch.randn(200, 32)).requires_grad_()]
    double = [p.detach().double().requires_grad_() for p in parameters]
    exact = torch.autograd.grad(plain_loss(*double, None, targets), double)

    def errors(function, scale):
        with torch.autocast("cpu", torch.float16):
            loss = function(*parameters, None, targets)
        found = torch.autograd.grad(scale * loss, parameters)
        return [float((g.double() / scale - e).norm() / e.norm()) for g, e in zip(found, exact, strict=True)]

    plain = errors(plain_loss, scale)
    for factor in (scale, 2 * scale):
        assert all(
            ours < 1.5 * theirs for ours, theirs in zip(errors(linear_cross_entropy, factor), plain, strict=True)
        )


@pytest.mark.parametrize("how", ["checkpointed", "compiled"])
def test_the_loss_without_logits(how):
    """Its gradients, under gradient checkpointing and in compiled code."""
    model = randomise(RnnForCausalLM(tiny_config())).train()
    ids = torch.randint(3, 41, (3, 8))
    expected = torch.autograd.grad(model(ids, labels=ids, skip_logits=False).loss, list(model.parameters()))
    call = model
    if how == "checkpointed":
        model.gradient_checkpointing_enable({"use_reentrant": False})
    else:
        call = torch.compile(model, backend="aot_eager")
    found = torch.autograd.grad(call(ids, labels=ids, skip_logits=True).loss, list(model.parameters()))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("tied", [False, True])
def test_training_loss_equals_the_loss_with_logits(tied):
    model = randomise(RnnForCausalLM(tiny_config(num_hidden_layers=2, tie_word_embeddings=tied))).double()
    ids = torch.randint(3, 41, (3, 8))
    with_logits = model(ids, labels=ids)
    skipped = model(ids, labels=ids, skip_logits=True)
    assert skipped.logits is None
    torch.testing.assert_close(skipped.loss, with_logits.loss, atol=1e-12, rtol=0)
    expected = F.cross_entropy(with_logits.logits[:, :-1].reshape(-1, 41), ids[:, 1:].reshape(-1))
    torch.testing.assert_close(with_logits.loss, expected, atol=1e-12, rtol=0)
    gradients = [torch.autograd.grad(out.loss, list(model.parameters())) for out in (with_logits, skipped)]
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=0)
    assert model.train()(ids, labels=ids).logits is None
    kept = model.eval()(ids, labels=ids, logits_to_keep=1)
    assert kept.logits.shape == (3, 1, 41)
    torch.testing.assert_close(kept.loss, expected, atol=1e-12, rtol=0)
    for steps in (torch.arange(8).flip(0), torch.full((8,), 2), 8, 9):
        kept = model(ids, labels=ids, logits_to_keep=steps)
        torch.testing.assert_close(kept.loss, expected, atol=1e-12, rtol=0)
        assert torch.equal(kept.logits, with_logits.logits[:, steps if torch.is_tensor(steps) else slice(None)])


@pytest.mark.parametrize("train", [True, False])
def test_the_loss_never_holds_tokens_by_vocabulary(train, monkeypatch):
    """The largest tensor that one step makes is a chunk of logits, or the head's own gradient."""
    vocabulary, chunk, tokens = 20_000, 64, 8 * 64
    monkeypatch.setattr(heads, "BUFFER_BYTES", chunk * vocabulary * 4)
    model = RnnForCausalLM(tiny_config(vocab_size=vocabulary)).train(train)
    ids = torch.randint(3, vocabulary, (8, chunk))
    with ShapesMade() as made, torch.set_grad_enabled(train):
        loss = model(ids, shift_labels=ids, skip_logits=True).loss
        if train:
            loss.backward()
    sizes = [math.prod(shape) for shape in made.shapes]
    assert chunk * vocabulary <= max(sizes) <= max(chunk * vocabulary, vocabulary * 6) < tokens * vocabulary


def plain_sum(hidden, weight, target, bias=None, reduction="mean", accum_dtype=None):
    """What liger-kernel computes, under its signature."""
    assert reduction == "sum" and accum_dtype == torch.float32
    return F.cross_entropy(F.linear(hidden, weight, bias), target, reduction="sum")


@pytest.fixture(params=["stand-in", "liger-kernel"])
def liger(request, monkeypatch):
    """The GPU's path, on this machine's device."""
    if request.param == "liger-kernel":
        if importlib.util.find_spec("liger_kernel") is None:
            pytest.skip('needs liger-kernel: pip install "rnn-hf[gpu]"')
        if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
            pytest.skip("needs an NVIDIA GPU, or TRITON_INTERPRET=1, which runs its kernel on a CPU")
    else:
        monkeypatch.setattr(heads, "liger_loss", lambda: plain_sum)
    monkeypatch.setattr(heads, "_on_gpu", lambda tensor: True)
    return "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("num_items", [None, 7])
def test_liger_kernel_computes_the_same(bias, num_items, liger, monkeypatch):
    shapes = [(17, 16), (300, 16), *([(300,)] if bias else [])]
    parameters = [torch.randn(shape, device=liger, requires_grad=True) for shape in shapes]
    targets = torch.randint(300, (17,), device=liger)
    targets[1::4] = -100

    def both():
        loss = linear_cross_entropy(*parameters, *([] if bias else [None]), targets, num_items)
        return loss.detach(), torch.autograd.grad(3 * loss, parameters)

    by_liger = both()
    monkeypatch.setattr(heads, "_on_gpu", lambda tensor: False)
    torch.testing.assert_close(by_liger, both(), atol=1e-5, rtol=1e-4)


def test_liger_kernel_is_not_asked_where_it_cannot_answer(monkeypatch):
    """No gradient at all, none for the hidden states, and double precision."""
    monkeypatch.setattr(heads, "_on_gpu", lambda tensor: True)
    monkeypatch.setattr(heads, "liger_loss", lambda: pytest.fail("asked"))
    hidden, weight, targets = torch.randn(3, 4), torch.randn(5, 4, requires_grad=True), torch.tensor([0, 4, 2])
    assert linear_cross_entropy(hidden, weight, None, targets).requires_grad
    assert linear_cross_entropy(hidden.double().requires_grad_(), weight.double(), None, targets).requires_grad
    with torch.no_grad():
        assert linear_cross_entropy(hidden.requires_grad_(), weight, None, targets) > 0


@pytest.mark.skipif(importlib.util.find_spec("liger_kernel") is not None, reason="liger-kernel is installed here")
def test_without_liger_kernel():
    assert heads.liger_loss.__wrapped__() is None
