"""`rnn-hf predict --input`: rows in order with every column, whatever the formats, beside what the model says."""

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rnn_hf import RnnConfig, RnnForTokenClassification, train_word_tokenizer
from rnn_hf.commands import predict

TEXTS = ["a great film", "the plot is dull and slow and boring", "", "zebra quagga", "funny " * 50, "awful"]


@pytest.fixture
def rows(workplace, tmp_path):
    """A file of texts with two more columns, one called label; small windows, so that there are several."""
    with open(tmp_path / "in.csv", "w", newline="") as file:
        csv.writer(file).writerows([["id", "text", "label"], *([i, text, "gold"] for i, text in enumerate(TEXTS * 3))])
    return tmp_path / "in.csv"


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    monkeypatch.setattr(predict, "ROWS_A_WINDOW", 4)


def expected(text):
    """(label, probabilities) by the plainest way."""
    model = AutoModelForSequenceClassification.from_pretrained("runs/classifier/model").eval()
    tokenizer = AutoTokenizer.from_pretrained("runs/classifier/model")
    with torch.no_grad():
        probabilities = model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1)
    return model.config.id2label[int(probabilities.argmax())], probabilities.tolist()


def read(file):
    if file.suffix == ".parquet":
        return pq.read_table(file).to_pylist()
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in file.read_text().splitlines()]
    return [{k: v or None for k, v in row.items()} for row in csv.DictReader(io.StringIO(file.read_text(), newline=""))]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_rows_keep_order_and_columns_and_get_the_model_s_answers(rows, rnn_hf, tmp_path, ending):
    out = tmp_path / f"out.{ending}"
    code, printed, err = rnn_hf("predict", "runs/classifier", "--input", rows, "--output", out)
    assert (code, printed) == (0, ""), err
    assert err.splitlines()[-1] == (
        f"18 rows of {rows}, column text -> {out}; 3 of them empty, without a label; 3 without a word that the "
        "tokenizer knows; label is in the input, the prediction is predicted_label"
    )
    got = read(out)
    added = ["predicted_label", "score", "probability_negative", "probability_positive"]
    assert list(got[0]) == ["id", "text", "label", *added]
    assert [row["id"] for row in got] == [str(i) for i in range(18)]
    assert {row["label"] for row in got} == {"gold"}
    answers = {text: expected(text) for text in TEXTS if text}
    for row, text in zip(got, TEXTS * 3, strict=True):
        assert (row["text"] or "") == text
        if not text:
            assert [row[name] for name in added] == [None] * 4
            continue
        label, probabilities = answers[text]
        assert row["predicted_label"] == label
        assert float(row["score"]) == pytest.approx(max(probabilities), abs=2e-5)
        found = [float(row["probability_negative"]), float(row["probability_positive"])]
        assert found == pytest.approx(probabilities, abs=2e-5)


def test_accuracy_of_the_predictions_is_that_of_evaluate(workplace, rnn_hf, tmp_path):
    rnn_hf("predict", "runs/classifier", "--input", "reviews/test.csv", "--output", tmp_path / "out.jsonl")
    got = read(tmp_path / "out.jsonl")
    metrics = json.loads(rnn_hf("evaluate", "runs/classifier", "--data", "reviews", "--json")[1])
    assert sum(row["label"] == row["predicted_label"] for row in got) / len(got) == metrics["accuracy"]


def test_lines_on_standard_input_become_json_lines(workplace, rnn_hf, type_in):
    type_in("a great film\n\ndull and slow\n")
    code, out, err = rnn_hf("predict", "runs/classifier", "--input", "-")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(row["text"], row["label"]) for row in rows] == [
        ("a great film", "positive"), ("", None), ("dull and slow", "negative")
    ]  # fmt: skip
    assert err == "3 rows of standard input, column text -> standard output; 1 of them empty, without a label\n"


@pytest.mark.parametrize("arguments", [["-"], ["--input", "-"]])
def test_a_line_is_answered_before_the_next_one_comes(workplace, arguments):
    command = [sys.executable, "-m", "rnn_hf.cli", "predict", "runs/classifier", *arguments]
    run = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line, label in {"a great film": "positive", "zebra": "", "dull and slow": "negative"}.items():
        run.stdin.write(f"{line}\n")
        run.stdin.flush()
        assert label in run.stdout.readline()
    assert run.communicate(timeout=60)[0] == "" and run.returncode == 0


def test_an_odd_line_on_standard_input_costs_no_answer(workplace, rnn_hf, type_in):
    type_in("a great film\n\r\nzebra quagga\ndull and slow")
    code, out, err = rnn_hf("predict", "runs/classifier", "-")
    lines = [line.split("\t") for line in out.splitlines()]
    assert code == 0 and [len(line) for line in lines] == [2] * 4
    assert (lines[0][0], lines[1], lines[3][0]) == ("positive", ["", ""], "negative")
    assert err == "4 texts; 1 of them empty, without a label; 1 without a word that the tokenizer knows\n"
    type_in("")
    assert "standard input holds no text" in rnn_hf("predict", "runs/classifier", "-")[2]


def test_an_output_that_is_there_is_kept_unless_asked(workplace, rnn_hf, rows, tmp_path):
    (tmp_path / "out.csv").write_text("mine")
    command = ["predict", "runs/classifier", "--input", rows, "--output", tmp_path / "out.csv"]
    code, _, err = rnn_hf(*command)
    assert code == 2 and "is there already: give another name, or --overwrite" in err
    assert (tmp_path / "out.csv").read_text() == "mine"
    assert rnn_hf(*command, "--overwrite")[0] == 0 and len(read(tmp_path / "out.csv")) == 18


def test_the_columns_trained_on_are_read(workplace, rnn_hf, tmp_path):
    for split in ("train", "test"):
        text = Path(f"reviews/{split}.csv").read_text().replace("text,label", "review,stars", 1)
        (tmp_path / f"{split}.csv").write_text(text)
    run = tmp_path / "run"
    code, _, err = rnn_hf(
        "fit", "--config", "classifier.yaml", "--data.dataset", tmp_path, "--data.text_column", "review",
        "--data.label_column", "stars", "--max_steps", "3", "--output_dir", run,
    )  # fmt: skip
    assert code == 0, err
    code, out, err = rnn_hf("evaluate", run, "--data", tmp_path / "test.csv", "--json")
    assert code == 0 and json.loads(out)["rows"] == 61, err
    code, out, err = rnn_hf("predict", run, "--input", tmp_path / "test.csv")
    assert code == 0 and "column review -> standard output" in err, err
    assert rnn_hf("evaluate", run, "--data", "reviews")[0] == 0, "the usual names are read too"
    code, _, err = rnn_hf("evaluate", "runs/classifier", "--data", tmp_path / "test.csv")
    assert code == 2 and "no column 'text'" in err and "--text-column and --label-column name others" in err


def test_several_labels(workplace, rnn_hf, tmp_path):
    texts = [f"{'good' if i % 2 else 'film'} {'dull' if i % 3 else 'the'} x{i % 5}" for i in range(300)]
    lines = [f"{text},{'praise' * ('good' in text)}|{'blame' * ('dull' in text)}" for text in texts]
    (tmp_path / "topics.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    code, _, err = rnn_hf(
        "fit", "--config", "classifier.yaml", "--data.dataset", tmp_path / "topics.csv", "--data.label_separator", "|",
        "--output_dir", tmp_path / "run", "--trainer.max_epochs", "8",
    )  # fmt: skip
    assert code == 0, err
    arguments = ("evaluate", tmp_path / "run", "--data", tmp_path / "topics.csv")  # the separator is known
    metrics = json.loads(rnn_hf(*arguments, "--json")[1])
    assert metrics["subset_accuracy"] > 0.9
    shutil.copytree(tmp_path / "run/model", tmp_path / "same")  # the mean of twice the same
    averaged = json.loads(rnn_hf(*arguments, "--json", "--average", tmp_path / "same")[1])["averaged"]
    assert averaged["mean"] == pytest.approx({name: metrics[name] for name in averaged["mean"]}, abs=1e-5)
    code, out, err = rnn_hf("predict", tmp_path / "run", "good the x1", "good dull x1", "film the")
    assert [line.split("\t")[0] for line in out.splitlines()] == ["praise", "blame|praise", ""], err
    (tmp_path / "in.jsonl").write_text('{"text": "good dull x1"}\n{"text": "film the"}\n{"text": ""}\n')
    for ending, wanted in {"jsonl": [["blame", "praise"], [], None], "csv": ["blame|praise", None, None]}.items():
        assert rnn_hf("predict", tmp_path / "run", "--input", tmp_path / "in.jsonl", "--output",
                      tmp_path / f"out.{ending}")[0] == 0  # fmt: skip
        got = read(tmp_path / f"out.{ending}")
        assert [row["label"] for row in got] == wanted
        blame, praise = float(got[0]["probability_blame"]), float(got[0]["probability_praise"])
        assert float(got[0]["score"]) == pytest.approx(blame * praise, abs=1e-5)
    code, _, err = rnn_hf("predict", tmp_path / "run", "--input", tmp_path / "in.jsonl", "--label-separator", "a")
    assert "--label-separator 'a' stands in the label 'blame'" in err


def test_a_tagger_s_folder(workplace, rnn_hf, tmp_path):
    tokenizer = train_word_tokenizer(["the film is good . i saw it"])
    names = {0: "DET", 1: "NOUN", 2: "VERB"}
    sizes = {"vocab_size": len(tokenizer), "embedding_size": 8, "hidden_size": 8, "pad_token_id": 0}
    torch.manual_seed(0)
    model = RnnForTokenClassification(
        RnnConfig(**sizes, id2label=names, label2id={name: i for i, name in names.items()})
    ).eval()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "tagger")
    sentences = [["the", "film"], [], ["i", "saw", "it"], ["zebra"], "i saw it."]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"tokens": words, "n": 1}) + "\n" for words in sentences))
    code, out, err = rnn_hf("predict", tmp_path / "tagger", "--input", tmp_path / "in.jsonl")
    assert code == 0, err
    said = f"5 rows of {tmp_path}/in.jsonl, column tokens -> standard output"
    assert err.splitlines()[-1] == f"{said}; 1 of them without words, and so without tags"
    rows = [json.loads(line) for line in out.splitlines()]
    assert [list(row) for row in rows] == [["tokens", "n", "tags", "scores"]] * 5
    assert [len(row["tags"]) for row in rows] == [len(row["scores"]) for row in rows] == [2, 0, 3, 1, 4]
    with torch.no_grad():
        logits = model(torch.tensor([tokenizer.convert_tokens_to_ids(sentences[2])])).logits[0]
    assert rows[2]["tags"] == [names[i] for i in logits.argmax(-1).tolist()] == rows[4]["tags"][:3]
    assert rows[2]["scores"] == pytest.approx(logits.softmax(-1).max(-1).values.tolist(), abs=1e-5)
    rnn_hf("predict", tmp_path / "tagger", "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.csv")
    assert read(tmp_path / "out.csv")[2]["tags"] == " ".join(rows[2]["tags"])
    again = rnn_hf("predict", tmp_path / "tagger", "--input", tmp_path / "out.csv")[1]
    assert [row["predicted_tags"] for row in csv.DictReader(io.StringIO(again))][:4] == [
        " ".join(row["tags"]) for row in rows[:4]
    ], "a list of words in csv is no text"
    words = rnn_hf("predict", tmp_path / "tagger", "i saw it")[1].split()
    assert words == [f"{word}/{tag}" for word, tag in zip(sentences[2], rows[2]["tags"], strict=True)]


WRONG = [
    (
        ["--input", "in.jsonl", "--text-column", "txt"],
        "no column 'txt' in in.jsonl row 1; columns: text, n (did you mean 'text'?); --text-column names another",
    ),
    (["--input", "in.jsonl"], "in.jsonl row 6, column 'text' must be a string; got 7"),
    (["--input", "late.jsonl"], "late.jsonl row 6 has a column 'score', which the first rows lack and prediction adds"),
    (["--input", "none.csv"], "no input file 'none.csv'"),
    (
        ["--input", "in.jsonl", "--output", "out.xlsx"],
        "the output's ending must be one of .csv, .tsv, .jsonl, .parquet",
    ),
    (["--input", "empty.csv"], "empty.csv holds no rows"),
    (["--input", "both.csv"], "has the column 'predicted_label' and that without predicted_"),
    ([], "takes either texts or --input FILE"),
    (["a text", "--input", "in.jsonl"], "takes either texts or --input FILE"),
    (["a text", "--output", "out.csv"], "--output is for --input FILE"),
    (["a great film", ""], "text 2 '' is empty"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_what_cannot_be_predicted_is_named(workplace, rnn_hf, tmp_path, monkeypatch, arguments, message):
    good = '{"text": "a film", "n": 1}\n' * 5
    (tmp_path / "in.jsonl").write_text(good + '{"text": 7}\n')
    (tmp_path / "late.jsonl").write_text(good + '{"text": "a", "score": 1}\n')
    (tmp_path / "empty.csv").write_text("text\n")
    (tmp_path / "both.csv").write_text("text,label,predicted_label\na,b,c\n")
    monkeypatch.chdir(tmp_path)
    arguments = (
        [*arguments, "--output", "out.csv"] if "--input" in arguments and "--output" not in arguments else arguments
    )
    code, out, err = rnn_hf("predict", workplace / "runs/classifier", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not any(file.name.startswith((".", "out")) for file in tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_file(workplace, tmp_path):
    """Rows of 1 kB: 40 MB more of them may not cost 10 MB."""
    # Not `ru_maxrss`, which starts at the peak of the process that this one was started by.
    code = (
        "import sys; from rnn_hf.cli import main; code = main(sys.argv[1:]); "
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0]); sys.exit(code)"
    )
    peaks = []
    for number in (20_000, 60_000):
        (tmp_path / "in.csv").write_text("text,more\n" + f"a great film,{'x' * 1000}\n" * number)
        command = [sys.executable, "-c", code, "predict", "runs/classifier", "--input", str(tmp_path / "in.csv")]
        command += ["--output", str(tmp_path / "out.parquet"), "--overwrite"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
        assert pq.ParquetFile(tmp_path / "out.parquet").metadata.num_rows == number
    assert peaks[1] - peaks[0] < 10_000  # kB
