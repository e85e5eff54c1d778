"""Whole rows through files: every column and type kept, complete or not there, errors with file and row."""

import csv
import datetime
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rnn_hf.data.records import Input, check_output, open_output, windows

ADDED = {"label": "string", "tags": "strings", "score": "number", "scores": "numbers"}
NEW = {"label": "yes", "tags": ["a", "b"], "score": 0.5, "scores": [0.5, 0.25]}
NONE = dict.fromkeys(NEW)


def copy(source, output, rows_a_write=2):
    """Rows of a file with the added columns, the third row without their values."""
    source = Input(str(source))
    with open_output(str(output), source, ADDED, {"tags": ";", "scores": " "}) as writer:
        number = 0
        for window in windows(source, rows_a_write):
            for row in window:
                number += 1
                row |= NONE if number == 3 else NEW
            writer.write(window)
    return output


@pytest.fixture
def table(tmp_path):
    """A Parquet file of many types."""
    columns = {
        "text": pa.array(['say "a, b"', "two\nlines", None]),
        "count": pa.array([1, None, 3], pa.int16()),
        "day": pa.array([datetime.date(2020, 1, 2)] * 3),
        "ids": pa.array([[1, 2], [], None], pa.list_(pa.int32())),
        "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
        "at": pa.array([1, 2, 3], pa.timestamp("ns")),
    }
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def test_parquet_keeps_the_types(table, tmp_path):
    out = pq.read_table(copy(table, tmp_path / "out.parquet"))
    before = pq.read_table(table)
    assert out.select(before.column_names).schema.equals(before.schema)
    assert out.select(before.column_names).to_pylist() == before.to_pylist()
    assert out.column("tags").type == pa.list_(pa.string())
    assert out.column("score").type == pa.float32()
    assert out.column("label").to_pylist() == ["yes", "yes", None]
    assert Input(str(table)).length == 3


def test_parquet_of_datasets_is_still_read_by_datasets(tmp_path):
    from datasets import ClassLabel, Dataset, Features, Value, load_dataset

    features = Features({"text": Value("string"), "gold": ClassLabel(names=["no", "yes"])})
    Dataset.from_dict({"text": ["a", "b"], "gold": [0, 1]}, features).to_parquet(tmp_path / "in.parquet")
    copy(tmp_path / "in.parquet", tmp_path / "out.parquet")
    out = load_dataset("parquet", data_files=str(tmp_path / "out.parquet"), cache_dir=tmp_path / "c", split="train")
    assert out.features["gold"].names == ["no", "yes"]
    assert out["gold"][:] == [0, 1]
    assert out["label"][:] == ["yes", "yes"]


def test_conll_files_are_sentences_of_words(tmp_path):
    (tmp_path / "a.conll").write_text("Ada B-PER\nsmiled O\n\nYes O\n")
    rows = list(Input(str(tmp_path / "a.conll")))
    assert rows == [{"tokens": ["Ada", "smiled"], "tags": ["B-PER", "O"]}, {"tokens": ["Yes"], "tags": ["O"]}]
    (tmp_path / "a.conllu").write_text("# a\n1\tYes\tyes\t_\tUH\t_\t0\troot\t_\t_\n")
    (row,) = Input(str(tmp_path / "a.conllu"))
    assert list(row)[:5] == ["tokens", "id", "lemma", "tags", "xpos"] and row["tags"] == ["_"]


def test_csv_holds_lists_as_strings_and_nothing_for_none(table, tmp_path):
    rows = list(csv.DictReader(io.StringIO(copy(table, tmp_path / "out.csv").read_text(), newline="")))
    assert [row["text"] for row in rows] == ['say "a, b"', "two\nlines", ""]
    assert rows[0]["ids"] == "[1, 2]"
    assert (rows[0]["tags"], rows[0]["scores"], rows[0]["score"]) == ("a;b", "0.5 0.25", "0.5")
    assert [rows[2][name] for name in ADDED] == [""] * 4


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_strings_of_a_csv_stay_as_they_are(tmp_path, ending):
    """Not "1", NA, nor white space is taken for anything else; in tsv a quote is a character."""
    rows = [["text", "n"], [' a "b" ', "01"], ["NA", "1.0"], ["", "null"], ["ü", "True"]]
    with open(tmp_path / "in.csv", "w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows(rows)
    out = Input(str(copy(tmp_path / "in.csv", tmp_path / f"out.{ending}")))
    assert [[row["text"], row["n"]] for row in out] == rows[1:]


def test_jsonl_keeps_each_row_s_own_columns(tmp_path):
    rows = [{"text": "a", "x": 1.5}, {"y": {"z": [None, True]}, "text": "b"}]
    (tmp_path / "in.json").write_text(json.dumps(rows))
    lines = copy(tmp_path / "in.json", tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [row | NEW for row in rows]


def test_a_later_row_that_does_not_fit_is_named_and_nothing_is_left(tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "a", "x": 1}\n{"text": "b"}\n{"text": "c", "z": 2}\n')
    (tmp_path / "out.csv").write_text("from before")
    with pytest.raises(
        ValueError, match=r"in\.jsonl row 3 has the column 'z', which the first rows lack: write \.jsonl"
    ):
        copy(source, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "from before"
    source.write_text('{"text": "a", "x": 1}\n{"text": "b", "x": 2}\n{"text": "c", "x": "three"}\n')
    with pytest.raises(ValueError, match=r"in\.jsonl rows 3 to 3, column 'x': .* write \.jsonl"):
        copy(source, tmp_path / "out.parquet")
    source.write_text('{"text": "a\\tb"}\n')
    with pytest.raises(ValueError, match=r"in\.jsonl row 1: a value with a tab or line break is nothing for \.tsv"):
        copy(source, tmp_path / "out.tsv")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.jsonl", "out.csv"]


def test_rows_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "in.csv").write_text("text,n\na,1\nb\n")
    with pytest.raises(ValueError, match=r"in\.csv row 2 \(line 3\) has 1 fields, its header 2"):
        copy(tmp_path / "in.csv", tmp_path / "out.csv")
    (tmp_path / "in.csv").write_text("text,text\na,1\n")
    with pytest.raises(ValueError, match="has more than one column 'text'"):
        copy(tmp_path / "in.csv", tmp_path / "out.csv")
    (tmp_path / "in.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"in\.parquet is not a whole Parquet file"):
        Input(str(tmp_path / "in.parquet"))
    with pytest.raises(ValueError, match=r"ending must be one of \.csv.*; got '\.xlsx'"):
        (tmp_path / "in.xlsx").touch()
        Input(str(tmp_path / "in.xlsx"))
    with pytest.raises(FileNotFoundError, match="no input file"):
        Input(str(tmp_path / "none.csv"))


def test_an_output_that_cannot_be_written_is_refused_first(tmp_path):
    (tmp_path / "in.csv").write_text("text\na\n")
    source = Input(str(tmp_path / "in.csv"))
    for name, error, message in [
        ("out.json", ValueError, r"the output's ending must be one of \.csv, .*did you mean '\.jsonl'"),
        ("in.csv", ValueError, "is the input: give another file"),
        ("none/out.csv", FileNotFoundError, "no folder"),
    ]:
        with pytest.raises(error, match=message):
            check_output(str(tmp_path / name), source)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match="must be a file"):
        check_output(str(tmp_path / "folder.csv"), source)
    assert check_output("-", source) == "csv"
    assert check_output("-", Input("-")) == "jsonl"
