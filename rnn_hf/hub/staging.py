"""What travels: the files of a model folder that belong to the model, and the code that opens it without rnn-hf."""

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path

import transformers
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.dynamic_module_utils import custom_object_save

from ..models import auto

# Nothing else of a folder is pushed: not checkpoints with optimiser states, caches, notes or a forgotten .env.
TRAVELS = (
    "config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt",
    "chat_template.*", "metrics.json", "recipe.yaml", "*.png", "README.md", "LICENSE*",
)  # fmt: skip


def travels(name: str) -> bool:
    """Whether a file of that name is part of a model."""
    return any(fnmatch(name, pattern) for pattern in TRAVELS)


def left_out(folder: Path) -> list[str]:
    """What the folder holds beside the model."""
    own = {"SHA256SUMS", "__pycache__"}  # the first is written anew, the code comes from the package
    return sorted(p.name for p in folder.iterdir() if not travels(p.name) and p.name not in own and p.suffix != ".py")


def opener(config: PreTrainedConfig) -> type:
    """The Auto class that opens a model of rnn-hf with the class that it was saved as.

    Raises:
        ValueError: the configuration is of no model of rnn-hf.
    """
    architecture = (config.architectures or ["unnamed"])[0]
    head = architecture[architecture.find("For") :] if "For" in architecture else ""
    auto_class = getattr(transformers, f"AutoModel{head}", None)
    if auto_class is None or type(config) not in auto.FAMILIES:
        raise ValueError(f"config.json must be of a model of rnn-hf; its architectures are {config.architectures}")
    return auto_class


def open_folder(folder: Path) -> PreTrainedModel:
    """The model of a folder, as whoever downloads it will open it.

    Raises:
        ValueError, OSError: it does not open, is not a model of rnn-hf, or has no tokenizer.
    """
    if not (folder / "tokenizer.json").is_file():
        raise FileNotFoundError(f"{folder} holds no tokenizer.json: save the model's tokenizer there")
    return opener(AutoConfig.from_pretrained(folder)).from_pretrained(folder)


def stage(folder: Path, target: Path) -> PreTrainedModel:
    """Copies to `target` what travels, with the code and an `auto_map` of every class of the family.

    Raises what `open_folder` raises.
    """
    model = open_folder(folder)
    for path in sorted(folder.iterdir()):
        if path.is_file() and travels(path.name):
            shutil.copyfile(path, target / path.name)
    write_code(model, target)
    return model


def write_code(model: PreTrainedModel, folder: Path) -> None:
    """Adds the modelling files and the `auto_map` that names every class of the family to a saved model."""
    custom_object_save(model, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = dict(model.AUTO_MAP)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file."""
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def same_model(theirs: str | None, ours: Path) -> str | None:
    """None if the `config.json` of a repository is of the same model as that of a folder; else what differs."""
    try:
        there = json.loads(theirs or "")
    except ValueError:
        return "it holds no model"
    here = json.loads((ours / "config.json").read_text(encoding="utf-8"))
    for name in ("model_type", "architectures", "id2label"):
        if there.get(name) != here.get(name):
            return f"its {name} is {there.get(name)}, not {here.get(name)}"
    return None
