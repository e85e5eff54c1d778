"""What is held out of a split, and what two splits share.

Notable: rows are held out as a function of the texts alone (md5 order), so no seed, library or Python version changes
it. Two texts are equal if their letters and digits are (`normal_form`).
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

from .readers import Rows


def normal_form(text: str) -> str:
    """The letters and digits of `text`, lower-cased."""
    return re.sub(r"[\W_]+", "", text.lower())


def overlap(rows: Rows, held_out: Iterable[Rows]) -> list[int]:
    """The rows whose text equals, in normal form, a text of `held_out`; texts without letters or digits never do."""
    seen = {normal_form(text) for other in held_out for text in other.texts} - {""}
    return [i for i, text in enumerate(rows.texts) if normal_form(text) in seen] if seen else []


def hold_out(rows: Rows, count: int) -> tuple[Rows, Rows]:
    """(the rows that stay, about `count` rows held out): each label in its share, and never all rows of a label.

    A row with several labels counts for the rarest of them.
    """
    labels = rows.labels or [""] * len(rows)
    if isinstance(labels[0], list):
        frequency = Counter(label for row in labels for label in row)
        labels = [min(row, key=lambda label: (frequency[label], label), default="") for row in labels]
    quota = {label: min(max(1, round(count * n / len(rows))), n - 1) for label, n in Counter(labels).items()}
    chosen = set()
    for i in sorted(range(len(rows)), key=lambda i: hashlib.md5(rows.texts[i].encode()).digest()):
        if quota[labels[i]]:
            quota[labels[i]] -= 1
            chosen.add(i)
    return rows.take(i for i in range(len(rows)) if i not in chosen), rows.take(sorted(chosen))
