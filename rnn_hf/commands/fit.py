"""`rnn-hf fit --config RECIPE [--output_dir DIR] [--KEY.KEY VALUE ...]`: train, and write a Hugging Face folder.

Here stands what needs no Lightning, so that it answers at once: help, the recipe's name, the task. The rest is in
`lightning_cli.py`.
"""

from collections.abc import Iterable, Sequence

from ..models.suggestion import suggestion
from ..processes import first_one_speaks
from ..recipes import find_recipe, read_recipe, recipe_names, run_name

TASKS = ("language_modeling", "classification", "tagging")
DEVICES = ("auto", "cpu", "cuda", "mps")

HELP = """usage: rnn-hf fit --config RECIPE [--output_dir DIR] [--KEY.KEY VALUE ...]

Trains the model that a recipe describes and writes a run folder: model/ (the best weights, for from_pretrained),
checkpoints/ (the newest, to go on from), metrics.csv and curves.png.

  --config RECIPE        a recipe's name, or the path of a YAML file; a later one goes over an earlier one
  --output_dir DIR       the run folder; must be new or empty. Default: runs/RECIPE, then runs/RECIPE-2, ...
  --seed_everything N    default: 0
  --device DEVICE        auto (default), cpu, cuda or mps
  --max_steps N          train N steps, in however many epochs
  --fast_dev_run         one step of training and evaluation, to see that all goes through; writes nothing
  --logger NAME          tensorboard or wandb, beside metrics.csv
  --early_stopping_patience N
                         evaluations without a better one after which training stops; default: 5; 0 never stops
  --skip_nonfinite N     steps with a NaN or infinite loss or gradient that are left out; default: 0, the first one
                         stops training before it reaches the weights
  --model.config.hidden_size 64 --data.batch_size 16 --trainer.max_epochs 1
                         any key of the recipe, and any that it leaves at its default
  --resume auto          go on from the newest checkpoint of --output_dir, by default of the last runs/RECIPE, to the
                         same weights as if nothing had happened; also --resume RUN_FOLDER, --resume CHECKPOINT
  --checkpoint_every_n_steps N
                         write one also after N optimiser steps; always at an epoch's end, each 10 minutes, at SIGTERM
                         (exit code 143) and Ctrl-C (130)
  --hub.repo_id NAME --hub.license SPDX
                         push the model to the Hub at the end, privately, and the best weights meanwhile; login and
                         name are looked at before training, and a network that fails stops nothing
  --print_config         print the whole configuration and stop

`rnn-hf fit --config RECIPE --help` lists every key. `torchrun --nproc_per_node=N $(which rnn-hf) fit ...` trains on N
processes, which share every batch: the result is that of one. Recipes:
"""


def run(argv: list[str]) -> None:
    options = command_line_options(argv)
    if (("help", None) in options and not any(name == "config" for name, _ in options)) or not options:
        print(HELP + "".join(f"  {name}\n" for name in recipe_names()), end="")
        return
    request = read_request(options, "fit")

    from .lightning_cli import FitCLI  # 4 s, which no error above should cost

    with first_one_speaks():
        FitCLI(*request).fit()


def read_request(options: list[tuple[str, str | None]], verb: str) -> tuple:
    """(task, the run's name, path -> mapping of each recipe, the other options): what `FitCLI` takes.

    Raises:
        ValueError, OSError: no recipe, an unknown one, or one without a task.
    """
    configs = [value or "" for name, value in options if name == "config"]
    if not configs:
        raise ValueError(f"{verb} needs --config RECIPE: the path of a YAML file or one of {', '.join(recipe_names())}")
    recipes = {str(find_recipe(config)): read_recipe(find_recipe(config)) for config in configs}
    task = checked_task(recipes.values(), [value for name, value in options if name == "task"])
    return task, run_name(configs[-1]), recipes, expanded([pair for pair in options if pair[0] != "config"])


def checked_task(recipes: Iterable[dict], given: Sequence[str | None] = ()) -> str:
    """The task of the last recipe that has one, or the one `given` on the command line.

    Raises:
        ValueError: none, or an unknown one.
    """
    tasks = [*(recipe["task"] for recipe in recipes if "task" in recipe), *given]
    if not tasks:
        misspelt = [key for recipe in recipes for key in recipe if suggestion(key, ["task"])]
        said = f": {misspelt[0]!r} is no key (did you mean 'task'?)" if misspelt else ""
        raise ValueError(f"the recipe has no task{said}; task must be one of {', '.join(TASKS)}")
    if tasks[-1] not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}; got {tasks[-1]!r}{suggestion(tasks[-1], TASKS)}")
    return tasks[-1]


def expanded(options: list[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
    """The options with the keys of `trainer` in the place of `--device`, `--max_steps` and `--fast_dev_run`.

    Raises:
        ValueError: an unknown device.
    """
    result = []
    for name, value in options:
        if name == "device":
            if value not in DEVICES:
                near = suggestion(value, DEVICES)
                raise ValueError(f"--device must be one of {', '.join(DEVICES)}; got {value!r}{near}")
            result.append(("trainer.accelerator", value))
        elif name == "max_steps":
            epochs = (
                [] if any(other == "trainer.max_epochs" for other, _ in options) else [("trainer.max_epochs", "-1")]
            )
            result += [*epochs, ("trainer.max_steps", value)]
        elif name == "fast_dev_run":
            result.append(("trainer.fast_dev_run", value or "true"))
        else:
            result.append((name, value))
    return result


def command_line_options(argv: list[str]) -> list[tuple[str, str | None]]:
    """(name without its dashes, value or None) of each option; `--name value` and `--name=value` are the same.

    Raises:
        ValueError: a word that belongs to no option.
    """
    options = []
    for word in argv:
        word = {"-h": "--help", "-c": "--config"}.get(word, word)
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            options.append((name, value if equals else None))
        elif options and options[-1][1] is None and options[-1][0] not in ("help", "print_config"):
            options[-1] = (options[-1][0], word)
        else:
            raise ValueError(f"only options are taken, --name value; got {word!r}: a recipe follows --config")
    return options
