"""Every Python and `rnn-hf` line of the README runs, in order, against models trained for seconds."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rnn_hf import RnnConfig, RnnForCausalLM, RnnForSequenceClassification, train_word_tokenizer

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
REVIEWS = [("a moving and honest film", "positive"), ("two dull hours", "negative"), ("it is never dull", "positive")]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with what the quickstart would have left, small, and a file of one's own reviews."""
    folder = tmp_path_factory.mktemp("readme")
    tokenizer = train_word_tokenizer([text for text, _ in REVIEWS] + ["the film is slow but good"])
    sizes = {"vocab_size": len(tokenizer), "embedding_size": 8, "hidden_size": 8, "pad_token_id": 0}
    lm = RnnForCausalLM(RnnConfig(**sizes, bos_token_id=2, eos_token_id=2))
    classifier = RnnForSequenceClassification(RnnConfig(**sizes, id2label={0: "negative", 1: "positive"},
                                                        label2id={"negative": 0, "positive": 1}))  # fmt: skip
    for name, model in {"language_model": lm, "sentiment": classifier}.items():
        model.save_pretrained(folder / "runs" / "quickstart" / name / "model")
        tokenizer.save_pretrained(folder / "runs" / "quickstart" / name / "model")
    rows = "".join(f"{text} {i},{label}\n" for i in range(10) for text, label in REVIEWS)
    for name in ("reviews.csv", "new_reviews.csv"):
        (folder / name).write_text("text,label\n" + rows)
    return folder


def run(arguments, folder):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_readme_has_examples_for_its_three_users():
    languages = [language for language, _ in BLOCKS]
    assert languages.count("python") >= 4
    assert languages.count("bash") >= 3


@pytest.mark.parametrize("code", [code for language, code in BLOCKS if language == "python"])
def test_python_blocks(code, workplace):
    run([sys.executable, "-c", code], workplace)


def test_shell_blocks(workplace):
    """`make` lines are targets of the Makefile; `rnn-hf` lines run."""
    lines = [line for language, code in BLOCKS if language == "bash" for line in code.splitlines()]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    verbs = set()
    for line in lines:
        command, *arguments = shlex.split(line, comments=True)
        if command == "make":
            assert set(arguments) <= set(targets), line
            continue
        assert command == "rnn-hf", f"no way to run {line!r} here"
        if "rotten_tomatoes" in arguments:
            arguments[arguments.index("rotten_tomatoes")] = "reviews.csv"
        output = run([sys.executable, "-m", "rnn_hf.cli", *arguments], workplace)
        if "--json" in arguments:
            assert json.loads(output)["rows"] == 30
        verbs.add(arguments[0])
    assert verbs == {"generate", "score", "predict", "evaluate", "fit", "finetune"}
