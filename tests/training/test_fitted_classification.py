"""Classifiers that are fitted in one pass, by the module and by `rnn-hf fit`: recipe, folder, pipeline, evaluation."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, pipeline

from rnn_hf import BowForSequenceClassification, ClassificationDataModule, ClassificationModule
from rnn_hf.cli import main
from rnn_hf.training.fitted_classification import FittedClassificationModule

from .conftest import trainer

CONFIG = {"model_type": "bow", "ngram_max": 2, "features": "binary"}


def write_reviews(folder, rows=60, label=lambda i: "yes" if i % 3 else "no"):
    fillers = ["the film", "a story", "this plot"]
    lines = [f"{fillers[i % 2]} is {'good' if i % 3 else 'not good'} {i % 7},{label(i)}" for i in range(rows)]
    for split in ("train", "validation", "test"):
        (folder / f"{split}.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    return folder


def fitted(data, **arguments):
    module = FittedClassificationModule(data.tokenizer, data.id2label, **arguments)
    run = trainer(max_epochs=1)
    run.fit(module, data)
    return module


@pytest.mark.parametrize("classifier", ["naive_bayes", "logistic_regression", "nb_logistic_regression"])
def test_the_module_fits_all_batches_at_once(classifier, tmp_path):
    """The same as all rows by hand, whatever the batches."""
    data = ClassificationDataModule(str(write_reviews(tmp_path)), batch_size=7)
    module = fitted(data, config={**CONFIG, "classifier": classifier})
    texts = data.encoded["train"]
    by_hand = BowForSequenceClassification(module.model.config)
    whole = texts[range(len(texts))]
    mask = whole["attention_mask"].bool()
    by_hand.fit(whole["input_ids"][mask], mask.sum(1), whole["labels"])
    assert torch.equal(module.model.ngrams.table, by_hand.ngrams.table)
    torch.testing.assert_close(module.model.ngrams.weight, by_hand.ngrams.weight, atol=1e-4, rtol=0)
    assert module.metrics["validation/accuracy"] == 1.0
    assert module.batches == []


def test_weights_of_labels_are_weights_of_rows(tmp_path):
    data = ClassificationDataModule(str(write_reviews(tmp_path)))
    plain = fitted(data, config=CONFIG)
    weighted = fitted(data, config=CONFIG, label_weights=[3.0, 1.0])
    difference = weighted.model.ngrams.bias - plain.model.ngrams.bias
    torch.testing.assert_close(difference[0] - difference[1], torch.tensor(3.0).log())
    with pytest.raises(ValueError, match="class_weights are for one label a row"):
        FittedClassificationModule(
            data.tokenizer,
            data.id2label,
            config=CONFIG,
            label_weights=[1.0, 1.0],
            problem_type="multi_label_classification",
        )


def test_each_module_has_its_families(tmp_path):
    data = ClassificationDataModule(str(write_reviews(tmp_path)))
    with pytest.raises(ValueError, match="'bow' is fitted in one pass: not by ClassificationModule"):
        ClassificationModule(data.tokenizer, data.id2label, config=CONFIG)
    with pytest.raises(ValueError, match="'bow' is fitted by gradient descent: not by FittedClassificationModule"):
        FittedClassificationModule(data.tokenizer, data.id2label, config={"model_type": "bow", "classifier": "mlp"})


RECIPE = """\
task: classification
model: {config: {model_type: bow, classifier: naive_bayes, ngram_max: 2}}
data: {dataset: reviews}
trainer: {accelerator: cpu}
"""


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("reviews").mkdir()
    write_reviews(Path("reviews"))
    Path("bow.yaml").write_text(RECIPE)
    return tmp_path


def test_a_run_by_recipe(workplace, capsys):
    """From the recipe to a folder that every verb and pipeline opens, with the metrics of a trained one."""
    assert main(["fit", "--config", "bow.yaml", "--output_dir", "out"]) == 0
    metrics = json.loads(Path("out/model/metrics.json").read_text())
    assert metrics["metrics"]["test/accuracy"] == 1.0
    assert (metrics["epochs"], metrics["steps"]) == (1, 0)
    model = AutoModelForSequenceClassification.from_pretrained("out/model")
    assert metrics["parameters"] == model.num_parameters() == 2 * model.config.num_features + 2
    classify = pipeline("text-classification", model="out/model")
    assert classify("the film is not good 1")[0]["label"] == "no"
    assert not Path("out/checkpoints").exists()
    capsys.readouterr()
    assert main(["evaluate", "out", "--data", "reviews", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == pytest.approx(metrics["metrics"]["test/loss"], abs=1e-6)
    assert main(["predict", "out", "a story is not good"]) == 0
    assert capsys.readouterr().out.startswith("no\t")
    assert main(["fit", "--config", "out/model/recipe.yaml", "--output_dir", "again"]) == 0
    assert Path("again/model/model.safetensors").read_bytes() == Path("out/model/model.safetensors").read_bytes()


def test_a_whole_configuration_takes_the_place_of_another_family_s(workplace):
    Path("rnn.yaml").write_text(
        RECIPE.replace("model_type: bow, classifier: naive_bayes, ngram_max: 2", "hidden_size: 8")
    )
    options = ["--model.config", "{model_type: bow}", "--trainer.max_epochs", "1"]
    assert main(["fit", "--config", "rnn.yaml", "--output_dir", "out", *options]) == 0
    assert AutoModelForSequenceClassification.from_pretrained("out/model").config.classifier == "naive_bayes"


def test_several_labels_a_row_by_recipe(workplace):
    write_reviews(Path("reviews"), label=lambda i: "good;odd" if i % 3 else "odd")
    for classifier in ("naive_bayes", "logistic_regression"):
        options = ["--data.label_separator", ";", "--model.config.classifier", classifier]
        assert main(["fit", "--config", "bow.yaml", "--output_dir", classifier, *options]) == 0
        metrics = json.loads(Path(classifier, "model/metrics.json").read_text())["metrics"]
        assert metrics["test/subset_accuracy"] == 1.0


def test_averaged_embeddings_are_trained_by_gradient_descent(workplace):
    Path("mlp.yaml").write_text(RECIPE.replace("classifier: naive_bayes, ngram_max: 2", "classifier: mlp"))
    arguments = ["--model.learning_rate", "0.02", "--model.config.embedding_size", "8", "--trainer.max_epochs", "2"]
    assert main(["fit", "--config", "mlp.yaml", "--output_dir", "mlp", *arguments]) == 0
    assert json.loads(Path("mlp/model/metrics.json").read_text())["steps"] == 4


def test_penalties_of_layers_over_time_are_refused_where_there_are_none(tmp_path):
    data = ClassificationDataModule(str(write_reviews(tmp_path)))
    config = {"model_type": "bow", "classifier": "mlp"}
    with pytest.raises(ValueError, match=r"activation_penalty .* are for layers over the tokens of a text"):
        ClassificationModule(data.tokenizer, data.id2label, config=config, activation_penalty=1.0)


@pytest.mark.parametrize(("options", "message"), [
    (["--model.learning_rate", "0.1"], "unknown key 'model.learning_rate' on the command line"),
    (["--model.word_vectors", "glove.6B.50d"], "unknown key 'model.word_vectors'"),
    (["--model.config.alpa", "1"], "did you mean 'alpha'"),
    (["--model.config.classifier", "naive_bays"], "did you mean 'naive_bayes'"),
    (["--model.config.model_type.x", "1"], "model.config.model_type must be one of rnn, cnn, bow"),
    (["--model.config.hidden_size", "8"], "hidden_size=8 is for classifier=mlp; got 'naive_bayes'"),
    (["--trainer.max_epochs", "3"], "bow is fitted in one pass: trainer.max_epochs must be 1; got 3"),
    (["--max_steps", "3"], "bow is fitted in one pass: trainer.max_steps must be -1; got 3"),
    (["--trainer.val_check_interval", "0.5"], "trainer.val_check_interval must be 1.0; got 0.5"),
    (["--trainer.val_check_interval", "1"], "trainer.val_check_interval must be 1.0; got 1"),
    (["--trainer.gradient_clip_val", "1"], "trainer.gradient_clip_val must be None; got 1"),
    (["--data.dataset", "reviws"], "did you mean"),
    (["--data.label_column", "lable"], "did you mean 'label'"),
])  # fmt: skip
def test_mistakes_are_named(options, message, workplace, capsys):
    assert main(["fit", "--config", "bow.yaml", *options]) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.slow
def test_several_processes_are_refused(workplace, capfd):
    assert main(["fit", "--config", "bow.yaml", "--trainer.devices", "2"]) == 2
    assert "fitted to all training data by one process" in capfd.readouterr().err
