"""The language-modelling loss without `[tokens, vocabulary]` logits in memory."""

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 256  # tokens whose logits stand in memory at a time


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum of cross entropies of `hidden @ weight.T + bias`, with gradients made chunk by chunk in the forward pass."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, targets):
        wants = ctx.needs_input_grad
        grad_hidden = torch.empty_like(hidden) if wants[0] else None
        grad_weight = torch.zeros_like(weight) if wants[1] else None
        grad_bias = torch.zeros_like(bias) if bias is not None and wants[2] else None
        total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        for start in range(0, len(hidden), CHUNK):
            part = slice(start, start + CHUNK)
            h, target = hidden[part], targets[part, None]
            logits = F.linear(h, weight, bias).to(total.dtype)
            normaliser = logits.logsumexp(-1, keepdim=True)
            total += (normaliser - logits.gather(-1, target)).sum()
            if any(wants):
                error = logits.sub_(normaliser).exp_()  # softmax - one hot
                error.scatter_add_(-1, target, error.new_full(target.shape, -1.0))
                error = error.to(hidden.dtype)
                if grad_hidden is not None:
                    torch.mm(error, weight, out=grad_hidden[part])
                if grad_weight is not None:
                    grad_weight.addmm_(error.t(), h)
                if grad_bias is not None:
                    grad_bias += error.sum(0)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        return total

    @staticmethod
    def backward(ctx, grad_total):
        return *(None if g is None else g * grad_total.to(g.dtype) for g in ctx.saved_tensors), None


def cross_entropy(
    logits: Tensor, targets: Tensor, num_items: Tensor | int | None = None, ignore_index: int = -100
) -> Tensor:
    """Cross entropy in nats, in f32 at least: logits (..., vocab_size), targets (...); see `linear_cross_entropy`."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, -2)
    targets = targets.reshape(-1).to(logits.device)
    reduction = "mean" if num_items is None else "sum"
    loss = F.cross_entropy(logits, targets, ignore_index=ignore_index, reduction=reduction)
    return loss if num_items is None else loss / num_items


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    num_items: Tensor | int | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Cross entropy of a linear head, in nats, without keeping the logits.

    Args:
        hidden: (..., features).
        weight: (vocab_size, features).
        bias: (vocab_size,) or None.
        targets: (...) token ids; `ignore_index` is not scored.
        num_items: divides the sum; None for the number of scored targets (the mean). Nothing scored gives NaN, as
            `torch.nn.functional.cross_entropy` does.
    """
    hidden, targets = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1).to(hidden.device)
    scored = targets != ignore_index
    if not bool(scored.all()):
        hidden, targets = hidden[scored], targets[scored]
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight, bias = hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    total = _LinearCrossEntropy.apply(hidden, weight, bias, targets)
    return total / (len(targets) if num_items is None else num_items)
