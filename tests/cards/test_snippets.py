"""The snippets of the cards of every family: each runs as it stands, with rnn-hf and without it."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rnn_hf as package
from rnn_hf import train_word_tokenizer
from rnn_hf.cards import refresh
from rnn_hf.cli import main
from rnn_hf.hub.staging import write_code

from ..models.conftest import MODELS

# fields -> what stands in the place of the default
VARIANTS = {
    "rnn-lstm classifier": [
        {"problem_type": "multi_label_classification"},
        {"problem_type": "regression", "num_labels": 1},
    ],
}
TEXTS = ['the film\'s $5 "plot" is\tdull', "it is \\ good!", "a film \u202ewith a mark"]
RUN_ALL = """
import json, os, sys, traceback
for folder, blocks in json.load(sys.stdin).items():
    os.chdir(folder)
    for code in blocks:
        print(f"--- {folder}\\n{code}\\n---", file=sys.stderr, flush=True)
        exec(compile(code, "README.md", "exec"), {})
"""


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    """Folder -> (language, code) of each snippet of its card; every kind of model, and texts that are hard to quote."""
    made, torch_state = {}, torch.get_rng_state()
    words = [f"word{i}" for i in range(60)]
    tokenizer = train_word_tokenizer([" ".join(["the film is good it a", *words])] * 2, vocab_size=41)
    for name, maker in MODELS.items():
        for number, fields in enumerate([{}, *VARIANTS.get(name, [])]):
            folder = tmp_path_factory.mktemp("cards") / f"{name.replace(' ', '_')}_{number}"
            torch.manual_seed(0)
            model = maker(**fields)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            write_code(model, folder)
            (folder / "metrics.json").write_text(json.dumps({"data": {"sample_texts": TEXTS}}))
            text = refresh(folder).read_text()
            made[str(folder)] = re.findall(r"^```(\w+)\n(.*?)^```", text, re.M | re.S)
    torch.set_rng_state(torch_state)
    return made


def run_all(blocks, path):
    """Runs the Python of each folder in one new process, which finds modules at `path` first."""
    environment = os.environ | {"PYTHONPATH": str(path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL], input=json.dumps(blocks), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done


def test_every_card_has_a_snippet_for_each_way_to_load(cards):
    for folder, blocks in cards.items():
        languages = [language for language, _ in blocks]
        if "_other" in folder and "tagger" not in folder:  # an encoder has no pipeline and no command
            assert languages == ["python", "python"], folder
        elif "classifier_2" in folder:  # `rnn-hf predict` gives labels
            assert languages == ["python", "python", "python"], folder
        else:
            assert languages == ["python", "python", "bash", "python"], folder


def test_python_snippets_run_with_rnn_hf(cards):
    blocks = {
        folder: [code for language, code in found if language == "python" and "import rnn_hf" in code]
        for folder, found in cards.items()
    }
    assert all(len(found) in (1, 2) for found in blocks.values())
    run_all(blocks, Path(package.__file__).parents[1])


def test_python_snippets_run_without_rnn_hf(cards, tmp_path):
    (tmp_path / "rnn_hf").mkdir()
    (tmp_path / "rnn_hf" / "__init__.py").write_text("raise ImportError('rnn-hf is not here')\n")
    remote = "trust_remote_code=True"
    blocks = {folder: [code for _, code in found if remote in code] for folder, found in cards.items()}
    assert all(len(found) == 1 for found in blocks.values())
    done = run_all(blocks, tmp_path)
    assert "Do you wish to run the custom code" not in done.stdout + done.stderr


def test_shell_snippets_run(cards, monkeypatch, capsys):
    found = [(folder, code) for folder, blocks in cards.items() for language, code in blocks if language == "bash"]
    assert len(found) > 15
    for folder, code in found:
        monkeypatch.chdir(folder)
        command, *words = shlex.split(code)
        assert (command, main(words)) == ("rnn-hf", 0), (folder, capsys.readouterr().err)
        assert capsys.readouterr().out.strip(), folder
