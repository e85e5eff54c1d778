"""Data sets of the Hub, read by the real `datasets` from folders that are laid out as repositories of the Hub are."""

from pathlib import Path

import pytest

from rnn_hf.data.hub_sets import HUB_ID, load_hub_set
from rnn_hf.data.sources import load_rows, load_source

CARD = """---
configs:
- config_name: plain
  data_files: [{split: train, path: plain/train.parquet}, {split: dev, path: plain/dev.parquet}]
- config_name: tagged
  data_files: [{split: train, path: tagged/train.parquet}, {split: validation, path: tagged/validation.parquet}]
---
"""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Repositories of `datasets.load_dataset`: one of two configurations, one with hidden labels, one of one text."""
    import datasets
    from datasets import ClassLabel, Dataset, Features, List, Value

    def repository(hub_id: str, **files) -> Path:
        for name, (rows, features) in files.items():
            file = tmp_path / "hub" / hub_id / (name.replace("__", "/") + ".parquet")
            file.parent.mkdir(parents=True, exist_ok=True)
            Dataset.from_dict(rows, features and Features(features)).to_parquet(file)
        return tmp_path / "hub" / hub_id

    labels = {"text": Value("string"), "label": ClassLabel(names=["bad", "good"])}
    tags = {"tokens": List(Value("string")), "upos": List(ClassLabel(names=["X", "NOUN"]))}
    two = repository(
        "some/two",
        plain__train=({"text": ["a", "b", "c"], "label": [1, 0, 1]}, labels),
        plain__dev=({"text": ["d"], "label": [0]}, labels),
        tagged__train=({"tokens": [["a", "b"]], "upos": [[0, 1]]}, tags),
        tagged__validation=({"tokens": [["c"]], "upos": [[1]]}, tags),
    )
    (two / "README.md").write_text(CARD)
    repository(
        "some/hidden",
        train=({"text": ["a", "b"], "label": [1, 0]}, labels),
        validation=({"text": ["c"], "label": [0]}, labels),
        test=({"text": ["d"], "label": [-1]}, labels),
    )
    repository(
        "karpathy/tiny_shakespeare",
        train=({"text": ["one\n\ntwo\n"]}, None),
        validation=({"text": ["three\n"]}, None),
        test=({"text": ["four"]}, None),
    )
    (tmp_path / "hub" / "some" / "script").mkdir()
    load_dataset, asked = datasets.load_dataset, []

    def from_folder(path, name=None, *, revision=None, split=None):
        asked.append((path, name, revision, split))
        if path == "some/script":
            raise RuntimeError("Dataset scripts are no longer supported, but found script.py")
        folder = tmp_path / "hub" / path
        if not folder.is_dir():
            raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{path}' doesn't exist on the Hub.")
        return load_dataset(str(folder), name, split=split, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", from_folder)
    monkeypatch.chdir(tmp_path)
    return asked


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a/b", ("a/b", None, None)),
        ("a/b:c", ("a/b", "c", None)),
        ("a/b@refs/convert/parquet", ("a/b", None, "refs/convert/parquet")),
        ("a.x/b-y_z:c d@v1.0", ("a.x/b-y_z", "c d", "v1.0")),
    ],
)
def test_ids(name, parts):
    assert HUB_ID.fullmatch(name).group("id", "config", "revision") == parts


@pytest.mark.parametrize("name", ["a", "a/b/c", "./a", "a/b:", "a/b@", "/a/b", "~/a"])
def test_what_is_no_id(name):
    assert HUB_ID.fullmatch(name) is None


def test_class_labels_become_names_and_dev_is_validation(hub):
    source = load_source("some/two:plain", label_column="label")
    assert source.splits["train"].texts == ["a", "b", "c"]
    assert source.splits["train"].labels == ["good", "bad", "good"]
    assert source.splits["validation"].labels == ["bad"]
    assert source.place == "the Hub, some/two:plain (train, validation)" and source.files == []
    assert {split: len(digest) for split, digest in source.md5s().items()} == {"train": 32, "validation": 32}
    assert hub == [("some/two", "plain", None, None)]
    assert load_rows("some/two:plain@v2", "validation").texts == ["d"]
    assert hub[-1] == ("some/two", "plain", "v2", None)


def test_tags(hub):
    source = load_source("some/two:tagged", "tokens", "upos", row_kind="tokens")
    assert source.splits["train"].labels == [["X", "NOUN"]]


def test_splits_may_be_expressions(hub):
    splits = {"train": "train[1:]+dev", "validation": "train[:1]", "test": "dev"}
    found = load_source("some/two:plain", splits=splits).splits
    assert {split: rows.texts for split, rows in found.items()} == {
        "train": ["b", "c", "d"],
        "validation": ["a"],
        "test": ["d"],
    }
    assert list(load_source("some/two:plain", splits={"validation": None}).splits) == ["train"]


def test_hidden_test_labels_are_no_test_split(hub):
    source = load_source("some/hidden", label_column="label")
    assert list(source.splits) == ["train", "validation"]
    (notice,) = source.notices
    assert notice.startswith("the test split is left out: it has no labels (some/hidden test row 1, column 'label'")
    with pytest.raises(ValueError, match="some/hidden test row 1, column 'label' must be a label"):
        load_rows("some/hidden", "test", label_column="label")


def test_hidden_labels_elsewhere_are_refused(hub):
    with pytest.raises(ValueError, match="some/hidden train row 1"):
        load_source("some/hidden", label_column="label", splits={"train": "test", "test": None})


def test_a_known_set_brings_its_splits_and_lines(hub):
    source = load_source("tiny_shakespeare")
    assert {split: rows.texts for split, rows in source.splits.items()} == {
        "train": ["one", "", "two"],
        "validation": ["three", "four"],
    }
    assert source.place == "the Hub, karpathy/tiny_shakespeare@refs/convert/parquet (train, validation)"
    assert hub[0] == ("karpathy/tiny_shakespeare", None, "refs/convert/parquet", None)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        (
            "some/two",
            {},
            ValueError,
            "some/two has several configurations: write some/two:NAME, NAME one of plain, tagged",
        ),
        (
            "some/two:plane",
            {},
            ValueError,
            "some/two has no configuration 'plane': write some/two:NAME, NAME one of plain, tagged (did you mean 'pl",
        ),
        ("some/absent", {}, FileNotFoundError, "https://huggingface.co/datasets/some/absent"),
        (
            "some/script",
            {},
            ValueError,
            "some/script is a script, which `datasets` does not run: name its Parquet copy",
        ),
        (
            "some/two:plain",
            {"splits": {"train": "trian"}},
            ValueError,
            "some/two:plain has no split 'trian'; its splits: train, dev (did you mean 'train'?)",
        ),
        (
            "some/two:plain",
            {"label_column": "lable"},
            ValueError,
            "no column 'lable' in some/two:plain train; columns: text, label (did you mean 'label'?)",
        ),
        (
            "some/two:tagged",
            {"text_column": "tokens"},
            ValueError,
            "some/two:tagged train row 1, column 'tokens' must be",
        ),
    ],
)
def test_errors_list_what_there_is(hub, name, options, error, message):
    with pytest.raises(error) as raised:
        load_source(name, **options)
    assert message in str(raised.value)


def test_a_split_that_the_hub_lacks(hub):
    with pytest.raises(
        FileNotFoundError, match=r"some/two:plain has no test split; it holds train, dev: .*splits\.test"
    ):
        load_rows("some/two:plain", "test")


def test_broken_files_are_said_to_be_unreadable(hub, tmp_path):
    (tmp_path / "hub" / "some" / "broken").mkdir()
    (tmp_path / "hub" / "some" / "broken" / "train.jsonl").write_text('{"text": "a"}\n{"text": b}\n')
    with pytest.raises(ValueError, match=r"^some/broken cannot be read: An error occurred .*\(.*\)"):
        load_hub_set("some/broken")
