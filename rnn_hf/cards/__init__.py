"""Model cards from facts: `refresh` writes the `README.md` of a model folder, `check` says what is wrong with one."""

from .card import refresh, rendered
from .metadata import check
from .sections import edited_sections

__all__ = ["check", "edited_sections", "refresh", "rendered"]
