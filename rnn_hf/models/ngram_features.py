"""The word n-grams of texts as numbers, by an exact table: every n-gram seen in training has its own, none is hashed.

An n-gram is the n-gram that it begins with and one more token, so its key is (number of the beginning + 1) * 2^32 +
token, where a single token begins with nothing (0). All keys stand sorted in one int64 tensor, single tokens first,
then pairs and so on; an n-gram's number is its place there, found by binary search. Keys are exact for any order and
any vocabulary, and do not depend on the vocabulary's size.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .padding import left_aligned

TOKEN_BITS = 32


def ngram_keys(beginnings: Tensor, tokens: Tensor) -> Tensor:
    """Keys of the n-grams that are the n-grams numbered `beginnings` (-1: nothing) and one more token each."""
    return (beginnings + 1 << TOKEN_BITS) | tokens


def spelled(table: Tensor, number: int) -> list[int]:
    """The tokens of the n-gram of this number."""
    tokens = []
    while number >= 0:
        key = int(table[number])
        tokens.append(key & (1 << TOKEN_BITS) - 1)
        number = (key >> TOKEN_BITS) - 1
    return tokens[::-1]


def make_table(tokens: Tensor, rows: Tensor, ngram_max: int) -> tuple[Tensor, Tensor, Tensor]:
    """The table of all n-grams of up to `ngram_max` tokens, and each of their occurrences.

    Args:
        tokens: int64 `[tokens]`, the texts end to end.
        rows: int64 `[tokens]`, the text that each belongs to, increasing.

    Returns:
        Table `[n-grams]`; row and number of each occurrence, `[occurrences]`, by order of the n-gram, then by place.
    """
    table, places, numbers = tokens.new_empty(0), [], []
    beginnings = torch.full_like(tokens, -1)  # of the n-gram of the order at hand that starts at each token
    starts = torch.arange(len(tokens))
    for order in range(1, ngram_max + 1):
        inside = starts + order <= len(tokens)
        starts = starts[inside]
        ends = starts + order - 1
        inside = rows[starts] == rows[ends]
        starts, ends = starts[inside], ends[inside]
        keys, found = ngram_keys(beginnings[starts], tokens[ends]).unique(return_inverse=True)
        found += len(table)
        beginnings[starts] = found
        table = torch.cat([table, keys])  # sorted: a longer n-gram's beginning has a higher number
        places.append(rows[starts])
        numbers.append(found)
    return table, torch.cat(places), torch.cat(numbers)


def ngram_numbers(table: Tensor, ids: Tensor, mask: Tensor, ngram_max: int) -> Tensor:
    """The number of every n-gram of real tokens: int64 `[batch, places]`, -1 where the table lacks it or there is none.

    Args:
        ids, mask: `[batch, time]`; false at padding, which may stand anywhere: the n-grams run over it.
    """
    mask, ids = left_aligned(mask, ids.long())
    if not len(table):
        return torch.full_like(ids, -1)
    known, found, orders = mask, torch.full_like(ids, -1), []
    for order in range(1, ngram_max + 1):  # of the n-grams that start at each place
        ends = F.pad(ids, (0, order - 1))[:, order - 1 :]
        real = F.pad(mask, (0, order - 1))[:, order - 1 :]
        keys = ngram_keys(found, ends)
        found = torch.searchsorted(table, keys).clamp(max=len(table) - 1)
        known = known & real & (table[found] == keys)
        found = torch.where(known, found, -1)
        orders.append(found)
    return torch.cat(orders, 1)


def counted(numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How often each n-gram stands in its text, without shapes that depend on the data.

    Args:
        numbers: `[batch, places]`, -1 for none.

    Returns:
        `[batch, places]` each: the numbers sorted, whether a place is its n-gram's first, and the n-gram's count there.
    """
    ordered = numbers.sort(dim=1).values
    first = F.pad(ordered[:, 1:] != ordered[:, :-1], (1, 0), value=True) & (ordered >= 0)
    counts = torch.searchsorted(ordered, ordered, right=True) - torch.searchsorted(ordered, ordered)
    return ordered, first, counts
