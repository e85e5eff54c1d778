"""The Hub of the tests, as the real clients see it: a process each, with an environment and an empty home."""

import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants

from .hub_server import FAULTS, HubServer


@pytest.fixture
def server():
    with HubServer() as running:
        yield running


@pytest.fixture
def api(server, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return HfApi(endpoint=server.url, token=server.token)


@pytest.fixture
def run(server, tmp_path):
    """Runs Python, or another command, with the clients' environment: its standard output."""

    def run(*argv, token=server.token, offline=False):
        environment = server.environment(tmp_path / "home", token) | ({"HF_HUB_OFFLINE": "1"} if offline else {})
        command = [sys.executable, "-c", *argv] if "\n" in argv[0] else argv
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def test_create_commit_branches_tags_and_pull_requests(api, server):
    api.create_repo("me/net", private=True)
    with pytest.raises(Exception, match="409"):
        api.create_repo("me/net")
    first = api.upload_file(path_or_fileobj=b"one", path_in_repo="a.txt", repo_id="me/net", commit_message="A")
    large = api.upload_file(path_or_fileobj=b"1" * 50, path_in_repo="model.safetensors", repo_id="me/net")
    assert api.list_repo_files("me/net") == [".gitattributes", "a.txt", "model.safetensors"]
    assert [commit.title for commit in api.list_repo_commits("me/net")][1:] == ["A", "initial commit"]
    assert server.hub.model("me/net").files["model.safetensors"] == b"1" * 50
    again = api.upload_file(path_or_fileobj=b"1" * 50, path_in_repo="model.safetensors", repo_id="me/net")
    assert again.oid == large.oid  # nothing changed, so there is no commit

    api.create_tag("me/net", tag="v1", revision=first.oid)
    api.create_branch("me/net", branch="dev")
    api.upload_file(path_or_fileobj=b"two", path_in_repo="a.txt", repo_id="me/net", revision="dev")
    pull = api.upload_file(path_or_fileobj=b"3", path_in_repo="sub/b.txt", repo_id="me/net", create_pr=True)
    assert (pull.pr_num, pull.pr_revision) == (1, "refs/pr/1")
    refs = api.list_repo_refs("me/net", include_pull_requests=True)
    assert [ref.name for ref in refs.branches] == ["main", "dev"] and refs.tags[0].target_commit == first.oid
    assert refs.pull_requests[0].ref == "refs/pr/1"
    assert [e.path for e in api.list_repo_tree("me/net", revision="refs/pr/1")][-1] == "sub"
    assert api.get_paths_info("me/net", ["model.safetensors"])[0].lfs.size == 50
    assert server.hub.model("me/net").at("dev").files["a.txt"].data == b"two"

    api.delete_file("a.txt", "me/net")
    assert not api.file_exists("me/net", "a.txt")
    api.move_repo("me/net", "me/other")
    api.update_repo_settings("me/other", private=False)
    assert not server.hub.model("me/other").private
    api.delete_tag("me/other", tag="v1")
    api.delete_branch("me/other", branch="dev")
    api.delete_repo("me/other")
    assert not api.repo_exists("me/other")


def test_who_may_see_and_write(api, server):
    stranger, nobody = (HfApi(endpoint=server.url, token=token) for token in (server.stranger, False))
    assert api.whoami()["name"] == "me"
    api.create_repo("me/secret", private=True)
    api.create_repo("me/open")
    api.auth_check("me/secret")
    for other in (stranger, nobody):
        assert not other.repo_exists("me/secret") and other.repo_exists("me/open")
    upload = {"path_or_fileobj": b"x", "path_in_repo": "x", "repo_id": "me/open"}
    with pytest.raises(Exception, match="403 Forbidden"):
        stranger.upload_file(**upload)
    assert stranger.upload_file(**upload, create_pr=True).pr_num == 1  # anyone may propose
    with pytest.raises(Exception, match="403 Forbidden"):
        api.create_repo("stranger/net")
    with pytest.raises(Exception, match="Invalid credentials"):
        HfApi(endpoint=server.url, token="hf_unknown").model_info("me/open")


def test_of_two_commits_on_one_parent_one_is_refused(api, server):
    api.create_repo("me/net")
    head = api.model_info("me/net").sha
    upload = {"path_or_fileobj": b"x", "repo_id": "me/net", "parent_commit": head}
    api.upload_file(**upload, path_in_repo="first")
    with pytest.raises(Exception, match="412"):
        api.upload_file(**upload, path_in_repo="second")
    assert "second" not in server.hub.model("me/net").files


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_happen_at_the_request_that_is_named(api, server, fault):
    server.hub.faults = {1: fault}
    api.create_repo("me/net")
    with pytest.raises(Exception, match=str(fault) if isinstance(fault, int) else "disconnected"):
        api.create_branch("me/net", branch="dev")
    api.model_info("me/net")
    assert server.hub.requests == [
        "POST /api/repos/create", "POST /api/models/me/net/branch/dev", "GET /api/models/me/net"
    ]  # fmt: skip
    assert len(server.hub.model("me/net").refs) == (2 if fault == "lost" else 1)
    assert server.hub.tokens == [server.token] * 3


MODEL = """
import torch
from transformers import AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast
from tokenizers import Tokenizer, models
model = BertModel(BertConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1,
                             intermediate_size=4))
model.push_to_hub("me/bert", private=True)
PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, "a"))).push_to_hub("me/bert")
torch.save(model.state_dict(), "weights.pt")
"""
LOAD = """
import torch
from transformers import AutoModel, AutoTokenizer
model, info = AutoModel.from_pretrained("me/bert", output_loading_info=True)
expected = torch.load("weights.pt")
assert not info["missing_keys"] and all(torch.equal(expected[k], v) for k, v in model.state_dict().items())
print(AutoTokenizer.from_pretrained("me/bert")("a")["input_ids"])
"""


def test_transformers_pushes_and_loads(run, server):
    run(MODEL)
    assert server.hub.model("me/bert").private and "model.safetensors" in server.hub.model("me/bert").files
    assert run(LOAD) == "[0]\n"
    server.hub.faults = {"every": 500}
    assert run(LOAD, offline=True) == "[0]\n"  # from its cache


DATASET = """
import datasets
pairs = datasets.load_dataset("me/pairs", "plain", revision="v1")
print({split: rows["text"][:] for split, rows in pairs.items()})
"""


def test_datasets_loads(run, server):
    card = "---\nconfigs:\n- config_name: plain\n  data_files:\n  - {split: train, path: data/train.csv}\n---\n"
    files = {"README.md": card.encode(), "data/train.csv": b"text,label\ngood,1\nbad,0\n"}
    repository = server.hub.create("me/pairs", files, kind="datasets", private=True)
    repository.refs["refs/tags/v1"] = repository.at("main")
    server.hub.commit(repository, {"data/train.csv": b"text,label\nnew,1\n"})
    assert run(DATASET) == "{'train': ['good', 'bad']}\n"
    server.hub.faults = {"every": "disconnect"}
    assert run(DATASET, offline=True) == "{'train': ['good', 'bad']}\n"


def test_the_hf_command(run, server, tmp_path):
    hf = str(Path(sys.executable).with_name("hf"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("text")
    (tmp_path / "folder" / "w.safetensors").write_bytes(b"0" * 20)
    assert "me" in run(hf, "auth", "whoami")
    run(hf, "upload", "me/uploaded", "folder", "--private")
    assert server.hub.model("me/uploaded").private
    run(hf, "download", "me/uploaded", "--local-dir", "copy")
    assert (tmp_path / "copy" / "notes.txt").read_text() == "text"
    assert (tmp_path / "copy" / "w.safetensors").read_bytes() == b"0" * 20
