"""The last few steps of a text as its state: what models that see no further back keep as `past_key_values`.

A window holds ids or features of the newest steps, oldest first. It is a state of fixed size like a recurrent one, so
reordering for beams, copies and the exact roll-back are those of `cache.RnnCacheLayer`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.cache_utils import STATIC_LAYER_TYPE_MAPPING, Cache
from transformers.utils import is_tracing

from .cache import MAX_HISTORY, RnnCacheLayer, checked_state
from .padding import left_aligned


class WindowCacheLayer(RnnCacheLayer):
    """The last steps that one layer has read."""

    _layer_type = "window"  # registers the class for DynamicCache


STATIC_LAYER_TYPE_MAPPING["window"] = WindowCacheLayer


def read_windows(
    steps: Tensor, mask: Tensor | None, width: int, empty: float, cache: Cache | None, layer: int, config
) -> Tensor:
    """The window of each step: (batch, time, width) or (batch, time, width, features), the step itself the newest.

    Padded steps do not enter it: there it is as it was after the row's latest real one.

    Args:
        steps: (batch, time) or (batch, time, features).
        mask: (batch, time) bool, false at padding; None without.
        width: steps of a window.
        empty: what stands in the places before the first step.
        cache: read for the window before the first of `steps`, and brought up to the last one.
        layer: its layer.
        config: the model's, which says what the cache must hold.
    """
    batch, time = steps.shape[:2]
    kept = None if cache is None else cache.layers[layer]
    state = None if kept is None else checked_state(kept, layer, config, batch)
    if state is None:
        before = steps.new_full((batch, width, *steps.shape[2:]), empty)
    else:  # which need not hold the oldest step of a window, as no later one has it
        before = state[0].to(steps.dtype)
        before = torch.cat([before.new_full((batch, width - before.shape[1], *steps.shape[2:]), empty), before], 1)
    if mask is not None and not is_tracing(mask) and bool(mask.all()):
        mask = None
    if mask is not None:
        steps = left_aligned(mask, steps)[1]
    windows = torch.cat([before, steps], 1).unfold(1, width, 1)  # after 0, 1, ... real steps
    windows = windows if steps.ndim == 2 else windows.movedim(-1, 2)
    if mask is not None:
        number = F.pad(mask.long().cumsum(1), (1, 0)).view(batch, 1 + time, *[1] * (windows.ndim - 2))
        windows = windows.gather(1, number.expand(-1, -1, *windows.shape[2:]))
    if kept is not None:
        size = next(iter(config.state_shapes(layer).values()))[0]
        states = windows[:, :, width - size :]
        recorded = None
        if kept.record_past:
            recorded = states[:, -MAX_HISTORY:] if time >= MAX_HISTORY else states[:, 1:]
            if time >= MAX_HISTORY:  # nothing rolls further back
                kept.history, recorded = [[recorded[:, 0]]], recorded[:, 1:]
            recorded = [[state] for state in recorded.unbind(1)]
        kept.update((states[:, -1],), time, recorded)
        if kept.origin.kind is None and not is_tracing(steps):
            kept.origin = kept.origin._replace(kind=config.state_kind)
    return windows[:, 1:]
