"""`rnn-hf push FOLDER --repo-id NAME`: put a trained model on the Hub, with its card and the code that opens it."""

import sys
from pathlib import Path

from huggingface_hub.utils import logging as hub_logging
from transformers.utils import logging

from ..hub.push import Push, PushOptions
from ..hub.retries import PushError
from .common import Parser, model_folder

EXAMPLES = """examples:
  rnn-hf push runs/quickstart/sentiment --repo-id me/film-reviews --license apache-2.0
  rnn-hf push runs/quickstart/sentiment --repo-id me/film-reviews --license apache-2.0 --dry-run
  rnn-hf push runs/quickstart/sentiment --repo-id me/film-reviews --tag v2 --message "Trained on more reviews"

The licence is asked for once: later pushes keep that of the card. Log in with `hf auth login`."""


def run(argv: list[str]) -> None:
    parser = Parser(prog="rnn-hf push", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("folder", help="run folder or model folder")
    parser.add_argument("--repo-id", required=True, metavar="NAME", help="owner/name, or a name of your own")
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--private", action="store_true", help="a new repository is for you alone; the default")
    who.add_argument("--public", action="store_true", help="everybody may see it")
    parser.add_argument("--revision", default="main", metavar="BRANCH", help="made if it is not there; default: main")
    parser.add_argument("--create-pr", action="store_true", help="propose the commit as a pull request")
    parser.add_argument("--tag", metavar="TAG", help="name the commit, for from_pretrained(NAME, revision=TAG)")
    parser.add_argument("--message", metavar="TEXT", help="title of the commit")
    parser.add_argument("--token", help="of the Hub; default: HF_TOKEN, or that of `hf auth login`")
    parser.add_argument("--license", metavar="SPDX", help="such as apache-2.0, mit, cc-by-4.0; or other")
    parser.add_argument("--license-name", metavar="NAME", help="of license other")
    parser.add_argument("--license-link", metavar="LINK", help="of license other: a URL, or a file that is pushed too")
    parser.add_argument("--dry-run", action="store_true", help="say what would be pushed, and write nothing")
    parser.add_argument("--replace-card", action="store_true", help="over a card that was edited on the Hub")
    parser.add_argument("--overwrite", action="store_true", help="over another model, or other files")
    arguments = vars(parser.parse_args(argv))
    folder, token, dry_run = (arguments.pop(name) for name in ("folder", "token", "dry_run"))
    options = PushOptions(private=not arguments.pop("public"), **{k: v for k, v in arguments.items() if k != "private"})
    if not Path(folder).expanduser().exists():
        raise FileNotFoundError(f"no such folder: {folder!r}")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    hub_logging.set_verbosity_error()
    try:
        Push(options, token).run(Path(model_folder(folder)), dry_run)
    except PushError:
        again = options.command(Path(folder)) + " --token ..." * (token is not None) + " --dry-run" * dry_run
        print(f"the folder is as it was; to push again: {again}", file=sys.stderr)
        raise
