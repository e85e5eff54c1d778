"""LightningCLI as `rnn-hf fit` uses it: one task, recipes whose misspelt keys are named, and the end of the run.

Lightning parses, builds and trains. Ours are: layered recipes, suggestions for keys at any depth, the checks that come
before anything is computed, the run folder, and the Hugging Face folder with the best weights.
"""

import argparse
import contextlib
import functools
import logging
import re
import sys
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import yaml
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from lightning.pytorch.callbacks import EarlyStopping, StochasticWeightAveraging, WeightAveraging
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from transformers import PreTrainedConfig
from transformers.utils.logging import disable_progress_bar

from ..cards import refresh
from ..data.classification import ClassificationDataModule
from ..data.language_modeling import LanguageModelingDataModule
from ..data.sources import NoDataSet
from ..data.tagging import TaggingDataModule
from ..embeddings import find_word_vectors
from ..hub.callback import PushBest
from ..hub.push import Push, PushOptions
from ..models.auto import families
from ..models.suggestion import suggestion
from ..processes import launched, launched_rank
from ..recipes import merged
from ..tokenization import tokenizer_options
from ..training.callbacks import BestWeights, EarlyStop, LogInterval, Progress, epoch_number
from ..training.checkpoint_files import CheckpointFiles, checkpoints
from ..training.checkpoints import KEY, Checkpoints, differences
from ..training.classification import ClassificationModule
from ..training.classification_plots import draw_report
from ..training.counting import CountingModule
from ..training.curves import draw_run
from ..training.export import folder_texts, write_model_folder
from ..training.fitted_classification import FittedClassificationModule
from ..training.hardware import hardware
from ..training.language_modeling import LanguageModelingModule
from ..training.metrics_file import MetricsFile
from ..training.module import TextModule
from ..training.one_pass import ONE_PROCESS, check_trainer
from ..training.pretrained import model_config
from ..training.signals import Interrupted, Signals
from ..training.tagging import TaggingModule
from .common import model_folder, run_folder
from .recipe_keys import Options, explain, refuse_unknown_keys, with_kind_of_options
from .resume import claim, release, resume_point
from .run_facts import base_model, command, settings

CLASSES = {
    "language_modeling": (LanguageModelingModule, LanguageModelingDataModule),
    "classification": (ClassificationModule, ClassificationDataModule),
    "tagging": (TaggingModule, TaggingDataModule),
}

# where a family is fitted in one pass, without an optimiser
ONE_PASS = {"language_modeling": CountingModule, "classification": FittedClassificationModule}

TRAINER_DEFAULTS = {
    "max_epochs": 10,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
    "devices": 1,  # several processes are the launcher's or the user's choice, whatever the machine has
    "use_distributed_sampler": False,  # ours share out every batch; Lightning's would tear streams apart
}

# value of `logger` beside csv -> the package that it needs
LOGGERS = {"tensorboard": "tensorboard", "wandb": "wandb"}

# Lightning's advertisements, and remarks on choices that are made here.
_NOISE = re.compile(
    r"(GPU|TPU) available|Running in `fast_dev_run`|.*Tip: |(\[rank: \d+\] )?Seed set to"
    r"|Loading `train_dataloader` to estimate|`Trainer\.fit` stopped|\s*Detected KeyboardInterrupt"
    r"|Restor(ing|ed all) states|Initializing distributed|-+\ndistributed_backend"
)
_WARNINGS = (
    r".*does not have many workers which may be a bottleneck",
    r"You're resuming from a checkpoint that ended before the epoch ended",  # the order starts where it did
    r"The number of training batches .* is smaller than the logging interval",
    r"`LightningModule\.configure_optimizers` returned `None`",  # a family that is fitted in one pass has none
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated",
    r"`gradient_checkpointing_enable` is deprecated",  # until transformers 6; its new name is not in 5.21
    r"It is recommended to use `self\.log\(.*sync_dist=True",  # what is logged is the same in all processes
)


def quiet_lightning() -> None:
    """Filters what Lightning says that is of no use to someone who runs `rnn-hf`."""
    for name in (
        "pytorch.utilities.rank_zero",
        *(f"fabric.utilities.{m}" for m in ("distributed", "rank_zero", "seed")),
    ):
        logging.getLogger(f"lightning.{name}").addFilter(lambda record: not _NOISE.match(record.getMessage()))
    # What a fine-tuned model takes from its encoder and what it leaves is checked when it is loaded.
    logging.getLogger("transformers.modeling_utils").addFilter(lambda record: "LOAD REPORT" not in record.getMessage())
    for message in _WARNINGS:
        warnings.filterwarnings("ignore", message)
    disable_progress_bar()  # transformers', when a folder is read or written


def module_of(task: str, recipe: dict, options: Options) -> type[TextModule]:
    """The LightningModule of a task, for a family that is trained or one that is fitted in one pass.

    What is wrong with the family's fields is said later.
    """
    config = (recipe.get("model") or {}).get("config") or {}
    for name, value in options:
        if value is not None and (name == "model.config" or name.startswith("model.config.")):
            value = yaml.safe_load(value)
            for key in reversed(name.split(".")[2:]):
                value = {key: value}
            # a whole one takes the place of the recipe's, as jsonargparse has it
            config = (value or {}) if name == "model.config" else merged(config, value)
    module = CLASSES[task][0]
    if task not in ONE_PASS or not isinstance(config, dict):
        return module
    with contextlib.suppress(ValueError, TypeError):
        family = families(module.auto_class).get(config.get("model_type", "rnn"))
        if family and family(**{name: value for name, value in config.items() if name != "model_type"}).one_pass:
            return ONE_PASS[task]
    return module


class FitCLI(LightningCLI):
    """Builds the module, the datamodule and the trainer of a run; `fit` runs it.

    Args:
        task: A key of `CLASSES`.
        name: The run's name, for the default folder.
        recipes: path -> mapping of each recipe, the later over the earlier.
        options: The command line's, over the recipes.
        keeps_model: False for a run whose model goes nowhere, whatever `hub` says.

    Raises:
        ValueError, OSError: bad input. Nothing has been written.
    """

    def __init__(self, task: str, name: str, recipes: dict[str, dict], options: Options, keeps_model: bool = True):
        quiet_lightning()
        self.keeps_model = keeps_model
        self.task, self.name, self.recipes, self.options = task, name, recipes, options
        # One mapping: jsonargparse would put the later `model.config` in the place of the earlier, not over it.
        recipe = with_kind_of_options(functools.reduce(merged, recipes.values(), {}), options)
        self.module = module_of(task, recipe, options)
        args = [f"--config={yaml.safe_dump(recipe, sort_keys=False)}"]
        args += [f"--{name}" if value is None else f"--{name}={value}" for name, value in options]
        try:
            super().__init__(
                self.module,
                CLASSES[task][1],
                args=args,
                run=False,
                seed_everything_default=0,
                trainer_defaults=TRAINER_DEFAULTS | self.module.trainer_defaults,
                save_config_callback=None,  # recipe.yaml in the model folder is the one that counts
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                parser_kwargs={"exit_on_error": False, "prog": f"rnn-hf fit --config {name}", "description": None},
            )
        except argparse.ArgumentError as error:
            types = {a.dest: getattr(a, "_typehint", None) or a.type for a in self.parser._actions}
            raise ValueError(explain(str(error), recipes, options, types)) from error
        except MisconfigurationException as error:
            raise ValueError(f"trainer: {error}") from error
        except NoDataSet as error:
            if "recipe.yaml" not in (Path(path).name for path in recipes):
                raise
            raise NoDataSet(
                f"{error}. The recipe of a run names its data relative to the folder that it ran in: go there, or give "
                "--data.path"
            ) from error

    def add_arguments_to_parser(self, parser):
        parser.add_argument("--task", type=Literal[self.task], default=self.task, help="what is trained")
        parser.add_argument("--output_dir", type=str | None, help="run folder; must be new or empty")
        parser.add_argument("--logger", type=Literal["csv", *LOGGERS], default="csv", help="records beside metrics.csv")
        parser.add_argument(
            "--early_stopping_patience",
            type=int,
            default=5,
            help="evaluations without a better one after which training stops; 0 never stops. Those in the first half "
            "of a one_cycle run do not count: what a high rate hides still comes",
        )
        parser.add_argument("--resume", type=str | None, help="auto, a run folder or a checkpoint: goes on from there")
        parser.add_argument(
            "--checkpoint_every_n_steps",
            type=int | None,
            help="write a checkpoint also after so many optimiser steps; always at an epoch's end and each 10 minutes",
        )
        parser.add_argument(
            "--skip_nonfinite",
            type=int,
            default=0,
            help="steps with a non-finite loss or gradient that a run may leave out; at the next it stops",
        )
        parser.add_argument("--hub.repo_id", type=str | None, help="owner/name that the model is pushed to; null: none")
        parser.add_class_arguments(PushOptions, "hub", skip={"repo_id"}, instantiate=False)
        parser.link_arguments("seed_everything", "data.seed", _data_seed)
        if not self.module.one_pass:
            parser.link_arguments("skip_nonfinite", "model.skip_nonfinite")
        parser.link_arguments("data.tokenizer", "model.tokenizer", apply_on="instantiate")
        if self.module is LanguageModelingModule:
            lengths = ("data.random_sequence_length", "data.sequence_length")
            parser.link_arguments(lengths, "model.full_rate_length", lambda random, length: length if random else None)
            parser.link_arguments("data.direction", "model.direction", apply_on="instantiate")
        if self.task == "classification":
            for name in ("id2label", "problem_type", "label_weights"):
                parser.link_arguments(f"data.{name}", f"model.{name}", apply_on="instantiate")
        if self.task == "tagging":
            parser.link_arguments("data.id2label", "model.id2label", apply_on="instantiate")

    def parse_arguments(self, parser, args):
        refuse_unknown_keys(self.recipes, self.options, parser)
        self.config = parser.parse_args(args)

    def before_instantiate_classes(self):
        """All checks that need neither the data nor the model."""
        model, data = self.config.model, self.config.data
        self._check_trainer()
        if (package := LOGGERS.get(self.config.logger)) and not find_spec(package):
            name = self.config.logger
            raise ValueError(f'logger {name} needs the package {package}: pip install "rnn-hf[{name}]"')
        for name in ("early_stopping_patience", "skip_nonfinite"):
            if self.config[name] < 0:
                raise ValueError(f"{name} must be a whole number from 0; got {self.config[name]}")
        every, resume = self.config.checkpoint_every_n_steps, self.config.pop("resume")
        if every is not None and every < 1:
            raise ValueError(f"checkpoint_every_n_steps must be a whole number from 1; got {every}")
        self.push = self._checked_push(self.config.pop("hub"))
        output_dir, self.checkpoint = self.config.pop("output_dir"), None
        if resume is not None:
            self.output_dir, self.checkpoint = resume_point(resume, output_dir, self.name)
        elif launched_rank():  # the first process decides where, and alone writes; it may have made the folder already
            self.output_dir = Path(output_dir or "runs")
        else:
            self.output_dir = run_folder(output_dir, self.name)
        pretrained = model.get("pretrained")
        if pretrained is not None:
            pretrained = model.pretrained = model_folder(pretrained)
            if data.tokenizer is None:
                data.tokenizer = {"pretrained": pretrained}
        cutoffs = (model.config or {}).get("adaptive_cutoffs")
        # How many words there are the data decides: for now enough for the clusters.
        words = {"vocab_size": cutoffs[-1] + 1} if _are_cutoffs(cutoffs) and pretrained is None else {}
        config = model_config(self.module.auto_class, words | (model.config or {}), pretrained)
        if self.task == "language_modeling":
            data.direction = self._direction(config)
        extra_words = tokenizer_options(data.tokenizer or "word").get("extra_words")
        for file in (model.get("word_vectors"), extra_words):  # before some seconds of reading the data
            if isinstance(file, str):
                find_word_vectors(file)
        self.recipe = self.parser.dump(self.config, skip_link_targets=True, skip_unset=False)
        self.identity = {"recipe": _what_decides(yaml.safe_load(self.recipe))}
        if self.checkpoint is not None:
            theirs = CheckpointFiles().load_checkpoint(self.checkpoint).get(KEY, {}).get("identity", {})
            self._check_same({"recipe": theirs.get("recipe", {})}, self.identity)
            self.identity_before = theirs
        print(f"reading {data.dataset}, making token ids", file=sys.stderr, flush=True)  # some seconds for large sets

    def _direction(self, config: PreTrainedConfig) -> str:
        """In which a language model's data are read: the recipe's, or that of the model as far as it is known."""
        wanted, known = self.config.data.direction, getattr(config, "direction", None)
        if wanted == "backward" and known is None:
            raise ValueError(f"data.direction backward is for model_type rnn; got {config.model_type!r}")
        given = "direction" in (self.config.model.config or {}) or self.config.model.get("pretrained")
        if given and wanted not in (None, known):
            raise ValueError(f"data.direction is {wanted!r}, but the model reads {known}: leave data.direction out")
        return wanted or known or "forward"

    def _checked_push(self, hub) -> Push | None:
        """The push at the end, if the recipe asks for one; login, name, licence and repository are looked at now."""
        if hub.repo_id is None:
            if given := [name for name, value in vars(hub).items() if value != getattr(PushOptions, name, None)]:
                raise ValueError(f"hub.repo_id is missing, the name to push to; got hub.{given[0]} alone")
            return None
        if hub.license is None:
            raise ValueError("hub.license is missing: an SPDX identifier such as apache-2.0, or other")
        if self.config.trainer.fast_dev_run or not self.keeps_model or launched_rank():
            return None
        push = Push(PushOptions(**vars(hub)))
        push.check()
        return push

    def _check_same(self, theirs: dict, ours: dict) -> None:
        if changed := differences(theirs, ours):
            raise ValueError(
                f"{self.checkpoint} is of another run and cannot go on as this one: {'; '.join(changed[:5])}"
                + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
            )

    def _check_trainer(self) -> None:
        settings = self.config.trainer
        for name in ("max_epochs", "max_steps", "limit_train_batches"):
            if settings[name] == 0:
                raise ValueError(f"trainer.{name} must be more than 0, or nothing is trained; got {settings[name]!r}")
        if self.module.one_pass:
            check_trainer(self.config.model.config["model_type"], settings)
        if settings.logger not in (None, True) and self.config.logger != "csv":
            raise ValueError(f"give logger ({self.config.logger}) or trainer.logger; got both")
        here = {"cuda": CUDAAccelerator.is_available(), "mps": MPSAccelerator.is_available()}
        if here.get(settings.accelerator) is False:
            devices = ", ".join(["cpu", *(name for name, available in here.items() if available)])
            raise ValueError(
                f"device {settings.accelerator} is not on this machine, or not in its torch; here: {devices}"
            )

    def instantiate_trainer(self, **kwargs):
        settings = self.config_init.trainer
        self.best, self.signals, self.checkpoints = BestWeights(), Signals(), None
        given = settings.callbacks or []
        given = given if isinstance(given, list) else [given]
        averages = [c for c in given if isinstance(c, WeightAveraging | StochasticWeightAveraging)]
        if averages and (self.model.ema_decay or self.model.averaging_patience):
            raise ValueError(
                f"trainer.callbacks has {type(averages[0]).__name__}, and model.ema_decay or model.averaging_patience "
                "averages the weights too: give one"
            )
        if self.checkpoint is not None and any(isinstance(c, StochasticWeightAveraging) for c in averages):
            raise ValueError(
                "trainer.callbacks: a run with StochasticWeightAveraging cannot be resumed exactly; with "
                "EMAWeightAveraging it can"
            )
        own = [self.best]
        if self.push is not None and not self.push.options.create_pr:
            own.append(PushBest(self.push.options, self.best, self.output_dir / ".push", self._write_best))
        if settings.log_every_n_steps is None:
            own.append(LogInterval())
        self.early_stop = None
        if self.config.early_stopping_patience and not any(isinstance(callback, EarlyStopping) for callback in given):
            self.early_stop = EarlyStop(self.best, self.config.early_stopping_patience)
            own.append(self.early_stop)
        if settings.enable_progress_bar is not False:
            own.append(Progress(self.best))
        if settings.enable_checkpointing is not False and not settings.fast_dev_run:
            every = self.config.checkpoint_every_n_steps
            self.checkpoints = Checkpoints(self.output_dir / "checkpoints", self.identity, self.signals, every)
            own.append(self.checkpoints)
            plugins = settings.plugins or []
            settings.plugins = [*(plugins if isinstance(plugins, list) else [plugins]), CheckpointFiles()]
        self._set_processes(settings)
        settings.callbacks = [*given, *own]
        self._check_monitors(settings.callbacks)
        settings.default_root_dir = str(self.output_dir)
        if settings.logger is None or settings.logger is True:
            epoch, steps = lambda: epoch_number(self.trainer), lambda: self.trainer.global_step
            settings.logger = [MetricsFile(self.output_dir, epoch, steps)]
            if self.config.logger == "tensorboard":
                settings.logger.append(TensorBoardLogger(self.output_dir, name="", version="tensorboard"))
            elif self.config.logger == "wandb":
                settings.logger.append(WandbLogger(name=self.name, save_dir=self.output_dir, project="rnn-hf"))
        return super().instantiate_trainer(**kwargs)

    def _set_processes(self, settings) -> None:
        """As many as the launcher has started, unless the recipe or the user says otherwise."""
        for name, number in launched().items():
            if settings[name] in (1, "auto"):
                settings[name] = number
        several = settings.devices not in (1, "1", "auto") or settings.num_nodes != 1
        if several and self.module.one_pass:  # before the others are started
            raise ValueError(ONE_PROCESS.format(self.model.model.config.model_type))
        if settings.strategy == "auto" and several:
            # A cluster of an adaptive head gets no gradient from a batch without its words.
            may_be_unused = getattr(self.model.model.config, "lm_head", "full") == "adaptive"
            settings.strategy = "ddp_find_unused_parameters_true" if may_be_unused else "ddp"

    def _check_monitors(self, given: list) -> None:
        """Lightning finds a metric that is never reported only once an epoch has been trained."""
        names = self.model.Evaluation.names
        evaluated, trained = [f"validation/{name}" for name in names], [f"train/{name}" for name in names[:2]]
        for callback in given:
            # at an epoch's end there may be no training metric: they are of every so many steps
            allowed = evaluated if isinstance(callback, EarlyStopping) else evaluated + trained
            name = getattr(callback, "monitor", None)
            if name is not None and name not in allowed:
                raise ValueError(
                    f"trainer.callbacks: {type(callback).__name__}'s monitor must be one of {', '.join(allowed)}; "
                    f"got {name!r}{suggestion(name, allowed)}"
                )

    def fit(self) -> None:
        """Trains, tests the best weights if there is a test split, and writes `OUT/model`.

        Under `fast_dev_run` a few steps of each go through, and nothing is written.

        Raises:
            Interrupted: SIGTERM or SIGINT.
            ValueError: the data are not those of the checkpoint to go on from.
        """
        try:
            with self.signals:
                self._fit()
        except Interrupted as error:
            print(f"interrupted by {error.signal.name}{self._how_to_go_on()}", file=sys.stderr, flush=True)
            raise
        finally:
            release()

    def _how_to_go_on(self) -> str:
        if self.checkpoints is None or not checkpoints(self.checkpoints.folder):
            return ""
        return f"; to go on: the same command with --resume auto --output_dir {self.output_dir}"

    def _fit(self) -> None:
        began = time.monotonic()
        if not self.trainer.fast_dev_run:
            claim(self.output_dir)
        if self.checkpoints is not None:
            found_now = {"data": self.datamodule.md5s, "processes": self.trainer.world_size}
            self.identity |= found_now
            if self.checkpoint is not None:
                self._check_same({name: self.identity_before.get(name, {}) for name in found_now}, found_now)
                print(f"going on from {self.checkpoint}", file=sys.stderr, flush=True)
        self.model.count_covered_tokens(self.datamodule.train_dataloader())
        where = "nothing is written" if self.trainer.fast_dev_run else self.output_dir
        said = [*self.datamodule.summary(), *self.model.summary()]
        processes = f" | {self.trainer.world_size} processes" if self.trainer.world_size > 1 else ""
        if not self.model.model.config.one_pass:  # which has them only once it is fitted
            where = f"{where} | {self.model.model.num_parameters():,} parameters"
        for line in [*said, f"{self.task} -> {where}{processes}"]:
            print(line, file=sys.stderr, flush=True)
        self.known = known = {
            "task": self.task,
            "name": self.name,
            "monitor": self.model.monitor[0],
            "command": command(self.recipes, self.options),
            "settings": settings(self.identity["recipe"], self._defaults(), self.model.model.config),
            "seed": self.config.seed_everything,
            "device": str(self.trainer.strategy.root_device),
            "processes": self.trainer.world_size,
            "hardware": hardware(self.trainer.strategy.root_device),
            "data": self.datamodule.facts(),
        }
        if pretrained := self.config.model.get("pretrained"):
            known["pretrained"] = base_model(pretrained)
        if self.model.word_vector_facts is not None:
            known["word_vectors"] = self.model.word_vector_facts
        if self.model.vocabulary_facts is not None:
            known["pretrained_vocabulary"] = self.model.vocabulary_facts
        if self.checkpoints is not None:
            self.checkpoints.texts = folder_texts(self.model.model, self.datamodule.tokenizer, known, self.recipe)
        self.train()
        if self.trainer.fast_dev_run:
            self.test()
            print("fast_dev_run: training and evaluation went through; nothing was written")
            return
        if self.early_stop and self.early_stop.stopped:
            print(f"stopped early: {self.early_stop.reason}", file=sys.stderr, flush=True)
        steps, epochs = self.trainer.global_step, epoch_number(self.trainer)
        if self.best.evaluated_step != steps:  # trainer.max_steps may end a run within an epoch
            self.trainer.validate(self.model, self.datamodule, verbose=False)
        self.best.restore(self.model)
        best = self.best.best or {"metrics": {}, "reports": {}, "step": steps, "epoch": epochs}
        self.model.metrics, self.model.reports = dict(best["metrics"]), dict(best["reports"])
        tested = time.monotonic()
        self.test()
        test_seconds = round(time.monotonic() - tested, 3)
        report = {
            **known,
            "metrics": self.model.metrics,
            "reports": self.model.reports,
            "best_step": best["step"],
            "best_epoch": best["epoch"],
            "steps": steps,
            "epochs": epochs,
            "stopped_early": bool(self.early_stop and self.early_stop.stopped),
            "skipped_nonfinite_steps": self.model.guard.skipped,
            "log": self._log(best["step"]),
            "parameters": self.model.model.num_parameters(),
            "evaluation_seconds": {"test": test_seconds} if self.datamodule.has_test else {},
            "wall_seconds": round(time.monotonic() - began + (self.checkpoints.seconds if self.checkpoints else 0), 2),
        }
        if self.trainer.is_global_zero:
            folder = self.output_dir / "model"
            draw_run(self.output_dir / "metrics.csv", self.output_dir / "curves.png")
            for split, drawn in list(self.model.reports.items())[-1:]:  # test, where there is one
                draw_report(self.output_dir, drawn, f"{self.name}, {split}")
            # last: a run with a model folder is finished
            pictures = [self.output_dir / "curves.png"]
            write_model_folder(folder, self.model.model, self.datamodule.tokenizer, report, self.recipe, pictures)
            refresh(folder)
            for name, value in (report["data"]["baselines"] | self.model.metrics).items():
                print(f"{name} {value:.6g}")
            for line in self.model.report_lines():
                print(line)
            print(f"wrote {folder}", flush=True)
            if self.push is not None:
                self._push(folder)

    def _defaults(self) -> dict:
        """What a recipe has where it says nothing."""
        defaults = self.parser.get_defaults()
        return yaml.safe_load(
            self.parser.dump(defaults, skip_link_targets=True, skip_unset=False, skip_validation=True)
        )

    def _write_best(self, folder: Path, model, best: dict) -> None:
        """The model folder of an evaluation, before the end of the run."""
        figures = {name: best[name] for name in ("metrics", "reports")}
        report = self.known | figures | {"best_step": best["step"], "best_epoch": best["epoch"], "steps": best["step"]}
        report |= {"log": self._log(best["step"]), "parameters": model.num_parameters()}
        write_model_folder(folder, model, self.datamodule.tokenizer, report, self.recipe)

    def _log(self, saved: int) -> list[dict[str, float | int]]:
        """The evaluations of the run; none where `trainer.logger` is another."""
        ours = [logger for logger in self.trainer.loggers if isinstance(logger, MetricsFile)]
        return [row for logger in ours for row in logger.evaluations(saved)]

    def _push(self, folder: Path) -> None:
        try:
            self.push.run(folder)
        except (OSError, ValueError):
            again = self.push.options.command(folder)
            print(f"the model is whole in {folder}; to push it again: {again}", file=sys.stderr, flush=True)
            raise

    def train(self) -> None:
        """Trains the module as the trainer says, from the checkpoint if there is one to go on from."""
        try:
            self.trainer.fit(self.model, self.datamodule, ckpt_path=self.checkpoint, weights_only=True)
        except MisconfigurationException as error:
            raise ValueError(f"trainer: {error}") from error

    def test(self) -> None:
        """Evaluates the weights as they are on the test split, if there is one."""
        if self.datamodule.has_test:
            self.trainer.test(self.model, self.datamodule, verbose=False)


# what a run may differ in from the one that it goes on with, and still reach the same weights
_DECIDES_NOTHING = ("logger", "checkpoint_every_n_steps", "skip_nonfinite")
_DECIDES_NOTHING_OF_TRAINER = ("accelerator", "devices", "num_nodes", "strategy", "logger", "plugins", "profiler",
                               "default_root_dir", "enable_progress_bar", "enable_model_summary")  # fmt: skip


def _are_cutoffs(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(cutoff, int) for cutoff in value)


def _what_decides(recipe: dict) -> dict:
    """The part of a whole configuration that a resumed run must have in common with its checkpoint."""
    trainer = {k: v for k, v in recipe["trainer"].items() if k not in _DECIDES_NOTHING_OF_TRAINER}
    return {k: v for k, v in recipe.items() if k not in _DECIDES_NOTHING} | {"trainer": trainer}


def _data_seed(seed: bool | int) -> int:
    """One seed for all: `--seed_everything` decides the order of the data too."""
    return 0 if isinstance(seed, bool) else seed
