"""Cells against torch.nn, fast paths against the equations, padding and chunks invisible."""

import itertools

import pytest
import torch
from torch import nn

from rnn_hf import RnnForCausalLM, RnnForSequenceClassification, RnnModel
from rnn_hf.models.cache import detach_, new_cache
from rnn_hf.models.rnn_layers import Padding, RnnLayer, drop_weights

from .conftest import CELLS, CONNECTIONS, POOLINGS, SHAPES, randomise, tiny_config

TORCH_RNN = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


@pytest.mark.parametrize("options", [{}, {"nonlinearity": "relu"}], ids=["", "relu"])
@pytest.mark.parametrize(("cell", "depth", "bidirectional"), itertools.product(CELLS, [1, 3], [False, True]))
def test_weights_interchange_with_torch(cell, depth, bidirectional, options):
    """An nn.LSTM/GRU/RNN state dict loads into ours and gives equal outputs, final states and gradients."""
    extra = options if cell == "elman" else {}
    theirs = TORCH_RNN[cell](6, 7, depth, bidirectional=bidirectional, batch_first=True, **extra)
    config = tiny_config(
        cell_type=cell, num_hidden_layers=depth, bidirectional=bidirectional, last_hidden_size=None, **extra
    )
    ours = RnnModel(config).train()
    ours.load_torch_rnn(theirs if bidirectional else theirs.state_dict())  # either will do
    x = torch.randn(4, 9, 6)
    x1, x2 = x.clone().requires_grad_(), x.clone().requires_grad_()
    cache = new_cache(config)
    out1 = ours(inputs_embeds=x1, past_key_values=cache).last_hidden_state
    out2, states = theirs(x2)
    torch.testing.assert_close(out1, out2, atol=1e-6, rtol=0)
    states = states if cell == "lstm" else (states,)
    for i, layer in enumerate(cache.layers):
        for mine, their in zip(layer.state, states, strict=True):
            per_layer = their.unflatten(0, (depth, -1))[i]  # [directions, batch, hidden]
            torch.testing.assert_close(mine, torch.cat(list(per_layer), -1), atol=1e-6, rtol=0)
    weight = torch.randn_like(out1)
    (out1 * weight).sum().backward()
    (out2 * weight).sum().backward()
    torch.testing.assert_close(x1.grad, x2.grad, atol=1e-5, rtol=1e-5)
    for i, layer in enumerate(ours.layers):
        for name, parameter in layer.rnn.named_parameters():
            their = getattr(theirs, name.replace("_l0", f"_l{i}"))
            torch.testing.assert_close(parameter.grad, their.grad, atol=1e-5, rtol=1e-5)


def test_load_torch_rnn_lists_every_difference():
    model = RnnModel(tiny_config(num_hidden_layers=1, last_hidden_size=None))
    with pytest.raises(ValueError, match=r"weight_hh_l0 is \(32, 8\), not \(28, 7\).*weight_hh_l1 has no place here"):
        model.load_torch_rnn(nn.LSTM(6, 8, 2).state_dict())
    model = RnnModel(tiny_config(cell_type="elman", num_hidden_layers=1, last_hidden_size=None))
    with pytest.raises(ValueError, match="nonlinearity is 'relu', not 'tanh'"):
        model.load_torch_rnn(nn.RNN(6, 7, nonlinearity="relu"))
    for wrong in (None, {"weight_ih_l0": [1.0]}):
        with pytest.raises(ValueError, match=r"takes an nn.RNNBase or its state_dict\(\)"):
            model.load_torch_rnn(wrong)


def make_layer(cell, connection, bidirectional, layer_norm, initial_state):
    config = tiny_config(
        cell_type=cell,
        layer_connection=connection,
        bidirectional=bidirectional,
        layer_norm=layer_norm,
        initial_state=initial_state,
    )
    layer = RnnLayer(config, 0).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-0.7, 0.7)
    return layer


MASKS = torch.tensor(
    [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0]]
).bool()


@pytest.mark.parametrize(("cell", "connection", "bidirectional"), itertools.product(CELLS, CONNECTIONS, [False, True]))
@pytest.mark.parametrize("initial_state", ["zeros", "learned"])
@pytest.mark.parametrize("masked", ["none", "right", "any"])
def test_fast_paths_equal_the_equations(cell, connection, bidirectional, initial_state, masked):
    """Fused (plain and padded) and scan against the step-by-step equations: outputs, states, gradients, in f64."""
    layer = make_layer(cell, connection, bidirectional, layer_norm=True, initial_state=initial_state)
    mask = {"none": None, "right": MASKS[:2], "any": MASKS}[masked]
    batch = 3 if mask is None else len(mask)
    base = torch.randn(batch, 6, 6, dtype=torch.float64)
    width = layer.hidden_size * layer.directions
    given = tuple(
        torch.randn(batch, width, dtype=torch.float64) for _ in range(layer.num_states + layer.carries_output)
    )
    probe = torch.randn(batch, 6, width, dtype=torch.float64)
    if bidirectional and mask is not None:
        probe = probe * mask[..., None]  # what a bidirectional layer puts out at padding has no meaning

    def run(path, state):
        x = base.clone().requires_grad_()
        padding = Padding.of(mask) if mask is not None and path == "fused" else None
        if path == "equations":
            out, final = step_by_step(layer, x, state, mask)
        elif path == "scan":
            out, final = scan(layer, x, state, mask)
        else:
            out, final, _ = layer(x, state, mask, padding, True)
        layer.zero_grad()
        loss = (out * probe).sum() + sum(s.sin().sum() for s in final)
        loss.backward()
        return out.detach() * (probe != 0), final, x.grad, {n: p.grad for n, p in layer.named_parameters()}

    for state in (None, given):
        expected = run("equations", state)
        for path in ("fused", "scan"):
            torch.testing.assert_close(run(path, state), expected, atol=1e-12, rtol=0, msg=f"{path}")


def with_path(layer, chosen, x, state, mask):
    """Runs the layer's forward with every path replaced by `chosen`."""
    layer._fused = lambda x, state, weights: chosen(x, state, mask, weights)[:2]
    try:
        return layer(x, state, mask, None, True)[:2]
    finally:
        del layer._fused


def step_by_step(layer, x, state, mask):
    return with_path(layer, layer._step_by_step, x, state, mask)


def scan(layer, x, state, mask):
    return with_path(layer, layer._scan, x, state, mask)


def padded_variants(lengths, width):
    """Masks with the same number of real tokens a row: left, right and scattered padding."""
    steps = torch.arange(width)
    right = steps < lengths[:, None]
    left = steps >= width - lengths[:, None]
    holes = torch.zeros(len(lengths), width, dtype=torch.bool)
    for i, n in enumerate(lengths):
        holes[i, torch.randperm(width)[:n]] = True
    return {"right": right, "left": left, "holes": holes}


def fill(mask, rows):
    ids = torch.randint(3, 41, mask.shape)  # padding holds ids that would be seen if they were read
    for i, row in enumerate(rows):
        ids[i, mask[i]] = row
    return ids


@pytest.mark.parametrize(("cell", "connection", "depth", "bidirectional"), SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_padding_is_invisible(cell, connection, depth, bidirectional, dtype, tolerance):
    """A padded row gives the numbers of the row alone: hidden states and final state."""
    layer_norm = dtype == torch.float64  # it divides by the spread of 5 features, and so magnifies f32's last bit
    config = tiny_config(
        cell_type=cell, layer_connection=connection, num_hidden_layers=depth, bidirectional=bidirectional,
        initial_state="learned", layer_norm=layer_norm,
    )  # fmt: skip
    model = randomise(RnnModel(config)).to(dtype)
    lengths = torch.tensor([1, 4, 9, 6])
    rows = [torch.randint(3, 41, (n,)) for n in lengths]
    with torch.no_grad():
        alone = [model(row[None], past_key_values=new_cache(config)) for row in rows]
        for mask in padded_variants(lengths, 11).values():
            out = model(fill(mask, rows), mask.long(), past_key_values=new_cache(config))
            for i, single in enumerate(alone):
                torch.testing.assert_close(
                    out.last_hidden_state[i, mask[i]], single.last_hidden_state[0], atol=tolerance, rtol=0
                )
                for batched, one in zip(out.past_key_values.layers, single.past_key_values.layers, strict=True):
                    for a, b in zip(batched.state, one.state, strict=True):
                        torch.testing.assert_close(a[i], b[0], atol=tolerance, rtol=0)
                if not bidirectional:  # the last step of a padded prompt is what generate() reads
                    final = out.last_hidden_state[i, -1]
                    torch.testing.assert_close(final, single.last_hidden_state[0, -1], atol=tolerance, rtol=0)


@pytest.mark.parametrize(("cell", "pooling", "bidirectional"), itertools.product(CELLS, POOLINGS, [False, True]))
def test_padding_is_invisible_to_every_pooling(cell, pooling, bidirectional):
    config = tiny_config(
        cell_type=cell, pooling=pooling, num_hidden_layers=2, bidirectional=bidirectional, num_labels=3
    )
    model = randomise(RnnForSequenceClassification(config)).double()
    lengths = torch.tensor([1, 4, 9, 6])
    rows = [torch.randint(3, 41, (n,)) for n in lengths]
    with torch.no_grad():
        alone = torch.cat([model(row[None]).logits for row in rows])
        for mask in padded_variants(lengths, 11).values():
            torch.testing.assert_close(model(fill(mask, rows), mask).logits, alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_do_not_see_padding(cell):
    config = tiny_config(cell_type=cell, bidirectional=True, num_hidden_layers=2, num_labels=3, pooling="concat")
    model = randomise(RnnForSequenceClassification(config)).double()
    lengths = torch.tensor([2, 5])
    rows = [torch.randint(3, 41, (n,)) for n in lengths]
    labels = torch.tensor([0, 2])

    def gradients(losses):
        model.zero_grad()
        (sum(losses) / len(losses)).backward()
        return {n: p.grad.clone() for n, p in model.named_parameters()}

    alone = gradients([model(row[None], labels=label[None]).loss for row, label in zip(rows, labels, strict=True)])
    mask = padded_variants(lengths, 8)["holes"]
    together = gradients([model(fill(mask, rows), mask, labels=labels).loss])
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kept", [[1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]])
def test_embeddings_at_padding_do_not_matter(cell, kept):
    """NaN there reaches no gradient."""
    model = randomise(RnnForCausalLM(tiny_config(cell_type=cell, num_hidden_layers=2))).double()
    mask = torch.tensor([kept, [1] * 5])
    embeds, labels = torch.randn(2, 5, 6, dtype=torch.float64), torch.randint(3, 41, (2, 5))
    labels[mask == 0] = -100

    def gradients(filler):
        inputs = embeds.masked_fill(mask[..., None] == 0, filler).requires_grad_()
        loss = model(inputs_embeds=inputs, attention_mask=mask, shift_labels=labels).loss
        parameters = [p for name, p in model.named_parameters() if "embed_tokens" not in name]
        return torch.autograd.grad(loss, [inputs, *parameters])

    torch.testing.assert_close(gradients(torch.nan), gradients(0.0), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("cell", "connection", "depth"), itertools.product(CELLS, CONNECTIONS, [1, 3]))
@pytest.mark.parametrize("padding", ["none", "right", "left", "holes"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_chunks_are_invisible(cell, connection, depth, padding, dtype, tolerance):
    """Any split into calls with carried state gives the numbers of one call, also where a chunk is all padding."""
    config = tiny_config(
        cell_type=cell, layer_connection=connection, num_hidden_layers=depth, initial_state="learned",
        layer_norm=dtype == torch.float64,
    )  # fmt: skip
    model = randomise(RnnForCausalLM(config)).to(dtype)
    lengths = torch.tensor([3, 12, 7, 1])
    ids = torch.randint(3, 41, (4, 12))
    mask = torch.ones(4, 12).bool() if padding == "none" else padded_variants(lengths, 12)[padding]
    with torch.no_grad():
        whole = model(ids, mask)
        for split in ([1] * 12, [5, 7], [4, 1, 4, 3], [11, 1]):
            cache, parts, end = None, [], 0
            for n in split:
                end += n
                out = model(ids[:, end - n : end], mask[:, :end], past_key_values=cache, use_cache=True)
                cache = out.past_key_values
                parts.append(out.logits)
            seen = mask.cumsum(1) > 0  # before a row's first real token there is nothing to compare
            size = max(1.0, float(whole.logits.abs().max()))  # rounding is as large as the numbers
            torch.testing.assert_close(torch.cat(parts, 1)[seen], whole.logits[seen], atol=size * tolerance, rtol=0)
            for a, b in zip(cache.layers, whole.past_key_values.layers, strict=True):
                torch.testing.assert_close(a.state, b.state, atol=tolerance, rtol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_truncated_backpropagation(cell):
    """With the graph kept, chunks give the gradients of one call; detached, those of the definition."""
    config = tiny_config(cell_type=cell, num_hidden_layers=2)
    model = randomise(RnnForCausalLM(config)).double()
    ids = torch.randint(3, 41, (3, 12))
    targets = torch.randint(3, 41, (3, 12))

    def gradients(cut: bool, split):
        model.zero_grad()
        cache, loss, end = new_cache(config), 0.0, 0
        for n in split:
            part = slice(end, end + n)
            loss = loss + n / 12 * model(ids[:, part], shift_labels=targets[:, part], past_key_values=cache).loss
            end += n
            if cut:
                detach_(cache)
        loss.backward()
        return {n: p.grad.clone() for n, p in model.named_parameters()}

    full = gradients(False, [12])
    torch.testing.assert_close(gradients(False, [4, 4, 4]), full, atol=1e-10, rtol=0)
    cut = gradients(True, [4, 4, 4])
    assert max((cut[n] - full[n]).abs().max() for n in full) > 1e-4
    # the definition: each chunk alone, from the constant state that the text before it leaves
    model.zero_grad()
    for start in (0, 4, 8):
        with torch.no_grad():
            cache = new_cache(config)
            if start:
                model(ids[:, :start], past_key_values=cache)
        part = slice(start, start + 4)
        (model(ids[:, part], shift_labels=targets[:, part], past_key_values=cache).loss / 3).backward()
    torch.testing.assert_close({n: p.grad for n, p in model.named_parameters()}, cut, atol=1e-12, rtol=0)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", ["embedding", "input", "hidden", "output", "weight"])
def test_each_dropout_drops(cell, name):
    """In training the output changes from call to call, in evaluation it does not (a weight drop that does nothing
    is a classic), and the expectation stays."""
    field = {f"{name}_dropout": 0.4}
    model = randomise(RnnForCausalLM(tiny_config(cell_type=cell, num_hidden_layers=2, **field)))
    ids = torch.randint(3, 41, (4, 8))
    with torch.no_grad():
        assert torch.equal(model(ids).logits, model(ids).logits)
        model.train()
        assert not torch.allclose(model(ids).logits, model(ids).logits)


def test_locked_dropout_keeps_one_mask_a_sequence():
    from rnn_hf.models.rnn_layers import LockedDropout

    out = LockedDropout(0.5).train()(torch.ones(3, 10, 20))
    assert torch.equal(out, out[:, :1].expand(3, 10, 20))
    assert set(out.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(out[0], out[1])


def test_a_relu_state_does_not_overflow_at_padding():
    """Recurrent weights that grow the state at each step: 400 padded steps must not poison the gradient."""
    config = tiny_config(cell_type="elman", nonlinearity="relu", last_hidden_size=None, num_labels=2, pooling="mean")
    model = randomise(RnnForSequenceClassification(config)).double()
    with torch.no_grad():
        model.model.layers[0].rnn.weight_hh_l0.copy_(1.3 * torch.eye(7))
    ids, mask = torch.randint(3, 41, (2, 400)), torch.ones(2, 400, dtype=torch.long)
    ids[:, 3:] = ids[:, 3:4]
    mask[0, 3:], mask[1, 2:] = 0, 0

    def gradient(ids, mask):
        model.zero_grad()
        model(ids, mask).logits.sum().backward()
        return model.model.layers[0].rnn.weight_hh_l0.grad.clone()

    together = gradient(ids, mask)
    alone = gradient(ids[:1, :3], mask[:1, :3]) + gradient(ids[1:, :2], mask[1:, :2])
    torch.testing.assert_close(together, alone, atol=1e-10, rtol=0)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.99])
def test_drop_weights_is_dropout(p):
    """The share that is 0, the others' scale, the gradient, the seed; every fourth weight as well as the others."""
    weight = torch.rand(999, 501).add(0.5).requires_grad_()
    torch.manual_seed(3)
    dropped = drop_weights(weight, p)
    zero = dropped == 0
    error = 5 * (p * (1 - p) / (weight.numel() / 4)) ** 0.5
    for lane in range(4):
        assert abs(float(zero.flatten()[lane::4].float().mean()) - p) <= error + 2**-16
    p = round(p * 2**16) / 2**16
    torch.testing.assert_close(dropped, torch.where(zero, 0, weight / (1 - p)))
    (gradient,) = torch.autograd.grad(dropped.sum(), weight)
    torch.testing.assert_close(gradient, torch.where(zero, 0, torch.full_like(weight, 1 / (1 - p))))
    neighbours = (zero[:, 1:] & zero[:, :-1]).float().mean()  # drawn apart from each other
    assert abs(float(neighbours) - p * p) <= 5 * error
    assert p == 0 or not torch.equal(drop_weights(weight, p), dropped)
    torch.manual_seed(3)
    assert torch.equal(drop_weights(weight, p), dropped)


def test_drop_weights_with_a_probability_that_rounds_to_one():
    """The weights' mean stays theirs: what is left is divided by the share that is left."""
    dropped = drop_weights(torch.ones(2000, 2000), 1 - 1e-7)
    assert dropped.max() == 2**16 and 0.3 < dropped.mean() < 3


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU, where autocast meets cuDNN")


@needs_gpu
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_bfloat16_on_a_gpu_is_bfloat16(cell, masked):
    """1e6 is infinite in float16, which autocast itself would choose for cuDNN."""
    model = RnnModel(tiny_config(cell_type=cell, num_hidden_layers=1)).cuda().train()
    x = torch.randn(2, 7, model.config.embedding_size, device="cuda")
    x[0, 0] = 1e6
    mask = torch.ones(2, 7, dtype=torch.long, device="cuda")
    if masked:
        mask[1, 4:] = 0
    exact = model(inputs_embeds=x, attention_mask=mask).last_hidden_state
    with torch.autocast("cuda", torch.bfloat16):
        output = model(inputs_embeds=x, attention_mask=mask).last_hidden_state
    assert output.dtype == torch.bfloat16
    output.float().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.layers.parameters())
    torch.testing.assert_close(output.float() * mask[..., None], exact * mask[..., None], atol=0.05, rtol=0)


@needs_gpu
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_a_gpu_computes_what_the_cpu_does(cell):
    model = RnnModel(tiny_config(cell_type=cell, num_hidden_layers=2)).eval()
    ids, mask = torch.randint(3, 41, (3, 9)), torch.ones(3, 9, dtype=torch.long)
    mask[0, 5:] = mask[1, :2] = 0
    expected = model(ids, attention_mask=mask).last_hidden_state
    found = model.cuda()(ids.cuda(), attention_mask=mask.cuda()).last_hidden_state.cpu()
    torch.testing.assert_close(found * mask[..., None], expected * mask[..., None], atol=1e-4, rtol=0)  # TF32 is off
