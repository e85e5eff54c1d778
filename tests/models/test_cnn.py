"""What is the convolutional family's own: its windows, beside an outside truth, and texts shorter than they are."""

import pytest
import torch
from torch.nn import functional as F

from rnn_hf import CnnConfig, CnnForSequenceClassification

from .conftest import cnn


def windows_by_hand(model, ids):
    """The largest value of each filter over the windows around each token, one window at a time."""
    vectors = model.embed_tokens(torch.tensor(ids))
    pooled = []
    for convolution in model.layers[0].filters:
        width = convolution.kernel_size[0]
        zeros = vectors.new_zeros(width, vectors.shape[1])
        padded = torch.cat([zeros, vectors, zeros])
        found = []
        for place in range(len(ids)):
            first = width + place - (width - 1) // 2
            window = padded[first : first + width]  # [width, features]
            found.append((convolution.weight * window.T).sum((1, 2)) + convolution.bias)
        pooled.append(F.relu(torch.stack(found)).amax(0))
    return torch.cat(pooled)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("length", [1, 2, 7])
def test_each_window_is_the_filter_times_its_tokens(width, length):
    """Also where the text is shorter than the window, alone and between longer texts on either side of padding."""
    model = cnn(kernel_sizes=[width])
    ids = torch.randint(3, 41, (length,)).tolist()
    expected = model.score(windows_by_hand(model, ids))
    torch.testing.assert_close(model(torch.tensor([ids])).logits[0], expected)
    for before, after in ((0, 6), (6, 0), (3, 3)):
        mask = torch.tensor([[0] * before + [1] * length + [0] * after, [1] * (length + 6)])
        row = torch.full((before,), 9).tolist() + ids + torch.full((after,), 9).tolist()
        batch = torch.stack([torch.tensor(row), torch.randint(3, 41, (length + 6,))])
        torch.testing.assert_close(model(batch, attention_mask=mask).logits[0], expected, atol=2e-6, rtol=1e-5)


def test_layers_after_the_first_add_to_what_they_read():
    model = cnn(num_hidden_layers=3, kernel_sizes=[3])
    ids = torch.randint(3, 41, (2, 7))
    with torch.no_grad():
        for layer in model.layers[1:]:
            for convolution in layer.filters:
                convolution.weight.zero_()
                convolution.bias.zero_()
    shallow = cnn(kernel_sizes=[3])
    shallow.load_state_dict(model.state_dict(), strict=False)
    torch.testing.assert_close(model(ids).logits, shallow(ids).logits)


def test_hidden_states_are_what_each_layer_reads_and_gives():
    model = cnn(num_hidden_layers=3, kernel_sizes=[3])
    ids = torch.tensor([[0, 0, 5, 6, 7], [8, 9, 5, 6, 7]])  # real tokens first
    states = model(ids, output_hidden_states=True).hidden_states
    assert [state.shape[-1] for state in states] == [6, 5, 5, 5]
    torch.testing.assert_close(states[0][0, :3], model.embed_tokens(ids[0, 2:]))
    torch.testing.assert_close(model.score(states[-1][0, :3].amax(0)), model(ids).logits[0])


def test_gradient_checkpointing_changes_no_gradient():
    model, gradients = cnn(num_hidden_layers=3).train(), []
    ids = torch.randint(3, 41, (2, 7))
    for _ in range(2):
        model.zero_grad()
        model(ids, labels=torch.tensor([0, 2])).loss.backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
        model.gradient_checkpointing_enable()
    assert model.is_gradient_checkpointing
    torch.testing.assert_close(*gradients)


def test_padding_is_told_by_its_id_without_a_mask():
    model = cnn()
    ids = torch.tensor([[5, 6, 7, 0, 0]])
    torch.testing.assert_close(model(ids).logits, model(ids[:, :3]).logits)


def test_a_text_of_padding_alone_has_the_numbers_of_no_word():
    model = cnn()
    out = model(torch.tensor([[5, 6]]), attention_mask=torch.zeros(1, 2)).logits
    torch.testing.assert_close(out[0], model.score.bias)


def test_compiles_without_a_graph_break():
    model = cnn(num_hidden_layers=2)
    ids, mask = torch.randint(3, 41, (3, 7)), torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [0] * 2 + [1] * 5])
    with torch.no_grad():
        out = torch.compile(model, fullgraph=True, backend="aot_eager")(ids, mask)
        torch.testing.assert_close(out.logits, model(ids, mask).logits, atol=1e-6, rtol=0)


def test_a_filter_learns_a_phrase():
    """Texts with "5 6" against those with "6 5": no bag of words tells them apart."""
    torch.manual_seed(1)
    model = CnnForSequenceClassification(CnnConfig(vocab_size=20, embedding_size=8, num_filters=8, num_labels=2))
    rows = torch.randint(7, 20, (64, 10))
    labels = torch.arange(64) % 2
    places = torch.randint(0, 9, (64,))
    rows[torch.arange(64), places], rows[torch.arange(64), places + 1] = 5 + labels, 6 - labels
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(rows, labels=labels).loss
        loss.backward()
        optimizer.step()
    assert (model.eval()(rows).logits.argmax(-1) == labels).float().mean() > 0.95


@pytest.mark.parametrize(("fields", "message"), [
    ({"kernel_sizes": []}, r"kernel_sizes must be a list of whole numbers from 1 to 1000; got \[\]"),
    ({"kernel_sizes": [3, 0]}, "kernel_sizes must be"),
    ({"kernel_sizes": 3}, "kernel_sizes"),
    ({"num_filter": 3}, "did you mean 'num_filters'"),
    ({"output_dropout": 1.0}, "output_dropout must be a number from 0 to below 1"),
    ({"num_filters": 10**8, "embedding_size": 10**4}, "parameters, more than 2.0e"),
])  # fmt: skip
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        CnnConfig(**fields)
