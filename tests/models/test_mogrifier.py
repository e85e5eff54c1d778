"""LSTMs whose input and last output scale each other before a step: the paper's equations, the rules of all models."""

import itertools

import onnxruntime
import pytest
import torch
from torch import nn

from rnn_hf import RnnForCausalLM, RnnModel, new_cache

from .conftest import CONNECTIONS, randomise, tiny_config
from .test_export import BATCH, TIME, TOLERANCE, WithTensors, batch_of, random_states, state_tensors
from .test_rnn_layers import fill, padded_variants

ROUNDS = [1, 2, 5]


def build(cls=RnnForCausalLM, rounds=3, **fields):
    fields = {"num_hidden_layers": 2, "initial_state": "learned", "eos_token_id": None, **fields}
    return randomise(cls(tiny_config(mogrifier_rounds=rounds, **fields)))


def by_definition(rnn, x, h, c):
    """Melis et al. 2020, eq. 1 and 2, then torch's own cell: x [time, batch, input], h and c [batch, hidden]."""
    cell = nn.LSTMCell(rnn.weight_ih_l0.shape[1], rnn.hidden_size, dtype=x.dtype)
    outputs = []
    weights = {name: getattr(rnn, f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    for x_t in x:
        for i, name in enumerate(rnn.gates, 1):
            matrix = getattr(rnn, f"{name}_l0")
            if i % 2 == 1:  # odd: x^i = 2 sigma(Q^i h^(i-1)) * x^(i-2)
                x_t = 2 * torch.sigmoid(h @ matrix.T) * x_t
            else:  # even: h^i = 2 sigma(R^i x^(i-1)) * h^(i-2)
                h = 2 * torch.sigmoid(x_t @ matrix.T) * h
        h, c = torch.func.functional_call(cell, weights, (x_t, (h, c)))
        outputs.append(h)
    return torch.stack(outputs), h, c


@pytest.mark.parametrize("rounds", ROUNDS)
def test_it_is_its_definition(rounds):
    """Outputs, states and gradients, in f64."""
    model = build(RnnModel, rounds, num_hidden_layers=1).double()
    x = torch.randn(3, 7, 6, dtype=torch.float64)
    found, expected = x.clone().requires_grad_(), x.clone().requires_grad_()
    cache, layer = new_cache(model.config), model.layers[0]
    out = model(inputs_embeds=found, past_key_values=cache).last_hidden_state
    theirs, *states = by_definition(
        layer.rnn, expected.transpose(0, 1), *(s.expand(3, -1) for s in layer.initial_state)
    )
    torch.testing.assert_close(out, theirs.transpose(0, 1))
    torch.testing.assert_close(list(cache.layers[0].state), states)
    parameters = [p for n, p in model.named_parameters() if "embed" not in n]
    gradients = [torch.autograd.grad(y.sin().sum(), [z, *parameters]) for y, z in ((out, found), (theirs, expected))]
    torch.testing.assert_close(*gradients)
    assert len(parameters) == 5 + rounds and all(float(g.abs().max()) > 0 for g in gradients[0])


def test_gates_of_zeros_leave_an_lstm():
    """2 sigma(0) is 1: the numbers are those of torch's fused loop."""
    model = build(RnnModel, 5)
    plain = RnnModel(tiny_config(num_hidden_layers=2, initial_state="learned"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "mogrifier" in name:
                parameter.zero_()
    plain.load_state_dict({n: p for n, p in model.state_dict().items() if "mogrifier" not in n})
    ids, mask = batch_of(4, 9)
    outputs = [m(ids, mask, past_key_values=new_cache(m.config)) for m in (model, plain.eval())]
    torch.testing.assert_close(*(output.last_hidden_state for output in outputs))
    torch.testing.assert_close(*(state_tensors(output.past_key_values) for output in outputs))


@pytest.mark.parametrize(("connection", "bidirectional"), itertools.product(CONNECTIONS, [False, True]))
@torch.no_grad()
def test_padding_is_invisible(connection, bidirectional):
    model = build(RnnModel, layer_connection=connection, bidirectional=bidirectional).double()
    lengths = torch.tensor([1, 4, 9, 6])
    rows = [torch.randint(3, 41, (n,)) for n in lengths]
    alone = [model(row[None], past_key_values=new_cache(model.config)) for row in rows]
    for mask in padded_variants(lengths, 11).values():
        out = model(fill(mask, rows), mask.long(), past_key_values=new_cache(model.config))
        for i, single in enumerate(alone):
            torch.testing.assert_close(out.last_hidden_state[i, mask[i]], single.last_hidden_state[0])
            states = [s[i] for s in state_tensors(out.past_key_values)]
            torch.testing.assert_close(states, [s[0] for s in state_tensors(single.past_key_values)])


@torch.no_grad()
def test_chunks_are_invisible_and_states_roll_back():
    model = build().double()
    ids, mask = batch_of(4, 12)
    whole = model(ids, mask)
    for split in ([1] * 12, [5, 7], [4, 1, 7]):
        cache, parts = new_cache(model.config), []
        for part, part_mask in zip(ids.split(split, 1), mask.split(split, 1), strict=True):
            parts.append(model(part, part_mask, past_key_values=cache).logits)
        torch.testing.assert_close(torch.cat(parts, 1)[0], whole.logits[0])
        torch.testing.assert_close(state_tensors(cache), state_tensors(whole.past_key_values))
    cache = new_cache(model.config)
    model(ids[:, :5], past_key_values=cache)
    before = [s.clone() for s in state_tensors(cache)]
    cache.activate_past_recording()
    model(ids[:, 5:8], past_key_values=cache)
    cache.crop(-3)
    torch.testing.assert_close(state_tensors(cache), before)


def test_saved_opened_and_generated_from(tmp_path):
    model = build(tie_word_embeddings=True, last_hidden_size=6)
    model.save_pretrained(tmp_path)
    again = RnnForCausalLM.from_pretrained(tmp_path)
    ids, _ = batch_of(1, 5)
    assert torch.equal(model(ids).logits, again(ids).logits)
    written = again.generate(ids, max_new_tokens=6, do_sample=False)
    slowly = ids
    for _ in range(6):
        slowly = torch.cat([slowly, model(slowly).logits[:, -1:].argmax(-1)], 1)
    assert torch.equal(written, slowly)


@pytest.mark.parametrize("training", [False, True])
def test_it_compiles_as_one_graph(training):
    torch._dynamo.reset()
    model = build().train(training)
    ids, mask = batch_of(4, 6)
    results = []
    for function in (model, torch.compile(model, fullgraph=True, backend="aot_eager")):
        model.zero_grad()
        loss = function(ids, mask, shift_labels=ids).loss
        loss.backward()
        results.append({"loss": loss.detach(), **{n: p.grad.clone() for n, p in model.named_parameters()}})
    torch.testing.assert_close(*results, **TOLERANCE)


@torch.no_grad()
def test_it_is_exported_with_any_batch_and_length(tmp_path):
    model = build()
    module = WithTensors(model, True).eval()
    tensors = (*batch_of(3, 7), *random_states(model.config, 3))
    shapes = {"input_ids": {0: BATCH, 1: TIME}, "attention_mask": {0: BATCH, 1: TIME}}
    program = torch.export.export(
        module, tensors, dynamic_shapes={**shapes, "states": tuple({0: BATCH} for _ in tensors[2:])}
    )
    torch.onnx.export(program, f=tmp_path / "model.onnx", dynamo=True, external_data=False, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for size in ((1, 1), (2, 13)):
        tensors = (*batch_of(*size), *random_states(model.config, size[0]))
        expected = list(module(*(t.clone() for t in tensors)))
        inputs = {i.name: t.numpy() for i, t in zip(session.get_inputs(), tensors, strict=True)}
        torch.testing.assert_close([torch.from_numpy(o) for o in session.run(None, inputs)], expected, **TOLERANCE)


def test_only_an_lstm_is_mogrified():
    with pytest.raises(ValueError, match="mogrifier_rounds=3 is for cell_type='lstm'; got 'gru'"):
        tiny_config(cell_type="gru", mogrifier_rounds=3)
    with pytest.raises(ValueError, match="mogrifier_rounds must be a whole number from 0"):
        tiny_config(mogrifier_rounds=-1)
