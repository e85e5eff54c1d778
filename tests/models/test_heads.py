"""The loss that keeps no logits, against the plain form."""

import pytest
import torch
from torch.nn import functional as F

from rnn_hf import RnnForCausalLM
from rnn_hf.models.heads import CHUNK, linear_cross_entropy

from .conftest import randomise, tiny_config


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tokens", [1, CHUNK, 2 * CHUNK + 3])
@pytest.mark.parametrize("num_items", [None, 7])
def test_equals_linear_and_cross_entropy(bias, tokens, num_items):
    shapes = [(tokens, 5), (11, 5), *([(11,)] if bias else [])]
    parameters = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    targets = torch.randint(11, (tokens,))
    targets[1::4] = -100
    ours = linear_cross_entropy(*parameters, *([] if bias else [None]), targets, num_items)
    plain = F.cross_entropy(F.linear(*parameters), targets, reduction="mean" if num_items is None else "sum")
    plain = plain if num_items is None else plain / num_items
    torch.testing.assert_close(ours, plain, atol=1e-12, rtol=0)
    torch.testing.assert_close(
        torch.autograd.grad(3 * ours, parameters), torch.autograd.grad(3 * plain, parameters), atol=1e-12, rtol=0
    )


def test_nothing_scored_is_nan_as_in_torch():
    hidden, weight = torch.randn(3, 5), torch.randn(11, 5)
    assert linear_cross_entropy(hidden, weight, None, torch.full((3,), -100)).isnan()


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


def test_shift_labels_lose_no_target_between_chunks():
    model = randomise(RnnForCausalLM(tiny_config()))
    stream = torch.randint(3, 41, (2, 13))
    ids, targets = stream[:, :-1], stream[:, 1:]
    whole = model(ids, shift_labels=targets).loss
    first = model(ids[:, :5], shift_labels=targets[:, :5], use_cache=True)
    second = model(ids[:, 5:], shift_labels=targets[:, 5:], past_key_values=first.past_key_values)
    torch.testing.assert_close((5 * first.loss + 7 * second.loss) / 12, whole)


def test_the_loss_never_holds_tokens_by_vocabulary():
    """The largest tensor that one training step makes is a chunk of logits, or the head's own gradient."""
    from torch.utils._python_dispatch import TorchDispatchMode

    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in (out if isinstance(out, tuple | list) else [out]) if torch.is_tensor(t))
            return out

    vocabulary, tokens = 20_000, 8 * CHUNK
    model = RnnForCausalLM(tiny_config(vocab_size=vocabulary)).train()
    ids = torch.randint(3, vocabulary, (8, CHUNK))
    with Watch():
        model(ids, shift_labels=ids).loss.backward()
    assert max(sizes) <= max(CHUNK * vocabulary, vocabulary * 6) < tokens * vocabulary
