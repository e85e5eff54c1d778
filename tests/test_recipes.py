"""Finding recipes by name or path, reading them, and what a run is called."""

from pathlib import Path

import pytest

from rnn_hf.recipes import ROOT, find_recipe, read_recipe, recipe_names, run_name


def test_every_file_under_recipes_is_found():
    files = list(ROOT.rglob("*.yaml")) + list(ROOT.rglob("*.yml"))
    assert len(files) >= 2
    assert {find_recipe(name) for name in recipe_names()} == set(files)


def test_a_file_wins_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_recipe("quickstart/sentiment") == ROOT / "quickstart/sentiment.yaml"
    (tmp_path / "quickstart").mkdir()
    (tmp_path / "quickstart/sentiment").write_text("task: classification")
    assert find_recipe("quickstart/sentiment") == Path("quickstart/sentiment")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("quickstart/sentimant", "did you mean 'quickstart/sentiment'?"),
        ("nothing_alike_42", "one of: .*quickstart/language_model, .*"),
        ("missing.yaml", "no recipe file 'missing.yaml' in "),
    ],
)
def test_unknown_recipes(given, message):
    with pytest.raises(FileNotFoundError, match=message):
        find_recipe(given)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"task: [", "is not valid YAML"), (b"- task", "must hold a mapping"), (b"", "must hold"), (b"\xff", "not valid")],
)
def test_unreadable_recipes(tmp_path, content, message):
    (tmp_path / "recipe.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_recipe(tmp_path / "recipe.yaml")


def test_numbers_are_read_as_numbers(tmp_path):
    (tmp_path / "recipe.yaml").write_text("model: {learning_rate: 1e-3, config: {input_dropout: 2.5E-1, a: 1e, b: e3}}")
    model = read_recipe(tmp_path / "recipe.yaml")["model"]
    assert model == {"learning_rate": 0.001, "config": {"input_dropout": 0.25, "a": "1e", "b": "e3"}}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("mine.yaml", "mine"),
        ("folder/mine.yaml", "mine"),
        ("runs/first/model/recipe.yaml", "first"),
        ("pulled/recipe.yaml", "pulled"),
    ],
)
def test_runs_are_called_after_their_recipe(tmp_path, monkeypatch, path, name):
    monkeypatch.chdir(tmp_path)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("task: classification")
    assert run_name(path) == name
    assert (
        run_name("quickstart/sentiment") == run_name(str(ROOT / "quickstart/sentiment.yaml")) == "quickstart/sentiment"
    )
