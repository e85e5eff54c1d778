"""What the processes of a run (`rnn_hf.processes`) tell each other; of one process, its own."""

from typing import Any

import torch
from torch import distributed

from ..processes import this_process


def gathered(value: Any) -> list[Any]:
    """The value that each process gives, by rank. Every process must call it."""
    _, world = this_process()
    values = [value] * world
    if world > 1:
        distributed.all_gather_object(values, value)
    return values


def highest(value: int, device: torch.device) -> int:
    """The highest of the values that the processes give. Every process must call it."""
    if this_process()[1] == 1:
        return value
    tensor = torch.tensor(value, device=device)
    distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
    return int(tensor)
