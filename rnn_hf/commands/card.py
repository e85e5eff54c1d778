"""`rnn-hf card FOLDER`: writes or refreshes the model card (README.md) of a folder, and checks it.

The card is filled from the folder's files. Sections that somebody has edited, and text outside the marked sections,
stay as they are; metadata are merged.
"""

import sys
from pathlib import Path

from ..cards import check, edited_sections, refresh
from ..cards.card import rendered
from ..cards.metadata import given_metadata
from .common import Parser, model_folder


def run(argv: list[str]) -> None:
    parser = Parser(prog="rnn-hf card", description=__doc__)
    parser.add_argument("folder", help="run folder or model folder")
    parser.add_argument("--preview", action="store_true", help="print the card, and write nothing")
    parser.add_argument("--repo-id", "--repo_id", help="Hub id that the snippets load; default: the folder itself")
    parser.add_argument("--license", help="SPDX identifier such as apache-2.0, or other")
    parser.add_argument("--license-name", "--license_name", help="of license other")
    parser.add_argument("--license-link", "--license_link", help="of license other: a URL or a file of the folder")
    parser.add_argument("--language", help="ISO 639 codes, such as en or en,de")
    arguments = parser.parse_args(argv)
    folder = Path(model_folder(arguments.folder))
    choice = (arguments.license, arguments.license_name, arguments.license_link, arguments.language)
    if arguments.preview:
        text = rendered(folder, arguments.repo_id, given_metadata(*choice, folder))
        print(text, end="")
    else:
        names = ("license", "license_name", "license_link", "language")
        card = refresh(folder, repo_id=arguments.repo_id, **dict(zip(names, choice, strict=True)))
        text = card.read_text(encoding="utf-8")
        print(f"wrote {card}")
    if kept := edited_sections(text):
        print(f"edited by hand and left as they are: {', '.join(kept)}", file=sys.stderr)
    if problems := check(text):
        raise ValueError(f"the card has problems: {'; '.join(problems)}")
