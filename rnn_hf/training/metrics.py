"""Exact metrics of one pass over evaluation data, for the Trainer and `rnn-hf evaluate` alike (no Lightning here)."""

import io
import math
from itertools import zip_longest
from typing import Any

import torch

from ..processes import this_process
from .ranks import gathered

IGNORED = -100  # the target that no loss reads


class WeightedMean:
    """The mean over batches of different sizes, summed in float64. Nothing waits for the device until `compute`."""

    def __init__(self):
        self.means, self.counts = [], []

    def update(self, mean: torch.Tensor, count: torch.Tensor | int) -> None:
        """Adds a batch of `count` items with this mean; a batch of none, whose mean is undefined, adds nothing."""
        count = torch.as_tensor(count, device=mean.device)
        self.means.append(torch.where(count > 0, mean.detach(), 0.0))
        self.counts.append(count)

    def compute(
        self, cure: str = "training has diverged; try a lower model.learning_rate or trainer.gradient_clip_val"
    ) -> tuple[float, int]:
        """(mean, number of items). Raises ValueError if there were none, or if the mean is NaN or infinite."""
        # On the CPU: not every accelerator has float64.
        means, counts = (torch.stack(x).cpu().double() if x else torch.zeros(1) for x in (self.means, self.counts))
        if not counts.sum():
            raise ValueError("the evaluation data holds nothing to score")
        mean = (means @ counts / counts.sum()).item()
        if not math.isfinite(mean):
            raise ValueError(f"the loss on the evaluation data is {mean}: {cure}")
        return mean, int(counts.sum())

    def standard_error(self, blocks: int = 32, least: int = 16) -> float | None:
        """That of the mean, of batches in the order of one long text, by batch means (Conway 1963).

        Neighbouring batches are no independent draws: as many of them as make `blocks` of about one size are taken
        together, whose means vary about the whole one's. None where there are fewer than `least` batches, too few to
        tell.
        """
        means, counts = (torch.stack(x).cpu().double() for x in (self.means, self.counts))
        blocks = min(blocks, len(means))
        if blocks < least:
            return None
        mean = means @ counts / counts.sum()
        excess = torch.stack([part.sum() for part in ((means - mean) * counts).tensor_split(blocks)])
        return (excess.square().sum() * blocks / (blocks - 1)).sqrt().item() / int(counts.sum())


def of_all_processes(evaluation: Any) -> Any:
    """An evaluation of every batch, out of those of several processes that took the batches in turn.

    Each process gets the same, with its tensors on the CPU. A run of one process has its own back.
    """
    if this_process()[1] == 1:
        return evaluation
    torch.save(evaluation, buffer := io.BytesIO())
    # an accelerator's tensors come to the CPU; the bytes are this run's own
    parts = (io.BytesIO(part) for part in gathered(buffer.getvalue()))
    return merged([torch.load(part, map_location="cpu", weights_only=False) for part in parts])


def merged(parts: list[Any]) -> Any:
    """The first of `parts`, evaluations whose lists have an entry a batch, with the batches of all in their order."""
    whole = parts[0]  # which has the first batch, and with it all that a batch tells of the model
    for name, value in vars(whole).items():
        values = [vars(part)[name] for part in parts if name in vars(part)]
        if isinstance(value, WeightedMean):
            merged(values)
        elif isinstance(value, list):
            missing = object()
            turns = zip_longest(*values, fillvalue=missing)
            setattr(whole, name, [entry for turn in turns for entry in turn if entry is not missing])
    return whole


class LanguageModelingEvaluation:
    """Nats per token and perplexity, whose recurrent state is carried from batch to batch unless a batch resets it.

    Beside tensors, the model's arguments, a batch may hold numbers: `reset_state`, true where the lanes are new texts,
    and `characters_per_token` and `bytes_per_token` of the text that is evaluated as a whole.
    """

    names = ("loss", "perplexity", "bits_per_character", "bits_per_byte", "tokens")

    def __init__(self):
        self.state, self.nats = None, WeightedMean()
        self.per_token, self.cure = {}, {}
        self.is_one_text = True  # whether the batches follow each other in it

    def update(self, model, batch: dict[str, torch.Tensor | float]) -> None:
        """Scores `input_ids` against `shift_labels`, `[lanes, time]`, where the batch before it ended."""
        if "reset_state" in batch:
            self.is_one_text = False
        if batch.get("reset_state"):
            self.state = None
        inputs = {name: value for name, value in batch.items() if isinstance(value, torch.Tensor)}
        output = model(**inputs, past_key_values=self.state, use_cache=True, skip_logits=True)
        self.state = output.past_key_values
        if model.config.one_pass:
            smoothing = model.config.smoothing
            self.cure["cure"] = (
                f"some token has probability 0 under smoothing {smoothing!r}; give another. The report of such a run "
                f"has this one's figures too, and its model opens with smoothing={smoothing!r}"
            )
        self.nats.update(output.loss, (batch["shift_labels"] != IGNORED).sum())
        self.per_token = {
            unit: batch[f"{unit}s_per_token"] for unit in ("character", "byte") if f"{unit}s_per_token" in batch
        }

    def compute(self) -> dict[str, float | int]:
        """`loss` in nats per token, `perplexity` = exp(all nats / all tokens), `tokens` scored.

        `bits_per_character` and `bits_per_byte`, where the batches say how many a token has: all bits over those of the
        text, a line break for each `<eos>` among them.
        """
        loss, tokens = self.nats.compute(**self.cure)
        bits = {f"bits_per_{unit}": loss / math.log(2) / number for unit, number in self.per_token.items()}
        return {"loss": loss, "perplexity": math.exp(loss) if loss < 700 else math.inf, **bits, "tokens": tokens}

    def report(self) -> dict[str, float]:
        """`loss_standard_error` in nats per token, by `WeightedMean.standard_error`: of one text, and a long one.

        Texts that are scored each by itself come sorted by length, and their batches are no sample.
        """
        error = self.nats.standard_error() if self.is_one_text else None
        return {} if error is None else {"loss_standard_error": error}
