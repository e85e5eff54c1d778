"""Counting by Lightning: the whole text whatever the batches are, one process, one epoch; what smoothing is worth."""

from types import SimpleNamespace

import pytest
import torch

from rnn_hf import CountingModule, LanguageModelingDataModule, LanguageModelingModule, NgramForCausalLM
from rnn_hf.training.counting import compare_smoothings

from .conftest import WORDS, trainer

NGRAM = {"model_type": "ngram", "order": 3}


@pytest.fixture
def texts(tmp_path):
    """Lines of words that mostly follow each other in order; in what is held out, some follow where they never did."""
    generator = torch.Generator().manual_seed(0)
    for split, rows in {"train": 200, "validation": 50, "test": 60}.items():
        steps = torch.where(torch.rand(rows, 6, generator=generator) < 0.8, 1, 4).cumsum(1).tolist()
        lines = [" ".join(WORDS[step % len(WORDS)] for step in row) for row in steps]
        lines += [" ".join(reversed(WORDS))] * (split != "train")
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return str(tmp_path)


@pytest.mark.parametrize(("lanes", "length"), [(1, 10_000), (1, 7), (8, 10)])
def test_counts_are_those_of_the_text(texts, lanes, length):
    """Of several lanes fewer tokens than there are lanes are dropped, at the text's end."""
    data = LanguageModelingDataModule(texts, batch_size=lanes, sequence_length=length)
    module = CountingModule(data.tokenizer, config=dict(NGRAM))
    trainer(max_epochs=1).fit(module, data)
    ids = data.encoded["train"].ids
    ids = ids[: len(ids) - data.encoded["train"].num_tokens % lanes]
    expected = NgramForCausalLM(type(module.model.config)(**module.model.config.to_diff_dict())).fit(ids)
    torch.testing.assert_close(module.model.state_dict(), expected.state_dict(), atol=0, rtol=0)
    assert module.metrics["validation/perplexity"] < 20


def test_smoothing_is_necessary(texts):
    """Without it most unseen text is impossible; every other way makes a finite perplexity of the same counts."""
    data = LanguageModelingDataModule(texts, batch_size=1)
    module = CountingModule(data.tokenizer, config=NGRAM | {"smoothing": "kneser_ney"})
    trainer(max_epochs=1).fit(module, data)
    table = module.reports["validation"]["smoothing"]
    assert set(table) == {"modified_kneser_ney", "kneser_ney", "add_k", "maximum_likelihood"}
    assert module.model.config.smoothing == "kneser_ney"
    printed = list(module.report_lines())
    assert printed[0].startswith("validation perplexity and share of tokens with probability 0") and len(printed) == 5
    share = table["maximum_likelihood"]["zero_probability_share"]
    assert printed[-1].split() == ["maximum_likelihood", "infinite", f"{share:.1%}"]
    nothing = table.pop("maximum_likelihood")
    assert nothing["perplexity"] is None and nothing["zero_probability_share"] > 0
    for found in table.values():
        assert 1 < found["perplexity"] < 100 and found["zero_probability_share"] == 0
    assert table["kneser_ney"]["perplexity"] == pytest.approx(module.metrics["validation/perplexity"], rel=1e-5)
    module.model.config.prune_counts = [0, 1]
    assert set(compare_smoothings(module.model, module.evaluated)) == {"modified_kneser_ney", "kneser_ney"}


def test_wrong_ways_are_one_clear_error(texts):
    data = LanguageModelingDataModule(texts, batch_size=1)
    module = CountingModule(data.tokenizer, config=dict(NGRAM))
    with pytest.raises(ValueError, match=r"ngram is fitted in one pass: trainer\.max_epochs must be 1; got 3"):
        trainer(max_epochs=3).fit(module, data)
    module.trainer = SimpleNamespace(world_size=2)
    with pytest.raises(ValueError, match="ngram is fitted to all training data by one process"):
        module.setup("fit")
    with pytest.raises(ValueError, match="model_type 'ngram' is fitted in one pass: not by LanguageModelingModule"):
        LanguageModelingModule(data.tokenizer, config=dict(NGRAM))
    with pytest.raises(ValueError, match="model_type 'rnn' is fitted by gradient descent: not by CountingModule"):
        CountingModule(data.tokenizer, config={"hidden_size": 8})
    impossible = CountingModule(data.tokenizer, config=NGRAM | {"smoothing": "maximum_likelihood"})
    with pytest.raises(ValueError, match="probability 0 under smoothing 'maximum_likelihood'; give another"):
        trainer(max_epochs=1).fit(impossible, data)
