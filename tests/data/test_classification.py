"""Padded batches: the right rows, labels and padding, in an order that seed and epoch fix."""

import pytest
import torch

from rnn_hf.data.batches import EncodedTexts, LengthBucketSampler, encode_texts, labelled_batches
from rnn_hf.data.classification import ClassificationDataModule
from rnn_hf.tokenization import build_tokenizer

from .conftest import sentences, write_csv


def rows_of(loader, tokenizer) -> list[tuple[str, int]]:
    """(text, label id) of every row, the padding checked on the way."""
    rows = []
    for batch in loader:
        ids, mask = batch["input_ids"], batch["attention_mask"]
        assert ids.dtype == mask.dtype == batch["labels"].dtype == torch.int64
        assert ids.shape == mask.shape and mask.sum(1).max() == ids.shape[1] and mask.sum(1).min() > 0
        assert (mask.diff(dim=1) <= 0).all(), "padding stands on the right"
        assert (ids[mask == 0] == tokenizer.pad_token_id).all()
        for row, real, label in zip(ids, mask, batch["labels"].tolist(), strict=True):
            rows.append((tokenizer.decode(row[real == 1]).strip(), label))
    return rows


def test_every_row_comes_once_with_its_label(labelled):
    data = ClassificationDataModule(str(labelled), batch_size=8)
    assert data.id2label == {0: "no", 1: "yes"}
    label2id = {"no": 0, "yes": 1}
    for split, loader in (("train", data.train_dataloader()), ("validation", data.val_dataloader())):
        rows = data.source.splits[split]
        known = set(data.tokenizer.get_vocab())
        wanted = [
            (" ".join(w if w in known else "<unk>" for w in text.split()), label2id[label])
            for text, label in zip(rows.texts, rows.labels, strict=True)
        ]
        assert sorted(rows_of(loader, data.tokenizer)) == sorted(wanted)
        assert len(list(loader)) == len(loader) == -(-len(rows) // 8)


def test_batches_equal_the_tokenizers_own_padding(labelled):
    data = ClassificationDataModule(str(labelled), max_length=12)
    texts = data.source.splits["validation"].texts[:9]
    own = data.tokenizer(texts, padding=True, truncation=True, max_length=12, return_tensors="pt")
    ours = encode_texts(texts, data.tokenizer)
    assert set(ours) == {"input_ids", "attention_mask"}
    assert all(torch.equal(ours[key], own[key]) for key in ours)


def test_order_is_a_function_of_seed_and_epoch():
    lengths = torch.randint(1, 60, (1003,), generator=torch.Generator().manual_seed(3))

    def order(seed, epoch):
        sampler = LengthBucketSampler(lengths, 10, seed)
        sampler.set_epoch(epoch)
        assert len(list(sampler)) == len(sampler) == 101
        return torch.cat(list(sampler)).tolist()

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4
    assert sorted(order(5, 7)) == list(range(1003))


def test_buckets_leave_little_padding():
    lengths = torch.randint(1, 200, (5000,), generator=torch.Generator().manual_seed(3))
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in LengthBucketSampler(lengths, 20))
    assert padded < 1.1 * int(lengths.sum())
    plain = sum(int(batch.max()) * len(batch) for batch in lengths.split(20))
    assert plain > 1.8 * int(lengths.sum())


def test_lightning_sets_the_epoch(labelled):
    from lightning import LightningModule, Trainer

    class Recorder(LightningModule):
        epochs = []

        def training_step(self, batch, index):
            if index == 0:
                self.epochs.append([])
            self.epochs[-1] += batch["input_ids"].flatten().tolist()

        def configure_optimizers(self):
            return None

    def epochs():
        recorder = Recorder()
        recorder.epochs = []
        Trainer(
            max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu"
        ).fit(recorder, train_dataloaders=ClassificationDataModule(str(labelled)).train_dataloader())
        return recorder.epochs

    first = epochs()
    assert len(first) == 2 and first[0] != first[1]
    assert first == epochs()


def test_integer_labels_sort_by_value(tmp_path):
    write_csv(tmp_path / "all.csv", sentences(60, 0), [(-1, 2, 10)[i % 3] for i in range(60)])
    data = ClassificationDataModule(str(tmp_path / "all.csv"))
    assert data.id2label == {0: "-1", 1: "2", 2: "10"}
    # Validation is split off stratified, the same rows for every seed.
    assert data.facts()["splits"]["validation"]["labels"] == {"-1": 2, "10": 2, "2": 2}
    other = ClassificationDataModule(str(tmp_path / "all.csv"), seed=9)
    assert other.source.splits["validation"] == data.source.splits["validation"]
    assert not set(data.source.splits["validation"].texts) & set(data.source.splits["train"].texts)


def test_empty_and_unknown_texts_are_counted_and_never_all_padding(tmp_path):
    write_csv(tmp_path / "train.csv", ["a b c", "b a", "", "c"], ["x", "y", "x", "y"])
    write_csv(tmp_path / "validation.csv", ["a", "zebra quagga", ""], ["x", "y", "x"])
    data = ClassificationDataModule(str(tmp_path), max_length=2)
    facts = data.facts()["splits"]
    assert (facts["train"]["empty_texts"], facts["train"]["truncated_share"]) == (1, 0.25)
    assert (facts["validation"]["empty_texts"], facts["validation"]["texts_without_known_word"]) == (1, 2)
    assert facts["validation"]["unknown_share"] == 2 / 3
    batch = data.encoded["validation"][[2, 0, 1]]
    unknown = data.tokenizer.unk_token_id
    assert batch["input_ids"].tolist()[0] == [unknown, data.tokenizer.pad_token_id]
    assert batch["attention_mask"].tolist() == [[1, 0], [1, 0], [1, 1]]
    assert batch["labels"].tolist() == [0, 0, 1]
    assert EncodedTexts([""], build_tokenizer("byte"))[[0]]["attention_mask"].tolist() == [[1]]


def test_max_length_travels_with_the_tokenizer(labelled, tmp_path):
    data = ClassificationDataModule(str(labelled), max_length=7)
    assert max(batch["input_ids"].shape[1] for batch in data.train_dataloader()) == 7
    data.tokenizer.save_pretrained(tmp_path / "saved")
    saved = build_tokenizer(str(tmp_path / "saved"))
    assert encode_texts(["the film " * 20], saved)["input_ids"].shape == (1, 7)
    assert encode_texts(["the film " * 20], saved, max_length=30)["input_ids"].shape == (1, 30)


def test_labelled_batches_reads_with_a_models_labels(labelled):
    data = ClassificationDataModule(str(labelled))
    for dataset in (labelled, labelled / "test.csv"):
        loader = labelled_batches(str(dataset), data.tokenizer, {"yes": 0, "no": 1}, batch_size=10)
        rows = rows_of(loader, data.tokenizer)
        assert len(rows) == len(loader.dataset) == 41
        assert all(("bad" in text.split()) is bool(label) for text, label in rows)


def test_bad_input(labelled, tmp_path_factory):
    with pytest.raises(ValueError, match=r"batch_size must be .* got 0; max_length must be .* or None; got 0"):
        ClassificationDataModule(str(labelled), batch_size=0, max_length=0)
    folder = tmp_path_factory.mktemp("labels")
    write_csv(folder / "train.csv", ["a b", "b c"], ["x", "y"])
    write_csv(folder / "validation.csv", ["a", "b"], ["x", "z"])
    with pytest.raises(ValueError, match=r"validation\.csv row 2: label must be one of x, y; got 'z'"):
        ClassificationDataModule(str(folder)).val_dataloader()
    with pytest.raises(ValueError, match=r"train\.csv row 1: label must be one of good, bad; got 'x'"):
        labelled_batches(str(folder / "train.csv"), build_tokenizer("byte"), {"good": 1, "bad": 0})
    write_csv(folder / "validation.csv", ["zebra", "quagga"], ["x", "y"])
    with pytest.raises(ValueError, match=r"validation\.csv: none of its 2 tokens is in the tokenizer's vocabulary"):
        ClassificationDataModule(str(folder)).val_dataloader()
    write_csv(folder / "train.csv", ["a b", "b c"], ["x", "x"])
    with pytest.raises(ValueError, match=r"train\.csv must have at least 2 labels; all 2 rows have 'x'"):
        _ = ClassificationDataModule(str(folder)).id2label


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], r"texts must be a list of at least one string; got \[\]"),
        ("a film", "texts must be a list of at least one string; got 'a film'"),
        (["a film", ""], "text 2 must have a word that the tokenizer knows; got ''"),
        (["zebra quagga", "a film"], "text 1 must have a word that the tokenizer knows; got 'zebra quagga'"),
    ],
)
def test_texts_to_predict_must_say_something(texts, message):
    with pytest.raises(ValueError, match=message):
        encode_texts(texts, build_tokenizer("word", ["a film"]))


def test_the_majority_baseline_is_the_training_split_s(tmp_path):
    for split, labels in {"train": "xxy", "validation": "xyyy", "test": "yyyxx"}.items():
        rows = "".join(f"some words,{label}\n" for label in labels)
        (tmp_path / f"{split}.csv").write_text("text,label\n" + rows)
    baselines = ClassificationDataModule(str(tmp_path)).baselines()
    assert baselines == {"validation/majority_accuracy": 0.25, "test/majority_accuracy": 0.4}
