"""Rows as padded batches of whole texts, for classification.

Notable: `EncodedTexts` is a data set whose item is a whole batch, so a `DataLoader(..., batch_size=None)` adds next to
nothing. `encode_texts` and `labelled_batches` serve prediction and evaluation with a saved tokenizer.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import PreTrainedTokenizerFast

from ..processes import this_process
from .encoding import check_known, encode, unknown_id
from .labels import label_tensor
from .sources import DataSet, load_rows

BATCHES_A_POOL = 50  # sorting by length within pools of this many batches leaves little padding and much of the shuffle


def token_places(starts: Tensor, lengths: Tensor, num_ids: int) -> tuple[Tensor, Tensor]:
    """Where the tokens of right-padded rows stand among `num_ids` ids end to end, and which are no padding.

    starts and lengths (batch,) -> places, mask (batch, time); places of padding are any that exist.
    """
    steps = torch.arange(int(lengths.max()))[None]  # [1, time]
    return (starts[:, None] + steps).clamp(max=num_ids - 1), steps < lengths[:, None]


class EncodedTexts(Dataset):
    """Texts as token ids; item `[rows]`, any indices, is those texts right-padded to the longest of them.

    An item holds `input_ids` and `attention_mask`, int64 `[batch, time]`, and `labels` where they were given: ids,
    int64 `[batch]`, or float32 `[batch, labels]` of 0 and 1. A text without tokens becomes a single `<unk>` (`<eos>`
    for a tokenizer without one): no row is all padding.

    Args:
        labels: of each text, as `labels.label_tensor` gives them.
        max_length: only the first so many tokens of a text are read; None takes the tokenizer's `model_max_length`.
    """

    def __init__(
        self,
        texts: Sequence[str],
        tokenizer: PreTrainedTokenizerFast,
        labels: Tensor | None = None,
        max_length: int | None = None,
    ):
        limit = min(tokenizer.model_max_length if max_length is None else max_length, 2**31 - 1)
        ids, lengths = encode(texts, tokenizer)
        self.starts = lengths.cumsum(0) - lengths
        self.lengths = lengths.clamp(max=limit)
        self.num_text_tokens, self.num_unknown = len(ids), int((ids == unknown_id(tokenizer)).sum())
        self.token_counts, self.num_truncated = lengths, int((lengths > limit).sum())  # [texts], before the cut
        self.empty = lengths == 0  # [texts]
        known = torch.cat([ids.new_zeros(1), (ids != unknown_id(tokenizer)).int()]).cumsum(0)
        self.without_known = known[self.starts + lengths] == known[self.starts]  # [texts]; empty texts too

        stand_in = tokenizer.eos_token_id if tokenizer.unk_token_id is None else tokenizer.unk_token_id
        self.starts[self.empty] = len(ids)
        self.lengths[self.empty] = 1
        self.ids = torch.cat([ids, ids.new_tensor([stand_in])])
        self.pad_token_id = tokenizer.pad_token_id
        self.labels = labels

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, rows: Tensor | Sequence[int]) -> dict[str, Tensor]:
        rows = torch.as_tensor(rows)
        places, mask = token_places(self.starts[rows], self.lengths[rows], len(self.ids))
        ids = self.ids[places].long()
        batch = {"input_ids": ids.masked_fill(~mask, self.pad_token_id), "attention_mask": mask.long()}
        if self.labels is None:
            return batch
        labels = self.labels[rows]
        return {**batch, "labels": labels.float() if labels.ndim == 2 else labels}

    def length_statistics(self) -> dict[str, float | int]:
        """Tokens of a text, before `max_length` cuts it: mean, median, 95th percentile, max."""
        ordered = self.token_counts.sort().values
        at = {"median": 0.5, "95th_percentile": 0.95, "max": 1.0}  # the least length that so many texts do not exceed
        places = {name: max(0, math.ceil(share * len(ordered)) - 1) for name, share in at.items()}
        return {"mean": ordered.double().mean().item()} | {name: int(ordered[i]) for name, i in places.items()}


class Share(Dataset):
    """What one of `world` processes takes of each batch: of the rows of item `[rows]` every `world`-th from `rank` on.

    A batch of fewer rows than processes is whole in each of them, so that none has nothing to do; its `copies` is then
    how many hold it.
    """

    def __init__(self, dataset: Dataset, rank: int, world: int):
        self.dataset, self.rank, self.world = dataset, rank, world

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, rows: Tensor | Sequence[int]) -> dict[str, Tensor | int]:
        if len(rows) < self.world:
            return {**self.dataset[rows], "copies": self.world}
        return self.dataset[rows[self.rank :: self.world]]


def own_share(dataset: Dataset) -> Dataset:
    """The data set, or this process's `Share` of it where several train together: call it once they do."""
    rank, world = this_process()
    return dataset if world == 1 else Share(dataset, rank, world)


class LengthBucketSampler(Sampler):
    """Batches of indices of texts of about one length, shuffled anew each epoch.

    The order is a function of `seed` and the epoch alone; every text comes once an epoch. Lightning calls `set_epoch`.

    Args:
        balance: `[texts]` ids of labels that are drawn equally often: an epoch is as long, but repeats the texts of
            rare labels, each as often as the others of its label or once more, and holds a part of the frequent ones'.
    """

    def __init__(self, lengths: Tensor, batch_size: int, seed: int = 0, balance: Tensor | None = None):
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0
        self.balance = balance

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose order the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        # torch's CPU generator reads the low 32 bits, so seed and epoch must share them
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**32)
        batches = []
        for pool in self._drawn(generator).split(self.batch_size * BATCHES_A_POOL):
            batches += pool[self.lengths[pool].argsort(stable=True)].split(self.batch_size)
        return (batches[i] for i in torch.randperm(len(batches), generator=generator).tolist())

    def _drawn(self, generator: torch.Generator) -> Tensor:
        """The epoch's texts, `[texts]`, shuffled."""
        if self.balance is None:
            return torch.randperm(len(self.lengths), generator=generator)
        rows = [torch.nonzero(self.balance == label)[:, 0] for label in self.balance.unique()]
        ends = [len(self.lengths) * (i + 1) // len(rows) for i in range(len(rows))]
        drawn = []
        for of_label, start, end in zip(rows, [0, *ends], ends, strict=False):
            again, part = divmod(end - start, len(of_label))
            drawn += [of_label] * again + [of_label[torch.randperm(len(of_label), generator=generator)[:part]]]
        return torch.cat(drawn)[torch.randperm(len(self.lengths), generator=generator)]


def length_sorted(texts: EncodedTexts, batch_size: int) -> DataLoader:
    """Every text once, longest first: the order for evaluation."""
    order = texts.lengths.argsort(stable=True, descending=True)
    return DataLoader(texts, batch_size=None, sampler=list(order.split(batch_size)))


def encode_texts(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, max_length: int | None = None
) -> dict[str, Tensor]:
    """One right-padded batch of `input_ids` and `attention_mask` for a classifier (see `EncodedTexts`).

    Raises ValueError for no texts, and for a text that is empty or has only unknown words.
    """
    if isinstance(texts, str) or not texts:
        raise ValueError(f"texts must be a list of at least one string; got {texts!r}")
    encoded = EncodedTexts(texts, tokenizer, max_length=max_length)
    for number, (text, nothing_known) in enumerate(zip(texts, encoded.without_known, strict=True), 1):
        if nothing_known:
            raise ValueError(f"text {number} must have a word that the tokenizer knows; got {text[:60]!r}")
    return encoded[range(len(texts))]


def labelled_batches(
    dataset: str | DataSet,
    tokenizer: PreTrainedTokenizerFast,
    label2id: dict[str, int],
    batch_size: int = 64,
    text_column: str = "text",
    label_column: str = "label",
    split: str = "test",
    row_kind: str = "text",
    label_separator: str | None = None,
) -> DataLoader:
    """A file, or one split of a folder or packaged set, as classification batches for a model with the map `label2id`.

    `row_kind` is "multi_label" for several labels a row; `label_separator` stands between those of a string.
    `len(loader.dataset)` is the number of texts. Errors as in `sources.load_rows` and `labels.label_tensor`.
    """
    rows = load_rows(dataset, split, text_column, label_column, row_kind, label_separator)
    encoded = EncodedTexts(rows.texts, tokenizer, label_tensor(rows, label2id))
    check_known(encoded, rows.name)
    return length_sorted(encoded, batch_size)
