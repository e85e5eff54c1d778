"""`rnn-hf env`: the versions and the machine, for a report of a problem."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch
from huggingface_hub import constants, get_token

from .. import __version__
from ..training.hardware import hardware
from .common import Parser

PACKAGES = ("torch", "transformers", "tokenizers", "huggingface_hub", "safetensors", "lightning", "datasets")
VARIABLES = ("RNN_HF_DATA", "RNN_HF_CACHE", "OMP_NUM_THREADS", "HF_HUB_OFFLINE")


def run(argv: list[str]) -> None:
    Parser(prog="rnn-hf env", description=__doc__).parse_args(argv)
    facts = {"rnn-hf": __version__, "python": platform.python_version(), "system": platform.platform()}
    facts |= {package: _version(package) for package in PACKAGES}
    here = hardware()
    facts["processor"] = f"{here['processor']}, {here['cores']} cores, torch uses {here['threads']}"
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    facts["gpu"] = ", ".join(gpus) or ("mps" if torch.backends.mps.is_available() else "none")
    facts["hub"] = f"{constants.ENDPOINT}, {'logged in' if get_token() else 'nobody is logged in'}"
    facts["cache"] = constants.HF_HUB_CACHE
    facts |= {name: os.environ[name] for name in VARIABLES if name in os.environ}
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
