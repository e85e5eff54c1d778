"""The recurrent state as a layer of a transformers `Cache`.

`DynamicCache(config=model.config)` and `StaticCache(config=model.config, ...)` build these layers by the
configuration's `layer_types`. A layer's state is `(h,)` for Elman and GRU and `(h, c)` for LSTM, each of shape
(batch, width), where width is `directions * hidden_size`; the last layer of a stack with residual or highway
connections also keeps its last output, so that a chunk of padding alone still knows it.

Exact roll-back (`crop`) needs the states of past steps: they are recorded once `activate_past_recording` was called,
and a bounded number of them is kept, whatever the length of the text.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import STATIC_LAYER_TYPE_MAPPING, Cache, CacheLayerMixin, DynamicCache
from transformers.utils import is_tracing

# Recorded states that `crop` leaves in place, and steps of a long prompt that are recorded at all: nothing rolls
# further back than its own drafts and, where an assistant's tokenizer differs, a few tokens before them.
KEPT_HISTORY = 64
# The most recorded states between two crops: an assistant drafts one token a forward, then is rolled back over any.
MAX_HISTORY = 1024
# Token ids that a state remembers, to tell a text that it has read the beginning of from a new turn.
RECENT_IDS = 64


class RollBackError(ValueError, RuntimeError):
    """More steps than are recorded, where transformers raises RuntimeError."""


class Origin(NamedTuple):
    """What is known of a layer's state beside its numbers."""

    kind: str | None = None  # `config.state_kind` of the model that made it; None if a caller did
    # of the first layer alone: the ids read last, (batch, up to RECENT_IDS), and how many tokens were noted so
    recent_ids: Tensor | None = None
    num_noted: int = 0


class RnnCacheLayer(CacheLayerMixin):
    """State of one recurrent layer, the number of tokens read, and an exact roll-back."""

    _layer_type = "rnn"  # registers the class for DynamicCache
    is_compileable = True
    is_croppable = True
    supports_early_init = False
    __slots__ = ("_origin",)  # in no `__dict__`: exporters make each attribute there an input of the program

    def __init__(self, **kwargs):
        super().__init__()
        self.dtype = self.device = None
        self.states: list[Tensor] = []
        self.cumulative_length = torch.tensor(0, dtype=torch.long)  # an int would recompile at each step
        self.record_past = False
        self.history: list[list[Tensor]] = []  # the state before the recorded steps ([]: none), then one entry a step
        self._writable = False  # whether `states` are buffers of this layer, to be written in place

    @property
    def origin(self) -> Origin:
        """Where the state comes from. Changes no number, and compiled programs leave it as it is."""
        return getattr(self, "_origin", Origin())

    @origin.setter
    def origin(self, value: Origin) -> None:
        self._origin = value

    @property
    def state(self) -> tuple[Tensor, ...] | None:
        """The state, or None before the first step."""
        return tuple(self.states) if self.is_initialized else None

    def lazy_initialization(self, *states: Tensor) -> None:
        self.dtype, self.device = states[0].dtype, states[0].device
        if not self._can_write(states):
            self.states = [torch.zeros_like(s) for s in states]
            self._writable = True
        self.cumulative_length = self.cumulative_length.to(self.device)
        if not torch.compiler.is_compiling():
            for tensor in (*self.states, self.cumulative_length):
                torch._dynamo.mark_static_address(tensor)
        self.is_initialized = True

    def _can_write(self, states: Sequence[Tensor]) -> bool:
        if not self._writable or len(states) != len(self.states):
            return False
        writable_now = (
            torch.compiler.is_compiling() or torch.is_inference_mode_enabled()
        )  # the rest dynamo cannot trace
        if not writable_now and any(s.is_inference() for s in self.states):
            return False
        return all(
            # a buffer of another type would round every later state
            (a.shape, a.device, a.dtype) == (b.shape, b.device, b.dtype)
            for a, b in zip(self.states, states, strict=True)
        )

    def _own_counter(self) -> None:
        """A counter made under `torch.inference_mode` cannot be written to outside it."""
        if torch.compiler.is_compiling() or torch.is_inference_mode_enabled():
            return
        if self.cumulative_length.is_inference():
            self.cumulative_length = self.cumulative_length.clone()

    def note_ids(self, ids: Tensor | None, num_tokens: int) -> None:
        """Remembers which ids were read last; None if embeddings were."""
        kind, recent, num_noted = self.origin
        if ids is not None and recent is not None and recent.shape[0] == ids.shape[0]:
            ids = torch.cat([recent.to(ids.device), ids[:, -RECENT_IDS:]], 1)
        recent = None if ids is None else ids[:, -RECENT_IDS:].clone()
        self.origin = Origin(kind, recent, num_noted + num_tokens)

    def update(
        self, states: Sequence[Tensor], num_tokens: int, steps: list[list[Tensor]] | None = None, **kwargs
    ) -> tuple[Tensor, ...]:
        """Takes the state after `num_tokens` more steps; `steps` holds the state after each one (for recording).

        Where a gradient is wanted the tensors are kept as they are, graph included: truncating backpropagation is the
        caller's business (`detach_`). At inference they are copied into fixed buffers, which compiled code relies on.
        """
        if self.record_past and steps is not None:
            if not self.history:
                self.history = [[s.clone() for s in self.states] if self.is_initialized else []]
            self.history.extend(steps)
            del self.history[: -max(MAX_HISTORY, len(steps) + 1)]
        elif self.history:
            self.history = []  # nothing can be rolled back over steps that were not recorded
        if torch.is_grad_enabled() and any(s.requires_grad for s in states):
            self.lazy_initialization(*states)
            self.states, self._writable = list(states), False
        else:
            if not self.is_initialized or not self._can_write(states):
                self.lazy_initialization(*states)
            for old, new in zip(self.states, states, strict=False):  # strict fails under dynamo (torch 2.13)
                old.copy_(new)
        self._own_counter()
        self.cumulative_length.add_(num_tokens)
        return tuple(self.states)

    @property
    def batch_size(self) -> int:
        return self.states[0].shape[0] if self.is_initialized else -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length + int(self.get_seq_length()), 0

    def get_seq_length(self) -> Tensor | int:
        return self.cumulative_length if self.is_initialized else 0

    def get_max_length(self) -> int:
        return -1

    def reset(self) -> None:
        # The next step starts from the model's initial state; the buffers stay, as compiled code knows their address.
        self.is_initialized = False
        self._own_counter()
        self.cumulative_length.zero_()
        self.history, self.origin = [], Origin(self.origin.kind)

    def _replace(self, change) -> None:
        self.states = [change(s) for s in self.states]
        self.history = [[change(s) for s in step] for step in self.history]
        if self.origin.recent_ids is not None:
            self.origin = self.origin._replace(recent_ids=change(self.origin.recent_ids))
        self._writable = False

    def __deepcopy__(self, memo) -> "RnnCacheLayer":
        copied = copy.copy(self)  # torch copies no tensor with a graph; a clone keeps its own
        copied.cumulative_length = self.cumulative_length.clone()
        copied._replace(Tensor.clone)
        copied._writable = self._writable  # clones of buffers are its own
        return copied

    def offload(self) -> None:
        self._replace(lambda s: s.to("cpu", non_blocking=True))

    def prefetch(self) -> None:
        if self.is_initialized and self.states[0].device != self.device:
            self._replace(lambda s: s.to(self.device, non_blocking=True))

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self._replace(lambda s: s.index_select(0, beam_idx.to(s.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._replace(lambda s: s.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        self._replace(lambda s: s[indices, ...])

    def detach_(self) -> None:
        """Cuts the graph: the state is the same, gradients no longer flow through it."""
        self._replace(Tensor.detach)

    def activate_past_recording(self) -> None:
        self.record_past = True

    def crop(self, tokens_to_remove: int) -> None:
        """Rolls `-tokens_to_remove` recorded steps back, exactly.

        Raises:
            RollBackError: more steps than are recorded, or a positive number (an absolute length elsewhere).
        """
        if tokens_to_remove > 0:
            raise RollBackError(f"crop takes a negative number of tokens to remove; got {tokens_to_remove}")
        steps = -int(tokens_to_remove)
        if steps:
            if len(self.history) <= steps:
                recorded = max(len(self.history) - 1, 0)
                raise RollBackError(
                    f"cannot roll {steps} tokens back: {recorded} are recorded (call activate_past_recording() on the "
                    f"cache before the steps to be rolled back; of a long text the last {KEPT_HISTORY} are kept, of "
                    f"drafts the last {MAX_HISTORY - 1}: set num_assistant_tokens below that)"
                )
            self.states = [s.clone() for s in self.history[-1 - steps]]
            self.is_initialized = bool(self.states)  # else before the first token: the model's initial state
            self._writable = False
            self._own_counter()
            self.cumulative_length.sub_(steps)
            kind, recent, num_noted = self.origin
            if recent is not None:
                recent = recent[:, :-steps] if recent.shape[1] > steps else None
            self.origin = Origin(kind, recent, num_noted - steps)
            self.history = self.history[: len(self.history) - steps]
        self.history = self.history[-KEPT_HISTORY:]


STATIC_LAYER_TYPE_MAPPING["rnn"] = RnnCacheLayer


def new_cache(config, states: Sequence[Sequence[Tensor]] | None = None) -> DynamicCache:
    """A `DynamicCache` for a model of this configuration, empty or holding one state a layer.

    Args:
        config: the model's configuration.
        states: for each layer `(h,)` or `(h, c)`, each of shape (batch, directions * hidden size of that layer): the
            initial state that a caller wants to pass.

    Raises:
        ValueError: not one state a layer.
    """
    cache = DynamicCache(config=config)
    if states is not None:
        if len(states) != len(cache.layers):
            raise ValueError(f"states must hold one state for each of {len(cache.layers)} layers; got {len(states)}")
        for layer, state in zip(cache.layers, states, strict=True):
            layer.update(tuple(state), num_tokens=0)
    return cache


def check_cache(cache: Cache, config) -> None:
    """Raises ValueError for a `past_key_values` whose layers are not of the number and kind of the configuration's."""
    layers = getattr(cache, "layers", None)
    if layers is None or [getattr(layer, "_layer_type", "") for layer in layers] != config.layer_types:
        kinds = [type(c).__name__ for c in layers] if layers is not None else type(cache).__name__
        raise ValueError(
            f"past_key_values must hold a layer of state for each of {config.layer_types}; got {kinds}: it belongs to "
            "another model, or make an empty one with rnn_hf.new_cache(model.config)"
        )


def checked_state(cache: RnnCacheLayer, layer: int, config, batch: int) -> tuple[Tensor, ...] | None:
    """The state that the cache of a layer holds, None before the first step. Raises ValueError for another model's."""
    state = cache.state
    if state is None or is_tracing(state[0]):
        return state
    kind = cache.origin.kind
    if kind not in (None, config.state_kind):
        raise ValueError(
            f"past_key_values belongs to another model: it holds a state of the kind {kind!r}, not "
            f"{config.state_kind!r}"
        )
    expected = [(batch, *shape) for shape in config.state_shapes(layer).values()]
    if [tuple(s.shape) for s in state] != expected:
        raise ValueError(
            f"past_key_values of layer {layer} must hold {len(expected)} tensors of shape {expected[0]}; "
            f"got {[tuple(s.shape) for s in state]}: it belongs to another model or batch"
        )
    if torch.is_grad_enabled() and any(s.is_inference() for s in state):
        state = tuple(s.clone() for s in state)  # made under `torch.inference_mode`, no graph may keep it
    return state


def begins_with_what_was_read(ids: Tensor, cache: Cache) -> bool | None:
    """Whether `ids` (batch, time) are a text that the state has read the beginning of, rather than a new turn; None
    where the state does not know which ids it has read (embeddings, compiled steps, another batch)."""
    _, recent, num_noted = cache.layers[0].origin
    past = int(cache.get_seq_length())
    if recent is None or num_noted != past or recent.shape[0] != ids.shape[0]:
        return None
    compared = min(past, recent.shape[1])
    return torch.equal(ids[:, past - compared : past], recent[:, -compared:].to(ids.device))


def detach_(cache: Cache) -> Cache:
    """Detaches every layer's state from the graph, in place: one step of truncated backpropagation through time."""
    for layer in cache.layers:
        layer.detach_()
    return cache
