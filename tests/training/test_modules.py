"""LightningModules: truncated backpropagation, exact metrics, the schedule, best weights, transfer."""

import math

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from rnn_hf import (
    ClassificationDataModule,
    ClassificationModule,
    LanguageModelingDataModule,
    LanguageModelingModule,
    RnnForCausalLM,
    train_word_tokenizer,
)
from rnn_hf.training.callbacks import BestWeights
from rnn_hf.training.metrics import LanguageModelingEvaluation
from rnn_hf.training.module import rate_factor

from .conftest import CONFIG, WORDS, trainer


@pytest.fixture
def texts(tmp_path):
    """Three splits of sentences that follow one another's last word: a state across them is worth something."""
    generator = torch.Generator().manual_seed(0)
    for split, rows in {"train": 300, "validation": 40, "test": 40}.items():
        starts = torch.randint(len(WORDS), (rows,), generator=generator).tolist()
        lines = [" ".join(WORDS[(s + i) % len(WORDS)] for i in range(5)) for s in starts]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return str(tmp_path)


@pytest.fixture
def reviews(tmp_path):
    rows = "".join(f"the film is {'good' if i % 2 else 'bad'} {'and ' * (i % 7)},{i % 2}\n" for i in range(200))
    (tmp_path / "reviews.csv").write_text("text,label\n" + rows)
    return str(tmp_path / "reviews.csv")


def language_model(data, **arguments):
    L.seed_everything(1, verbose=False)
    return LanguageModelingModule(data.tokenizer, config=dict(CONFIG), learning_rate=0.02, **arguments)


def test_language_model_learns_and_its_perplexity_is_exact(texts):
    data = LanguageModelingDataModule(texts, batch_size=8, sequence_length=10)
    module = language_model(data)
    run = trainer(max_epochs=6)
    run.fit(module, data)
    run.test(module, data, verbose=False)
    stream = data.encoded["test"]
    with torch.no_grad():  # the whole stream at once, from the definition
        logits = module.model(stream.ids[None, :-1].long()).logits[0]
        nats = -logits.log_softmax(-1).gather(-1, stream.ids[1:, None].long())
    assert module.metrics["test/tokens"] == stream.num_tokens == len(nats)
    assert module.metrics["test/perplexity"] == pytest.approx(nats.mean().exp().item(), rel=1e-5)
    assert module.metrics["test/perplexity"] < data.baselines()["test/unigram_perplexity"] / 2


def test_uneven_evaluation_batches_are_weighted_by_their_tokens():
    tokenizer = train_word_tokenizer([" ".join(WORDS)])
    model = language_model(type("Data", (), {"tokenizer": tokenizer})).model.eval()
    ids = torch.randint(3, 12, (1, 23))
    targets = torch.randint(3, 12, (1, 23))
    targets[0, 15:] = -100
    evaluation = LanguageModelingEvaluation()
    with torch.no_grad():
        for part in (slice(0, 10), slice(10, 20), slice(20, 23)):  # the last one scores nothing
            evaluation.update(model, {"input_ids": ids[:, part], "shift_labels": targets[:, part]})
        whole = model(ids, shift_labels=targets).loss
    assert evaluation.compute()["loss"] == pytest.approx(float(whole), abs=1e-6)
    assert evaluation.compute()["tokens"] == 15


def test_the_state_is_carried_detached_and_dropped(texts):
    data = LanguageModelingDataModule(texts, batch_size=4, sequence_length=6)
    module = language_model(data)
    seen = []

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            seen.append((trainer.current_epoch, batch_idx, module.train_state, batch, before(module)))

    def before(module):
        return {k: v.clone() for k, v in module.model.state_dict().items()}

    losses = []

    class Losses(L.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            losses.append(float(outputs["loss"]))

    trainer(max_epochs=2, limit_train_batches=3, callbacks=[Watch(), Losses()]).fit(module, data)
    for (epoch, index, state, batch, weights), loss in zip(seen, losses, strict=True):
        if index == 0:
            assert state is None, f"the stream starts anew at epoch {epoch}"
            continue
        assert all(not tensor.requires_grad for layer in state.layers for tensor in layer.states)
        module.model.load_state_dict(weights)
        with torch.no_grad():
            alone = module.model(**batch).loss
        assert abs(float(alone) - loss) > 1e-5, "the carried state must matter"


def test_classifier_learns_and_accuracy_is_exact(reviews):
    data = ClassificationDataModule(reviews, batch_size=16)
    L.seed_everything(1, verbose=False)
    module = ClassificationModule(
        data.tokenizer, data.id2label, config={**CONFIG, "pooling": "max"}, learning_rate=0.02
    )
    trainer(max_epochs=4).fit(module, data)
    assert module.model.config.id2label == {0: "0", 1: "1"}
    texts = data.encoded["validation"]
    with torch.no_grad():
        right = [
            int(module.model(**{k: v for k, v in texts[[i]].items() if k != "labels"}).logits.argmax())
            == texts.labels[i]
            for i in range(len(texts))
        ]
    assert module.metrics["validation/accuracy"] == pytest.approx(sum(map(float, right)) / len(right))
    assert module.metrics["validation/accuracy"] == 1.0


def test_best_weights_are_the_best_evaluation_s_not_the_last(texts):
    """The rate is so high at the end that training falls apart after a good epoch."""
    data = LanguageModelingDataModule(texts, batch_size=8, sequence_length=10)
    module = language_model(data, schedule="constant")
    best, history = BestWeights(), []

    class Spoil(L.Callback):
        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == 2:
                for group in trainer.optimizers[0].param_groups:
                    group["lr"] = 5.0
                trainer.lr_scheduler_configs[0].scheduler.base_lrs = [5.0, 5.0]

        def on_validation_end(self, trainer, module):
            history.append(module.metrics["validation/perplexity"])

    run = trainer(max_epochs=3, callbacks=[best, Spoil()])
    run.fit(module, data)
    assert min(history) == history[1] < history[2]
    best.restore(module)
    run.validate(module, data, verbose=False)
    assert module.metrics["validation/perplexity"] == pytest.approx(history[1], rel=1e-6)
    assert best.best["epoch"] == 2


def test_a_language_model_s_encoder_starts_a_classifier(texts, reviews, tmp_path):
    data = LanguageModelingDataModule(texts, batch_size=8, sequence_length=10)
    lm = language_model(data).model
    lm.save_pretrained(tmp_path / "lm")
    data.tokenizer.save_pretrained(tmp_path / "lm")
    labelled = ClassificationDataModule(reviews, tokenizer={"pretrained": str(tmp_path / "lm")})
    module = ClassificationModule(
        labelled.tokenizer, labelled.id2label, config={"pooling": "concat"}, pretrained=str(tmp_path / "lm")
    )
    torch.testing.assert_close(module.model.model.state_dict(), lm.model.state_dict(), atol=0, rtol=0)
    assert module.model.config.pooling == "concat"
    assert all(part.training for part in module.model.modules()), "else no dropout would drop in fine-tuning"
    assert module.model.score.in_features == 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": -1}, "model.learning_rate must be a number"),
        ({"schedule": "cosin"}, "model.schedule must be one of one_cycle, slanted_triangular, constant"),
        ({"config": {"vocab_size": 5}}, "vocab_size is 5, but the data gives 12"),
        ({"config": {"hidden": 5}}, "unknown key 'hidden'"),
        ({"config": {"model_type": "rn"}}, r"model_type must be one of .*rnn.*; got 'rn' \(did you mean 'rnn'\?\)"),
        ({"config": {"bidirectional": True}}, "bidirectional must be false for RnnForCausalLM"),
    ],
)
def test_bad_arguments_are_one_clear_error(arguments, message):
    tokenizer = train_word_tokenizer([" ".join(WORDS)])
    with pytest.raises(ValueError, match=message):
        LanguageModelingModule(tokenizer, **arguments)


def test_schedules():
    one_cycle = [rate_factor(step, 100, 10, "one_cycle") for step in range(100)]
    assert one_cycle.index(max(one_cycle)) == 10
    assert max(one_cycle) == 1.0
    assert one_cycle[:10] == sorted(one_cycle[:10])
    assert one_cycle[10:] == sorted(one_cycle[10:], reverse=True)
    assert one_cycle[0] > 0 < one_cycle[-1] < 0.001
    assert one_cycle[55] == pytest.approx((1 + math.cos(math.pi / 2)) / 2)
    assert [rate_factor(step, 100, 0, "constant") for step in (0, 99)] == [1.0, 1.0]


def test_weight_decay_spares_vectors(texts):
    data = LanguageModelingDataModule(texts, batch_size=8)
    module = language_model(data, weight_decay=0.1)
    run = trainer(max_epochs=1, limit_train_batches=1)
    run.fit(module, data)
    decayed, spared = run.optimizers[0].param_groups
    assert {p.ndim for p in spared["params"]} == {1}
    assert {p.ndim for p in decayed["params"]} == {2}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert len(decayed["params"]) + len(spared["params"]) == len(list(module.model.parameters()))


def test_modules_train_on_any_loader_that_keeps_the_contract():
    """Without a datamodule: the batch's keys are all that training knows of data."""
    tokenizer = train_word_tokenizer([" ".join(WORDS)])
    module = LanguageModelingModule(tokenizer, config=dict(CONFIG))
    batch = {"input_ids": torch.randint(3, 12, (2, 5)), "shift_labels": torch.randint(3, 12, (2, 5))}
    trainer(max_steps=2).fit(module, DataLoader([batch, batch], batch_size=None))
    assert isinstance(module.model, RnnForCausalLM)
