"""Compiled and exported models give the eager numbers: torch.compile, torch.export, ONNX, transformers' exporters.

`make test` takes one connection for each cell, `make test-all` every combination.
"""

import copy
import itertools

import onnxruntime
import pytest
import torch
from torch import nn
from torch.export import Dim
from torch.utils._pytree import tree_leaves
from transformers import CompileConfig, DynamicCache, GenerationConfig, StaticCache
from transformers.exporters.base import ExportedModel
from transformers.exporters.configs import DynamoConfig, OnnxConfig
from transformers.exporters.exporter_dynamo import DynamoExporter, register_cache_pytrees_for_model
from transformers.exporters.exporter_onnx import OnnxExporter
from transformers.exporters.utils import get_leaf_tensors

from rnn_hf import RnnForCausalLM, RnnForSequenceClassification, RnnForTokenClassification, RnnModel, new_cache
from rnn_hf.models.cache import detach_

from .conftest import CELLS, CONNECTIONS, LANGUAGE_MODELS, MODELS, POOLINGS, randomise, tiny_config

ALL = [f"{cell}-{connection}" for cell, connection in itertools.product(CELLS, CONNECTIONS)]
ONE_EACH = ["elman-residual", "gru-highway", "lstm-none"]
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


def cases(names, values, fast):
    """Parametrizes; slow but for the values of which `fast` is true."""
    params = [pytest.param(*v, id="-".join(map(str, v)), marks=() if fast(*v) else pytest.mark.slow) for v in values]
    return pytest.mark.parametrize(names, params)


def build(cls, kind, **fields):
    cell, connection = kind.split("-")
    fields = {"num_hidden_layers": 2, "initial_state": "learned", "eos_token_id": None, **fields}
    model = randomise(cls(tiny_config(cell_type=cell, layer_connection=connection, **fields)))
    if cls is RnnForCausalLM:
        with torch.no_grad():
            model.lm_head.weight.mul_(2)  # else the bias alone would choose the tokens
    return model


def batch_of(batch, time, seed=0):
    """Ids and a mask with left, right and scattered padding; the first row is full, the last one all padding."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 41, (batch, time), generator=generator)
    mask = torch.rand(batch, time, generator=generator) < 0.7
    mask[0] = True
    mask[1:2, : time // 2] = False
    mask[2:3, time // 2 :] = False
    if batch > 3:
        mask[-1] = False
    return ids, mask.long()


def state_tensors(cache):
    return [s for layer in cache.layers for s in layer.state]


# torch.compile. "aot_eager" traces as "inductor" does and compiles in no time.


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


def num_graphs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


# inductor takes up to a minute a case where its cache is cold: one connection a cell
compiled = cases(
    ("kind", "backend"),
    [*itertools.product(ALL, ["aot_eager"]), *itertools.product(ONE_EACH, ["inductor"])],
    fast=lambda kind, backend: kind in ONE_EACH and backend != "inductor",
)


@compiled
@torch.no_grad()
def test_forward_compiles_as_one_graph(kind, backend):
    """Without padding and state, then a chunk with both."""
    model = build(RnnForCausalLM, kind)
    ids, mask = batch_of(4, 9)
    results = []
    for function in (model, torch.compile(model, fullgraph=True, backend=backend)):
        first = function(ids[:, :4])
        out = function(ids[:, 4:], mask, past_key_values=first.past_key_values)
        cache = out.past_key_values
        results.append([first.logits, out.logits, *state_tensors(cache), cache.get_seq_length()])
    torch.testing.assert_close(*results, **TOLERANCE)


@compiled
def test_training_compiles_as_one_graph(kind, backend):
    """Loss and every gradient through two chunks, the second padded, and the state between them. All widths are equal:
    inductor hands freed buffers to tensors of the same size, and so once gave the recurrent weights wrong gradients."""
    model = build(RnnForCausalLM, kind, embedding_size=8, hidden_size=8, last_hidden_size=8).train()
    ids, mask = batch_of(4, 9)
    results = []
    for function in (model, torch.compile(model, fullgraph=True, backend=backend)):
        model.zero_grad()
        cache, loss = new_cache(model.config), 0.0
        for start, end, chunk_mask in ((0, 5, None), (5, 9, mask)):
            chunk = ids[:, start:end]
            loss = loss + function(chunk, chunk_mask, past_key_values=cache, shift_labels=chunk).loss
        loss = loss + sum(s.sin().sum() for s in state_tensors(cache))
        loss.backward()
        results.append({"loss": loss.detach(), **{n: p.grad.clone() for n, p in model.named_parameters()}})
    torch.testing.assert_close(*results, **TOLERANCE)


@cases("kind", [(kind,) for kind in ONE_EACH], fast=lambda kind: kind == "lstm-none")
def test_truncated_backpropagation_settles_on_a_few_graphs(kind):
    """A stream of equal chunks is compiled for the first, the second and at most one more."""
    model = build(RnnForCausalLM, kind).train()
    function = torch.compile(model, fullgraph=True, backend="aot_eager")
    cache = new_cache(model.config)
    for _ in range(8):
        ids = torch.randint(3, 41, (2, 5))
        function(ids, past_key_values=cache, shift_labels=ids).loss.backward()
        detach_(cache)
    assert num_graphs() <= 3


@cases(
    ("kind", "pooling"),
    itertools.product(ONE_EACH, POOLINGS),
    fast=lambda *v: v == ("gru-highway", "concat"),
)
@torch.no_grad()
def test_classifiers_that_read_from_the_end_compile_as_one_graph(kind, pooling):
    ids, mask = batch_of(4, 9)
    for reading in ({"bidirectional": True}, {"direction": "backward"}):
        model = build(RnnForSequenceClassification, kind, pooling=pooling, num_labels=3, **reading)
        function = torch.compile(model, fullgraph=True, backend="aot_eager")
        for batch in ((ids, mask), (ids, None)):
            torch.testing.assert_close(function(*batch).logits, model(*batch).logits, **TOLERANCE)


@compiled
def test_generate_with_a_static_cache_compiles_its_step_once(kind, backend):
    model = build(RnnForCausalLM, kind)
    ids, mask = batch_of(3, 7)
    config = CompileConfig(fullgraph=True, backend=backend, mode=None)
    config._compile_all_devices = True  # otherwise generate() compiles on accelerators alone
    for tokens in (4, 16):
        options = {"attention_mask": mask, "max_new_tokens": tokens, "do_sample": False}
        found = model.generate(ids, **options, cache_implementation="static", compile_config=config)
        assert torch.equal(found, model.generate(ids, **options))
        assert num_graphs() == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ONE_EACH)
def test_autocast_compiles(kind):
    model = build(RnnForCausalLM, kind).train()
    ids, mask = batch_of(3, 7)
    with torch.autocast("cpu", torch.bfloat16):
        losses = [
            f(ids, mask, labels=ids).loss for f in (model, torch.compile(model, fullgraph=True, backend="aot_eager"))
        ]
    torch.testing.assert_close(*losses, atol=2e-2, rtol=0)
    losses[1].backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


# torch.export and ONNX. Exported with a batch of 3 and 7 steps; these are the sizes run:

SIZES = [(1, 1), (5, 2), (1, 8), (2, 13)]
BATCH, TIME = Dim("batch", min=1), Dim("time", min=1)


class WithTensors(nn.Module):
    """The model with tensors alone at its boundary, the state's too: the form that ONNX knows."""

    def __init__(self, model, stateful):
        super().__init__()
        self.model, self.stateful = model, stateful

    def forward(self, input_ids, attention_mask, *states):
        if not self.stateful:
            return (self.model(input_ids, attention_mask, use_cache=False)[0],)
        out = self.model(input_ids, attention_mask, past_key_values=cache_of(self.model.config, states))
        return out[0], *state_tensors(out.past_key_values)


def cache_of(config, states):
    per_layer = [1 + (config.cell_type == "lstm")] * config.num_hidden_layers
    per_layer[-1] += config.layer_connection != "none"
    states = iter(states)
    return new_cache(config, [tuple(itertools.islice(states, n)) for n in per_layer])


def random_states(config, batch):
    """As `cache_of` takes them."""
    with torch.no_grad():
        cache = new_cache(config)
        RnnModel(config)(torch.zeros(batch, 1, dtype=torch.long), past_key_values=cache)
    return [torch.randn_like(s) for s in state_tensors(cache)]


HEADS = {  # class, fields, and whether the state goes in and out
    "lm": (RnnForCausalLM, {}, True),
    "tied lm": (RnnForCausalLM, {"tie_word_embeddings": True}, False),
    "encoder": (RnnModel, {"bidirectional": True, "layer_norm": True}, True),
    "tagger": (RnnForTokenClassification, {"bidirectional": True}, False),
    "backward": (RnnForSequenceClassification, {"direction": "backward", "pooling": "concat"}, False),
}
HEADS |= {
    pooling + ", both ways" * both_ways: (
        RnnForSequenceClassification,
        {"pooling": pooling, "bidirectional": both_ways, "num_hidden_layers": 1},
        False,
    )
    for pooling, both_ways in itertools.product(POOLINGS, [False, True])
}
FAST_EXPORTS = [
    ("elman-residual", "concat, both ways"), ("gru-highway", "lm"), ("lstm-none", "lm"), ("lstm-residual", "backward")
]  # fmt: skip


@cases(("kind", "head"), itertools.product(ALL, HEADS), fast=lambda *v: v in FAST_EXPORTS)
@torch.no_grad()
def test_exported_with_any_batch_and_length(kind, head, tmp_path):
    """By torch.export, and from there to ONNX, run by onnxruntime."""
    cls, fields, stateful = HEADS[head]
    model = build(cls, kind, **fields)
    module = WithTensors(model, stateful).eval()

    def tensors_of(*size, seed=0):
        return *batch_of(*size, seed), *(random_states(model.config, size[0]) if stateful else [])

    tensors = tensors_of(3, 7)
    shapes = {"input_ids": {0: BATCH, 1: TIME}, "attention_mask": {0: BATCH, 1: TIME}}
    if stateful:
        shapes["states"] = tuple({0: BATCH} for _ in tensors[2:])
    program = torch.export.export(module, tensors, dynamic_shapes=shapes)
    torch.onnx.export(program, f=tmp_path / "model.onnx", dynamo=True, external_data=False, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]

    exported = program.module()
    for seed, size in enumerate(SIZES):
        tensors = tensors_of(*size, seed=seed)
        expected = list(module(*(t.clone() for t in tensors)))
        torch.testing.assert_close(list(exported(*(t.clone() for t in tensors))), expected, **TOLERANCE)
        out = session.run(None, {name: t.numpy() for name, t in zip(names, tensors, strict=True)})
        torch.testing.assert_close([torch.from_numpy(o) for o in out], expected, **TOLERANCE)


@cases("kind", [(kind,) for kind in ALL], fast=lambda kind: kind == "lstm-none")
@torch.no_grad()
def test_torch_export_takes_the_cache_itself(kind, tmp_path):
    """As a pytree node, saved and loaded, continued from chunk to chunk."""
    model = build(RnnForCausalLM, kind)
    register_cache_pytrees_for_model(model)
    ids, mask = batch_of(3, 7)
    cache = cache_of(model.config, random_states(model.config, 3))
    shapes = {
        "input_ids": {0: BATCH, 1: TIME},
        "attention_mask": {0: BATCH, 1: TIME},
        "past_key_values": [{0: BATCH} if leaf.ndim else {} for leaf in tree_leaves(cache)],
    }
    inputs = {"input_ids": ids, "attention_mask": mask, "past_key_values": cache}
    program = torch.export.export(model, (), inputs, dynamic_shapes=shapes)
    program._example_inputs = None  # they would be pickled
    torch.export.save(program, tmp_path / "model.pt2")
    exported = torch.export.load(tmp_path / "model.pt2").module()
    for batch in (1, 4):
        theirs = cache_of(model.config, random_states(model.config, batch))
        ours = copy.deepcopy(theirs)
        for seed, time in enumerate((5, 1, 11)):
            ids, mask = batch_of(batch, time, seed)
            out = exported(input_ids=ids, attention_mask=mask, past_key_values=theirs)
            expected = model(ids, mask, past_key_values=ours)
            theirs, ours = out.past_key_values, expected.past_key_values
            torch.testing.assert_close(out.logits, expected.logits, **TOLERANCE)
            torch.testing.assert_close(state_tensors(theirs), state_tensors(ours), **TOLERANCE)
        assert int(theirs.get_seq_length()) == 17


# transformers.exporters


EXPORTERS = {"dynamo": (DynamoExporter, DynamoConfig), "onnx": (OnnxExporter, OnnxConfig)}


def named(batch):
    return dict(zip(("input_ids", "attention_mask"), batch, strict=True))


@cases(
    ("kind", "exporter", "head"),
    itertools.product(ONE_EACH, EXPORTERS, ["lm", "encoder", "tagger", "concat, both ways"]),
    fast=lambda *v: v == ("gru-highway", "dynamo", "concat, both ways"),
)
@torch.no_grad()
def test_exporters(kind, exporter, head, tmp_path):
    """Exported, saved, loaded, and run at other sizes."""
    cls, fields, _ = HEADS[head]
    model = build(cls, kind, **fields)
    make, config = EXPORTERS[exporter]
    make().export(model, named(batch_of(3, 7)), config=config(dynamic=True)).save_pretrained(tmp_path)
    exported = ExportedModel.from_pretrained(tmp_path)
    for size in SIZES:
        inputs = named(batch_of(*size))
        found = get_leaf_tensors(exported(**inputs))
        torch.testing.assert_close(found, get_leaf_tensors(model(**inputs)), **TOLERANCE)


FAMILIES = {name: make for name, make in MODELS.items() if not name.startswith("rnn")}
TRAINED = [name for name, make in FAMILIES.items() if not make().config.one_pass]


@cases(("name", "exporter"), itertools.product(TRAINED, EXPORTERS), fast=lambda *v: v == ("cnn classifier", "onnx"))
@torch.no_grad()
def test_exporters_of_other_families(name, exporter, tmp_path):
    model = FAMILIES[name]()
    make, config = EXPORTERS[exporter]
    make().export(model, named(batch_of(3, 7)), config=config(dynamic=True)).save_pretrained(tmp_path)
    exported = ExportedModel.from_pretrained(tmp_path)
    for size in SIZES:
        inputs = named(batch_of(*size))
        found = get_leaf_tensors(exported(**inputs))
        torch.testing.assert_close(found, get_leaf_tensors(model(**inputs)), **TOLERANCE)


@pytest.mark.parametrize("name", sorted(FAMILIES.keys() - set(TRAINED)))
def test_families_that_look_ngrams_up_refuse_export(name):
    ids, _ = batch_of(3, 7)
    with pytest.raises(ValueError, match=r"looks n-grams up in sorted tables, .* it has no export to ONNX"):
        torch.export.export(FAMILIES[name](), (ids,))


@cases(
    ("kind", "exporter", "dynamic", "implementation"),
    itertools.product([*ONE_EACH, "cnn", "ffn"], EXPORTERS, [True, False], [None, "static"]),
    fast=lambda *v: v == ("elman-residual", "dynamo", True, None),
)
@torch.no_grad()
def test_exporters_for_generation(kind, exporter, dynamic, implementation):
    """Prefill and decoding as generate() calls them: the state that one program puts out goes into the other."""
    model = LANGUAGE_MODELS[kind](eos_token_id=None) if kind in LANGUAGE_MODELS else build(RnnForCausalLM, kind)
    make, export_config = EXPORTERS[exporter]
    exported = make().export_for_generation(
        model,
        named(batch_of(3, 7)),
        export_config(dynamic=dynamic),
        generation_config=GenerationConfig(cache_implementation=implementation),
        multi_token_decode=dynamic,
    )

    def run(part, **inputs):
        runner = exported.runners[part]
        return runner(**{name: value for name, value in inputs.items() if name in runner.metadata.kwargs})

    inputs = named(batch_of(2, 5) if dynamic else batch_of(3, 7))
    cache = DynamicCache(config=model.config) if implementation is None else StaticCache(model.config, max_cache_len=9)
    out = run("prefill", **inputs, past_key_values=cache)
    tokens = [out.logits[:, -1:].argmax(-1)]
    for _ in range(4):
        mask = torch.ones_like(tokens[-1])
        out = run("decode", input_ids=tokens[-1], attention_mask=mask, past_key_values=out.past_key_values)
        tokens.append(out.logits[:, -1:].argmax(-1))
    assert torch.equal(torch.cat(tokens, 1), model.generate(**inputs, max_new_tokens=5, do_sample=False)[:, -5:])
