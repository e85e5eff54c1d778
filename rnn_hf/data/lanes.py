"""A stream of tokens in batches for language modelling, in two ways.

Notable:
- `Lanes` cuts it into contiguous lanes, whose state is carried from batch to batch; `SeparateTexts` reads each text by
  itself, from a fresh state behind an `<eos>`. Both score every token once.
- Both are data sets whose item is a whole batch, so a `DataLoader(..., batch_size=None)` adds next to nothing.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import PreTrainedTokenizerFast

from .encoding import IGNORED, check_known
from .sources import DataSet, load_rows
from .token_files import stream_of
from .token_stream import TokenStream

EVAL_STATES = ("carried", "reset")
TEXTS_AT_ONCE = 32  # of about one length, where each is read by itself


class Lanes(Dataset):
    """A stream in `lanes` contiguous lanes of `time` tokens; item `[start:stop]` is those time steps of all lanes.

    An item holds `input_ids` and `shift_labels`, both int64 `[lanes, stop - start]`: the stream delayed by one token,
    and the stream itself, so every token is a target once. Items that follow each other continue the lanes.

    Args:
        whole: True keeps every token and fills the last lanes up with targets of -100; False drops the last tokens,
            which fill no time step of all lanes (fewer than `lanes`).
        facts: joins each item.
        block: (number, of how many): an item holds only this block of `lanes` / how many neighbouring lanes.
    """

    def __init__(
        self,
        stream: TokenStream,
        lanes: int,
        whole: bool = True,
        facts: dict[str, float] | None = None,
        block: tuple[int, int] = (0, 1),
    ):
        self.stream, self.lanes, self.facts = stream, lanes, facts or {}
        number, blocks = block
        self.item_lanes = range(lanes * number // blocks, lanes * (number + 1) // blocks)
        self.time = -(-stream.num_tokens // lanes) if whole else stream.num_tokens // lanes

    @property
    def num_tokens(self) -> int:
        """Tokens that are targets."""
        return min(self.stream.num_tokens, self.lanes * self.time)

    def __len__(self) -> int:
        return self.time

    def __getitem__(self, steps: slice) -> dict[str, Tensor]:
        start, stop, _ = steps.indices(self.time)
        if start >= stop:
            raise IndexError(f"steps must be a slice within the {self.time} time steps; got {steps}")
        lanes = self.item_lanes
        shape = (len(lanes), stop - start + 1)  # the inputs, and one more: the targets begin at the second
        ids, last = self.stream.ids, lanes[-1] * self.time + stop
        if last < len(ids):
            tokens = ids[lanes[0] * self.time + start :].as_strided(shape, (self.time, 1)).long()
            labels = tokens[:, 1:]
        else:
            places = torch.tensor(lanes)[:, None] * self.time + torch.arange(start, stop + 1)
            tokens = ids[places.clamp(max=len(ids) - 1)].long()
            labels = tokens[:, 1:].masked_fill(places[:, 1:] >= len(ids), IGNORED)
        return {"input_ids": tokens[:, :-1], "shift_labels": labels, **self.facts}


class StepSampler(Sampler):
    """The steps of an epoch: slices that cover `time` from its start to its end.

    Args:
        sequence_length: time steps of a slice (the last may have fewer).
        random: as for AWD-LSTM (Merity et al. 2018): lengths are drawn around `sequence_length` in 95 % of the steps
            and around half of it otherwise, with a standard deviation of a fourteenth of it (70 or 35, and 5). Another
            draw each epoch, a function of `seed` and epoch alone; scaled, by under one percent on long text, so that
            every epoch has the same number of steps and ends with the stream. Lightning calls `set_epoch`.
    """

    def __init__(self, time: int, sequence_length: int, random: bool = False, seed: int = 0):
        self.time, self.sequence_length, self.random, self.seed, self.epoch = time, sequence_length, random, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose lengths the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        if self.random:
            return max(1, round(self.time / (0.975 * self.sequence_length)))  # 0.95 + 0.05 / 2
        return -(-self.time // self.sequence_length)

    def __iter__(self) -> Iterator[slice]:
        ends = [min((step + 1) * self.sequence_length, self.time) for step in range(len(self))]
        if self.random:
            # torch's CPU generator reads the low 32 bits, so seed and epoch must share them
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**32)
            around = torch.where(torch.rand(len(self), generator=generator) < 0.95, 1.0, 0.5).double()
            drawn = around + torch.randn(len(self), generator=generator, dtype=torch.float64) / 14
            reached = drawn.clamp(min=0.2).cumsum(0)
            ends = (reached / reached[-1] * self.time).round().long().tolist()
        return (slice(start, end) for start, end in zip([0, *ends], ends, strict=False))


class SeparateTexts(Dataset):
    """Each text of a stream by itself, from a fresh state behind an `<eos>`.

    An item holds `input_ids` and `shift_labels`, int64 `[texts, time]`, right-padded with targets of -100: texts of
    about one length, longest first, at most `time` steps at once. `reset_state` is True where new texts begin and False
    where the item continues the texts before it.

    Args:
        facts: joins each item.
    """

    def __init__(self, stream: TokenStream, time: int = 128, facts: dict[str, float] | None = None):
        self.stream, self.time, self.facts = stream, time, facts or {}
        lengths = stream.ends.diff(prepend=stream.ends.new_zeros(1))  # with <eos>, so at least 1
        order = lengths.argsort(stable=True, descending=True)
        # four classes of length an octave: at most a sixth of a batch is padding
        _, sizes = (lengths[order].double().log2() * 4).floor().unique_consecutive(return_counts=True)
        self.groups = [group for alike in order.split(sizes.tolist()) for group in alike.split(TEXTS_AT_ONCE)]
        longest = [int(lengths[group[0]]) for group in self.groups]
        self.items = [(group, start) for group, length in enumerate(longest) for start in range(0, length, time)]
        self.lengths = lengths

    @property
    def num_tokens(self) -> int:
        """Tokens that are targets."""
        return self.stream.num_tokens

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, item: int) -> dict[str, Tensor | bool]:
        group, start = self.items[item]
        rows = self.groups[group]
        lengths, ends = self.lengths[rows][:, None], self.stream.ends[rows][:, None]
        step = torch.arange(start, min(start + self.time, int(lengths.max())))  # [time]
        places, padding = ends - lengths + step, step >= lengths  # [texts, time], of the inputs
        last = len(self.stream.ids) - 1
        inputs = self.stream.ids[places.clamp(max=last)].long().masked_fill(padding, int(self.stream.ids[0]))
        labels = self.stream.ids[(places + 1).clamp(max=last)].long().masked_fill(padding, IGNORED)
        return {"input_ids": inputs, "shift_labels": labels, "reset_state": start == 0, **self.facts}


def evaluation_batches(
    stream: TokenStream, eval_state: str = "carried", lanes: int = 1, sequence_length: int | None = None
) -> DataLoader:
    """Every token of the stream once, with what `LanguageModelingEvaluation` needs.

    Args:
        eval_state: "carried" from text to text, in `lanes`; "reset" before each text, whatever `lanes` is.
        sequence_length: time steps of a batch, at most: where no gradient needs them few, they change no number.
    """
    if eval_state == "reset":
        return DataLoader(SeparateTexts(stream, sequence_length or 128, stream.per_token()), batch_size=None)
    dataset = Lanes(stream, lanes, facts=stream.per_token())
    sampler = StepSampler(len(dataset), sequence_length or max(32, 512 // lanes))
    return DataLoader(dataset, batch_size=None, sampler=sampler)


def stream_batches(
    dataset: str | DataSet,
    tokenizer: PreTrainedTokenizerFast,
    lanes: int = 1,
    sequence_length: int | None = None,
    text_column: str = "text",
    split: str = "test",
    eval_state: str = "carried",
    direction: str = "forward",
) -> DataLoader:
    """A file, or one split of a folder or packaged set, as language-modelling batches: each token is a target once.

    `loader.dataset.num_tokens` counts them, one `<eos>` a text included. Arguments as in `evaluation_batches` and
    `token_files.stream_of`, errors as in `sources.load_rows`.
    """
    rows = load_rows(dataset, split, text_column, large_text=True)
    stream = stream_of(rows.texts, tokenizer, direction)
    check_known(stream, rows.name)
    return evaluation_batches(stream, eval_state, lanes, sequence_length)
