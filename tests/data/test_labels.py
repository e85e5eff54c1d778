"""Labels as ids: names, gaps, several a row, unknown ones, weights."""

import json

import pytest
import torch

from rnn_hf.data.batches import LengthBucketSampler
from rnn_hf.data.classification import ClassificationDataModule
from rnn_hf.data.labels import class_weights, label_names, label_tensor
from rnn_hf.data.readers import Rows

from .conftest import sentences, write_csv


def rows(labels, name="train.csv"):
    return Rows(name, [f"text {i}" for i in range(len(labels))], labels)


def test_integers_with_gaps_get_ids_without():
    labels = rows(["10", "-3", "2", "10"])
    assert label_names(labels) == {0: "-3", 1: "2", 2: "10"}
    assert label_tensor(labels, {"-3": 0, "2": 1, "10": 2}).tolist() == [2, 0, 1, 2]
    assert label_names(rows(["b", "10", "2"])) == {0: "10", 1: "2", 2: "b"}


def test_several_labels_a_row_become_columns():
    labels = rows([["b", "a"], [], ["c"]])
    assert label_names(labels) == {0: "a", 1: "b", 2: "c"}
    assert label_tensor(labels, {"a": 0, "b": 1, "c": 2}).tolist() == [[True, True, False], [False] * 3, [0, 0, 1]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["good", "god"], r"dev\.csv row 2: label must be one of bad, good; got 'god' \(did you mean 'good'\?\)"),
        (["-1"], r"dev\.csv row 1: label must be one of bad, good; got '-1'"),
        ([["good"], ["bad", "fine"]], r"dev\.csv row 2: label must be one of bad, good; got 'fine'"),
    ],
)
def test_an_unknown_label_is_named_with_file_row_and_what_is_allowed(labels, message):
    with pytest.raises(ValueError, match=message):
        label_tensor(rows(labels, "dev.csv"), {"bad": 0, "good": 1})


def test_nothing_to_tell_apart_is_an_error():
    with pytest.raises(ValueError, match="must have labels; no row has any"):
        label_names(rows([[], []]))
    with pytest.raises(ValueError, match="must have at least 2 labels; all 2 rows have 'x'"):
        label_names(rows(["x", "x"]))


def test_balanced_weights_give_every_label_the_same_part():
    ids = torch.tensor([0] * 6 + [1] * 3 + [2])
    weights = torch.tensor(class_weights("balanced", ids, {0: "a", 1: "b", 2: "c"}))
    assert (weights * ids.bincount()).tolist() == pytest.approx([10 / 3] * 3)
    assert float(weights[ids].mean()) == pytest.approx(1.0)
    has = torch.tensor([[1, 0], [0, 0], [0, 1], [0, 1]], dtype=torch.bool)
    assert class_weights("balanced", has, {0: "a", 1: "b"}) == [3.0, 1.0]


def test_given_weights_leave_the_others_at_one():
    assert class_weights({2: 0.5}, torch.tensor([0, 1]), {0: "1", 1: "2"}) == [1.0, 0.5]
    with pytest.raises(ValueError, match=r"must name labels among no, yes; got 'yess' \(did you mean 'yes'\?\)"):
        class_weights({"yess": 2}, torch.tensor([0, 1]), {0: "no", 1: "yes"})


def test_balanced_sampling_draws_labels_equally_in_buckets():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 200, (3000,), generator=generator)
    labels = (torch.arange(3000) % 100 == 0).long() + (torch.arange(3000) % 10 == 1).long() * 2  # 2670, 30, 300

    def epoch(seed, number):
        sampler = LengthBucketSampler(lengths, 20, seed, labels)
        sampler.set_epoch(number)
        assert len(list(sampler)) == len(sampler) == 150
        return torch.cat(list(sampler))

    drawn = epoch(0, 0)
    assert labels[drawn].bincount().tolist() == [1000, 1000, 1000]
    times = drawn.bincount(minlength=3000)
    assert times[labels == 0].max() == 1
    assert set(times[labels == 1].tolist()) == {33, 34}
    assert set(times[labels == 2].tolist()) == {3, 4}
    assert torch.equal(drawn, epoch(0, 0))
    assert len({tuple(epoch(seed, number).tolist()) for seed in (0, 1) for number in (0, 1)}) == 4
    sampler = LengthBucketSampler(lengths, 20, 0, labels)
    assert sum(int(lengths[b].max()) * len(b) for b in sampler) < 1.15 * sum(int(lengths[b].sum()) for b in sampler)


def test_sampling_balanced_reaches_the_training_batches_alone(tmp_path):
    write_csv(tmp_path / "all.csv", sentences(200, 0), ["rare" if i % 20 == 0 else "usual" for i in range(200)])
    data = ClassificationDataModule(str(tmp_path / "all.csv"), sampling="balanced")
    trained = torch.cat([batch["labels"] for batch in data.train_dataloader()])
    assert trained.bincount().tolist() == [90, 90]
    assert torch.cat([batch["labels"] for batch in data.val_dataloader()]).bincount().tolist() == [1, 19]


def test_several_labels_from_lists_and_from_strings(tmp_path):
    labels = [[name for name in ("a", "b", "c") if (i * 7 + ord(name)) % 3] if i % 9 else [] for i in range(120)]
    texts = sentences(120, 0)
    records = [json.dumps({"text": t, "topics": row}) for t, row in zip(texts, labels, strict=True)]
    (tmp_path / "lists.jsonl").write_text("\n".join(records))
    write_csv(tmp_path / "strings.csv", texts, [" | ".join(row) for row in labels])
    lists = ClassificationDataModule(str(tmp_path / "lists.jsonl"), label_column="topics", multi_label=True)
    strings = ClassificationDataModule(str(tmp_path / "strings.csv"), label_separator="|")
    assert lists.source.splits["train"].labels == strings.source.splits["train"].labels
    assert lists.problem_type == strings.problem_type == "multi_label_classification"
    assert lists.id2label == {0: "a", 1: "b", 2: "c"}
    batch = next(iter(strings.val_dataloader()))
    assert batch["labels"].dtype == torch.float32
    assert batch["labels"].shape == (12, 3)
    facts = strings.facts()["splits"]
    assert facts["train"]["rows_without_label"] + facts["validation"]["rows_without_label"] == 14
    assert set(strings.baselines()) == {"validation/majority_subset_accuracy"}


def test_held_out_rows_with_several_labels_hold_the_rare_ones_too():
    labels = [["common", "rare"] if i % 50 == 0 else ["common"] if i % 3 else [] for i in range(1000)]
    data = ClassificationDataModule("unread", multi_label=True)
    stays, held_out = data.split_validation(rows(labels), 100)
    assert len(held_out) == pytest.approx(100, abs=2)
    assert sum("rare" in row for row in held_out.labels) == 2
    assert sum("rare" in row for row in stays.labels) == 18


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_weights": "balancd"}, r"class_weights must be balanced or a mapping .* \(did you mean 'balanced'\?\)"),
        ({"class_weights": {"yes": -1}}, "class_weights must be a mapping of label to weight, each 'yes': a number"),
        ({"sampling": "even"}, "sampling must be one of shuffled, balanced; got 'even'"),
        ({"label_separator": ""}, "label_separator must be a string that is not empty"),
        ({"sampling": "balanced", "multi_label": True}, "sampling balanced is for one label a row"),
        ({"sampling": "balanced", "class_weights": "balanced"}, "do the same twice: give one of them"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClassificationDataModule("reviews.csv", **arguments)


def test_lengths_cuts_and_empty_texts_are_said_before_training(tmp_path):
    write_csv(tmp_path / "train.csv", ["a b c d", "b a", "", "c"] * 5, ["x", "y", "x", "y"] * 5)
    write_csv(tmp_path / "validation.csv", ["a"], ["x"])
    data = ClassificationDataModule(str(tmp_path), max_length=3)
    facts = data.facts()["splits"]["train"]
    assert facts["tokens_a_text"] == {"mean": 1.75, "median": 1, "95th_percentile": 4, "max": 4}
    labels, train, validation = data.summary()
    assert labels == "2 labels, in training most often 'x' (50.0% of the rows)"
    assert train == (
        "train: 20 texts, 5 empty | tokens a text: mean 1.8, median 1, 95 % up to 4, max 4, 25.0% cut to 3, "
        "0.0% unknown"
    )
    assert validation.startswith("validation: 1 texts, 0 empty")
