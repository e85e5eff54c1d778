"""What the benchmarks share: peers and ours take turns in one process on one thread; ratios of medians of CPU time.

The processor's time, not the clock's: other work on the machine changes it less, and both sides alike.
"""

import argparse
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version

import torch


@dataclass
class Row:
    """One comparison. `ratio` is the peer's time by ours: how many times as fast ours is.

    The goal is a ratio or, where `items` are counted, a rate.
    """

    goal: str  # its name in the goals of RESULTS.md
    what: str
    peer_ms: float
    ours_ms: float
    wanted: float  # the ratio that is the goal; with `items`, the millions of them a second
    items: int | None = None  # what ours gets through in its time

    @property
    def ratio(self) -> float:
        return self.peer_ms / self.ours_ms

    @property
    def rate(self) -> float | None:
        """Millions of items a second."""
        return None if self.items is None else self.items / self.ours_ms / 1e3

    @property
    def met(self) -> bool:
        return (self.ratio if self.rate is None else self.rate) >= self.wanted


def arguments(doc: str, rounds: int) -> argparse.Namespace:
    """`--rounds` and `--json`; from here on torch computes on one thread."""
    return parse(parser(doc, rounds))


def parser(doc: str, rounds: int) -> argparse.ArgumentParser:
    """With `--rounds` and `--json`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rounds", type=turns, default=rounds, help=f"turns, of which the median counts; default: {rounds}"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments given; from here on torch computes on one thread."""
    torch.set_num_threads(1)
    return parser.parse_args()


def medians(competitors: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU milliseconds of each, after one turn that does not count."""
    times = {name: [] for name in competitors}
    for turn in range(rounds + 1):
        for name, run in competitors.items():
            began = time.process_time()
            run()
            if turn:
                times[name].append(1e3 * (time.process_time() - began))
    return {name: statistics.median(measured) for name, measured in times.items()}


def zipf(shape: tuple[int, ...], words: int) -> torch.Tensor:
    """Ids from 3, after the special ones, to `words - 1`, as frequent as words are (Zipf-Mandelbrot), falling."""
    shares = 1 / (torch.arange(words - 3) + 2.7)
    return 3 + torch.multinomial(shares, math.prod(shape), replacement=True).view(shape)


def machine() -> dict[str, str]:
    """Processor, its instructions for half precision, and the versions that speed depends on."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor()
    can = getattr(torch.cpu, "get_capabilities", dict)()
    instructions = [key for key in ("avx2", "avx512_f", "avx512_bf16", "amx_bf16") if can.get(key)]
    return {
        "cpu": f"{name} ({', '.join(instructions)})",
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "lightning")},
    }


def turns(value: str) -> int:
    """A number of rounds, of which there is one at least."""
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1; got {value!r}")
    return int(value)


@dataclass
class Within:
    """Differences between what was timed, and what is allowed of each. NaN is never within."""

    found: list[float]
    allowed: list[float]

    @property
    def met(self) -> bool:
        return all(a <= b for a, b in zip(self.found, self.allowed, strict=True))

    def __str__(self) -> str:
        numbers = " ".join(f"{a:.1e}" for a in self.found)
        return numbers if self.met else f"{numbers} differs: at most {' '.join(f'{b:.0e}' for b in self.allowed)}"


def agreement(facts: dict[str, object]) -> int:
    """Exit status: 1 where any of the facts is not within what is allowed, with a line for each on stderr."""
    wrong = [f"differs: {name}: {fact}" for name, fact in facts.items() if isinstance(fact, Within) and not fact.met]
    for line in wrong:
        print(line, file=sys.stderr)
    return bool(wrong)


def report(rows: list[Row], facts: dict[str, object], as_json: bool) -> int:
    """Prints the table of ratios, or all of it as JSON. Returns `agreement`."""
    facts, status = {k: str(v) if isinstance(v, Within) else v for k, v in facts.items()}, agreement(facts)
    if as_json:
        print(
            json.dumps(
                {"machine": machine(), "rows": [{**asdict(r), "ratio": r.ratio, "rate": r.rate} for r in rows], **facts}
            )
        )
        return status
    print("; ".join(f"{key} {value}" for key, value in machine().items()))
    width = max(len(row.what) for row in rows)
    print(f"{'goal':4}  {'what':{width}}  {'peer ms':>8}  {'ours ms':>8}  {'ratio':>6}  {'goal':>5}")
    for row in rows:
        verdict = "met" if row.met else "missed"
        if row.rate is not None:
            verdict += f": {row.rate:.1f} million a second"
        print(
            f"{row.goal:4}  {row.what:{width}}  {row.peer_ms:8.1f}  {row.ours_ms:8.1f}  {row.ratio:6.2f}"
            f"  {row.wanted:5.2f}  {verdict}"
        )
    for key, value in facts.items():
        print(f"{key}: {value}")
    return status
