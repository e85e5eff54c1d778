"""The stages of `rnn-hf finetune`: both checked before anything is trained, the texts split once, then `rnn-hf fit`."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cards.intervals import wilson
from ..data.classification import ClassificationDataModule
from ..data.sources import find_data_set, rows_md5
from ..files import whole_file
from ..processes import launched
from ..training.checkpoints import differences
from .common import architecture, model_folder, run_folder
from .finetune import RECIPES
from .fit import read_request
from .lightning_cli import FitCLI
from .recipe_keys import Options
from .resume import last_run
from .stages import finished, fit, minutes, title

REQUEST = "finetune.json"  # in the run's folder: what it was asked for
MANY_UNKNOWN = 0.1  # share of the words that a language model of other text lacks, above which a cure is named

NEXT = """\
The classifier is in {out}/classifier. What to do next:
  rnn-hf predict  {out}/classifier "a text of your own"
  rnn-hf predict  {out}/classifier --input NEW.csv --output labelled.csv
  rnn-hf evaluate {out}/classifier --data {out}/data --split {split}    (the figures of each label)
  rnn-hf push     {out}/classifier --repo-id me/NAME --license apache-2.0
"""


@dataclass
class Stage:
    """A run of `rnn-hf fit`: what it trains, the recipe that comes with the package, and the options given for it."""

    task: str
    title: str
    recipe: str
    options: Options

    @property
    def recipes(self) -> list[str]:
        """Those given, or the one that comes with the package."""
        return [value for name, value in self.options if name == "config"] or [self.recipe]

    def checked(self, *given: tuple[str, str]) -> FitCLI:
        """Its model and data as `rnn-hf fit` builds them, so that what is wrong is said before any stage is trained.

        Raises ValueError, OSError for bad input.
        """
        configs = [("config", recipe) for recipe in self.recipes]
        others = [option for option in self.options if option[0] != "config"]
        task, *request = read_request([*configs, *others, *given], "finetune")
        if task != self.task:
            raise ValueError(f"{', '.join(self.recipes)}: the task must be {self.task}; got {task}")
        return FitCLI(task, *request)

    def fit(self, folder: Path, *given: tuple[str, str]) -> dict[str, Any]:
        """Trains it on texts that are split, or goes on with that; the metrics.json that it leaves."""
        recipe, *over = self.recipes
        others = [option for option in self.options if option[0] != "config"]
        options = [*(("config", value) for value in over), ("resume", "auto"), *others, *given]
        return fit(recipe, folder, *(f"--{name}" if value is None else f"--{name}={value}" for name, value in options))


def finetune(language_model: str, own: dict[str, str], options: dict[str, Options]) -> None:
    """Arguments: a folder or Hub id, the verb's own options and those of each stage (`finetune.sorted_options`).

    Raises:
        ValueError, OSError: bad input, and nothing has been written; or a stage failed, and has said why.
    """
    began = time.monotonic()
    if launched():
        raise ValueError("finetune starts the processes of its stages itself: no torchrun, but --trainer.devices N")
    stages = {
        "lm": Stage("language_modeling", "The language model goes on with the texts", RECIPES["lm"], options["lm"]),
        "classifier": Stage(
            "classification",
            "A classifier on the language model's encoder",
            RECIPES["classifier"],
            [*several_labels(own, options["classifier"]), *options["classifier"]],
        ),
    }
    text = [("data.dataset", own["data"]), ("data.text_column", own.get("text_column", "text"))]
    read = {"lm": text, "classifier": [*text, ("data.label_column", own.get("label_column", "label"))]}
    start = recurrent_language_model(language_model)
    words = [option for option in options["lm"] if option[0].startswith("data.tokenizer")]  # the classifier gets them
    checked = {name: stage.checked(("model.pretrained", start), *read[name], *words) for name, stage in stages.items()}
    data = checked["classifier"].datamodule
    for line in data.summary():  # encodes every text, and looks at every label
        print(line, file=sys.stderr)
    unknown = data.split_facts("train")["unknown_share"]
    if unknown > MANY_UNKNOWN and checked["lm"].config.data.tokenizer == {"pretrained": start}:
        cure = '--lm.data.tokenizer "{kind: word, lowercase: true}" learns them'
        print(f"{unknown:.0%} of the words are unknown to the language model: {cure}", file=sys.stderr)

    request = {name: cli.identity["recipe"] for name, cli in checked.items()}
    request["rows"] = {split: rows_md5(rows) for split, rows in data.source.splits.items()}
    out = place(own.get("output_dir"), request)
    write_splits(out / "data", data)
    reports = {}
    for number, (name, stage) in enumerate(stages.items(), 1):
        title(f"{number}/{len(stages)}  {stage.title}")
        given = [*read[name], ("model.pretrained", start), ("data.path", str(out / "data"))]
        if checked[name].config.data.splits:  # names of files that now have others
            given.append(("data.splits", "null"))
        try:
            reports[name] = stage.fit(out / name, *given)
        except (KeyboardInterrupt, SystemExit):
            print(f"to go on with both stages: the same finetune command with --output_dir {out}", file=sys.stderr)
            raise
        start = str(out / name)
    split = list(data.source.splits)[-1]  # test, if there is one
    print(f"\n{figures(reports, split)}, after {minutes(began)}\n")
    print(NEXT.format(out=out, split=split), end="")


def recurrent_language_model(name: str) -> str:
    """The model folder that `name` means. Raises ValueError, OSError where it is no language model of the family."""
    folder = model_folder(name)
    if (found := architecture(folder)) != "RnnForCausalLM":
        raise ValueError(
            f"{name!r} holds a {found}; finetune starts from a recurrent language model (RnnForCausalLM), as "
            "`rnn-hf fit --config custom/language_modeling` trains one"
        )
    return folder


def several_labels(own: dict[str, str], options: Options) -> Options:
    """What makes the classifier multi-label where a row has a list of labels, unless options or a recipe say it."""
    said = ("config", "data.multi_label", "data.label_separator", "data.splits")
    if any(name.startswith(said) for name, _ in options):
        return []
    first = find_data_set(own["data"]).first_value("train", own.get("label_column", "label"))
    return [("data.multi_label", "true")] if isinstance(first, list) else []


def place(given: str | None, request: dict[str, Any]) -> Path:
    """Where the run writes, or goes on: its folder, with the request in it.

    Raises ValueError for a folder that holds another run, or something else.
    """
    out = Path(given).expanduser() if given is not None else last_run("finetune")
    if out is not None and (out / REQUEST).is_file():
        before = json.loads((out / REQUEST).read_text(encoding="utf-8"))
        changed = differences(before, request)
        if not changed and (given is not None or not finished(out / "classifier")):
            print(f"going on in {out}", file=sys.stderr)
            return out
        if given is not None:
            raise ValueError(
                f"{given!r} holds another run and cannot go on as this one: give another --output_dir. It differs in "
                f"{'; '.join(changed[:5])}" + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
            )
    out = run_folder(given, "finetune")
    out.mkdir(parents=True, exist_ok=True)
    with whole_file(out / REQUEST) as file:
        json.dump(request, file, indent=2)
    return out


def write_splits(folder: Path, data: ClassificationDataModule) -> None:
    """The rows of each split as `data` reads them, in JSON lines; what is there already is the same."""
    folder.mkdir(exist_ok=True)
    for split, rows in data.source.splits.items():
        if not (folder / f"{split}.jsonl").exists():
            with whole_file(folder / f"{split}.jsonl") as file:
                for text, label in zip(rows.texts, rows.labels, strict=True):
                    if data.label_separator is not None:
                        label = data.label_separator.join(label)
                    row = {data.text_column: text, data.label_column: label}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")


def figures(reports: dict[str, dict[str, Any]], split: str) -> str:
    """Accuracy with its interval beside the majority's, and the language model's perplexity, of held-out texts."""
    metrics, baselines = reports["classifier"]["metrics"], reports["classifier"]["data"]["baselines"]
    name = next(name for name in ("accuracy", "subset_accuracy") if f"{split}/{name}" in metrics)
    accuracy, rows = metrics[f"{split}/{name}"], metrics[f"{split}/rows"]
    low, high = wilson(accuracy, rows)
    return (
        f"On {rows:,} held-out texts ({split}): {name} {accuracy:.3f} (95 % interval {low:.3f} to {high:.3f}; always "
        f"the commonest answer: {baselines[f'{split}/majority_{name}']:.3f})\n"
        f"The language model's perplexity on them: {reports['lm']['metrics'][f'{split}/perplexity']:.1f}"
    )
