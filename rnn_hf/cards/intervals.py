"""Confidence intervals of 95 %, from the counts that a run reports."""

import math

import numpy as np

Z = 1.959963984540054  # of the standard normal: 95 % lie within
RESAMPLES = 1000


def wilson(share: float, count: int) -> tuple[float, float]:
    """The score interval of a share of `count` independent trials (Wilson 1927).

    Raises ValueError for a share outside [0, 1] or no trials.
    """
    if not (0 <= share <= 1 and count > 0):
        raise ValueError(f"a share from 0 to 1 of at least 1 trial is needed; got {share!r} of {count!r}")
    centre = share + Z**2 / (2 * count)
    half = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return max(0.0, (centre - half) / (1 + Z**2 / count)), min(1.0, (centre + half) / (1 + Z**2 / count))


def bootstrapped_macro_f1(confusion: list[list[int]]) -> tuple[float, float]:
    """The percentile interval of macro F1 (Efron 1979): rows are drawn anew with replacement, from a fixed seed.

    F1 depends on the rows by the confusion matrix alone, so drawing its counts is drawing the rows.

    Args:
        confusion: rows of true, columns of predicted labels.
    """
    counts = np.asarray(confusion, dtype=np.int64)
    true, predicted = np.nonzero(counts)  # of many labels most pairs never occur
    some = counts[true, predicted]
    drawn = np.random.default_rng(0).multinomial(some.sum(), some / some.sum(), size=RESAMPLES)  # [resamples, pairs]
    labels = np.eye(len(counts), dtype=np.int64)
    right = drawn @ (labels[true] * (true == predicted)[:, None])  # [resamples, labels]
    both = drawn @ (labels[true] + labels[predicted])  # rows that have the label and rows that got it
    f1 = 2 * right / np.maximum(both, 1)
    means = f1.sum(1) / (both > 0).sum(1)  # over the labels that occur, as the metric itself
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def of_perplexity(loss: float, standard_error: float) -> tuple[float, float]:
    """exp of the normal interval around the loss, in nats per token."""
    return math.exp(loss - Z * standard_error), math.exp(loss + Z * standard_error)
