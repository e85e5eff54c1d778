"""Texts as token ids, end to end in one tensor.

Notable: a word tokenizer reads each part between two spaces by itself (`tokenization.reads_parts_alone`), so every part
is tokenised once and looked up from then on: several times as fast as the tokenizer on the whole text, with its ids.
"""

from array import array
from collections.abc import Sequence
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from ..tokenization import reads_parts_alone

IGNORED = -100  # the label that transformers' losses skip
TEXTS_A_CALL = 500  # enough to keep the tokenizer's threads busy, few enough to stay in the processor's cache
PARTS_A_TEXT = 200  # new parts that are tokenised as one text: a call for each costs ten times as much
MOST_CHARACTERS = 2**22  # of the parts that are remembered, some 100 MB with their ids


def encode(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    """All token ids end to end (int32) and the number of tokens of each text (int64), without special tokens."""
    read = Encoder(tokenizer)
    blocks = [read(texts[start : start + TEXTS_A_CALL]) for start in range(0, len(texts), TEXTS_A_CALL)]
    ids, lengths = zip(*blocks, strict=True) if blocks else ([torch.empty(0).int()], [torch.empty(0).long()])
    return torch.cat(ids), torch.cat(lengths)


class Encoder:
    """`encode` for one block of texts after another; what it remembers of a block makes the next ones faster."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast):
        self.tokenizer = tokenizer
        self.by_parts = reads_parts_alone(tokenizer)
        if self.by_parts:
            backend = tokenizer.backend_tokenizer
            self.vocabulary = backend.get_vocab(with_added_tokens=False)
            self.lowercase = backend.normalizer is not None and backend.normalizer.normalize_str("A") == "a"
        self._forget()

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The ids of these texts, end to end (int32), and the number of each text's (int64)."""
        if not self.by_parts:
            return _flat(self._tokenized(texts)["input_ids"])
        parts, counts = [], []  # of all texts, and how many each has
        for text in texts:
            own = text.split(" ")
            parts += own
            counts.append(len(own))
        if self.num_characters > MOST_CHARACTERS:
            self._forget()
        numbers = _as_tensor(array("i", map(self.numbers.__getitem__, parts)))  # [parts]
        if self.numbers.new:
            self._remember()
        known, starts, lengths = map(_as_tensor, (self.ids, self.starts, self.lengths))
        lengths = lengths[numbers]  # [parts]
        ends = lengths.cumsum(0)
        shift = torch.repeat_interleave(starts[numbers] - (ends - lengths), lengths)  # [tokens]
        ids = known[shift + torch.arange(len(shift))]
        last_parts = torch.tensor(counts).cumsum(0) - 1
        return ids, ends[last_parts].diff(prepend=ends.new_zeros(1))

    def _forget(self) -> None:
        self.numbers = _Numbers()
        self.num_characters = 0
        self.ids = array("i")  # of every part, end to end
        self.starts, self.lengths = array("q"), array("q")  # of each part in `ids`

    def _remember(self) -> None:
        """Tokenises the parts that were numbered last."""
        parts, self.numbers.new = self.numbers.new, []
        whole = [self._single_id(part) for part in parts]
        single = [number for number, token in enumerate(whole) if token is not None]
        # Many others as one text, told apart by where each token begins. Only for ASCII, which normalisation changes
        # character by character: elsewhere a token's place in the text is not certain.
        several = [number for number, token in enumerate(whole) if token is None]
        plain = [number for number in several if parts[number].isascii()]
        others = [number for number in several if not parts[number].isascii()]
        joined, counts = [], []
        for start in range(0, len(plain), PARTS_A_TEXT):
            some = [parts[number] for number in plain[start : start + PARTS_A_TEXT]]
            encoded = self._tokenized([" ".join(some)], return_offsets_mapping=True)
            begins = torch.tensor([0, *(len(part) + 1 for part in some[:-1])]).cumsum(0)
            places = torch.tensor([begin for begin, _ in encoded["offset_mapping"][0]], dtype=torch.long)
            joined += encoded["input_ids"]
            counts.append((torch.bucketize(places, begins, right=True) - 1).bincount(minlength=len(some)))
        alone = self._tokenized([parts[number] for number in others])["input_ids"]
        counts = torch.cat([torch.ones(len(single)).long(), *counts, torch.tensor([len(row) for row in alone]).long()])
        order = torch.tensor(single + plain + others).argsort()  # back to the order of the numbers
        self.starts.extend((len(self.ids) + (counts.cumsum(0) - counts)[order]).tolist())
        self.lengths.extend(counts[order].tolist())
        self.ids.extend(whole[number] for number in single)
        self.ids.extend(chain.from_iterable(joined + alone))
        self.num_characters += sum(map(len, parts))

    def _single_id(self, part: str) -> int | None:
        """The id of a known word of ASCII letters and digits alone, which every word tokenizer leaves whole."""
        if part.isascii() and part.isalnum():
            return self.vocabulary.get(part.lower() if self.lowercase else part)
        return None

    def _tokenized(self, texts: Sequence[str], **options: bool) -> dict[str, list]:
        if not texts:
            return {"input_ids": []}
        options = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False, **options}
        return self.tokenizer(list(texts), **options)


class _Numbers(dict):
    """Numbers each key as it is first asked for, from 0, and lists it in `new`."""

    def __init__(self):
        super().__init__()
        self.new: list[str] = []

    def __missing__(self, key: str) -> int:
        number = self[key] = len(self)
        self.new.append(key)
        return number


def _flat(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    return _as_tensor(array("i", chain.from_iterable(rows))), _as_tensor(array("q", map(len, rows)))


def _as_tensor(numbers: array) -> Tensor:
    """The same memory as a tensor."""
    dtype = {"i": torch.int32, "q": torch.int64}[numbers.typecode]
    return torch.frombuffer(numbers, dtype=dtype) if numbers else torch.empty(0, dtype=dtype)


class Counted(Protocol):
    """Encoded texts, whose tokens were counted."""

    num_text_tokens: int
    num_unknown: int


def unknown_id(tokenizer: PreTrainedTokenizerFast) -> int:
    """The id of `<unk>`; -1 for a tokenizer without one."""
    return -1 if tokenizer.unk_token_id is None else tokenizer.unk_token_id


def check_known(encoded: Counted, name: str) -> None:
    """Raises ValueError if the tokenizer knows none of the words of the rows called `name`."""
    if encoded.num_unknown and encoded.num_unknown == encoded.num_text_tokens:
        raise ValueError(f"{name}: none of its {encoded.num_unknown} tokens is in the tokenizer's vocabulary")
