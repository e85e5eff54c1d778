"""`rnn-hf finetune`: both stages of one split, their options, going on after an interruption, and what is refused."""

import csv
import json
import os
import random
import signal
import sys
import threading
from pathlib import Path

import pytest
import yaml

from rnn_hf import NgramConfig
from rnn_hf.cli import main
from rnn_hf.commands import stages
from rnn_hf.commands.finetune import RECIPES
from rnn_hf.data.splits import normal_form
from rnn_hf.recipes import find_recipe, read_recipe
from tests.reliability.interruptions import __name__ as interruptions

from .conftest import BAD, FILL, GOOD

ROWS = 80
COLUMNS = ("--text-column", "review", "--label-column", "stars")
SHORT = ("--device", "cpu", "--trainer.max_epochs", "1")


@pytest.fixture
def place(trained, tmp_path, monkeypatch):
    """An empty folder with the trained models as models/, and stages that run in this process."""
    monkeypatch.chdir(tmp_path)
    Path("models").symlink_to(trained / "runs")

    def here(command):
        try:
            return main(command[3:])
        except SystemExit as error:
            return error.code

    monkeypatch.setattr(stages, "_ended", here)
    return tmp_path


def reviews(seed=0):
    """Texts with quotes, commas and line breaks, some of them twice; every third is negative."""
    draw, rows = random.Random(seed), []
    for i in range(ROWS):
        words = [draw.choice(FILL) for _ in range(draw.randint(3, 12))]
        words.insert(draw.randrange(len(words)), draw.choice(GOOD if i % 3 else BAD))
        text = f'"{words[0]}", {" ".join(words[1:])}\n{words[0]} {i}' if i % 10 else "the film is good"
        rows.append((text, "1" if i % 3 else "0"))
    return rows


def write(name, rows, header=("review", "stars")):
    with open(name, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return name


def written(run, *names):
    """The texts of splits in a folder's data/."""
    lines = [line for name in names for line in Path(run, "data", f"{name}.jsonl").read_text().splitlines()]
    return [json.loads(line) for line in lines]


def report(folder):
    return json.loads(Path(folder, "model", "metrics.json").read_text())


def recipe(folder):
    return yaml.safe_load(Path(folder, "model", "recipe.yaml").read_text())


def test_one_split_for_both_stages(place, rnn_hf):
    rows = reviews()
    code, out, err = rnn_hf("finetune", "models/lm", "--data", write("own.csv", rows), *COLUMNS, *SHORT)
    assert code == 0, err
    train, held_out = written("runs/finetune", "train"), written("runs/finetune", "validation", "test")
    assert {(row["review"], row["stars"]) for row in [*train, *held_out]} == {*rows}
    assert not {normal_form(row["review"]) for row in train} & {normal_form(row["review"]) for row in held_out}
    assert len(train) + len(held_out) + int(err.split(" training rows removed")[0].split()[-1]) == ROWS
    assert 0 < sum(row["stars"] == "0" for row in held_out) < len(held_out)
    lm, classifier = report("runs/finetune/lm"), report("runs/finetune/classifier")
    assert lm["data"]["files"] == classifier["data"]["files"] and len(lm["data"]["files"]) == 3
    assert lm["data"]["splits"]["train"]["texts"] == classifier["data"]["splits"]["train"]["rows"] == len(train)
    assert recipe("runs/finetune/lm")["model"]["pretrained"] == "models/lm/model"
    assert recipe("runs/finetune/classifier")["model"]["pretrained"] == "runs/finetune/lm/model"
    assert "unknown" in err.partition("== 1/2")[0]
    accuracy, majority = (
        classifier["metrics"]["test/accuracy"],
        classifier["data"]["baselines"]["test/majority_accuracy"],
    )
    assert f"accuracy {accuracy:.3f}" in out and f"commonest answer: {majority:.3f}" in out
    predicted = rnn_hf("predict", "runs/finetune/classifier", "--input", "own.csv")
    assert predicted[0] == 0 and predicted[1].count("probability_0") == 1
    assert rnn_hf("evaluate", "runs/finetune/classifier", "--data", "runs/finetune/data")[0] == 0


def test_a_folder_s_own_splits_are_kept(place, trained, rnn_hf):
    code, _, err = rnn_hf("finetune", "models/lm", "--data", trained / "reviews", *SHORT, "--output_dir", "out")
    assert code == 0, err
    for split in ("validation", "test"):
        with open(trained / "reviews" / f"{split}.csv", encoding="utf-8") as file:
            assert [*csv.DictReader(file)] == written("out", split)


def test_options_for_both_stages_and_for_each(place, rnn_hf):
    Path("mine.yaml").write_text(find_recipe("custom/finetune_1_lm").read_text().replace("0.002", "0.003"))
    code, _, err = rnn_hf(
        "finetune", "models/lm", "--data", write("own.csv", reviews()), *COLUMNS, *SHORT, "--lm.config", "mine.yaml",
        "--lm.trainer.max_steps=2", "--classifier.model.learning_rate", "0.01", "--seed_everything", "3",
        "--classifier.data.test_fraction", "0", "--classifier.early_stopping_patience", "0",
    )  # fmt: skip
    assert code == 0, err
    lm, classifier = recipe("runs/finetune/lm"), recipe("runs/finetune/classifier")
    assert (lm["model"]["learning_rate"], classifier["model"]["learning_rate"]) == (0.003, 0.01)
    assert (lm["trainer"]["max_steps"], classifier["trainer"]["max_steps"]) == (2, -1)
    assert (lm["early_stopping_patience"], classifier["early_stopping_patience"]) == (5, 0)
    assert lm["seed_everything"] == classifier["seed_everything"] == 3
    assert {path.name for path in Path("runs/finetune/data").iterdir()} == {"train.jsonl", "validation.jsonl"}
    assert report("runs/finetune/classifier")["data"]["splits"].keys() == {"train", "validation"}


@pytest.mark.parametrize("where", ["options", "recipes"])
def test_splits_by_other_names(place, rnn_hf, where):
    Path("parts").mkdir()
    rows, splits = reviews(), {"train": "many", "validation": "few"}
    write("parts/many.csv", rows[20:])
    write("parts/few.csv", rows[:20])
    more = [f"--data.splits.{split}={name}" for split, name in splits.items()]
    if where == "recipes":
        more = []
        for stage, name in RECIPES.items():
            own = read_recipe(find_recipe(name))
            own["data"]["splits"] = splits
            Path(f"{stage}.yaml").write_text(yaml.safe_dump(own))
            more += [f"--{stage}.config", f"{stage}.yaml"]
    argv = ("finetune", "models/lm", "--data", "parts", *COLUMNS, *SHORT, *more, "--classifier.data.test_fraction=0")
    code, _, err = rnn_hf(*argv)
    assert code == 0, err
    assert [(row["review"], row["stars"]) for row in written("runs/finetune", "validation")] == rows[:20]
    for stage in RECIPES:
        assert report(f"runs/finetune/{stage}")["data"]["splits"].keys() == {"train", "validation"}


@pytest.mark.parametrize("kind", ["list", "string"])
def test_several_labels(place, rnn_hf, kind):
    labels = [["a"], ["a", "b"], [], ["c", "b"]]
    rows = [{"text": text, "label": labels[i % 4]} for i, (text, _) in enumerate(reviews())]
    if kind == "list":
        Path("own.jsonl").write_text("\n".join(map(json.dumps, rows)))
        data, more = "own.jsonl", ()
    else:
        data = write("own.csv", [(row["text"], ";".join(row["label"])) for row in rows], ("text", "label"))
        more = ("--classifier.data.label_separator", ";")
    code, out, err = rnn_hf("finetune", "models/lm", "--data", data, *SHORT, *more)
    assert code == 0, err
    assert "subset_accuracy" in out
    assert report("runs/finetune/classifier")["data"]["splits"]["test"]["labels"].keys() == {"a", "b", "c"}


def test_a_language_model_takes_the_words_of_the_texts(place, rnn_hf):
    """What many unknown words call for is said, and does what is said."""
    rows = [
        (f"quite unheard words here {text.split()[-1]} {i % 7}", label) for i, (text, label) in enumerate(reviews())
    ]
    argv = ("finetune", "models/lm", "--data", write("own.csv", rows), *COLUMNS, *SHORT)
    code, _, err = rnn_hf(*argv)
    assert code == 0, err
    (said,) = (line for line in err.splitlines() if "unknown to the language model" in line)
    option, _, value = said.partition(": ")[2].removesuffix(" learns them").partition(" ")
    code, _, err = rnn_hf(*argv, option, value.strip('"'))
    assert code == 0, err
    assert "unknown to the language model" not in err
    unknown = [report(f"runs/{run}/classifier")["data"]["splits"]["train"]["unknown_share"]
               for run in ("finetune", "finetune-2")]  # fmt: skip
    assert unknown[0] > 0.3 and unknown[1] < 0.01


def interruptible(name):
    """A copy of a stage's recipe that SIGTERM can end at a step."""
    own = read_recipe(find_recipe(name))
    own["trainer"] |= {"callbacks": [{"class_path": f"{interruptions}.SignalAt"}], "max_epochs": 2}
    own["data"]["batch_size"] = 8
    file = Path(name).name + ".yaml"
    Path(file).write_text(yaml.safe_dump(own))
    return file


def test_the_same_command_goes_on(place, rnn_hf, monkeypatch):
    """Ended within stage one, within stage two and between them: the weights of a run that nothing disturbed."""
    recipes = ("--lm.config", interruptible("custom/finetune_1_lm"),
               "--classifier.config", interruptible("custom/finetune_2_classifier"))  # fmt: skip
    argv = ("finetune", "models/lm", "--data", write("own.csv", reviews()), *COLUMNS, *recipes, "--device", "cpu")
    assert rnn_hf(*argv, "--output_dir", "whole")[0] == 0
    for stop, stage in (("3", "lm"), ("9", "classifier")):
        monkeypatch.setenv("STOP_AT", stop)
        with pytest.raises(SystemExit) as ended:
            main([*argv])
        assert ended.value.code == 143
        assert not Path(f"runs/finetune/{stage}/model").exists()
    kept = Path("runs/finetune/lm/model/model.safetensors").stat()
    monkeypatch.delenv("STOP_AT")
    code, out, err = rnn_hf(*argv)
    assert code == 0, err
    assert "finished before: runs/finetune/lm" in out and "going on in runs/finetune" in err
    assert "going on from runs/finetune/classifier/checkpoints" in err
    assert Path("runs/finetune/lm/model/model.safetensors").stat() == kept
    for stage in ("lm", "classifier"):
        weights = [Path(run, stage, "model", "model.safetensors").read_bytes() for run in ("whole", "runs/finetune")]
        assert weights[0] == weights[1]
    monkeypatch.setattr(stages, "_ended", None)
    code, again, _ = rnn_hf(*argv, "--output_dir", "runs/finetune")  # finished: says its figures again
    assert code == 0 and again.count("finished before") == 2
    assert again.splitlines()[-8].rpartition(",")[0] == out.splitlines()[-8].rpartition(",")[0]
    code, _, err = rnn_hf(*argv, "--output_dir", "runs/finetune", "--lm.model.learning_rate", "0.1")
    assert code == 2
    assert "lm.model.learning_rate: 0.002, now 0.1" in err and "another --output_dir" in err
    write("own.csv", reviews(1))
    code, _, err = rnn_hf(*argv, "--output_dir", "runs/finetune")
    assert code == 2 and "rows.train" in err


DATA = ("--data", "own.csv", *COLUMNS)
REFUSED = {
    ("--data", "own.csv"): "the language model comes first",
    ("models/lm",): "needs --data",
    ("models/lm", "own.csv"): "the texts by --data; got 'own.csv'",
    ("models/lm", *DATA, "--label-column", "review"): "are two columns; got 'review' twice",
    ("models/lm", "--data"): "--data needs a value",
    ("models/no", *DATA): "no such folder: 'models/no'",
    ("models/classifier", *DATA): "holds a RnnForSequenceClassification; finetune starts from a",
    ("ngram", *DATA): "holds a NgramForCausalLM; finetune starts from",
    ("empty", *DATA): "holds no model",
    ("models/lm", "--data", "owm.csv"): "did you mean 'own.csv'?",
    ("models/lm", "--data", "own.csv"): "no column 'label' in own.csv; columns: review, stars",
    ("models/lm", "--data", "own.csv", "--label-column", "stars"): "no column 'text' in own.csv",
    ("models/lm", "--data", "own.csv", "--text-column", "review", "--label-column", "star"): "did you mean 'stars'?",
    ("models/lm", "--data", "nothing.csv", *COLUMNS): "nothing.csv is empty",
    ("models/lm", "--data", "header.csv", *COLUMNS): "header.csv holds no rows",
    ("models/lm", "--data", "one.csv", *COLUMNS): "must have at least 2 labels",
    ("models/lm", "--data", "foreign.csv", *COLUMNS): "is in the tokenizer's vocabulary",
    ("models/lm", *DATA, "--txt-column", "a"): "unknown option --txt-column (did you mean 'text_column'?)",
    ("models/lm", *DATA, "--lm.trainer.max_epoch", "1"): "did you mean 'trainer.max_epochs'?",
    ("models/lm", *DATA, "--classifier.model.learning_rat", "1"): "did you mean 'model.learning_rate'?",
    ("models/lm", *DATA, "--clasifier.model.learning_rate", "1"): "did you mean 'classifier'?",
    ("models/lm", *DATA, "--classifier.model.config.pooling", "meen"): "did you mean 'mean'?",
    ("models/lm", *DATA, "--classifier.model.pretrained", "x"): "the first word after finetune",
    ("models/lm", *DATA, "--data.text_column", "x"): "cannot be set: give --text-column",
    ("models/lm", *DATA, "--hub.repo_id", "me/x"): "--classifier.hub.repo_id",
    ("models/lm", *DATA, "--config", "x.yaml"): "--classifier.config",
    ("models/lm", *DATA, "--lm.config", "custom/classification"): "the task must be language_modeling",
    ("models/lm", *DATA, "--device", "cdua"): "did you mean 'cuda'?",
    ("models/lm", *DATA, "--output_dir", "models"): "is not empty",
}  # fmt: skip


@pytest.mark.parametrize("argv", REFUSED, ids=" ".join)
def test_what_is_wrong_is_said_before_anything_is_trained(place, rnn_hf, monkeypatch, argv):
    monkeypatch.setattr(stages, "_ended", None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    NgramConfig(vocab_size=9, architectures=["NgramForCausalLM"]).save_pretrained("ngram")
    Path("empty").mkdir()
    write("own.csv", reviews())
    Path("nothing.csv").touch()
    write("header.csv", [])
    write("one.csv", [(text, "1") for text, _ in reviews()])
    write("foreign.csv", [(f"völlig anders{i}", label) for i, (_, label) in enumerate(reviews())])
    code, _, err = rnn_hf("finetune", *argv)
    assert code == 2
    assert REFUSED[argv] in err
    assert len([line for line in err.splitlines() if line.startswith("rnn-hf: error")]) == 1
    assert not Path("runs").exists()


def test_help_answers_at_once(rnn_hf):
    for argv in (("finetune",), ("finetune", "--help")):
        code, out, _ = rnn_hf(*argv)
        assert code == 0 and "rnn-hf finetune LM_FOLDER --data DATA" in out


PATIENT = """
import signal, sys, time
def end(number, frame):
    time.sleep(0.5)
    open("ended", "w").write(str(number))
    sys.exit(128 + number)
signal.signal(signal.{name}, end)
open("ready", "w")
time.sleep(60)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_stage_ends_by_itself_where_a_signal_asks_for_the_end(tmp_path, monkeypatch, name):
    """SIGTERM to the verb alone; SIGINT to both, as a terminal gives it: the stage has time for its checkpoint."""
    monkeypatch.chdir(tmp_path)
    number = getattr(signal, name)
    started = []
    popen = stages.subprocess.Popen
    monkeypatch.setattr(stages.subprocess, "Popen", lambda command: started.append(popen(command)) or started[0])

    def send():
        while not Path("ready").exists():
            threading.Event().wait(0.02)
        os.kill(os.getpid(), number)
        if number == signal.SIGINT:
            os.kill(started[0].pid, number)

    sender = threading.Thread(target=send)
    sender.start()
    before = signal.getsignal(number)
    assert stages._ended([sys.executable, "-c", PATIENT.format(name=name)]) == 128 + number
    sender.join()
    assert Path("ended").read_text() == str(int(number))
    assert signal.getsignal(number) is before
