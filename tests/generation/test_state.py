"""The state in a file, resumed by another process; split, repeated, moved; two generations on one model."""

import copy
import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import DynamicCache, StaticCache

from rnn_hf import (
    RnnForCausalLM,
    detach_,
    load_state,
    move_state,
    new_cache,
    repeat_state,
    save_state,
    select_state,
    stream,
)

from ..models.conftest import CELLS, randomise, tiny_config

KINDS = [
    *((cell, "none") for cell in CELLS),
    ("lstm", "residual"),
    pytest.param(("gru", "highway"), marks=pytest.mark.slow),
]
PROMPTS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16]])


def build(cell="lstm", connection="none", **fields):
    torch.manual_seed(0)
    fields = {"num_hidden_layers": 2, "eos_token_id": None, **fields}
    return randomise(RnnForCausalLM(tiny_config(cell_type=cell, layer_connection=connection, **fields)))


@pytest.fixture(params=KINDS, ids="-".join)
def model(request):
    return build(*request.param)


@torch.no_grad()
def read(model, ids=PROMPTS, cache=None):
    return model(ids, past_key_values=cache or new_cache(model.config)).past_key_values


def go_on(model, cache, rows=3):
    return model.generate(torch.full((rows, 1), 20), past_key_values=cache, max_new_tokens=8, do_sample=False)


RESUME = """
import sys, torch
from rnn_hf import RnnForCausalLM, load_state
model = RnnForCausalLM.from_pretrained(sys.argv[1])
state = load_state(sys.argv[2], model.config)
out = model.generate(torch.full((3, 1), 20), past_key_values=state, max_new_tokens=8, do_sample=False)
print(out.tolist(), int(state.get_seq_length()))
"""


@pytest.mark.parametrize("kind", [("elman", "none"), ("lstm", "highway")], ids="-".join)
def test_another_process_resumes_from_the_file(kind, tmp_path):
    model = build(*kind)
    model.save_pretrained(tmp_path / "model")
    file = tmp_path / "state.safetensors"
    save_state(read(model), file, model.config)
    assert file.stat().st_size < 2000
    assert os.listdir(tmp_path) in (["model", file.name], [file.name, "model"])
    command = [sys.executable, "-c", RESUME, str(tmp_path / "model"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{go_on(model, read(model)).tolist()} 12"


def test_saved_and_loaded(model, tmp_path):
    cache = read(model)
    save_state(cache, tmp_path / "state", model.config)
    before = copy.deepcopy(cache)
    loaded = load_state(tmp_path / "state", model.config)
    assert type(loaded) is DynamicCache
    assert int(loaded.get_seq_length()) == 4
    for a, b in zip(loaded.layers, cache.layers, strict=True):
        assert all(torch.equal(s, t) for s, t in zip(a.state, b.state, strict=True))
    assert torch.equal(go_on(model, loaded), go_on(model, cache))
    save_state(before, tmp_path / "state", model.config)  # replaces
    half = move_state(before, dtype=torch.bfloat16)
    save_state(half, tmp_path / "half", model.config)
    assert load_state(tmp_path / "half", model.config).layers[0].states[0].dtype == torch.bfloat16


def test_a_static_state_and_one_with_a_graph_are_saved(tmp_path):
    model = build()
    out = model(PROMPTS)
    save_state(out.past_key_values, tmp_path / "state", model.config)
    static = StaticCache(config=model.config, max_cache_len=8)
    save_state(read(model, cache=static), tmp_path / "static", model.config)
    assert torch.equal(*(go_on(model, load_state(tmp_path / n, model.config)) for n in ("state", "static")))


def test_bad_files(tmp_path):
    model = build()
    file = tmp_path / "state"
    save_state(read(model), file, model.config)
    good = file.read_bytes()
    with pytest.raises(FileNotFoundError, match="no state at"):
        load_state(tmp_path / "none", model.config)
    for fields, message in [
        ({"cell_type": "gru"}, "cell_type='lstm', not 'gru'"),
        ({"hidden_size": 9}, r"layer_sizes=\[\[6, 7\], \[7, 5\]\], not \[\[6, 9\], \[9, 5\]\]"),
        ({"num_hidden_layers": 3}, "layer_sizes"),
        ({"layer_connection": "residual"}, "layer_connection='none', not 'residual'"),
    ]:
        config = tiny_config(**{"cell_type": "lstm", "num_hidden_layers": 2, **fields})
        with pytest.raises(ValueError, match=f"belongs to a model with {message}"):
            load_state(file, config)
    for data in (b"", good[:20], good[:-1], good[:100] + b"\xff" + good[101:], good[:-5] + b"\x99" + good[-4:]):
        file.write_bytes(data)
        with pytest.raises(ValueError, match="is damaged"):
            load_state(file, model.config)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds no state"):
        load_state(tmp_path / "model.safetensors", model.config)


def test_wrong_keys_or_shapes_in_a_file(tmp_path):
    from rnn_hf.generation.state import _digest

    model = build()
    file = tmp_path / "state"
    save_state(read(model), file, model.config)
    tensors = load_file(file)
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    assert json.loads(metadata["config"])["cell_type"] == "lstm"
    without = {k: v for k, v in tensors.items() if k != "layers.1.c"}
    for changed, message in [
        (without, "must hold layers.0.h, layers.0.c, layers.1.h, layers.1.c; got layers.0.c, layers.0.h, layers.1.h"),
        (
            {**tensors, "layers.1.c": torch.zeros(3, 4)},
            r"layer 1 of .* must hold h of shape \(batch, 5\), c of shape \(batch, 5\)",
        ),
    ]:
        save_file(changed, file, {**metadata, "sha256": _digest(changed, metadata)})
        with pytest.raises(ValueError, match=message):
            load_state(file, model.config)


def test_what_cannot_be_saved(tmp_path):
    model = build()
    with pytest.raises(ValueError, match="the state is empty"):
        save_state(new_cache(model.config), tmp_path / "state", model.config)
    with pytest.raises(ValueError, match=r"layer 0 of the state must hold h of .*, c of"):
        save_state(read(build("gru")), tmp_path / "state", model.config)
    with pytest.raises(
        ValueError, match=r"layer 0 of the state belongs to a model 'tanh elman, forward, .* not 'gru, "
    ):
        save_state(read(build("elman")), tmp_path / "state", build("gru").config)
    with pytest.raises(ValueError, match="a state is what a model returns as past_key_values; got NoneType"):
        save_state(None, tmp_path / "state", model.config)
    with pytest.raises(FileNotFoundError):
        save_state(read(model), tmp_path / "no folder" / "state", model.config)
    assert not list(tmp_path.iterdir())


def test_select_and_repeat(model):
    expected = go_on(model, read(model))
    cache = read(model)
    assert torch.equal(go_on(model, select_state(cache, [2, 0]), 2), expected[[2, 0]])
    assert torch.equal(go_on(model, select_state(cache, torch.tensor([1])), 1), expected[1:2])
    assert torch.equal(go_on(model, select_state(cache, torch.tensor([False, True, True])), 2), expected[1:])
    assert torch.equal(go_on(model, repeat_state(cache, 2), 6), expected.repeat_interleave(2, 0))
    assert torch.equal(go_on(model, move_state(cache, "cpu")), expected)
    assert torch.equal(go_on(model, copy.deepcopy(cache)), expected)
    assert torch.equal(go_on(model, copy.deepcopy(model(PROMPTS).past_key_values)), expected)  # which has a graph
    assert torch.equal(go_on(model, cache), expected)  # none of them changed it
    for rows in ([3], [-1], [], [0.9], [[0], [1]], [True, False]):
        with pytest.raises(ValueError, match="rows must be numbers from 0 to 2"):
            select_state(cache, rows)
    with pytest.raises(ValueError, match="rows must be numbers of rows"):
        select_state(cache, slice(2))
    with pytest.raises(ValueError, match="the state is empty"):
        select_state(new_cache(model.config), [0])
    for repeats in (0, 1.5, True):
        with pytest.raises(ValueError, match=f"repeats must be a whole number from 1 .* got {repeats}"):
            repeat_state(cache, repeats)


def test_move_and_detach():
    model = build()
    cache = model(PROMPTS).past_key_values
    double = move_state(cache, dtype=torch.float64)
    assert all(s.dtype == torch.float64 and s.requires_grad for layer in double.layers for s in layer.states)
    assert move_state(cache, "meta").layers[0].states[0].device.type == "meta"
    with pytest.raises(ValueError, match=r"dtype must be a floating-point torch\.dtype or None; got 'float16'"):
        move_state(cache, dtype="float16")
    assert detach_(double) is double
    assert not any(s.requires_grad for layer in double.layers for s in layer.states)
    assert all(s.requires_grad for layer in cache.layers for s in layer.states)


def test_interleaved_generations_do_not_disturb_each_other(model):
    """Token by token in turns, and while others are written in between, as each alone."""
    first, second = [list(stream(model, PROMPTS[[i]], max_new_tokens=20)) for i in (0, 1)]
    streams = stream(model, PROMPTS[[0]], max_new_tokens=20), stream(model, PROMPTS[[1]], max_new_tokens=20)
    taken = []
    for pair in zip(*streams, strict=True):
        taken.append(pair)
        model.generate(PROMPTS[2:], max_new_tokens=2, num_beams=2)
    assert [one for one, _ in taken] == first
    assert [other for _, other in taken] == second


def test_a_permuted_batch_gives_the_same_rows(model):
    order = torch.tensor([2, 0, 1])
    out = model.generate(PROMPTS, max_new_tokens=10, do_sample=False)
    assert torch.equal(model.generate(PROMPTS[order], max_new_tokens=10, do_sample=False), out[order])
