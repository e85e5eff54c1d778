"""The end of every run: one Hugging Face folder with the weights and all that is needed to use and repeat them."""

import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .. import __version__

UNITS = {
    "loss": "nats per token (language models) or per row (classifiers)",
    "perplexity": "exp(nats per token), over every token",
    "bits_per_character": "bits per character (code point) of the text, a line break for each <eos> counted",
    "bits_per_byte": "bits per byte of the text in UTF-8, a line break for each <eos> counted",
    "accuracy": "share of rows, 0 to 1",
    "wall_seconds": "seconds, training and evaluation",
}


def versions() -> dict[str, str]:
    """Versions of what a run's numbers depend on."""
    packages = ("torch", "transformers", "tokenizers", "lightning", "datasets")
    return {"rnn-hf": __version__, "python": platform.python_version()} | {name: version(name) for name in packages}


def write_model_folder(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, metrics: dict[str, Any], recipe: str
) -> None:
    """Writes weights, config, tokenizer, generation config, `metrics.json`, `recipe.yaml` to `folder`, all or nothing.

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
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        text = json.dumps({**metrics, "units": UNITS, "versions": versions()}, indent=2, ensure_ascii=False)
        (partial / "metrics.json").write_text(text + "\n", encoding="utf-8")
        (partial / "recipe.yaml").write_text(recipe, encoding="utf-8")
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
