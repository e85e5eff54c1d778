"""A model folder's `README.md`: rendered from facts, refreshed where nobody has edited it."""

from pathlib import Path
from typing import Any

import jinja2

from ..files import whole_file
from .content import content, widget
from .facts import read_facts
from .metadata import as_yaml, given_metadata, merged, metadata, read_metadata, split_card
from .sections import marked, refreshed, sections_of
from .usage import HERE

_INSTALLED = Path(__file__).parents[1] / "_model_cards"  # inside the wheel
TEMPLATE = (_INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "model_cards") / "template.md"
NOTE = "<!-- `rnn-hf card` keeps the marked sections up to date until they are edited, and touches no other text. -->"


def refresh(
    folder: Path,
    *,
    repo_id: str | None = None,
    license: str | None = None,
    license_name: str | None = None,
    license_link: str | None = None,
    language: str | None = None,
) -> Path:
    """Writes the card of a model folder, or brings the one that is there up to date; nothing that was edited is lost.

    Of a card that is there the sections between marks are rewritten unless they were edited (`sections`), and the
    metadata are merged: values that stand there stay, but for the figures of this run and what is given here.

    Args:
        folder: a model folder. Its facts are read from its files: put them there first, the modelling code too.
        repo_id: the Hub id that the snippets load. Without it they load the folder that they are run in.
        license: an SPDX identifier, or "other" with `license_name` and `license_link`.
        license_link: a URL, or a file of the folder.
        language: ISO 639 codes, with commas between them.

    Returns:
        The path of the `README.md`.

    Raises:
        FileNotFoundError: no model in the folder.
        ValueError: not such a licence or language; a damaged file of the folder, its `README.md` too.
    """
    folder = Path(folder)
    given = given_metadata(license, license_name, license_link, language, folder)
    text = rendered(folder, repo_id, given)
    card = folder / "README.md"
    with whole_file(card) as file:
        file.write(text)
    return card


def rendered(folder: Path, repo_id: str | None = None, given: dict[str, Any] | None = None) -> str:
    """The text that `refresh` writes.

    Args:
        given: metadata that go before what stands in the card (`metadata.given_metadata`).

    Raises:
        as `refresh`.
    """
    facts, card = read_facts(folder), folder / "README.md"
    name = repo_id.rpartition("/")[2] if repo_id else facts.get("name", default=folder.resolve().name)
    new = metadata(facts, name, widget(facts))
    sections = sections_of(_template().render(content(facts, name, repo_id or HERE)))
    if not card.is_file():
        body = "\n\n".join([NOTE, *(marked(name, text) for name, text in sections.items())])
        return f"---\n{as_yaml({**new, **(given or {})})}\n---\n{body}\n"
    block, body = split_card(card.read_text(encoding="utf-8-sig"))
    present = read_metadata(block, str(card))
    both = {**merged(present, new), **(given or {})}
    # as it stands, with its comments and order, unless something is new
    block = block if both == present else as_yaml(both)
    return f"---\n{block.strip()}\n---\n{refreshed(body, sections)}"


def _template() -> jinja2.Template:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
