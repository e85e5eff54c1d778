"""`rnn-hf fit` as one of several stages of a verb: in a process of its own, announced, and with the figures it left."""

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def title(text: str) -> None:
    print(f"\n== {text}", flush=True)


def minutes(began: float) -> str:
    """The time since `time.monotonic()` was `began`."""
    seconds = round(time.monotonic() - began)
    return f"{seconds // 60} min {seconds % 60:02d} s"


def finished(folder: Path) -> dict[str, Any] | None:
    """The metrics.json of a run folder; None where the run has not come to its end."""
    file = folder / "model" / "metrics.json"  # the model folder comes last, and is whole or not there
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def fit(recipe: str, folder: Path, *overrides: str) -> dict[str, Any]:
    """Runs `rnn-hf fit`, and returns the metrics.json that it left; a run that is finished is kept as it is.

    Raises:
        ValueError: it failed, and has said why.
        KeyboardInterrupt, SystemExit: SIGINT or SIGTERM ended it.
    """
    if report := finished(folder):
        print(f"finished before: {folder}", flush=True)
        return report
    command = ["fit", "--config", recipe, "--output_dir", str(folder), *overrides]
    print(f"$ rnn-hf {shlex.join(command)}", flush=True)
    began = time.monotonic()
    code = _ended([sys.executable, "-m", "rnn_hf.cli", *command])
    if code == 128 + signal.SIGINT:
        raise KeyboardInterrupt
    if code == 128 + signal.SIGTERM:
        raise SystemExit(code)
    if code:
        raise ValueError(f"the step above failed with exit code {code}; what it wrote is in {folder}")
    print(f"({minutes(began)})", flush=True)
    return finished(folder)


def _ended(command: list[str]) -> int:
    """Runs a command to its end, also where a signal asks for it: a run that trains first writes a checkpoint.

    Ctrl-C reaches the command from the terminal, SIGTERM is passed on.
    """
    process = subprocess.Popen(command)
    handlers = {signal.SIGINT: signal.SIG_IGN, signal.SIGTERM: lambda number, frame: process.send_signal(number)}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
