"""Pre-trained word vectors: GloVe, word2vec (text and binary) and fastText `.vec` files, matched to a vocabulary.

Notable:
- The format is found from the content, gzip too. A file is read a row at a time, and only the rows of the vocabulary
  are kept: a file of 5 GB needs no more memory than a small one.
- A token takes the vector of the same word; failing that, of the first word in the file that is equal when case is
  ignored, which is the most frequent one: files are sorted so. Of a word that a file holds twice the first row counts.
- What no row matches starts like a word of the file: drawn from the normal distribution with the mean and standard
  deviation of the matched rows, feature by feature. `<pad>` is zero.
- Words that are not UTF-8 (word2vec cuts some within a character) can be in no vocabulary: passed over and counted.
"""

import gzip
import io
import os
import re
import struct
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from .files import md5
from .models.config_checks import suggestion

LONGEST_LINE = 2**20  # bytes: a word and some 50,000 numbers
LONGEST_WORD = 2**12  # bytes, in the binary format
FASTTEXT_MODEL = struct.pack("<i", 793712314)  # the first bytes of fastText's own .bin
ENDINGS = r"(\.\d+k)?(\.(txt|vec|bin))?(\.gz)?"  # .100k: the 100,000 most frequent words of a file

# beginning of a standard file's name -> where it is published
PUBLISHED = {
    "glove.6B": "https://nlp.stanford.edu/data/glove.6B.zip",
    "glove.42B": "https://nlp.stanford.edu/data/glove.42B.300d.zip",
    "glove.840B": "https://nlp.stanford.edu/data/glove.840B.300d.zip",
    "glove.twitter.27B": "https://nlp.stanford.edu/data/glove.twitter.27B.zip",
    "wiki-news-300d-1M": "https://dl.fbaipublicfiles.com/fasttext/vectors-english/wiki-news-300d-1M.vec.zip",
    "crawl-300d-2M": "https://dl.fbaipublicfiles.com/fasttext/vectors-english/crawl-300d-2M.vec.zip",
    "cc.": "https://fasttext.cc/docs/en/crawl-vectors.html",
    "GoogleNews-vectors-negative300": "https://code.google.com/archive/p/word2vec/",
}


@dataclass
class MatchedVectors:
    """A vector for each token of a vocabulary.

    `weight` is float32 `[vocabulary, width]`; `found` bool `[vocabulary]`: whether the row is one of the file; `facts`
    say which file it was and how much matched how, for `metrics.json`.
    """

    weight: Tensor
    found: Tensor
    facts: dict[str, Any]


def find_word_vectors(name: str) -> Path:
    """The file of word vectors that `name` means.

    Args:
        name: a path, or the name of a file in a folder of RNN_HF_DATA (an environment variable), its endings left out
            if you like: `glove.6B.50d` for RNN_HF_DATA/glove/glove.6B.50d.txt.gz.

    Raises FileNotFoundError that says where the file is published and where it may stand.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    root = os.environ.get("RNN_HF_DATA")
    there = sorted(file for file in Path(root).expanduser().glob("*/*") if file.is_file()) if root else []
    named = [file for file in there if re.fullmatch(re.escape(name) + ENDINGS, file.name)]
    if named:
        return min(named, key=lambda file: len(file.name))  # a whole file before a part of it
    published = next((url for start, url in PUBLISHED.items() if path.name.startswith(start)), None)
    beside = [file for file in path.parent.glob("*") if file.is_file()] if path.parent.is_dir() else []
    names = {file.name for file in [*there, *beside]} | {re.sub(ENDINGS + "$", "", file.name) for file in there}
    raise FileNotFoundError(
        f"no word vectors {name!r}{suggestion(path.name, names)}: neither a file nor the name of one in "
        + (f"a folder of RNN_HF_DATA ({root})" if root else "the folders that RNN_HF_DATA would name, which is not set")
        + (f"; download {published}, unpack it" if published else "; give the path of a GloVe, word2vec or .vec file")
        + (" and give the path, or put the file into RNN_HF_DATA/vectors/" if published else "")
    )


def match_word_vectors(file: Path, tokenizer: PreTrainedTokenizerBase) -> MatchedVectors:
    """The vectors of all tokens of `tokenizer`; those that the file lacks are drawn by torch's default generator.

    Raises ValueError naming file and line for what is no vector, and for a file that holds none of the tokens.
    """
    vectors = VectorFile(file)
    vocabulary = tokenizer.get_vocab()
    folded: dict[str, list[int]] = {}
    for token, i in vocabulary.items():
        folded.setdefault(token.lower(), []).append(i)
    weight = torch.zeros(len(tokenizer), vectors.width)
    exact, ignoring_case = torch.zeros(2, len(tokenizer), dtype=torch.bool)
    not_utf8 = repeated = 0
    for raw, numbers in vectors.rows():
        try:
            word = raw.decode()
        except UnicodeDecodeError:
            not_utf8 += 1
            continue
        same = vocabulary.get(word)
        repeats = same is not None and bool(exact[same])
        repeated += repeats
        others = [i for i in folded.get(word.lower(), ()) if i != same and not (exact[i] or ignoring_case[i])]
        if same is not None and not repeats:
            weight[same] = vectors.read(numbers)
            exact[same] = True
        for i in others:
            weight[i] = vectors.read(numbers)
            ignoring_case[i] = True
    ignoring_case &= ~exact
    found = exact | ignoring_case
    if tokenizer.pad_token_id is not None:
        found[tokenizer.pad_token_id] = False
    if not found.any():
        sample = ", ".join(repr(token) for token in list(vocabulary)[:5])
        raise ValueError(
            f"{file} holds none of the {len(vocabulary)} tokens of the vocabulary ({sample}, ...): word vectors are "
            "for word tokenizers"
        )
    mean, spread = weight[found].mean(0), weight[found].std(0, correction=0)
    weight[~found] = mean + spread * torch.randn(int((~found).sum()), vectors.width)
    if tokenizer.pad_token_id is not None:
        weight[tokenizer.pad_token_id] = 0
    facts = {
        "file": file.name,
        "md5": md5(file),
        "format": vectors.format,
        "width": vectors.width,
        "words": vectors.count,
        "words_not_utf8": not_utf8,
        "repeated_words": repeated,
        "vocabulary": len(tokenizer),
        "found_exactly": int((found & exact).sum()),
        "found_ignoring_case": int((found & ignoring_case).sum()),
    }
    return MatchedVectors(weight, found, facts)


def words_of(file: Path) -> Iterator[str]:
    """The words of a file in its order, usually the most frequent first; those that are not UTF-8 are left out."""
    for raw, _ in VectorFile(file).rows():
        try:
            yield raw.decode()
        except UnicodeDecodeError:
            continue


class VectorFile:
    """A file of word vectors.

    Attributes:
        format: "text" (GloVe), "text with header" (word2vec, fastText) or "binary" (word2vec).
        width: numbers of a vector.
        count: rows that the last reading has passed.

    Raises ValueError for a file that is none of these.
    """

    def __init__(self, file: Path):
        self.file, self.count = file, 0
        with self._opened() as stream:
            first = self._line(stream, 1)
            header = re.fullmatch(rb"\s*(\d+)\s+(\d+)\s*", first)
            if header is None:
                self.format, self.width = "text", _trailing_numbers(first)
            else:
                self._stated, self.width = int(header[1]), int(header[2])
                # More, if the word holds a space; a binary line has none.
                is_text = _trailing_numbers(self._line(stream, 2, whole=False)) >= self.width
                self.format = "text with header" if is_text else "binary"
        if not self.width:
            raise ValueError(
                f"{file} line 1 must be a word and its vector, or the header COUNT WIDTH; got {first[:60]!r}"
            )

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        """(word, its vector as the file spells it: see `read`) of each row. Raises ValueError naming a wrong line."""
        self.count = 0
        with self._opened() as stream:
            if self.format != "text":
                self._line(stream, 1)
            for row in (self._binary if self.format == "binary" else self._text)(stream):
                self.count += 1
                yield row

    def read(self, numbers: bytes) -> Tensor:
        """The vector of the row that `rows` gave last, float32 `[width]`. Raises ValueError unless all are finite."""
        try:
            values = array("f", numbers) if self.format == "binary" else array("f", map(float, numbers.split()))
        except ValueError as error:
            raise ValueError(f"{self._place()} holds what is no number: {error}") from error
        row = torch.frombuffer(values, dtype=torch.float32)
        if not row.isfinite().all():
            raise ValueError(f"{self._place()} holds a number that is not finite")
        return row

    def _place(self) -> str:
        header = self.format == "text with header"
        return f"{self.file} {'word' if self.format == 'binary' else 'line'} {self.count + header}"

    def _opened(self) -> BinaryIO:
        with open(self.file, "rb") as raw:
            start = raw.read(4)
        if start[:2] == b"PK":
            raise ValueError(f"{self.file} is a zip archive: unpack it and give the file of vectors in it")
        if start == FASTTEXT_MODEL:
            raise ValueError(f"{self.file} is a fastText model: give the .vec file that is published with it")
        if start[:2] != b"\x1f\x8b":
            return open(self.file, "rb")
        return io.BufferedReader(gzip.open(self.file, "rb"))  # whose own reads of single bytes are slow

    def _line(self, stream: BinaryIO, number: int, whole: bool = True) -> bytes:
        try:
            line = stream.readline(LONGEST_LINE)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{self.file} is cut off or damaged at line {number}: {error}") from error
        if whole and len(line) == LONGEST_LINE:
            raise ValueError(f"{self.file} line {number} holds more than {LONGEST_LINE:,} bytes: it is no vector")
        return line

    def _text(self, stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
        # Bytes, not text: a line ends at \n alone, while str.splitlines also cuts at characters that stand in words.
        number = 1 + (self.format == "text with header")
        while line := self._line(stream, number):
            word, _, numbers = line.rstrip().partition(b" ")
            if numbers.count(b" ") + 1 != self.width:  # the word holds or is white space, tabs separate, or no vector
                fields = line.rsplit(None, self.width)
                if len(fields) == self.width and line[:1].isspace():
                    fields = [b"", *fields]
                if len(fields) != self.width + 1:
                    raise ValueError(
                        f"{self.file} line {number} must hold a word and {self.width} numbers; got "
                        f"{line[:60].decode(errors='replace')!r}: the file is cut off or damaged"
                    )
                word, numbers = fields[0], b" ".join(fields[1:])
            yield word, numbers
            number += 1

    def _binary(self, stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
        for number in range(1, self._stated + 1):
            word = bytearray()
            try:
                while (letter := stream.read(1)) not in (b" ", b"") and len(word) < LONGEST_WORD:
                    word += letter
                numbers = stream.read(4 * self.width)
            except (EOFError, OSError, zlib.error) as error:
                raise ValueError(f"{self.file} is cut off or damaged at word {number}: {error}") from error
            if len(word) == LONGEST_WORD or len(numbers) < 4 * self.width:
                raise ValueError(f"{self.file} is cut off or damaged at word {number} of {self._stated}")
            yield bytes(word).lstrip(b"\n"), numbers


def _trailing_numbers(line: bytes) -> int:
    """How many fields at the end of a line are numbers, the first field left out: it is the word or begins it."""
    count = 0
    for field in reversed(line.split()[1:]):
        try:
            float(field)
        except ValueError:
            break
        count += 1
    return count
