"""The processes that train one model together: which of them this is, and what each may say.

Notable: until they have found each other (`torch.distributed`), only the launcher's environment variables tell: those
of torchrun, of SLURM, or of Lightning, which starts the others itself under `--trainer.devices`.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

SLURM_SHELLS = ("bash", "interactive")  # names of jobs in which Lightning expects no srun


def this_process() -> tuple[int, int]:
    """(rank, number of processes) of those that train together; (0, 1) in a run of one."""
    from torch import distributed  # seconds, which a command that only prints help should not cost

    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def launched() -> dict[str, int]:
    """`devices`, the processes of each node, and `num_nodes`, as torchrun or srun started them; else empty."""
    given = os.environ
    if "TORCHELASTIC_RUN_ID" in given:
        return {"devices": int(given["LOCAL_WORLD_SIZE"]), "num_nodes": int(given["GROUP_WORLD_SIZE"])}
    if _under_srun():
        nodes = int(given.get("SLURM_NNODES", 1))
        return {
            "devices": int(given.get("SLURM_NTASKS_PER_NODE", int(given["SLURM_NTASKS"]) // nodes)),
            "num_nodes": nodes,
        }
    return {}


def launched_rank() -> int:
    """This process's number among all that the launcher started; 0 for the first and for a run of one."""
    if "torch" in sys.modules and this_process()[1] > 1:  # Ray brings its processes together before ours begins
        return this_process()[0]
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["RANK"])
    if _under_srun():
        return int(os.environ["SLURM_PROCID"])
    return int(os.environ.get("LOCAL_RANK", 0))


def _under_srun() -> bool:
    return "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in SLURM_SHELLS


@contextmanager
def first_one_speaks() -> Iterator[None]:
    """In every process but the first, nothing reaches standard output and standard error. Exceptions pass."""
    if not launched_rank():
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
