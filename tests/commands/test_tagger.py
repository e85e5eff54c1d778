"""A tagger from CoNLL files to a folder: fit, evaluate, predict, and transformers' own pipeline."""

import json
import random

import pytest
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

from rnn_hf.cli import main

RECIPE = """\
task: tagging
model:
  config: {hidden_size: 16, bidirectional: true}
  word_vectors: tiny.4d
  learning_rate: 0.03
data: {dataset: entities, batch_size: 16, tokenizer: {kind: word, extra_words: tiny.4d}}
trainer: {max_epochs: 6, accelerator: cpu}
"""
PEOPLE, PLACES, FILL = ["Ann", "Bo", "Cy"], ["Rome", "Oslo", "Lima"], ["met", "saw", "in", "near", "the", "old"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tagging")
    (folder / "entities").mkdir()
    (folder / "vectors").mkdir()
    draw = random.Random(0)
    for split, count in {"train": 200, "validation": 40, "test": 40}.items():
        sentences = []
        for _ in range(count):
            words = [(draw.choice(FILL), "O") for _ in range(draw.randint(1, 5))]
            words += [(draw.choice(PEOPLE), "B-PER"), ("Smith", "I-PER"), (draw.choice(FILL), "O")]
            words += [(draw.choice(PLACES), "B-LOC"), (".", "O")]
            sentences.append("".join(f"{word} {tag}\n" for word, tag in words))
        (folder / "entities" / f"{split}.conll").write_text("\n".join(sentences))
    rows = [
        f"{word.lower()} {' '.join(str(draw.gauss(0, 1)) for _ in range(4))}\n" for word in [*PEOPLE, *FILL, "paris"]
    ]
    (folder / "vectors" / "tiny.4d.txt").write_text("".join(rows))
    (folder / "tagger.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("RNN_HF_DATA", str(folder))
        assert main(["fit", "--config", "tagger.yaml"]) == 0
        yield folder


def test_the_folder_says_what_was_trained(workplace):
    metrics = json.loads((workplace / "runs/tagger/model/metrics.json").read_text())
    assert metrics["task"] == "tagging" and metrics["monitor"] == "validation/f1"
    assert metrics["metrics"]["test/f1"] > 0.95
    assert metrics["metrics"]["test/words"] == metrics["data"]["splits"]["test"]["words"]
    assert set(metrics["reports"]["test"]["span_types"]) == {"PER", "LOC"}
    assert metrics["data"]["tag_scheme"] == "IOB2"
    vectors = metrics["word_vectors"]
    assert vectors["file"] == "tiny.4d.txt" and 0 < vectors["training_tokens_found_share"] < 1
    model = AutoModelForTokenClassification.from_pretrained("runs/tagger/model")
    assert model.config.embedding_size == 4 and set(model.config.id2label.values()) == {
        "B-LOC", "B-PER", "I-LOC", "I-PER", "O"
    }  # fmt: skip
    assert "Paris" in AutoTokenizer.from_pretrained("runs/tagger/model").get_vocab()


def test_evaluate_repeats_the_metrics(workplace, rnn_hf):
    metrics = json.loads((workplace / "runs/tagger/model/metrics.json").read_text())
    code, out, err = rnn_hf("evaluate", "runs/tagger", "--data", "entities", "--json")
    assert code == 0, err
    again = json.loads(out)
    for name in ("loss", "accuracy", "precision", "recall", "f1", "words", "spans"):
        assert again[name] == pytest.approx(metrics["metrics"][f"test/{name}"], rel=1e-5)
    assert again["span_types"] == metrics["reports"]["test"]["span_types"]
    code, out, err = rnn_hf("evaluate", "runs/tagger", "--data", "entities/test.conll")
    assert code == 0 and "span  precision  recall" in out, err


def test_predict_tags_words(workplace, rnn_hf, tmp_path):
    code, out, err = rnn_hf("predict", "runs/tagger", "the old Ann Smith saw Rome.")
    assert code == 0, err
    assert out == "the/O old/O Ann/B-PER Smith/I-PER saw/O Rome/B-LOC ./O\n"
    (tmp_path / "in.jsonl").write_text(
        json.dumps({"id": 1, "tokens": ["met", "Bo", "Smith", "in", "Lima", "."]}) + "\n"
    )
    code, _, err = rnn_hf(
        "predict", "runs/tagger", "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl"
    )
    assert code == 0, err
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert row["tags"] == ["O", "B-PER", "I-PER", "O", "B-LOC", "O"] and row["id"] == 1
    assert all(0 < score <= 1 for score in row["scores"])


def test_conll_keeps_its_columns(workplace, rnn_hf, tmp_path):
    command = ["predict", "runs/tagger", "--input", "entities/test.conll", "--output"]
    code, _, err = rnn_hf(*command, tmp_path / "out.conll")
    assert code == 0, err
    assert rnn_hf(*command, tmp_path / "out.jsonl")[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [list(row) for row in rows] == [["tokens", "tags", "predicted_tags", "scores"]] * 40
    sentences = [sentence.splitlines() for sentence in (tmp_path / "out.conll").read_text().split("\n\n")[:-1]]
    columns = ("tokens", "tags", "predicted_tags")
    assert [[line.split("\t") for line in sentence] for sentence in sentences] == [
        [list(word) for word in zip(*(row[name] for name in columns), strict=True)] for row in rows
    ]
    code, out, err = rnn_hf(
        "evaluate", "runs/tagger", "--data", tmp_path / "out.conll", "--label-column", "2", "--json"
    )
    assert code == 0 and json.loads(out)["f1"] > 0.9, err
    code, _, err = rnn_hf("predict", "runs/tagger", "--input", tmp_path / "out.jsonl", "--output", tmp_path / "b.conll")
    assert code == 2 and "has a word a line" in err and "write .jsonl, or give CoNLL" in err


def test_the_pipeline_finds_whole_entities(workplace):
    model = AutoModelForTokenClassification.from_pretrained("runs/tagger/model")
    tokenizer = AutoTokenizer.from_pretrained("runs/tagger/model")
    tagger = pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple")
    text = "the old Ann Smith saw Rome."
    found = [(entity["entity_group"], text[entity["start"] : entity["end"]]) for entity in tagger(text)]
    assert found == [("PER", "Ann Smith"), ("LOC", "Rome")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model.word_vectors", "glove.6B.50d"], "no word vectors 'glove.6B.50d'"),
        (["--model.word_vectors", "tiny.5d"], "did you mean 'tiny.4d"),
        (["--model.config.embedding_size", "8"], "embedding_size is 8, but the vectors of tiny.4d.txt have 4 numbers"),
        (["--data.label_column", "tagz"], "no column 'tagz'"),
        (["--data.tokenizer", "{kind: word, extra_words: nowhere.txt}"], "no word vectors 'nowhere.txt'"),
        (["--data.tokenizer", "{kind: bpe, extra_words: tiny.4d}"], "the bpe tokenizer takes the options"),
        (["--model.word_vector", "x"], "did you mean 'model.word_vectors'"),
    ],
)
def test_bad_input(workplace, rnn_hf, options, message):
    code, _, err = rnn_hf("fit", "--config", "tagger.yaml", *options)
    assert code == 2 and message in err and "Traceback" not in err, err
