"""A model in memory goes to the Hub: what `model.push_to_hub` does."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..models.manifest import sha256
from .push import Push, PushOptions
from .staging import TRAVELS, travels

OF_THE_WEIGHTS = ("metrics.json", "recipe.yaml", "README.md")  # what is said in them is true of one set of weights


def push_model(
    model: PreTrainedModel,
    repo_id: str,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    token: str | None = None,
    dry_run: bool = False,
    commit_message: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    **options: Any,
) -> str:
    """Pushes a model as `Push.run` does a folder; `private`, `revision` and `commit_message` are named as transformers
    names them, None is the default.

    Of the folder or repository that the model was loaded from its tokenizer comes along and, if the weights are still
    the same, the card, the metrics, the recipe and the pictures too.

    Args:
        tokenizer: in the place of the folder's.
        options: further fields of `PushOptions`.

    Raises:
        TypeError: an unknown option.
        ValueError, OSError: as `Push.run`; no tokenizer.
    """
    chosen = PushOptions(
        repo_id, private=private is not False, revision=revision or "main", message=commit_message, **options
    )
    origin = Path(model.name_or_path or "nowhere")
    if (commit := model.hub_commit) is not None:
        origin = Path(snapshot_download(model.name_or_path, revision=commit, allow_patterns=[*TRAVELS], token=token))
    with tempfile.TemporaryDirectory(prefix="rnn-hf-model-") as temporary:
        folder = Path(temporary) / repo_id.rpartition("/")[2]
        model.save_pretrained(folder)
        if origin.is_dir():
            weights = sorted(folder.glob("*.safetensors"))
            same = all((origin / w.name).is_file() and sha256(origin / w.name) == sha256(w) for w in weights)
            for path in origin.iterdir():
                true = same or not (path.name in OF_THE_WEIGHTS or path.suffix == ".png")
                if path.is_file() and travels(path.name) and true and not (folder / path.name).exists():
                    shutil.copyfile(path, folder / path.name)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
        if not (folder / "tokenizer.json").is_file():
            raise ValueError("a model is pushed with its tokenizer: give push_to_hub(..., tokenizer=tokenizer)")
        return Push(chosen, token).run(folder, dry_run)
