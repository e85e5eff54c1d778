"""`rnn-hf card`: the card of a trained folder, its preview, and wrong input."""

import pytest

from rnn_hf.cards import check


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


def test_wrong_licence_and_language_are_refused(workplace, rnn_hf):
    before = (workplace / "runs/lm/model/README.md").read_text()
    for wrong in (["--license", "apache"], ["--license", "other"], ["--language", "english"]):
        assert rnn_hf("card", "runs/lm", *wrong)[0] == 2
    assert (workplace / "runs/lm/model/README.md").read_text() == before
