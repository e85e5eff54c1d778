"""A pretrained model under another vocabulary: the tokens of both keep their vectors, new ones start at the mean.

Notable: as in ULMFiT (Howard & Ruder 2018). A token is the same if it is spelt the same; failing that, it takes the
most frequent token that is equal when case is ignored. Special tokens are matched by what they do.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..models.adaptive_head import AdaptiveHead

ROLES = ("pad_token_id", "unk_token_id", "bos_token_id", "eos_token_id")


@dataclass
class MatchedVocabulary:
    """Where the tokens of a new vocabulary stand in an old one.

    `rows` is int64 `[new vocabulary]`, -1 for a token that the old one lacks; `facts` say how much matched how, for
    `metrics.json`.
    """

    rows: Tensor
    facts: dict[str, Any]

    @property
    def found(self) -> Tensor:
        """bool `[new vocabulary]`: whether the old one has the token."""
        return self.rows >= 0


def match_vocabulary(old: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase) -> MatchedVocabulary | None:
    """None for equal vocabularies. Raises ValueError where they share no token but the special ones."""
    theirs, ours = old.get_vocab(), new.get_vocab()
    if theirs == ours:
        return None
    folded: dict[str, int] = {}
    for token, i in sorted(theirs.items(), key=lambda item: item[1]):  # word tokenizers count from the most frequent
        folded.setdefault(token.lower(), i)
    exact, ignoring_case = torch.full((2, len(new)), -1)
    for token, i in ours.items():
        exact[i] = theirs.get(token, -1)
        ignoring_case[i] = folded.get(token.lower(), -1)
    special = {getattr(new, role): getattr(old, role) for role in ROLES}
    for i, theirs_i in special.items():
        if i is not None:
            exact[i] = ignoring_case[i] = -1 if theirs_i is None else theirs_i
    rows = torch.where(exact >= 0, exact, ignoring_case)
    words = torch.ones(len(new), dtype=torch.bool)
    words[[i for i in special if i is not None]] = False
    if not (rows[words] >= 0).any():
        sample = ", ".join(repr(token) for token in list(ours)[4:8])
        raise ValueError(f"it has none of the {len(new)} tokens of the data's vocabulary ({sample}, ...)")
    facts = {
        "vocabulary": len(new),
        "found_exactly": int((exact >= 0).sum()),
        "found_ignoring_case": int(((rows >= 0) & (exact < 0)).sum()),
    }
    return MatchedVocabulary(rows, facts)


@torch.no_grad()
def under_vocabulary(model: PreTrainedModel, config: PreTrainedConfig, rows: Tensor) -> PreTrainedModel:
    """A model of `config` with the weights of `model`, but token i with what token `rows[i]` had, or the mean for -1.

    Raises ValueError for an adaptive head with matrices of its own: their widths go by a token's place in the order.
    """
    embedding, head = model.get_input_embeddings().weight, getattr(model, "lm_head", None)
    of_tokens = [embedding]
    if isinstance(head, AdaptiveHead):
        if head.words is not None:
            raise ValueError(
                "a language model with lm_head adaptive keeps its vocabulary unless tie_word_embeddings: leave "
                "data.tokenizer out, and the tokenizer of the pretrained model is used"
            )
        of_tokens.append(head.bias)
    elif head is not None:
        of_tokens += [parameter for parameter in (head.weight, head.bias) if parameter is not None]
    made = type(model)(config)
    new, old = made.state_dict(), dict(model.named_parameters(remove_duplicate=False))
    state = model.state_dict()
    for name, parameter in old.items():
        if any(parameter is p for p in of_tokens):
            state[name] = _of_rows(parameter, rows[: len(new[name])])
    made.load_state_dict(state)
    pad = config.pad_token_id
    if pad is not None and rows[pad] < 0:
        made.get_input_embeddings().weight[pad] = 0
    return made


def _of_rows(values: Tensor, rows: Tensor) -> Tensor:
    """values[rows], and their mean where a row is -1, or beyond them: of a part of the vocabulary, the first ids."""
    known = (rows >= 0) & (rows < len(values))
    shape = (-1, *[1] * (values.ndim - 1))
    return torch.where(known.reshape(shape), values[rows.where(known, 0)], values.mean(0))
