"""The machine that a run trains on, for its facts."""

import os
import platform
from pathlib import Path
from typing import Any

import torch


def hardware(device: torch.device | str = "cpu") -> dict[str, Any]:
    """What computes, without a name of the machine or its user.

    Returns:
        `processor`; `cores`, all that the machine has; `threads` that torch uses; `memory_gb` (10^9 bytes, where the
        system tells) and `platform`. With another `device` than the processor also `accelerator` and, of a CUDA one,
        `accelerator_memory_gb`.
    """
    facts = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):  # not on Windows
        facts["memory_gb"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    device = torch.device(device)
    if device.type == "cuda":
        facts["accelerator"] = torch.cuda.get_device_name(device)
        facts["accelerator_memory_gb"] = round(torch.cuda.get_device_properties(device).total_memory / 1e9, 1)
    elif device.type != "cpu":
        facts["accelerator"] = device.type
    return facts


def _processor() -> str:
    """Its name, or its kind where the system does not tell."""
    names = Path("/proc/cpuinfo")  # Linux; `platform.processor` is empty there
    if names.is_file():
        for line in names.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, name = line.partition(":")
            if key.strip() == "model name":
                return name.strip()
    return platform.processor() or platform.machine()
