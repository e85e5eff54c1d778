"""What a card says of each kind of model, made from its configuration and the facts of a run alone."""

import json

import pytest

from rnn_hf.cards import check, refresh
from rnn_hf.cards.families import DESCRIPTIONS
from rnn_hf.cards.metadata import read_metadata, split_card
from rnn_hf.models.auto import FAMILIES

CLASSIFIER, TAGGER = "RnnForSequenceClassification", "RnnForTokenClassification"
TWO = {"id2label": {"0": "ham", "1": "spam"}}


@pytest.fixture
def card(tmp_path):
    """The card of a folder that holds a configuration and `metrics.json`, and the metadata at its head."""

    def make(config, tokenizer=True, **report):
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "metrics.json").write_text(json.dumps(report))
        if tokenizer:
            (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
        (tmp_path / "README.md").unlink(missing_ok=True)
        text = refresh(tmp_path).read_text()
        assert check(text) == []
        return text, read_metadata(split_card(text)[0], "")

    return make


@pytest.mark.parametrize(
    ("config", "described"),
    [
        ({"model_type": "rnn", "cell_type": "elman", "architectures": ["RnnForCausalLM"]},
         "A single-layer Elman RNN language model"),
        ({"model_type": "rnn", "cell_type": "gru", "num_hidden_layers": 8, "architectures": ["RnnForCausalLM"]},
         "An 8-layer GRU language model"),
        ({"model_type": "rnn", "bidirectional": True, "num_hidden_layers": 2, "architectures": [TAGGER]},
         "A 2-layer bidirectional LSTM tagger"),
        ({"model_type": "rnn", "architectures": ["RnnModel"]}, "A single-layer LSTM encoder"),
        ({"model_type": "bow", "classifier": "naive_bayes", "ngram_max": 2, "num_features": 3000,
          "architectures": ["BowForSequenceClassification"]},
         "A Naive Bayes text classifier: 3,000 n-grams of up to 2 tokens"),
        ({"model_type": "bow", "classifier": "nb_logistic_regression",
          "architectures": ["BowForSequenceClassification"]},
         "A logistic regression with Naive Bayes features text classifier"),
        ({"model_type": "bow", "classifier": "mlp", "architectures": ["BowForSequenceClassification"]},
         "A neural bag-of-words text classifier"),
        ({"model_type": "cnn", "num_hidden_layers": 1, "architectures": ["CnnForSequenceClassification"]},
         "A single-layer convolutional text classifier"),
        ({"model_type": "cnn", "num_hidden_layers": 4, "architectures": ["CnnForCausalLM"]},
         "A 4-layer gated convolutional language model"),
        ({"model_type": "ffn", "context_size": 4, "architectures": ["FfnForCausalLM"]},
         "A feed-forward 5-gram language model"),
        ({"model_type": "ngram", "order": 5, "num_ngrams": [9, 20], "architectures": ["NgramForCausalLM"]},
         "A 5-gram modified Kneser-Ney language model: 29 n-grams of up to 5 tokens"),
        ({"model_type": "ngram", "order": 1, "num_ngrams": [9], "smoothing": "add_k",
          "architectures": ["NgramForCausalLM"]},
         "A 1-gram add-k language model: 9 n-grams of up to 1 token"),
        ({"model_type": "other", "architectures": ["OtherForCausalLM"]}, "An OtherForCausalLM language model"),
    ],
)  # fmt: skip
def test_each_family_is_described(card, config, described):
    text, data = card(config)
    assert f"\n{described}.\n" in text
    assert data["tags"][:2] == ["rnn-hf", config["model_type"]] and data["library_name"] == "transformers"
    assert ("## Sources" in text) == (config["model_type"] != "other")


def test_no_family_is_without_a_description():
    assert set(DESCRIPTIONS) == {family.model_type for family in FAMILIES}


def test_a_model_that_was_fitted_in_one_pass(card):
    text, _ = card(
        {"model_type": "ngram", "reset_at_eos": True, "architectures": ["NgramForCausalLM"]},
        metrics={"test/loss": 4.0, "test/perplexity": 54.6, "test/tokens": 1000},
        data={"dataset": "ptb", "eval_state": "carried"},
        steps=0, epochs=1, best_step=0, wall_seconds=4.16, seed=7, versions={"rnn-hf": "0.1.0", "torch": "2.13"},
        log=[{"step": 0, "epoch": 1, "validation/perplexity": 60.0}], settings={"model.config.order": 3},
        hardware={"processor": "A processor", "cores": 1, "threads": 1, "platform": "Linux", "memory_gb": 8.0},
    )  # fmt: skip
    assert (
        "Fitted in one pass over the training split, 4.2 s with evaluation on A processor (1 thread on 1 core, 8.0 GB "
        "of memory, Linux). Seed 7." in text
    )
    assert "Every text is scored by itself" in text and "in all, the test text costs 4,000 nats" in text
    assert "Versions: rnn-hf 0.1.0, torch 2.13." in text and "| `model.config.order` | 3 |" in text
    assert "best by" not in text and "Bold" not in text


def test_several_labels(card):
    splits = {"train": {"rows": 40, "labels": {"ham": 20, "spam": 30}, "rows_without_label": 5, "empty_texts": 0}}
    labels = {name: {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 6} for name in ("ham", "spam")}
    text, data = card(
        {"model_type": "rnn", "architectures": [CLASSIFIER], "problem_type": "multi_label_classification", **TWO},
        metrics={"test/subset_accuracy": 0.5, "test/f1_macro": 0.6, "test/f1_micro": 0.7, "test/rows": 10},
        reports={"test": {"labels": labels}},
        data={"dataset": "mails", "splits": splits},
    )
    assert "| Subset accuracy (every label right) | 0.5000 | 0.2366 to 0.7634 |" in text
    assert "| Macro F1 | 0.6000 |  |" in text and "| Micro F1 | 0.7000 |  |" in text
    assert "| spam | 1.000 | 0.500 | 0.667 | 6 |" in text
    assert "|  | Texts | Without label | Unknown |" in text, "a column of zeros is left out"
    assert "It knows no other labels than these, and may give a text none." in text
    assert "logits.sigmoid()" in text and "top_k=None" in text
    found = data["model-index"][0]["results"][0]["metrics"]
    assert [(m["type"], m["name"]) for m in found][1:] == [("f1", "Macro F1"), ("f1", "Micro F1")]


def test_regression(card):
    text, data = card(
        {
            "model_type": "rnn",
            "architectures": [CLASSIFIER],
            "problem_type": "regression",
            "id2label": {"0": "LABEL_0"},
        },
        metrics={"test/loss": 0.25, "test/rows": 10},
        data={"dataset": "stars", "sample_texts": ["a film", 'a "good" one']},
    )
    assert "logits.squeeze(-1).tolist()" in text and '    "a \\"good\\" one",' in text
    assert "rnn-hf predict" not in text and "labels" not in text
    assert data["pipeline_tag"] == "text-classification" and data["widget"][0] == {"text": "a film"}


def test_a_tagger_of_spans(card):
    spans = {"PER": {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 3}}
    text, _ = card(
        {"model_type": "rnn", "architectures": [TAGGER], "id2label": {"0": "O", "1": "B-PER"}},
        metrics={"test/f1": 2 / 3, "test/precision": 0.5, "test/recall": 1.0, "test/accuracy": 0.9, "test/words": 50,
                 "test/spans": 3},
        reports={"test": {"span_types": spans}},
        data={
            "dataset": "news", "held_out_texts_also_in_train": {"test": 1},
            "splits": {"train": {"sentences": 9, "words": 90, "tags": {"O": 80, "B-PER": 10}},
                       "test": {"sentences": 5, "words": 50}},
            "label_examples": {"O": ["the", "|"], "B-PER": ["Ann"]},
        },
    )  # fmt: skip
    assert "| F1 of whole spans | 0.6667 |" in text and "| Span | Precision | Recall | F1 | In test |" in text
    assert "| Accuracy | 0.9000 | 0.7864 to 0.9565 |" in text, "of words"
    assert "which take the words of a sentence for independent" in text
    assert "| Label | train | test | Examples (training) |\n| --- | ---: | ---: | --- |" in text
    assert "| O | 80 | 0 | the / &#124; |" in text
    assert "1 of the 5 test sentences is a training sentence too" in text
    assert "It answers with tags O, B-PER." in text.replace("&#58;", ":")


def test_a_model_that_starts_from_another(card):
    text, data = card(
        {"model_type": "rnn", "architectures": [CLASSIFIER], **TWO},
        pretrained={"name": "me/lm", "is_local": False, "task": "language_modeling", "dataset": "imdb",
                    "leaks": ["Tests of sst2 stand in it."]},
        word_vectors={"file": "glove.txt", "vocabulary": 10, "found_exactly": 4, "found_ignoring_case": 1},
        data={"dataset": "mails", "vocabulary_size": 10, "splits": {"train": {"rows": 4}},
              "tokenizer": {"kind": "word", "extra_words": "glove.txt", "lowercase": True}},
    )  # fmt: skip
    assert data["base_model"] == "me/lm"
    assert "It starts from the weights of me/lm, which was trained on imdb." in text
    assert "It starts from weights that saw imdb. Tests of sst2 stand in it." in text
    assert (
        "Made from the training split and the words of glove.txt (`{kind: word, extra_words: glove.txt, lowercase: "
        "true}`), with 10 tokens." in text
    )
    assert "The word vectors have 50.0 % of them" in text and "Howard and Ruder 2018" in text


def test_of_many_labels_the_common_ones_are_shown(card):
    names = {str(i): f"topic {i}" for i in range(60)}
    counts = {name: 100 - int(i) for i, name in names.items()}
    text, _ = card(
        {"model_type": "rnn", "architectures": [CLASSIFIER], "id2label": names},
        data={"dataset": "news", "splits": {"train": {"rows": 4230, "labels": counts}}},
    )
    assert text.count("\n| topic ") == 50 and "\n\nand 10 more." in text and "| topic 59 |" not in text
    assert "It gives every text one of its 60 labels" in text and "It answers with" not in text


def test_without_test_split_the_figures_are_said_to_be_too_good(card):
    text, data = card(
        {"model_type": "rnn", "architectures": [CLASSIFIER], **TWO},
        metrics={"validation/accuracy": 0.8, "validation/rows": 50},
        data={"dataset": "mails", "splits": {"train": {"rows": 9}}, "train_texts_removed_as_held_out": 1},
        best_step=3, steps=1000, epochs=1, monitor="validation/accuracy", seed=0,
    )  # fmt: skip
    assert "There is no test split. The weights are those of step 3 of 1,000, the best by validation/accuracy" in text
    assert "|  | validation | 95 % interval of validation |" in text
    assert data["model-index"][0]["results"][0]["dataset"]["split"] == "validation"
    assert "1,000 steps in 1 epoch. Seed 0." in text
    assert "1 training text was removed because it is in the validation or test split." in text
