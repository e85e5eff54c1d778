"""`rnn-hf info FOLDER_OR_ID`: what a model is, what it was trained on, and what it reached."""

from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import ModelCard, snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from transformers import AutoTokenizer
from transformers.utils import logging

from ..cards.facts import Facts, read_facts
from ..cards.markdown import megabytes
from ..hub.staging import TRAVELS, open_folder
from ..models.manifest import MANIFEST, check_manifest, read_manifest
from .common import Parser, model_folder

FEATURES = 10  # of each label


def run(argv: list[str]) -> None:
    parser = Parser(prog="rnn-hf info", description=__doc__)
    parser.add_argument("folder", help="run folder, model folder or Hub id")
    parser.add_argument("--revision", metavar="REVISION", help="of a Hub id: branch, tag or commit; default: main")
    arguments = parser.parse_args(argv)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = local_folder(arguments.folder, arguments.revision)
    facts = read_facts(folder)
    lines = dict(described(facts))
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:<{width}}  {value}")
    model = open_folder(folder)
    if hasattr(model, "weightiest_features"):
        for label, features in model.weightiest_features(AutoTokenizer.from_pretrained(folder), FEATURES).items():
            print(f"{label}: {', '.join(f'{feature} {weight:.3g}' for feature, weight in features)}")


def local_folder(name: str, revision: str | None = None) -> Path:
    """The model folder that `name` means; of a Hub id the copy in the cache."""
    found = model_folder(name)
    if Path(found).is_dir():
        if revision is not None:
            raise ValueError(f"--revision is for a Hub id, and {name!r} is a folder")
        return Path(found)
    try:
        return Path(snapshot_download(found, revision=revision, allow_patterns=[*TRAVELS, MANIFEST]))
    except (HfHubHTTPError, FileNotFoundError) as error:
        raise FileNotFoundError(f"no folder {name!r} is here, and the Hub does not give it: {error}") from error


def described(facts: Facts) -> Iterator[tuple[str, str]]:
    """(name, value) of each fact that the folder states."""
    get, config = facts.get, facts.config
    yield "model", f"{facts.architecture} ({config.get('model_type')}), a {facts.task.what}"
    if facts.parameters:
        yield "size", f"{facts.parameters:,} parameters, {megabytes(facts.weight_bytes)}"
    if size := config.get("vocab_size"):
        yield "vocabulary", f"{size:,} tokens"
    if facts.labels:
        yield "labels", ", ".join(facts.labels)
    if facts.dataset:
        counts = ", ".join(f"{split} {next(iter(c.values()), 0):,}" for split, c in facts.splits.items() if c)
        yield "data", f"{facts.dataset}" + (f" ({counts})" if counts else "")
    for name, value in get("metrics", default={}).items():
        if isinstance(value, int | float):
            yield name, f"{value:.6g}"
    if (steps := get("steps")) is not None:
        done = f"{steps:,} steps" if steps else "one pass"
        yield "trained", done + (f" in {get('wall_seconds'):,.0f} s" if get("wall_seconds") else "")
    if versions := get("versions"):
        yield "versions", ", ".join(f"{name} {version}" for name, version in versions.items())
    card = facts.folder / "README.md"
    licence = ModelCard.load(card, ignore_metadata_errors=True).data.license if card.is_file() else None
    yield "licence", str(licence or "none stated")
    manifest = facts.folder / MANIFEST
    if manifest.is_file():
        check_manifest(manifest)
        yield "files", f"the {len(read_manifest(manifest.read_text()))} files of {MANIFEST} that are here are unchanged"
