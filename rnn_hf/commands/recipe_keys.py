"""What is wrong with the keys and values of a recipe, in one line: names no one knows, and jsonargparse's reports."""

import argparse
import contextlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import yaml
from lightning.pytorch import callbacks, loggers

from ..models.suggestion import suggestion
from ..recipes import merged
from ..tokenization import KINDS, kind_options

Options = list[tuple[str, str | None]]  # (name, value) of each option of the command line

# keys of `trainer` that name classes of Lightning's -> the module whose classes go without a path
PLUGINS = {"callbacks": callbacks, "logger": loggers}


def refuse_unknown_keys(recipes: dict[str, dict], options: Options, parser: argparse.ArgumentParser) -> None:
    """Raises ValueError that lists every key which the parser lacks, or which is linked to another.

    jsonargparse takes `--trainer.max_epoch` for an abbreviation, and has no suggestions.
    """
    keys, linked = set(), {}
    for action in parser._actions:
        if action.option_strings and " --> " in action.option_strings[0]:
            source = action.option_strings[0].split(" --> ")[0]
            linked[action.dest] = source.partition("(")[2].rstrip(")") or source  # function(source)
        else:
            keys.add(action.dest)
    problems = []
    for path, recipe in recipes.items():
        problems += _problems(_paths(recipe, keys), keys, linked, f"in {path}")
    problems += _problems([name.removesuffix("+") for name, _ in options], keys, linked, "on the command line")
    if problems:
        raise ValueError("; ".join(problems))


def with_kind_of_options(recipe: dict, options: Options) -> dict:
    """`recipe` without what its tokenizer has and the kind that the command line names takes not.

    `--data.tokenizer.kind byte` changes the kind alone, and a vocab_size of the recipe would be left for the bytes.
    """
    tokenizer = recipe.get("data", {}).get("tokenizer")
    kind = next((value for name, value in reversed(options) if name == "data.tokenizer.kind"), None)
    if not isinstance(tokenizer, dict) or kind not in KINDS or kind == tokenizer.get("kind"):
        return recipe
    kept = {name: value for name, value in tokenizer.items() if name in kind_options(kind)}
    if dropped := [name for name in tokenizer if name != "kind" and name not in kept]:
        print(f"data.tokenizer.kind {kind}: without the recipe's {', '.join(dropped)}", file=sys.stderr)
    return merged(recipe, {"data": {"tokenizer": {"kind": kind, **kept}}})


def explain(message: str, recipes: dict[str, dict], options: Options, types: dict[str, Any]) -> str:
    """jsonargparse's report on a value of the wrong type, in one line.

    Args:
        types: the type of each of the parser's keys.
    """
    for name, module in PLUGINS.items():
        for entry in _plugins(name, recipes, options):
            if problem := _plugin_problem(entry, module):
                return f"trainer.{name}: {problem}"
    key = re.search(r'(?:Parser key|[Kk]ey) "([^"]+)"', message)
    inside = re.search(r"Problem with given class_path '[\w.]*?(\w+)':\s*(.*?)(?:\n\s*- |\Z)", message, re.S)
    if inside:  # the class is known, an argument of it is wrong
        problem = re.sub(r'Parser key "([^"]+)":', r"\1:", " ".join(inside[2].split()))
        problem = re.sub(
            r"Expected an? (?:<class '(?:\w+\.)*(\w+)'>|(\w+))\. Got value: (.*)", r"must be \1\2; got '\3'", problem
        )
        return f"{key[1]}: {inside[1]}: {problem.replace(': must', ' must')}"
    value = re.search(r"(?:Given|Got) value: (.*)", message)
    if not (key and value and key[1] in types):
        return message
    kind = types[key[1]]
    name = kind.__name__ if isinstance(kind, type) else re.sub(r"\b(\w+\.)+", "", str(kind))  # without modules
    return f"{key[1]} must be {name}; got {value[1]!r}"


def _plugins(name: str, recipes: dict[str, dict], options: Options) -> Iterator[Any]:
    """What recipes and command line give for `trainer.NAME`, as it was written."""
    given = [(recipe.get("trainer") or {}).get(name) for recipe in recipes.values()]
    for key, value in options:
        if key in (f"trainer.{name}", f"trainer.{name}+") and value is not None:
            with contextlib.suppress(yaml.YAMLError):
                given.append(yaml.safe_load(value))
    for value in given:
        yield from value if isinstance(value, list) else [value]


def _plugin_problem(entry: Any, module: ModuleType) -> str | None:
    """What is misspelt in a class's name or `{class_path: NAME, init_args: {...}}`; None where nothing is."""
    if isinstance(entry, str):
        entry = {"class_path": entry}
    if not isinstance(entry, dict):
        return None
    if "class_path" not in entry:
        return f"a class is given as its name or as {{class_path: NAME, init_args: {{...}}}}; got {entry!r:.80}"
    if wrong := [key for key in entry if key not in (parts := ("class_path", "init_args", "dict_kwargs"))]:
        return f"unknown key {wrong[0]!r} beside class_path{suggestion(wrong[0], parts)}"
    name = str(entry["class_path"]).removeprefix(f"{module.__name__}.")
    if name in module.__all__:
        arguments = list(inspect.signature(getattr(module, name)).parameters)
        wrong = [key for key in entry.get("init_args") or {} if key not in arguments]
        return f"{name} has no argument {wrong[0]!r}{suggestion(wrong[0], arguments)}" if wrong else None
    if "." in name:
        return None
    return f"no class {name!r}{suggestion(name, module.__all__)}; a class of your own needs its module's path"


def _paths(recipe: Any, keys: set[str], prefix: str = "") -> Iterator[str]:
    """The dotted paths in a recipe, down to the parser's keys (below them the owner of the value checks)."""
    for name, value in recipe.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and any(key.startswith(f"{path}.") for key in keys if not key.endswith(".help")):
            yield from _paths(value, keys, f"{path}.")
        else:
            yield path


def _problems(paths: Iterable[str], keys: set[str], linked: dict[str, str], where: str) -> Iterator[str]:
    """What is wrong with each path that is neither a key, nor above one, nor below one."""
    for path in paths:
        parents = {path.rsplit(".", depth)[0] for depth in range(1, path.count(".") + 1)} - {
            "model",
            "data",
            "trainer",
            "hub",
        }
        if taken := {path, *parents} & linked.keys():
            yield f"{path!r} {where} cannot be set: it is taken from {linked[taken.pop()]}"
        elif path not in keys and not parents & keys:
            yield f"unknown key {path!r} {where}{suggestion(path, keys)}"
