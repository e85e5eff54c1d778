"""A model that reads backward gives what a forward one gives of the reversed text, in the order of the text."""

import itertools

import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification

from rnn_hf import (
    RnnForCausalLM,
    RnnForSequenceClassification,
    RnnForTokenClassification,
    RnnModel,
    new_cache,
    train_word_tokenizer,
)

from .conftest import CELLS, CONNECTIONS, POOLINGS, full_config, randomise, tiny_config

CLOSE = {"atol": 1e-6, "rtol": 0}
LENGTHS = (9, 4, 1)
TEXTS = ["a moving and honest film", "two dull hours", "it is never dull"]


def both(cls, **fields):
    """A forward and a backward model of the same weights."""
    forward = randomise(cls(full_config(num_labels=3, **fields)))
    backward = cls(full_config(num_labels=3, direction="backward", **fields)).eval()
    backward.load_state_dict(forward.state_dict())
    return forward, backward


def batch_of(side):
    """Rows of `LENGTHS` tokens, padded on one side, and the same rows with each one's tokens reversed."""
    rows = [torch.randint(3, 41, (length,)) for length in LENGTHS]
    width = max(LENGTHS)

    def padded(rows):
        ids, mask = torch.zeros(len(rows), width).long(), torch.zeros(len(rows), width).long()
        for i, row in enumerate(rows):
            place = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
            ids[i, place], mask[i, place] = row, 1
        return {"input_ids": ids, "attention_mask": mask}

    return rows, padded(rows), padded([row.flip(0) for row in rows])


def turned(x, mask):
    """Each row's real steps in reverse order; the others are 0."""
    out = torch.zeros_like(x)
    for i, real in enumerate(mask.bool()):
        out[i, real] = x[i, real].flip(0)
    return out


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("cell", "connection"), itertools.product(CELLS, CONNECTIONS))
def test_encoder_is_the_forward_one_on_reversed_rows(cell, connection, side):
    forward, backward = both(RnnModel, cell_type=cell, layer_connection=connection)
    rows, batch, reversed_batch = batch_of(side)
    mask = batch["attention_mask"]
    for output_hidden_states in (False, True):
        options = {"output_hidden_states": output_hidden_states}
        ours, theirs = backward(**batch, **options), forward(**reversed_batch, **options)
        for mine, their in zip(
            (ours.last_hidden_state, *(ours.hidden_states or ())),
            (theirs.last_hidden_state, *(theirs.hidden_states or ())),
            strict=True,
        ):
            torch.testing.assert_close(mine * mask[..., None], turned(their, mask), **CLOSE)
    for i, row in enumerate(rows):  # padding changes nothing, in ids or embeddings
        alone = backward(row[None]).last_hidden_state[0]
        torch.testing.assert_close(ours.last_hidden_state[i][mask[i].bool()], alone, **CLOSE)
    embedded = backward.embed_tokens(batch["input_ids"]).masked_fill(mask[..., None] == 0, float("nan"))
    again = backward(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(again, ours.last_hidden_state, **CLOSE)


@pytest.mark.parametrize("cell", CELLS)
def test_to_the_bit_where_the_sums_are_the_same(cell):
    forward, backward = both(RnnModel, cell_type=cell, layer_connection="none")
    ids = torch.randint(3, 41, (4, 9))
    assert torch.equal(backward(ids).last_hidden_state, forward(ids.flip(1)).last_hidden_state.flip(1))
    forward, backward = both(RnnForSequenceClassification, cell_type=cell, layer_connection="none", pooling="last")
    assert torch.equal(backward(ids).logits, forward(ids.flip(1)).logits)


def test_gradients_are_those_of_the_forward_model():
    forward, backward = both(RnnForSequenceClassification, pooling="concat")
    _, batch, reversed_batch = batch_of("right")
    labels = torch.tensor([0, 2, 1])
    for model, given in ((forward.train(), reversed_batch), (backward.train(), batch)):
        model(**given, labels=labels).loss.backward()
    for (name, mine), their in zip(backward.named_parameters(), forward.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, their.grad, atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_classifier(pooling, side):
    forward, backward = both(RnnForSequenceClassification, pooling=pooling)
    rows, batch, reversed_batch = batch_of(side)
    logits = backward(**batch).logits
    torch.testing.assert_close(logits, forward(**reversed_batch).logits, **CLOSE)
    for row, expected in zip(rows, logits, strict=True):
        torch.testing.assert_close(backward(row[None]).logits[0], expected, **CLOSE)
    torch.testing.assert_close(backward(batch["input_ids"]).logits, logits, **CLOSE)  # pad_token_id is padding
    assert (logits - forward(**batch).logits).abs().max() > 1e-3


def test_tagger_answers_in_the_order_of_the_text():
    forward, backward = both(RnnForTokenClassification)
    _, batch, reversed_batch = batch_of("right")
    mask = batch["attention_mask"]
    expected = turned(forward(**reversed_batch).logits, mask)
    torch.testing.assert_close(backward(**batch).logits * mask[..., None], expected, **CLOSE)


def test_a_state_goes_in_and_comes_out_on_request():
    forward, backward = both(RnnModel)
    _, batch, reversed_batch = batch_of("right")
    assert backward(**batch, use_cache=True).past_key_values is None
    states = []
    for model, given in ((forward, reversed_batch), (backward, batch)):
        cache = new_cache(model.config)
        model(**given, past_key_values=cache)
        last = model(**given, past_key_values=cache)
        states.append([s for layer in last.past_key_values.layers for s in layer.state[: 1 + (len(layer.state) > 1)]])
    for mine, their in zip(*states, strict=True):
        torch.testing.assert_close(mine, their, **CLOSE)


def test_language_model_reads_ids_as_they_are_given():
    """So that a state can be carried; `score` and `encode` put a text's tokens in the order of reading."""
    tokenizer = train_word_tokenizer(TEXTS)
    fields = {"vocab_size": len(tokenizer), "pooling": "last"}
    forward, backward = both(RnnForCausalLM, **fields)
    ids = torch.randint(3, len(tokenizer), (2, 9))
    assert torch.equal(forward(ids).logits, backward(ids).logits)
    cache = new_cache(backward.config)
    parts = [backward(part, past_key_values=cache).logits for part in ids.split(4, 1)]
    torch.testing.assert_close(torch.cat(parts, 1), forward(ids).logits, **CLOSE)

    (scored,) = backward.score(TEXTS[0], tokenizer)
    assert scored.tokens == [*TEXTS[0].split()[::-1], tokenizer.eos_token]
    last_first = torch.tensor([tokenizer(TEXTS[0])["input_ids"][::-1]])
    read = torch.cat([torch.tensor([[tokenizer.bos_token_id]]), last_first], 1)
    expected = forward(read).logits[0].log_softmax(-1)
    targets = [*last_first[0].tolist(), tokenizer.eos_token_id]
    torch.testing.assert_close(scored.log_probs, expected[range(len(targets)), targets], **CLOSE)

    encoder = RnnModel(backward.config).eval()
    encoder.load_state_dict(backward.model.state_dict())
    torch.testing.assert_close(backward.encode(TEXTS, tokenizer), encoder.encode(TEXTS, tokenizer), **CLOSE)
    hidden = forward.model(last_first).last_hidden_state[0, -1]
    torch.testing.assert_close(backward.encode(TEXTS[0], tokenizer)[0], hidden, **CLOSE)


def test_saved_and_loaded_and_on_from_a_language_model(tmp_path):
    _, backward = both(RnnForCausalLM)
    backward.save_pretrained(tmp_path)
    ids = torch.randint(3, 41, (2, 9))
    encoder = AutoModel.from_pretrained(tmp_path)
    assert isinstance(encoder, RnnModel) and encoder.config.direction == "backward"
    hidden = encoder(ids).last_hidden_state
    torch.testing.assert_close(hidden, backward.model(ids.flip(1)).last_hidden_state.flip(1), **CLOSE)
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=2)
    assert torch.equal(classifier.model(ids).last_hidden_state, hidden)


def test_a_bidirectional_model_has_no_direction():
    with pytest.raises(ValueError, match=r"direction='backward' is for one direction; bidirectional=True reads both"):
        tiny_config(bidirectional=True, direction="backward")
    with pytest.raises(ValueError, match=r"direction must be one of forward, backward; got 'backwards' \(did you mean"):
        tiny_config(direction="backwards")


def test_a_state_belongs_to_its_direction():
    forward, backward = both(RnnForCausalLM)
    ids = torch.randint(3, 41, (1, 4))
    state = backward(ids).past_key_values
    with pytest.raises(ValueError, match="backward"):
        forward(ids, past_key_values=state)
    assert "direction" not in forward.config.state_identity  # as files of older releases
    assert backward.config.state_identity["direction"] == "backward"
