"""Sentences of words as tensors, one label and one prediction a word, whatever pieces the tokenizer cuts a word into.

Notable:
- The words are joined by spaces and tokenized as a text: the model reads in training what it reads in a pipeline, and a
  character tokenizer sees where words end. A piece belongs to the word that its last character stands in.
- The label stands on a word's first piece; on the others, and on a space of its own, stands -100. A word that the
  tokenizer leaves nothing of becomes `<unk>` (`<eos>` for a tokenizer without one).
- Nothing is cut off: `model_max_length` is not for taggers.
"""

import re
from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from ..models.config_checks import suggestion
from .batches import length_sorted, token_places
from .encoding import IGNORED, check_known, unknown_id
from .readers import Rows
from .sources import DataSet, load_rows
from .tag_schemes import find_scheme, iob2

SENTENCES_A_BATCH = 64
TOKENS_A_BATCH = 2**16  # so that of very long sentences few are read at once
SENTENCES_A_CALL = 2000  # enough to keep the tokenizer's threads busy, few enough to bound memory

# leading punctuation, the word, a clitic, trailing punctuation; initials ("U.S.") keep their last full stop
_CLITIC = re.compile(r"['\u2019](?:s|re|ve|ll|d|m)|n['\u2019]t", re.IGNORECASE)
_CHUNK = re.compile(
    rf"([\W_]*)((?:[^\W\d_]\.){{2,}}(?!\w)|(?:.*?[^\W_])??)({_CLITIC.pattern})?([\W_]*)", re.DOTALL | re.IGNORECASE
)
_PUNCTUATION = re.compile(r"(.)\1*", re.DOTALL)


@dataclass
class Pieces:
    """The pieces of sentences end to end: `ids` int32 `[pieces]`; `first` bool `[pieces]`, whether a piece is the first
    of a word; `lengths` int64 `[sentences]`, pieces of each."""

    ids: Tensor
    first: Tensor
    lengths: Tensor


def cut_words(sentences: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerFast) -> Pieces:
    """The pieces of each word of each sentence, one at least.

    Raises ValueError for a tokenizer that does not tell where its pieces stand, and for a sentence without words.
    """
    if not tokenizer.is_fast:
        raise ValueError(f"tagging needs a fast tokenizer, which knows where its pieces stand; got {type(tokenizer)}")
    stand_in = tokenizer.eos_token_id if tokenizer.unk_token_id is None else tokenizer.unk_token_id
    ids, first, lengths = array("i"), array("b"), array("q")
    for start in range(0, len(sentences), SENTENCES_A_CALL):
        chunk = sentences[start : start + SENTENCES_A_CALL]
        encoded = tokenizer(
            [" ".join(words) for words in chunk],
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            truncation=False,
            verbose=False,
        )
        for number, (words, pieces, offsets) in enumerate(
            zip(chunk, encoded["input_ids"], encoded["offset_mapping"], strict=True), start + 1
        ):
            if not words:
                raise ValueError(f"sentence {number} has no words")
            before = len(ids)
            starts = [0]  # of each word in the joined text; the last is of no word
            for word in words:
                starts.append(starts[-1] + len(word) + 1)
            begun = 0  # words that have a piece
            for piece, (begin, end) in zip(pieces, offsets, strict=True):
                last = max(begin, end - 1)
                word = bisect_right(starts, last) - 1
                is_first = begun <= word < len(words) and last < starts[word + 1] - 1
                if is_first:
                    ids.extend([stand_in] * (word - begun))
                    first.extend([1] * (word - begun))
                    begun = word + 1
                ids.append(piece)
                first.append(is_first)
            ids.extend([stand_in] * (len(words) - begun))
            first.extend([1] * (len(words) - begun))
            lengths.append(len(ids) - before)
    return Pieces(
        torch.tensor(ids, dtype=torch.int32),
        torch.tensor(first, dtype=torch.bool),
        torch.tensor(lengths, dtype=torch.int64),
    )


class TaggedSentences(Dataset):
    """Sentences as token ids; item `[rows]`, any indices, is those sentences right-padded to the longest of them.

    An item holds `input_ids`, `attention_mask` and `labels`, int64 `[batch, time]`: a word's label on its first piece,
    -100 elsewhere. Without tags the labels are 0 at first pieces.

    Args:
        sentences: the words of each.
        tag_ids: the tag's id of each word of each sentence.
    """

    def __init__(
        self,
        sentences: Sequence[Sequence[str]],
        tokenizer: PreTrainedTokenizerFast,
        tag_ids: Sequence[Sequence[int]] | None = None,
    ):
        pieces = cut_words(sentences, tokenizer)
        self.ids, self.lengths = pieces.ids, pieces.lengths
        self.starts = pieces.lengths.cumsum(0) - pieces.lengths
        self.labels = torch.full((len(pieces.ids),), IGNORED, dtype=torch.int32)
        self.num_words = sum(map(len, sentences))
        flat = [0] * self.num_words if tag_ids is None else [tag for row in tag_ids for tag in row]
        self.labels[pieces.first] = torch.tensor(flat, dtype=torch.int32)
        self.num_text_tokens, self.num_unknown = len(self.ids), int((self.ids == unknown_id(tokenizer)).sum())
        self.pad_token_id = tokenizer.pad_token_id

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, rows: Tensor | Sequence[int]) -> dict[str, Tensor]:
        rows = torch.as_tensor(rows)
        places, mask = token_places(self.starts[rows], self.lengths[rows], len(self.ids))
        return {
            "input_ids": self.ids[places].long().masked_fill(~mask, self.pad_token_id),
            "attention_mask": mask.long(),
            "labels": self.labels[places].long().masked_fill(~mask, IGNORED),
        }


def tag_ids(rows: Rows, label2id: Mapping[str, int]) -> list[list[int]]:
    """The id of each word's tag.

    Raises ValueError naming file, row and word of the first tag that `label2id` lacks, and the allowed ones.
    """
    for number, words, tags in zip(rows.numbers, rows.texts, rows.labels, strict=True):
        for word, tag in zip(words, tags, strict=True):
            if tag not in label2id:
                near = suggestion(tag, label2id)
                raise ValueError(
                    f"{rows.name} row {number}, word {word!r}: the tag must be one of {', '.join(label2id)}; got "
                    f"{tag!r}{near}"
                )
    return [[label2id[tag] for tag in tags] for tags in rows.labels]


def rows_to_iob2(rows: Rows) -> int:
    """Brings the tags of `rows`, which mark spans, to IOB2. Returns how many tags that changed."""
    before, rows.labels = rows.labels, [iob2(tags) for tags in rows.labels]
    return sum(old != new for a, b in zip(before, rows.labels, strict=True) for old, new in zip(a, b, strict=True))


def tagged_batches(
    dataset: str | DataSet,
    tokenizer: PreTrainedTokenizerFast,
    label2id: Mapping[str, int],
    batch_size: int = 64,
    text_column: str = "tokens",
    label_column: str = "tags",
    split: str = "test",
) -> DataLoader:
    """A file, or one split of a folder or named set, as tagging batches for a model with the map `label2id`.

    Tags that mark spans are brought to IOB2 if the model's are. Errors as in `sources.load_rows` and `tag_ids`.
    """
    rows = load_rows(dataset, split, text_column, label_column, "tokens")
    if find_scheme([list(label2id)]) and find_scheme(rows.labels):
        rows_to_iob2(rows)
    encoded = TaggedSentences(rows.texts, tokenizer, tag_ids(rows, label2id))
    check_known(encoded, rows.name)
    return length_sorted(encoded, batch_size)


def split_words(text: str) -> list[str]:
    """The words of a text: what stands between spaces, without the punctuation at either end, which stands alone.

    English clitics are words of their own ("does n't", "dog 's"), as in the Penn Treebank and Universal Dependencies.
    "U.S." and what is all punctuation are one word. Text that is split in this way already stays as it is.
    """
    words = []
    for chunk in text.split():
        before, core, clitic, after = _CHUNK.fullmatch(chunk).groups()
        if not core or _CLITIC.fullmatch(chunk):
            words.append(chunk)
        else:
            words += [match[0] for match in _PUNCTUATION.finditer(before)]
            words += [core, clitic] if clitic else [core]
            words += [match[0] for match in _PUNCTUATION.finditer(after)]
    return words


def tag_sentences(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, sentences: Sequence[Sequence[str]]
) -> list[tuple[list[str], list[float]]]:
    """(the likeliest tag of each word, its probability) for each sentence, in the order given.

    Args:
        model: a token classifier, in evaluation mode.
        sentences: the words of each (`split_words` finds those of a text).

    Raises ValueError for a sentence without words.
    """
    if not sentences:
        return []
    encoded = TaggedSentences(sentences, tokenizer)
    tagged: list = [None] * len(sentences)
    order, start = encoded.lengths.argsort(stable=True, descending=True), 0
    while start < len(order):
        size = max(1, min(SENTENCES_A_BATCH, TOKENS_A_BATCH // int(encoded.lengths[order[start]])))
        rows = order[start : start + size]
        start += size
        batch = {key: value.to(model.device) for key, value in encoded[rows].items()}
        is_word = batch.pop("labels") != IGNORED
        with torch.inference_mode():
            best = model(**batch).logits.float().softmax(-1).max(-1)
        for i, keep, probabilities, ids in zip(rows.tolist(), is_word, best.values, best.indices, strict=True):
            tagged[i] = ([model.config.id2label[tag] for tag in ids[keep].tolist()], probabilities[keep].tolist())
    return tagged
