"""Counts of n-grams in sorted tables, and the probabilities that follow from them. No loop runs over n-grams.

An n-gram is a context (the tokens before it) and a token. Contexts are numbered order by order, from the newest token
backwards: the key of one with n tokens is `number of its n - 1 newest * vocab_size + its oldest token`, and its number
is its place in the sorted keys. The key of an n-gram is `number of its context * vocab_size + its token`.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

FALLBACK = (0.5, 1.0, 1.5, 0.5)  # discounts where a text is too small to estimate them, as in kenlm
ARPA_UNIT = 1e-9  # in which tables hold an ARPA file's log10 numbers


class NgramTable(nn.Module):
    """One order: n-grams with their counts, contexts with their totals, int64.

    `counts` are of occurrences in the highest order and for n-grams that nothing stands before; in lower orders, of the
    different tokens that do (Kneser & Ney 1995). `totals` are the sums of a context's counts before pruning. Of a model
    from an ARPA file both hold log10 numbers in units of `ARPA_UNIT`: probabilities and back-off weights.
    """

    def __init__(self, num_ngrams: int, num_contexts: int):
        super().__init__()
        for name, size in (("ngrams", num_ngrams), ("counts", num_ngrams)):
            self.register_buffer(name, torch.zeros(size, dtype=torch.int64))
        for name in ("contexts", "totals"):
            self.register_buffer(name, torch.zeros(num_contexts, dtype=torch.int64))

    @classmethod
    def of(cls, ngrams: Tensor, counts: Tensor, contexts: Tensor, totals: Tensor) -> "NgramTable":
        table = cls(0, 0)
        table.ngrams, table.counts, table.contexts, table.totals = ngrams, counts, contexts, totals
        return table


def count_ngrams(
    ids: Tensor, order: int, vocab_size: int, ends_of_text: list[int], thresholds: list[int] | None = None
) -> tuple[list[NgramTable], Tensor]:
    """Tables of each order, and the discounts (order, 4) of `discounts`.

    Args:
        ids: (1 + tokens,) a text; the first id is read, and all others are predicted.
        ends_of_text: ids that no history reaches back over.
        thresholds: see `NgramConfig.prune_counts`.
    """
    words, places = ids[1:].long(), torch.arange(len(ids) - 1, device=ids.device)
    is_end = torch.isin(ids, torch.tensor(ends_of_text, dtype=ids.dtype, device=ids.device))
    context = torch.zeros_like(words)  # number of each prediction's context in the order at hand
    tables, occurrences, number_of = [], [], None  # number_of: each prediction's n-gram in the order below
    contexts = context.new_zeros(1)
    for n in range(1, order + 1):
        ngrams, numbers, seen = (context * vocab_size + words[places]).unique(return_inverse=True, return_counts=True)
        if number_of is not None:
            below = tables[-1]
            one_of_each = torch.empty_like(ngrams).scatter_(0, numbers, places)  # a place of each n-gram
            different = number_of[one_of_each].bincount(minlength=len(below.ngrams))
            below.counts = torch.where(different > 0, different, below.counts)
        tables.append(NgramTable.of(ngrams, seen, contexts, torch.zeros_like(contexts)))
        occurrences.append(seen)
        if n == order:
            break
        number_of = torch.full_like(words, -1)
        number_of[places] = numbers
        longer = places >= n - 1  # one more token stands before the context, and no text ended behind it
        if n > 1:
            longer &= ~is_end[places - n + 2]
        places, context = places[longer], context[longer]
        contexts, context = (context * vocab_size + ids[places - n + 1]).unique(return_inverse=True)
    for table in tables:
        table.totals = _sums(table.counts, table.ngrams // vocab_size, len(table.contexts))
    estimated = torch.stack([discounts(table.counts) for table in tables])
    if thresholds is not None:
        _prune(tables, occurrences, thresholds, vocab_size)
    return tables, estimated


def discounts(counts: Tensor) -> Tensor:
    """What is taken off counts of 1, 2 and 3 or more (Chen & Goodman 1999, eq. 26), and off all in plain Kneser-Ney
    (Ney et al. 1994). Where n1 to n4 do not make discounts between 0 and the count, those of `FALLBACK`."""
    n = [(counts == i).sum().double() for i in range(5)]
    y = n[1] / (n[1] + 2 * n[2])
    found = torch.stack([*(i - (i + 1) * y * n[i + 1] / n[i] for i in (1, 2, 3)), y])
    usable = found.isfinite() & (found > 0) & (found < found.new_tensor([1, 2, 3, 1]))
    usable[:3] = usable[:3].all()
    return torch.where(usable, found, found.new_tensor(FALLBACK))


def _prune(tables: list[NgramTable], occurrences: list[Tensor], thresholds: list[int], vocab_size: int) -> None:
    """Drops n-grams that occur too seldom, and contexts that are left without one."""
    kept = torch.ones(1, dtype=torch.bool, device=tables[0].contexts.device)  # contexts of the order below
    for n, (table, seen) in enumerate(zip(tables, occurrences, strict=True)):
        often = seen > thresholds[min(n, len(thresholds) - 1)]
        table.ngrams, table.counts = table.ngrams[often], table.counts[often]
        number = kept.cumsum(0) - 1  # a kept context's new number
        table.contexts = number[table.contexts // vocab_size] * vocab_size + table.contexts % vocab_size
        kept = torch.zeros_like(table.contexts, dtype=torch.bool)
        kept[table.ngrams // vocab_size] = True
        kept[:1] |= n == 0
        number = kept.cumsum(0) - 1
        table.ngrams = number[table.ngrams // vocab_size] * vocab_size + table.ngrams % vocab_size
        table.contexts, table.totals = table.contexts[kept], table.totals[kept]


def _sums(values: Tensor, groups: Tensor, size: int) -> Tensor:
    return values.new_zeros(size).index_add_(0, groups, values)


class LogTables(NamedTuple):
    """log p of each order's n-grams (nats, float64), and what a token gets that its context was not seen with: with
    back-off that much is added to its log p in the order below, without it is the log p itself."""

    unigrams: Tensor  # [vocab_size]
    ngrams: list[Tensor]
    contexts: list[Tensor]
    backs_off: bool
    unknown: float  # without back-off, log p of any token after a history that was never seen


def log_tables(tables: list[NgramTable], taken: Tensor, smoothing: str, k: float, vocab_size: int) -> LogTables:
    """The probabilities that `smoothing` makes of the counts; `taken` are the discounts (order, 4)."""
    if "kneser_ney" in smoothing:
        return _kneser_ney(tables, taken, smoothing, vocab_size)
    backs_off, unknown = smoothing == "arpa", -math.inf
    if backs_off:
        unit = ARPA_UNIT * math.log(10)
        ngrams = [unit * table.counts.double() for table in tables]
        contexts = [unit * table.totals.double() for table in tables]
    else:  # c / c(context), or with k added to each token's count
        added = k if smoothing == "add_k" else 0.0
        wholes = [table.totals + added * vocab_size for table in tables]
        contexts = [added / whole for whole in wholes]
        ngrams = [(t.counts + added) / whole[t.ngrams // vocab_size] for t, whole in zip(tables, wholes, strict=True)]
        ngrams, contexts = ([p.double().log() for p in n] for n in (ngrams, contexts))
        unknown = -math.log(vocab_size) if added else -math.inf
    unigrams = taken.new_full((vocab_size,), -math.inf if backs_off else float(contexts[0]), dtype=torch.float64)
    unigrams[tables[0].ngrams] = ngrams[0]
    return LogTables(unigrams, ngrams, contexts, backs_off, unknown)


def _kneser_ney(tables: list[NgramTable], taken: Tensor, smoothing: str, vocab_size: int) -> LogTables:
    """Interpolated: p(w | context) = max(c - D(c), 0) / c(context) + rest(context) p(w | context without its oldest
    token), down to the uniform distribution; `rest` is what the discounts leave (Chen & Goodman 1999, eq. 22-26)."""
    ngrams, rests = [], []
    for n, table in enumerate(tables):
        context, counts, totals = table.ngrams // vocab_size, table.counts, table.totals.double()
        of_count = counts.clamp(1, 3) - 1 if smoothing == "modified_kneser_ney" else torch.full_like(counts, 3)
        kept = (counts - taken[n].double()[of_count]).clamp(min=0)
        rest = torch.where(totals > 0, 1 - _sums(kept, context, len(totals)) / totals, 1.0)
        if n == 0:  # every token of the vocabulary
            p = (rest / vocab_size).repeat(vocab_size)
            p[table.ngrams] += kept / totals
        else:  # without its oldest token an n-gram was seen too, and kept if this one was
            shorter = table.contexts[context] // vocab_size * vocab_size + table.ngrams % vocab_size
            below = shorter if n == 1 else torch.searchsorted(tables[n - 1].ngrams, shorter)
            p = kept / totals[context] + rest[context] * ngrams[-1][below]
        ngrams.append(p)
        rests.append(rest)
    ngrams, rests = ([p.log() for p in n] for n in (ngrams, rests))
    return LogTables(ngrams[0], ngrams, rests, backs_off=True, unknown=-math.inf)


def find(keys: Tensor, wanted: Tensor) -> Tensor:
    """The place of each key in the sorted `keys`; -1 where it is not."""
    if not len(keys):
        return torch.full_like(wanted, -1)
    places = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return torch.where(keys[places] == wanted, places, -1)


def find_contexts(tables: list[NgramTable], windows: Tensor, vocab_size: int, ends_of_text: list[int]) -> Tensor:
    """Numbers (rows, order) of the contexts that the newest 0, 1, ... tokens of each row are.

    -1 where they were never seen, -2 where there are not so many: a text begins.

    Args:
        windows: (rows, order - 1) ids, the newest last; -1 before the first.
    """
    numbers = [torch.zeros(len(windows), dtype=torch.int64, device=windows.device)]
    reached = torch.ones_like(numbers[0], dtype=torch.bool)
    for table, token in zip(tables[1:], windows.flip(1).unbind(1), strict=True):
        reached = reached & (token >= 0)
        found = find(table.contexts, torch.where(numbers[-1] >= 0, numbers[-1] * vocab_size + token, -1))
        numbers.append(torch.where(reached, found, -2))
        for end in ends_of_text:
            reached = reached & (token != end)
    return torch.stack(numbers, 1)


def token_log_probs(tables: list[NgramTable], logs: LogTables, contexts: Tensor, tokens: Tensor) -> Tensor:
    """log p (rows,) of one token a row, from the numbers of its contexts (rows, order)."""
    vocab_size = len(logs.unigrams)
    log_p = logs.unigrams[tokens]
    longest = (contexts != -2).sum(1) - 1
    for n in range(1, len(tables)):
        number = contexts[:, n]
        place = find(tables[n].ngrams, torch.where(number >= 0, number * vocab_size + tokens, -1))
        here = (number >= 0) & (logs.backs_off | (longest == n))
        rest = _at(logs.contexts[n], number)
        unseen = log_p + rest if logs.backs_off else rest
        log_p = torch.where(here, torch.where(place >= 0, _at(logs.ngrams[n], place), unseen), log_p)
    if not logs.backs_off:
        log_p = log_p.masked_fill(contexts.gather(1, longest[:, None])[:, 0] == -1, logs.unknown)
    return log_p


def _at(values: Tensor, places: Tensor) -> Tensor:
    """The values at `places`, anything at -1."""
    return values[places.clamp(min=0)] if len(values) else values.new_zeros(places.shape)


def all_log_probs(tables: list[NgramTable], logs: LogTables, contexts: Tensor) -> Tensor:
    """log p (rows, vocab_size), float32, of every token, from the numbers of the contexts (rows, order)."""
    vocab_size = len(logs.unigrams)
    out = logs.unigrams.float().expand(len(contexts), -1).clone()
    longest = (contexts != -2).sum(1) - 1
    for n in range(1, len(tables)):
        here = (contexts[:, n] >= 0) & (logs.backs_off | (longest == n))
        rows, number = here.nonzero()[:, 0], contexts[here, n]
        rest = logs.contexts[n][number].float()[:, None]
        out[rows] = out[rows] + rest if logs.backs_off else rest.expand(-1, vocab_size)
        first = torch.searchsorted(tables[n].ngrams, number * vocab_size)
        size = torch.searchsorted(tables[n].ngrams, (number + 1) * vocab_size) - first
        places = torch.arange(int(size.sum()), device=out.device)  # of all rows' n-grams, one row after the other
        places += (first - size.cumsum(0) + size).repeat_interleave(size)
        out[rows.repeat_interleave(size), tables[n].ngrams[places] % vocab_size] = logs.ngrams[n][places].float()
    if not logs.backs_off:
        out[contexts.gather(1, longest[:, None])[:, 0] == -1] = logs.unknown
    return out
