"""The marked sections of a card. Between its marks a section is rewritten as long as nobody has edited it.

    <!-- rnn-hf usage 1f0c3a5e -->
    ...
    <!-- /rnn-hf usage -->

The number is a digest of what stands between the marks: an edit no longer fits it, and the section is the editor's from
then on. Without its number a section is rewritten in any case.
"""

import hashlib
import re

SECTION = re.compile(
    r"^<!-- rnn-hf (?P<name>\w+)(?: (?P<digest>[0-9a-f]{8}))? -->\n(?P<content>.*?)^<!-- /rnn-hf (?P=name) -->$",
    re.M | re.S,
)


def marked(name: str, content: str) -> str:
    """A section between its marks."""
    content = content.strip("\n")
    return f"<!-- rnn-hf {name} {_digest(content)} -->\n{content}\n<!-- /rnn-hf {name} -->"


def sections_of(text: str) -> dict[str, str]:
    """name -> content of each section of a rendered template, in its order; those without content are left out."""
    return {found["name"]: found["content"] for found in SECTION.finditer(text) if found["content"].strip()}


def refreshed(body: str, new: dict[str, str]) -> str:
    """The text of a card with its unedited sections as in `new`; one that `new` lacks is no longer true, and goes."""

    def replaced(found: re.Match) -> str:
        name, digest = found["name"], found["digest"]
        if digest is not None and digest != _digest(found["content"]):
            return found[0]
        return marked(name, new[name]) if name in new else ""

    return SECTION.sub(replaced, body)


def edited_sections(body: str) -> list[str]:
    """The names of the sections that somebody has edited."""
    return [f["name"] for f in SECTION.finditer(body) if f["digest"] and f["digest"] != _digest(f["content"])]


def _digest(content: str) -> str:
    lines = "\n".join(line.rstrip() for line in content.strip().splitlines())  # an editor may trim or add line ends
    return hashlib.sha256(lines.encode()).hexdigest()[:8]
