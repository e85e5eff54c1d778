"""Tokenizers: exact decoding, the same ids after saving and in every process, special tokens that no text can spell."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from rnn_hf.tokenization import (
    KINDS,
    SPECIAL_TOKENS,
    build_tokenizer,
    byte_tokenizer,
    train_bpe_tokenizer,
    train_char_tokenizer,
    train_word_tokenizer,
)

TEXTS = [
    "I don't like the film's plot, really (at all).",
    "It's a great film!!! 10/10 \N{LEFT DOUBLE QUOTATION MARK}nice\N{RIGHT DOUBLE QUOTATION MARK}",
    "a great , great cast ; the _plot_ is well-made\n",
    "",
    "caf\u00e9 / cafe\u0301 \U0001f600\u200d\U0001f525 <unk> <eos> <pad>",
]
SPECS = [*KINDS, {"kind": "word", "split": "whitespace", "lowercase": True}]
BPE = train_bpe_tokenizer([*TEXTS, "<eos><eos> <eos> <pad>"] * 4, vocab_size=300)
WORDS, WHITESPACE = train_word_tokenizer(TEXTS), train_word_tokenizer(TEXTS, split="whitespace")
CHARACTERS = train_char_tokenizer(TEXTS)
# Python strings may hold lone surrogates, which are no Unicode text.
anything = st.text(st.characters(exclude_categories=["Cs"]))
awkward = st.text(st.sampled_from(" \t\n\r\u00a0\u200d\u0301e\u00e9'\U0001f600\U0001f1e9<eos>pad.,s\x00\ufeff"))


@settings(max_examples=300, deadline=None)
@given(text=anything | awkward)
def test_bytes_and_bpe_restore_any_text(text):
    for tokenizer in (byte_tokenizer(), BPE):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(anything | awkward, min_size=1).filter(lambda texts: any(text.strip() for text in texts)))
def test_characters_restore_the_texts_they_were_trained_on(texts):
    tokenizer = train_char_tokenizer(texts)
    for text in texts:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert len(ids) == len(text)


@settings(max_examples=200, deadline=None)
@given(text=anything | awkward | st.sampled_from(["<eos>", "a<pad>b <eos>", "<pad> <eos>\n"]))
def test_no_text_yields_padding_or_an_end(text):
    for tokenizer in (byte_tokenizer(), BPE, WORDS, WHITESPACE, CHARACTERS):
        ids = tokenizer.encode(text)
        assert not {tokenizer.pad_token_id, tokenizer.eos_token_id} & set(ids)
        assert ids or not text.strip()


def test_an_unseen_character_is_unknown():
    assert CHARACTERS.encode("a\u4e2d") == [CHARACTERS.convert_tokens_to_ids("a"), 1]


def test_a_byte_is_its_own_number():
    text = "\x00 az\u00e9\U0001f600\n"
    assert byte_tokenizer().encode(text) == [byte + 3 for byte in text.encode()]
    assert len(byte_tokenizer()) == 259


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_special_tokens_and_encodings(spec):
    tokenizer = build_tokenizer(spec, TEXTS, padding_side="left")
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    assert tokenizer.convert_ids_to_tokens([0, 1, 2]) == SPECIAL_TOKENS
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (
        0,
        1,
        2,
        2,
    )
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    assert tokenizer.vocab_size == len(tokenizer)
    assert not tokenizer.clean_up_tokenization_spaces
    batch = tokenizer(["great great", "great"], padding=True, return_tensors="pt")
    assert set(batch) == {"input_ids", "attention_mask"}
    assert batch["input_ids"][1, 0] == 0 and batch["attention_mask"][1, 0] == 0
    assert tokenizer.encode("great") == tokenizer.encode("great", add_special_tokens=False)


FRESH = """
import json, sys
from transformers import AutoTokenizer
texts, folders = json.loads(sys.stdin.read())
loaded = [AutoTokenizer.from_pretrained(folder) for folder in folders]
assert "rnn_hf" not in sys.modules
print(json.dumps([[t(texts)["input_ids"], t.special_tokens_map, t.padding_side, list(t(texts)), t.batch_decode(
    t(texts)["input_ids"])] for t in loaded]))
"""
TRAIN = """
import json, sys
from rnn_hf.tokenization import build_tokenizer
texts, specs = json.loads(sys.stdin.read())
print(json.dumps([build_tokenizer(spec, texts).get_vocab() for spec in specs]))
"""


def run_python(code, *given, hash_seed="0"):
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(given), capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_saved_tokenizers_are_the_same_here_and_in_a_fresh_process(tmp_path):
    folders, expected = [], []
    for number, spec in enumerate(SPECS):
        tokenizer = build_tokenizer(spec, TEXTS, padding_side=("left", "right")[number % 2])
        folder = tmp_path / str(number)
        tokenizer.save_pretrained(folder)
        # Beside a model the folder also holds a config of a type that transformers does not know.
        (folder / "config.json").write_text('{"model_type": "rnn"}')
        again = AutoTokenizer.from_pretrained(folder)
        ids = tokenizer(TEXTS)["input_ids"]
        assert again(TEXTS)["input_ids"] == ids
        assert again.get_vocab() == tokenizer.get_vocab()
        assert build_tokenizer({"pretrained": str(folder)}, padding_side="left").padding_side == "left"
        assert build_tokenizer(str(folder))(TEXTS)["input_ids"] == ids
        folders.append(str(folder))
        facts = [tokenizer.special_tokens_map, tokenizer.padding_side, list(tokenizer(TEXTS))]
        expected.append([ids, *facts, tokenizer.batch_decode(ids)])
    assert run_python(FRESH, TEXTS, folders) == expected


def test_ids_do_not_depend_on_the_process_or_on_the_order_of_texts():
    # Many ties: every word once, or twice.
    texts = [" ".join(f"w{(i * 37) % 400}" for i in range(start, start + 120)) for start in range(0, 400, 100)]
    first, second = (run_python(TRAIN, texts, SPECS, hash_seed=seed) for seed in "12")
    assert first == second == [build_tokenizer(spec, reversed(texts)).get_vocab() for spec in SPECS]


def test_ties_are_ordered_by_the_word():
    assert train_word_tokenizer(["d c b a a"]).convert_ids_to_tokens(range(3, 7)) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("I don't (really) like it.", ["I", "don't", "(", "really", ")", "like", "it", "."]),
        ("The film's plot; the dogs' day", ["The", "film", "'s", "plot", ";", "the", "dogs", "'", "day"]),
        ("Don\N{RIGHT SINGLE QUOTATION MARK}t!!! 'scuse", ["Don't", "!!!", "'", "scuse"]),
        ('_so_ "good"...).', ["_", "so", "_", '"', "good", '"', "...", ")", "."]),
        ("cafe\u0301 <eos>", ["caf\u00e9", "<", "eos", ">"]),
    ],
)
def test_words(text, tokens):
    assert train_word_tokenizer([text]).tokenize(text) == tokens


def test_words_decode_to_readable_text_that_encodes_alike():
    ids = WORDS.encode(TEXTS[0])
    assert WORDS.decode(ids) == f" {TEXTS[0]}"
    assert "".join(WORDS.decode(part) for part in (ids[:3], ids[3:])) == f" {TEXTS[0]}"  # pipelines append what is new
    assert WORDS.decode([]) == ""
    assert WORDS.encode(WORDS.decode(ids)) == ids
    assert WORDS.decode([*ids[:2], 2, 0], skip_special_tokens=True) == " I don't"


def test_whitespace_keeps_a_tokenised_corpus():
    line = "the company 's <unk> n't rise to <unk> @-@ N"
    tokenizer = train_word_tokenizer([line], split="whitespace")
    assert len(tokenizer) == 3 + 8
    assert tokenizer.tokenize(line) == line.split()
    assert tokenizer.encode("<unk> zzz") == [1, 1]
    assert tokenizer.decode(tokenizer.encode(f"  {line}\n")) == f" {line}"


def test_vocabulary_size_counts_the_special_tokens():
    assert len(train_word_tokenizer(["a b c a b a"], vocab_size=5)) == 5
    assert train_word_tokenizer(["a b c a b a"], vocab_size=5).encode("a b c") == [3, 4, 1]
    assert len(train_word_tokenizer(["a b c a b a"], min_frequency=2)) == 5
    assert len(train_char_tokenizer(["aab"], vocab_size=4)) == 4
    assert len(train_bpe_tokenizer(["low lower lowest"] * 3, vocab_size=261)) == 261
    assert train_word_tokenizer(["The the"], lowercase=True).encode("THE") == [3]


def test_texts_may_be_an_iterator():
    assert train_word_tokenizer(text for text in TEXTS).get_vocab() == WORDS.get_vocab()


@pytest.mark.parametrize("kind", ["word", "bpe", "char"])
@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "at least one text"),
        (["", " \n"], "at least one text"),
        (iter([]), "at least one text"),
        (["good", None], "item 1 is None"),
        ("one string", "put it in a list"),
    ],
)
def test_bad_texts(kind, texts, message):
    with pytest.raises(ValueError, match=message):
        build_tokenizer(kind, texts)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("wrod", r"one of word, bpe, byte, char; got 'wrod' \(did you mean 'word'\?\)"),
        ({"kind": ["word"]}, "one of word, bpe, byte, char"),
        ({}, "one of the keys kind, pretrained"),
        (None, "one of the keys kind, pretrained"),
        ({"kind": "word", "pretrained": "x"}, "one of the keys kind, pretrained"),
        ({"kind": "word", "vocabsize": 9}, r"got 'vocabsize' \(did you mean 'vocab_size'\?\)"),
        ({"kind": "byte", "vocab_size": 9}, "byte tokenizer takes no options"),
        ({"pretrained": "x", "vocab_size": 9}, "a pretrained tokenizer takes no options"),
        ({"pretrained": ""}, "a folder or a Hub id"),
        ({"kind": "word", "vocab_size": 3, "split": "word", "min_frequency": True}, "vocab_size.*min_frequency.*split"),
        ({"kind": "bpe", "vocab_size": 258}, "vocab_size must be a whole number from 259"),
        ({"kind": "bpe", "vocab_size": None}, "vocab_size must be a whole number from 259"),
        ({"kind": "word", "lowercase": "yes"}, "lowercase must be true or false"),
        ({"kind": "word", "min_frequency": 99}, "min_frequency=99"),
    ],
)
def test_bad_specs(spec, message):
    with pytest.raises(ValueError, match=message):
        build_tokenizer(spec, TEXTS)


def test_bad_padding_side():
    with pytest.raises(ValueError, match="padding_side must be one of right, left; got 'middle'"):
        build_tokenizer("byte", padding_side="middle")


def test_missing_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="save_pretrained"):
        build_tokenizer({"pretrained": str(tmp_path)})
    with pytest.raises(FileNotFoundError, match="no tokenizer in a folder"):
        build_tokenizer({"pretrained": str(tmp_path / "absent")})
