"""How a run was started, for `metrics.json`: its command, its settings other than the defaults, and its base model."""

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig
from transformers.utils import cached_file

from ..cards.facts import read_facts
from ..recipes import ROOT
from .recipe_keys import Options

# of no effect on the figures for somebody who repeats the run: where it writes, and where the model goes
_OF_THIS_RUN = ("output_dir", "resume", "hub")
# what `metrics.json` says elsewhere, a local path without its folders, and what changes no figure
_NO_SETTINGS = ("task", "seed_everything", "data.dataset", "data.path", "data.num_workers", "data.tokenizer.pretrained",
                "model.pretrained", "model.word_vectors", "trainer.accelerator", "trainer.devices")  # fmt: skip


def command(recipes: Iterable[str], options: Options) -> str:
    """The command line that repeats a run: its recipes by name, or by path if they are not ours, and its options.

    Args:
        recipes: paths, the later over the earlier.
    """
    words = ["rnn-hf", "fit"]
    for path in map(Path, recipes):
        ours = path.is_relative_to(ROOT)
        words += ["--config", path.relative_to(ROOT).with_suffix("").as_posix() if ours else str(path)]
    for name, value in options:
        if name.partition(".")[0] in _OF_THIS_RUN:
            continue
        if value is None:
            words.append(f"--{name}")
        else:
            words += [f"--{name}={value}"] if value.startswith("--") else [f"--{name}", value]
    return shlex.join(words)


def settings(recipe: dict[str, Any], defaults: dict[str, Any], config: PreTrainedConfig) -> dict[str, Any]:
    """key -> value of all that a whole recipe has other than its defaults.

    Args:
        recipe: as the parser dumps it; `defaults` too.
        config: the model's; what a new model of its family has by itself is a default as well.
    """
    usual = dict(_flat(defaults)) | {
        "data.tokenizer.kind": "word", "data.direction": "forward", "model.config.model_type": "rnn"
    }  # fmt: skip
    if not recipe["model"].get("pretrained"):
        usual |= {f"model.config.{name}": value for name, value in type(config)().to_dict().items()
                  if name != "model_type"}  # fmt: skip
    missing = object()
    return {
        key: value
        for key, value in _flat(recipe)
        if key not in _NO_SETTINGS and value != usual.get(key, missing) and (key in usual or value is not None)
    }


def _flat(recipe: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(key with dots, value) of a nested mapping."""
    for name, value in recipe.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def base_model(pretrained: str) -> dict[str, Any]:
    """What is known of the model whose weights a run starts from.

    Args:
        pretrained: a model folder, or a Hub id whose configuration is in the cache.

    Returns:
        `name` (of a folder that of its run), `is_local`, `task` and `dataset` (None where it does not say; of a model
        that itself started from another, that one's first), and `leaks`, for which test texts it may have seen.

    Raises:
        ValueError: a file of it is damaged.
    """
    is_local = Path(pretrained).is_dir()
    if is_local:
        folder = Path(pretrained)
    else:
        folder = Path(cached_file(pretrained, "config.json")).parent
        quiet = {f"_raise_exceptions_for_{what}": False for what in ("missing_entries", "connection_errors")}
        cached_file(pretrained, "metrics.json", **quiet)  # beside it, if there is one that can be had
    base = read_facts(folder)
    datasets = [name for name in (base.get("pretrained", "dataset"), base.dataset) if name]
    leaks = [*base.get("pretrained", "leaks", default=[]), *base.get("data", "about", "leaks", default=[])]
    return {
        "name": base.get("name", default=folder.resolve().name) if is_local else pretrained,
        "is_local": is_local,
        "task": base.get("task"),
        "dataset": ", then ".join(dict.fromkeys(datasets)) or None,
        "leaks": list(dict.fromkeys(leaks)),
    }
