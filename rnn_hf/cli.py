"""The `rnn-hf` command: picks the verb, imports its module only then, and turns bad input into one line.

A verb is a file in `rnn_hf/commands/` with `run(argv)`; `lr-find` is `lr_find.py`. Exit codes: 0; 2 for bad input; 130
for Ctrl-C. Only bad input (`ValueError`, `OSError`) becomes one line on stderr; anything else is a bug and keeps its
traceback.
"""

import importlib
import os
import signal
import sys
import time

from . import __version__
from .processes import launched_rank

VERBS = {
    "quickstart": "train a language model and a classifier on real reviews, and load both (10 minutes)",
    "fit": "train a model from a recipe and write a Hugging Face folder",
    "finetune": "train a classifier of your texts that starts from a language model (ULMFiT)",
    "recipes": "list, copy and validate the recipes that come with rnn-hf",
    "lr-find": "find a learning rate for a recipe, with a picture",
    "generate": "continue a text with a language model, printed as it is made",
    "predict": "print the label and its probability for each text",
    "evaluate": "print a model's metrics on a file",
    "card": "write or refresh a folder's model card, and check it",
    "score": "print the log-probability of each token of a text",
    "push": "put a model on the Hub, with its card and the code that opens it",
    "info": "print what a model is, what it was trained on and what it reached",
    "convert": "make a training checkpoint a Hugging Face folder",
    "env": "print the versions and the machine, for a report of a problem",
}

SECONDS_FOR_THE_FIRST = 20  # of several processes to report an error, before another one does

HELP = """usage: rnn-hf VERB ...

Recurrent networks for text in the Hugging Face ecosystem.

{verbs}

`rnn-hf VERB --help` says more. RNN_HF_TRACEBACK=1 shows the traceback behind an error message.
"""


def main(argv: list[str] | None = None) -> int:
    """Runs `rnn-hf argv` and returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        return _dispatch(argv)
    except KeyboardInterrupt:
        if not launched_rank():
            print("rnn-hf: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # `rnn-hf generate ... | head`: the reader has gone, and the exit's flush must not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (ValueError, OSError) as error:
        if os.environ.get("RNN_HF_TRACEBACK"):
            raise
        if launched_rank():
            # All processes meet the same bad input. The first one says so, and the launcher then ends this one.
            time.sleep(SECONDS_FOR_THE_FIRST)
        print("rnn-hf: error:", " ".join(str(error).split()), file=sys.stderr)
        return 2


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP.format(verbs="\n".join(f"  {verb:<11} {text}" for verb, text in VERBS.items())), end="")
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"rnn-hf {__version__}")
        return 0
    verb, *rest = argv
    if verb not in VERBS:
        from .models.suggestion import suggestion

        raise ValueError(f"unknown command {verb!r}{suggestion(verb, VERBS)}; the commands are {', '.join(VERBS)}")
    importlib.import_module(f"rnn_hf.commands.{verb.replace('-', '_')}").run(rest)
    return 0


if __name__ == "__main__":
    sys.exit(main())
