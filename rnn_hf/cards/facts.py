"""What a model folder says of itself, read from its files alone; a folder may have few of them."""

import json
import math
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open


@dataclass(frozen=True)
class Task:
    """What a head is for: the Hub's `pipeline_tag`, the Auto class that opens it, and words for people."""

    pipeline_tag: str
    auto_class: str
    what: str
    verb: str  # of `rnn-hf`


TASKS = {
    "ForCausalLM": Task("text-generation", "AutoModelForCausalLM", "language model", "generate"),
    "ForSequenceClassification": Task(
        "text-classification", "AutoModelForSequenceClassification", "text classifier", "predict"
    ),
    "ForTokenClassification": Task("token-classification", "AutoModelForTokenClassification", "tagger", "predict"),
}
ENCODER = Task("feature-extraction", "AutoModel", "encoder", "info")


@dataclass(frozen=True)
class Facts:
    """The files of a model folder as mappings, empty where a file is absent.

    Attributes:
        config: `config.json`. report: `metrics.json`. recipe: `recipe.yaml`. tokenizer: `tokenizer_config.json`.
    """

    folder: Path
    config: dict[str, Any]
    report: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, Any] = field(default_factory=dict)

    def get(self, *path: str, default: Any = None) -> Any:
        """What stands at that place of the report; `default` where it does not go that far."""
        found: Any = self.report
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return default if found is None else found

    @property
    def architecture(self) -> str:
        """The class name, such as `RnnForCausalLM`; "" where the configuration names none."""
        return str((self.config.get("architectures") or [""])[0])

    @property
    def task(self) -> Task:
        task = next((task for ending, task in TASKS.items() if self.architecture.endswith(ending)), ENCODER)
        return replace(task, verb="score") if task.verb == "generate" and self.reads_backward else task

    @property
    def reads_backward(self) -> bool:
        """Whether it reads texts from their end: a language model then continues none."""
        return self.config.get("direction") == "backward"

    @property
    def labels(self) -> list[str]:
        """Names of the labels by id, of a head that has them; transformers' LABEL_0, LABEL_1 are no names."""
        named = self.config.get("id2label") or {}
        labels = [str(named[key]) for key in sorted(named, key=int)]
        return [] if labels == [f"LABEL_{i}" for i in range(len(labels))] else labels

    @property
    def gives_a_number(self) -> bool:
        return self.config.get("problem_type") == "regression"

    @property
    def several_labels(self) -> bool:
        """Whether a text may have several labels, or none."""
        return self.config.get("problem_type") == "multi_label_classification"

    @property
    def has_code(self) -> bool:
        """Whether it opens with `trust_remote_code=True` where rnn-hf is not installed."""
        return bool(self.config.get("auto_map"))

    @property
    def has_tokenizer(self) -> bool:
        return bool(self.tokenizer)

    @property
    def dataset(self) -> str | None:
        """The data set's name; of a local file or folder no more than its last part."""
        name = self.get("data", "dataset")
        return Path(name).name if name and self.get("data", "place") == "local files" else name

    @property
    def hub_dataset(self) -> str | None:
        """The Hub id that the text was read from, if it was."""
        place = re.match(r"the Hub, ([\w.-]+/[\w.-]+)", str(self.get("data", "place")))
        return place[1] if place else None

    @property
    def splits(self) -> dict[str, dict[str, Any]]:
        """Counts of each split."""
        return self.get("data", "splits", default={})

    @property
    def reported_split(self) -> str | None:
        """The split whose figures are the model's: test, or validation where there is no test split."""
        metrics = self.get("metrics", default={})
        return next((s for s in ("test", "validation") if any(key.startswith(f"{s}/") for key in metrics)), None)

    @cached_property
    def tensors(self) -> dict[str, list[int]]:
        """The shape of each tensor of the weights."""
        shapes = {}
        for file in self.weight_files:
            try:
                with safe_open(file, "numpy") as opened:
                    shapes |= {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118
            except SafetensorError as error:
                raise ValueError(f"{file} is damaged: {error}") from error
        return shapes

    @property
    def weight_files(self) -> list[Path]:
        return sorted(self.folder.glob("model*.safetensors"))

    @property
    def parameters(self) -> int | None:
        counted = sum(map(math.prod, self.tensors.values())) or None
        return self.get("parameters", default=counted)

    @property
    def weight_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.weight_files)


def read_facts(folder: Path) -> Facts:
    """The facts of a model folder.

    Raises:
        FileNotFoundError: no such folder, or no `config.json` in it.
        ValueError: a file of it is damaged.
    """
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{str(folder)!r} holds no model: expected config.json in it")
    config, report, tokenizer = (_json(folder / name) for name in
                                 ("config.json", "metrics.json", "tokenizer_config.json"))  # fmt: skip
    return Facts(folder, config, report, _yaml(folder / "recipe.yaml"), tokenizer)


def _json(file: Path) -> dict[str, Any]:
    return _mapping(file, json.loads)


def _yaml(file: Path) -> dict[str, Any]:
    return _mapping(file, yaml.safe_load)


def _mapping(file: Path, parse) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        found = parse(file.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} must hold a mapping; got {type(found).__name__}")
    return found
