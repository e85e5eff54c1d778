"""A bag of n-grams fitted to all training rows at once: Naive Bayes by counting, logistic regression by L-BFGS.

Notable: one text is one sparse row, in float64, so that the fit agrees with scikit-learn's; two labels share one column
of weights, as there, and of several labels a row each has a column of its own.
"""

import warnings
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .configuration_bow import BowConfig
from .input_checks import label_ids
from .ngram_features import make_table

LEAST_ROWS = 0.5  # what a label without rows counts as: its logarithm is finite
MOST_ITERATIONS = 1000
LEAST_GRADIENT = 1e-7  # the largest entry of the gradient, in nats per row, at which L-BFGS ends


class Fitted(NamedTuple):
    """What `NgramScores` holds, in float64."""

    table: Tensor  # [features] int64
    idf: Tensor | None  # [features], for tf-idf
    weight: Tensor  # [features, labels]
    bias: Tensor  # [labels]


def fit_bag_of_words(
    config: BowConfig, tokens: Tensor, lengths: Tensor, labels: Tensor, row_weights: Tensor | None = None
) -> Fitted:
    """What `BowConfig` describes, fitted to texts.

    Args:
        tokens: int64 `[tokens]`, the texts end to end.
        lengths: `[texts]`, tokens of each.
        labels: `[texts]` ids, or `[texts, labels]` of 0 and 1.
        row_weights: `[texts]`, how much each counts.

    Raises:
        ValueError: no token; lengths or labels that do not fit.
    """
    several = labels.ndim == 2
    expected = (len(lengths), config.num_labels) if several else (len(lengths),)
    if not len(tokens) or int(lengths.sum()) != len(tokens) or labels.shape != expected:
        raise ValueError(
            f"tokens must be those of all texts, and labels of shape {expected}; got {len(tokens)} tokens, lengths of "
            f"{int(lengths.sum())} together, labels of shape {tuple(labels.shape)}"
        )
    targets = (labels if several else F.one_hot(label_ids(labels, config.num_labels), config.num_labels)).double()
    matrix, table, idf = _features(config, tokens, lengths)
    row_weights = torch.ones(len(lengths)).double() if row_weights is None else row_weights.double()
    if config.classifier == "naive_bayes":
        weight, bias = naive_bayes(matrix, targets, row_weights, config.alpha, several)
    else:
        one_column = not several and config.num_labels == 2
        if one_column:
            targets = targets[:, 1:]
        scale = None
        if config.classifier == "nb_logistic_regression":
            scale = log_count_ratios(matrix, targets, row_weights, config.alpha)[0]
        link = "sigmoid" if one_column or several else "softmax"
        weight, bias = logistic_regression(matrix, targets, row_weights, config.l2_penalty, link, scale)
        if one_column:
            weight, bias = torch.cat([-weight / 2, weight / 2], 1), torch.cat([-bias / 2, bias / 2])
    if not several:  # a softmax sees differences alone, and small numbers keep more of them in float32
        weight, bias = weight - weight.mean(1, keepdim=True), bias - bias.mean()
    return Fitted(table, idf, weight, bias)


class Matrix:
    """Sparse `[rows, columns]` in float64 that multiplies dense matrices from the left, as it is and transposed."""

    def __init__(self, rows: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]):
        self.size = size
        self._plain = _compressed(rows, columns, values, size)
        order = columns.argsort(stable=True)
        self._transposed = _compressed(columns[order], rows[order], values[order], size[::-1])

    def __matmul__(self, dense: Tensor) -> Tensor:
        return self._plain @ dense

    def transposed_times(self, dense: Tensor) -> Tensor:
        """The product of the transposed matrix with `[rows, n]`."""
        return self._transposed @ dense


def _compressed(rows: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """From entries sorted by row."""
    starts = F.pad(rows.bincount(minlength=size[0]).cumsum(0), (1, 0)).int()
    with warnings.catch_warnings(action="ignore"):  # torch calls its sparse tensors beta
        return torch.sparse_csr_tensor(starts, columns.int(), values, size=size, check_invariants=False)


def _features(config: BowConfig, tokens: Tensor, lengths: Tensor) -> tuple[Matrix, Tensor, Tensor | None]:
    """Features of the texts, their table and, for tf-idf, the inverse document frequencies."""
    rows = torch.arange(len(lengths)).repeat_interleave(lengths)
    table, places, numbers = make_table(tokens, rows, config.ngram_max)
    entries, counts = (places * len(table) + numbers).unique(return_counts=True)
    rows, columns = entries // len(table), entries % len(table)
    values, idf = counts.double(), None
    if config.features == "binary":
        values = torch.ones_like(values)
    elif config.features == "tfidf":
        texts = columns.bincount(minlength=len(table)).double()  # that hold each n-gram
        idf = ((1 + len(lengths)) / (1 + texts)).log() + 1
        values *= idf[columns]
        lengths_squared = torch.zeros(len(lengths)).double().index_add(0, rows, values**2)
        values /= lengths_squared.sqrt()[rows]
    return Matrix(rows, columns, values, (len(lengths), len(table))), table, idf


def naive_bayes(
    matrix: Matrix, targets: Tensor, row_weights: Tensor, alpha: float, several: bool
) -> tuple[Tensor, Tensor]:
    """Multinomial Naive Bayes with add-alpha smoothing: log p(feature | label) and log p(label).

    With `several` labels a row each label is told from its absence: the differences of the two classes' logarithms.
    """
    if several:
        return log_count_ratios(matrix, targets, row_weights, alpha)
    weighted = targets * row_weights[:, None]
    prior = weighted.sum(0).clamp(min=LEAST_ROWS) / row_weights.sum()
    return _log_shares(matrix.transposed_times(weighted), alpha), prior.log()


def log_count_ratios(matrix: Matrix, targets: Tensor, row_weights: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Of each column of `targets`, log p(feature | 1) - log p(feature | 0), `[features, columns]`, and the same of the
    rows' shares, `[columns]` (Wang & Manning 2012, eq. 1 and section 2.1)."""
    weighted = targets * row_weights[:, None]
    inside = matrix.transposed_times(weighted)
    outside = matrix.transposed_times(row_weights[:, None]) - inside
    present, absent = weighted.sum(0), (row_weights[:, None] - weighted).sum(0)
    odds = present.clamp(min=LEAST_ROWS) / absent.clamp(min=LEAST_ROWS)
    return _log_shares(inside, alpha) - _log_shares(outside, alpha), odds.log()


def _log_shares(counts: Tensor, alpha: float) -> Tensor:
    """log of (counts + alpha) as shares of each column."""
    smoothed = counts + alpha
    return smoothed.log() - smoothed.sum(0).log()


def logistic_regression(
    matrix: Matrix,
    targets: Tensor,
    row_weights: Tensor,
    l2_penalty: float,
    link: str,
    scale: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Weights `[features, columns]` and bias `[columns]` with the least loss, by L-BFGS.

    The loss is the sum over rows of their nats plus `l2_penalty / 2` times the squared length of the weights; the bias
    is free. `l2_penalty` is 1 / C of scikit-learn and liblinear.

    Args:
        targets: `[rows, columns]` of 0 and 1.
        link: `softmax` over the columns, or `sigmoid` for each.
        scale: `[features, columns]`, what a feature's value is multiplied by; it comes into the weights returned.
    """
    parameters = [torch.zeros(matrix.size[1], targets.shape[1]).double(), torch.zeros(targets.shape[1]).double()]
    weight, bias = parameters
    total = row_weights.sum()
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=MOST_ITERATIONS,
        history_size=10,
        tolerance_grad=LEAST_GRADIENT,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        logits = matrix @ (weight if scale is None else weight * scale) + bias
        if link == "softmax":
            nats, probabilities = -(targets * logits.log_softmax(-1)).sum(-1), logits.softmax(-1)
        else:
            nats = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(-1)
            probabilities = logits.sigmoid()
        errors = (probabilities - targets) * (row_weights / total)[:, None]
        slope = matrix.transposed_times(errors)
        weight.grad = (slope if scale is None else slope * scale) + l2_penalty / total * weight
        bias.grad = errors.sum(0)
        return (nats * row_weights).sum() / total + l2_penalty / total / 2 * weight.square().sum()

    with torch.no_grad():
        optimizer.step(loss)
    steepest = max(float(parameter.grad.abs().max()) for parameter in parameters)
    if steepest > LEAST_GRADIENT:
        warnings.warn(
            f"L-BFGS ended with a gradient of {steepest:.1e} nats per row, above {LEAST_GRADIENT:.0e}: a larger "
            "model.config.l2_penalty converges faster",
            stacklevel=2,
        )
    return (weight if scale is None else weight * scale), bias
