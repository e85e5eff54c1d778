"""torch's fused recurrent kernels as one operator, for compiled code.

torch.compile takes `torch._VF.lstm` apart or refuses it, and the loops that it can compile instead (`scan`) train with
wrong gradients: inductor (torch 2.13) gives the buffer that holds the recurrent weights' gradient to another tensor. As
an operator of its own the kernel is left as it is. In eager mode `run` is called directly.
"""

import re
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

# One namespace a module: a checkpoint's own copy of this file may be loaded beside the package.
NAMESPACE = re.sub(r"\W", "_", __name__, flags=re.ASCII)


def run(kernel: str, train: bool, x: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
    """One direction, or both.

    Args:
        kernel: `lstm`, `gru`, `rnn_tanh` or `rnn_relu`.
        train: whether to keep what the backward pass needs.
        x: (batch, time, input size).
        state: `[h]` or `[h, c]`, each (directions, batch, hidden size).
        weights: weight_ih, weight_hh, bias_ih, bias_hh of each direction.

    Returns:
        The output (batch, time, directions * hidden size), then the final state.
    """
    hx = list(state) if kernel == "lstm" else state[0]
    on_gpu = x.device.type == "cuda"  # where autocast would change the type that the caller chose
    with torch.autocast("cuda", enabled=False) if on_gpu else nullcontext():
        # after the weights: has_biases, num_layers, dropout, train, bidirectional, batch_first
        return list(getattr(torch._VF, kernel)(x, hx, list(weights), True, 1, 0.0, train, len(weights) == 8, True))


@torch.library.custom_op(f"{NAMESPACE}::fused_loop", mutates_args=())
def fused_loop(kernel: str, x: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
    return [t.contiguous() for t in run(kernel, False, x, state, weights)]


@fused_loop.register_fake
def _(kernel, x, state, weights):
    directions, batch, hidden_size = state[0].shape
    return [x.new_empty(batch, x.shape[1], directions * hidden_size), *(s.new_empty(s.shape) for s in state)]


# By the lower of torch's two interfaces: the body of a `custom_op` cannot differentiate.
_library = torch.library.Library(NAMESPACE, "FRAGMENT")
_library.define(
    "fused_loop_backward(str kernel, Tensor[] grads, Tensor x, Tensor[] state, Tensor[] weights) -> Tensor[]"
)


@torch.library.impl(_library, "fused_loop_backward", "CompositeExplicitAutograd")
def fused_loop_backward(kernel, grads, x, state, weights):
    # The kernel keeps what its backward pass needs in a graph, which an operator cannot hand on: so it runs again.
    with torch.enable_grad():
        inputs = [t.detach().requires_grad_() for t in (x, *state, *weights)]
        outputs = run(kernel, True, inputs[0], inputs[1 : len(state) + 1], inputs[len(state) + 1 :])
    return [g.contiguous() for g in torch.autograd.grad(outputs, inputs, grads)]


@torch.library.register_fake(f"{NAMESPACE}::fused_loop_backward", lib=_library)
def _(kernel, grads, x, state, weights):
    return [t.new_empty(t.shape) for t in (x, *state, *weights)]


def _setup_context(ctx, inputs, output):
    ctx.kernel, x, state, weights = inputs
    ctx.num_states = len(state)
    ctx.save_for_backward(x, *state, *weights, *output)


def _backward(ctx, grads):
    n = ctx.num_states
    x, *tensors = ctx.saved_tensors
    state, weights, outputs = tensors[:n], tensors[n : -n - 1], tensors[-n - 1 :]
    grads = [torch.zeros_like(o) if g is None else g for g, o in zip(grads, outputs, strict=True)]
    backward = getattr(torch.ops, NAMESPACE).fused_loop_backward
    grad_x, *others = backward(ctx.kernel, grads, x, state, weights)
    return None, grad_x, others[:n], others[n:]


fused_loop.register_autograd(_backward, setup_context=_setup_context)
