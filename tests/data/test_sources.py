"""Which place a name stands for, and the splits that are found there."""

import json
import os
from pathlib import Path

import pytest

from rnn_hf.data.readers import Rows
from rnn_hf.data.sources import KNOWN, find_data_set, load_rows, load_source, rows_md5
from rnn_hf.files import md5

BENCHMARKS = Path(os.environ.get("RNN_HF_DATA", "/nowhere"))
needs_benchmarks = pytest.mark.skipif(
    not all((BENCHMARKS / name).is_dir() for name in ("trec", "sst2", "imdb", "names", "ud-ewt", "wikitext-2")),
    reason="needs the benchmark text: RNN_HF_DATA=../shared/data",
)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """RNN_HF_DATA, a folder of data sets, and an empty working directory."""
    root = tmp_path / "stand_ins"
    for name in ("trec", "ud-ewt", "WikiText_2", "imdb", "rotten_tomatoes"):
        write(root / name / "train.csv", f"text,label\n{name},x\n")
    monkeypatch.setenv("RNN_HF_DATA", str(root))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return root


@pytest.fixture
def no_hub(monkeypatch):
    """The Hub as it is without network."""
    import datasets

    def load_dataset(path, *args, **kwargs):
        raise ConnectionError(f"Couldn't reach '{path}' on the Hub (LocalEntryNotFoundError)")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)


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
    assert source.place == f"{tmp_path} (train.csv, dev.csv, test.csv; not read: train_extra.csv)"
    assert load_rows(str(tmp_path), "test").texts == ["test.csv"]
    assert list(load_source(str(tmp_path / "dev.csv")).splits) == ["train"]
    assert load_rows(str(tmp_path / "dev.csv"), "test").texts == ["dev.csv"]


def test_splits_name_other_files(tmp_path):
    for name in ("train.csv", "phrases.csv", "phrases.txt", "dev.csv", "test.csv"):
        write(tmp_path / name, f"text\n{name}\n")
    splits = {"train": "phrases.csv", "validation": "test", "test": None}
    found = load_source(str(tmp_path), splits=splits).splits
    assert {split: rows.texts for split, rows in found.items()} == {
        "train": ["phrases.csv"],
        "validation": ["test.csv"],
    }
    with pytest.raises(
        ValueError, match=r"splits\.train must be one of dev\.csv, .* got 'phrase' \(did you mean 'phras"
    ):
        load_source(str(tmp_path), splits={"train": "phrase"})
    with pytest.raises(
        ValueError, match=r"more than one file for train: phrases\.csv, phrases\.txt; keep one, or name"
    ):
        load_source(str(tmp_path), splits={"train": "phrases"})
    with pytest.raises(ValueError, match=r"train and test are both test\.csv of .*: set one to null"):
        load_source(str(tmp_path), splits={"train": "test"})
    with pytest.raises(ValueError, match=r"split must be one of train, validation, test; got 'dev'"):
        load_source(str(tmp_path), splits={"dev": "dev"})
    with pytest.raises(FileNotFoundError, match="has no train split"):
        load_source(str(tmp_path), splits={"train": None})
    with pytest.raises(ValueError, match=r"splits are parts of a folder .*test\.csv is a file"):
        load_source(str(tmp_path / "test.csv"), splits={"train": "x"})


def test_a_folder_of_one_file_is_that_file_but_never_trains_on_a_test_split(tmp_path):
    write(tmp_path / "one" / "names.csv", "text\nx\n")
    write(tmp_path / "one" / "README.md", "no data")
    assert list(load_source(str(tmp_path / "one")).splits) == ["train"]
    with pytest.raises(FileNotFoundError, match=r"one has no test split; it holds names\.csv: .* splits\.test"):
        load_rows(str(tmp_path / "one"), "test")
    write(tmp_path / "held_out" / "test.csv", "text\nx\n")
    with pytest.raises(FileNotFoundError, match=r"held_out has no train split; it holds test\.csv"):
        load_source(str(tmp_path / "held_out"))


def test_what_is_not_there_is_said_with_what_is(tmp_path):
    write(tmp_path / "reviews.csv", "text\nx\n")
    with pytest.raises(FileNotFoundError) as error:
        load_source(str(tmp_path / "reviewz.csv"))
    assert "did you mean 'reviews.csv'?" in str(error.value)
    assert "or one of imdb, movie_reviews, names, ptb, rotten_tomatoes, " in str(error.value)
    assert str(error.value).endswith(f"; {tmp_path.resolve()} holds reviews.csv")
    write(tmp_path / "notes.csv", "text\nx\n")
    with pytest.raises(FileNotFoundError, match=r"has no train split; it holds notes\.csv, reviews\.csv"):
        load_source(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"did you mean 'rotten_tomatoes'"):
        load_source("rotten_tomatos")
    with pytest.raises(FileNotFoundError, match="absent does not exist"):
        load_source(str(tmp_path / "absent" / "a.csv"))
    with pytest.raises(ValueError, match=r"split must be one of train, validation, test; got 'tset' \(did you mean"):
        load_rows("rotten_tomatoes", "tset")
    with pytest.raises(ValueError, match=r"the data set must be a file, a folder, a Hub id or one of .* got ' '"):
        load_source(" ")
    write(tmp_path / "train.csv", "text\nx\n")
    write(tmp_path / "train.txt", "x\n")
    with pytest.raises(ValueError, match=r"more than one file for train: train\.csv, train\.txt"):
        load_source(str(tmp_path))


@pytest.mark.parametrize(
    ("dataset", "folder"),
    [
        ("trec", "trec"),
        ("TREC", "trec"),
        ("CogComp/trec", "trec"),
        ("CogComp/trec@refs/convert/parquet", "trec"),
        ("ud_ewt", "ud-ewt"),
        ("universal-dependencies/universal_dependencies:en_ewt", "ud-ewt"),
        ("wikitext2", "WikiText_2"),
        ("wikitext-2", "WikiText_2"),
        ("Salesforce/wikitext:wikitext-2-v1", "WikiText_2"),
        ("stanfordnlp/imdb", "imdb"),
        ("imdb", "imdb"),
        ("rotten_tomatoes", "rotten_tomatoes"),
    ],
)
def test_a_folder_stands_in_for_the_hub(stand_ins, no_hub, dataset, folder):
    source = load_source(dataset, label_column="label")
    assert source.splits["train"].texts == [folder]
    assert source.place == f"{stand_ins / folder} (train.csv)"


def test_the_order_in_which_a_name_is_looked_for(stand_ins, no_hub, tmp_path):
    write(Path("trec/train.csv"), "text\nfolder trec here\n")
    write(Path("mine/imdb/train.csv"), "text\nfolder mine/imdb here\n")
    write(Path("imdb.csv"), "text\nfile here\n")
    path = write(tmp_path / "else" / "a.csv", "text\nelsewhere\n")

    def text(dataset, **options):
        return load_source(dataset, **options).splits["train"].texts[0]

    assert text("trec", path=str(path)) == text("trec", path=str(path.parent)) == "elsewhere"
    assert text("trec") == "trec"  # a name that is known is no path
    assert text("./trec") == "folder trec here"
    assert text("mine/imdb") == "folder mine/imdb here"
    assert text("imdb.csv") == "file here"
    assert text("theirs/imdb") == "imdb"
    assert find_data_set("movie_reviews").place == "package movie-reviews"
    with pytest.raises(ConnectionError):
        text("theirs/other")
    with pytest.raises(FileNotFoundError, match=r"no data set 'absent\.csv'"):
        text("trec", path="absent.csv")


def test_without_the_hub_it_is_said_how_a_set_can_stand_in_files(stand_ins, no_hub, monkeypatch):
    with pytest.raises(ConnectionError) as error:
        load_source("sst2")
    assert str(error.value) == (
        "the Hub, from which SetFit/sst2 is to come, cannot be reached: Couldn't reach 'SetFit/sst2' on the Hub "
        "(LocalEntryNotFoundError). Without it, sst2 can stand in files: in the folder sst2/ of the folder that "
        f"RNN_HF_DATA names, or where path (--data.path) says; RNN_HF_DATA={stand_ins} holds WikiText_2, imdb, "
        "rotten_tomatoes, trec, ud-ewt"
    )
    with pytest.raises(FileNotFoundError, match=r"names is not on the Hub: it is .*https://.* in the folder names/"):
        load_source("names")
    with pytest.raises(FileNotFoundError, match=r"no data set 'trex' \(did you mean 'trec'\?\).*RNN_HF_DATA="):
        load_source("trex")
    monkeypatch.setenv("RNN_HF_DATA", "absent")
    with pytest.raises(FileNotFoundError, match=r"RNN_HF_DATA must be a folder .* got 'absent'"):
        load_source("sst2")


def test_two_folders_of_one_name(stand_ins, no_hub):
    (stand_ins / "UD_EWT").mkdir()
    with pytest.raises(ValueError, match="RNN_HF_DATA holds more than one folder for ud_ewt: UD_EWT, ud-ewt"):
        load_source("ud_ewt")


def test_a_known_set_may_have_the_columns_of_the_hub(stand_ins):
    write(stand_ins / "trec" / "train.csv", "text,coarse_label,fine_label\nq,NUM,NUM:dist\n")
    source = load_source("trec", label_column="label")
    assert source.splits["train"] == Rows(str(stand_ins / "trec" / "train.csv"), ["q"], ["NUM"])
    assert load_rows("trec", "train", label_column="fine_label").labels == ["NUM:dist"]
    with pytest.raises(ValueError, match=r"no column 'tag' in .*; columns: text, coarse_label, fine_label"):
        load_source("trec", label_column="tag")
    write(stand_ins / "ud-ewt" / "train.jsonl", json.dumps({"tokens": ["a"], "upos": ["X"]}))
    (stand_ins / "ud-ewt" / "train.csv").unlink()
    source = load_source("ud_ewt", "tokens", "tags", row_kind="tokens")
    assert source.splits["train"].labels == [["X"]]


def test_texts_of_many_lines_become_lines(stand_ins, no_hub):
    (stand_ins / "WikiText_2" / "train.csv").unlink()
    write(
        stand_ins / "WikiText_2" / "train.jsonl", "".join(json.dumps({"text": t}) + "\n" for t in (" a \n", "", "b\nc"))
    )
    assert load_source("wikitext2").splits["train"].texts == [" a ", "", "b", "c"]


@pytest.mark.parametrize("label", ["-1", "x"])
def test_a_test_split_without_labels_is_left_out_with_a_notice(tmp_path, label):
    write(tmp_path / "train.csv", f"text,label\na,{label}\nb,1\n")
    write(tmp_path / "test.csv", "text,label\nc,-1\nd,-1\n")
    source = load_source(str(tmp_path), label_column="label")
    assert list(source.splits) == ["train"]
    assert source.notices == ["the test split is left out: it has no labels (all 2 are -1)"]
    assert list(load_source(str(tmp_path)).splits) == ["train", "test"]  # nobody asked for labels


def test_md5_is_of_the_bytes_and_of_the_rows(tmp_path):
    assert md5(write(tmp_path / "a.txt", b"abc")) == "900150983cd24fb0d6963f7d28e17f72"
    digests = [
        rows_md5(rows)
        for rows in (
            Rows("r", ["a", "b"], ["0", "1"]),
            Rows("r", ["a", "b"], ["1", "0"]),
            Rows("r", ["ab", ""], ["0", "1"]),
            Rows("r", ["a", "b"]),
        )
    ]
    assert len(set(digests)) == 4
    assert digests[0] == rows_md5(Rows("other", ["a", "b"], ["0", "1"]))


def test_names_of_the_table_are_plain():
    assert all(
        name == name.lower() and "/" not in name and (known.hub or known.origin) for name, known in KNOWN.items()
    )


@needs_benchmarks
def test_benchmarks_have_their_published_counts(monkeypatch):
    monkeypatch.setenv("RNN_HF_DATA", str(BENCHMARKS))

    def counts(*arguments, **options):
        return [len(rows) for rows in load_source(*arguments, **options).splits.values()]

    assert counts("trec", label_column="label") == [5452, 500]
    assert counts("sst2", label_column="label") == [6920, 872, 1821]
    assert counts("sst2", splits={"train": "train_phrases"}) == [77616, 872, 1821]
    assert counts("stanfordnlp/imdb", label_column="label") == [25000, 25000]
    assert counts("names", label_column="label") == [20050]
    assert counts("ud_ewt", "tokens", "tags", row_kind="tokens") == [12544, 2001, 2077]
    wikitext = load_source("wikitext2").splits.values()
    assert [sum(len(text.split()) + 1 for text in rows.texts) for rows in wikitext] == [2088628, 217646, 245569]
    assert sum(len(text) + 1 for text in load_source("tiny_shakespeare").splits["train"].texts) == 1_115_394
