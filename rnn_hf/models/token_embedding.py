"""From ids, or embeddings in their place, to the vectors of tokens."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .input_checks import check_ids, check_input


class WordVectors(nn.Linear):
    """A linear map whose rows are words' vectors, and begin as those of an embedding do."""


def embed(
    embed_tokens: nn.Embedding, input_ids: Tensor | None, inputs_embeds: Tensor | None, word_dropout: float = 0.0
) -> Tensor:
    """`(batch, time, features)`.

    Args:
        word_dropout: in training, whole words of the vocabulary are dropped with this probability, the same ones all
            over the batch (Gal & Ghahramani 2016).

    Raises:
        ValueError: not exactly one of ids and embeddings, another shape or type than the model's, an id outside the
            vocabulary.
    """
    if (input_ids is None) == (inputs_embeds is None):
        raise ValueError("give exactly one of input_ids and inputs_embeds")
    given = input_ids if inputs_embeds is None else inputs_embeds
    check_input(given, inputs_embeds is None)
    if inputs_embeds is not None:
        width, dtype = embed_tokens.embedding_dim, embed_tokens.weight.dtype
        if inputs_embeds.shape[-1] != width:  # torch's LSTM kernel would read beyond the weights
            raise ValueError(f"inputs_embeds must have {width} features (embedding_size); got {given.shape[-1]}")
        if inputs_embeds.dtype != dtype and not torch.is_autocast_enabled(inputs_embeds.device.type):
            raise ValueError(f"inputs_embeds must be of the model's type, {dtype}; got {inputs_embeds.dtype}")
        return inputs_embeds
    try:
        embedded = embed_tokens(input_ids)
    except IndexError as error:
        check_ids(input_ids, embed_tokens.num_embeddings)
        raise error
    if embed_tokens.training and word_dropout > 0:
        kept = F.dropout(embedded.new_ones(embed_tokens.num_embeddings), word_dropout)
        embedded = embedded * kept[input_ids][..., None]
    return embedded
