"""What the verbs that use a model share: opening a folder as the right kind of model, and where a run writes."""

import json
import os
import re
from pathlib import Path

import transformers
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import logging

from ..cards.facts import TASKS
from ..models import auto  # noqa: F401  registers the families with the Auto classes
from ..models.suggestion import suggestion
from .parser import Parser  # noqa: F401  beside what else a verb needs


def model_folder(name: str) -> str:
    """The model folder that `name` means: itself, the `model/` of a run folder, or a Hub id, returned as it is.

    Raises:
        FileNotFoundError: a path that does not exist.
        ValueError: a folder without a model, or a string that is neither a path nor a Hub id (owner/name).
    """
    path = Path(name).expanduser()
    if path.exists():
        for folder in (path, path / "model"):
            if (folder / "config.json").is_file():
                return str(folder)
        raise ValueError(f"{name!r} holds no model: expected config.json in it or in its model/ (did the run finish?)")
    parts = name.split("/")
    if name.startswith((".", "~", "/")) or len(parts) != 2 or Path(parts[0]).is_dir() or parts[-1] == "":
        beside = [folder.as_posix() for folder in path.parent.glob("*") if folder.is_dir()] if name else []
        raise FileNotFoundError(f"no such folder: {name!r}{suggestion(name, beside)}; a Hub id is owner/name")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ValueError(f"{name!r} is neither a folder nor a Hub id (owner/name)")
    return name


def run_folder(given: str | None, name: str) -> Path:
    """Where a run writes: `given`, if it is new or empty, or the first new one of runs/NAME, runs/NAME-2, ...

    Raises:
        ValueError: `given` is empty or a file, or holds something.
    """
    if given is not None:
        if not given.strip():
            raise ValueError(f"output_dir must be a new folder; got {given!r}")
        path = Path(given).expanduser()
        above = next(folder for folder in path.absolute().parents if folder.exists())
        if not os.access(above, os.W_OK):
            raise PermissionError(f"output_dir {given!r} cannot be made: no permission to write to {above}")
        if path.exists() and not path.is_dir():
            raise ValueError(f"output_dir {given!r} is a file: give a new folder")
        if path.is_dir() and any(path.iterdir()):
            raise ValueError(
                f"output_dir {given!r} is not empty, and a run overwrites nothing: give a new folder, or remove it"
            )
        return path
    number = 1
    while (path := Path("runs", name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return path


def open_model(name: str, ending: str):
    """(model in evaluation mode, tokenizer) of a run folder, a model folder or a Hub id.

    Args:
        ending: what the architecture must end in, a key of `TASKS`.

    Raises:
        ValueError: it holds another kind of model.
        FileNotFoundError: neither here nor on the Hub.
    """
    folder = model_folder(name)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    found = next((task for key, task in TASKS.items() if architecture(folder).endswith(key)), None)
    task = TASKS[ending]
    if found is not task:
        held, cure = (found.what, f"; use `rnn-hf {found.verb}`") if found else (architecture(folder), "")
        raise ValueError(f"{name!r} holds a {held}, not a {task.what} of rnn-hf{cure}")
    try:
        model = getattr(transformers, task.auto_class).from_pretrained(folder).eval()
        if Path(folder).is_dir() and not (Path(folder) / "tokenizer.json").is_file():
            raise FileNotFoundError(f"{folder} holds no tokenizer.json: save the model's tokenizer there")
        try:
            return model, AutoTokenizer.from_pretrained(folder)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"the tokenizer files of {folder} are damaged ({error}): save the tokenizer again"
            ) from error
    except OSError as error:
        if Path(folder).exists():
            raise
        raise _not_from_the_hub(folder, error) from error


def require_labels(model, name: str, verb: str) -> None:
    """Raises ValueError for a model that gives numbers instead of labels."""
    if model.config.problem_type == "regression" or (model.config.num_labels == 1 and not model.config.problem_type):
        raise ValueError(f"{verb} is for models that give labels; {name!r} gives a number (regression)")


def architecture(folder: str) -> str:
    """The class name in a model folder's `config.json`, for example `RnnForCausalLM`.

    Raises FileNotFoundError for a Hub id that the Hub does not give.
    """
    try:
        return (AutoConfig.from_pretrained(folder).architectures or ["unnamed architecture"])[0]
    except OSError as error:
        if Path(folder).exists():
            raise
        raise _not_from_the_hub(folder, error) from error


def _not_from_the_hub(name: str, error: OSError) -> FileNotFoundError:
    return FileNotFoundError(f"no folder {name!r} is here, and the Hub was not reached or does not give it: {error}")


def encode(tokenizer, text: str, what: str = "text") -> list[int]:
    """Token ids of `text`. Raises ValueError if it is no text, empty, or holds no word that the tokenizer knows."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:  # bytes that a shell or a file handed on
        raise ValueError(f"the {what} {text!a} is not valid UTF-8") from error
    limited = tokenizer.model_max_length < 10**9  # as `max_length` of a classifier's data leaves it
    ids = tokenizer(text, truncation=limited)["input_ids"]
    if not ids:
        raise ValueError(f"the {what} {text!r} is empty: it has no tokens")
    if tokenizer.unk_token_id is not None and set(ids) == {tokenizer.unk_token_id}:
        raise ValueError(f"the {what} {text!r:.80} has only words that the tokenizer does not know")
    return ids
