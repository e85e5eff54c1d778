"""The processes of a distributed run, of which there is one where nothing was distributed."""

from typing import Any

import torch
from torch import distributed

from ..processes import this_process


def world_size() -> int:
    """How many processes train together."""
    return this_process()[1]


def rank() -> int:
    """The number of this one among them, from 0."""
    return this_process()[0]


def gathered(value: Any) -> list[Any]:
    """The value that each process gives, by rank. Every process must call it."""
    values = [value] * world_size()
    if len(values) > 1:
        distributed.all_gather_object(values, value)
    return values


def highest(value: int, device: torch.device) -> int:
    """The highest of the values that the processes give. Every process must call it."""
    if world_size() == 1:
        return value
    tensor = torch.tensor(value, device=device)
    distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
    return int(tensor)
