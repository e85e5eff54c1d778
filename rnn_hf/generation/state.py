"""The recurrent state as an object of its own: kept in a file, moved, split and repeated.

A state is the `Cache` that a model returns as `past_key_values`. It holds `h` (and `c` for an LSTM) of each layer, a
few kilobytes whatever was read, and goes back into `forward`, `generate` or `stream`. The functions here return a new
state and leave theirs as it was, but for `detach_`, which works in place; `copy.deepcopy(state)` copies one.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache

from ..files import whole_file
from ..models.cache import Origin, detach_, new_cache
from ..models.config_checks import CheckedConfig, integer, require

FORMAT = "rnn-hf state 1"
RECENT = "recent_ids"


def save_state(cache: Cache, path: str | Path, config: CheckedConfig) -> None:
    """Writes a state to a safetensors file that another process resumes from with [`load_state`], all or nothing.

    Args:
        cache: the state. Recorded past steps (for roll-back) and the graph are not saved.
        path: the file, replaced if it is there.
        config: the configuration of the model that the state belongs to; what the state depends on is saved with it.

    Raises:
        ValueError: the state is empty, or not one of a model of this configuration.
        OSError: the file cannot be written; a file that was there before is left as it was.
    """
    if not isinstance(cache, Cache):
        raise ValueError(f"a state is what a model returns as past_key_values; got {type(cache).__name__}")
    _check_shapes({i: getattr(layer, "state", None) for i, layer in enumerate(cache.layers)}, config, "the state")
    for i, layer in enumerate(cache.layers):
        kind = layer.origin.kind
        if kind not in (None, config.state_kind):
            raise ValueError(f"layer {i} of the state belongs to a model {kind!r}, not {config.state_kind!r}")
    tensors = {
        f"layers.{i}.{name}": tensor.detach().cpu().contiguous().clone()
        for i, layer in enumerate(cache.layers)
        for name, tensor in zip(config.state_shapes(i), layer.state, strict=True)
    }
    _, recent, num_noted = cache.layers[0].origin
    if recent is not None:
        tensors[RECENT] = recent.cpu().contiguous().clone()
    metadata = {
        "format": FORMAT,
        "config": json.dumps(config.state_identity),
        "tokens_read": str(int(cache.get_seq_length())),
        "tokens_noted": str(num_noted),
    }
    metadata["sha256"] = _digest(tensors, metadata)
    with whole_file(path, "wb") as file:
        file.write(save(tensors, metadata))


def load_state(path: str | Path, config: CheckedConfig) -> DynamicCache:
    """The state in a file of [`save_state`], on the CPU.

    Equal sizes do not make equal models: that the weights are those that the state was made with is the caller's to
    know.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, holds no state, or the state of a model with another configuration.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no state at {str(path)!r}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or incomplete ({error}): save the state again") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} holds no state: its format must be {FORMAT!r}; got {metadata.get('format')!r}")
    if _digest(tensors, metadata) != metadata.get("sha256"):
        raise ValueError(f"{path} is damaged (its sha256 is another): save the state again")
    theirs, ours = json.loads(metadata["config"]), config.state_identity
    differences = [f"{k}={theirs.get(k)!r}, not {ours[k]!r}" for k in ours if theirs.get(k) != ours[k]]
    if differences:
        raise ValueError(f"{path} belongs to a model with {'; '.join(differences)}")
    names = [[f"layers.{i}.{name}" for name in config.state_shapes(i)] for i in range(config.num_hidden_layers)]
    expected = [name for layer in names for name in layer]
    if set(expected) != tensors.keys() - {RECENT}:
        raise ValueError(f"{path} must hold {', '.join(expected)}; got {', '.join(sorted(tensors))}")
    states = [tuple(tensors[name] for name in layer) for layer in names]
    _check_shapes(dict(enumerate(states)), config, str(path))
    cache = new_cache(config, states)
    for layer in cache.layers:
        layer.cumulative_length.add_(int(metadata["tokens_read"]))
        layer.origin = Origin(config.state_kind)
    cache.layers[0].origin = Origin(config.state_kind, tensors.get(RECENT), int(metadata["tokens_noted"]))
    return cache


def move_state(cache: Cache, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Cache:
    """The state on another device, or with numbers of another type.

    Raises:
        ValueError: `dtype` is no floating-point type.
    """
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ValueError(f"dtype must be a floating-point torch.dtype or None; got {dtype!r}")
    moved = _changed(cache, lambda s: s.to(device, dtype if s.is_floating_point() else None, copy=True))
    for layer in moved.layers:
        if layer.is_initialized:
            layer.device, layer.dtype = layer.states[0].device, layer.states[0].dtype
            layer.cumulative_length = layer.cumulative_length.to(layer.device)
    return moved


def select_state(cache: Cache, rows: Sequence[int] | Tensor) -> Cache:
    """The state of some rows of the batch: numbers in the order wanted, or one truth value a row.

    Raises:
        ValueError: a row that is not there, no row, or an empty state.
    """
    if cache.batch_size < 1:
        raise ValueError("the state is empty: read a text first")
    try:
        rows = torch.as_tensor(rows)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"rows must be numbers of rows, or one truth value a row; got {rows!r}") from error
    if rows.dtype == torch.bool and rows.shape == (cache.batch_size,):
        rows = rows.nonzero()[:, 0]
    whole = not rows.is_floating_point() and rows.dtype != torch.bool
    if rows.ndim != 1 or not len(rows) or not whole or int(rows.min()) < 0 or int(rows.max()) >= cache.batch_size:
        raise ValueError(
            f"rows must be numbers from 0 to {cache.batch_size - 1}, one at least, or {cache.batch_size} truth values; "
            f"got {rows.tolist()}"
        )
    return _changed(cache, lambda s: s.index_select(0, rows.to(s.device)))


def repeat_state(cache: Cache, repeats: int) -> Cache:
    """The state with each row `repeats` times in succession: several texts that go on from one prompt.

    Raises:
        ValueError: `repeats` is below 1.
    """
    require(integer(1), repeats=repeats)
    return _changed(cache, lambda s: s.repeat_interleave(repeats, 0))


def _changed(cache: Cache, change: Callable[[Tensor], Tensor]) -> Cache:
    changed = copy.copy(cache)
    changed.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in changed.layers:
        layer.cumulative_length = layer.cumulative_length.clone()
        layer._replace(change)
    return changed


def _check_shapes(states: dict[int, tuple[Tensor, ...] | None], config: CheckedConfig, where: str) -> None:
    if len(states) != config.num_hidden_layers:
        raise ValueError(f"{where} must hold {config.num_hidden_layers} layers; got {len(states)}")
    for i, state in states.items():
        if state is None:
            raise ValueError(f"{where} is empty: read a text first")
        rows, shapes = state[0].shape[:1].numel(), config.state_shapes(i)
        if [tuple(s.shape) for s in state] != [(rows, *shape) for shape in shapes.values()]:
            of_shape = ", ".join(f"{name} of shape (batch, {', '.join(map(str, s))})" for name, s in shapes.items())
            raise ValueError(f"layer {i} of {where} must hold {of_shape}; got {[tuple(s.shape) for s in state]}")


def _digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """Of all that a file holds but the digest itself."""
    facts = {key: value for key, value in metadata.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


__all__ = ["detach_", "load_state", "move_state", "repeat_state", "save_state", "select_state"]
