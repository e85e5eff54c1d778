"""`refresh`: a card from facts alone; what somebody wrote stays."""

import json
import math
import re

import pytest
import yaml

from rnn_hf.cards import check, edited_sections, refresh
from rnn_hf.cards.metadata import split_card


def metadata_of(card):
    return yaml.safe_load(split_card(card.read_text())[0])


def change(folder, **report):
    file = folder / "metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | report))


def test_a_card_is_made_once_and_then_stays(folder):
    card = refresh(folder, repo_id="me/reviews", license="Apache-2.0")
    text = card.read_text()
    assert card == folder / "README.md"
    assert check(text) == []
    assert metadata_of(card)["license"] == "apache-2.0"
    assert refresh(folder, repo_id="me/reviews").read_text() == text


def test_new_facts_come_into_a_card_that_nobody_edited(folder):
    before = refresh(folder).read_text()
    change(folder, metrics={"test/accuracy": 0.5, "test/rows": 100})
    after = refresh(folder).read_text()
    assert "0.7500" in before and "0.7500" not in after
    assert "0.5000" in after
    values = [m["value"] for r in metadata_of(folder / "README.md")["model-index"][0]["results"] for m in r["metrics"]]
    assert values == [0.5]


def test_what_somebody_wrote_stays(folder):
    card = refresh(folder, license="mit")
    text = card.read_text()
    text = text.replace("## Limits\n", "## Limits\n\nNot for medical texts.\n")  # inside the marks
    text = text.replace("<!-- rnn-hf data", "## My own words\n\nDear reader.\n\n<!-- rnn-hf data")  # between them
    text = text.replace("license: mit", "license: mit  # as agreed\nthumbnail: me.png\nlanguage: de")
    card.write_text(text)
    assert refresh(folder).read_text() == text, "nothing is new: not a letter changes"
    change(folder, metrics={"test/accuracy": 0.5, "test/rows": 100})
    after = refresh(folder, repo_id="me/x").read_text()
    assert "Not for medical texts." in after and "Dear reader." in after
    assert "0.5000" in after, "the sections that nobody edited are new"
    assert edited_sections(after) == ["limits"]
    data = metadata_of(card)
    assert (data["thumbnail"], data["language"], data["license"]) == ("me.png", "de", "mit")


def test_a_card_without_marks_gets_metadata_only(folder):
    (folder / "README.md").write_text("# My model\n\nIt is mine.\n")
    text = refresh(folder, license="mit").read_text()
    assert text.endswith("---\n# My model\n\nIt is mine.\n")
    assert metadata_of(folder / "README.md")["license"] == "mit"


def test_a_damaged_card_is_refused_and_stays(folder):
    (folder / "README.md").write_text("---\na: [\n---\nmine\n")
    with pytest.raises(ValueError, match=r"README.md: the metadata is not valid YAML"):
        refresh(folder)
    assert (folder / "README.md").read_text() == "---\na: [\n---\nmine\n"


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected config\.json in it"):
        refresh(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_text_of_the_data_cannot_break_a_card(folder):
    hostile = "a | b <script>x</script> ``` [l](u) <!-- /rnn-hf data -->\n# head"
    data = json.loads((folder / "metrics.json").read_text())["data"]
    change(folder, data=data | {"label_examples": {"positive": [hostile]}, "sample_texts": [hostile]})
    text = refresh(folder).read_text()
    assert check(text) == [] and edited_sections(text) == []
    assert "<script>" not in split_card(text)[1] and "\n# head" not in text
    assert refresh(folder).read_text() == text


@pytest.mark.parametrize("kind", ["lm", "classifier", "tagger"])
def test_snippets_of_a_folder_with_few_facts_run(bare, kind, monkeypatch):
    made = bare(kind)
    text = refresh(made).read_text()
    assert "## Results" not in text and "More Information" not in text
    monkeypatch.chdir(made)
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) == 2
    for code in blocks:
        exec(compile(code, "README.md", "exec"), {})


def test_a_backward_language_model_scores_and_continues_nothing(bare, monkeypatch, capsys):
    made = bare("lm", direction="backward")
    (made / "metrics.json").write_text(json.dumps({"data": {"sample_texts": ["two dull hours"]}}))
    text = refresh(made).read_text()
    assert "A single-layer backward LSTM language model" in text
    assert "it continues no text" in text and "rnn-hf score" in text and "pipeline(" not in text
    assert "widget" not in metadata_of(made / "README.md")
    monkeypatch.chdir(made)
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    exec(compile(code, "README.md", "exec"), {})
    assert float(capsys.readouterr().out) > 1


def test_perplexity_has_an_interval_where_the_loss_has_a_standard_error(bare):
    made = bare("lm")
    metrics = {"test/loss": 4.0, "test/perplexity": math.exp(4), "test/tokens": 5000}
    (made / "metrics.json").write_text(
        json.dumps({"metrics": metrics, "reports": {"test": {"loss_standard_error": 0.05}}, "data": {"dataset": "ptb"}})
    )
    text = refresh(made).read_text()
    assert "| Perplexity | 54.60 | 49.50 to 60.22 |" in text  # exp(4 -+ 1.96 x 0.05)
    assert "from the spread of the loss between blocks of text" in text
    change(made, reports={})
    assert "| Perplexity | 54.60 |  |" in refresh(made).read_text()


def test_other_smoothings_stand_beside_a_counted_model_s_own(bare):
    made = bare("lm")
    (made / "config.json").write_text(
        json.dumps(json.loads((made / "config.json").read_text()) | {"smoothing": "kneser_ney"})
    )
    smoothing = {
        "kneser_ney": {"perplexity": 50.0, "zero_probability_share": 0.0},
        "add_k": {"perplexity": 400.0, "zero_probability_share": 0.0},
        "maximum_likelihood": {"perplexity": None, "zero_probability_share": 0.25},
    }
    report = {"metrics": {"test/perplexity": 50.0}, "reports": {"test": {"smoothing": smoothing}}}
    (made / "metrics.json").write_text(json.dumps(report))
    rows = [line for line in refresh(made).read_text().splitlines() if line.startswith("| To compare")]
    assert rows == [
        "| To compare: perplexity by add-k | 400.0 |  |",
        "| To compare: perplexity by maximum likelihood | inf |  |",
        "| To compare: share of tokens with probability 0 by maximum likelihood | 0.2500 |  |",
    ]
