"""ARPA files of n-gram models, as kenlm and SRILM read and write them.

A line an n-gram: log10 p, its words and, where longer n-grams begin with it, a back-off weight. `<s>` begins a sentence
and `</s>` ends it; here both are the end of a text.
"""

import gzip
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from .ngram_tables import ARPA_UNIT, LogTables, NgramTable, find, find_contexts

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
NEVER = -99.0  # log10 p of what cannot be predicted


def _open(file: Path, mode: str) -> TextIO:
    opener = gzip.open if file.suffix == ".gz" else open
    return opener(file, mode + "t", encoding="utf-8")


def write_arpa(
    file: Path, tables: list[NgramTable], logs: LogTables, tokenizer: PreTrainedTokenizerBase, ends: list[int]
) -> None:
    """Writes the model, nine digits after the point. Raises ValueError for tokens that are empty or hold a space."""
    vocab_size, words = len(logs.unigrams), tokenizer.convert_ids_to_tokens(range(len(logs.unigrams)))
    if wrong := [word for word in words if not word or re.search(r"\s", word)]:
        raise ValueError(f"an ARPA file separates words by spaces, and the tokenizer has {wrong[:3]}")
    unknown = tokenizer.unk_token
    last = [{ends[0]: END}.get(i, UNKNOWN if word == unknown else word) for i, word in enumerate(words)]
    before = [BEGIN if i in ends else word for i, word in enumerate(last)]
    in_contexts = [torch.zeros(1, 0, dtype=torch.int64)]  # tokens (contexts, n - 1) of each order
    for table in tables[1:]:
        keys = table.contexts.cpu()
        in_contexts.append(torch.cat([(keys % vocab_size)[:, None], in_contexts[-1][keys // vocab_size]], 1))
    every = torch.arange(vocab_size)
    with _open(file, "w") as out:
        sizes = [vocab_size + 1, *(len(table.ngrams) for table in tables[1:])]  # with <s>
        out.write("\\data\\\n" + "".join(f"ngram {n}={size}\n" for n, size in enumerate(sizes, 1)))
        for n, table in enumerate(tables, 1):
            keys = every if n == 1 else table.ngrams.cpu()
            tokens = torch.cat([in_contexts[n - 1][keys // vocab_size], (keys % vocab_size)[:, None]], 1)
            log10 = (logs.unigrams if n == 1 else logs.ngrams[n - 1]).cpu() / math.log(10)
            weights = [None] * len(keys)
            if n < len(tables):
                window = torch.cat([tokens.new_full((len(keys), len(tables) - 1 - n), -1), tokens], 1)
                window = window.to(table.ngrams.device)
                found = find_contexts(tables, window, vocab_size, ends)[:, n].cpu()
                found[torch.isin(tokens[:, -1], torch.tensor(ends))] = -1  # </s>, after which nothing comes
                of_contexts = (logs.contexts[n].cpu() / math.log(10)).tolist()
                weights = [of_contexts[i] if i >= 0 else None for i in found.tolist()]
            out.write(f"\n\\{n}-grams:\n")
            if n == 1:  # what comes after <s> has a weight, what comes after </s> does not
                start = find(tables[1].contexts.cpu(), torch.tensor(ends[:1])) if len(tables) > 1 else [-1]
                out.write(_line(NEVER, [BEGIN], of_contexts[start[0]] if start[0] >= 0 else None))
            for p, ids, weight in zip(log10.clamp(min=NEVER).tolist(), tokens.tolist(), weights, strict=True):
                out.write(_line(p, [*(before[i] for i in ids[:-1]), last[ids[-1]]], weight))
        out.write("\n\\end\\\n")


def _line(log10: float, words: list[str], weight: float | None) -> str:
    return f"{log10:.9f}\t{' '.join(words)}" + ("\n" if weight is None else f"\t{weight:.9f}\n")


def read_arpa(file: Path, tokenizer: PreTrainedTokenizerBase) -> list[NgramTable]:
    """The tables of the model, `smoothing="arpa"`. Raises as `NgramForCausalLM.from_arpa`."""
    if not file.is_file():
        raise FileNotFoundError(f"no ARPA file at {str(file)!r}")
    vocab_size, end = len(tokenizer), tokenizer.eos_token_id
    if end is None:
        raise ValueError("an ARPA file holds models of sentences: the tokenizer needs an eos_token")
    ids = tokenizer.get_vocab() | {BEGIN: end, END: end}
    if tokenizer.unk_token_id is not None:
        ids |= dict.fromkeys((UNKNOWN, "<UNK>"), tokenizer.unk_token_id)
    try:
        sections = list(_sections(file, ids))
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"{file} is no ARPA file, or damaged: {error}") from error
    order = len(sections)
    tokens, log10, weights = zip(*sections, strict=True)
    begins = log10[0] <= NEVER  # the line of <s>, which is a context alone
    begins &= tokens[0][:, 0] == end
    missing = torch.ones(vocab_size, dtype=torch.bool)
    missing[tokens[0][~begins, 0]] = False
    if missing.any():
        words = tokenizer.convert_ids_to_tokens(missing.nonzero()[:3, 0].tolist())
        raise ValueError(f"{file} lacks {int(missing.sum())} tokens that the tokenizer has, such as {words}")
    # Every context that something is said of: what longer n-grams begin with, and what has a weight.
    wanted: list[Tensor] = [None] * order
    for n in range(order - 1, 0, -1):
        with_weight = tokens[n - 1][weights[n - 1] != 0]
        shorter = [wanted[n + 1][:, 1:]] if n < order - 1 else []
        wanted[n] = torch.cat([tokens[n][:, :-1], with_weight, *shorter])
    contexts = [torch.zeros(1, dtype=torch.int64)]
    for n in range(1, order):
        contexts.append((_numbers(contexts, wanted[n][:, 1:], vocab_size) * vocab_size + wanted[n][:, 0]).unique())
    tables = []
    for n in range(order):
        kept = ~begins if n == 0 else slice(None)
        keys = _numbers(contexts, tokens[n][kept, :-1], vocab_size) * vocab_size + tokens[n][kept, -1]
        keys, places = keys.sort()
        if bool((keys.diff() == 0).any()):
            raise ValueError(f"{file} has a {n + 1}-gram twice")
        totals = torch.zeros(len(contexts[n]), dtype=torch.int64)
        if n > 0:
            said = weights[n - 1] != 0
            totals[_numbers(contexts, tokens[n - 1][said], vocab_size)] = _in_units(weights[n - 1][said])
        tables.append(NgramTable.of(keys, _in_units(log10[n][kept][places]), contexts[n], totals))
    return tables


def _numbers(contexts: list[Tensor], tokens: Tensor, vocab_size: int) -> Tensor:
    """Of contexts (rows, length) that are all there."""
    number = torch.zeros(len(tokens), dtype=torch.int64)
    for keys, token in zip(contexts[1:], tokens.flip(1).unbind(1), strict=False):
        number = torch.searchsorted(keys, number * vocab_size + token)
    return number


def _in_units(log10: Tensor) -> Tensor:
    return (log10 / ARPA_UNIT).round().long()


def _sections(file: Path, ids: dict[str, int]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Ids (n-grams, n), log10 p and weights (0 where there is none) of each order."""
    with _open(file, "r") as lines:
        sizes = []
        for line in lines:
            if match := re.fullmatch(r"ngram\s+(\d+)\s*=\s*(\d+)\s*", line):
                sizes.append(int(match[2]))
            elif sizes and not line.strip():
                break
        if not sizes:
            raise ValueError(f"{file} is no ARPA file: it has no \\data\\ with the numbers of n-grams")
        for n, size in enumerate(sizes, 1):
            rows = []
            for line in lines:
                fields = line.split()
                if len(fields) > n:
                    rows.append(fields)
                elif rows or fields[:1] == ["\\end\\"]:
                    break
            if len(rows) != size:
                raise ValueError(f"{file} is cut off or damaged: it has {len(rows)} of {size} {n}-grams")
            try:
                tokens = torch.tensor([[ids[word] for word in row[1 : n + 1]] for row in rows]).view(-1, n)
                log10 = torch.tensor([float(row[0]) for row in rows], dtype=torch.float64)
                weights = [float(row[n + 1]) if len(row) > n + 1 else 0.0 for row in rows]
            except KeyError as error:
                raise ValueError(f"{file} has the word {error}, which the tokenizer does not know") from error
            except ValueError as error:
                raise ValueError(f"{file} is damaged: {error}") from error
            weights = torch.tensor(weights, dtype=torch.float64)
            if not (log10 <= 0).all() or not log10.isfinite().all() or not weights.isfinite().all():
                raise ValueError(f"{file} is damaged: a {n}-gram's log10 of a probability is above 0 or no number")
            yield tokens, log10, weights
