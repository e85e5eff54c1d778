"""The equations of one step: the reference that every fast path is tested against.

Each cell takes the projected input `x_t W_ih^T + b_ih` of shape (batch, gates x hidden), the state before the step and
the recurrent weights, and returns the state after it. Gate order and biases are torch.nn's, so weights interchange.
"""

import torch
from torch import Tensor
from torch.nn.functional import linear


def elman_cell(x: Tensor, state: tuple[Tensor, ...], weight_hh: Tensor, bias_hh: Tensor, nonlinearity: str = "tanh"):
    """Elman 1990: `h = tanh(W x + U h + b)`, or relu."""
    (h,) = state
    return (getattr(torch, nonlinearity)(x + linear(h, weight_hh, bias_hh)),)


def gru_cell(x: Tensor, state: tuple[Tensor, ...], weight_hh: Tensor, bias_hh: Tensor):
    """Cho et al. 2014, eq. 5-8, with the reset gate after the product as in torch; gate order r, z, n."""
    (h,) = state
    x_r, x_z, x_n = x.chunk(3, -1)
    h_r, h_z, h_n = linear(h, weight_hh, bias_hh).chunk(3, -1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return ((1 - z) * n + z * h,)


def lstm_cell(x: Tensor, state: tuple[Tensor, ...], weight_hh: Tensor, bias_hh: Tensor):
    """Hochreiter & Schmidhuber 1997 with forget gates (Gers et al. 2000); gate order i, f, g, o."""
    h, c = state
    i, f, g, o = (x + linear(h, weight_hh, bias_hh)).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def mogrify(x: Tensor, h: Tensor, gates: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Melis et al. 2020 ("Mogrifier LSTM"), eq. 1 and 2: before a step the raw input and the last output scale each
    other by turns. `gates`: by turns (input size, hidden size) and (hidden size, input size), without biases."""
    for i, gate in enumerate(gates):
        if i % 2 == 0:
            x = 2 * torch.sigmoid(linear(h, gate)) * x
        else:
            h = 2 * torch.sigmoid(linear(x, gate)) * h
    return x, h
