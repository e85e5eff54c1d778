"""What a classifier gets right and wrong in one pass over evaluation data: counts, exact, and what follows from them.

Notable: batches of any sizes give the same numbers; nothing waits for the device until `compute`. The loss is the
negative log-likelihood, never weighted.
"""

from typing import Any

import torch
from torch import Tensor

from .metrics import WeightedMean

CALIBRATION_BINS = 15  # of equal width, as in Guo et al. 2017


def scores(true_positives: Tensor, predicted: Tensor, support: Tensor) -> dict[str, Tensor]:
    """Precision, recall and F1 (float64) from counts of any shape; 0 where there is nothing to divide by."""

    def ratio(part: Tensor, whole: Tensor) -> Tensor:
        return part.double() / whole.clamp(min=1)

    return {
        "precision": ratio(true_positives, predicted),
        "recall": ratio(true_positives, support),
        "f1": ratio(2 * true_positives, predicted + support),
    }


def f1_scores(true_positives: Tensor, predicted: Tensor, support: Tensor) -> dict[str, float]:
    """`f1_macro`, the mean over labels that occur (in the data or among the answers), and `f1_micro`, of all counts."""
    occurs = predicted + support > 0
    f1 = scores(true_positives, predicted, support)["f1"]
    micro = scores(true_positives.sum(), predicted.sum(), support.sum())["f1"]
    return {"f1_macro": f1[occurs].mean().item() if occurs.any() else 0.0, "f1_micro": micro.item()}


def label_table(
    id2label: dict[int, str], true_positives: Tensor, predicted: Tensor, support: Tensor
) -> dict[str, dict[str, float | int]]:
    """label -> precision, recall, F1, and its `support`, the rows that have it."""
    columns = {name: column.tolist() for name, column in scores(true_positives, predicted, support).items()}
    columns["support"] = support.tolist()
    return {id2label[i]: {name: column[i] for name, column in columns.items()} for i in range(len(support))}


def calibration_error(bins: dict[str, list]) -> float:
    """The expected calibration error (Naeini et al. 2015): mean over rows of |accuracy - confidence| of their bin."""
    rows = zip(bins["rows"], bins["accuracy"], bins["confidence"], strict=True)
    return sum(count * abs(accuracy - confidence) for count, accuracy, confidence in rows if count) / sum(bins["rows"])


class ClassificationEvaluation:
    """Of rows with one label each."""

    names = ("loss", "accuracy", "f1_macro", "f1_micro", "calibration_error", "rows")
    monitor = "accuracy"

    def __init__(self):
        self.nats = WeightedMean()
        self.true, self.predicted, self.confidence = [], [], []  # [rows] of each batch

    def update(self, model, batch: dict[str, Tensor]) -> None:
        """Predicts a batch of `input_ids`, `attention_mask` and `labels` `[batch]`."""
        output = model(**batch)
        confidence, predicted = output.logits.float().softmax(-1).max(-1)
        self.nats.update(output.loss, len(predicted))
        self.num_labels = output.logits.shape[-1]
        self.true.append(batch["labels"])
        self.predicted.append(predicted)
        self.confidence.append(confidence)

    def compute(self) -> dict[str, float | int]:
        """Numbers over all rows.

        Returns:
            `loss`: nats per row; `accuracy`: share of rows whose likeliest label is right; `f1_macro`; `f1_micro`,
            which is the accuracy, as each row has one label and one answer; `calibration_error`; `rows`.
        """
        loss, rows = self.nats.compute()
        confusion, bins = self._confusion(), self._calibration()
        right = confusion.diag()
        accuracy = int(right.sum()) / rows
        f1 = f1_scores(right, confusion.sum(0), confusion.sum(1))
        return {"loss": loss, "accuracy": accuracy, **f1, "calibration_error": calibration_error(bins), "rows": rows}

    def report(self, id2label: dict[int, str]) -> dict[str, Any]:
        """What one number does not say, ready for JSON.

        Returns:
            `labels`: see `label_table`; `confusion_matrix`: rows of true, columns of predicted labels, both by id;
            `calibration`: of each bin of confidence its `rows`, their mean `confidence` and their `accuracy` (None
            where there are no rows), lowest first.
        """
        confusion = self._confusion()
        return {
            "labels": label_table(id2label, confusion.diag(), confusion.sum(0), confusion.sum(1)),
            "confusion_matrix": confusion.tolist(),
            "calibration": self._calibration(),
        }

    def _confusion(self) -> Tensor:
        """int64 `[labels, labels]`: true by predicted."""
        true, predicted = torch.cat(self.true).cpu(), torch.cat(self.predicted).cpu()
        pairs = (true * self.num_labels + predicted).bincount(minlength=self.num_labels**2)
        return pairs.view(self.num_labels, self.num_labels)

    def _calibration(self) -> dict[str, list]:
        right = (torch.cat(self.true) == torch.cat(self.predicted)).cpu().double()
        confidence = torch.cat(self.confidence).cpu().double()
        place = (confidence * CALIBRATION_BINS).ceil().long().clamp(1, CALIBRATION_BINS) - 1  # (low, high]
        rows = place.bincount(minlength=CALIBRATION_BINS)

        def mean(values: Tensor) -> list[float | None]:
            sums = torch.zeros(CALIBRATION_BINS, dtype=torch.float64).index_add(0, place, values)
            return [total / count if count else None for total, count in zip(sums.tolist(), rows.tolist(), strict=True)]

        return {"rows": rows.tolist(), "confidence": mean(confidence), "accuracy": mean(right)}


class MultiLabelEvaluation:
    """Of rows with any number of labels; a label is predicted where its probability is above 0.5."""

    names = ("loss", "subset_accuracy", "f1_macro", "f1_micro", "rows")
    monitor = "f1_micro"

    def __init__(self):
        self.nats, self.exact, self.counts = WeightedMean(), [], []

    def update(self, model, batch: dict[str, Tensor]) -> None:
        """Predicts a batch of `input_ids`, `attention_mask` and `labels` `[batch, labels]` of 0 and 1."""
        output = model(**batch)
        true, predicted = batch["labels"] > 0.5, output.logits > 0
        self.nats.update(output.loss, len(true))
        self.exact.append((true == predicted).all(-1).sum())
        self.counts.append(torch.stack([(true & predicted).sum(0), predicted.sum(0), true.sum(0)]))

    def compute(self) -> dict[str, float | int]:
        """Numbers over all rows.

        Returns:
            `loss`: nats per row and label; `subset_accuracy`: share of rows whose every label is right; `f1_macro`,
            `f1_micro`; `rows`.
        """
        loss, rows = self.nats.compute()
        exact = int(sum(self.exact)) / rows
        return {"loss": loss, "subset_accuracy": exact, **f1_scores(*self._counts()), "rows": rows}

    def report(self, id2label: dict[int, str]) -> dict[str, Any]:
        """`labels`: see `label_table`."""
        return {"labels": label_table(id2label, *self._counts())}

    def _counts(self) -> Tensor:
        """int64 `[3, labels]`: true positives, predicted, support."""
        return torch.stack(self.counts).cpu().sum(0)


EVALUATIONS = {  # by `config.problem_type`
    "single_label_classification": ClassificationEvaluation,
    "multi_label_classification": MultiLabelEvaluation,
}
