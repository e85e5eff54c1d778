"""The standard error of a loss over one long text."""

import pytest
import torch

from rnn_hf.training.metrics import LanguageModelingEvaluation, WeightedMean


def mean_of(values, counts=None):
    mean = WeightedMean()
    for value, count in zip(values, counts or [10] * len(values), strict=True):
        mean.update(torch.as_tensor(value), count)
    return mean


def test_of_independent_batches_it_is_the_usual_one():
    values = torch.randn(32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    usual = values.std().item() / 32**0.5
    assert mean_of(values).standard_error() == pytest.approx(usual)
    assert mean_of(values, [7] * 32).standard_error() == pytest.approx(usual), "the size of a batch is nothing to it"


def test_neighbours_that_say_the_same_make_it_no_smaller():
    """640 batches, 20 of each value: as sure as 32 batches are, not as 640 would be."""
    values = torch.randn(32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert mean_of(values.repeat_interleave(20)).standard_error() == pytest.approx(values.std().item() / 32**0.5)


def test_it_is_that_of_the_mean_over_many_texts():
    """1,000 texts of 100 batches with autocorrelation 0.5 and unequal sizes: their means vary as it says."""
    random = torch.Generator().manual_seed(1)
    noise = torch.randn(1000, 101, generator=random, dtype=torch.float64)
    values, counts = noise[:, 1:] + noise[:, :-1], torch.randint(5, 16, (100,), generator=random).tolist()
    means = [mean_of(row, counts) for row in values]
    spread = torch.tensor([mean.compute()[0] for mean in means]).std().item()
    said = torch.tensor([mean.standard_error() for mean in means]).square().mean().sqrt().item()
    assert said == pytest.approx(spread, rel=0.15)


def test_a_short_text_and_texts_sorted_by_length_have_none():
    assert mean_of([1.0] * 15).standard_error() is None
    evaluation = LanguageModelingEvaluation()
    evaluation.nats = mean_of([1.0, 2.0] * 20)
    assert set(evaluation.report()) == {"loss_standard_error"}
    evaluation.is_one_text = False
    assert evaluation.report() == {}
