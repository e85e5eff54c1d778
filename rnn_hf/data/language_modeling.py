"""Language-modelling data: the texts as one stream of tokens, read in contiguous lanes.

Notable: training drops fewer than `batch_size` tokens at the end of the stream; validation and test score every token
once, each text's `<eos>` included, in a state carried from text to text.
"""

from typing import Any

import torch
from torch.utils.data import DataLoader

from ..models.config_checks import boolean, integer, number
from .batches import TokenStream, evaluation_length
from .datamodule import TextDataModule
from .readers import Rows
from .splits import hold_out, hold_out_end


class LanguageModelingDataModule(TextDataModule):
    """Batches of `input_ids` and `shift_labels`, int64 `[lanes, time]` (`batches.TokenStream`).

    Args:
        dataset: a file, a folder with train.*, validation.*, test.*, a Hub id or a short name (see `sources`).
        text_column: the column of the text; "text" in a .txt file, where each line is a text.
        tokenizer: what `tokenization.build_tokenizer` takes; None is "word".
        batch_size: lanes in training.
        sequence_length: tokens of a lane in a training batch: gradients reach that far back.
        eval_batch_size: lanes in validation and test; all but the first start inside the text, without its past.
        shuffle_texts: for texts that do not continue each other. Permutes the training texts once, by `seed`, and draws
            a missing validation split from everywhere instead of from the end.
        validation_fraction: share of the training texts held out where there is no validation split.
        seed: of the permutation.
        reading: `path`, `splits`, `test_fraction`, `remove_overlap`, `empty_text`, as in `TextDataModule`.

    Raises ValueError that lists every argument out of range.
    """

    padding_side = "left"  # for generation
    least_overlap_words = 10  # headings and short lines recur in any running text
    rules = {
        "batch_size": integer(1),
        "sequence_length": integer(1),
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
            eval_batch_size=eval_batch_size,
            shuffle_texts=shuffle_texts,
            validation_fraction=validation_fraction,
            seed=seed,
            **reading,
        )

    def split_validation(self, train: Rows, count: int) -> tuple[Rows, Rows]:
        """The texts that end the training text, or any where they do not continue each other."""
        if self.shuffle_texts:
            return hold_out(train, count)
        return hold_out_end(train, count / len(train))

    def encode_split(self, split: str) -> TokenStream:
        """A split as a stream; ValueError if the training text is too short for `batch_size` lanes."""
        rows = self.source.splits[split]
        if split != "train":
            lanes = self.eval_batch_size
            return TokenStream(rows.texts, self.tokenizer, lanes, evaluation_length(lanes))
        if self.shuffle_texts:
            generator = torch.Generator().manual_seed(self.seed)
            rows = rows.take(torch.randperm(len(rows), generator=generator).tolist())
        stream = TokenStream(rows.texts, self.tokenizer, self.batch_size, self.sequence_length, whole=False)
        if not len(stream):
            most = stream.num_tokens
            raise ValueError(f"batch_size must be at most {most}, the tokens of {rows.name}; got {self.batch_size}")
        return stream

    def train_dataloader(self) -> DataLoader:
        """The lanes from their start; the same batches in each epoch."""
        return DataLoader(self.encoded["train"], batch_size=None)

    def evaluation_batches(self, split: str) -> DataLoader:
        """Every token of a split once."""
        return DataLoader(self.encoded[split], batch_size=None)

    def baselines(self) -> dict[str, float]:
        """Perplexity of the add-one unigram model: every token by its frequency in the training text alone."""
        counts = torch.ones(len(self.tokenizer), dtype=torch.float64)
        counts += self.encoded["train"].targets.flatten().long().bincount(minlength=len(counts))
        log_probs = counts.log() - counts.sum().log()
        held_out = {split: self.encoded[split].targets for split in self.encoded if split != "train"}
        return {
            f"{split}/unigram_perplexity": (-log_probs[targets[targets >= 0].long()].mean()).exp().item()
            for split, targets in held_out.items()
        }

    def split_facts(self, split: str) -> dict[str, Any]:
        """Texts, tokens (one `<eos>` a text included), those that training drops, and the share of unknown tokens."""
        stream = self.encoded[split]
        return {
            "texts": stream.num_texts,
            "tokens": stream.num_tokens,
            "dropped_tokens": max(0, stream.num_tokens - stream.targets.numel()),
            "unknown_share": stream.num_unknown / stream.num_tokens,
        }
