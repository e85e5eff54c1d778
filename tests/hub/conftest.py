"""A Hub on 127.0.0.1 that this process's clients talk to, and small model folders to push."""

import time

import pytest
import torch
import transformers.utils.hub
from huggingface_hub import constants

from rnn_hf import RnnConfig, RnnForSequenceClassification, train_word_tokenizer

from ..hub_server import HubServer


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A Hub on which the user `me` is logged in. Waiting between attempts takes no time."""
    with HubServer() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        files = constants.HUGGINGFACE_CO_URL_TEMPLATE.split("/{repo_id}")[1]
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{running.url}/{{repo_id}}{files}")
        monkeypatch.setattr(transformers.utils.hub, "_hf_api", None)  # keeps the Hub that it was made for
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # all other tests run without a network
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache of the hub"))
        monkeypatch.setenv("HF_TOKEN", running.token)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        yield running


def write_folder(folder, labels=("negative", "positive"), hidden_size=5, seed=0):
    """A classifier with its tokenizer, as `save_pretrained` writes them."""
    torch.manual_seed(seed)
    tokenizer = train_word_tokenizer(["a good film", "a bad film"])
    config = RnnConfig(
        vocab_size=len(tokenizer), embedding_size=4, hidden_size=hidden_size, pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)},
    )  # fmt: skip
    RnnForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "model")


@pytest.fixture
def said():
    """The lines that a push says."""
    return []


@pytest.fixture
def push(server, folder, said):
    """Pushes the folder to me/net under the MIT licence unless told otherwise."""
    from rnn_hf.hub.push import Push, PushOptions

    def push(to="me/net", source=folder, dry_run=False, token=None, **options):
        return Push(PushOptions(to, **{"license": "mit", **options}), token, said.append).run(source, dry_run)

    return push
