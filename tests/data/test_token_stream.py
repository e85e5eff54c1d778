"""One stream, two ways to read it: every token once, in order, from the right place."""

import pytest
import torch
from torch.utils.data import DataLoader

from rnn_hf.data.lanes import IGNORED, Lanes, SeparateTexts, StepSampler, evaluation_batches
from rnn_hf.data.token_stream import TokenStream, token_stream
from rnn_hf.tokenization import build_tokenizer

from .conftest import sentences

TEXTS = ["the film", "", "a café is très bien", "so", "the", ""]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer("word", ["the film is a café"])


def expected(texts, tokenizer):
    return [[*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id] for text in texts]


def test_the_stream_follows_its_definition(tokenizer):
    stream = token_stream(TEXTS, tokenizer)
    rows = expected(TEXTS, tokenizer)
    assert stream.ids.tolist() == [tokenizer.eos_token_id, *(token for row in rows for token in row)]
    assert (stream.ids[stream.ends] == tokenizer.eos_token_id).all()
    assert stream.ends.diff(prepend=torch.tensor([0])).tolist() == [len(row) for row in rows]
    assert (stream.num_texts, stream.num_tokens, stream.num_text_tokens) == (6, 15, 9)
    assert stream.num_unknown == 3  # très, bien, so
    assert stream.num_characters == len("\n".join(TEXTS)) + 1
    assert stream.num_bytes == len(("\n".join(TEXTS) + "\n").encode())
    without = build_tokenizer("word", TEXTS)
    without.eos_token = None
    with pytest.raises(ValueError, match="must have an eos_token"):
        token_stream(TEXTS, without)


@pytest.mark.parametrize("at_once", [4, 10**6])
def test_a_reversed_stream_is_that_of_reversed_texts_the_last_first(tokenizer, monkeypatch, at_once):
    monkeypatch.setattr("rnn_hf.data.token_stream.REVERSED_AT_ONCE", at_once)
    stream, end = token_stream(TEXTS, tokenizer), tokenizer.eos_token_id
    rows = [[*row[-2::-1], end] for row in reversed(expected(TEXTS, tokenizer))]
    turned = stream.reversed()
    assert turned.ids.tolist() == [end, *(token for row in rows for token in row)]
    assert turned.ends.diff(prepend=torch.tensor([0])).tolist() == [len(row) for row in rows]
    for fact in ("num_texts", "num_tokens", "num_unknown", "num_characters", "num_bytes"):
        assert getattr(turned, fact) == getattr(stream, fact)
    assert torch.equal(turned.reversed().ids, stream.ids) and torch.equal(turned.reversed().ends, stream.ends)
    by_text = {tuple(row[::-1]) for row in expected(TEXTS, tokenizer)}
    batches = evaluation_batches(turned, "reset")
    found = {
        tuple([end, *(t for t in row[:-1] if t != IGNORED)]) if (row := [t for t in labels if t != IGNORED]) else ()
        for batch in batches
        for labels in batch["shift_labels"].tolist()
    }
    assert found == by_text


def test_permuted_texts_are_the_texts_in_that_order(tokenizer):
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    stream, permuted = token_stream(TEXTS, tokenizer), token_stream([TEXTS[i] for i in order], tokenizer)
    again = stream.permuted(order)
    assert torch.equal(again.ids, permuted.ids)
    assert torch.equal(again.ends, permuted.ends)
    assert (again.num_unknown, again.num_characters) == (stream.num_unknown, stream.num_characters)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint16])
@pytest.mark.parametrize(("tokens", "lanes"), [(15, 1), (15, 4), (15, 7), (3, 8), (16, 4)])
def test_lanes_lose_nothing_where_they_are_whole(tokens, lanes, dtype):
    ids = torch.arange(100, 101 + tokens).to(dtype)
    stream = TokenStream(ids, torch.tensor([tokens]), 0, tokens, tokens)
    for whole in (True, False):
        dataset = Lanes(stream, lanes, whole)
        batches = [dataset[start : start + 2] for start in range(0, len(dataset), 2)]
        if not batches:
            assert not whole and tokens < lanes
            continue
        inputs, labels = (torch.cat([b[key] for b in batches], dim=1) for key in ("input_ids", "shift_labels"))
        assert inputs.shape == labels.shape == (lanes, -(-tokens // lanes) if whole else tokens // lanes)
        scored = labels[labels != IGNORED]
        assert scored.tolist() == list(range(101, 101 + (tokens if whole else lanes * (tokens // lanes))))
        assert (inputs[labels != IGNORED] == scored - 1).all()
        assert dataset.num_tokens == len(scored)
        assert inputs.dtype == labels.dtype == torch.int64
        with pytest.raises(IndexError, match="steps must be a slice within"):
            dataset[len(dataset) : len(dataset) + 1]


def test_lanes_come_through_workers():
    stream = token_stream(sentences(40, 0), build_tokenizer("word", sentences(40, 0)))
    dataset = Lanes(stream, 3)
    plain, workers = (
        list(DataLoader(dataset, batch_size=None, sampler=StepSampler(len(dataset), 7), num_workers=n)) for n in (0, 2)
    )
    assert len(plain) == len(workers) == -(-len(dataset) // 7)
    assert all(torch.equal(a["shift_labels"], b["shift_labels"]) for a, b in zip(plain, workers, strict=True))


@pytest.mark.parametrize(("time", "length"), [(46_479, 70), (26_107, 70), (5_000, 10), (90, 70), (30, 70), (1, 35)])
def test_random_lengths_are_awd_s(time, length):
    sampler = StepSampler(time, length, random=True, seed=3)
    epochs = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        steps = list(sampler)
        assert len(steps) == len(sampler)
        assert [step.start for step in steps] == [0, *(step.stop for step in steps[:-1])]
        assert steps[-1].stop == time
        epochs.append([step.stop - step.start for step in steps])
    assert all(lengths > 0 for lengths in epochs[0])
    assert epochs[0] == epochs[2]
    if len(epochs[0]) > 300:
        assert epochs[0] != epochs[1]
        other = StepSampler(time, length, random=True, seed=4)
        assert [step.stop - step.start for step in other] != epochs[0]
        lengths = torch.tensor(epochs[0], dtype=torch.float64) / length
        short = lengths < 0.75
        assert 0.02 < short.double().mean() < 0.09
        assert lengths[~short].mean() == pytest.approx(1, abs=0.02)
        assert lengths[short].mean() == pytest.approx(0.5, abs=0.05)
        assert lengths[~short].std() == pytest.approx(1 / 14, abs=0.02)


def test_fixed_lengths_are_the_same_in_every_epoch():
    sampler = StepSampler(100, 35)
    assert len(sampler) == 3
    assert list(sampler) == list(sampler) == [slice(0, 35), slice(35, 70), slice(70, 100)]


@pytest.mark.parametrize("time", [1, 4, 500])
def test_separate_texts_are_each_text_alone(tokenizer, time):
    """Each comes once, behind an <eos>, longest first; those that are cut go on in the item that follows."""
    texts = [*TEXTS, *sentences(90, 1)]
    stream = token_stream(texts, tokenizer)
    seen, scored, cells = [], 0, 0
    for batch in DataLoader(SeparateTexts(stream, time), batch_size=None):
        inputs, labels = batch["input_ids"], batch["shift_labels"]
        assert inputs.shape == labels.shape and inputs.shape[1] <= time
        assert inputs.min() >= 0
        scored, cells = scored + int((labels != IGNORED).sum()), cells + labels.numel()
        if batch["reset_state"]:
            assert (inputs[:, 0] == tokenizer.eos_token_id).all()
            seen += [([], []) for _ in labels]
        for (read, targets), row, target in zip(seen[-len(labels) :], inputs, labels, strict=True):
            assert (target != IGNORED).int().diff().le(0).all(), "padding is on the right"
            read += row[target != IGNORED].tolist()
            targets += target[target != IGNORED].tolist()
    rows = expected(texts, tokenizer)
    assert sorted(targets for _, targets in seen) == sorted(rows)
    assert all(read == [tokenizer.eos_token_id, *targets[:-1]] for read, targets in seen)
    assert scored == stream.num_tokens == sum(map(len, rows))
    assert cells < 1.25 * scored


def test_evaluation_says_what_a_token_holds(tokenizer):
    stream = token_stream(TEXTS, tokenizer)
    for state in ("carried", "reset"):
        loader = evaluation_batches(stream, state, lanes=2)
        assert loader.dataset.num_tokens == stream.num_tokens
        for batch in loader:
            assert batch["characters_per_token"] * stream.num_tokens == pytest.approx(stream.num_characters)
            assert batch["bytes_per_token"] * stream.num_tokens == pytest.approx(stream.num_bytes)
            assert ("reset_state" in batch) == (state == "reset")
