"""LightningCLI as `rnn-hf fit` uses it: one task, recipes whose misspelt keys are named, and the end of the run.

Lightning parses, builds and trains. Ours are: suggestions for keys at any depth, the checks that come before anything
is computed, the run folder, and the Hugging Face folder with the best weights.
"""

import argparse
import contextlib
import inspect
import logging
import re
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, Literal

import yaml
from lightning.pytorch import callbacks, loggers
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from transformers.utils.logging import disable_progress_bar

from ..data.classification import ClassificationDataModule
from ..data.language_modeling import LanguageModelingDataModule
from ..data.tagging import TaggingDataModule
from ..embeddings import find_word_vectors
from ..models.config_checks import suggestion
from ..training.callbacks import BestWeights, Progress
from ..training.classification import ClassificationModule
from ..training.classification_plots import draw_report
from ..training.export import write_model_folder
from ..training.language_modeling import LanguageModelingModule
from ..training.pretrained import model_config
from ..training.tagging import TaggingModule
from .common import model_folder, run_folder

CLASSES = {
    "language_modeling": (LanguageModelingModule, LanguageModelingDataModule),
    "classification": (ClassificationModule, ClassificationDataModule),
    "tagging": (TaggingModule, TaggingDataModule),
}

TRAINER_DEFAULTS = {
    "max_epochs": 10,
    "log_every_n_steps": 20,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
}

# keys of `trainer` that name classes of Lightning's -> the module whose classes go without a path
PLUGINS = {"callbacks": callbacks, "logger": loggers}

# Lightning's advertisements, and remarks on choices that are made here.
_NOISE = re.compile(
    r"(GPU|TPU) available|.*Tip: |Seed set to|Loading `train_dataloader` to estimate|`Trainer\.fit` stopped"
    r"|\s*Detected KeyboardInterrupt"
)
_WARNINGS = (
    r".*does not have many workers which may be a bottleneck",
    r"The number of training batches .* is smaller than the logging interval",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated",
)


def quiet_lightning() -> None:
    """Filters what Lightning says that is of no use to someone who runs `rnn-hf`."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).addFilter(lambda record: not _NOISE.match(record.getMessage()))
    # What a fine-tuned model takes from its encoder and what it leaves is checked when it is loaded.
    logging.getLogger("transformers.modeling_utils").addFilter(lambda record: "LOAD REPORT" not in record.getMessage())
    for message in _WARNINGS:
        warnings.filterwarnings("ignore", message)
    disable_progress_bar()  # transformers', when a folder is read or written


class FitCLI(LightningCLI):
    """Builds the module, the datamodule and the trainer of a run; `fit` runs it.

    Args:
        task: A key of `CLASSES`.
        name: The run's name, for the default folder.
        recipes: path -> mapping of each recipe, the later over the earlier.
        options: (name, value) from the command line, over the recipes.

    Raises:
        ValueError, OSError: bad input. Nothing has been written.
    """

    def __init__(self, task: str, name: str, recipes: dict[str, dict], options: list[tuple[str, str | None]]):
        quiet_lightning()
        self.task, self.name, self.recipes, self.options = task, name, recipes, options
        args = [f"--config={path}" for path in recipes]
        args += [f"--{name}" if value is None else f"--{name}={value}" for name, value in options]
        try:
            super().__init__(
                *CLASSES[task],
                args=args,
                run=False,
                seed_everything_default=0,
                trainer_defaults=TRAINER_DEFAULTS,
                save_config_callback=None,  # recipe.yaml in the model folder is the one that counts
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                parser_kwargs={"exit_on_error": False, "prog": f"rnn-hf fit --config {name}", "description": None},
            )
        except argparse.ArgumentError as error:
            raise ValueError(self._explain(str(error))) from error
        except MisconfigurationException as error:
            raise ValueError(f"trainer: {error}") from error

    def add_arguments_to_parser(self, parser):
        parser.add_argument("--task", type=Literal[self.task], default=self.task, help="what is trained")
        parser.add_argument("--output_dir", type=str | None, help="run folder; must be new or empty")
        parser.link_arguments("seed_everything", "data.seed", _data_seed)
        parser.link_arguments("data.tokenizer", "model.tokenizer", apply_on="instantiate")
        if self.task == "classification":
            for name in ("id2label", "problem_type", "label_weights"):
                parser.link_arguments(f"data.{name}", f"model.{name}", apply_on="instantiate")
        if self.task == "tagging":
            parser.link_arguments("data.id2label", "model.id2label", apply_on="instantiate")

    def parse_arguments(self, parser, args):
        # jsonargparse takes `--trainer.max_epoch` for an abbreviation, and has no suggestions.
        keys = {action.dest for action in parser._actions}
        for path, recipe in self.recipes.items():
            _refuse_unknown(_paths(recipe, keys), keys, f"in {path}")
        _refuse_unknown([name.removesuffix("+") for name, _ in self.options], keys, "on the command line")
        self.config = parser.parse_args(args)

    def _explain(self, message: str) -> str:
        """jsonargparse's report on a value of the wrong type, in one line."""
        for name, module in PLUGINS.items():
            for entry in self._plugins(name):
                if problem := _plugin_problem(entry, module):
                    return f"trainer.{name}: {problem}"
        key = re.search(r'(?:Parser key|[Kk]ey) "([^"]+)"', message)
        value = re.search(r"(?:Given|Got) value: (.*)", message)
        action = key and next((a for a in self.parser._actions if a.dest == key[1]), None)
        if not (value and action):
            return message
        kind = getattr(action, "_typehint", None) or action.type
        name = kind.__name__ if isinstance(kind, type) else re.sub(r"\b(\w+\.)+", "", str(kind))  # without modules
        return f"{key[1]} must be {name}; got {value[1]!r}"

    def _plugins(self, name: str) -> Iterator[Any]:
        """What recipes and command line give for `trainer.NAME`, as it was written."""
        given = [(recipe.get("trainer") or {}).get(name) for recipe in self.recipes.values()]
        for key, value in self.options:
            if key in (f"trainer.{name}", f"trainer.{name}+") and value is not None:
                with contextlib.suppress(yaml.YAMLError):
                    given.append(yaml.safe_load(value))
        for value in given:
            yield from value if isinstance(value, list) else [value]

    def before_instantiate_classes(self):
        """All checks that need neither the data nor the model."""
        model, data = self.config.model, self.config.data
        self.output_dir = run_folder(self.config.pop("output_dir"), self.name)
        if model.pretrained is not None:
            model.pretrained = model_folder(model.pretrained)
            if data.tokenizer is None:
                data.tokenizer = {"pretrained": model.pretrained}
        model_config(model.config, model.pretrained)
        if model.word_vectors is not None:
            find_word_vectors(model.word_vectors)  # before some seconds of reading the data
        print(f"reading {data.dataset}, making token ids", file=sys.stderr, flush=True)  # some seconds for large sets
        self.recipe = self.parser.dump(self.config, skip_link_targets=True, skip_unset=False)

    def instantiate_trainer(self, **kwargs):
        settings = self.config_init.trainer
        self.best = BestWeights()
        given = settings.callbacks or []
        own = [self.best]
        if settings.enable_progress_bar is not False:
            own.append(Progress(self.best))
        if settings.enable_checkpointing is not False:
            checkpoints = self.output_dir / "checkpoints"
            own.append(ModelCheckpoint(checkpoints, filename="last", enable_version_counter=False))
        settings.callbacks = [*(given if isinstance(given, list) else [given]), *own]
        self._check_monitors(settings.callbacks)
        settings.default_root_dir = str(self.output_dir)
        if settings.logger is None or settings.logger is True:
            settings.logger = CSVLogger(self.output_dir, name="", version="")
        return super().instantiate_trainer(**kwargs)

    def _check_monitors(self, given: list) -> None:
        """Lightning finds a metric that is never reported only once an epoch has been trained."""
        names = self.model.Evaluation.names
        evaluated, trained = [f"validation/{name}" for name in names], [f"train/{name}" for name in names[:2]]
        for callback in given:
            # at an epoch's end there may be no training metric: they are of every so many steps
            allowed = evaluated if isinstance(callback, callbacks.EarlyStopping) else evaluated + trained
            name = getattr(callback, "monitor", None)
            if name is not None and name not in allowed:
                raise ValueError(
                    f"trainer.callbacks: {type(callback).__name__}'s monitor must be one of {', '.join(allowed)}; "
                    f"got {name!r}{suggestion(name, allowed)}"
                )

    def fit(self) -> None:
        """Trains, tests the best weights if there is a test split, and writes `OUT/model`.

        Raises:
            KeyboardInterrupt: Ctrl-C, at which Lightning itself would exit with 1.
        """
        began = time.monotonic()
        parameters = self.model.model.num_parameters()
        self.model.count_covered_tokens(self.datamodule.train_dataloader())
        said = [*self.datamodule.summary(), *self.model.summary()]
        for line in [*said, f"{self.task} -> {self.output_dir} | {parameters:,} parameters"]:
            print(line, file=sys.stderr, flush=True)
        try:
            self.trainer.fit(self.model, self.datamodule)
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            raise
        except MisconfigurationException as error:
            raise ValueError(f"trainer: {error}") from error
        steps, epochs = self.trainer.global_step, self.trainer.current_epoch
        if self.best.evaluated_step != steps:  # trainer.max_steps may end a run within an epoch
            self.trainer.validate(self.model, self.datamodule, verbose=False)
        self.best.restore(self.model)
        best = self.best.best or {"metrics": {}, "reports": {}, "step": steps, "epoch": epochs}
        self.model.metrics, self.model.reports = dict(best["metrics"]), dict(best["reports"])
        if self.datamodule.has_test:
            self.trainer.test(self.model, self.datamodule, verbose=False)
        report = {
            "task": self.task,
            "metrics": self.model.metrics,
            "reports": self.model.reports,
            "monitor": self.model.monitor[0],
            "best_step": best["step"],
            "best_epoch": best["epoch"],
            "steps": steps,
            "epochs": epochs,
            "seed": self.config.seed_everything,
            "parameters": parameters,
            "device": str(self.trainer.strategy.root_device),
            "wall_seconds": round(time.monotonic() - began, 2),
            "data": self.datamodule.facts(),
        }
        if self.model.word_vector_facts is not None:
            report["word_vectors"] = self.model.word_vector_facts
        if self.trainer.is_global_zero:
            folder = self.output_dir / "model"
            write_model_folder(folder, self.model.model, self.datamodule.tokenizer, report, self.recipe)
            for name, value in (report["data"]["baselines"] | self.model.metrics).items():
                print(f"{name} {value:.6g}")
            for split, drawn in list(self.model.reports.items())[-1:]:  # test, where there is one
                draw_report(self.output_dir, drawn, f"{self.name}, {split}")
            print(f"wrote {folder}")


def _plugin_problem(entry: Any, module: ModuleType) -> str | None:
    """What is misspelt in a class's name or `{class_path: NAME, init_args: {...}}`; None where nothing is."""
    if isinstance(entry, str):
        entry = {"class_path": entry}
    if not isinstance(entry, dict) or "class_path" not in entry:
        return None
    name = str(entry["class_path"]).removeprefix(f"{module.__name__}.")
    if name in module.__all__:
        arguments = list(inspect.signature(getattr(module, name)).parameters)
        wrong = [key for key in entry.get("init_args") or {} if key not in arguments]
        return f"{name} has no argument {wrong[0]!r}{suggestion(wrong[0], arguments)}" if wrong else None
    if "." in name:
        return None
    return f"no class {name!r}{suggestion(name, module.__all__)}; a class of your own needs its module's path"


def _data_seed(seed: bool | int) -> int:
    """One seed for all: `--seed_everything` decides the order of the data too."""
    return 0 if isinstance(seed, bool) else seed


def _paths(recipe: Any, keys: set[str], prefix: str = "") -> Iterator[str]:
    """The dotted paths in a recipe, down to the parser's keys (below them the owner of the value checks)."""
    for name, value in recipe.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and any(key.startswith(f"{path}.") for key in keys if not key.endswith(".help")):
            yield from _paths(value, keys, f"{path}.")
        else:
            yield path


def _refuse_unknown(paths: Iterable[str], keys: set[str], where: str) -> None:
    """Raises ValueError that lists every path that is neither a key, nor above one, nor below one."""
    problems = []
    for path in paths:
        parents = {path.rsplit(".", depth)[0] for depth in range(1, path.count(".") + 1)} - {"model", "data", "trainer"}
        if path not in keys and not parents & keys:
            problems.append(f"unknown key {path!r} {where}{suggestion(path, keys)}")
    if problems:
        raise ValueError("; ".join(problems))
