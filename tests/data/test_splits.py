"""What is held out, and what two splits share."""

import re

import pytest

from rnn_hf.data.readers import Rows
from rnn_hf.data.splits import hold_out, hold_out_end, normal_form, overlap


def test_hold_out_is_stratified_and_depends_on_the_texts_alone():
    rows = Rows("r", [f"text {i}" for i in range(100)], ["a"] * 80 + ["b"] * 19 + ["c"])
    stay, held = hold_out(rows, 10)
    assert (held.labels.count("a"), held.labels.count("b"), held.labels.count("c")) == (8, 2, 0)
    assert sorted(stay.texts + held.texts) == sorted(rows.texts)
    backwards = Rows("r", rows.texts[::-1], rows.labels[::-1])
    assert set(hold_out(backwards, 10)[1].texts) == set(held.texts)


def test_overlap_compares_letters_and_digits_only():
    train = Rows("train", ["A good film!", "a bad film", "...", "a Good-film", ""])
    held_out = {"validation": Rows("v", ["...", "x"]), "test": Rows("t", ["a good film .", "A GOOD FILM", "...", ""])}
    assert overlap(train, held_out) == ([0, 3], {"validation": 0, "test": 2})
    assert overlap(train, held_out, least_words=4) == ([], {"validation": 0, "test": 0})
    assert overlap(train, {}) == ([], {})


def test_overlap_joins_tokens():
    train, test = Rows("train", [["A", "film"], ["no"]]), Rows("test", [["a", "film", "."]])
    assert overlap(train, {"test": test}) == ([0], {"test": 1})


@pytest.mark.parametrize("text", ["", "A1 _-b\n", "\x00\x7f", "Ünï_ code٣ 中文!", "İstanbul"])
def test_normal_form_is_letters_and_digits_in_lower_case(text):
    assert normal_form(text) == "".join(c for c in text.lower() if c.isalnum() or (c != "_" and re.match(r"\w", c)))


def test_hold_out_takes_rows_of_several_labels():
    rows = Rows("r", [["a", str(i)] for i in range(20)], [["X", "Y"]] * 20)
    stay, held = hold_out(rows, 5)
    assert len(stay) == 15 and len(held) == 5 and held.labels == [["X", "Y"]] * 5
    assert [rows.texts[number - 1] for number in held.numbers] == held.texts


@pytest.mark.parametrize("share", [0.001, 0.1, 0.25, 0.5])
def test_hold_out_end_cuts_by_characters(share):
    texts = ["x" * (i % 17) for i in range(100)]
    stay, held = hold_out_end(Rows("r", texts), share)
    assert stay.texts + held.texts == texts and len(held)
    characters = [len(text) + 1 for text in texts]
    wanted, got = share * sum(characters), sum(len(text) + 1 for text in held.texts)
    assert wanted - 17 < got <= max(wanted, characters[-1])


def test_hold_out_end_leaves_a_row_on_both_sides():
    assert [len(part) for part in hold_out_end(Rows("r", ["", "x" * 99]), 0.1)] == [1, 1]
    assert [len(part) for part in hold_out_end(Rows("r", ["x" * 99, ""]), 0.5)] == [1, 1]
    assert [len(part) for part in hold_out_end(Rows("r", ["x"]), 0.5)] == [1, 0]
