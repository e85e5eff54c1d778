"""Pushing: what arrives, what is refused, and that a fault at any request leaves all or nothing."""

import json
import subprocess
import sys

import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import HFValidationError
from transformers import AutoModelForSequenceClassification

from rnn_hf import RnnConfig, RnnForSequenceClassification
from rnn_hf.hub.retries import PushError
from rnn_hf.models.manifest import MANIFEST, read_manifest

from ..hub_server import FAULTS
from .conftest import write_folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def metadata(repository):
    return ModelCard(repository.files["README.md"].decode()).data


def test_one_private_commit_with_all_that_belongs_to_a_model(push, folder, server, said, tmp_path):
    (folder / "notes.txt").write_text("not of the model")
    before = contents(folder)
    page = push()
    repository = server.hub.model("me/net")
    assert repository.private and repository.commits[1:] == ["initial commit"] and len(repository.commits) == 2
    assert page == f"{server.url}/me/net/commit/{repository.at('main').oid}" == said[-1]
    code = {"modeling_rnn.py", "configuration_rnn.py", "rnn_cells.py", "heads.py"}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", MANIFEST, *code} <= set(repository.files)
    assert "notes.txt" not in repository.files and "not of the model, not pushed: notes.txt" in said[-2]
    auto_map = json.loads(repository.files["config.json"])["auto_map"]
    assert auto_map["AutoModelForCausalLM"] == "modeling_rnn.RnnForCausalLM" and len(auto_map) >= 5
    assert metadata(repository).license == "mit" and "needed" not in repository.files["README.md"].decode().lower()
    assert contents(folder) == before
    for name, content in repository.files.items():
        (tmp_path / "copy").mkdir(exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(content)
    subprocess.run(["sha256sum", "--check", "--strict", MANIFEST], cwd=tmp_path / "copy", check=True)
    listed = {line.split()[0]: line.split()[1] for line in said[1:-3]}
    assert listed["model.safetensors"] == f"{len(before['model.safetensors']):,}"
    assert set(listed) == set(read_manifest(repository.files[MANIFEST].decode())) | {MANIFEST}


def test_a_dry_run_writes_nothing(push, folder, server, said):
    before = contents(folder)
    push(dry_run=True, tag="v1", revision="dev")
    assert server.hub.repositories == {} and contents(folder) == before
    assert {request.split()[0] for request in server.hub.requests} == {"GET"}
    assert any("model.safetensors" in line for line in said) and "nothing was written" in said[-1]


def test_revision_tag_and_pull_request(push, folder, server):
    push(revision="dev", tag="v1", message="The first")
    repository = server.hub.model("me/net")
    assert repository.commits == ["initial commit"]
    assert repository.at("dev").title == "The first" and repository.at("v1") is repository.at("dev")
    push(to="net")  # of one's own
    assert len(repository.commits) == 2
    with pytest.raises(ValueError, match="has a tag 'v1': a tag stays"):
        push(tag="v1")
    server.hub.create("stranger/net", contents(folder))
    with pytest.raises(ValueError, match=r"stranger/net is not yours: you are me.* --create-pr proposes"):
        push(to="stranger/net", private=False)
    page = push(to="stranger/net", private=False, create_pr=True)
    assert page == f"{server.url}/stranger/net/discussions/1"
    assert len(server.hub.model("stranger/net").commits) == 2


def test_what_was_not_changed_is_not_committed_again(push, server, said):
    first = push()
    assert "no commit was made" not in "".join(said)
    second = push()
    assert first == second and len(server.hub.model("me/net").commits) == 2
    assert said[-2:] == ["all of this is there already: no commit was made", first]
    assert push(create_pr=True) == first and not server.hub.model("me/net").listed("refs/pr/")
    assert push(tag="v1") == first and server.hub.model("me/net").at("v1") is server.hub.model("me/net").at("main")


@pytest.mark.parametrize("name", ["", "a b", "-x", "a..b", "a^", "a:b", "a.", "a.lock", "/a", "a//b", "a\n"])
def test_names_that_git_would_refuse(name, push, server):
    for what in ("tag", "revision"):
        with pytest.raises(ValueError, match=rf"{what} must be a name for git, of"):
            push(**{what: name})
    assert server.hub.requests == []


def test_files_of_the_version_before_do_not_stay(push, folder, server):
    (folder / "old.png").write_bytes(b"a picture")
    push()
    server.hub.commit(server.hub.model("me/net"), {"by_hand.txt": b"somebody's"})
    (folder / "old.png").unlink()
    push()
    files = server.hub.model("me/net").files
    assert "old.png" not in files and files["by_hand.txt"] == b"somebody's"


def test_another_models_repository_is_refused_unless_told(push, server, tmp_path, said):
    push()
    other = write_folder(tmp_path / "other", labels=("ham", "spam"))
    with pytest.raises(ValueError, match=r"me/net is not empty, and not of this model \(its id2label is .*--overwrite"):
        push(source=other)
    server.hub.create("me/files", {"pytorch_model.bin": b"1", "README.md": b"# Mine\n"}, private=True)
    with pytest.raises(ValueError, match=r"me/files is not empty, and not of this model \(it holds no model\)"):
        push(to="me/files")
    assert server.hub.model("me/files").commits[0] == "somebody's commit"
    push(to="me/files", overwrite=True)
    files = server.hub.model("me/files").files
    assert "pytorch_model.bin" not in files and "model.safetensors" in files and b"# Mine" in files["README.md"]


def test_a_repository_that_only_has_a_card_is_empty(push, server):
    card = b"---\nlicense: apache-2.0\n---\n# My net\n"
    server.hub.create("me/net", {"README.md": card}, private=True)
    push(license=None)
    repository = server.hub.model("me/net")
    assert metadata(repository).license == "apache-2.0" and b"# My net" in repository.files["README.md"]


def test_a_card_that_was_edited_on_the_hub_stays(push, server, said):
    push()
    repository = server.hub.model("me/net")
    edited = repository.files["README.md"] + b"\nWritten by hand.\n"
    server.hub.commit(repository, {"README.md": edited})
    push(license=None)
    assert b"Written by hand." in repository.files["README.md"]
    assert any("the card was edited on the Hub: its text stays" in line for line in said)
    push(license=None, replace_card=True)
    assert b"Written by hand." not in repository.files["README.md"] and metadata(repository).license == "mit"


def test_a_card_that_was_edited_in_the_folder_is_pushed(push, folder, server):
    push()
    text = server.hub.model("me/net").files["README.md"].decode()
    (folder / "README.md").write_text(text + "\nWritten here.\n")
    push(license=None)
    assert b"Written here." in server.hub.model("me/net").files["README.md"]


def test_a_licence_is_required_and_known(push, server, tmp_path):
    with pytest.raises(ValueError, match=r"a licence is required.*--license with an SPDX identifier"):
        push(license=None)
    with pytest.raises(ValueError, match=r"license must be an SPDX identifier.*did you mean"):
        push(license="apache-2")
    with pytest.raises(ValueError, match="license other needs a name and a link"):
        push(license="other", license_name="mine")
    with pytest.raises(ValueError, match="are for license other"):
        push(license=None, license_name="mine")
    assert server.hub.repositories == {}
    text = tmp_path / "LICENSE"
    text.write_text("Do as you like.")
    for taken in ("config.json", "README.md"):
        (tmp_path / taken).write_text("{}")
        with pytest.raises(ValueError, match=f"would take the place of the model's {taken}: rename it"):
            push(license="other", license_name="mine", license_link=str(tmp_path / taken))
    push(license="other", license_name="mine", license_link=str(text))
    repository = server.hub.model("me/net")
    assert repository.files["LICENSE"] == b"Do as you like."
    data = metadata(repository)
    assert (data.license, data["license_name"], data["license_link"]) == ("other", "mine", "LICENSE")
    push(license=None, message="again")  # the card has it, the repository the text
    assert repository.files["LICENSE"] == b"Do as you like." and metadata(repository).license == "other"


def test_visibility_must_be_meant(push, folder, server):
    server.hub.create("me/open", {})
    with pytest.raises(ValueError, match="me/open is public: everybody will see"):
        push(to="me/open")
    push(to="me/open", private=False)
    push(to="me/new", private=False)
    assert not server.hub.model("me/new").private
    server.hub.create("me/secret", {}, private=True)
    with pytest.raises(ValueError, match=r"me/secret is private; http.*/me/secret/settings makes it public"):
        push(to="me/secret", private=False)


def test_names_that_cannot_be_and_nobody_logged_in(push, server, monkeypatch):
    for name in ("", "a/b/c", "-x", "me/ net"):
        with pytest.raises(HFValidationError):
            push(to=name)
    with pytest.raises(ValueError, match="other/net is not yours: you are me, and may write to me;"):
        push(to="other/net")
    server.hub.organisations["me"] = ["other"]
    push(to="other/net")
    with pytest.raises(PushError, match="the Hub does not accept the token; log in"):
        push(token="hf_unknown")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PushError, match="nobody is logged in to the Hub: `hf auth login`"):
        push()


def test_a_folder_that_does_not_open_is_not_pushed(push, folder, server):
    weights = bytearray((folder / "model.safetensors").read_bytes())
    (folder / "model.safetensors").write_bytes(weights[:-7])
    with pytest.raises(ValueError, match="damaged"):
        push()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no tokenizer\.json"):
        push()
    assert server.hub.repositories == {}


def test_a_token_in_a_file_is_not_pushed(push, folder, server):
    (folder / "recipe.yaml").write_text(f"task: classification\nnote: {server.token}\n")
    with pytest.raises(ValueError, match=r"recipe\.yaml holds the token that you push with") as raised:
        push()
    assert server.token not in str(raised.value) and server.hub.repositories == {}


def test_a_commit_at_the_same_moment_is_not_overwritten(push, server, monkeypatch):
    push()
    repository, create_commit = server.hub.model("me/net"), HfApi.create_commit

    def somebody_is_faster(self, *args, **kwargs):
        server.hub.commit(repository, {"config.json": b"{}"})
        return create_commit(self, *args, **kwargs)

    monkeypatch.setattr(HfApi, "create_commit", somebody_is_faster)
    with pytest.raises(PushError, match="somebody else committed at the same moment; look at what is there"):
        push(license="apache-2.0", replace_card=True)
    assert repository.files["config.json"] == b"{}"


@pytest.fixture
def whole(push, server):
    """What a push without a fault makes, to a branch of a new repository: the files and the requests."""
    for _ in range(2):  # the client asks some things once a process
        server.hub.forget_requests()
        push(revision="dev", tag="v1")
        files = server.hub.model("me/net").at("dev").files
        forget(server)
    return files, list(server.hub.requests)


def forget(server):
    server.hub.repositories.clear()
    server.hub.large_files.clear()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_request_leaves_all_or_nothing(fault, whole, push, folder, server):
    """And of those that pass by themselves none is noticed."""
    files, requests = whole
    before = contents(folder)
    assert len(requests) > 10
    for number, request in enumerate(requests):
        forget(server)
        server.hub.forget_requests()
        server.hub.faults = {number: fault}
        where = f"{fault} at {request}"
        try:
            push(revision="dev", tag="v1")
            done = True
        except PushError as error:
            done = False
            assert fault in (401, 403, 404, 409, 412), where
            assert server.token not in str(error), where
        assert len(server.hub.requests) > number
        repository = server.hub.repositories.get(("models", "me/net"))
        refs = repository.refs if repository else {}
        assert repository is None or repository.private, where
        for ref, commit in refs.items():
            assert set(commit.files) == {".gitattributes"} or commit.files == files, f"{where}: {ref} is partial"
        if done:
            assert refs["refs/heads/dev"].files == files and refs["refs/tags/v1"] is refs["refs/heads/dev"], where
            assert len(refs["refs/heads/dev"].history()) == 2, where
        assert set(server.hub.tokens) <= {server.token, None}  # large files go to a storage that asks for none
    assert contents(folder) == before


@pytest.mark.parametrize("fault", [401, 403, 404, 409, 412, 429, 500, "disconnect"])
def test_a_fault_at_every_request_is_one_line(fault, push, folder, server, said):
    before = contents(folder)
    server.hub.faults = {"every": fault}
    with pytest.raises(PushError) as raised:
        push()
    assert server.hub.repositories == {} and contents(folder) == before and server.token not in str(raised.value)


def test_a_lost_answer_makes_no_second_pull_request(push, server, folder):
    server.hub.create("me/net", contents(folder), private=True)
    push(create_pr=True, message="one")
    number = next(i for i, request in enumerate(server.hub.requests) if "/commit/" in request)
    repository = server.hub.model("me/net")
    del repository.refs["refs/pr/1"]
    server.hub.forget_requests()
    server.hub.faults = {number: "lost"}
    assert push(create_pr=True, message="one") == f"{server.url}/me/net/discussions/1"
    assert [ref for ref in repository.refs if ref.startswith("refs/pr")] == ["refs/pr/1"]


def test_push_to_hub_of_a_model_in_memory(server, folder, monkeypatch):
    model = RnnForSequenceClassification.from_pretrained(folder)
    (folder / "metrics.json").write_text('{"metrics": {"test/accuracy": 0.75}}')
    page = model.push_to_hub("net", license="mit", commit_message="From memory")
    repository = server.hub.model("me/net")
    assert repository.private and repository.commits[0] == "From memory" and page.endswith(repository.at("main").oid)
    for name in ("model.safetensors", "tokenizer.json", "metrics.json"):
        assert repository.files[name] == (folder / name).read_bytes()

    edited = repository.files["README.md"] + b"\nBy hand.\n"
    server.hub.commit(repository, {"README.md": edited})
    with torch.no_grad():
        model.score.weight.add_(1)
    model.push_to_hub("me/net")
    assert b"By hand." in repository.files["README.md"]
    assert "metrics.json" not in repository.files  # they were those of other weights
    with pytest.raises(ValueError, match="give push_to_hub"):
        RnnForSequenceClassification(RnnConfig(vocab_size=9)).push_to_hub("me/net")
    with pytest.raises(TypeError, match="max_shard_size"):
        model.push_to_hub("me/net", max_shard_size="1GB")
    with pytest.raises(ValueError, match="would replace the card that is there: use push_to_hub"):
        model.save_pretrained(folder, push_to_hub=True)
    monkeypatch.setitem(sys.modules, "rnn_hf.hub.model", None)
    with pytest.raises(ImportError, match="pip install rnn-hf"):
        model.push_to_hub("me/net")


def test_push_to_hub_of_a_model_from_the_hub(server, folder, push):
    """Its tokenizer, card and metrics are brought along, from the commit that it was loaded at."""
    (folder / "metrics.json").write_text('{"metrics": {"test/accuracy": 0.75}}')
    push(tag="v1")
    server.hub.commit(server.hub.model("me/net"), {"metrics.json": b"{}"})
    model = RnnForSequenceClassification.from_pretrained("me/net", revision="v1")
    assert model.hub_commit == server.hub.model("me/net").at("v1").oid
    assert AutoModelForSequenceClassification.from_pretrained("me/net", revision="v1").hub_commit == model.hub_commit
    assert RnnForSequenceClassification.from_pretrained(folder).hub_commit is None
    model.push_to_hub("me/copy")
    ours, copied = server.hub.model("me/net").at("v1").files, server.hub.model("me/copy").files
    for name in ("model.safetensors", "tokenizer.json", "metrics.json", "modeling_rnn.py"):
        assert copied[name] == ours[name].data
    assert (
        metadata(server.hub.model("me/copy")).license == "mit" and b'from_pretrained("me/copy")' in copied["README.md"]
    )
