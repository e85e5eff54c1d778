"""Model folders with facts such as `rnn-hf fit` writes, made without training."""

import json

import pytest

from rnn_hf import (
    RnnConfig,
    RnnForCausalLM,
    RnnForSequenceClassification,
    RnnForTokenClassification,
    train_word_tokenizer,
)

TEXTS = ["a moving and honest film", "two dull hours", "it is never dull", "the film is slow but good"]
LABELS = {
    "classifier": ["negative", "positive"],
    "tagger": ["ADJ", "DET", "NOUN"],
}
MODELS = {
    "classifier": RnnForSequenceClassification,
    "tagger": RnnForTokenClassification,
    "lm": RnnForCausalLM,
}


@pytest.fixture
def bare(tmp_path):
    """Makes a folder with a tiny model, its tokenizer and no other fact; keywords go to the configuration."""

    def make(kind="classifier", name="model", include_code=False, **config):
        tokenizer = train_word_tokenizer(TEXTS, padding_side="left" if kind == "lm" else "right")
        if labels := LABELS.get(kind):
            config = {"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}} | config
        sizes = {"vocab_size": len(tokenizer), "embedding_size": 8, "hidden_size": 8}
        special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 2}
        MODELS[kind](RnnConfig(**sizes | special | config)).save_pretrained(tmp_path / name, include_code=include_code)
        tokenizer.save_pretrained(tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture
def folder(bare):
    """A classifier with the facts of a small run."""
    made = bare()
    report = {
        "task": "classification",
        "name": "reviews",
        "metrics": {"validation/accuracy": 0.8, "validation/rows": 50, "test/accuracy": 0.75, "test/rows": 100},
        "monitor": "validation/accuracy", "best_step": 20, "steps": 30, "epochs": 3, "seed": 4, "wall_seconds": 65.0,
        "data": {
            "dataset": "/home/someone/reviews.csv", "place": "local files", "files": {"reviews.csv": "0" * 32},
            "splits": {"train": {"rows": 400, "labels": {"negative": 150, "positive": 250}}, "test": {"rows": 100}},
            "label_examples": {"positive": ["a moving film"], "negative": ["two dull hours"]},
            "sample_texts": ["it is slow", "a good film"],
            "held_out_texts_also_in_train": {"test": 3},
        },
    }  # fmt: skip
    (made / "metrics.json").write_text(json.dumps(report))
    return made
