"""Confidence intervals against scipy and scikit-learn, and against what they must cover."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from rnn_hf.cards.intervals import bootstrapped_macro_f1, of_perplexity, wilson


@pytest.mark.parametrize(("right", "count"), [(0, 1), (1, 1), (0, 40), (40, 40), (433, 500), (1, 25_000)])
def test_wilson_is_scipys(right, count):
    expected = binomtest(right, count).proportion_ci(method="wilson")
    assert wilson(right / count, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("share", "count"), [(-0.1, 5), (1.1, 5), (math.nan, 5), (0.5, 0)])
def test_a_share_of_nothing(share, count):
    with pytest.raises(ValueError, match="a share from 0 to 1 of at least 1 trial is needed"):
        wilson(share, count)


def test_macro_f1_is_drawn_from_the_rows():
    """As drawing the rows themselves and scoring them with scikit-learn."""
    draw = np.random.default_rng(1)
    true = draw.integers(0, 3, 300)
    predicted = np.where(draw.random(300) < 0.7, true, draw.integers(0, 3, 300))
    confusion = np.zeros((3, 3), dtype=int)
    np.add.at(confusion, (true, predicted), 1)
    samples = [draw.integers(0, 300, 300) for _ in range(500)]
    scores = [f1_score(true[rows], predicted[rows], average="macro") for rows in samples]
    low, high = bootstrapped_macro_f1(confusion.tolist())
    assert (low, high) == pytest.approx(np.quantile(scores, [0.025, 0.975]), abs=0.015)
    assert low < f1_score(true, predicted, average="macro") < high
    assert bootstrapped_macro_f1(confusion.tolist()) == (low, high), "from a fixed seed"
    assert bootstrapped_macro_f1([[5, 0], [0, 7]]) == (1.0, 1.0)


def test_perplexity_from_the_loss():
    low, high = of_perplexity(4.0, 0.05)
    assert low * high == pytest.approx(math.exp(8.0)) and math.log(high / low) == pytest.approx(
        2 * 1.96 * 0.05, rel=1e-4
    )
    assert of_perplexity(4.0, 0.0) == (math.exp(4.0), math.exp(4.0))
