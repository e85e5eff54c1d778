"""`rnn-hf fit --config RECIPE [--output_dir DIR] [--KEY.KEY VALUE ...]`: train, and write a Hugging Face folder.

Here stands what needs no Lightning, so that it answers at once: help, the recipe's name, the task. The rest is in
`lightning_cli.py`.
"""

from ..models.config_checks import suggestion
from ..recipes import find_recipe, read_recipe, recipe_names, run_name

TASKS = ("language_modeling", "classification", "tagging")

HELP = """usage: rnn-hf fit --config RECIPE [--output_dir DIR] [--KEY.KEY VALUE ...]

Trains the model that a recipe describes and writes a run folder: model/ (the best weights, for from_pretrained),
checkpoints/last.ckpt and metrics.csv.

  --config RECIPE        a recipe's name, or the path of a YAML file
  --output_dir DIR       the run folder; must be new or empty. Default: runs/RECIPE, then runs/RECIPE-2, ...
  --seed_everything N    default: 0
  --model.config.hidden_size 64 --data.batch_size 16 --trainer.max_epochs 1
                         any key of the recipe, and any that it leaves at its default
  --print_config         print the whole configuration and stop

`rnn-hf fit --config RECIPE --help` lists every key. Recipes:
"""


def run(argv: list[str]) -> None:
    options = command_line_options(argv)
    configs = [value or "" for name, value in options if name == "config"]
    if not configs:
        if not options or ("help", None) in options:
            print(HELP + "".join(f"  {name}\n" for name in recipe_names()), end="")
            return
        raise ValueError(f"fit needs --config RECIPE: the path of a YAML file or one of {', '.join(recipe_names())}")
    recipes = {str(find_recipe(config)): read_recipe(find_recipe(config)) for config in configs}
    tasks = [recipe["task"] for recipe in recipes.values() if "task" in recipe]
    tasks += [value for name, value in options if name == "task"]
    if not tasks or tasks[-1] not in TASKS:
        got = f"got {tasks[-1]!r}{suggestion(tasks[-1], TASKS)}" if tasks else "the recipe has no task"
        raise ValueError(f"task must be one of {', '.join(TASKS)}; {got}")

    from .lightning_cli import FitCLI  # 4 s, which no error above should cost

    FitCLI(tasks[-1], run_name(configs[-1]), recipes, [option for option in options if option[0] != "config"]).fit()


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
            raise ValueError(f"fit takes options only, --name value; got {word!r}")
    return options
