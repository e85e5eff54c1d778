"""From a trained model to the Hub to somebody else's machine: pushed, and opened by name in new processes.

Each process has a home of its own that is empty at first, and the real clients: what passes here is what a stranger
does. The Hub is ours, on 127.0.0.1 (`hub_server`).
"""

import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import rnn_hf as package
from rnn_hf.cli import main

from .commands.conftest import rnn_hf, trained, workplace  # noqa: F401  fixtures
from .hub.conftest import server  # noqa: F401  a fixture

ROOT = Path(package.__file__).parents[1]

# the folders or names of a language model and a classifier, whether rnn-hf is there -> logits, a text, labels
USE = """
import sys
lm_name, reviews, with_package = sys.argv[1], sys.argv[2], sys.argv[3] == "with"
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, pipeline
options = {} if with_package else {"trust_remote_code": True}
if with_package:
    import rnn_hf
revision = {"revision": "v1"} if lm_name == "me/lm" else {}
lm = AutoModelForCausalLM.from_pretrained(lm_name, **revision, **options)
tokenizer = AutoTokenizer.from_pretrained(lm_name, **revision, **options)
assert with_package == type(lm).__module__.startswith("rnn_hf.")
ids = tokenizer("the film is", return_tensors="pt")
print(lm(**ids).logits.flatten().tolist())
print(tokenizer.decode(lm.generate(**ids, max_new_tokens=5, do_sample=False)[0]))
print(AutoModel.from_pretrained(lm_name, **revision, **options)(**ids).last_hidden_state.flatten().tolist())
model = AutoModelForSequenceClassification.from_pretrained(reviews, **options)
tokenizer = AutoTokenizer.from_pretrained(reviews, **options)
print(pipeline("text-classification", model=model, tokenizer=tokenizer)("a great film"))
"""


@pytest.fixture
def python(server, workplace, tmp_path):  # noqa: F811
    """Runs code in a new process, with or without rnn-hf; what it downloads stays in the home it names."""
    blocked = tmp_path / "blocked" / "rnn_hf"  # goes before an installed one
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ImportError('rnn-hf is not here')\n")
    paths = {"with": ROOT, "without": blocked.parent}

    def python(code, *arguments, package="with", home="nobody", **more):
        environment = server.environment(tmp_path / home, server.token) | {"OMP_NUM_THREADS": "1"} | more
        environment["PYTHONPATH"] = str(paths[package])
        command = [sys.executable, "-c", code, *arguments, package]
        done = subprocess.run(
            command, env=environment, cwd=workplace, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return python


def push(*argv):
    assert main(["push", *argv, "--license", "mit"]) == 0


def test_loaded_by_name_it_is_what_was_trained(python, server, workplace):  # noqa: F811
    """Into an empty cache, at a revision, with rnn-hf and without it; then offline from what is in the cache."""
    use = partial(python, USE)
    push("runs/lm", "--repo-id", "me/lm", "--tag", "v1")
    push("runs/classifier", "--repo-id", "me/reviews")
    server.hub.commit(server.hub.model("me/lm"), {"config.json": b"{}"})  # v1 is what it was
    expected = use("runs/lm/model", "runs/classifier/model")
    assert use("me/lm", "me/reviews", home="user") == expected
    assert use("me/lm", "me/reviews", home="stranger", package="without") == expected
    count = len(server.hub.requests)
    assert use("me/lm", "me/reviews", home="stranger", package="without", HF_HUB_OFFLINE="1") == expected
    assert len(server.hub.requests) == count


def test_the_snippets_of_pushed_cards_run(python, rnn_hf, server, workplace):  # noqa: F811
    """As they stand on the Hub's page: each way to load, by name and into an empty cache."""
    snippets = []
    for run in ("lm", "classifier"):
        push(f"runs/{run}", "--repo-id", f"me/{run}")
        card = server.hub.model(f"me/{run}").files["README.md"].decode()
        snippets += re.findall(r"^```(python|bash)\n(.*?)^```", card.partition("## Results")[0], re.M | re.S)
    assert [language for language, _ in snippets] == ["python", "python", "bash", "python"] * 2
    assert all("me/lm" in code or "me/classifier" in code for _, code in snippets)
    remote = [code for _, code in snippets if "trust_remote_code=True" in code]
    ours = [code for _, code in snippets if "import rnn_hf" in code]
    assert (len(remote), len(ours)) == (2, 4)
    assert "positive" in python("\n".join(ours), home="user")
    assert "positive" in python("\n".join(remote), home="stranger", package="without")
    for _, *words in (shlex.split(code) for language, code in snippets if language == "bash"):
        code, out, err = rnn_hf(*words)
        assert code == 0 and out.strip(), err


def test_the_commands_take_a_name(rnn_hf, server, workplace):  # noqa: F811
    push("runs/classifier", "--repo-id", "me/reviews", "--tag", "v1")
    texts = ("a great film", "the plot is dull")
    code, out, err = rnn_hf("predict", "me/reviews", *texts)
    assert code == 0, err
    assert out == rnn_hf("predict", "runs/classifier", *texts)[1]
    assert (
        "RnnForSequenceClassification (rnn), a text classifier" in rnn_hf("info", "me/reviews", "--revision", "v1")[1]
    )
    code, _, err = rnn_hf(
        "fit", "--config", "classifier.yaml", "--model.pretrained", "me/reviews", "--max_steps", "1",
        "--output_dir", "runs/finetuned",
    )  # fmt: skip
    assert code == 0, err
    code, _, err = rnn_hf("predict", "me/absent", "text")
    assert code == 2 and err.count("\n") == 1 and "me/absent" in err
    assert rnn_hf("info", "me/absent")[0] == 2


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_flipped_bit_on_the_hub_is_refused_naming_the_file(name, rnn_hf, server, workplace):  # noqa: F811
    """Also of the tokenizer, which another class opens after the model."""
    push("runs/classifier", "--repo-id", "me/reviews")
    files = server.hub.model("me/reviews").files
    content = bytearray(files[name])
    content[content.index(b"film") if name.endswith(".json") else -3] ^= 1
    server.hub.create("me/flipped", files | {name: bytes(content)})
    for _ in range(2):  # from the Hub, then from the cache
        code, out, err = rnn_hf("predict", "me/flipped", "a great film")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert f"{name} is damaged: its sha256 is not the one that stands in SHA256SUMS" in err
    code, _, err = rnn_hf("predict", "me/reviews", "a great film")
    assert code == 0, err


def test_data_sets_of_the_hub_by_name(rnn_hf, server, workplace, tmp_path, monkeypatch):  # noqa: F811
    """`data.dataset` with an id, a private one, a configuration and a revision; and a short name's id."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", server.url)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    rows = "text,label\n" + "a good film,1\na bad film,0\n" * 20
    card = b"---\nconfigs:\n- config_name: plain\n  data_files:\n  - {split: train, path: plain/train.csv}\n---\n"
    files = {"README.md": card, "plain/train.csv": rows.encode()}
    repository = server.hub.create("me/pairs", files, kind="datasets", private=True)
    repository.refs["refs/tags/v1"] = repository.at("main")
    server.hub.commit(repository, {"README.md": b"# Another\n", "plain/train.csv": b"nothing\n"})
    rows = b'{"text": "a good film", "label_text": "positive"}\n{"text": "a bad one", "label_text": "negative"}\n'
    splits = {f"{split}.jsonl": rows * 10 for split in ("train", "validation", "test")}
    server.hub.create("SetFit/sst2", splits, kind="datasets")

    def fit(name, folder):
        options = ("--max_steps", "1", "--trainer.enable_progress_bar", "false", "--output_dir", tmp_path / folder)
        return rnn_hf("fit", "--config", "classifier.yaml", "--data.dataset", name, *options)

    code, _, err = fit("me/pairs:plain@v1", "a")
    assert code == 0 and "from the Hub, me/pairs:plain@v1 (train)" in err, err
    code, _, err = fit("sst2", "b")
    assert code == 0 and "from the Hub, SetFit/sst2 (train, validation, test)" in err, err
    for name, message in (
        ("me/pairs:plane@v1", "has no configuration 'plane': write me/pairs:NAME, NAME one of plain"),
        ("me/pears", "the Hub gives no data set 'me/pears'"),
        ("me/pairs:plain@v9", "the Hub gives no data set 'me/pairs:plain@v9'"),
    ):
        code, _, err = fit(name, "c")
        assert code == 2 and message in err, err
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets of nobody")
    code, _, err = fit("me/pairs:plain@v1", "c")
    assert code == 2 and "the Hub gives no data set 'me/pairs:plain@v1'" in err, err


def test_the_token_is_written_nowhere(server, workplace, tmp_path, monkeypatch, capfd):  # noqa: F811
    canary = "hf_canary_of_the_tests"
    server.hub.users[canary] = "me"
    monkeypatch.setenv("HF_TOKEN", canary)
    push("runs/lm", "--repo-id", "me/lm", "--token", canary)
    run = ["fit", "--config", "classifier.yaml", "--output_dir", str(tmp_path / "run"), "--max_steps", "1"]
    assert main([*run, "--hub.repo_id", "me/reviews", "--hub.license", "mit", "--hub.create_pr", "false"]) == 0
    server.hub.faults = {"every": 500}
    monkeypatch.setenv("RNN_HF_TRACEBACK", "1")
    with pytest.raises(OSError, match="again and again"):
        main(["push", "runs/lm", "--repo-id", "me/other", "--license", "mit", "--token", canary])
    said = "".join(capfd.readouterr())
    assert "to push again: rnn-hf push runs/lm --repo-id me/other --license mit --token ..." in said
    assert canary not in said
    assert set(server.hub.tokens) <= {canary, None}
    for repository in server.hub.repositories.values():
        pushed = [file for commit in repository.at("main").history() for file in commit.files.values()]
        assert len(pushed) > 10 and not [file for file in pushed if canary.encode() in file.data]
    written = [path for folder in (tmp_path, workplace) for path in folder.rglob("*") if path.is_file()]
    assert len(written) > 20 and not [path for path in written if canary.encode() in path.read_bytes()]
