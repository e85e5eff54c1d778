"""Reading and writing text of any length in constant memory and at constant speed.

`generate()` returns the whole text, so each step joins one more token to all ids so far: its cost grows with the text.
Here the state stands for what was read, and no id is kept.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper
from transformers.cache_utils import Cache

from ..models.cache import new_cache
from ..models.causal_lm import FiniteScores
from ..models.config_checks import integer, require
from ..models.modeling_rnn import RnnForCausalLM


@torch.no_grad()
def read_prompt(
    model: RnnForCausalLM,
    input_ids: Tensor,
    past_key_values: Cache | None = None,
    attention_mask: Tensor | None = None,
    chunk_size: int = 1024,
) -> tuple[Tensor, Cache]:
    """Reads a text in chunks, with the numbers of one call.

    Args:
        model: a language model.
        input_ids: (batch, time), of any length.
        past_key_values: the state to go on from, updated in place; None begins anew.
        attention_mask: (batch, time), 0 at padding; None without.
        chunk_size: tokens read at once: memory is needed for these alone.

    Returns:
        the next token's logits (batch, vocab_size), and the state after the text.

    Raises:
        ValueError: no token, an id outside the vocabulary, a mask or a state of another shape, `chunk_size` below 1.
    """
    require(integer(1), chunk_size=chunk_size)
    if not isinstance(input_ids, Tensor) or input_ids.ndim != 2:
        got = tuple(input_ids.shape) if isinstance(input_ids, Tensor) else type(input_ids).__name__
        raise ValueError(f"input_ids must be a tensor of shape (batch, time); got {got}")
    if attention_mask is not None and attention_mask.shape != input_ids.shape:
        raise ValueError(f"attention_mask must be of shape {tuple(input_ids.shape)}; got {tuple(attention_mask.shape)}")
    cache = new_cache(model.config) if past_key_values is None else past_key_values
    for start in range(0, max(input_ids.shape[1], 1), chunk_size):  # once for no token: the model says what is wrong
        part = slice(start, start + chunk_size)
        mask = None if attention_mask is None else attention_mask[:, part]
        logits = model(input_ids[:, part], attention_mask=mask, past_key_values=cache, logits_to_keep=1).logits
    return logits[:, -1], cache


def stream(
    model: RnnForCausalLM,
    input_ids: Tensor,
    past_key_values: Cache | None = None,
    *,
    attention_mask: Tensor | None = None,
    max_new_tokens: int | None = None,
    do_sample: bool = False,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
    stop_at_eos: bool = True,
    chunk_size: int = 1024,
) -> Iterator[Tensor]:
    """Writes on from a text, token by token, with `generate()`'s choices, and without end unless one is asked for.

    Args:
        model: a language model.
        input_ids: (batch, time), the text, or only what is new to the state.
        past_key_values: the state to go on from; None begins anew. It is updated in place, so that the caller holds it:
            it has read all but the token that was yielded last, which a later call begins with.
        attention_mask: (batch, time), 0 at padding; None without.
        max_new_tokens: stop after so many; None goes on.
        do_sample: draw from the distribution; otherwise take the likeliest token.
        temperature, top_k, top_p: as in `generate()`; 0 and 1.0 leave all tokens in (where `generate()` takes the 50
            likeliest unless told otherwise).
        generator: random numbers for sampling; None for torch's global ones.
        stop_at_eos: end when each row has written an `eos_token_id` of the generation configuration; a row that has is
            filled with its `pad_token_id`.
        chunk_size: tokens of the text read at once.

    Yields:
        the next token of each row, (batch,).

    Raises:
        ValueError: an option out of range, as soon as it is called; a bad text or state, or scores that are NaN or
            inf, when the first token is asked for.
    """
    if max_new_tokens is not None and max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, or None to go on; got {max_new_tokens}")
    require(integer(1), chunk_size=chunk_size)
    warpers = []
    if do_sample:  # in generate()'s order
        warpers += [TemperatureLogitsWarper(temperature)] if temperature != 1 else []
        warpers += [TopKLogitsWarper(top_k)] if top_k != 0 else []
        warpers += [TopPLogitsWarper(top_p)] if top_p != 1 else []
    warpers.append(FiniteScores())

    @torch.no_grad()
    def tokens() -> Iterator[Tensor]:
        logits, cache = read_prompt(model, input_ids, past_key_values, attention_mask, chunk_size)
        config = model.generation_config
        ends = torch.tensor([], dtype=torch.long)
        if stop_at_eos and config.eos_token_id is not None:
            ends = torch.as_tensor(config.eos_token_id).view(-1)
        ends = ends.to(logits.device)
        filler = config.pad_token_id if config.pad_token_id is not None or not len(ends) else int(ends[0])
        done = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
        written = 0
        while True:
            scores = logits.float()
            for warp in warpers:
                scores = warp(None, scores)
            if do_sample:
                token = torch.multinomial(scores.softmax(-1), 1, generator=generator)[:, 0]
            else:
                token = scores.argmax(-1)
            if len(ends):
                token = token.masked_fill(done, filler)
                done |= torch.isin(token, ends)
            yield token
            written += 1
            if written == max_new_tokens or (len(ends) and bool(done.all())):
                return
            logits = model(token[:, None], past_key_values=cache).logits[:, -1]

    return tokens()
