"""`rnn-hf evaluate --cache --dynamic --interpolate`: figures beside the plain one, tuned on validation alone."""

import json
import math
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rnn_hf.commands import adapted
from rnn_hf.generation.adaptation import ContinuousCache, text_log_probs

from .conftest import write_reviews


@pytest.fixture(autouse=True)
def small_search(monkeypatch):
    monkeypatch.setattr(adapted, "WINDOWS", (20, 100))
    monkeypatch.setattr(adapted, "THETAS", (0.3, 1.0))
    monkeypatch.setattr(adapted, "RATES", (0.03, 0.1))
    monkeypatch.setattr(adapted, "DECAYS", (0.0, 0.01))
    monkeypatch.setattr(adapted, "TUNED_TOKENS", 200)
    monkeypatch.setattr(adapted, "BATCHES", 3)


@pytest.fixture
def evaluate(workplace, rnn_hf):
    def run(*argv, data="reviews"):
        code, out, err = rnn_hf("evaluate", "runs/lm", "--data", data, "--json", *argv)
        assert code == 0, err
        return json.loads(out), err

    return run


@pytest.fixture
def other(workplace, rnn_hf):
    """A second language model of the same words."""
    if not (workplace / "runs/other").exists():
        argv = ["--model.config.cell_type", "gru", "--trainer.max_epochs", "1", "--output_dir", "runs/other"]
        assert rnn_hf("fit", "--config", "lm.yaml", *argv)[0] == 0
    return "runs/other"


def test_each_way_has_its_own_figure_and_the_plain_one_stays(evaluate, other):
    plain, _ = evaluate()
    found, err = evaluate("--cache", "--dynamic", "--interpolate", other)
    ways = found.pop("adapted")
    assert found == plain
    assert [*ways] == ["cache", "dynamic", "interpolated", "cache + dynamic + interpolated"]
    assert all(way["perplexity"] == pytest.approx(math.exp(way["loss"])) for way in ways.values())
    assert len({way["loss"] for way in ways.values()} | {plain["loss"]}) == 5
    assert [*ways["cache + dynamic + interpolated"]["weights"]] == ["model", "cache", other]
    assert ways["cache"]["window"] in (20, 100) and ways["cache"]["theta"] in (0.3, 1.0)
    assert ways["dynamic"]["form"] == "rms" and ways["dynamic"]["rate"] in (0.03, 0.1)
    for way in ways.values():
        assert sum(way.get("weights", {"model": 1.0}).values()) == pytest.approx(1)
    validation = math.exp(evaluate("--split", "validation")[0]["loss"])
    for name in ("cache", "interpolated"):  # at weight 1 for the model they are the plain one
        assert ways[name]["validation_perplexity"] <= validation + 1e-4
    assert "perplexity" in err and "gradients on training text" in err


def test_values_that_were_tuned_give_the_figure_again_without_a_validation_split(evaluate, other):
    tuned, _ = evaluate("--cache", "--dynamic", "--interpolate", other)
    together = tuned["adapted"]["cache + dynamic + interpolated"]
    weights = together["weights"]
    cache = f"window={together['window']},theta={together['theta']},weight={weights['cache']}"
    dynamic = f"form=sgd,rate={together['rate']},decay={together['decay']}"
    argv = ["--cache", cache, "--interpolate", f"{other}={weights[other]}"]
    for data in ("reviews", "reviews/test.csv"):
        rms = ["--dynamic", dynamic.replace("sgd", "rms")] if data == "reviews" else ["--dynamic", dynamic]
        found, _ = evaluate(*argv, *rms, data=data)
        ways = found["adapted"]
        assert "validation_perplexity" not in ways["cache + dynamic + interpolated"]
        same = ways["cache + dynamic + interpolated"]["loss"] == pytest.approx(together["loss"])
        assert same == (data == "reviews")


@pytest.mark.parametrize("state", ["carried", "reset"])
def test_the_cache_s_figure_is_that_of_the_definition(workplace, evaluate, state):
    """Texts that are reset have a cache each."""
    found, _ = evaluate("--cache", "window=30,theta=0.5,weight=0.2", "--eval-state", state)
    model = AutoModelForCausalLM.from_pretrained("runs/lm/model").eval()
    tokenizer = AutoTokenizer.from_pretrained("runs/lm/model")
    rows = [line.rpartition(",")[0] for line in (workplace / "reviews/test.csv").read_text().splitlines()[1:]]
    end = tokenizer.eos_token_id
    texts = [torch.tensor([end, *tokenizer(row)["input_ids"], end]) for row in rows]
    if state == "carried":
        texts = [torch.cat([texts[0][:1], *(ids[1:] for ids in texts)])]
    of_model, of_cache = text_log_probs(model, texts, cache=ContinuousCache([30], [0.5]))
    assert len(of_model) == found["tokens"]
    assert -float(of_model.double().mean()) == pytest.approx(found["loss"], abs=1e-5)
    loss = -float((0.8 * of_model.double().exp() + 0.2 * of_cache[0].double().exp()).log().mean())
    assert found["adapted"]["cache"]["loss"] == pytest.approx(loss, abs=1e-5)


def test_nothing_is_tuned_on_the_split_that_is_reported(workplace, evaluate, tmp_path):
    """Another test split leaves every value that was tuned as it was."""
    folder = tmp_path / "others"
    shutil.copytree(workplace / "reviews", folder)
    write_reviews(folder / "test.csv", 40, seed=9)
    ways = [evaluate("--cache", "--dynamic", data=data)[0]["adapted"] for data in ("reviews", str(folder))]
    for name in ways[0]:
        ours, theirs = ({k: v for k, v in way[name].items() if k not in ("loss", "perplexity")} for way in ways)
        assert ours == theirs
        assert ways[0][name]["loss"] != ways[1][name]["loss"]


def test_a_table_for_people(workplace, rnn_hf):
    code, out, err = rnn_hf("evaluate", "runs/lm", "--data", "reviews", "--cache", "--dynamic", "form=sgd")
    assert code == 0, err
    numbers, table, values = out.rstrip("\n").split("\n\n")
    assert numbers.splitlines()[-1] == "eval_state carried"
    assert table.splitlines()[0].split() == ["with", "perplexity", "loss", "on", "validation"]
    assert len({len(line) for line in table.splitlines()}) == 1
    assert [line.split(":")[0] for line in values.splitlines()] == ["cache", "dynamic", "cache + dynamic"]
    assert "window" in values and "form sgd" in values


def test_tuning_on_what_is_reported_is_said(evaluate):
    assert "no measure of new text" in evaluate("--cache", "--split", "validation")[1]
    given = "window=30,theta=0.5,weight=0.2"
    assert "no measure of new text" not in evaluate("--cache", given, "--split", "validation")[1]


def test_a_lone_dynamic_evaluation_of_a_file_is_sgd(evaluate):
    losses = set()
    for segment in (5, 20):
        found, _ = evaluate("--dynamic", f"rate=0.1,decay=0.01,segment={segment}", data="reviews/test.csv")
        assert [*found["adapted"]] == ["dynamic"]
        ours = found["adapted"]["dynamic"]
        assert (ours["form"], ours["segment"]) == ("sgd", segment)
        losses.add(ours["loss"])
    assert len(losses) == 2


@pytest.mark.parametrize(("argv", "message"), [
    (["--cache", "windw=3"], "--cache takes window=...,theta=...,weight=..., some or none of them; got 'windw=3' (did"),
    (["--cache", "window=many"], "--cache window must be a whole number from 1 to"),
    (["--cache", "weight=1.5"], "--cache weight must be a number from 0 to below 1; got 1.5"),
    (["--dynamic", "form=adam"], "--dynamic form must be one of rms, sgd; got 'adam'"),
    (["--dynamic", "sgd"], "--dynamic takes form=...,segment=...,rate=...,decay=..., some or none of them; got 'sgd'"),
    (["--interpolate", "runs/nothing"], "no such folder: 'runs/nothing'"),
    (["--interpolate", "runs/lm=2"], "the weight in --interpolate runs/lm=2 must be a number from 0 to below 1; got 2"),
    (["--interpolate", "runs/classifier"], "holds a text classifier, not a language model"),
    (["--interpolate", "runs/lm=0.5", "--cache", "window=9,theta=1,weight=0.9"], "must add up to 1"),
    (["--data", "reviews/test.csv", "--cache", "window=20"],
     "no validation split to tune on: give a folder that has one, or the values of --cache theta=, --cache weight="),
    (["--data", "reviews/test.csv", "--dynamic", "form=rms"], "needs a train split, and reviews/test.csv has none"),
])  # fmt: skip
def test_mistakes(workplace, rnn_hf, argv, message):
    code, out, err = rnn_hf("evaluate", "runs/lm", "--data", "reviews", *argv)
    assert code != 0 and not out
    assert message in err


def test_other_words_are_refused(workplace, rnn_hf):
    if not (workplace / "runs/letters").exists():
        argv = ["--data.tokenizer", "char", "--trainer.max_epochs", "1", "--output_dir", "runs/letters"]
        assert rnn_hf("fit", "--config", "lm.yaml", *argv)[0] == 0
    code, _, err = rnn_hf("evaluate", "runs/lm", "--data", "reviews", "--interpolate", "runs/letters")
    assert code != 0 and "--interpolate takes models of one vocabulary" in err


def test_classifiers_do_not_adapt(workplace, rnn_hf):
    code, _, err = rnn_hf("evaluate", "runs/classifier", "--data", "reviews", "--cache")
    assert code != 0 and "are for language models" in err
