"""The end of every run: one Hugging Face folder with the weights and all that is needed to use and repeat them."""

import copy
import json
import platform
import re
import shutil
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .. import __version__
from ..files import flush_to_disk
from ..models.manifest import write_manifest

UNITS = {
    "loss": "nats per token (language models) or per row (classifiers; several labels a row: per row and label)",
    "loss_standard_error": "nats per token, from the means of blocks of neighbouring batches",
    "perplexity": "exp(nats per token), over every token",
    "bits_per_character": "bits per character (code point) of the text, a line break for each <eos> counted",
    "bits_per_byte": "bits per byte of the text in UTF-8, a line break for each <eos> counted",
    "accuracy": "share of rows, 0 to 1",
    "subset_accuracy": "share of rows whose every label is right, 0 to 1",
    "f1_macro": "mean F1 of the labels that occur, 0 to 1",
    "f1_micro": "F1 of all labels' counts together, 0 to 1",
    "calibration_error": "expected calibration error: mean |accuracy - confidence| over 15 bins, 0 to 1",
    "confusion_matrix": "rows; true labels downward, predicted labels across, in the order of the labels",
    "zero_probability_share": "share of tokens with probability 0, 0 to 1; above 0 the perplexity is infinite (null)",
    "evaluation_seconds": "seconds, one evaluation of the split with the saved weights, reading its batches included",
    "wall_seconds": "seconds, training and evaluation",
}


def versions() -> dict[str, str]:
    """Versions of what a run's numbers depend on."""
    packages = ("torch", "transformers", "tokenizers", "lightning", "datasets")
    return {"rnn-hf": __version__, "python": platform.python_version()} | {name: version(name) for name in packages}


def readable_json(value: Any) -> str:
    """Indented JSON with a line for each list of numbers, and not for each number."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    # No string is touched: none holds a line break.
    return re.sub(r"\[\n[-+\d.e,\snul]*\]", lambda match: f"[{' '.join(match[0][1:-1].split())}]", text)


def folder_texts(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, report: dict[str, Any], recipe: str
) -> dict[str, str]:
    """The files of a model folder but for its weights, as far as a run knows them beforehand: what a checkpoint needs
    to become such a folder."""
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        texts = {path.name: path.read_text(encoding="utf-8") for path in Path(folder).iterdir()}
    return texts | {"metrics.json": json.dumps(report), "recipe.yaml": recipe}


def write_model_folder(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    metrics: dict[str, Any],
    recipe: str,
    pictures: Sequence[Path] = (),
) -> None:
    """Writes weights, config, tokenizer, generation config, `metrics.json`, `recipe.yaml`, those of the `pictures`
    that are there, and a manifest to `folder`, all or nothing.

    Raises:
        FileExistsError: `folder` is there already.
        OSError: it cannot be written; then nothing is left.
    """
    if folder.exists():
        raise FileExistsError(f"{str(folder)!r} exists already")
    # Beside the target: a rename is atomic within one file system only.
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        try:
            model.save_pretrained(partial)
        except SafetensorError as error:  # what safetensors makes of an OSError, such as a full disk
            raise OSError(f"{partial} cannot be written: {error}") from error
        tokenizer.save_pretrained(partial)
        text = readable_json({**metrics, "units": UNITS, "versions": versions()})
        (partial / "metrics.json").write_text(text, encoding="utf-8")
        (partial / "recipe.yaml").write_text(recipe, encoding="utf-8")
        for picture in pictures:
            if picture.is_file():
                shutil.copyfile(picture, partial / picture.name)
        write_manifest(partial)
        for file in partial.iterdir():
            flush_to_disk(file)
        flush_to_disk(partial)
        partial.rename(folder)
        flush_to_disk(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
