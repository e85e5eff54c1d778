"""What is held out of a split, and which texts two splits share.

Notable: rows are held out as a function of the texts alone (md5 order), so no seed, library or Python version changes
it. Two texts are equal if their letters and digits are (`normal_form`).
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from .readers import Rows

# the same in a quarter of the time for text without other characters
ASCII_FORM = {i: ord(chr(i).lower()) if chr(i).isalnum() else None for i in range(128)}


def normal_form(text: str | list[str]) -> str:
    """The letters and digits of a text, or of a list of tokens, lower-cased."""
    text = as_string(text)
    return text.translate(ASCII_FORM) if text.isascii() else re.sub(r"[\W_]+", "", text.lower())


def overlap(train: Rows, held_out: Mapping[str, Rows], least_words: int = 1) -> tuple[list[int], dict[str, int]]:
    """(the training rows whose text is held out, how many texts of each held-out split are training texts).

    Texts are compared in normal form. Those without letters or digits, or of fewer than `least_words` words, are left
    out: short lines such as headings recur in any running text.
    """

    nothing = hash("")

    def compared(text: str | list[str]) -> int:
        """64 bits of the normal form, which take the place of a large text in memory."""
        words = text if isinstance(text, list) else text.split()
        return hash(normal_form(text)) if len(words) >= least_words else nothing

    forms = {split: [compared(text) for text in rows.texts] for split, rows in held_out.items()}
    wanted = {form for split in forms.values() for form in split} - {nothing}
    found, repeated = set(), []
    for index, text in enumerate(train.texts if wanted else ()):
        if (form := compared(text)) in wanted:
            found.add(form)
            repeated.append(index)
    return repeated, {split: sum(form in found for form in of_split) for split, of_split in forms.items()}


def hold_out(rows: Rows, count: int, strata: Sequence[str] | None = None) -> tuple[Rows, Rows]:
    """(the rows that stay, about `count` rows held out): each label in its share, and never all rows of a label.

    `strata` takes the place of the labels. Lists of labels or tags are not held to their share: without `strata` those
    rows are drawn from all alike.
    """
    single = rows.labels is not None and not isinstance(rows.labels[0], list)
    labels = strata or (rows.labels if single else [""] * len(rows))
    quota = {label: min(max(1, round(count * n / len(rows))), n - 1) for label, n in Counter(labels).items()}
    chosen = set()
    for i in sorted(range(len(rows)), key=lambda i: hashlib.md5(as_string(rows.texts[i]).encode()).digest()):
        if quota[labels[i]]:
            quota[labels[i]] -= 1
            chosen.add(i)
    return rows.take(i for i in range(len(rows)) if i not in chosen), rows.take(sorted(chosen))


def hold_out_end(rows: Rows, share: float) -> tuple[Rows, Rows]:
    """(the rows that stay, the last rows, which hold `share` of the characters, line breaks counted, or just less).

    For texts that continue each other: cut between two rows, at least one on each side where there are two.
    """
    total = sum(len(text) + 1 for text in rows.texts)
    stay = sum(end < (1 - share) * total for end in accumulate(len(text) + 1 for text in rows.texts)) + 1
    stay = max(1, min(stay, len(rows) - 1))
    return rows.take(range(stay)), rows.take(range(stay, len(rows)))


def as_string(text: Any) -> str:
    """A text, or a list of tokens joined by spaces."""
    return " ".join(text) if isinstance(text, list) else text
