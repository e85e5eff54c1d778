"""Token ids of text larger than memory, in files that are made once and mapped into memory.

Notable:
- They lie under `$RNN_HF_CACHE`, by default `$HF_HOME/rnn_hf`, named by the md5 of text, tokenizer and rows. What is
  interrupted, by kill -9 too, goes on from its last block, to the same bytes. All of it can be made again: the folder
  may be deleted between runs.
- No more is held than a block of texts and the tokenizer's words.
"""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import torch
from filelock import FileLock
from huggingface_hub.constants import HF_HOME
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from .. import __version__
from ..files import whole_file
from ..tokenization import KINDS, build_tokenizer
from .encoding import Encoder
from .large_text import LargeTexts, reported
from .token_stream import TokenStream, counts, end_of_text, token_stream, with_ends

BLOCK_TEXTS, BLOCK_CHARACTERS = 10_000, 2**23  # of a block, whichever is reached first: a second or two of work


def stream_of(
    texts: Sequence[str] | LargeTexts, tokenizer: PreTrainedTokenizerFast, direction: str = "forward"
) -> TokenStream:
    """The texts as a stream, or that stream from its end if `direction` is "backward": in memory, or mapped from a file
    where they are large."""
    large = isinstance(texts, LargeTexts)
    stream = (stored_stream if large else token_stream)(texts, tokenizer)
    if direction == "backward":  # made anew in each run, as fast as the disk: the file that is kept is always forward
        stream = stream.reversed(_passing_ids(stream) if large else None)
    return stream


def stored_tokenizer(spec: str | dict[str, Any], texts: LargeTexts, padding_side: str) -> PreTrainedTokenizerFast:
    """`build_tokenizer`, whose training on these texts is done once."""
    kind = spec.get("kind") if isinstance(spec, dict) else spec
    if kind not in [*KINDS] or kind == "byte":  # nothing to train
        return build_tokenizer(spec, (), padding_side)

    def make(folder: Path) -> None:
        print(f"training the tokenizer on {texts.file}", file=sys.stderr, flush=True)
        build_tokenizer(spec, texts, padding_side).save_pretrained(folder)

    folder = _made_once(["tokenizer", __version__, spec, texts.identity()], make)
    return build_tokenizer({"pretrained": str(folder)}, padding_side=padding_side)


def stored_stream(texts: LargeTexts, tokenizer: PreTrainedTokenizerFast) -> TokenStream:
    """The texts as a stream, mapped from a file that is made once.

    Raises OSError if the file cannot be written, for example to a full disk; the same call then goes on from there.
    """
    settings = json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
    dtype = torch.uint16 if len(tokenizer) <= 2**16 else torch.int32
    folder = _made_once(
        ["stream", settings, end_of_text(tokenizer), texts.identity()],
        lambda folder: _write_stream(folder, texts, tokenizer, dtype),
    )
    done = json.loads((folder / "done.json").read_text())
    ids = torch.from_file(str(folder / "ids"), size=done["ids"], dtype=dtype)
    ends = torch.from_file(str(folder / "ends"), size=done["texts"], dtype=torch.int64)
    return TokenStream(ids, ends, done["unknown"], done["characters"], done["bytes"])


def permuted_on_disk(stream: TokenStream, order: Tensor) -> TokenStream:
    """`stream.permuted(order)` in a file."""
    return stream.permuted(order, _passing_ids(stream))


def _passing_ids(stream: TokenStream) -> Tensor:
    """Ids to be written, as many as the stream's, in a file which vanishes with the process."""
    with tempfile.NamedTemporaryFile(dir=_cache()) as file:
        file.truncate(stream.ids.nbytes)
        return torch.from_file(file.name, shared=True, size=len(stream.ids), dtype=stream.ids.dtype)


def _write_stream(folder: Path, texts: LargeTexts, tokenizer: PreTrainedTokenizerFast, dtype: torch.dtype) -> None:
    """Writes `ids`, `ends` and, after each block, `done.json`: what of both is whole."""
    end, read = end_of_text(tokenizer), Encoder(tokenizer)
    progress = folder / "done.json"
    done = dict.fromkeys(("texts", "ids", "unknown", "characters", "bytes"), 0)
    if progress.exists():
        done = json.loads(progress.read_text())
        print(f"going on with {texts.file} after {done['texts']:,} texts", file=sys.stderr, flush=True)
    rest = reported(texts.after(done["texts"]), f"making token ids of {texts.file}", len(texts), done["texts"])
    with (
        _opened(folder / "ids", done["ids"] * dtype.itemsize) as ids_file,
        _opened(folder / "ends", done["texts"] * 8) as ends_file,
    ):
        if not done["ids"]:
            done["ids"] = _append(ids_file, torch.tensor([end]).to(dtype))
        for block in _blocks(rest):
            ids, lengths = read(block)
            stream, ends = with_ends(ids, lengths, end)
            _append(ends_file, ends + done["ids"])
            added = (len(block), _append(ids_file, stream.to(dtype)), *counts(block, ids, tokenizer))
            done = {name: old + new for (name, old), new in zip(done.items(), added, strict=True)}
            for file in (ids_file, ends_file):
                file.flush()
                os.fsync(file.fileno())
            with whole_file(progress) as file:
                json.dump(done, file)
    if not done["texts"]:
        raise ValueError(f"{texts.file} holds no rows")


def _blocks(texts: Iterator[str]) -> Iterator[list[str]]:
    block, size = [], 0
    for text in texts:
        block.append(text)
        size += len(text)
        if len(block) == BLOCK_TEXTS or size > BLOCK_CHARACTERS:
            yield block
            block, size = [], 0
    if block:
        yield block


def _opened(path: Path, size: int) -> BinaryIO:
    """A file to write on from `size` bytes; what an interrupted run wrote behind them goes."""
    path.touch()
    file = open(path, "r+b")  # noqa: SIM115  the caller closes it
    file.truncate(size)
    file.seek(size)
    return file


def _append(file: BinaryIO, numbers: Tensor) -> int:
    file.write(numbers.numpy().data)
    return len(numbers)


def _made_once(key: list[Any], make: Callable[[Path], None]) -> Path:
    """The folder of the cache that `make(folder)` filled for this key, now or in an earlier run.

    Where the making ends early the next one finds what it left. Another process that wants the same waits.
    """
    name = hashlib.md5(json.dumps(key, sort_keys=True).encode()).hexdigest()
    folder = _cache() / f"{key[0]}-{name}"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            partial = folder.with_name(f"{folder.name}.partial")
            partial.mkdir(exist_ok=True)
            make(partial)
            partial.rename(folder)
    return folder


def _cache() -> Path:
    """The folder for what is made once; where it cannot be written, one that lasts as long as the process."""
    wanted = Path(os.environ.get("RNN_HF_CACHE") or Path(HF_HOME) / "rnn_hf").expanduser()
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=wanted):
            return wanted
    except OSError as error:
        return Path(_passing_cache(str(wanted), error.strerror).name)


@lru_cache
def _passing_cache(wanted: str, problem: str) -> tempfile.TemporaryDirectory:
    """Deleted when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="rnn_hf-", ignore_cleanup_errors=True)
    print(
        f"cannot write to {wanted} ({problem}): token ids of large text are kept in {folder.name} for this run only; "
        "set RNN_HF_CACHE to a folder that can be written",
        file=sys.stderr,
        flush=True,
    )
    return folder
