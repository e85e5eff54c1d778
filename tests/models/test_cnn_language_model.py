"""The gated convolutional language model against its equation, and how far back it sees."""

import torch
from torch.nn import functional as F

from rnn_hf import CnnForCausalLM

from .conftest import cnn


def test_equals_gated_convolutions_of_the_past():
    """h = (X * W + b) sigmoid(X * V + c) + path(X), with zeros before the text (Dauphin et al. 2017, eq. 1)."""
    model = cnn(CnnForCausalLM, num_hidden_layers=2)
    ids = torch.randint(3, 41, (2, 7))
    hidden = model.model.embed_tokens(ids).transpose(1, 2)  # [batch, features, time]
    for layer in model.model.layers:
        found = []
        for width, linear in zip(layer.kernel_sizes, layer.filters, strict=True):
            weight = linear.weight.view(len(linear.weight), width, -1).transpose(1, 2)
            value, gate = F.conv1d(F.pad(hidden, (width - 1, 0)), weight, linear.bias).chunk(2, 1)
            found.append(value * gate.sigmoid())
        hidden = torch.cat(found, 1) + layer.path(hidden.transpose(1, 2)).transpose(1, 2)
    expected = model.lm_head(hidden.transpose(1, 2))
    torch.testing.assert_close(model(ids).logits, expected)


def test_layers_see_further_than_one_window():
    """Two layers whose widest window has three tokens reach five tokens back, and no further."""
    model = cnn(CnnForCausalLM, num_hidden_layers=2)
    ids = torch.randint(3, 41, (1, 9))
    other = ids.clone()
    other[0, 2] = 3 + (ids[0, 2] - 2) % 38
    differs = (model(ids).logits != model(other).logits).any(-1)[0].tolist()
    assert differs == [False] * 2 + [True] * 5 + [False] * 2
