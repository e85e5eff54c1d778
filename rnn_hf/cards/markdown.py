"""Text of others as Markdown that shows it letter by letter, and tables."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence

_SPECIAL = re.compile(r"[\\`*_{}\[\]<>#|~&$@!^=:]")


def literal(text: object, width: int | None = None) -> str:
    """`text` on one line, with no character that Markdown or HTML could read as more than itself.

    Args:
        width: the most characters of it that are shown.
    """
    shown = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in str(text))
    shown = " ".join(shown.split())
    if width is not None and len(shown) > width:
        shown = shown[: width - 1].rstrip() + "…"
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", shown)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], words: Collection[str] = ()) -> str:
    """A table whose columns are aligned to the right, but for the first and those headed by `words`. The cells are
    Markdown already."""
    lines = [header, ["---", *("---" if name in words else "---:" for name in header[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figure(value: float | int | None) -> str:
    """A number for people: four significant digits, thousands separated; "" for none."""
    if value is None:
        return ""
    if isinstance(value, int) or abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:#.4g}".rstrip(".") if value else "0"


def counted(number: int, noun: str) -> str:
    """A number of things: "1 epoch", "1,000 steps"."""
    return f"{figure(number)} {noun}{'s' if number != 1 else ''}"


def percent(share: float | None) -> str:
    """A share from 0 to 1 for people; "" for none."""
    if share is None:
        return ""
    return f"{share * 100:.1f} %" if share >= 0.001 else "< 0.1 %" if share else "0 %"


def megabytes(number: int) -> str:
    """A file's size for people."""
    return f"{number / 1e6:,.1f} MB" if number >= 100_000 else f"{number / 1000:,.1f} kB"


def seconds(value: float) -> str:
    """A duration for people."""
    if value < 59.5:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
