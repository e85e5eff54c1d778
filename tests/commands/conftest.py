"""A language model and a classifier trained for seconds by `rnn-hf fit`, shared by the tests of the other verbs."""

import io
import random
import sys

import pytest

from rnn_hf.cli import main

GOOD, BAD = ["good", "great", "moving", "honest", "fine", "funny"], ["bad", "dull", "awful", "slow", "boring", "weak"]
FILL = ["the", "a", "film", "movie", "story", "plot", "is", "was", "very", "quite", "of", "and", "with"]


def write_reviews(path, rows, seed):
    draw = random.Random(seed)
    lines = []
    for i in range(rows):
        words = [draw.choice(FILL) for _ in range(draw.randint(2, 15))]
        words.insert(draw.randrange(len(words)), draw.choice(GOOD if i % 2 else BAD))
        lines.append(f"{' '.join(words)},{'positive' if i % 2 else 'negative'}")
    path.write_text("text,label\n" + "\n".join(lines) + "\n")


RECIPES = {
    "lm.yaml": """\
task: language_modeling
model: {config: {embedding_size: 12, hidden_size: 12}, learning_rate: 0.02}
data: {dataset: reviews, batch_size: 8, sequence_length: 12}
trainer: {max_epochs: 3, accelerator: cpu}
""",
    "classifier.yaml": """\
task: classification
model: {config: {embedding_size: 12, hidden_size: 12, bidirectional: true, pooling: max}, learning_rate: 0.02}
data: {dataset: reviews}
trainer: {max_epochs: 3, accelerator: cpu}
""",
}


def write_workplace(folder):
    (folder / "reviews").mkdir()
    for split, rows in {"train": 300, "validation": 60, "test": 61}.items():
        write_reviews(folder / "reviews" / f"{split}.csv", rows, seed=rows)
    for name, text in RECIPES.items():
        (folder / name).write_text(text)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with reviews/, two recipes and the run folders that `rnn-hf fit` made of them."""
    folder = tmp_path_factory.mktemp("workplace")
    write_workplace(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("lm", "classifier"):
            assert main(["fit", "--config", f"{name}.yaml"]) == 0
    return folder


@pytest.fixture
def workplace(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return trained


@pytest.fixture
def type_in(monkeypatch):
    """Puts a text on standard input."""
    return lambda text: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


@pytest.fixture
def rnn_hf(capfd):
    """Runs the command in this process: (exit code, standard output, standard error)."""

    def run(*argv):
        capfd.readouterr()
        code = main([str(a) for a in argv])
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return code, out, err

    return run
