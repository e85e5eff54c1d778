"""Texts as one stream of tokens for language modelling.

Notable:
- The stream is `<eos>`, then each text's tokens and an `<eos>`: a slice is the input, the slice one further on the
  target. Reversed, it is what a model reads that goes from the end of all texts to their beginning.
- Characters (Unicode code points) and bytes (UTF-8) are the text's own, and one line break for each `<eos>`; so where
  every token is a character, bits per character are the token's nats by ln 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from .encoding import encode, unknown_id

REVERSED_AT_ONCE = 2**24  # tokens


@dataclass
class TokenStream:
    """Texts as token ids, in memory or in a file that is mapped into it.

    Attributes:
        ids: `[1 + num_tokens]`, int32 or uint16: `<eos>`, then each text's tokens and `<eos>`.
        ends: `[texts]`, int64: the place in `ids` of each text's `<eos>`.
        num_unknown: tokens that are `<unk>`.
        num_characters, num_bytes: of the texts, and one for each `<eos>`.
    """

    ids: Tensor
    ends: Tensor
    num_unknown: int
    num_characters: int
    num_bytes: int

    @property
    def num_texts(self) -> int:
        return len(self.ends)

    @property
    def num_tokens(self) -> int:
        """Tokens to be scored, one `<eos>` a text included."""
        return len(self.ids) - 1

    @property
    def num_text_tokens(self) -> int:
        """Tokens without those `<eos>`."""
        return self.num_tokens - self.num_texts

    def per_token(self) -> dict[str, float]:
        """Characters and bytes of a token on average, which an evaluation needs for bits per character or byte."""
        return {
            "characters_per_token": self.num_characters / self.num_tokens,
            "bytes_per_token": self.num_bytes / self.num_tokens,
        }

    def permuted(self, order: Tensor, ids: Tensor | None = None) -> "TokenStream":
        """The texts in another order, into `ids` (of the shape of this one's) or new memory."""
        ids = torch.empty_like(self.ids) if ids is None else ids
        ids[0] = self.ids[0]
        starts = torch.cat([self.ends.new_zeros(1), self.ends[:-1]]) + 1
        ends, done = [], 1
        for some in order.split(10_000):
            lengths = self.ends[some] + 1 - starts[some]
            after = lengths.cumsum(0)
            shift = torch.repeat_interleave(starts[some] - (after - lengths), lengths)
            ids[done : done + len(shift)] = self.ids[shift + torch.arange(len(shift))]
            ends.append(done + after - 1)
            done += len(shift)
        return replace(self, ids=ids, ends=torch.cat(ends))

    def reversed(self, ids: Tensor | None = None) -> "TokenStream":
        """The stream from its end to its beginning, into `ids` (of the shape of this one's) or new memory.

        The last text comes first, each with its last token first, behind the `<eos>` that ended it; so the state that
        is carried from text to text comes from what follows in the text, and the same tokens are scored.
        """
        ids = torch.empty_like(self.ids) if ids is None else ids
        for start in range(0, len(ids), REVERSED_AT_ONCE):
            part = self.ids[start : start + REVERSED_AT_ONCE]
            ids[len(ids) - start - len(part) : len(ids) - start] = part.int().flip(0)  # uint16 has no flip
        before = torch.cat([self.ends.new_zeros(1), self.ends[:-1]])  # the `<eos>` before each text
        return replace(self, ids=ids, ends=len(ids) - 1 - before.flip(0))


def token_stream(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> TokenStream:
    """The texts as a stream in memory."""
    end = end_of_text(tokenizer)
    ids, lengths = encode(texts, tokenizer)
    stream, ends = with_ends(ids, lengths, end)
    return TokenStream(
        torch.cat([stream.new_tensor([end]), stream]), ends + 1, *counts(texts, ids, tokenizer)
    )  # fmt: skip


def end_of_text(tokenizer: PreTrainedTokenizerFast) -> int:
    """The id of `<eos>`; ValueError for a tokenizer without one."""
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer must have an eos_token, which ends each text of the stream; got none")
    return tokenizer.eos_token_id


def with_ends(ids: Tensor, lengths: Tensor, end: int) -> tuple[Tensor, Tensor]:
    """(the ids with `end` after each text, the place of each of those)."""
    ends = torch.arange(len(lengths)) + lengths.cumsum(0)
    stream = ids.new_full((len(ids) + len(lengths),), end)
    inside = torch.ones(len(stream), dtype=torch.bool)
    inside[ends] = False
    stream[inside] = ids
    return stream, ends


def counts(texts: Sequence[str], ids: Tensor, tokenizer: PreTrainedTokenizerFast) -> tuple[int, int, int]:
    """(unknown tokens, characters, bytes) of texts and their ids, as `TokenStream` has them."""
    num_bytes = sum(len(text) if text.isascii() else len(text.encode()) for text in texts)
    return int((ids == unknown_id(tokenizer)).sum()), sum(map(len, texts)) + len(texts), num_bytes + len(texts)
