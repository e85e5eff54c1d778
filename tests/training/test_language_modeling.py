"""Evaluation with the state carried or reset, bits per character, and learning rates of random lengths."""

import math

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from rnn_hf import LanguageModelingDataModule, LanguageModelingModule, train_char_tokenizer
from rnn_hf.training.metrics import LanguageModelingEvaluation

from .test_modules import CONFIG, WORDS, language_model, trainer


@pytest.fixture
def texts(tmp_path):
    """Lines of very different lengths, empty ones among them."""
    generator = torch.Generator().manual_seed(0)
    for split, rows in {"train": 200, "validation": 50, "test": 60}.items():
        lengths = torch.randint(12, (rows,), generator=generator).tolist()
        lengths[3] = 300
        lines = [" ".join(WORDS[(row + i) % len(WORDS)] for i in range(n)) for row, n in enumerate(lengths)]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return str(tmp_path)


def evaluated(model, loader):
    evaluation = LanguageModelingEvaluation()
    with torch.inference_mode():
        for batch in loader:
            evaluation.update(model, batch)
    return evaluation.compute()


@pytest.mark.parametrize("cell_type", ["elman", "gru", "lstm"])
def test_reset_is_each_text_by_itself(texts, cell_type):
    """Batches of padded texts and cuts of long ones give what each text gives alone, in one call, from no state."""
    data = LanguageModelingDataModule(texts, eval_state="reset")
    L.seed_everything(3, verbose=False)
    model = LanguageModelingModule(
        data.tokenizer, {**CONFIG, "num_hidden_layers": 2, "cell_type": cell_type}
    ).model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # so that a state matters
    nats, tokens, eos = 0.0, 0, data.tokenizer.eos_token_id
    for text in data.source.splits["test"].texts:
        ids = torch.tensor([[eos, *data.tokenizer(text, add_special_tokens=False)["input_ids"], eos]])
        with torch.no_grad():
            log_probs = model(ids[:, :-1]).logits.double().log_softmax(-1)
        nats -= float(log_probs.gather(-1, ids[:, 1:, None]).sum())
        tokens += ids.shape[1] - 1
    reset = evaluated(model, data.test_dataloader())
    assert reset["tokens"] == tokens
    assert reset["loss"] == pytest.approx(nats / tokens, abs=1e-6)
    carried = evaluated(model, LanguageModelingDataModule(texts).test_dataloader())
    assert carried["tokens"] == tokens
    assert abs(carried["loss"] - reset["loss"]) > 1e-4, "a state that is carried must matter"


def test_a_long_text_gives_the_loss_a_standard_error(tmp_path):
    """Batches have 512 tokens of one lane; a short split, and texts that are scored each by itself, have none."""
    for split, rows in {"train": 300, "validation": 20, "test": 400}.items():
        lines = [" ".join(WORDS[(row * i) % len(WORDS)] for i in range(5)) for row in range(rows)]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n")
    data = LanguageModelingDataModule(str(tmp_path), tokenizer="char", batch_size=16)
    module, run = language_model(data), trainer(max_steps=2)
    run.validate(module, data, verbose=False)
    run.test(module, data, verbose=False)
    assert set(module.reports) == {"test"}
    assert 0 < module.reports["test"]["loss_standard_error"] < 0.1 * module.metrics["test/loss"]
    apart = LanguageModelingDataModule(str(tmp_path), tokenizer="char", eval_state="reset")
    module.reports = {}
    run.test(module, apart, verbose=False)
    assert module.reports == {}


@pytest.mark.parametrize("eval_state", ["carried", "reset"])
def test_bits_are_of_the_whole_text(texts, eval_state):
    """Where each token is a character, a character has log2(e) times the nats of a token."""
    data = LanguageModelingDataModule(texts, tokenizer="char", eval_state=eval_state)
    model = LanguageModelingModule(data.tokenizer, dict(CONFIG)).model.eval()
    metrics = evaluated(model, data.test_dataloader())
    assert tuple(metrics) == LanguageModelingEvaluation.names
    assert (
        metrics["bits_per_character"] == metrics["bits_per_byte"] == pytest.approx(math.log2(math.e) * metrics["loss"])
    )
    words = LanguageModelingDataModule(texts, eval_state=eval_state)
    model = LanguageModelingModule(words.tokenizer, dict(CONFIG)).model.eval()
    metrics = evaluated(model, words.test_dataloader())
    characters = sum(len(text) + 1 for text in words.source.splits["test"].texts)
    assert metrics["bits_per_character"] == pytest.approx(
        metrics["loss"] * metrics["tokens"] / math.log(2) / characters
    )


def test_bytes_are_not_characters(tmp_path):
    for split in ("train", "validation"):
        (tmp_path / f"{split}.txt").write_text("ça va où\n中文\n", encoding="utf-8")
    data = LanguageModelingDataModule(str(tmp_path), tokenizer="byte", batch_size=1)
    model = LanguageModelingModule(data.tokenizer, dict(CONFIG)).model.eval()
    metrics = evaluated(model, data.val_dataloader())
    assert metrics["tokens"] == 11 + 7
    assert metrics["bits_per_byte"] == pytest.approx(metrics["loss"] / math.log(2))
    assert metrics["bits_per_character"] == pytest.approx(metrics["bits_per_byte"] * 18 / 12)


def test_batches_that_say_nothing_of_characters_are_evaluated_without():
    tokenizer = train_char_tokenizer(["abc"])
    model = LanguageModelingModule(tokenizer, dict(CONFIG)).model.eval()
    ids = torch.randint(3, 6, (2, 5))
    assert set(evaluated(model, [{"input_ids": ids, "shift_labels": ids}])) == {"loss", "perplexity", "tokens"}


def test_the_rate_of_a_step_is_scaled_by_its_length():
    """By plain SGD a step of half the length moves the weights half as far; the schedule's own rate stays."""
    tokenizer = train_char_tokenizer(["abcdefg"])
    batch = {"input_ids": torch.randint(3, 10, (2, 12)), "shift_labels": torch.randint(3, 10, (2, 12))}

    class Sgd(LanguageModelingModule):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.5)

    def moved(full_rate_length, batches, **settings):
        L.seed_everything(1, verbose=False)
        module = Sgd(tokenizer, dict(CONFIG), full_rate_length=full_rate_length)
        before = {name: p.detach().clone() for name, p in module.model.named_parameters()}
        run = trainer(max_epochs=1, **settings)
        run.fit(module, DataLoader(batches, batch_size=None))
        assert run.optimizers[0].param_groups[0]["lr"] == 0.5
        return torch.cat([(p.detach() - before[name]).flatten() for name, p in module.model.named_parameters()])

    plain = moved(None, [batch])
    torch.testing.assert_close(moved(12, [batch]), plain, rtol=0, atol=0)
    torch.testing.assert_close(moved(24, [batch]), plain / 2, rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(moved(6, [batch]), plain * 2, rtol=1e-3, atol=1e-7)


def test_random_lengths_reach_training_and_every_epoch_has_as_many_steps(texts):
    data = LanguageModelingDataModule(texts, batch_size=4, sequence_length=12, random_sequence_length=True)
    lengths = [[], [], []]

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            lengths[trainer.current_epoch].append(batch["input_ids"].shape[1])

    module = language_model(data, full_rate_length=12)
    run = trainer(max_epochs=3, callbacks=[Watch()], limit_val_batches=0)
    run.fit(module, data)
    assert len({len(epoch) for epoch in lengths}) == 1
    assert {sum(epoch) for epoch in lengths} == {data.encoded["train"].num_tokens // 4}
    assert lengths[0] != lengths[1] != lengths[2]
    assert run.global_step == sum(map(len, lengths)) == run.estimated_stepping_batches


def test_a_wrong_length_is_an_error():
    with pytest.raises(ValueError, match=r"model\.full_rate_length must be a whole number from 1"):
        LanguageModelingModule(train_char_tokenizer(["abc"]), dict(CONFIG), full_rate_length=0)
