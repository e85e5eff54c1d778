"""Reading rows: every format, every kind of row, every error."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rnn_hf.data.readers import LONGEST_LINE, MissingColumn, Rows, collected, iter_rows, read_rows

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
        ("a.jsonl", '{"text": "x", "label": 1}\n{"label": 1}\n', "no column 'text' in FILE row 2; columns: label"),
        ("a.jsonl", '{"text": 3, "label": 1}\n', "FILE row 1, column 'text' must be a string; got 3"),
        ("a.jsonl", '{"text": "x", "label": [1, 2]}\n', "FILE row 1, column 'label' must be a label"),
        ("a.jsonl", '{"text": "\\ud800", "label": 1}\n', "FILE row 1, column 'text' is not valid Unicode: "),
        (
            "a.json",
            '[{"text": "x", "label": 1},\n 7]',
            "FILE row 2 must be an object with the keys text, label; got '7'",
        ),
        ("a.jsonl", '{"text": "x", "label": 1}\n{"text": "y",\n{}\n', "FILE line 2 column 14 is not JSON"),
        ("a.json", '[{"text": "x",\n "label" 1}]', "FILE line 2 column 10 is not JSON: Expecting ':' delimiter"),
        ("a.parquet", "text,label\nx,1\n", "FILE is not a whole Parquet file"),
        (
            "a.xlsx",
            "x",
            "FILE: the file's ending must be one of .csv, .tsv, .json, .jsonl, .parquet, .txt, .conll, ",
        ),
    ],
)
def test_each_error_names_file_and_place(tmp_path, name, content, message):
    file = write(tmp_path / name, content)
    with pytest.raises(ValueError) as error:
        read_rows(file, "text", "label")
    assert str(error.value).startswith(message.replace("FILE", str(file)))
    assert "\n" not in str(error.value)


def test_rows_are_read_as_they_are_asked_for(tmp_path):
    file = write(tmp_path / "a.jsonl", '{"text": "first"}\n{"text": broken}\n')
    rows = iter_rows(file)
    assert next(rows) == ("first", None)
    with pytest.raises(ValueError, match="line 2 column 10 is not JSON"):
        next(rows)


def as_file(path: Path, records: list[dict]) -> Path:
    if path.suffix == ".jsonl":
        return write(path, "\n".join(json.dumps(record) for record in records))
    from datasets import Dataset

    Dataset.from_list(records).to_parquet(path)
    return path


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_tokens_and_tags(tmp_path, ending):
    records = [{"tokens": ["A", "film"], "tags": ["DET", "NOUN"]}, {"tokens": ["Yes"], "tags": ["INTJ"]}]
    rows = read_rows(as_file(tmp_path / f"a.{ending}", records), "tokens", "tags", row_kind="tokens")
    assert rows.texts == [["A", "film"], ["Yes"]] and rows.labels == [["DET", "NOUN"], ["INTJ"]]
    assert read_rows(tmp_path / f"a.{ending}", "tokens", row_kind="tokens").labels is None


def test_parquet_class_labels_in_lists_become_names(tmp_path):
    from datasets import ClassLabel, Dataset, Features, List, Value

    features = Features({"tokens": List(Value("string")), "tags": List(ClassLabel(names=["O", "B-PER"]))})
    rows = {"tokens": [["in", "Rome"], ["Ada"]], "tags": [[0, 0], [1]]}
    Dataset.from_dict(rows, features).to_parquet(tmp_path / "a.parquet")
    read = read_rows(tmp_path / "a.parquet", "tokens", "tags", row_kind="tokens")
    assert read.labels == [["O", "O"], ["B-PER"]]


def test_several_labels(tmp_path):
    file = as_file(tmp_path / "a.jsonl", [{"text": "x", "label": ["b", 1]}, {"text": "y", "label": []}])
    assert read_rows(file, "text", "label", row_kind="multi_label").labels == [["b", "1"], []]
    file = write(tmp_path / "a.csv", "text,label\nx,b; 1\ny,\n")
    assert read_rows(file, "text", "label", "multi_label", label_separator=";").labels == [["b", "1"], []]


@pytest.mark.parametrize(
    ("row_kind", "record", "message"),
    [
        (
            "tokens",
            {"text": "a b", "label": ["X", "Y"]},
            "column 'text' must be a list of at least one token; got 'a b'",
        ),
        ("tokens", {"text": ["a", 3], "label": ["X", "Y"]}, "column 'text' must be a string; got 3"),
        ("tokens", {"text": ["a"], "label": ["X", "Y"]}, "must hold a tag for each token; got 1 tokens, 2 tags"),
        ("tokens", {"text": [], "label": []}, "column 'text' must be a list of at least one token; got '[]'"),
        ("tokens", {"text": ["a"], "label": "X"}, "column 'label' must be a list of tags; got 'X'"),
        ("multi_label", {"text": "a", "label": "X"}, "column 'label' must be a list of labels; got 'X'"),
        ("multi_label", {"text": "a", "label": ["X", "X"]}, "column 'label' must name each label once; got ['X', 'X']"),
        ("multi_label", {"text": "a", "label": ["X", " "]}, "column 'label' must be a label (a string or an integer)"),
        ("text", {"text": ["a"], "label": "X"}, "column 'text' must be a string; got ['a']"),
        ("text", {"text": "a", "label": None}, "column 'label' must be a label (a string or an integer); got none"),
        ("text", {"text": "a", "label": 0.5}, "column 'label' must be a label (a string or an integer); got 0.5"),
    ],
)
def test_values_of_another_kind_are_named(tmp_path, row_kind, record, message):
    good = {"tokens": {"text": ["a"], "label": ["X"]}, "multi_label": {"text": "a", "label": ["X"]}}
    file = as_file(tmp_path / "a.jsonl", [good.get(row_kind, {"text": "a", "label": "X"}), record])
    with pytest.raises(ValueError) as error:
        read_rows(file, "text", "label", row_kind)
    assert message in str(error.value) and f"{file} row 2" in str(error.value)


def test_unknown_kind_of_row(tmp_path):
    with pytest.raises(
        ValueError, match=r"row_kind must be one of text, multi_label, tokens; got 'token' \(did you mean"
    ):
        read_rows(write(tmp_path / "a.txt", "x"), row_kind="token")


def test_missing_column_carries_those_that_are_there(tmp_path):
    with pytest.raises(MissingColumn) as error:
        read_rows(write(tmp_path / "a.csv", "id,body\n1,x\n"))
    assert error.value.column == "text" and error.value.columns == ["id", "body"]


def test_empty_texts_are_kept_dropped_or_refused():
    pairs = [("a", "0"), (" ", "1"), ("b", "0"), ("", "1")]
    assert collected("file", pairs, "label").texts == ["a", " ", "b", ""]
    dropped = collected("file", pairs, "label", "drop")
    assert dropped == Rows("file", ["a", "b"], ["0", "0"])
    assert dropped.numbers == [1, 3] and dropped.dropped == 2 and dropped.take([1]).numbers == [3]
    with pytest.raises(ValueError, match=r"^file row 2 has an empty text: fill it in"):
        collected("file", pairs, "label", "error")
    with pytest.raises(ValueError, match=r"^file holds no text: all 2 rows are empty"):
        collected("file", [("", None), (" ", None)], None, "drop")
    with pytest.raises(ValueError, match=r"empty_text must be one of keep, drop, error; got 'remove'"):
        collected("file", pairs, None, "remove")


# Its peak, not `ru_maxrss`, which starts at the peak of the process that it was started by.
READ = """
import sys, time
from pathlib import Path
from rnn_hf.data.readers import read_rows
began = time.perf_counter()
try:
    read_rows(Path(sys.argv[1]))
except ValueError as error:
    peak = int(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])
    print(time.perf_counter() - began, peak / 1024, error)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("name", "start", "where"),
    [
        ("a.txt", "fine\n", "line 2 holds more than"),
        ("a.csv", "text\nfine\n", "line 3 holds more than"),
        ("a.tsv", "text\nfine\n", "line 3 holds more than"),
        ("a.jsonl", '{"text": "fine"}\n{"text": "', "line 2 holds more than"),
        ("a.json", '[{"text": "', "holds one list of more than"),
    ],
)
def test_a_line_of_a_gigabyte_is_refused_in_little_time_and_memory(tmp_path, name, start, where):
    file = write(tmp_path / name, start)
    with open(file, "r+b") as sparse:
        sparse.truncate(2**30)
    done = subprocess.run([sys.executable, "-c", READ, file], capture_output=True, text=True, check=True)
    seconds, megabytes, message = done.stdout.split(" ", 2)
    assert message.startswith(f"{file} {where} {LONGEST_LINE:,} characters")
    assert float(seconds) < 10 and float(megabytes) < 1500


@pytest.mark.slow
def test_a_quoted_field_of_a_gigabyte_is_refused_in_little_memory(tmp_path):
    file = tmp_path / "a.csv"
    with open(file, "w") as opened:
        opened.write('text\nfine\n"')
        for _ in range(2**10):
            opened.write(("x" * 1023 + "\n") * 2**10)
    done = subprocess.run([sys.executable, "-c", READ, file], capture_output=True, text=True, check=True)
    seconds, megabytes, message = done.stdout.split(" ", 2)
    assert message.startswith(f"{file} row 2 (from line 3): field larger than field limit ({LONGEST_LINE})")
    assert float(seconds) < 10 and float(megabytes) < 1500


@pytest.mark.parametrize("ending", ["txt", "csv", "jsonl", "json"])
def test_lines_have_a_limit(tmp_path, ending, monkeypatch):
    monkeypatch.setattr("rnn_hf.data.readers.LONGEST_LINE", 1000)
    longest = {"txt": "x" * 999, "csv": "text\n" + "x" * 999, "jsonl": json.dumps({"text": "x" * 980})}
    longest["json"] = json.dumps([{"text": "x" * 980}])
    assert len(read_rows(write(tmp_path / f"a.{ending}", longest[ending] + "\n"))) == 1
    longer = longest[ending].replace("xx", "xxxx")
    with pytest.raises(ValueError, match=r"a\.\w+ (line \d|holds one list).* more than 1,000 characters"):
        read_rows(write(tmp_path / f"a.{ending}", longer))
