"""`rnn-hf lr-find --config RECIPE`: a learning-rate range test (Smith 2017), with its picture and a suggested rate.

Trains the recipe's model while the rate rises exponentially from step to step, until the loss leaves for good or the
steps are over. The run folder gets `lr_find.csv` and `lr_find.png`; the model is not kept.
"""

import contextlib
import csv
import functools
import sys

from ..recipes import merged
from .fit import command_line_options, read_request

HELP = """usage: rnn-hf lr-find --config RECIPE [--output_dir DIR] [--KEY.KEY VALUE ...]

Trains for a few steps while the learning rate rises, and suggests the rate in the middle of the longest fall of the
loss. Writes lr_find.csv and lr_find.png, which shows how far above it the loss still falls; keeps no model.

  --config RECIPE      a recipe's name, or the path of a YAML file
  --output_dir DIR     must be new or empty. Default: runs/RECIPE-lr-find, then runs/RECIPE-lr-find-2, ...
  --min_rate X         default: 1e-5 (sgd: 1e-2)
  --max_rate X         default: 1 (sgd: 1000)
  --num_rates N        steps, each at a rate of its own; default: 150
  --device DEVICE      auto (default), cpu, cuda or mps
  --model.config.hidden_size 64
                       any key of the recipe, as for `rnn-hf fit`
"""

OWN = ("min_rate", "max_rate", "num_rates")


def run(argv: list[str]) -> None:
    options = command_line_options(argv)
    if not options or ("help", None) in options:
        print(HELP, end="")
        return
    own = {name: value for name, value in options if name in OWN}
    task, name, recipes, options = read_request([pair for pair in options if pair[0] not in OWN], "lr-find")

    from ..training.curves import draw_rates
    from ..training.guard import NonFiniteStep
    from ..training.rate_finder import RateFinder
    from .lightning_cli import FitCLI, module_of

    if module_of(task, functools.reduce(merged, recipes.values(), {}), options).one_pass:
        raise ValueError("lr-find is for models that are trained step by step; this one is fitted in one pass")
    num_rates = _number(own, "num_rates", 150, int, 20)
    settings = {
        "trainer.max_epochs": "-1",
        "trainer.max_steps": str(num_rates),
        "trainer.limit_val_batches": "0",
        "trainer.logger": "false",
        "trainer.enable_checkpointing": "false",
        "model.schedule": "constant",
        "model.warmup_share": "0",
    }
    cli = FitCLI(task, f"{name}-lr-find", recipes, [*options, *settings.items()], keeps_model=False)
    if cli.trainer.world_size > 1:
        raise ValueError("lr-find runs in one process: its batches are those that several would share")
    sgd = cli.config.model.optimizer == "sgd"
    low = _number(own, "min_rate", 1e-2 if sgd else 1e-5, float, 0)
    high = _number(own, "max_rate", 1e3 if sgd else 1.0, float, low)
    finder = RateFinder(low, high, num_rates)
    cli.trainer.callbacks.append(finder)
    print(f"{task} | {num_rates} steps at rates from {low:g} to {high:g}", file=sys.stderr, flush=True)
    with contextlib.suppress(NonFiniteStep):  # the rate has left what the model bears: the sweep is over
        cli.train()
    cli.output_dir.mkdir(parents=True, exist_ok=True)
    with open(cli.output_dir / "lr_find.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("learning_rate", "loss"), *zip(finder.rates, finder.losses, strict=True)])
    draw_rates(finder.rates, finder.losses, finder.suggestion, cli.output_dir / "lr_find.png")
    print(f"wrote {cli.output_dir}/lr_find.png, lr_find.csv", file=sys.stderr)
    if finder.suggestion is None:
        raise ValueError(
            f"no rate from {low:g} to {high:g} lowered the loss: give a lower --min_rate, and see lr_find.png"
        )
    print(f"suggested: --model.learning_rate {finder.suggestion:.2g}")


def _number(given: dict[str, str | None], name: str, default, kind: type, low: float):
    """The option as a number above `low`; ValueError if it is none."""
    try:
        value = kind(given.get(name, default))
    except (TypeError, ValueError):
        value = None
    if value is None or not low < value < float("inf"):
        noun = "whole number" if kind is int else "number"
        raise ValueError(f"--{name} must be a {noun} above {low:g}; got {given.get(name, default)!r}")
    return value
