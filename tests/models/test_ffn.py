"""The feed-forward language model against its equation, and what its window holds."""

import pytest
import torch
from torch.nn import functional as F

from rnn_hf import FfnConfig, FfnForCausalLM, new_cache

from .conftest import ffn


@pytest.mark.parametrize("direct", [False, True])
def test_equals_bengio_s_equation(direct):
    """y = b + W x + U tanh(d + H x) with x the last three embeddings (Bengio et al. 2003, eq. 1), zeros before them."""
    model = ffn(FfnForCausalLM, num_hidden_layers=1, direct_connections=direct)
    ids = torch.randint(3, 41, (2, 6))
    vectors = F.pad(model.model.embed_tokens(ids), (0, 0, 2, 0))
    hidden = model.model.layers[0].linear
    for t in range(6):
        x = vectors[:, t : t + 3].flatten(1)
        read = (x @ hidden.weight.T + hidden.bias).tanh()
        read = torch.cat([read, x], 1) if direct else read
        expected = read @ model.lm_head.weight.T + model.lm_head.bias
        torch.testing.assert_close(model(ids).logits[:, t], expected)


def test_what_left_the_window_is_forgotten():
    model = ffn(FfnForCausalLM)
    one, other = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[9, 6, 7, 8]])
    assert torch.equal(model(one).logits[:, 3], model(other).logits[:, 3])
    assert not torch.equal(model(one).logits[:, 2], model(other).logits[:, 2])


def test_gradients_reach_the_window_of_the_call_before_until_it_is_cut():
    model = ffn(FfnForCausalLM).train()
    ids = torch.randint(3, 41, (1, 8))
    whole = torch.autograd.grad(model(ids, shift_labels=ids).loss, model.model.embed_tokens.weight)[0]
    cache = new_cache(model.config)
    losses = [model(part, shift_labels=part, past_key_values=cache).loss for part in ids.split(4, 1)]
    parts = torch.autograd.grad(sum(losses) / 2, model.model.embed_tokens.weight)[0]
    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"context_size": 0}, "context_size must be a whole number from 1"),
        ({"vocab_size": 10, "eos_token_id": 10}, "eos_token_id must be from 0 to 9"),
        ({"context_size": 10_000, "embedding_size": 10_000}, "context_size=10000, .* make .* parameters, more than"),
        ({"contex_size": 3}, r"unknown key 'contex_size' \(did you mean 'context_size'\?\)"),
    ],
)
def test_bad_configurations_are_one_clear_error(fields, message):
    with pytest.raises(ValueError, match=message):
        FfnConfig(**fields)
