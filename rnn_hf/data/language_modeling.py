"""Language-modelling data: the texts as one stream of tokens, read in contiguous lanes.

Notable:
- Training drops fewer than `batch_size` tokens at the end of the stream; validation and test score every token once,
  each text's `<eos>` included, in a state that is carried from text to text or reset at each.
- Text of any size: beyond `large_text.LARGE_FILE` neither the texts nor their token ids are held in memory.
"""

from functools import cached_property
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

from ..models.config_checks import boolean, integer, number, one_of
from ..models.configuration_rnn import DIRECTIONS
from ..processes import this_process
from .datamodule import TextDataModule
from .lanes import EVAL_STATES, Lanes, StepSampler, evaluation_batches
from .large_text import LargeTexts
from .readers import Rows
from .splits import hold_out, hold_out_end
from .token_files import permuted_on_disk, stored_tokenizer, stream_of
from .token_stream import TokenStream

LEAST_RANDOM_LENGTH = 10  # random lengths, down to a fifth of it, need room above zero

PROMPT_WORDS = 4


class LanguageModelingDataModule(TextDataModule):
    """Batches of `input_ids` and `shift_labels`, int64 `[lanes, time]` (`lanes.Lanes`).

    Args:
        dataset: a file, a folder with train.*, validation.*, test.*, a Hub id or a short name (see `sources`).
        text_column: the column of the text; "text" in a .txt file, where each line is a text.
        tokenizer: what `tokenization.build_tokenizer` takes; None is "word".
        batch_size: lanes in training; where several processes train together, a multiple of their number.
        sequence_length: tokens of a lane in a training batch: gradients reach that far back.
        random_sequence_length: whether that is only the middle of lengths drawn anew for each batch, as for AWD-LSTM
            (`lanes.StepSampler`); the module then scales its learning rate by the length.
        eval_state: what a text of validation and test is read in: the state "carried" from the text before it, which is
            the custom for running text, or "reset", so that texts are scored each by itself, behind an `<eos>`.
        direction: "forward", or "backward": all of a split is read from its last token to its first, so that the state
            is carried from a text to the one before it. None: as `model.pretrained` or `model.config` says, forward if
            they do not.
        eval_batch_size: lanes in validation and test with a carried state; all but the first start inside the text,
            without its past.
        shuffle_texts: for texts that do not continue each other. Permutes the training texts once, by `seed`, and draws
            a missing validation split from everywhere instead of from the end.
        validation_fraction: share of the training texts held out where there is no validation split.
        seed: of the permutation.
        reading: `path`, `splits`, `test_fraction`, `remove_overlap`, `empty_text`, as in `TextDataModule`.

    Raises ValueError that lists every argument out of range.
    """

    padding_side = "left"  # for generation
    large_text = True
    least_overlap_words = 10  # headings and short lines recur in any running text
    rules = {
        "batch_size": integer(1),
        "sequence_length": integer(1),
        "random_sequence_length": boolean,
        "eval_state": one_of(*EVAL_STATES),
        "direction": one_of(*DIRECTIONS, optional=True),
        "eval_batch_size": integer(1),
        "shuffle_texts": boolean,
        "validation_fraction": number(0.001, 0.5),
        "seed": integer(0, 2**31 - 1),
    }

    def __init__(
        self,
        dataset: str,
        text_column: str = "text",
        tokenizer: str | dict[str, Any] | None = None,
        batch_size: int = 32,
        sequence_length: int = 35,
        random_sequence_length: bool = False,
        eval_state: str = "carried",
        direction: str | None = None,
        eval_batch_size: int = 1,
        shuffle_texts: bool = False,
        validation_fraction: float = 0.1,
        seed: int = 0,
        **reading: Any,
    ):
        super().__init__(
            dataset=dataset,
            text_column=text_column,
            tokenizer=tokenizer,
            batch_size=batch_size,
            sequence_length=sequence_length,
            random_sequence_length=random_sequence_length,
            eval_state=eval_state,
            direction=direction,
            eval_batch_size=eval_batch_size,
            shuffle_texts=shuffle_texts,
            validation_fraction=validation_fraction,
            seed=seed,
            **reading,
        )
        self.direction = direction or "forward"
        if random_sequence_length and sequence_length < LEAST_RANDOM_LENGTH:
            raise ValueError(
                f"sequence_length must be at least {LEAST_RANDOM_LENGTH} to be random; got {sequence_length}"
            )

    def split_validation(self, train: Rows, count: int) -> tuple[Rows, Rows]:
        """The texts that end the training text, or any where they do not continue each other."""
        if not self.shuffle_texts:
            return hold_out_end(train, count / len(train))
        if isinstance(train.texts, LargeTexts):
            raise ValueError(
                f"{train.name} is too large to draw validation texts from everywhere (shuffle_texts): "
                "give a folder with train.* and validation.*"
            )
        return hold_out(train, count)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """As in `TextDataModule`; on text that is large, it is trained once and kept beside the token ids."""
        texts = self.source.splits["train"].texts
        if isinstance(texts, LargeTexts):
            return stored_tokenizer(self.tokenizer_spec, texts, self.padding_side)
        return super().tokenizer

    def encode_split(self, split: str) -> TokenStream:
        """A split as a stream; ValueError if the training text is too short for `batch_size` lanes."""
        rows = self.source.splits[split]
        stream = stream_of(rows.texts, self.tokenizer, self.direction)
        if split != "train":
            return stream
        if stream.num_tokens < self.batch_size:
            most = stream.num_tokens
            raise ValueError(f"batch_size must be at most {most}, the tokens of {rows.name}; got {self.batch_size}")
        if self.shuffle_texts:
            order = torch.randperm(stream.num_texts, generator=torch.Generator().manual_seed(self.seed))
            return permuted_on_disk(stream, order) if isinstance(rows.texts, LargeTexts) else stream.permuted(order)
        return stream

    def training_batches(self) -> tuple[Lanes, StepSampler]:
        """The lanes from their start, in steps of the same lengths each epoch, or of the epoch's random ones.

        Of several processes each takes its block of the lanes. ValueError if they do not divide `batch_size`.
        """
        rank, world = this_process()
        if self.batch_size % world:
            below = self.batch_size // world * world
            near = f"{below} or {below + world}" if below else f"{world}"
            raise ValueError(
                f"batch_size must be a multiple of {world}, the processes that share its lanes; got "
                f"{self.batch_size}: give {near}"
            )
        lanes = Lanes(self.encoded["train"], self.batch_size, whole=False, block=(rank, world))
        return lanes, StepSampler(lanes.time, self.sequence_length, self.random_sequence_length, self.seed)

    def evaluation_batches(self, split: str) -> DataLoader:
        """Every token of a split once."""
        return evaluation_batches(self.encoded[split], self.eval_state, self.eval_batch_size)

    def baselines(self) -> dict[str, float]:
        """Perplexity of the add-one unigram model: every token by its frequency in the training text alone."""
        counts = {split: self._token_counts(split) for split in self.encoded}
        train = counts.pop("train") + 1
        log_probs = train.log() - train.sum().log()
        return {f"{split}/unigram_perplexity": (-(n @ log_probs) / n.sum()).exp().item() for split, n in counts.items()}

    def _token_counts(self, split: str) -> torch.Tensor:
        """How often each token of the vocabulary is to be predicted."""
        counts = torch.zeros(len(self.tokenizer), dtype=torch.float64)
        for ids in self.encoded[split].ids[1:].split(2**24):
            counts += ids.long().bincount(minlength=len(counts))
        return counts

    def sample_texts(self) -> list[str]:
        """Beginnings of held-out texts, to be continued."""
        texts = [" ".join(text.split()[:PROMPT_WORDS]) for text in super().sample_texts()]
        return list(dict.fromkeys(texts))

    def split_facts(self, split: str) -> dict[str, Any]:
        """Texts; tokens, characters and bytes, an `<eos>` or line break a text included; dropped and unknown tokens."""
        stream = self.encoded[split]
        return {
            "texts": stream.num_texts,
            "tokens": stream.num_tokens,
            "dropped_tokens": stream.num_tokens % self.batch_size if split == "train" else 0,
            "characters": stream.num_characters,
            "bytes": stream.num_bytes,
            "unknown_share": stream.num_unknown / stream.num_tokens,
        }

    def facts(self) -> dict[str, Any]:
        """As in `TextDataModule`, and the state in which validation and test were read."""
        return super().facts() | {"eval_state": self.eval_state}
