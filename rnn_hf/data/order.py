"""The order of training batches, from any place in it."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch.utils.data import Sampler


class FromPosition(Sampler):
    """The items of a sampler, whose order is a function of its seed and the epoch; in one epoch from a place on.

    Args:
        sampler: with `set_epoch`, as Lightning calls it.
        epoch: the first. Lightning sets the epoch only after it has made the iterator, from which workers have drawn
            by then.
        position: items of that epoch that are left out.
    """

    def __init__(self, sampler: Sampler, epoch: int = 0, position: int = 0):
        self.sampler, self.first = sampler, (epoch, position)
        self.set_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose order the next iteration gives."""
        self.epoch = epoch
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Any]:
        # Not "the first iteration": some loaders begin one for nothing.
        epoch, position = self.first
        return islice(iter(self.sampler), position if self.epoch == epoch else 0, None)
