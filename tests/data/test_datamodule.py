"""What the data modules of all tasks share: splits held out, overlap, empty texts, what is printed."""

import pytest
from lightning.pytorch.cli import LightningArgumentParser

from rnn_hf.data.classification import ClassificationDataModule
from rnn_hf.data.language_modeling import LanguageModelingDataModule
from rnn_hf.data.splits import normal_form

from .conftest import sentences, write_csv


@pytest.fixture
def overlapping(tmp_path):
    """100 training rows, of which the first 3 stand in the test split too, in other letters."""
    texts = sentences(100, 0)
    write_csv(tmp_path / "train.csv", texts, ["yes", "no"] * 50)
    write_csv(tmp_path / "test.csv", [f"{text.upper()} !" for text in texts[:3]] + sentences(7, 1), ["yes", "no"] * 5)
    return tmp_path


def test_overlap_is_counted_and_said(overlapping, capsys):
    data = ClassificationDataModule(str(overlapping))
    assert data.source.overlap == {"test": 3, "validation": 0}
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"{overlapping}: from {overlapping} (train.csv, test.csv)\n"
        f"{overlapping}: 3 of 10 test texts are training texts too; remove_overlap removes them from training\n"
    )
    facts = data.facts()
    assert facts["held_out_texts_also_in_train"] == {"test": 3, "validation": 0}
    assert facts["train_texts_removed_as_held_out"] == 0
    assert capsys.readouterr().err == ""  # once


def test_overlap_is_removed_from_training_on_request(overlapping, capsys):
    data = ClassificationDataModule(str(overlapping), remove_overlap=True)
    splits = data.source.splits
    held_out = {normal_form(text) for split in ("validation", "test") for text in splits[split].texts}
    assert not held_out & {normal_form(text) for text in splits["train"].texts}
    assert len(splits["train"]) + len(splits["validation"]) == 97 and len(splits["test"]) == 10
    assert "3 training rows removed: their texts are validation or test texts" in capsys.readouterr().err
    facts = data.facts()
    assert facts["held_out_texts_also_in_train"] == {"test": 0, "validation": 0}
    assert facts["train_texts_removed_as_held_out"] == 3


def test_removing_overlap_must_leave_something(tmp_path):
    for split in ("train", "validation"):
        write_csv(tmp_path / f"{split}.csv", ["a", "b"], ["yes", "no"])
    with pytest.raises(ValueError, match=r"remove_overlap leaves no row of .*train\.csv"):
        ClassificationDataModule(str(tmp_path), remove_overlap=True).tokenizer  # noqa: B018


def test_language_modelling_counts_long_lines_only(tmp_path):
    long = "a line of ten words or more is no mere heading"
    (tmp_path / "train.txt").write_text(f"= Heading =\n\n{long}\n" + "other words\n" * 40)
    (tmp_path / "validation.txt").write_text(f"= Heading =\n\n{long} .\n")
    data = LanguageModelingDataModule(str(tmp_path))
    assert data.source.overlap == {"validation": 1}
    data = LanguageModelingDataModule(str(tmp_path), remove_overlap=True)
    assert data.source.splits["train"].texts[:3] == ["= Heading =", "", "other words"]


def test_a_test_split_is_held_out_on_request(tmp_path):
    write_csv(tmp_path / "all.csv", sentences(200, 0), ["yes"] * 150 + ["no"] * 50)
    plain = ClassificationDataModule(str(tmp_path / "all.csv"))
    assert not plain.has_test
    data = ClassificationDataModule(str(tmp_path / "all.csv"), test_fraction=0.2)
    splits = data.source.splits
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 144, "validation": 16, "test": 40}
    assert splits["test"].labels.count("no") == 10
    assert sorted(text for rows in splits.values() for text in rows.texts) == sorted(sentences(200, 0))
    again = ClassificationDataModule(str(tmp_path / "all.csv"), test_fraction=0.2, seed=7).source.splits
    assert again["test"] == splits["test"] and again["validation"] == splits["validation"]
    assert data.facts()["splits"]["test"]["rows"] == 40


def test_the_test_split_of_a_stream_is_its_end(tmp_path):
    lines = [f"line {i:02}" for i in range(50)]
    (tmp_path / "all.txt").write_text("\n".join(lines))
    splits = LanguageModelingDataModule(str(tmp_path / "all.txt"), test_fraction=0.1).source.splits
    assert [text for split in ("train", "validation", "test") for text in splits[split].texts] == lines
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 41, "validation": 4, "test": 5}


@pytest.mark.parametrize("empty_text", ["keep", "drop", "error"])
def test_empty_texts(tmp_path, capsys, empty_text):
    texts = [*sentences(40, 0), " ", ""]
    write_csv(tmp_path / "train.csv", texts, ["yes", "no"] * 21)
    write_csv(tmp_path / "validation.csv", sentences(4, 1), ["yes", "no", "yes", "perhaps"])
    data = ClassificationDataModule(str(tmp_path), empty_text=empty_text)
    if empty_text == "error":
        with pytest.raises(ValueError, match=r"train\.csv row 41 has an empty text"):
            data.source  # noqa: B018
        return
    assert len(data.source.splits["train"]) == (42 if empty_text == "keep" else 40)
    assert ("2 train rows dropped: no text" in capsys.readouterr().err) is (empty_text == "drop")
    with pytest.raises(ValueError, match=r"validation\.csv row 4: label must be one of no, yes; got 'perhaps'"):
        data.encode_split("validation")


def test_rows_keep_their_place_in_the_file(tmp_path):
    """Also after others were dropped and held out."""
    write_csv(tmp_path / "train.csv", ["", *sentences(39, 0)], ["yes", "no"] * 20)
    splits = ClassificationDataModule(str(tmp_path), empty_text="drop").source.splits
    texts = ["", *sentences(39, 0)]
    for rows in splits.values():
        assert [texts[number - 1] for number in rows.numbers] == rows.texts


def test_path_stands_in_for_the_named_set(overlapping, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    data = ClassificationDataModule("trec", path=str(overlapping), splits={"validation": "test", "test": None})
    assert {split: len(rows) for split, rows in data.source.splits.items()} == {"train": 100, "validation": 10}
    assert data.facts()["dataset"] == "trec" and set(data.facts()["files"]) == {"train.csv", "test.csv"}
    assert data.facts()["place"] == "local files" and str(overlapping) not in str(data.facts())


def test_bad_arguments():
    with pytest.raises(ValueError) as error:
        ClassificationDataModule("x", batch_size=0, test_fraction=1, remove_overlap="yes", empty_text="remove")
    for name in ("batch_size", "test_fraction", "remove_overlap", "empty_text"):
        assert f"{name} must be" in str(error.value)
    with pytest.raises(TypeError, match=r"ClassificationDataModule has no argument 'pth' \(did you mean 'path'\?\)"):
        ClassificationDataModule("x", pth="y")
    with pytest.raises(TypeError, match=r"LanguageModelingDataModule has no argument 'batchsize' \(did you mean"):
        LanguageModelingDataModule("x", batchsize=3)


@pytest.mark.parametrize("module", [ClassificationDataModule, LanguageModelingDataModule])
def test_the_command_line_knows_the_shared_arguments(module):
    parser = LightningArgumentParser()
    parser.add_lightning_class_args(module, "data")
    line = ["--data.dataset", "a", "--data.path", "b", "--data.splits.train", "c", "--data.remove_overlap", "true"]
    data = parser.instantiate_classes(parser.parse_args([*line, "--data.empty_text", "drop"])).data
    assert (data.path, data.splits, data.remove_overlap, data.empty_text) == ("b", {"train": "c"}, True, "drop")
    with pytest.raises(SystemExit):
        parser.parse_args([*line, "--data.pth", "x"])
