"""Pre-trained word vectors: every format, what matches what, damaged files, and models that start from them."""

import gzip
import struct
import tracemalloc

import pytest
import torch

from rnn_hf.embeddings import find_word_vectors, match_word_vectors, words_of
from rnn_hf.tokenization import train_word_tokenizer

VECTORS = {"the": [0.5, -1.0, 2.0], "Paris": [1.0, 0.25, 0.0], "PARIS": [9.0, 9.0, 9.0], "of": [-3.0, 4.0, 1e-3]}
TOKENIZER = train_word_tokenizer(["the of paris"], split="whitespace")


def as_text(vectors, header=False, space=" ", end="\n"):
    lines = [space.join([word, *map(repr, row)]) + end for word, row in vectors.items()]
    return ("".join([f"{len(vectors)} 3\n"] * header + lines)).encode()


def as_binary(vectors, end=b"\n"):
    rows = [word.encode() + b" " + struct.pack("<3f", *row) + end for word, row in vectors.items()]
    return b"%d 3\n" % len(vectors) + b"".join(rows)


FORMATS = {
    "glove.txt": (as_text(VECTORS), "text"),
    "tabs.txt": (as_text(VECTORS, space="\t"), "text"),
    "crlf.txt": (as_text(VECTORS, end="\r\n"), "text"),
    "word2vec.txt": (as_text(VECTORS, header=True), "text with header"),
    "fasttext.vec": (as_text(VECTORS, header=True, end=" \n"), "text with header"),
    "google.bin": (as_binary(VECTORS, end=b""), "binary"),
    "original.bin": (as_binary(VECTORS), "binary"),
}


@pytest.fixture
def write(tmp_path):
    def write(content, name="vectors.txt"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_vectors(write, name, compressed):
    content, kind = FORMATS[name]
    file = write(gzip.compress(content, mtime=0), f"{name}.gz") if compressed else write(content, name)
    matched = match_word_vectors(file, TOKENIZER)
    ids = TOKENIZER.get_vocab()
    for word, source in {"the": "the", "of": "of", "paris": "Paris"}.items():  # the first that is equal but for case
        assert matched.weight[ids[word]].tolist() == pytest.approx(VECTORS[source])
    assert matched.found.tolist() == [False, False, False, True, True, True]
    facts = matched.facts
    assert (facts["file"], facts["format"], facts["width"], facts["words"]) == (file.name, kind, 3, 4)
    assert (facts["found_exactly"], facts["found_ignoring_case"], facts["vocabulary"]) == (2, 1, 6)
    assert len(facts["md5"]) == 32
    assert list(words_of(file)) == list(VECTORS)


def test_the_same_case_goes_before_another_and_the_first_of_two_rows_counts(write):
    tokenizer = train_word_tokenizer(["Apple apple APPLE"], split="whitespace")
    file = write(b"apple 1 1\nAPPLE 2 2\napple 3 3\nApple 4 4\n")
    matched = match_word_vectors(file, tokenizer)
    weights = {word: matched.weight[i].tolist() for word, i in tokenizer.get_vocab().items()}
    assert (weights["apple"], weights["APPLE"], weights["Apple"]) == ([1, 1], [2, 2], [4, 4])
    assert (matched.facts["found_exactly"], matched.facts["repeated_words"]) == (3, 1)


def test_what_the_file_lacks_is_drawn_like_what_it_has(write):
    words = [f"w{i}" for i in range(3000)]
    tokenizer = train_word_tokenizer([" ".join(words)])
    rows = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 2, 0.1, 0])
    rows += torch.tensor([0, 5, -1, 3])
    file = write("".join(f"{w} {' '.join(map(str, r.tolist()))}\n" for w, r in zip(words, rows, strict=False)).encode())

    def drawn(seed):
        torch.manual_seed(seed)
        return match_word_vectors(file, tokenizer)

    first = drawn(1)
    new = first.weight[~first.found & (torch.arange(len(tokenizer)) != tokenizer.pad_token_id)]
    assert len(new) == 2002  # with <unk> and <eos>
    torch.testing.assert_close(new.mean(0), rows.mean(0), atol=0.15, rtol=0)
    torch.testing.assert_close(new.std(0), rows.std(0), atol=0.1, rtol=0)
    assert (first.weight[tokenizer.pad_token_id] == 0).all()
    assert torch.equal(drawn(1).weight, first.weight) and not torch.equal(drawn(2).weight, first.weight)


def test_odd_words(write):
    """Words with spaces or numbers in them, white space as a word, characters that end lines elsewhere, broken ones."""
    odd = ["a\u0085b", "x\u2028y", "\u00a0", "7"]
    tokenizer = train_word_tokenizer(["the 7"], split="whitespace")
    content = "".join(f"{word} 1 2 3\n" for word in ["the", ". . .", "at 7 7", "", *odd]).encode()
    file = write(content + b"caf\xc3 1 2 3\n")
    assert list(words_of(file)) == ["the", ". . .", "at 7 7", "", *odd]
    matched = match_word_vectors(file, tokenizer)
    assert (matched.facts["words"], matched.facts["words_not_utf8"], matched.facts["found_exactly"]) == (9, 1, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"the 1 2 3\nof 1 2\n", r"line 2 must hold a word and 3 numbers; got 'of 1 2"),
        (b"the 1 2 3\nof 1 two 3\n", r"line 2 holds what is no number"),
        (b"2 3\nthe 1 2 3\nof 1 nan 3\n", r"line 3 holds a number that is not finite"),
        (b"the 1 2 3\nof 1 2 3 4" + b" 5" * 2**20, r"line 2 holds more than 1,048,576 bytes"),
        (b"text,label\nthe film,1\n", r"line 1 must be a word and its vector, or the header COUNT WIDTH; got b'text"),
        (b"", r"line 1 must be a word and its vector"),
        (b"PK\x03\x04zip", r"is a zip archive: unpack it"),
        (struct.pack("<i", 793712314) + b"\x0c\0\0\0", r"is a fastText model: give the \.vec file"),
        (as_binary(VECTORS)[:-5], r"is cut off or damaged at word 4 of 4"),
        (gzip.compress(as_text(VECTORS), mtime=0)[:-12], r"is cut off or damaged at line"),
        (gzip.compress(as_binary(VECTORS), mtime=0)[:-12], r"is cut off or damaged at"),
        (
            b"zebra 1 2 3\n",
            r"holds none of the 6 tokens of the vocabulary .*: word vectors are for word tokenizers",
        ),
    ],
)
def test_damaged_files(write, content, message):
    file = write(content)
    with pytest.raises(ValueError, match=rf"vectors\.txt {message}"):
        match_word_vectors(file, TOKENIZER)


def test_memory_is_that_of_the_vocabulary(write):
    row = " ".join(["0.12345"] * 100)
    file = write("".join(f"word{i} {row}\n" for i in range(20_000)).encode() + f"the {row}\n".encode())
    assert file.stat().st_size > 15_000_000
    tracemalloc.start()
    matched = match_word_vectors(file, TOKENIZER)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert matched.facts["words"] == 20_001 and matched.facts["found_exactly"] == 1
    assert peak < 1_000_000


def test_a_file_is_found_by_name(tmp_path, monkeypatch):
    folder = tmp_path / "glove"
    folder.mkdir()
    for name in ("glove.6B.50d.100k.txt.gz", "glove.6B.300d.txt", "glove.6B.zip"):
        (folder / name).write_bytes(b"")
    monkeypatch.setenv("RNN_HF_DATA", str(tmp_path))
    assert find_word_vectors("glove.6B.50d") == folder / "glove.6B.50d.100k.txt.gz"
    (folder / "glove.6B.50d.txt").write_bytes(b"")
    assert find_word_vectors("glove.6B.50d") == folder / "glove.6B.50d.txt"  # the whole file before a part of it
    assert find_word_vectors("glove.6B.50d.100k") == folder / "glove.6B.50d.100k.txt.gz"
    assert find_word_vectors("glove.6B.300d.txt") == folder / "glove.6B.300d.txt"
    assert find_word_vectors(str(folder / "glove.6B.300d.txt")) == folder / "glove.6B.300d.txt"
    with pytest.raises(FileNotFoundError, match=r"did you mean 'glove\.6B\.50d.*download https://nlp\.stanford\.edu"):
        find_word_vectors("glove.6B.55d")
    with pytest.raises(FileNotFoundError, match=r"no word vectors 'glove\.6B'"):  # which width is meant?
        find_word_vectors("glove.6B")


def test_a_file_that_is_nowhere(tmp_path, monkeypatch):
    monkeypatch.delenv("RNN_HF_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"RNN_HF_DATA would name, which is not set; download https://nlp"):
        find_word_vectors("glove.6B.50d")
    with pytest.raises(FileNotFoundError, match=r"no word vectors 'mine/v\.txt'.*give the path of a GloVe"):
        find_word_vectors("mine/v.txt")
    with pytest.raises(FileNotFoundError, match="no word vectors ''"):
        find_word_vectors("")


def test_extra_words_join_the_vocabulary(write):
    file = write(as_text({word: [1.0, 2.0, 3.0] for word in ("paris", "of", "rome", "new-york", "<eos>", "oslo")}))
    words = list(words_of(file))
    tokenizer = train_word_tokenizer(["the of Paris of"], extra_words=words)
    own = ["<pad>", "<unk>", "<eos>", "of", "Paris", "the"]
    extra = ["paris", "Of", "rome", "Rome", "oslo", "Oslo"]  # what the tokenizer would cut is left out
    assert sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get) == own + extra
    assert tokenizer.decode(tokenizer("the Oslo of rome").input_ids).strip() == "the Oslo of rome"
    few = train_word_tokenizer(["the of Paris of"], lowercase=True, extra_words=words, vocab_size=7)
    assert sorted(few.get_vocab(), key=few.get_vocab().get) == ["<pad>", "<unk>", "<eos>", "of", "paris", "the", "rome"]
    cased = train_word_tokenizer(["the"], extra_words=["Paris", "rome"])
    assert "Rome" not in cased.get_vocab()
    with pytest.raises(ValueError, match=r"extra_words must be an iterable of words; got the string 'glove'"):
        train_word_tokenizer(["the"], extra_words="glove")
