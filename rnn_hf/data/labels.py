"""Labels of rows as ids: their names, one or several a row, and what weighs a rare one up.

A row's label is a string (single-label) or a list of strings, which may be empty (multi-label); see `readers`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..models.config_checks import number, suggestion
from .readers import Rows

_weight = number(0, 1e6)


def label_names(rows: Rows) -> dict[int, str]:
    """The labels of `rows` by id, sorted, by value if all are integers: ids have no gaps where the integers have.

    Raises ValueError for a single label where every row has one, or for none at all.
    """
    several = isinstance(rows.labels[0], list)
    labels = {label for row in rows.labels for label in row} if several else set(rows.labels)
    if several and not labels:
        raise ValueError(f"{rows.name} must have labels; no row has any")
    if not several and len(labels) < 2:
        raise ValueError(f"{rows.name} must have at least 2 labels; all {len(rows)} rows have {rows.labels[0]!r}")
    return numbered(labels)


def numbered(names: Iterable[str]) -> dict[int, str]:
    """The names by id, sorted, by value if all are integers."""
    names = list(names)
    try:
        return dict(enumerate(sorted(names, key=int)))
    except ValueError:
        return dict(enumerate(sorted(names)))


def label_tensor(rows: Rows, label2id: Mapping[str, int]) -> Tensor:
    """Ids, int64 `[rows]`; for several labels a row whether it has each, bool `[rows, labels]`.

    Raises ValueError naming file, row and value of the first label that `label2id` lacks, and the allowed ones.
    """
    several = isinstance(rows.labels[0], list)
    for place, row in zip(rows.numbers, rows.labels, strict=True):
        for label in row if several else [row]:
            if label not in label2id:
                near = suggestion(label, label2id)
                allowed = ", ".join(label2id)
                raise ValueError(f"{rows.name} row {place}: label must be one of {allowed}; got {label!r}{near}")
    if not several:
        return torch.tensor([label2id[label] for label in rows.labels])
    has = torch.zeros(len(rows), len(label2id), dtype=torch.bool)
    for i, row in enumerate(rows.labels):
        has[i, [label2id[label] for label in row]] = True
    return has


def rarest_labels(rows: Rows) -> list[str]:
    """Of the labels of each row the one that the fewest rows have; "" for a row without."""
    frequency = Counter(label for row in rows.labels for label in row)
    return [min(row, key=lambda label: (frequency[label], label), default="") for row in rows.labels]


def check_class_weights(value: Any) -> str | None:
    """A `config_checks.Rule`: None, "balanced", or label -> number."""
    if value is None or value == "balanced":
        return None
    if isinstance(value, str) or not isinstance(value, Mapping):
        return f"balanced or a mapping of label to weight; got {value!r}{suggestion(value, ['balanced'])}"
    problems = [f"{label!r}: {problem}" for label, weight in value.items() if (problem := _weight(weight))]
    return f"a mapping of label to weight, each {'; '.join(problems)}" if problems else None


def class_weights(given: str | Mapping[Any, float], labels: Tensor, id2label: Mapping[int, str]) -> list[float]:
    """The weight of each label in the training loss.

    Args:
        given: label -> weight, 1 for a label left out; or "balanced": rows / (labels * rows with this label), so that
            every label has the same part in the loss (King & Zeng 2001). For several labels a row the weight is of the
            rows that have the label, and "balanced" is rows without it / rows with it.
        labels: of the training rows, as `label_tensor` gives them.

    Raises ValueError for a label that is not there.
    """
    if given == "balanced":
        if labels.ndim == 2:
            count = labels.sum(0).double()
            return ((len(labels) - count) / count.clamp(min=1)).tolist()
        count = labels.bincount(minlength=len(id2label)).double()
        return (len(labels) / (len(id2label) * count.clamp(min=1))).tolist()
    weights = {str(label): float(weight) for label, weight in given.items()}
    for label in weights:
        if label not in id2label.values():
            allowed = ", ".join(id2label.values())
            near = suggestion(label, id2label.values())
            raise ValueError(f"data.class_weights must name labels among {allowed}; got {label!r}{near}")
    return [weights.get(label, 1.0) for label in id2label.values()]
