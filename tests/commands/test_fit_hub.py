"""`hub:` of a recipe: looked at before training, pushed while it goes on and at its end, never at the run's expense."""

import json

import pytest

from rnn_hf.hub.push import Push

from ..hub.conftest import server  # noqa: F401  a fixture

HUB = ("--hub.repo_id", "me/reviews", "--hub.license", "mit")


@pytest.fixture
def fit(workplace, rnn_hf, server, monkeypatch, tmp_path):  # noqa: F811
    """Trains the classifier for an epoch; the processes that it starts have the Hub's environment."""
    for name, value in server.environment(tmp_path / "home", server.token).items():
        monkeypatch.setenv(name, value)

    def fit(*options):
        code, out, err = rnn_hf(
            "fit", "--config", "classifier.yaml", "--output_dir", tmp_path / "run", "--trainer.max_epochs", "1",
            *options,
        )  # fmt: skip
        return code, out, err, tmp_path / "run"

    return fit


def test_the_best_weights_are_pushed_meanwhile_and_at_the_end(fit, server):  # noqa: F811
    code, out, err, run = fit(*HUB, "--hub.tag", "v1")
    assert code == 0, err
    repository = server.hub.model("me/reviews")
    assert [title.split("(")[0] for title in repository.commits] == [
        "Upload RnnForSequenceClassification ", "Best weights so far, of epoch 1", "initial commit"
    ]  # fmt: skip
    meanwhile, last = repository.at("main").parent, repository.at("v1")
    assert repository.private and last is repository.at("main") and last.oid in out
    assert f"best weights so far, of epoch 1: pushed to {server.url}/me/reviews/commit/{meanwhile.oid}" in err
    for name in ("model.safetensors", "metrics.json", "recipe.yaml", "curves.png"):
        assert repository.files[name] == (run / "model" / name).read_bytes()
    assert meanwhile.files["model.safetensors"] == last.files["model.safetensors"]
    early, late = (json.loads(commit.files["metrics.json"].data) for commit in (meanwhile, last))
    assert early["metrics"].items() <= late["metrics"].items() and "test/accuracy" not in early["metrics"]
    assert "hub" not in repository.files["recipe.yaml"].decode()
    assert not (run / ".push").exists()


def test_a_network_that_fails_stops_nothing(fit, server, monkeypatch):  # noqa: F811
    check = Push.check

    def check_and_fail_from_now_on(self):
        found = check(self)
        server.hub.faults = {"every": "disconnect"}
        return found

    monkeypatch.setattr(Push, "check", check_and_fail_from_now_on)
    code, out, err, run = fit(*HUB)
    assert code == 2
    assert "best weights so far, of epoch 1: not pushed, training goes on: rnn-hf: error: asking" in err
    assert f"to push it again: rnn-hf push {run}/model --repo-id me/reviews --license mit" in err
    assert f"wrote {run}/model" in out and (run / "model/model.safetensors").is_file()
    assert server.hub.repositories == {} and server.token not in out + err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hub.repo_id", "me/x"], "hub.license is missing"),
        (["--hub.license", "mit"], "hub.repo_id is missing"),
        (["--hub.repo_id", "me/x", "--hub.licence", "mit"], "did you mean 'hub.license'?"),
        (["--hub.repo_id", "me/x", "--hub.license", "mitt"], "did you mean 'mit'?"),
        (["--hub.repo_id", "other/x", "--hub.license", "mit"], "other/x is not yours"),
        (["--hub.repo_id", "me/open", "--hub.license", "mit"], "me/open is public"),
        (["--hub.repo_id", "me/x", "--hub.token", "hf_x", "--hub.license", "mit"], "unknown key 'hub.token'"),
    ],
)
def test_what_cannot_be_pushed_is_refused_before_training(fit, server, options, message):  # noqa: F811
    server.hub.create("me/open", {})
    code, out, err, run = fit(*options)
    assert (code, out) == (2, "") and message in err and not run.exists()


def test_nobody_logged_in_is_said_before_training(fit, monkeypatch, server):  # noqa: F811
    monkeypatch.delenv("HF_TOKEN")
    code, out, err, run = fit(*HUB)
    assert (code, out) == (2, "") and "nobody is logged in to the Hub" in err and not run.exists()
    assert fit(*HUB, "--fast_dev_run")[0] == 0 and server.hub.requests == []
