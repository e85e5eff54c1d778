"""`rnn-hf card`: the card of a trained folder, its preview, and wrong input."""

import json
import math
import re
import shutil

import pytest

from rnn_hf.cards import check
from rnn_hf.cards.metadata import read_metadata, split_card


@pytest.mark.parametrize("name", ["lm", "classifier"])
def test_every_trained_folder_has_a_card(workplace, rnn_hf, name):
    card = workplace / "runs" / name / "model" / "README.md"
    text = card.read_text()
    assert check(text) == []
    assert "![Loss" in text and "## Results" in text
    assert " with evaluation on " in text and "GB of memory, " in text and "Scoring the test split there took " in text
    assert text.count("\n| **") == 1, "the log has the saved step in bold"
    code, out, err = rnn_hf("card", f"runs/{name}", "--license", "mit", "--preview")
    assert code == 0, err
    assert "license: mit" in out
    assert card.read_text() == text, "a preview writes nothing"


@pytest.mark.parametrize("name", ["lm", "classifier"])
def test_a_card_is_rendered_again_from_metrics_json(workplace, rnn_hf, name, tmp_path):
    """To the letter, from the folder's files alone; and its figures are those of `metrics.json`."""
    trained = workplace / "runs" / name / "model"
    shutil.copytree(trained, tmp_path / "again", ignore=shutil.ignore_patterns("README.md"))
    code, _, err = rnn_hf("card", tmp_path / "again")
    assert code == 0, err
    text = (tmp_path / "again" / "README.md").read_text()
    assert text == (trained / "README.md").read_text()

    metrics = json.loads((trained / "metrics.json").read_text())["metrics"]
    table = re.search(r"## Results\n\n\|  \| validation \| test \|.*\n.*\n((?:\|.*\n)+)", text)[1]
    rows = {cells[0]: cells[1:3] for cells in (re.split(r" *\| *", line)[1:] for line in table.splitlines())}
    titles = {"loss": "Loss (nats)", "accuracy": "Accuracy", "f1_macro": "Macro F1", "perplexity": "Perplexity",
              "bits_per_character": "Bits per character", "bits_per_byte": "Bits per byte", "rows": "Rows scored",
              "calibration_error": "Expected calibration error", "tokens": "Tokens scored"}  # fmt: skip
    reported = {name.partition("/")[2] for name in metrics} - {"f1_micro"}  # of one label a row the accuracy
    assert reported == {name for name, title in titles.items() if title in rows}
    for measured in reported:
        shown = [float(cell.replace(",", "")) for cell in rows[titles[measured]]]
        expected = [metrics[f"{split}/{measured}"] for split in ("validation", "test")]
        assert shown == pytest.approx(expected, rel=5e-4), measured
    (result,) = read_metadata(split_card(text)[0], "")["model-index"][0]["results"]
    values = {m["name"]: m["value"] for m in result["metrics"]}
    assert values == pytest.approx({t: metrics[f"test/{n}"] for n, t in titles.items() if t in values}, rel=1e-5)
    assert all(math.isfinite(value) for value in values.values()) and len(values) >= 4


def test_wrong_licence_and_language_are_refused(workplace, rnn_hf):
    before = (workplace / "runs/lm/model/README.md").read_text()
    for wrong in (["--license", "apache"], ["--license", "other"], ["--language", "english"]):
        assert rnn_hf("card", "runs/lm", *wrong)[0] == 2
    assert (workplace / "runs/lm/model/README.md").read_text() == before
