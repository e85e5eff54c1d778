"""`rnn-hf recipes`: listing, copying, validation of every recipe, the schema, and the wheel outside the repository."""

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import jsonschema
import pytest
import yaml

from rnn_hf import RnnConfig, RnnForCausalLM
from rnn_hf.commands.fit import TASKS
from rnn_hf.commands.recipe_schema import schema_text
from rnn_hf.commands.recipes import validate
from rnn_hf.commands.tiny_data import on_tiny_data
from rnn_hf.recipes import ROOT, find_recipe, merged, read_recipe, recipe_names, recipe_title

REPOSITORY = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "schema.json").read_text(encoding="utf-8"))


def test_listing_needs_no_torch():
    code = "import sys; sys.argv = ['rnn-hf']; from rnn_hf.cli import main; code = main(sys.stdin.read().split())\n"
    code += "assert 'torch' not in sys.modules and 'transformers' not in sys.modules; sys.exit(code)"
    for action in ("recipes ls", "recipes cat quickstart/sentiment", "recipes --help", "fit --help", "--help"):
        done = subprocess.run([sys.executable, "-c", code], input=action, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_ls_lists_each_recipe_with_its_title(rnn_hf):
    code, out, _ = rnn_hf("recipes", "ls")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == recipe_names()
    for name, line in zip(recipe_names(), out.splitlines(), strict=True):
        assert line.endswith("  " + recipe_title(find_recipe(name)))
    filtered = rnn_hf("recipes", "ls", "QUICKSTART")[1].splitlines()
    assert filtered == [line for line in out.splitlines() if "quickstart" in line.lower()]


def test_cat_prints_the_file(rnn_hf):
    assert rnn_hf("recipes", "cat", "quickstart/sentiment")[1] == (ROOT / "quickstart/sentiment.yaml").read_text()


def test_cp_copies_and_overwrites_nothing(rnn_hf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = (ROOT / "quickstart/sentiment.yaml").read_text()
    assert rnn_hf("recipes", "cp", "quickstart/sentiment") == (0, "wrote sentiment.yaml\n", "")
    assert rnn_hf("recipes", "cp", "quickstart/sentiment", "mine.yaml")[0] == 0
    assert Path("sentiment.yaml").read_text() == Path("mine.yaml").read_text() == source
    Path("mine.yaml").write_text("mine")
    code, _, err = rnn_hf("recipes", "cp", "quickstart/sentiment", "mine.yaml")
    assert code == 2
    assert "mine.yaml is there already" in err
    assert Path("mine.yaml").read_text() == "mine"
    assert rnn_hf("recipes", "cp", "quickstart/sentiment", "nowhere/mine.yaml")[2].endswith(
        "no folder 'nowhere' for mine.yaml\n"
    )


@pytest.mark.parametrize(("argv", "message"), [
    (["lss"], "unknown action 'lss' (did you mean 'ls'?)"),
    (["ls", "no such recipe"], "no recipe's name or title holds 'no such recipe'"),
    (["cat", "quickstart/sentimant"], "did you mean 'quickstart/sentiment'?"),
    (["cat"], "required: NAME"),
    (["validate", "--tinny"], "did you mean '--tiny'?"),
])  # fmt: skip
def test_bad_input(rnn_hf, argv, message):
    code, _, err = rnn_hf("recipes", *argv)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1


def test_every_recipe_is_headed():
    """A title, the command that runs it, and what to expect of it."""
    names = recipe_names()
    assert {"quickstart/language_model", "quickstart/sentiment", "custom/language_modeling"} <= {*names}
    for name in names:
        header = find_recipe(name).read_text().partition("\ntask:")[0]
        assert recipe_title(find_recipe(name)), name
        assert "rnn-hf fit --config " + ("" if name.startswith("custom/") else name) in header, name
        assert "xpect" in header, name
        assert all(line.startswith("#") for line in header.splitlines()), name


def test_all_recipes_are_found():
    """The parametrised tests below run over what is found: here stands that nothing is overlooked."""
    files = {path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.rglob("*.y*ml")}
    assert len(files) >= 6
    assert files == {*recipe_names()}


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_runs(name, tmp_path, monkeypatch):
    """On tiny data of the right shape: builds data and model, one step of training, validation and test."""
    monkeypatch.chdir(tmp_path)
    began = time.monotonic()
    data, values = validate(name, tiny=True)
    assert data == "tiny data"
    assert {*values} == {"validation/loss", "test/loss"}
    assert list(tmp_path.iterdir()) == []
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("task", TASKS)
def test_tiny_data_fits_every_shape(task, tmp_path, monkeypatch, rnn_hf):
    """Renamed columns, a vocabulary for an adaptive head, more lanes than rows; nothing of the recipe's own."""
    monkeypatch.chdir(tmp_path)
    recipe = {
        "task": task,
        "model": {"config": {"hidden_size": 8, "embedding_size": 8}, "pretrained": "me/nowhere"},
        "data": {
            "dataset": "me/nowhere",
            "text_column": "a",
            "tokenizer": {"pretrained": "me/none"},
            "batch_size": 700,
        },
    }
    if task == "language_modeling":
        recipe["model"]["config"] |= {"lm_head": "adaptive", "adaptive_cutoffs": [100, 300]}
    else:
        recipe["data"]["label_column"] = "b"
    Path("mine.yaml").write_text(yaml.safe_dump(recipe))
    code, out, err = rnn_hf("recipes", "validate", "mine.yaml", "--tiny")
    assert code == 0, err + out
    assert out.startswith("ok      mine.yaml | tiny data | validation/loss ")


def test_multi_label_rows_and_named_classes(tmp_path):
    data = {"label_separator": ";", "class_weights": {"x": 1.0, "y": 2.0, "z": 1.0}}
    on_tiny_data({"task": "classification", "data": data}, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert {row["label"] for row in rows} == {"x", "x;y", "x;y;z"}


def test_validate_uses_the_recipe_s_own_data_where_they_are(workplace, rnn_hf):
    Path("elsewhere.yaml").write_text(Path("lm.yaml").read_text().replace("reviews", "absent/data"))
    Path("wrong.yaml").write_text(Path("lm.yaml").read_text().replace("hidden_size", "hiden_size"))
    try:
        code, out, err = rnn_hf(
            "recipes", "validate", "lm.yaml", "custom/classification", "elsewhere.yaml", "wrong.yaml"
        )
    finally:
        Path("elsewhere.yaml").unlink()
        Path("wrong.yaml").unlink()
    own, tiny, absent, failed = out.splitlines()
    assert own.startswith("ok      lm.yaml | reviews | ")
    assert tiny.startswith("ok      custom/classification | tiny data | ")
    assert "custom/classification: on tiny data instead (" in err and "my_data.csv" in err
    assert absent.startswith("FAILED  elsewhere.yaml: ") and "absent/data" in absent and "--tiny" in absent
    assert failed.startswith("FAILED  wrong.yaml: ") and "(did you mean 'hidden_size'?)" in failed
    assert code == 2
    assert "2 of 4 recipes failed: elsewhere.yaml, wrong.yaml" in err


def test_layers_merge_at_any_depth():
    first = {
        "task": "a",
        "model": {"config": {"x": 1, "y": 2}},
        "data": {"tokenizer": {"kind": "word", "vocab_size": 9}},
    }
    second = {"model": {"config": {"y": 3}}, "data": {"tokenizer": {"lowercase": True}}}
    both = merged(first, second)
    assert both["model"]["config"] == {"x": 1, "y": 3}
    assert both["data"]["tokenizer"] == {"kind": "word", "vocab_size": 9, "lowercase": True}
    assert merged(both, {"data": {"tokenizer": {"kind": "char"}}})["data"]["tokenizer"] == {"kind": "char"}
    assert first["model"]["config"] == {"x": 1, "y": 2}


def test_the_committed_schema_is_current():
    """`rnn-hf recipes schema > recipes/schema.json` renews it."""
    assert (ROOT / "schema.json").read_text(encoding="utf-8") == schema_text()


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_follows_the_schema(name):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(read_recipe(find_recipe(name)), SCHEMA)


def test_what_a_run_leaves_follows_the_schema(workplace):
    for run in ("lm", "classifier"):
        jsonschema.validate(read_recipe(workplace / "runs" / run / "model" / "recipe.yaml"), SCHEMA)


LM = {"task": "language_modeling", "data": {"dataset": "x"}}


@pytest.mark.parametrize("wrong", [
    {"modle": {}},
    {"model": {"learning_rat": 1}},
    {"model": {"learning_rate": "much"}},
    {"model": {"schedule": "cosin"}},
    {"model": {"config": {"hiden_size": 1}}},
    {"model": {"config": {"hidden_size": 0}}},
    {"model": {"config": {"cell_type": "lstmm"}}},
    {"model": {"config": {"model_type": "rn"}}},
    {"model": {"config": {"model_type": "rnn", "hiden_size": 1}}},
    {"model": {"id2label": {}}},
    {"data": {"dataset": "x", "label_column": "y"}},
    {"data": {"dataset": "x", "batch_size": 1.5}},
    {"data": {"dataset": "x", "tokenizer": {"kind": "wrd"}}},
    {"data": {"dataset": "x", "tokenizer": {"kind": "word", "vocb_size": 9}}},
    {"data": {"dataset": "x", "tokenizer": {"kind": "char", "lowercase": True}}},
    {"trainer": {"max_epoch": 1}},
    {"trainer": {"precision": "bf8"}},
    {"trainer": {"callbacks": [{"class_path": "EarlyStoping"}]}},
    {"trainer": {"callbacks": [{"class_path": "EarlyStopping", "init_args": {"moniter": "x"}}]}},
    {"trainer": {"callbacks": ["EarlyStoping"]}},
    {"trainer": {"logger": {"class_path": "CSVLoger"}}},
], ids=str)  # fmt: skip
def test_the_schema_refuses_misspelt_keys_and_wrong_values(wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(LM | wrong, SCHEMA)


def test_the_schema_allows_what_the_command_takes():
    jsonschema.validate(LM, SCHEMA)
    callbacks = ["LearningRateMonitor", {"class_path": "my.own.Callback", "init_args": {"any": 1}}]
    jsonschema.validate(LM | {"trainer": {"callbacks": callbacks, "max_time": "00:01:00:00"}}, SCHEMA)
    jsonschema.validate(LM | {"data": {"dataset": "x", "tokenizer": "byte"}, "logger": "wandb"}, SCHEMA)


@pytest.mark.slow
def test_the_wheel_brings_its_recipes_and_the_template_of_cards(tmp_path):
    """Installed outside the repository."""
    if not (REPOSITORY / "pyproject.toml").is_file():
        pytest.skip("not in a checkout: there is nothing to build")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(REPOSITORY)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")  # what `pip install` does with a pure wheel
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}

    def rnn_hf(*arguments):
        command = [sys.executable, "-m", "rnn_hf.cli", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert [line.split()[0] for line in rnn_hf("recipes", "ls").splitlines()] == recipe_names()
    rnn_hf("recipes", "cp", "custom/language_modeling", "mine.yaml")
    assert (tmp_path / "mine.yaml").read_text() == (ROOT / "custom/language_modeling.yaml").read_text()
    assert rnn_hf("recipes", "validate", "mine.yaml", "quickstart/sentiment", "--tiny").count("ok ") == 2
    assert (tmp_path / "site/rnn_hf/_recipes/schema.json").is_file()

    model = RnnForCausalLM(RnnConfig(vocab_size=20, embedding_size=4, hidden_size=4))
    model.save_pretrained(tmp_path / "saved")
    rnn_hf("card", "saved", "--license", "mit")
    card = (tmp_path / "saved/README.md").read_text()
    assert "license: mit" in card and "A single-layer LSTM language model: " in card
    packed = {path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site/rnn_hf").rglob("*")}
    assert "rnn_hf/_model_cards/template.md" in packed
    assert not [path for path in packed if "test" in path or "hub_server" in path], "test equipment stays at home"
