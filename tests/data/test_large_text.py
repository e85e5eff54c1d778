"""Text larger than memory: the same batches as from memory, and an interruption loses nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from rnn_hf.data import large_text, token_files
from rnn_hf.data.language_modeling import LanguageModelingDataModule
from rnn_hf.data.large_text import LargeTexts
from rnn_hf.data.token_files import stored_stream
from rnn_hf.data.token_stream import token_stream
from rnn_hf.tokenization import build_tokenizer

from .conftest import sentences, write_csv


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    """All files are large, blocks are small, and made files lie here."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("RNN_HF_CACHE", str(folder))
    monkeypatch.setattr(large_text, "LARGE_FILE", 0)
    monkeypatch.setattr(token_files, "BLOCK_TEXTS", 7)
    return folder


def streams(data):
    return {
        split: (stream.ids.tolist(), stream.ends.tolist(), data.split_facts(split))
        for split, stream in data.encoded.items()
    }


@pytest.mark.parametrize("options", [
    {}, {"shuffle_texts": True}, {"tokenizer": "byte"}, {"tokenizer": "bpe"}, {"direction": "backward"},
    {"direction": "backward", "shuffle_texts": True},
], ids=str)  # fmt: skip
def test_a_folder_gives_the_same_as_in_memory(running_text, cache, monkeypatch, options):
    large = LanguageModelingDataModule(str(running_text), batch_size=4, **options)
    assert isinstance(large.source.splits["train"].texts, LargeTexts)
    found, baselines = streams(large), large.baselines()
    overlap = large.facts()
    monkeypatch.setattr(large_text, "LARGE_FILE", 2**28)
    small = LanguageModelingDataModule(str(running_text), batch_size=4, **options)
    assert isinstance(small.source.splits["train"].texts, list)
    assert found == streams(small)
    assert baselines == small.baselines()
    assert overlap == small.facts()


def test_both_directions_share_the_files_that_are_made_once(running_text, cache):
    forward = LanguageModelingDataModule(str(running_text)).encoded["train"]
    made = {path: path.read_bytes() for path in cache.glob("*/ids")}
    assert made
    backward = LanguageModelingDataModule(str(running_text), direction="backward").encoded["train"]
    assert backward.ids.dtype == forward.ids.dtype and backward.ids.tolist() == forward.ids.tolist()[::-1]
    assert {path: path.read_bytes() for path in cache.glob("*/ids")} == made
    again = LanguageModelingDataModule(str(running_text)).encoded["train"]
    assert torch.equal(again.ids, forward.ids)


@pytest.mark.parametrize("kind", ["txt", "csv", "jsonl"])
def test_validation_is_the_end_of_a_large_file(tmp_path, cache, monkeypatch, kind):
    texts = [*sentences(50, 0), "two\nlines, one text", ""] if kind != "txt" else [*sentences(51, 0), ""]
    file = tmp_path / f"all.{kind}"
    if kind == "txt":
        file.write_text("\n".join(texts) + "\n")
    elif kind == "csv":
        write_csv(file, texts, ["x"] * len(texts))
    else:
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    large = LanguageModelingDataModule(str(file), batch_size=3)
    found = streams(large)
    assert isinstance(large.source.splits["validation"].texts, LargeTexts)
    monkeypatch.setattr(large_text, "LARGE_FILE", 2**28)
    small = LanguageModelingDataModule(str(file), batch_size=3)
    assert found == streams(small)
    assert large.tokenizer.get_vocab() == small.tokenizer.get_vocab()


def test_what_is_made_once_is_read_again_and_never_confused(tmp_path, cache, capfd):
    (tmp_path / "train.txt").write_text("a b\nc\n")
    (tmp_path / "validation.txt").write_text("a\n")
    first = streams(LanguageModelingDataModule(str(tmp_path), batch_size=1))
    made = {file: file.stat().st_mtime_ns for file in cache.rglob("ids")}
    assert len(made) == 2
    assert streams(LanguageModelingDataModule(str(tmp_path), batch_size=1)) == first
    assert {file: file.stat().st_mtime_ns for file in cache.rglob("ids")} == made
    (tmp_path / "train.txt").write_text("a b\nd\n")  # of the same size
    other = LanguageModelingDataModule(str(tmp_path), batch_size=1)
    assert "d" in other.tokenizer.get_vocab()
    assert other.encoded["train"].num_unknown == 0
    assert len(list(cache.rglob("ids"))) == 4  # validation too: another tokenizer
    assert not list(cache.rglob("*.partial"))


@pytest.mark.parametrize("words", [100, 70_000])
def test_ids_are_as_wide_as_the_vocabulary_needs(tmp_path, cache, monkeypatch, words):
    monkeypatch.setattr(token_files, "BLOCK_TEXTS", 1000)
    text = [" ".join(f"w{i}" for i in range(start, start + 10)) for start in range(0, words, 10)]
    tokenizer = build_tokenizer({"kind": "word", "split": "whitespace"}, text)
    (tmp_path / "text.txt").write_text("\n".join(text))
    texts = LargeTexts(tmp_path / "text.txt", "text", lambda: iter(text))
    stream, in_memory = stored_stream(texts, tokenizer), token_stream(text, tokenizer)
    assert stream.ids.dtype == (torch.uint16 if words < 2**16 else torch.int32)
    assert torch.equal(stream.ids.int(), in_memory.ids)
    assert torch.equal(stream.ends, in_memory.ends)


@pytest.mark.parametrize("calls", [1, 3, 8])
def test_any_failure_goes_on_where_it_ended(running_text, cache, monkeypatch, capfd, calls):
    """Here a full disk, at any write; half a block may have been written."""
    expected = streams(LanguageModelingDataModule(str(running_text), batch_size=2))
    for folder in cache.glob("stream-*"):
        if folder.is_dir():
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
    whole_file, left = token_files.whole_file, [calls]

    def full(path):
        left[0] -= 1
        if not left[0]:
            raise OSError(28, "No space left on device")
        return whole_file(path)

    monkeypatch.setattr(token_files, "whole_file", full)
    with pytest.raises(OSError, match="No space left"):
        _ = LanguageModelingDataModule(str(running_text), batch_size=2).encoded
    assert list(cache.glob("stream-*.partial"))
    monkeypatch.setattr(token_files, "whole_file", whole_file)
    assert streams(LanguageModelingDataModule(str(running_text), batch_size=2)) == expected
    assert ("going on with" in capfd.readouterr().err) == (calls > 1)
    assert not list(cache.glob("*.partial"))


def test_a_cache_that_cannot_be_written_is_said_and_replaced(running_text, cache, monkeypatch, capfd):
    blocked = cache / "file"
    blocked.write_text("")
    monkeypatch.setenv("RNN_HF_CACHE", str(blocked))
    data = LanguageModelingDataModule(str(running_text), batch_size=2)
    assert data.encoded["train"].num_texts == 61
    assert capfd.readouterr().err.count(f"cannot write to {blocked} ") == 1


def test_the_cache_is_where_hugging_face_s_is(tmp_path, monkeypatch):
    monkeypatch.setattr(token_files, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RNN_HF_CACHE", raising=False)
    assert token_files._cache() == tmp_path / "home" / "rnn_hf"
    monkeypatch.setenv("RNN_HF_CACHE", str(tmp_path / "own"))
    assert token_files._cache() == tmp_path / "own"


def test_what_a_large_file_cannot_give_is_said(tmp_path, cache):
    file = tmp_path / "text.txt"
    file.write_text("a b\nc\n" * 20)
    with pytest.raises(ValueError, match="too large to draw validation texts from everywhere"):
        _ = LanguageModelingDataModule(str(file), shuffle_texts=True).source
    texts = LanguageModelingDataModule(str(file)).source.splits["train"].texts
    with pytest.raises(ValueError, match="rows cannot be picked out of it"):
        texts[3]
    file.write_bytes(b"a b\n" * 30 + b"caf\xe9\n")
    with pytest.raises(ValueError, match=r"text\.txt line 31: byte 0xe9 .* is not UTF-8"):
        _ = LanguageModelingDataModule(str(file)).source


# Its peak, not `ru_maxrss`, which starts at the peak of the process that it was started by.
TOKENISE = """
import sys
from rnn_hf.data import large_text
from rnn_hf.data.language_modeling import LanguageModelingDataModule
large_text.LARGE_FILE = 2**20
large_text.SECONDS_A_LINE = 0.5
data = LanguageModelingDataModule(sys.argv[1], tokenizer={"kind": "word", "vocab_size": 30000}, batch_size=20)
batches = sum(batch["input_ids"].numel() for batch in data.train_dataloader())
print(batches, *(data.encoded[split].num_tokens for split in ("train", "validation")))
print(int(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_200_mb_in_bounded_memory_and_over_kill_9(tmp_path):
    """Killed in the middle, three times: the same files, byte by byte, as of a run that was left in peace."""
    lines = "\n".join(sentences(20_000, 0, longest=40))
    with open(tmp_path / "text.txt", "w") as file:
        for part in range(200_000_000 // len(lines)):
            file.write(lines.replace("n0x", f"part{part % 50}x") + "\n")

    def start(cache):
        environment = {**os.environ, "RNN_HF_CACHE": str(tmp_path / cache), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", TOKENISE, str(tmp_path / "text.txt")]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    whole = start("whole")
    out, err = whole.communicate()
    assert whole.returncode == 0, err
    assert "making token ids of" in err and "%" in err
    counts, peak = out.splitlines()
    print(f"peak {peak} MB; {counts} tokens")
    assert int(peak) < 1000
    for kill in range(3):
        run, progress = start("killed"), -1
        before = max(
            (json.loads(f.read_text())["texts"] for f in tmp_path.glob("killed/*.partial/done.json")), default=0
        )
        while run.poll() is None and progress <= before + 50_000:
            progress = max(
                (json.loads(f.read_text())["texts"] for f in tmp_path.glob("killed/*.partial/done.json")), default=-1
            )
            time.sleep(0.05)
        run.send_signal(signal.SIGKILL)
        run.communicate()
        assert run.returncode == -signal.SIGKILL, f"kill {kill} came too late"
    last = start("killed")
    out, err = last.communicate()
    assert last.returncode == 0, err
    assert "going on with" in err
    assert out.splitlines()[0] == counts
    files = {file.relative_to(tmp_path / "whole") for file in tmp_path.glob("whole/stream-*/*")}
    assert len(files) == 6
    for file in files:
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "killed" / file).read_bytes()
