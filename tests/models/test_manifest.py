"""The manifest beside a model: written, read, and held to when a model is loaded."""

import random

import pytest
import torch
from safetensors.torch import load_file

from rnn_hf import RnnForSequenceClassification
from rnn_hf.models.manifest import MANIFEST, check_manifest, read_manifest, write_manifest

from .conftest import randomise, tiny_config


@pytest.fixture
def folder(tmp_path):
    randomise(RnnForSequenceClassification(tiny_config())).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"a": 0}')
    (tmp_path / "README.md").write_text("# A card\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "notes.txt").write_text("notes")
    write_manifest(tmp_path)
    return tmp_path


def test_it_lists_every_file(folder):
    listed = read_manifest((folder / MANIFEST).read_text())
    assert set(listed) == {"README.md", "config.json", "model.safetensors", "more/notes.txt", "tokenizer.json"}
    RnnForSequenceClassification.from_pretrained(folder)
    write_manifest(folder)  # itself it does not list
    assert read_manifest((folder / MANIFEST).read_text()) == listed


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "more/notes.txt"])
def test_a_flipped_bit_is_refused_naming_the_file(folder, name):
    data = (folder / name).read_bytes()
    for _ in range(8):
        bit = random.Random(len(name)).randrange(8 * len(data))
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        (folder / name).write_bytes(flipped)
        with pytest.raises(ValueError, match=f"{name} is damaged: its sha256 is not the one.*delete .*{MANIFEST}"):
            RnnForSequenceClassification.from_pretrained(folder)


def test_a_card_may_be_edited_and_a_file_left_out(folder):
    (folder / "README.md").write_text("# Another card\n")
    (folder / "more" / "notes.txt").unlink()
    RnnForSequenceClassification.from_pretrained(folder)


def test_saving_over_it_takes_it_away(folder):
    model = RnnForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    model.save_pretrained(folder)
    assert not (folder / MANIFEST).exists()
    again = RnnForSequenceClassification.from_pretrained(folder)
    assert all(torch.equal(load_file(folder / "model.safetensors")[k], v) for k, v in again.state_dict().items())


@pytest.mark.parametrize(
    "line", ["", "no sha256", f"{'0' * 64}  ../secret", f"{'0' * 64}  /etc/passwd", f"{'0' * 63}  a"]
)
def test_lines_that_cannot_be(folder, line):
    (folder / MANIFEST).write_text(f"{'0' * 64}  absent\n{line}\n")
    with pytest.raises(ValueError, match=f"{MANIFEST} is damaged: line 2 must be a sha256, two spaces and a path"):
        check_manifest(folder / MANIFEST)
