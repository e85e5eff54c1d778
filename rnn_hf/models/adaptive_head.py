"""Adaptive softmax: frequent words in one small matrix, the others in clusters that few tokens need."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .token_embedding import WordVectors


class AdaptiveHead(nn.Module):
    """The distribution of Grave et al. 2017 ("Efficient softmax approximation for GPUs"), as
    `torch.nn.AdaptiveLogSoftmaxWithLoss` computes it:

        p(word | h) = p(word | h)                       for the words below the first cutoff,
        p(word | h) = p(cluster | h) p(word | cluster, h)  for the others.

    It sums to 1: a model of its own, not an approximation of the full softmax. Ids must run from frequent to rare, as a
    word tokenizer's do; with others it is as right, but slower.

    Args:
        width: features of a hidden state.
        cutoffs: first id of each cluster, increasing.
        div_value: cluster i (from 1) is computed at `width / div_value ** i` features.
        tied: take the words' vectors from the embedding, `width` features in every cluster.
    """

    def __init__(self, width: int, vocab_size: int, cutoffs: list[int], div_value: float, tied: bool):
        super().__init__()
        self.cutoffs, self.bounds = list(cutoffs), list(zip(cutoffs, [*cutoffs[1:], vocab_size], strict=True))
        widths = [width if tied else max(1, int(width / div_value**i)) for i in range(1, len(cutoffs) + 1)]
        self.words = None if tied else WordVectors(width, cutoffs[0], bias=False)
        self.bias = nn.Parameter(torch.zeros(cutoffs[0]))
        self.clusters = nn.Linear(width, len(cutoffs))
        self.projections = nn.ModuleList(nn.Linear(width, w, bias=False) for w in widths)
        self.tails = None
        if not tied:
            sizes = [high - low for low, high in self.bounds]
            self.tails = nn.ModuleList(WordVectors(*size, bias=False) for size in zip(widths, sizes, strict=True))

    def _head(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        """Log-probabilities of the frequent words, then of the clusters."""
        words = embedding[: self.cutoffs[0]] if self.words is None else self.words.weight
        weight, bias = torch.cat([words, self.clusters.weight]), torch.cat([self.bias, self.clusters.bias])
        return _log_softmax(F.linear(hidden, weight, bias))

    def _tail(self, cluster: int, hidden: Tensor, embedding: Tensor) -> Tensor:
        """Log-probabilities of a cluster's words, given the cluster."""
        weight = embedding[slice(*self.bounds[cluster])] if self.tails is None else self.tails[cluster].weight
        return _log_softmax(F.linear(self.projections[cluster](hidden), weight))

    def log_probs(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        """hidden (..., width), embedding (vocab_size, width) if tied -> (..., vocab_size), in nats, f32 at least."""
        head = self._head(hidden, embedding)
        tails = [self._tail(i, hidden, embedding) for i in range(len(self.cutoffs))]
        of_clusters = head[..., self.cutoffs[0] :].split(1, -1)
        return torch.cat([head[..., : self.cutoffs[0]], *map(torch.add, of_clusters, tails)], -1)

    def nats(self, hidden: Tensor, targets: Tensor, embedding: Tensor) -> Tensor:
        """-log p of each target, without the clusters that it is not in: hidden (tokens, width), targets (tokens,)."""
        if torch.compiler.is_compiling():  # how many tokens need a cluster, no graph can know
            return -self.log_probs(hidden, embedding).gather(1, targets[:, None])[:, 0]
        cluster = torch.bucketize(targets, torch.tensor(self.cutoffs, device=targets.device), right=True)  # 0: none
        picked = torch.where(cluster == 0, targets, self.cutoffs[0] + cluster - 1)
        nats = -self._head(hidden, embedding).gather(1, picked[:, None])[:, 0]
        for i, (low, _) in enumerate(self.bounds):
            rows = (cluster == i + 1).nonzero()[:, 0]
            if len(rows):
                tail = self._tail(i, hidden[rows], embedding)
                nats = nats.index_add(0, rows, tail.gather(1, targets[rows, None] - low)[:, 0], alpha=-1)
        return nats


def _log_softmax(logits: Tensor) -> Tensor:
    return logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
