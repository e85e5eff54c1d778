"""Span tags: which scheme they are, and the same spans in IOB2."""

import pytest

from rnn_hf.data.tag_schemes import find_scheme, iob2

# the same spans (X over two words, X, Y over one) in each scheme
SPANS = {
    "IOB1": "O I-X I-X B-X O I-Y",
    "IOB2": "O B-X I-X B-X O B-Y",
    "IOBES": "O B-X E-X S-X O S-Y",
    "BILOU": "O B-X L-X U-X O U-Y",
}


@pytest.mark.parametrize("scheme", SPANS)
def test_every_scheme_becomes_iob2(scheme):
    tags = SPANS[scheme].split()
    assert find_scheme([tags]) == ("IOBES" if scheme == "BILOU" else scheme)
    assert iob2(tags) == SPANS["IOB2"].split()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("I-X I-Y O I-Y", "B-X B-Y O B-Y"),  # an I- that continues nothing begins a span
        ("B-X I-Y I-Y", "B-X B-Y I-Y"),
        ("B-X E-X E-X", "B-X I-X B-X"),
        ("B I I O I", "B I I O B"),
        ("B-a-b I-a-b I-a", "B-a-b I-a-b B-a"),
    ],
)
def test_broken_sequences(given, expected):
    assert iob2(given.split()) == expected.split()


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("DET NOUN VERB", None),
        ("O X", None),
        ("B I S", None),  # without O, letters like any others
        ("B I O", "IOB2"),
        ("O S-X", "IOBES"),
        ("O B-X", "IOB2"),
        ("O O I-X B-X", "IOB1"),
        ("B-X NOUN", None),
    ],
)
def test_which_tags_mark_spans(tags, scheme):
    assert find_scheme([tags.split()]) == scheme


def test_iob2_with_a_mistake_is_not_iob1():
    assert find_scheme([["O", "I-X"], ["B-Y", "O"]]) == "IOB2"
