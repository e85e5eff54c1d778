"""`rnn-hf convert CKPT FOLDER`: make a training checkpoint a Hugging Face folder, with the best weights it knows."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from ..cards import refresh
from ..hub.staging import opener
from ..models.text_model import TextPreTrainedModel
from ..training.checkpoint_files import CheckpointFiles, newest_checkpoint
from ..training.checkpoints import KEY
from ..training.export import write_model_folder
from .common import Parser
from .resume import CHECKPOINTS

EXAMPLES = """examples:
  rnn-hf convert runs/mine best_so_far
  rnn-hf convert runs/mine/checkpoints/step-00000420.ckpt best_so_far"""


def run(argv: list[str]) -> None:
    parser = Parser(prog="rnn-hf convert", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint, or a run folder: its newest one")
    parser.add_argument("folder", metavar="FOLDER", help="a new folder")
    arguments = parser.parse_args(argv)
    path, folder = _checkpoint(Path(arguments.checkpoint).expanduser()), Path(arguments.folder).expanduser()
    if folder.exists():
        raise FileExistsError(f"{arguments.folder!r} is there already: give a new folder")
    checkpoint = CheckpointFiles().load_checkpoint(path)
    texts = checkpoint.get(KEY, {}).get("texts") or {}
    if "config.json" not in texts:
        raise ValueError(f"{path} is no checkpoint of `rnn-hf fit`: it holds weights without their configuration")
    weights, figures = _best(checkpoint)
    with tempfile.TemporaryDirectory() as temporary:
        for name, text in texts.items():
            (Path(temporary) / name).write_text(text, encoding="utf-8")
        config, tokenizer = AutoConfig.from_pretrained(temporary), AutoTokenizer.from_pretrained(temporary)
    model: TextPreTrainedModel = opener(config).from_config(config)
    model.load_state_dict(weights)
    report = {**json.loads(texts["metrics.json"]), **figures, "parameters": model.num_parameters()}
    write_model_folder(folder, model, tokenizer, report, texts["recipe.yaml"])
    refresh(folder)
    print(f"wrote {folder}: the {'best' if figures['metrics'] else 'last'} weights, of step {figures['best_step']}")
    evaluated = checkpoint["callbacks"].get("BestWeights", {}).get("evaluated_step")
    if evaluated not in (None, checkpoint["global_step"]):  # a checkpoint is written before the evaluation of its step
        print(f"those of step {checkpoint['global_step']} were not evaluated by then", file=sys.stderr)
    if (finished := Path(arguments.checkpoint).expanduser() / "model").is_dir():
        print(f"the run is finished: the best weights of all are in {finished}", file=sys.stderr)


def _checkpoint(path: Path) -> Path:
    if not path.is_dir():
        return path
    newest = newest_checkpoint(path / CHECKPOINTS) or newest_checkpoint(path)
    if newest is None:
        raise FileNotFoundError(f"{str(path)!r} holds no complete checkpoint, nor does its {CHECKPOINTS}/")
    return newest


def _best(checkpoint: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The weights of the best evaluation so far, or the last ones where there was none; and the report's figures."""
    best, step = checkpoint["callbacks"].get("BestWeights", {}).get("best"), checkpoint["global_step"]
    if best is not None:
        names = {"metrics": "metrics", "reports": "reports", "best_step": "step", "best_epoch": "epoch"}
        return best["weights"], {name: best[key] for name, key in names.items()} | {"steps": step}
    prefix = "model."  # of a LightningModule's one model
    weights = {key.removeprefix(prefix): w for key, w in checkpoint["state_dict"].items() if key.startswith(prefix)}
    return weights, {"metrics": {}, "reports": {}, "best_step": step, "steps": step}
