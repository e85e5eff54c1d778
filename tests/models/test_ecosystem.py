"""The models as transformers' own tools meet them: pipelines, Trainer, device_map, checkpointing, encode, score."""

import pytest
import torch
from transformers import Trainer, TrainingArguments, pipeline

from rnn_hf import (
    RnnForCausalLM,
    RnnForSequenceClassification,
    RnnForTokenClassification,
    RnnModel,
    train_word_tokenizer,
)

from .conftest import CELLS, POOLINGS, randomise, tiny_config

TEXTS = ["a good film", "a bad film , really", "the film was good"]


@pytest.fixture
def tokenizer():
    return train_word_tokenizer(TEXTS)


def build(cls, tokenizer, **fields):
    fields = {"vocab_size": len(tokenizer), "num_hidden_layers": 2, **fields}
    return randomise(cls(tiny_config(**fields)))


def saved(model, tokenizer, folder):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_token_classification_pipeline(tokenizer, tmp_path):
    model = build(RnnForTokenClassification, tokenizer, bidirectional=True, id2label={0: "DET", 1: "ADJ", 2: "NOUN"})
    tags = pipeline("token-classification", model=saved(model, tokenizer, tmp_path), ignore_labels=[])("a good film")
    assert [t["word"] for t in tags] == ["a", "good", "film"]
    assert {t["entity"] for t in tags} <= {"DET", "ADJ", "NOUN"}


def test_feature_extraction_pipeline(tokenizer, tmp_path):
    model = build(RnnModel, tokenizer)
    features = pipeline("feature-extraction", model=saved(model, tokenizer, tmp_path))("a good film")
    expected = model(**tokenizer("a good film", return_tensors="pt")).last_hidden_state
    torch.testing.assert_close(torch.tensor(features), expected)


def test_trainer_and_device_map(tokenizer, tmp_path):
    pytest.importorskip("accelerate", reason="Trainer needs the extra 'trainer'")
    model = build(RnnForSequenceClassification, tokenizer, num_labels=2, pooling="concat")
    rows = [{**tokenizer(text), "labels": i % 2} for i, text in enumerate(TEXTS * 4)]
    arguments = TrainingArguments(
        tmp_path / "run", max_steps=60, learning_rate=0.02, per_device_train_batch_size=4, report_to=[],
        use_cpu=True, save_strategy="no", disable_tqdm=True, logging_steps=20,
    )  # fmt: skip
    from transformers import DataCollatorWithPadding

    trainer = Trainer(
        model, arguments, train_dataset=rows, eval_dataset=rows, data_collator=DataCollatorWithPadding(tokenizer)
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before
    trainer.save_model(tmp_path / "saved")
    again = RnnForSequenceClassification.from_pretrained(tmp_path / "saved", device_map="cpu")
    ids = tokenizer(TEXTS[0], return_tensors="pt")
    torch.testing.assert_close(again(**ids).logits, model.eval()(**ids).logits)


@pytest.mark.parametrize("cls", [RnnForCausalLM, RnnForSequenceClassification, RnnForTokenClassification])
def test_trainer_accumulates_gradients_to_those_of_one_batch(cls, tokenizer, tmp_path):
    pytest.importorskip("accelerate", reason="Trainer needs the extra 'trainer'")
    ids = tokenizer(TEXTS[1])["input_ids"]
    labels = [[1, 0, -100, 1, 0], [1, 0, 0, 1, 1]]  # not as many in each row
    rows = [
        {"input_ids": ids, "labels": labels[i % 2] if cls is not RnnForSequenceClassification else i} for i in (0, 1)
    ]
    start = build(cls, tokenizer, num_labels=2)

    def trained(batch_size):
        model = cls(start.config)
        model.load_state_dict(start.state_dict())
        arguments = TrainingArguments(
            tmp_path / str(batch_size), max_steps=1, learning_rate=0.1, optim="sgd", lr_scheduler_type="constant",
            per_device_train_batch_size=batch_size, gradient_accumulation_steps=2 // batch_size, max_grad_norm=0,
            use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        Trainer(model, arguments, train_dataset=rows).train()
        return model.state_dict()

    whole, accumulated = trained(2), trained(1)
    assert any(not torch.equal(weight, start.state_dict()[name]) for name, weight in whole.items())
    torch.testing.assert_close(accumulated, whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_gradient_checkpointing(cell):
    """Equal gradients, weight drop and the carried state included."""
    from rnn_hf import new_cache

    config = tiny_config(cell_type=cell, num_hidden_layers=3, weight_dropout=0.3, layer_connection="residual")
    model = randomise(RnnForCausalLM(config)).double().train()
    ids = torch.randint(3, 41, (3, 12))

    def gradients():
        torch.manual_seed(5)
        model.zero_grad()
        cache = new_cache(config)
        for part in (slice(0, 7), slice(7, 12)):
            loss = model(ids[:, part], shift_labels=ids[:, part], past_key_values=cache).loss
            loss.backward(retain_graph=True)
        return {n: p.grad.clone() for n, p in model.named_parameters()}

    plain = gradients()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    torch.testing.assert_close(gradients(), plain, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("labels", "problem", "loss"), [
    (torch.tensor([0, 2, 1]), None, torch.nn.functional.cross_entropy),
    (torch.tensor([0, 2, 1]), "single_label_classification", torch.nn.functional.cross_entropy),
    (torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 0]]), None, torch.nn.functional.binary_cross_entropy_with_logits),
    (torch.tensor([[0, 1, 1], [1, 0, 0], [0, 0, 0]]), None, torch.nn.functional.binary_cross_entropy_with_logits),
    (torch.randn(3, 3), "regression", torch.nn.functional.mse_loss),
])  # fmt: skip
def test_problem_types(labels, problem, loss):
    model = randomise(RnnForSequenceClassification(tiny_config(num_labels=3, problem_type=problem)))
    out = model(torch.randint(3, 41, (3, 6)), labels=labels)
    expected = loss(out.logits, labels if loss is torch.nn.functional.cross_entropy else labels.float())
    torch.testing.assert_close(out.loss, expected)


def test_a_single_number_is_regression():
    model = randomise(RnnForSequenceClassification(tiny_config(num_labels=1)))
    labels = torch.tensor([0.5, -1.0, 2.0])
    out = model(torch.randint(3, 41, (3, 6)), labels=labels)
    torch.testing.assert_close(out.loss, torch.nn.functional.mse_loss(out.logits[:, 0], labels))


@pytest.mark.parametrize(("labels", "problem"), [
    (torch.tensor([0, 1, 3]), None),
    (torch.tensor([0, -1, 2]), None),
    (torch.tensor([0, 1]), None),
    (torch.tensor([0.0, 1.0, 2.0]), "single_label_classification"),
    (torch.tensor([0, 1, 2]), "multi_label_classification"),
    (torch.tensor([0.0, 1.0, 2.0]), "regression"),  # would broadcast against three targets a row
    (torch.tensor([0.0, 1.0, 2.0]), None),
    (torch.tensor([[0, 1, 7]] * 3), "multi_label_classification"),
])  # fmt: skip
def test_labels_that_do_not_fit_are_refused(labels, problem):
    model = randomise(RnnForSequenceClassification(tiny_config(num_labels=3, problem_type=problem)))
    with pytest.raises(ValueError, match="labels must be"):
        model(torch.randint(3, 41, (3, 6)), labels=labels)
    assert model.config.problem_type == problem  # what is refused leaves no trace


@pytest.mark.parametrize("labels", [torch.tensor([0, 2, 1], dtype=torch.int32), torch.tensor([[0], [2], [1]])])
def test_class_ids_of_other_integer_types_and_as_a_column(labels):
    model = randomise(RnnForSequenceClassification(tiny_config(num_labels=3)))
    ids = torch.randint(3, 41, (3, 6))
    expected = model(ids, labels=torch.tensor([0, 2, 1])).loss
    model.config.problem_type = None
    assert model(ids, labels=labels).loss == expected


@pytest.mark.parametrize("pooling", POOLINGS)
def test_encode(tokenizer, pooling):
    """One vector a text, the same in any batch and order."""
    classifier = build(RnnForSequenceClassification, tokenizer, pooling=pooling, bidirectional=True)
    vectors = classifier.encode(TEXTS, tokenizer)
    assert vectors.shape == (3, 10 * (3 if pooling == "concat" else 1))
    for text, vector in zip(TEXTS, vectors, strict=True):
        torch.testing.assert_close(classifier.encode(text, tokenizer, batch_size=1)[0], vector, atol=1e-6, rtol=0)
    if pooling == "attention":
        with pytest.raises(ValueError, match="RnnModel does not hold"):
            classifier.model.encode(TEXTS, tokenizer)
    else:
        assert torch.equal(classifier.model.encode(TEXTS, tokenizer), vectors)


@pytest.mark.parametrize("method", ["encode", "score"])
def test_no_text_is_one_clear_error(tokenizer, method):
    model = build(RnnForCausalLM, tokenizer)
    with pytest.raises(ValueError, match="no text was given"):
        getattr(model, method)([], tokenizer)
    with pytest.raises(ValueError, match="text '' holds no token"):
        getattr(model, method)(["a film", ""], tokenizer)
    with pytest.raises(ValueError, match="has only words that the tokenizer does not know"):
        getattr(model, method)(["a film", "zzz"], tokenizer)
    for wrong in (0, 1.5):
        with pytest.raises(ValueError, match=f"batch_size must be a whole number from 1 .*; got {wrong}"):
            getattr(model, method)(TEXTS, tokenizer, batch_size=wrong)


def test_a_pooling_set_after_loading_is_checked(tokenizer):
    model = build(RnnModel, tokenizer)
    model.config.pooling = "avg"
    with pytest.raises(ValueError, match="pooling must be one of last, mean"):
        model.encode(TEXTS, tokenizer)


@pytest.mark.parametrize("cell", CELLS)
def test_compiles_without_a_graph_break(cell):
    """forward, with padding and with a state, as one graph."""
    model = build_for_compile(cell)
    ids = torch.randint(3, 41, (3, 7))
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [0] * 2 + [1] * 5])
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        expected, out = model(ids, mask), compiled(ids, mask)
        torch.testing.assert_close(out.logits, expected.logits, atol=1e-6, rtol=0)


def build_for_compile(cell):
    return randomise(RnnForCausalLM(tiny_config(cell_type=cell, num_hidden_layers=2, layer_connection="residual")))


def test_trainer_evaluates_a_language_model(tokenizer, tmp_path):
    """`labels` is the one label argument: with another in the signature Trainer would report no loss."""
    pytest.importorskip("accelerate", reason="Trainer needs the extra 'trainer'")
    model = build(RnnForCausalLM, tokenizer)
    rows = [{"input_ids": tokenizer(TEXTS[0])["input_ids"], "labels": tokenizer(TEXTS[0])["input_ids"]}] * 4
    arguments = TrainingArguments(tmp_path, report_to=[], use_cpu=True, disable_tqdm=True)
    metrics = Trainer(model, arguments, eval_dataset=rows).evaluate()
    expected = model(torch.tensor([rows[0]["input_ids"]]), labels=torch.tensor([rows[0]["labels"]])).loss
    assert metrics["eval_loss"] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("cls", [RnnForCausalLM, RnnForTokenClassification], ids=lambda c: c.__name__)
def test_labels_of_tokens_that_do_not_fit_are_refused(cls):
    model = randomise(cls(tiny_config(num_labels=3)))
    ids = torch.randint(3, 41, (2, 5))
    with pytest.raises(ValueError, match="labels must be from 0 to"):
        model(ids, labels=torch.full((2, 5), 41))
    with pytest.raises(ValueError, match=r"labels must be of shape \(2, 5\)"):
        model(ids, labels=torch.zeros(5, 2, dtype=torch.long))
    with pytest.raises(ValueError, match=r"labels must be whole numbers; got torch\.float32"):
        model(ids, labels=torch.zeros(2, 5))
    assert torch.equal(model(ids, labels=ids.int() % 3).loss, model(ids, labels=ids % 3).loss)
