"""Tiny data of the shape that a recipe reads, so that it can be tried where its own data set is not."""

import copy
import json
import random
from pathlib import Path
from typing import Any

ROWS = {"train": 64, "validation": 16, "test": 16}
WORDS_A_ROW = 24
TAGS = ("O", "B-X", "I-X")  # in this order valid spans too


def on_tiny_data(recipe: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`recipe` with the data set in `folder` that is written here, from scratch: no other file and no Hub is needed.

    Texts are made of random words (as many as an adaptive head's cutoffs ask for), labels are those that the recipe
    names, or two. `folder` gets train, validation and test in JSON lines, and word vectors where the recipe reads some.
    """
    recipe = copy.deepcopy(recipe)
    data, model = recipe.setdefault("data", {}), recipe.setdefault("model", {})
    config = model.setdefault("config", {})
    words = [f"w{i}" for i in range(max([60, *(cutoff + 10 for cutoff in config.get("adaptive_cutoffs") or [])]))]
    for split, rows in ROWS.items():
        with open(folder / f"{split}.jsonl", "w", encoding="utf-8") as file:
            for row in _rows(recipe["task"], data, words, rows, seed=split):
                file.write(json.dumps(row) + "\n")
    data["dataset"] = str(folder)
    for key in ("path", "splits"):
        data.pop(key, None)
    tokenizer = data.get("tokenizer")
    if isinstance(tokenizer, dict) and "pretrained" in tokenizer:
        del data["tokenizer"]
    if model.pop("pretrained", None) is not None:
        model["config"] = {key: value for key, value in config.items() if key != "vocab_size"}
    for section, key in ((model, "word_vectors"), (tokenizer, "extra_words")):
        if isinstance(section, dict) and section.get(key) is not None:
            section[key] = str(_write_vectors(folder / "vectors.txt", words, config.get("embedding_size", 50)))
    return recipe


def _rows(task: str, data: dict[str, Any], words: list[str], rows: int, seed: str) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    texts = [draw.choices(words, k=WORDS_A_ROW) for _ in range(rows)]
    if seed == "train":  # each word once, so that an adaptive head's clusters are all there
        texts += [words[i : i + WORDS_A_ROW] for i in range(0, len(words), WORDS_A_ROW)]
    # enough tokens for a lane each
    texts *= -(-4 * data.get("batch_size", 32) // (len(texts) * WORDS_A_ROW))
    if task == "language_modeling":
        return [{data.get("text_column", "text"): " ".join(text)} for text in texts]
    if task == "tagging":
        columns = data.get("text_column", "tokens"), data.get("label_column", "tags")
        return [dict(zip(columns, (text, [TAGS[i % 3] for i in range(len(text))]), strict=True)) for text in texts]
    columns = data.get("text_column", "text"), data.get("label_column", "label")
    weights = data.get("class_weights")
    names = [str(name) for name in weights] if isinstance(weights, dict) else ["no", "yes"]
    labels: list[Any] = [names[i % len(names)] for i in range(len(texts))]
    if data.get("label_separator") is not None:
        labels = [data["label_separator"].join(names[: 1 + i % len(names)]) for i in range(len(texts))]
    elif data.get("multi_label"):
        labels = [names[: 1 + i % len(names)] for i in range(len(texts))]
    return [dict(zip(columns, (" ".join(text), label), strict=True)) for text, label in zip(texts, labels, strict=True)]


def _write_vectors(file: Path, words: list[str], width: int) -> Path:
    draw = random.Random(0)
    lines = (" ".join([word, *(f"{draw.gauss(0, 1):.4f}" for _ in range(width))]) for word in words)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file
