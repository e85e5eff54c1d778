"""Padding out of the way: what stands next to each other in a batch is then what does in the text."""

import torch
from torch import Tensor
from transformers.utils import is_tracing


def left_aligned(mask: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Mask `[batch, time]` bool, false at padding, and `steps` `[batch, time, ...]`, each row's real steps first, in
    their order."""
    right_padded = mask == (torch.arange(mask.shape[1], device=mask.device) < mask.sum(1, keepdim=True))
    if not is_tracing(mask) and bool(right_padded.all()):
        return mask, steps
    # What a stable argsort of the mask gives, which ONNX has not.
    places = torch.where(mask, mask.cumsum(1), mask.sum(1, keepdim=True) + mask.logical_not().cumsum(1)) - 1
    order = torch.zeros_like(places).scatter(1, places, torch.arange(mask.shape[1], device=mask.device).expand_as(mask))
    index = order.view(*order.shape, *[1] * (steps.ndim - 2)).expand_as(steps)
    return mask.gather(1, order), steps.gather(1, index)
