"""`rnn-hf recipes ls | cat | cp | validate | schema`: what comes with the package, and whether a recipe runs.

Listing and copying need no torch, and answer at once.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ..models.suggestion import suggestion
from ..recipes import find_recipe, read_recipe, recipe_names, recipe_title, run_name
from .parser import Parser

EPILOG = """examples:
  rnn-hf recipes ls custom
  rnn-hf recipes cp custom/classification mine.yaml
  rnn-hf recipes validate mine.yaml
  rnn-hf fit --config mine.yaml"""

ACTIONS = {
    "ls": "list the recipes, or those whose name or title holds FILTER",
    "cat": "print a recipe",
    "cp": "copy a recipe to TARGET, a new file or a folder; default: here",
    "validate": "build data and model of recipes and run one step; default: all",
    "schema": "print the JSON schema of recipes, for editors",
}


def run(argv: list[str]) -> None:
    if argv and argv[0] not in ACTIONS and not argv[0].startswith("-"):
        near = suggestion(argv[0], ACTIONS)
        raise ValueError(f"unknown action {argv[0]!r}{near}; `rnn-hf recipes` takes {', '.join(ACTIONS)}")
    overview = "\n".join(f"  {name:<9} {text}" for name, text in ACTIONS.items())
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: rnn-hf recipes ACTION ...\n\n{overview}\n\n{EPILOG}")
        return
    action, *rest = argv
    parser = Parser(prog=f"rnn-hf recipes {action}", description=ACTIONS[action], epilog=EPILOG)
    if action == "ls":
        parser.add_argument("filter", nargs="?", default="", metavar="FILTER")
        list_recipes(parser.parse_args(rest).filter)
    elif action == "cat":
        parser.add_argument("name", metavar="NAME", help="a recipe's name, or the path of a YAML file")
        print(find_recipe(parser.parse_args(rest).name).read_text(encoding="utf-8"), end="")
    elif action == "cp":
        parser.add_argument("name", metavar="NAME", help="a recipe's name, or the path of a YAML file")
        parser.add_argument("target", nargs="?", default=".", metavar="TARGET")
        arguments = parser.parse_args(rest)
        print(f"wrote {copy_recipe(arguments.name, Path(arguments.target).expanduser())}")
    elif action == "validate":
        parser.add_argument("names", nargs="*", metavar="NAME", help="recipes' names, or paths of YAML files")
        parser.add_argument("--tiny", action="store_true", help="on tiny made-up data of the same shape")
        arguments = parser.parse_args(rest)
        validate_all(arguments.names or recipe_names(), arguments.tiny)
    else:
        parser.parse_args(rest)
        from .recipe_schema import schema_text

        print(schema_text(), end="")


def list_recipes(words: str) -> None:
    """Prints name and title of each recipe whose line holds `words`, in any case.

    Raises:
        ValueError: there is none.
    """
    names = recipe_names()
    width = max(map(len, names))
    lines = [f"{name:<{width}}  {recipe_title(find_recipe(name))}" for name in names]
    found = [line for line in lines if words.lower() in line.lower()]
    if not found:
        raise ValueError(
            f"no recipe's name or title holds {words!r}{suggestion(words, names)}; `rnn-hf recipes ls` lists all"
        )
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None  # a pipe gets whole lines
    print("\n".join(line[:columns] for line in found))


def copy_recipe(name: str, target: Path) -> Path:
    """Copies a recipe to the new file `target`, or into that folder.

    Raises:
        FileExistsError: the file is there already.
        FileNotFoundError: its folder is not there.
    """
    source = find_recipe(name)
    if target.is_dir():
        target = target / source.name
    if not target.parent.is_dir():
        raise FileNotFoundError(f"no folder {str(target.parent)!r} for {target.name}")
    try:
        with open(target, "x", encoding="utf-8") as file:
            file.write(source.read_text(encoding="utf-8"))
    except FileExistsError as error:
        raise FileExistsError(f"{target} is there already, and nothing is overwritten: give another name") from error
    return target


def validate_all(names: list[str], tiny: bool) -> None:
    """Validates each recipe, with a line each on standard output.

    Raises:
        ValueError: some recipes failed.
    """
    failed = []
    for name in names:
        began = time.monotonic()
        try:
            data, values = validate(name, tiny)
        except (ValueError, OSError) as error:
            failed.append(name)
            print(f"FAILED  {name}: {' '.join(str(error).split())}", flush=True)
        else:
            shown = " ".join(f"{key} {value:.4g}" for key, value in values.items())
            print(f"ok      {name} | {data} | {shown} | {time.monotonic() - began:.1f} s", flush=True)
    if failed:
        raise ValueError(f"{len(failed)} of {len(names)} recipes failed: {', '.join(failed)}")


def validate(name: str, tiny: bool = False) -> tuple[str, dict[str, Any]]:
    """Builds data and model of a recipe and runs one step of training, validation and test, on the CPU.

    With `tiny`, data of the same shape stand in for the recipe's data set; also where the data set of a recipe that
    comes with the package is not here. Of one's own file it is an error: the path is wrong.

    Returns:
        What the data were, and the metrics of the step.

    Raises:
        ValueError, OSError: the recipe does not run.
    """
    path = find_recipe(name)
    recipe = read_recipe(path)
    if not tiny:
        try:
            return recipe.get("data", {}).get("dataset", "no data"), _one_step(path, recipe)
        except (FileNotFoundError, ConnectionError) as error:  # no such file, no Hub
            if name not in recipe_names():
                raise type(error)(f"{error}; --tiny validates it on tiny made-up data") from error
            print(f"{name}: on tiny data instead ({' '.join(str(error).split())})", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        from .tiny_data import on_tiny_data

        return "tiny data", _one_step(path, on_tiny_data(recipe, Path(folder)))


def _one_step(path: Path, recipe: dict[str, Any]) -> dict[str, Any]:
    from .fit import checked_task
    from .lightning_cli import FitCLI

    options = {"fast_dev_run": "true", "accelerator": "cpu", "devices": "1", "strategy": "auto", "precision": "32-true"}
    options["enable_progress_bar"] = "false"
    settings = [(f"trainer.{key}", value) for key, value in options.items()]
    cli = FitCLI(checked_task([recipe]), run_name(str(path)), {str(path): recipe}, settings)
    cli.train()
    cli.test()
    return {key: value for key, value in cli.model.metrics.items() if key.endswith("/loss")}
