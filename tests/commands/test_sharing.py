"""`push`, `info`, `convert` and `env` as a user types them."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from rnn_hf.cards import check
from rnn_hf.models.manifest import MANIFEST
from rnn_hf.training.checkpoint_files import newest_checkpoint

from ..hub.conftest import server  # noqa: F401  a fixture


def test_push_prints_what_goes_where_and_pushes(workplace, rnn_hf, server):  # noqa: F811
    arguments = ["push", "runs/classifier", "--repo-id", "me/reviews"]
    code, out, err = rnn_hf(*arguments, "--license", "apache-2.0", "--dry-run")
    assert code == 0, err
    assert out.endswith("dry run: nothing was written\n") and server.hub.repositories == {}
    assert "runs/classifier/model ->" in out and "me/reviews (new, private)" in out and "model.safetensors" in out
    code, out, err = rnn_hf(*arguments)
    assert (code, out) == (2, "") and "a licence is required" in err and server.hub.repositories == {}
    code, out, err = rnn_hf(*arguments, "--license", "apache-2.0", "--tag", "v1")
    assert code == 0 and err == ""
    repository = server.hub.model("me/reviews")
    assert repository.private and out.splitlines()[-1] == f"{server.url}/me/reviews/commit/{repository.at('v1').oid}"
    assert {"metrics.json", "recipe.yaml", "curves.png", "generation_config.json"} - set(repository.files) == {
        "generation_config.json"  # of a classifier there is none
    }
    rnn_hf("push", "runs/lm", "--repo-id", "lm", "--license", "mit", "--public")
    assert "generation_config.json" in server.hub.model("me/lm").files and not server.hub.model("me/lm").private


def test_a_push_that_fails_prints_the_command_to_repeat(workplace, rnn_hf, server, monkeypatch):  # noqa: F811
    server.hub.faults = {"every": 500}
    token = "hf_a_canary"
    server.hub.users[token] = "me"
    monkeypatch.setenv("RNN_HF_TRACEBACK", "")
    code, out, err = rnn_hf(
        "push", "runs/classifier", "--repo-id", "me/reviews", "--license", "mit", "--message", "It's new",
        "--token", token,
    )  # fmt: skip
    assert code == 2 and token not in out + err
    again, error = err.splitlines()
    assert again.endswith(
        "rnn-hf push runs/classifier --repo-id me/reviews --message 'It'\"'\"'s new' --license mit --token ..."
    )
    assert error.startswith("rnn-hf: error: asking") and "failed again and again" in error


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["runs/clasifier", "--repo-id", "me/x"], "no such folder: 'runs/clasifier'"),
        (["reviews", "--repo-id", "me/x"], "'reviews' holds no model"),
        (["runs/classifier"], "the following arguments are required: --repo-id"),
        (["runs/classifier", "--repo_id", "me/x"], "unknown argument '--repo_id' (did you mean '--repo-id'?)"),
        (["runs/classifier", "--repo-id", "a/b/c", "--license", "mit"], "Repo id must be in the form"),
        (["runs/classifier", "--repo-id", "me/x", "--private", "--public"], "not allowed with argument"),
        (["runs/classifier", "--repo-id", "me/x", "--license", "appache-2.0"], "did you mean 'apache-2.0'?"),
    ],
)
def test_mistakes_are_one_line(workplace, rnn_hf, server, argv, message):  # noqa: F811
    code, out, err = rnn_hf("push", *argv)
    assert (code, out, err.count("\n")) == (2, "", 1) and message in err


def test_info_of_a_folder(workplace, rnn_hf):
    code, out, err = rnn_hf("info", "runs/classifier")
    assert code == 0, err
    lines = dict(line.split("  ", 1) for line in out.splitlines())
    metrics = json.loads((workplace / "runs/classifier/model/metrics.json").read_text())
    assert lines["model"].strip() == "RnnForSequenceClassification (rnn), a text classifier"
    assert lines["labels"].strip() == "negative, positive"
    assert float(lines["test/accuracy"]) == pytest.approx(metrics["metrics"]["test/accuracy"], rel=1e-5)
    assert f"{metrics['parameters']:,} parameters" in lines["size"]
    assert rnn_hf("info", "runs/nothing")[0] == 2
    assert "is for a Hub id" in rnn_hf("info", "runs/classifier", "--revision", "v1")[2]


def test_info_prints_the_features_of_a_model_that_has_them(workplace, rnn_hf, monkeypatch):
    from rnn_hf import RnnForSequenceClassification

    def weightiest_features(self, tokenizer, count):
        return {"negative": [("dull", 1.5)] * count, "positive": [("good", 2.25)]}

    monkeypatch.setattr(RnnForSequenceClassification, "weightiest_features", weightiest_features, raising=False)
    out = rnn_hf("info", "runs/classifier")[1]
    assert out.splitlines()[-2:] == [f"negative: {', '.join(['dull 1.5'] * 10)}", "positive: good 2.25"]


def test_convert_gives_the_best_weights_that_the_checkpoint_knows(workplace, rnn_hf, tmp_path):
    newest, exported = newest_checkpoint(workplace / "runs/classifier/checkpoints"), workplace / "runs/classifier/model"
    checkpoint = torch.load(newest, weights_only=True)
    best, last = checkpoint["callbacks"]["BestWeights"]["best"], checkpoint["global_step"]
    assert best["step"] < last
    for target, source in ((tmp_path / "of_run", "runs/classifier"), (tmp_path / "of_file", newest)):
        code, out, err = rnn_hf("convert", source, target)
        assert (code, out) == (0, f"wrote {target}: the best weights, of step {best['step']}\n"), err
        assert err.startswith(f"those of step {last} were not evaluated by then\n")
        assert ("the run is finished: the best weights of all are in runs/classifier/model" in err) == (
            source != newest
        )
        weights = load_file(target / "model.safetensors")
        assert all(torch.equal(weights[key], tensor) for key, tensor in best["weights"].items())
        for name in ("config.json", "tokenizer.json", "recipe.yaml"):
            assert (target / name).read_text() == (exported / name).read_text(), name
        made, run = (json.loads((f / "metrics.json").read_text()) for f in (target, exported))
        assert {"task", "data", "seed", "versions", "monitor"} <= {k for k in made if made[k] == run.get(k)}
        assert (made["best_step"], made["metrics"]) == (best["step"], best["metrics"])
        AutoModelForSequenceClassification.from_pretrained(target)
        assert check((target / "README.md").read_text()) == []
    assert "is there already" in rnn_hf("convert", "runs/classifier", target)[2]
    assert "holds no complete checkpoint" in rnn_hf("convert", "reviews", tmp_path / "new")[2]
    assert "no checkpoint 'nothing.ckpt'" in rnn_hf("convert", "nothing.ckpt", tmp_path / "new")[2]
    assert not (tmp_path / "new").exists()


def test_convert_gives_the_last_weights_where_nothing_was_evaluated(workplace, rnn_hf, tmp_path):
    rnn_hf(
        "fit", "--config", "lm.yaml", "--output_dir", tmp_path / "run", "--trainer.max_steps", "2",
        "--trainer.limit_val_batches", "0", "--model.config.lm_head", "adaptive",
    )  # fmt: skip
    code, out, err = rnn_hf("convert", tmp_path / "run", tmp_path / "folder")
    assert (code, out) == (0, f"wrote {tmp_path / 'folder'}: the last weights, of step 2\n"), err
    ours, theirs = (load_file(tmp_path / f / "model.safetensors") for f in ("folder", "run/model"))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_damaged_model_folder_is_named(workplace, rnn_hf, tmp_path):
    rnn_hf("convert", "runs/classifier", tmp_path / "copy")
    weights = bytearray((tmp_path / "copy" / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "copy" / "model.safetensors").write_bytes(weights)
    code, _, err = rnn_hf("predict", tmp_path / "copy", "a good film")
    assert code == 2 and "model.safetensors is damaged" in err and MANIFEST in err


def test_env_names_versions_and_no_token(rnn_hf, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_a_canary")
    code, out, _ = rnn_hf("env")
    assert code == 0 and torch.__version__ in out and "logged in" in out and "hf_a_canary" not in out
