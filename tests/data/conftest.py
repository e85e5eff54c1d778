"""Small data sets in files."""

import csv
import random

import pytest

WORDS = ["the", "a", "film", "story", "plot", "is", "was", "good", "bad", "dull", "slow", "and", "but", "without"]


def sentences(number: int, seed: int, longest: int = 30) -> list[str]:
    """Distinct sentences of known words and about every length."""
    draw = random.Random(seed)
    return [f"{' '.join(draw.choices(WORDS, k=draw.randint(1, longest)))} n{seed}x{i}" for i in range(number)]


def write_csv(path, texts, labels):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(zip(texts, labels, strict=True))


@pytest.fixture(autouse=True)
def no_stand_ins(monkeypatch):
    """A RNN_HF_DATA of whoever runs the tests changes nothing."""
    monkeypatch.delenv("RNN_HF_DATA", raising=False)


@pytest.fixture
def labelled(tmp_path):
    """A folder of three splits, labels "no" and "yes"."""
    for seed, (split, number) in enumerate([("train", 230), ("validation", 37), ("test", 41)]):
        texts = sentences(number, seed)
        write_csv(tmp_path / f"{split}.csv", texts, ["no" if "bad" in text.split() else "yes" for text in texts])
    return tmp_path


@pytest.fixture
def running_text(tmp_path):
    """A folder of three splits of plain text, blank lines among them."""
    for seed, (split, number) in enumerate([("train", 60), ("validation", 11), ("test", 13)]):
        lines = sentences(number, seed)
        (tmp_path / f"{split}.txt").write_text("\n".join([*lines[:3], "", *lines[3:]]) + "\n", encoding="utf-8")
    return tmp_path
