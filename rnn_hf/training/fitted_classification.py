"""Fit a text classifier to all training rows at once: Naive Bayes, logistic regression."""

from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from .classification import ClassificationModule
from .one_pass import OnePassModule


class FittedClassificationModule(OnePassModule, ClassificationModule):
    """A classifier that is fitted, from batches `input_ids`, `attention_mask` `[batch, time]` and `labels`.

    Args:
        tokenizer: Decides the vocabulary size and the special tokens.
        id2label: Names of the labels.
        config: Fields of the model's configuration.
        problem_type: `single_label_classification` or `multi_label_classification`.
        label_weights: Weight of each label in the fit alone, in the order of `id2label`: of the rows that have it. For
            one label a row.
        monitor: A name of the evaluation's numbers (`classification_metrics`).

    Raises:
        ValueError: as `ClassificationModule`; `label_weights` with several labels a row.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        id2label: dict[int, str],
        config: dict[str, Any] | None = None,
        problem_type: str = "single_label_classification",
        label_weights: list[float] | None = None,
        monitor: str | None = None,
    ):
        super().__init__(
            tokenizer=tokenizer,
            id2label=id2label,
            config=config,
            problem_type=problem_type,
            label_weights=label_weights,
            monitor=monitor,
        )
        if label_weights is not None and problem_type == "multi_label_classification":
            raise ValueError("class_weights are for one label a row, where a classifier is fitted: leave them out")

    def fit_batches(self, batches):
        masks = [batch["attention_mask"].bool() for batch in batches]
        tokens = torch.cat([batch["input_ids"][mask] for batch, mask in zip(batches, masks, strict=True)])
        labels = torch.cat([batch["labels"] for batch in batches])
        weights = None if self.label_weights is None else self.label_weights.cpu()[labels]
        self.model.fit(tokens, torch.cat([mask.sum(1) for mask in masks]), labels, weights)
