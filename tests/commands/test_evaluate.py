"""`rnn-hf evaluate` of classifiers: tables that fit a pipe, pictures, several labels."""

import json

from rnn_hf.commands.evaluate import MISTAKES, as_text


def test_tables_for_people_and_pictures(workplace, rnn_hf, tmp_path):
    code, out, err = rnn_hf("evaluate", "runs/classifier", "--data", "reviews", "--plots", tmp_path / "plots")
    assert code == 0, err
    numbers, labels, matrix = out.rstrip("\n").split("\n\n")
    assert [line.split()[0] for line in numbers.splitlines()] == [
        "loss", "accuracy", "f1_macro", "f1_micro", "calibration_error", "rows"
    ]  # fmt: skip
    header, *rows = (line.split() for line in labels.splitlines())
    assert header == ["label", "precision", "recall", "f1", "support"]
    assert [row[0] for row in rows] == ["negative", "positive"]
    assert sum(int(row[-1]) for row in rows) == 61
    assert matrix.startswith("true \\ predicted  negative  positive\nnegative  ")
    assert len({len(line) for line in matrix.splitlines()}) == 1
    assert {file.name for file in (tmp_path / "plots").iterdir()} == {"confusion_matrix.png", "reliability_diagram.png"}
    as_json = json.loads(rnn_hf("evaluate", "runs/classifier", "--data", "reviews", "--json")[1])
    assert [[int(n) for n in row.split()[1:]] for row in matrix.splitlines()[1:]] == as_json["confusion_matrix"]


def test_of_many_labels_the_commonest_mistakes_are_listed():
    labels = [f"label {i}" for i in range(30)]
    matrix = [[9 if i == j else (i + 1) * (j == 0) for j in range(30)] for i in range(30)]
    row = {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 10}
    text = as_text({"rows": 300}, {"labels": dict.fromkeys(labels, row), "confusion_matrix": matrix})
    mistakes = text.split("\n\n")[-1].splitlines()
    assert mistakes[0].split() == ["commonest", "mistakes:", "true", "predicted", "rows"]
    assert mistakes[1].split() == ["label", "29", "label", "0", "30"]
    assert len(mistakes) == 1 + MISTAKES


def test_rows_that_were_trained_on_are_named(workplace, rnn_hf):
    code, out, err = rnn_hf("evaluate", "runs/classifier", "--data", "reviews/train.csv", "--json")
    assert code == 0 and json.loads(out)["rows"] == 300
    held_out = json.loads((workplace / "runs/classifier/model/metrics.json").read_text())["metrics"]["test/accuracy"]
    assert err.splitlines()[0] == "reviews/train.csv: all rows"
    assert "warning: reviews/train.csv is what this model was trained on" in err
    assert err.endswith(f"runs/classifier/model/metrics.json: test/accuracy {held_out:.4g}\n")
    assert "trained on" in rnn_hf("evaluate", "runs/classifier", "--data", "reviews", "--split", "train")[2]
    for data in ("reviews", "reviews/test.csv"):
        err = rnn_hf("evaluate", "runs/classifier", "--data", data)[2]
        assert err.startswith(f"{data}: ") and "trained on" not in err
