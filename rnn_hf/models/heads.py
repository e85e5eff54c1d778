"""The language-modelling loss without `[tokens, vocabulary]` logits in memory.

Notable: on a CPU the products go by blocks of words; on an NVIDIA GPU liger-kernel's Triton kernel takes over where it
is installed (`pip install "rnn-hf[gpu]"`).
"""

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from .products import accumulate, accumulate_product, product

BUFFER_BYTES = 100 * 2**20  # logits that stand in memory at a time
BLOCK = 2048  # words multiplied at once on a CPU, so that their weights and logits stay in its cache


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum of cross entropies of `hidden @ weight.T + bias`, divided by `num_items`, with the gradients of the formula
    `(softmax - one hot) / num_items` made chunk by chunk in the forward pass.

    Matrices are multiplied in `dtype`; gradients are in the parameters' own type.
    """

    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, num_items, dtype):
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        on_cpu, width = hidden.device.type == "cpu", hidden.shape[1]
        scale = 1 / float(num_items) if num_items else math.inf  # as a tensor's division by 0
        inputs = hidden, weight, bias
        # Divided by the number of tokens, float16 would lose what a gradient scaler multiplies only afterwards.
        type_of_grad = torch.float32 if hidden.dtype == torch.float16 else hidden.dtype
        total = torch.zeros((), dtype=torch.promote_types(dtype, torch.float32), device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            grad_hidden = torch.empty_like(hidden, dtype=type_of_grad) if wants_hidden else None
            grad_weight = torch.empty_like(weight) if wants_weight else None
            grad_bias = torch.empty_like(bias) if wants_bias else None
            if cast := dtype != weight.dtype:
                hidden, weight = _cast(hidden, dtype, None if bias is None else 1), _cast(weight, dtype, bias)
            # Rounded to half precision, probabilities are good enough for a gradient, not for a perplexity.
            exact = dtype == total.dtype or any(ctx.needs_input_grad)
            (tokens, words), step = (len(hidden), len(weight)), BLOCK if on_cpu else len(weight)
            blocks = [slice(start, start + step) for start in range(0, words, step)]
            most = max(1, BUFFER_BYTES // (words * (hidden if exact else total).element_size()))
            size = -(-tokens // -(-tokens // most))  # chunks of equal size
            buffer = hidden.new_empty(size, words)
            for start in range(0, tokens, size):
                h, target = hidden[start : start + size], targets[start : start + size]
                logits = buffer[: len(h)]
                for block in blocks:
                    of_words = None if cast or bias is None else bias[block]
                    product(h, weight[block].t(), of_words, out=logits[:, block])
                if not exact:
                    probs = logits.softmax(-1, dtype=total.dtype)
                elif on_cpu:
                    probs = torch.softmax(logits, -1, out=logits)
                else:
                    probs = logits.softmax(-1)
                total += _nats(probs, target, h, weight, None if cast else bias).sum()
                if wants_hidden:
                    g = (product(probs, weight) - weight[target])[:, :width]
                    torch.mul(g.to(grad_hidden.dtype), scale, out=grad_hidden[start : start + size])
                beta = 0 if start == 0 else 1  # 0: what stands in new memory does not count
                transposed = cast and (wants_weight or wants_bias)
                h_t = h.t().contiguous() if transposed else None
                for block in blocks:
                    if transposed:
                        g = product(h_t, probs[:, block]).t().contiguous()  # faster than the transpose of so much
                        if wants_weight:
                            accumulate(grad_weight[block], g[:, :width], beta, scale)
                        if wants_bias:
                            accumulate(grad_bias[block], g[:, width], beta, scale)
                        continue
                    if wants_weight:
                        accumulate_product(grad_weight[block], probs[:, block].t(), h, beta, scale)
                    if wants_bias:
                        accumulate(grad_bias[block], probs[:, block].sum(0, dtype=total.dtype), beta, scale)
                if wants_weight:
                    grad_weight.index_add_(0, target, h[:, :width].to(grad_weight.dtype), alpha=-scale)
                if wants_bias:
                    grad_bias.index_add_(0, target, grad_bias.new_ones(len(target)), alpha=-scale)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias, *inputs)
        return total * scale

    @staticmethod
    def backward(ctx, grad_loss):
        grads, inputs = ctx.saved_tensors[:3], ctx.saved_tensors[3:]
        with torch.no_grad():
            if grad_loss.device.type != "cpu" or float(grad_loss) != 1:  # a pass over the weights that is seldom needed
                grads = [None if g is None else _scaled(g, grad_loss) for g in grads]
            elif _keeps_graph():  # the caller may add to what it gets, which a second backward pass would read
                grads = [None if g is None else g.clone() for g in grads]
            grads = [None if g is None else g.to(t.dtype) for g, t in zip(grads, inputs, strict=True)]
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():  # create_graph=True
            grads = [None if g is None else _FirstDerivative.apply(g, grad_loss, *inputs) for g in grads]
        return *grads, None, None, None


class _FirstDerivative(torch.autograd.Function):
    """A gradient as it is, whose own derivative with respect to `others` is an error (`once_differentiable` is silent
    where the loss is differentiated as it came, and where only some derivatives are asked for)."""

    @staticmethod
    def forward(ctx, gradient, *others):
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx, grad):
        raise RuntimeError(
            "the loss without logits has first derivatives only: for a gradient penalty or any other second "
            "derivative, call the model with skip_logits=False"
        )


def _scaled(gradient: Tensor, factor: Tensor) -> Tensor:
    """`gradient * factor`; in float32 where float16 might not hold the factor."""
    dtype = torch.float32 if gradient.dtype == torch.float16 else gradient.dtype
    return gradient.to(dtype) * factor.to(dtype)


def _keeps_graph() -> bool:
    """Whether the backward pass at hand may be followed by another one (`retain_graph=True`). torch has no public way
    to ask; without its own one the answer is yes."""
    return getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)()


def _cast(matrix: Tensor, dtype: torch.dtype, column: Tensor | float | None) -> Tensor:
    """The matrix in another type, with one more column unless it is None, and columns of zeros up to a width that
    matrix units like: so a bias costs no pass of its own."""
    rows, width = matrix.shape
    wide = matrix.new_zeros(rows, -(-(width + (column is not None)) // 32) * 32, dtype=dtype)
    wide[:, :width] = matrix
    if column is not None:
        wide[:, width] = column
    return wide


def _nats(probs: Tensor, target: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """-log of the targets' probabilities, (tokens,)."""
    picked = probs.gather(1, target[:, None])[:, 0].to(torch.promote_types(probs.dtype, torch.float32))
    nats = -picked.log()
    vanished = picked < 100 * torch.finfo(probs.dtype).tiny  # where digits are lost, or 0
    if bool(vanished.any()):
        logits = F.linear(hidden[vanished], weight, bias).to(nats.dtype)
        nats[vanished] = F.cross_entropy(logits, target[vanished], reduction="none")
    return nats


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
        num_items: divides the sum; None for the number of scored targets (the mean). Nothing scored gives 0 then, and
            a mean of NaN, as `torch.nn.functional.cross_entropy` does.
    """
    hidden, targets = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1).to(hidden.device)
    scored = targets != ignore_index
    if not bool(scored.all()):
        hidden, targets = hidden[scored], targets[scored]
    if not len(targets):
        parts = [hidden, weight[:0], *([] if bias is None else [bias[:0]])]  # all get a gradient, as DDP wants
        nothing = sum(part.sum(dtype=torch.promote_types(part.dtype, torch.float32)) for part in parts)
        return nothing / (0 if num_items is None else num_items)
    autocast = torch.is_autocast_enabled(hidden.device.type)
    dtype = torch.get_autocast_dtype(hidden.device.type) if autocast else hidden.dtype
    num_items = len(targets) if num_items is None else num_items
    suits_liger = torch.is_grad_enabled() and hidden.requires_grad and dtype != torch.float64  # its kernel's limits
    if suits_liger and _on_gpu(hidden) and (liger := liger_loss()) is not None:
        total = liger(hidden, weight, targets, bias, reduction="sum", accum_dtype=torch.float32)
        return total / num_items
    return _LinearCrossEntropy.apply(hidden, weight, bias, targets, num_items, dtype)


def _on_gpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cuda"


@cache
def liger_loss() -> Callable | None:
    """liger-kernel's linear layer and cross entropy in one (Hsu et al. 2024), or None where it cannot be had."""
    try:
        from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy
    except ImportError:
        return None
    return liger_fused_linear_cross_entropy
