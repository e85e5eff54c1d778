"""Token ids: the fast way by parts gives what the tokenizer gives, on any text."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from rnn_hf.data.encoding import Encoder, check_known, encode
from rnn_hf.tokenization import build_tokenizer, reads_parts_alone

# Composition, case, look-ahead, repeated punctuation, specials and all that one Unicode or another calls a space.
PIECES = [
    *"aAsS1_.,'-!<>\u2019\u0130\u00df\u03a3\u03c3\u0301\u0316\u0308\u0344\u0958\u1100\u1161\u11a8\uac00\u200d\ufe0f\u4e2d\u0e33",
    *"    \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x00\x85\xa0\u1680\u2000\u200b\u2028\u2029\u202f\u205f\u3000\ufeff",
    "\U0001f469\u200d\U0001f467", "\U0001d400", "e\u0301", "don't", "'s", "film's ", "...", "<pad>", "<unk>", "<eos>",
    "pad>", "the", "film", "Caf\u00e9 ",
]  # fmt: skip
TRAINING = [
    "the film 's <unk> a A s 1 don't ... . , ' - < > pad> <pad> _ café cafe\u0301 straße \u4e2d Σ i\u0307 \u0301 \u0316"
]
WORD_TOKENIZERS = [
    {"kind": "word"},
    {"kind": "word", "lowercase": True},
    {"kind": "word", "split": "whitespace"},
    {"kind": "word", "split": "whitespace", "lowercase": True},
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Where each word tokenizer was saved."""
    folders = []
    for number, spec in enumerate(WORD_TOKENIZERS):
        folders.append(str(tmp_path_factory.mktemp(f"tokenizer{number}")))
        build_tokenizer(spec, TRAINING).save_pretrained(folders[-1])
    return folders


def by_the_tokenizer(texts, tokenizer):
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def rows(ids, lengths):
    return [row.tolist() for row in ids.split(lengths.tolist())]


@pytest.mark.parametrize("number", range(len(WORD_TOKENIZERS)))
def test_parts_between_spaces_give_the_tokenizer_s_ids_on_any_text(folders, number):
    """A tokenizer that was loaded is recognised; texts of all of Unicode, and of what is hard in it, agree."""
    tokenizer = AutoTokenizer.from_pretrained(folders[number])
    assert reads_parts_alone(tokenizer)
    read = Encoder(tokenizer)  # one for all examples: what it remembers must never be wrong

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(st.lists(st.one_of(st.lists(st.sampled_from(PIECES)).map("".join), st.text()), min_size=1, max_size=4))
    def agree(texts):
        assert rows(*read(texts)) == by_the_tokenizer(texts, tokenizer)

    agree()
    every_character = [f"a{chr(point)}s 's{chr(point)} {chr(point)}'" for point in range(0x3100)]
    assert rows(*encode(every_character, tokenizer)) == by_the_tokenizer(every_character, tokenizer)


def test_what_is_remembered_is_bounded_and_right(folders, monkeypatch):
    monkeypatch.setattr("rnn_hf.data.encoding.MOST_CHARACTERS", 40)
    monkeypatch.setattr("rnn_hf.data.encoding.PARTS_A_TEXT", 3)
    tokenizer = AutoTokenizer.from_pretrained(folders[0])
    read = Encoder(tokenizer)
    for block in range(30):
        texts = [f"film{block}... the{i} caf\u00e9 don't" for i in range(3)] + [""]
        assert rows(*read(texts)) == by_the_tokenizer(texts, tokenizer)
        assert len(read.numbers) < 20


@pytest.mark.parametrize("spec", ["bpe", "byte", "char", *WORD_TOKENIZERS], ids=str)
def test_any_number_of_texts_in_blocks(spec, monkeypatch):
    monkeypatch.setattr("rnn_hf.data.encoding.TEXTS_A_CALL", 4)
    texts = [f"the film 's {i} ... <eos>" * (i % 3) for i in range(11)]
    tokenizer = build_tokenizer(spec, texts)
    assert rows(*encode(texts, tokenizer)) == by_the_tokenizer(texts, tokenizer)
    ids, lengths = encode([], tokenizer)
    assert (len(ids), len(lengths), ids.dtype, lengths.dtype) == (0, 0, torch.int32, torch.int64)


def test_only_tokenizers_that_see_over_no_space_are_read_by_parts():
    assert not any(reads_parts_alone(build_tokenizer(kind, TRAINING)) for kind in ("bpe", "byte", "char"))
    tokenizer = build_tokenizer("word", TRAINING)
    tokenizer.add_tokens(["the film"])
    assert not reads_parts_alone(tokenizer)
    assert rows(*encode(["the film the"], tokenizer)) == by_the_tokenizer(["the film the"], tokenizer)
    tokenizer = build_tokenizer("word", TRAINING)
    tokenizer.backend_tokenizer.encode_special_tokens = False
    assert not reads_parts_alone(tokenizer)


def test_text_of_unknown_words_alone_is_refused(folders):
    class Encoded:
        num_text_tokens, num_unknown = 4, 4

    with pytest.raises(ValueError, match=r"some\.txt: none of its 4 tokens is in the tokenizer's vocabulary"):
        check_known(Encoded, "some.txt")
