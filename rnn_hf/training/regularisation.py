"""Against overfitting: what is added to a training loss and done to its words. No reported loss holds any of it.

Notable: nothing takes a second forward pass. A hook keeps what the last layer gave, and label smoothing of a language
model needs no logits, as their mean over the vocabulary is one product with the mean of the words' vectors.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from ..models.pooling import Pooler
from ..models.rnn_layers import LockedDropout
from .metrics import IGNORED


class Kept:
    """What a module read and what it gave in the latest training forward, with its graph, until it is taken."""

    def __init__(self, module: nn.Module):
        self._latest = None
        module.register_forward_hook(self._keep)

    def _keep(self, module, inputs, output):
        if module.training:
            self._latest = inputs[0], output

    def take(self) -> tuple[Tensor, Tensor]:
        latest, self._latest = self._latest, None  # the graph ends with the step
        return latest


class LastOutput(Kept):
    """The output of a model's last layer, before and after its dropout."""

    def __init__(self, model: PreTrainedModel):
        reader = next((part for part in model.children() if isinstance(part, LockedDropout | Pooler)), None)
        if reader is None:
            raise ValueError(
                "model.activation_penalty and model.temporal_activation_penalty are for layers over the tokens of a "
                f"text, which {type(model).__name__} of this configuration has not: leave them out"
            )
        self.is_dropped = isinstance(reader, LockedDropout)
        super().__init__(reader)

    def take(self) -> tuple[Tensor, Tensor]:
        """(raw, dropped), `[batch, time, features]`. A classifier of texts drops what it has pooled: both are raw."""
        raw, read = super().take()
        return raw, read if self.is_dropped else raw


def activation_penalty(dropped: Tensor, steps: Tensor | None, rows: Tensor) -> Tensor:
    """Activation regularisation, AR (Merity et al. 2017, "Revisiting activation regularization for language RNNs",
    eq. 2, as the mean of squares that their code has).

    Args:
        dropped: `[rows, time, features]`.
        steps: `[rows, time]`, true at real steps; None if all are.
        rows: The weight of each row, `[rows]`.

    Returns:
        The mean over rows of the mean square over a row's real steps and features. As a row weighs what it weighs in
        the loss, batches that are accumulated, or shared by processes, make the penalty of the one that they would be.
    """
    return _mean(wide(dropped).square().mean(-1), steps, rows)


def temporal_activation_penalty(raw: Tensor, steps: Tensor | None, rows: Tensor) -> Tensor:
    """Temporal activation regularisation, TAR (ibid., eq. 3): as `activation_penalty`, of the differences between each
    two neighbouring real steps."""
    pairs = None if steps is None else steps[:, 1:] & steps[:, :-1]
    return _mean(wide(raw).diff(dim=1).square().mean(-1), pairs, rows)


def _mean(values: Tensor, counted: Tensor | None, rows: Tensor) -> Tensor:
    """The mean over rows, by their weight, of each one's mean over the values that count (0 where none does)."""
    counted = torch.ones_like(values) if counted is None else counted.to(values.dtype)
    of_rows = (values * counted).sum(1) / counted.sum(1).clamp(min=1)
    return (of_rows * rows).sum() / rows.sum().clamp(min=torch.finfo(values.dtype).tiny)


def wide(x: Tensor) -> Tensor:
    """In float32 at least: sums and squares add up badly in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


# Label smoothing (Szegedy et al. 2016, section 7) by a share s scores (1 - s) on the target and s on all classes alike.
# Of a softmax it is the plain loss plus s times the target's lead: how far its logit is above the mean of all.


def leads(logits: Tensor, targets: Tensor) -> Tensor:
    """The lead of each target `[...]` in its logits `[..., classes]`; 0 where it is -100, which no loss reads."""
    logits, scored = wide(logits), targets != IGNORED
    lead = logits.gather(-1, targets.clamp(min=0)[..., None])[..., 0] - logits.mean(-1)
    return torch.where(scored, lead, 0.0)


def leads_of_head(hidden: Tensor, head: nn.Linear, targets: Tensor) -> Tensor:
    """`leads` in the logits of a linear head, without these: hidden (tokens, features), targets (tokens,)."""
    # Products number by number: autocast would round those of matrices.
    toward_target = F.embedding(targets, head.weight) - head.weight.mean(0)
    return (wide(hidden) * toward_target).sum(-1) + head.bias[targets] - head.bias.mean()


def drop_words(ids: Tensor, share: float, unknown: int, kept: Iterable[int]) -> Tensor:
    """Word dropout (Bowman et al. 2016, section 3.1): each of `ids` becomes `unknown` with probability `share`, drawn
    anew at each place, except the special tokens `kept`."""
    dropped = torch.rand(ids.shape, device=ids.device) < share
    for token in kept:
        dropped &= ids != token
    return ids.masked_fill(dropped, unknown)
