"""From one vector a token to one vector a text, over real tokens only."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# The reading of `pooling`: how many times the width of a token's vector the pooled one has.
WIDTHS = {"last": 1, "mean": 1, "max": 1, "concat": 3, "attention": 1}


def pool_last(hidden: Tensor, mask: Tensor, from_end: Sequence[bool] = (False,)) -> Tensor:
    """Each direction's output after it read the whole text: of its share of the features those at the last real token,
    or at the first one where it reads from the end."""
    steps = torch.arange(hidden.shape[1], device=hidden.device)
    last = torch.where(mask, steps, -1).amax(1)
    first = torch.where(mask, steps, hidden.shape[1]).amin(1)
    parts = []
    for part, backward in zip(hidden.chunk(len(from_end), -1), from_end, strict=True):
        at = (first if backward else last).clamp(0, hidden.shape[1] - 1)
        index = at[:, None, None].expand(-1, -1, part.shape[-1])
        parts.append(part.gather(1, index)[:, 0])
    return torch.cat(parts, -1) * mask.any(1, keepdim=True)


def pool_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean over real tokens."""
    mask_or_zero = mask.to(torch.promote_types(hidden.dtype, torch.float32))
    weights = mask_or_zero / mask_or_zero.sum(1, keepdim=True).clamp(min=1)
    return torch.einsum("bt,btf->bf", weights.to(hidden.dtype), hidden.masked_fill(~mask[..., None], 0))


def pool_max(hidden: Tensor, mask: Tensor) -> Tensor:
    """Largest value of each feature over real tokens."""
    values = hidden.masked_fill(~mask[..., None], torch.finfo(hidden.dtype).min).amax(1)
    return values * mask.any(1, keepdim=True)


class Pooler(nn.Module):
    """Hidden states (batch, time, features), mask (batch, time) bool -> (batch, `WIDTHS[pooling]` * features).

    A row without a real token gives zeros. `from_end`: as in `pool_last`.
    """

    def __init__(self, pooling: str, features: int, from_end: Sequence[bool] = (False,)):
        super().__init__()
        self.pooling, self.from_end = pooling, from_end
        if pooling == "attention":
            # Yang et al. 2016, eq. 5-7: weights softmax(u . tanh(W h + b)) over the text's tokens
            self.projection = nn.Linear(features, features)
            self.query = nn.Linear(features, 1, bias=False)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if self.pooling == "last":
            return pool_last(hidden, mask, self.from_end)
        if self.pooling == "mean":
            return pool_mean(hidden, mask)
        if self.pooling == "max":
            return pool_max(hidden, mask)
        if self.pooling == "concat":
            last = pool_last(hidden, mask, self.from_end)
            return torch.cat([last, pool_max(hidden, mask), pool_mean(hidden, mask)], -1)
        scores = self.query(torch.tanh(self.projection(hidden)))[..., 0]
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        weights = F.softmax(scores.masked_fill(~mask, torch.finfo(scores.dtype).min), -1) * mask
        return torch.einsum("bt,btf->bf", weights.to(hidden.dtype), hidden.masked_fill(~mask[..., None], 0))
