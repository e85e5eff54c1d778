"""What a model folder says of the run that made it: the columns it read, the files it trained on, what it held out."""

from pathlib import Path
from typing import Any

from ..cards.facts import Facts, read_facts
from ..data.lanes import EVAL_STATES
from ..data.readers import MissingColumn
from ..data.sources import SPLIT_NAMES, DataSet
from ..files import md5


class TrainedRun:
    """The facts of `recipe.yaml` and `metrics.json`; none for a Hub id, or a folder with a damaged file.

    Args:
        folder: a model folder or a Hub id, as `common.model_folder` gives it.

    Attributes:
        text_column, label_column, label_separator: as the recipe has them; None where it does not say.
        eval_state: in which its figures were taken, of a language model; else None.
    """

    def __init__(self, folder: str):
        self.metrics_file = Path(folder) / "metrics.json"
        try:
            facts = read_facts(Path(folder))
        except (OSError, ValueError):
            facts = Facts(Path(folder), {})
        self.report = facts.report
        self.recipe_data, self.data = _mapping(facts.recipe, "data"), _mapping(self.report, "data")
        self.text_column, self.label_column, self.label_separator = (
            _string(self.recipe_data, name) for name in ("text_column", "label_column", "label_separator")
        )
        state = _string(self.data, "eval_state") or _string(self.recipe_data, "eval_state")
        self.eval_state = state if state in EVAL_STATES else None

    def trained_on(self, found: DataSet, split: str) -> str | None:
        """A warning that the split's file is one that the run trained on, and where held-out figures are; else None."""
        reader = found.splits.get("train" if found.is_file else split)
        if reader is None or reader.file is None or not (found.is_file or split == "train"):
            return None
        files, same = _mapping(self.data, "files"), md5(reader.file)
        splits = _mapping(self.recipe_data, "splits")
        training = {*SPLIT_NAMES["train"], Path(_string(splits, "train") or "train").stem}
        if not any(known == same and (len(files) == 1 or Path(name).stem in training) for name, known in files.items()):
            return None
        return (
            f"warning: {reader.file} is what this model was trained on: the figures are no measure of new text. "
            f"Held-out figures are in {self.metrics_file}{self._held_out()}"
        )

    def _held_out(self) -> str:
        monitor, metrics = _string(self.report, "monitor") or "", _mapping(self.report, "metrics")
        names = (f"test/{monitor.removeprefix('validation/')}", monitor)
        return next((f": {name} {metrics[name]:.4g}" for name in names if isinstance(metrics.get(name), float)), "")


def readable_column(found: DataSet, split: str, trained: str | None, usual: str) -> str:
    """The column that the model was trained on if the split has it, else the `usual` one."""
    if trained not in (None, usual):
        try:
            found.first_value(split, trained)
            return trained
        except MissingColumn:
            pass
    return usual


def _mapping(holder: dict[str, Any], name: str) -> dict[str, Any]:
    return found if isinstance(found := holder.get(name), dict) else {}


def _string(holder: dict[str, Any], name: str) -> str | None:
    return found if isinstance(found := holder.get(name), str) else None
