"""The nearest allowed name to a misspelt one. No torch here: the command line suggests before it loads anything."""

import difflib
from collections.abc import Iterable


def suggestion(value: object, allowed: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the allowed name nearest to `value`, or an empty string."""
    near = difflib.get_close_matches(str(value), list(allowed), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
