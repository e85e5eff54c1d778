"""A classifier's numbers beside torchmetrics', weighted training losses, what is best, pictures."""

import json
from types import SimpleNamespace

import lightning as L
import pytest
import torch
import torchmetrics.functional.classification as reference
from torch.nn import functional as F

from rnn_hf import ClassificationDataModule, ClassificationModule, train_word_tokenizer
from rnn_hf.training.callbacks import BestWeights
from rnn_hf.training.classification_metrics import ClassificationEvaluation, MultiLabelEvaluation
from rnn_hf.training.classification_plots import draw_report
from rnn_hf.training.export import readable_json

CONFIG = {"embedding_size": 8, "hidden_size": 8}
NAMES = {0: "a", 1: "b", 2: "c", 3: "never", 4: "guessed"}


class Answers:
    """A model whose logits are the batch's `input_ids`."""

    def __init__(self, loss):
        self.loss = loss

    def __call__(self, input_ids, labels):
        return SimpleNamespace(logits=input_ids, loss=self.loss(input_ids, labels))


def evaluated(evaluation, logits, labels, loss, sizes):
    for x, y in zip(logits.split(sizes), labels.split(sizes), strict=True):
        evaluation.update(Answers(loss), {"input_ids": x, "labels": y})
    return evaluation


@pytest.fixture
def single():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (101,), generator=generator)
    logits = torch.randn(101, 5, generator=generator) + 2 * F.one_hot(labels, 5)
    logits[:, 3] -= 20  # label 3 neither occurs nor is predicted; 4 is predicted only
    return logits, labels


def test_single_label_numbers_equal_torchmetrics_in_batches_of_any_size(single):
    logits, labels = single
    evaluation = evaluated(ClassificationEvaluation(), logits, labels, F.cross_entropy, [64, 3, 34])
    metrics, report = evaluation.compute(), evaluation.report(NAMES)
    assert tuple(metrics) == ClassificationEvaluation.names
    assert metrics["loss"] == pytest.approx(float(F.cross_entropy(logits, labels)), abs=1e-6)
    assert metrics["accuracy"] == metrics["f1_micro"] == float((logits.argmax(-1) == labels).double().mean())
    assert metrics["f1_macro"] == pytest.approx(float(reference.multiclass_f1_score(logits, labels, 5)), abs=1e-6)
    error = reference.multiclass_calibration_error(logits.softmax(-1), labels, 5, n_bins=15)
    assert metrics["calibration_error"] == pytest.approx(float(error), abs=1e-6)
    assert report["confusion_matrix"] == reference.multiclass_confusion_matrix(logits, labels, 5).tolist()
    for name in ("precision", "recall"):
        expected = getattr(reference, f"multiclass_{name}")(logits, labels, 5, average=None)
        assert [row[name] for row in report["labels"].values()] == pytest.approx(expected.tolist(), abs=1e-6)
    assert list(report["labels"]) == list(NAMES.values())
    assert sum(row["support"] for row in report["labels"].values()) == sum(report["calibration"]["rows"]) == 101
    whole = evaluated(ClassificationEvaluation(), logits, labels, F.cross_entropy, 101)
    assert whole.report(NAMES) == report


def test_several_labels_numbers_equal_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(90, 4, generator=generator) < 0.3).float()
    labels[:5] = 0
    logits = torch.randn(90, 4, generator=generator) + 3 * labels - 2
    loss = F.binary_cross_entropy_with_logits
    evaluation = evaluated(MultiLabelEvaluation(), logits, labels, loss, [50, 40])
    metrics, report = evaluation.compute(), evaluation.report({i: name for i, name in enumerate("abcd")})
    assert tuple(metrics) == MultiLabelEvaluation.names
    assert metrics["loss"] == pytest.approx(float(loss(logits, labels)), abs=1e-6)
    probabilities, truth = logits.sigmoid(), labels.long()
    for average in ("macro", "micro"):
        expected = reference.multilabel_f1_score(probabilities, truth, 4, average=average)
        assert metrics[f"f1_{average}"] == pytest.approx(float(expected), abs=1e-6)
    exact = reference.multilabel_exact_match(probabilities, truth, 4)
    assert metrics["subset_accuracy"] == pytest.approx(float(exact), abs=1e-6)
    assert [row["support"] for row in report["labels"].values()] == labels.sum(0).tolist()
    assert "confusion_matrix" not in report


def test_nothing_predicted_is_zero_not_nan():
    labels = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    loss = F.binary_cross_entropy_with_logits
    metrics = evaluated(MultiLabelEvaluation(), torch.full((2, 2), -9.0), labels, loss, 2).compute()
    assert (metrics["f1_macro"], metrics["f1_micro"], metrics["subset_accuracy"]) == (0.0, 0.0, 0.5)


def module(labels, **arguments):
    tokenizer = train_word_tokenizer(["good bad film"])
    L.seed_everything(0, verbose=False)
    built = ClassificationModule(tokenizer, dict(enumerate(labels)), config=dict(CONFIG), **arguments)
    built._trainer = SimpleNamespace(log_every_n_steps=10, global_step=0)
    return built.eval()


BATCH = {"input_ids": torch.tensor([[3, 4], [5, 3], [4, 4]]), "attention_mask": torch.ones(3, 2, dtype=torch.long)}


def test_weights_are_of_the_training_loss_alone():
    batch, weights = {**BATCH, "labels": torch.tensor([0, 1, 1])}, [4.0, 0.5]
    weighted = module("ab", label_weights=weights)
    logits = weighted.model(**batch).logits
    expected = F.cross_entropy(logits, batch["labels"], torch.tensor(weights))
    torch.testing.assert_close(weighted.training_step(batch, 0), expected)
    evaluation = ClassificationEvaluation()
    evaluation.update(weighted.model, batch)
    assert evaluation.compute()["loss"] == pytest.approx(float(F.cross_entropy(logits, batch["labels"])), abs=1e-6)
    assert "label_weights" not in weighted.state_dict()
    torch.testing.assert_close(module("ab").training_step(batch, 0), F.cross_entropy(logits, batch["labels"]))


def test_weights_of_several_labels_are_of_the_rows_that_have_them():
    batch = {**BATCH, "labels": torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])}
    several = module("ab", problem_type="multi_label_classification", label_weights=[3.0, 1.0])
    logits = several.model(**batch).logits
    nats = F.binary_cross_entropy_with_logits(logits, batch["labels"], reduction="none")
    nats[:, 0] *= torch.tensor([3.0, 1.0, 3.0])
    torch.testing.assert_close(several.training_step(batch, 0), nats.mean())
    assert several.model.config.problem_type == "multi_label_classification"


def test_what_is_best_can_be_chosen():
    assert module("ab").monitor == ("validation/accuracy", "max")
    assert module("ab", monitor="loss").monitor == ("validation/loss", "min")
    several = module("ab", problem_type="multi_label_classification")
    assert (several.monitor, several.Evaluation) == (("validation/f1_micro", "max"), MultiLabelEvaluation)
    with pytest.raises(ValueError, match=r"model.monitor must be one of loss, .* \(did you mean 'f1_macro'\?\)"):
        module("ab", monitor="macro_f1")
    with pytest.raises(ValueError, match="problem_type must be one of single_label_classification, multi_label"):
        module("ab", problem_type="regression")


def test_a_run_keeps_the_report_of_its_best_weights(tmp_path):
    rows = "".join(f"the film is {'good' if i % 4 else 'bad'},{'yes' if i % 4 else 'no'}\n" for i in range(80))
    (tmp_path / "reviews.csv").write_text("text,label\n" + rows)
    data = ClassificationDataModule(str(tmp_path / "reviews.csv"))
    L.seed_everything(0, verbose=False)
    built = ClassificationModule(data.tokenizer, data.id2label, config=CONFIG, monitor="loss", learning_rate=0.01)
    best = BestWeights()
    quiet = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    L.Trainer(max_epochs=2, accelerator="cpu", callbacks=[best], **quiet).fit(built, data)
    assert best.best["reports"]["validation"]["labels"]["no"]["support"] == 2
    assert best.best["reports"]["validation"] == built.reports["validation"]


def test_pictures_are_drawn_for_what_the_report_has(single, tmp_path):
    logits, labels = single
    evaluation = evaluated(ClassificationEvaluation(), logits, labels, F.cross_entropy, 101)
    files = draw_report(tmp_path / "plots", evaluation.report(NAMES), "a test")
    assert [file.name for file in files] == ["confusion_matrix.png", "reliability_diagram.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    assert draw_report(tmp_path / "none", {"labels": {}}, "a test") == []
    assert not (tmp_path / "none").exists()
    many = torch.arange(90)
    evaluation = evaluated(ClassificationEvaluation(), torch.eye(90) * 9, many, F.cross_entropy, 90)
    assert len(draw_report(tmp_path / "many", evaluation.report({i: f"label {i}" for i in range(90)}), "many")) == 2


def test_a_matrix_in_indented_json_is_a_line_a_row():
    value = {"matrix": [[1, -2.5e-3], [None, 4]], "text": "[ 1,  2 ]", "names": ["a"]}
    text = readable_json(value)
    assert "[1, -0.0025]" in text
    assert "[null, 4]" in text
    assert json.loads(text) == value
