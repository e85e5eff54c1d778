"""What every model asks of its input before it computes: shapes, types, ids and labels, with one clear error each."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedConfig, PreTrainedTokenizerBase
from transformers.utils import is_tracing


def step_mask(attention_mask: Tensor | None, batch: int, time: int) -> Tensor | None:
    """(batch, time) bool: the part of the mask that belongs to the steps at hand."""
    if attention_mask is None:
        return None
    if not is_tracing(attention_mask):
        shape = tuple(attention_mask.shape)
        if attention_mask.ndim != 2 or shape[0] != batch or shape[1] < time:
            raise ValueError(f"attention_mask must be of shape ({batch}, {time}) or longer in time; got {shape}")
    return attention_mask[:, -time:].bool()


def real_steps(attention_mask: Tensor | None, given: Tensor) -> Tensor:
    """(batch, time) bool of ids or features (batch, time, ...): true at real tokens, everywhere without a mask."""
    mask = step_mask(attention_mask, *given.shape[:2])
    return torch.ones(given.shape[:2], dtype=torch.bool, device=given.device) if mask is None else mask


def refuse_export(model: torch.nn.Module) -> None:
    """Raises ValueError within torch.export and torch.onnx.export, for models that look n-grams up."""
    if torch.compiler.is_exporting():
        raise ValueError(
            f"{type(model).__name__} looks n-grams up in sorted tables, which no exported program can do: it has no "
            "export to ONNX or by torch.export"
        )


def check_input(given: Tensor, is_ids: bool) -> None:
    """Raises ValueError unless ids are (batch, time) or embeddings (batch, time, features), with a token at least."""
    if given.ndim != (2 if is_ids else 3):
        axes = "batch, time" if is_ids else "batch, time, features"
        raise ValueError(f"the input must be of shape ({axes}); got {tuple(given.shape)}")
    if is_ids and given.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"token ids must be int64 or int32; got {given.dtype}")
    if not is_tracing(given) and 0 in given.shape:
        raise ValueError(
            f"an input of shape {tuple(given.shape)} holds no token: give at least one text and one token "
            "(to generate from nothing, start with bos_token_id)"
        )


def check_ids(ids: Tensor, vocab_size: int) -> None:
    """Raises ValueError for an id outside the vocabulary."""
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocab_size:
        raise ValueError(f"token ids must be from 0 to {vocab_size - 1}; got {low if low < 0 else high}")


def mask_or_padding(config: PreTrainedConfig, input_ids: Tensor | None, attention_mask: Tensor | None) -> Tensor | None:
    """The mask; without one, `pad_token_id` is taken for padding."""
    if attention_mask is None and input_ids is not None and config.pad_token_id is not None:
        return input_ids.ne(config.pad_token_id)
    return attention_mask


def checked_labels(labels: Tensor, logits: Tensor, config: PreTrainedConfig) -> Tensor:
    """The labels in the shape and type that the loss of the problem takes. Raises ValueError for any other shape."""
    batch, num_labels = logits.shape
    shape = tuple(labels.shape)
    problem, origin = config.problem_type, "config.problem_type"
    if problem is None:
        origin = "by their shape and type, as config.problem_type is None"
        single = not labels.is_floating_point() and shape != (batch, num_labels)
        problem = "single_label_classification" if single else "multi_label_classification"
        problem = "regression" if num_labels == 1 else problem
    expected = (batch,) if problem == "single_label_classification" or num_labels == 1 else (batch, num_labels)
    if shape != expected and not (shape == (batch, 1) and expected == (batch,)):
        raise ValueError(f"labels must be of shape {expected} for {problem} ({origin}); got {shape}")
    if problem == "single_label_classification":
        labels = label_ids(labels, num_labels).view(batch)
    else:
        labels = labels.to(logits.dtype).view(batch, num_labels)
    if problem == "multi_label_classification" and labels.device.type == "cpu" and not is_tracing(labels):
        wrong = labels[(labels < 0) | (labels > 1)]
        if len(wrong):
            raise ValueError(f"labels must be from 0 to 1 for {problem} ({origin}); got {float(wrong[0])}")
    config.problem_type = problem  # as transformers, which saves it
    return labels


def label_ids(labels: Tensor, count: int) -> Tensor:
    """The labels as int64, each from 0 to count - 1, or -100; looked at on the CPU, where that costs nothing."""
    if labels.is_floating_point():
        raise ValueError(f"labels must be whole numbers; got {labels.dtype}")
    if labels.device.type == "cpu" and not is_tracing(labels):
        wrong = labels[(labels != -100) & ((labels < 0) | (labels >= count))]
        if len(wrong):
            raise ValueError(
                f"labels must be from 0 to {count - 1}, or -100 for what is not scored; got {int(wrong[0])}"
            )
    return labels.long()


def token_rows(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, last_first: bool = False) -> list[list[int]]:
    """The ids of each text, its last token first if so wanted.

    Raises ValueError for no text, and for one without a token that the tokenizer knows.
    """
    if not texts:
        raise ValueError("no text was given: give at least one")
    ids = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    for text, row in zip(texts, ids, strict=True):
        if not row:
            raise ValueError(f"text {text!r} holds no token: give a text that is not empty")
        if tokenizer.unk_token_id is not None and set(row) == {tokenizer.unk_token_id}:
            raise ValueError(f"text {text!r:.80} has only words that the tokenizer does not know")
    return [row[::-1] for row in ids] if last_first else ids


def pad_rows(rows: Iterable[list[int]], device) -> dict[str, Tensor]:
    """Rows of ids as one batch, padded on the right."""
    rows = [torch.tensor(row, device=device) for row in rows]
    mask = [torch.ones_like(row) for row in rows]
    return {
        "input_ids": pad_sequence(rows, batch_first=True),
        "attention_mask": pad_sequence(mask, batch_first=True),
    }
