"""Curves: the time of a training step against sequence length, vocabulary, batch and hidden size.

    python benchmarks/curves.py [--plot FILE.png]

One quantity varies, the others stay: one LSTM layer of 256, 10,000 words, 20 lanes of 35 steps. The peer is the plain
torch program of `step.py`; ours is the step of `rnn-hf fit` without its trainer, in float32, in bfloat16 and with the
adaptive softmax. The first loss of the exact step is compared with the peer's in the same run.
"""

import copy
import json
import sys

import torch
from compare import Within, agreement, machine, medians, parse, parser, zipf
from step import Bare, Plain

from rnn_hf import RnnConfig, RnnForCausalLM

BASE = {"sequence length": 35, "vocabulary": 10_000, "batch": 20, "hidden size": 256}
VALUES = {
    "sequence length": [8, 35, 140, 560],
    "vocabulary": [1_000, 10_000, 33_278, 100_000],
    "batch": [1, 4, 20, 80],
    "hidden size": [64, 256, 650, 1024],
}


def measure(sequence_length: int, vocabulary: int, batch: int, hidden_size: int, rounds: int) -> dict[str, float]:
    """Median milliseconds of each system's step, and the relative differences of the first exact and bfloat16 loss."""
    torch.manual_seed(0)
    sizes = {"vocab_size": vocabulary, "embedding_size": hidden_size, "hidden_size": hidden_size}
    model = RnnForCausalLM(RnnConfig(**sizes))
    stream = zipf((batch, sequence_length + 1), vocabulary)
    ids = {"input_ids": stream[:, :-1], "shift_labels": stream[:, 1:].contiguous()}
    plain, exact, half = Plain(model), Bare(model), Bare(copy.deepcopy(model))
    adaptive = Bare(RnnForCausalLM(RnnConfig(**sizes, lm_head="adaptive")))

    def bfloat16():
        with torch.autocast("cpu", torch.bfloat16):
            return half.step(ids)

    expected = plain.step(ids)
    differences = [abs(float(step()) / expected - 1) for step in (lambda: exact.step(ids), bfloat16)]
    competitors = {
        "plain": lambda: plain.step(ids),
        "exact": lambda: exact.step(ids),
        "bfloat16": bfloat16,
        "adaptive": lambda: adaptive.step(ids),
    }
    return {**medians(competitors, rounds), "differences": differences}


def table(points: list[dict]) -> str:
    """Milliseconds of the peer, and how many times as fast ours is."""
    lines = [f"{'quantity':16}  {'value':>7}  {'plain ms':>9}  {'exact':>8}  {'bfloat16':>8}  {'adaptive':>8}"]
    for p in points:
        ratios = "".join(f"  {p['plain'] / p[name]:8.2f}" for name in ("exact", "bfloat16", "adaptive"))
        lines.append(f"{p['quantity']:16}  {p['value']:7,}  {p['plain']:9.1f}{ratios}")
    return "\n".join(lines)


def draw(points: list[dict], file: str) -> None:
    """A panel a quantity, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(VALUES), figsize=(14, 3.4), sharey=True, layout="constrained")
    for panel, quantity in zip(panels, VALUES, strict=True):
        here = [p for p in points if p["quantity"] == quantity]
        for name in ("plain", "exact", "bfloat16", "adaptive"):
            panel.loglog([p["value"] for p in here], [p[name] for p in here], marker="o", label=name)
        panel.set_xlabel(quantity)
        panel.set_xticks(VALUES[quantity], [f"{value:,}" for value in VALUES[quantity]])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("ms a training step, 1 thread")
    panels[0].legend()
    figure.savefig(file, dpi=110)


def main() -> int:
    options = parser(__doc__, rounds=3)
    options.add_argument("--plot", metavar="FILE", help="draw the curves")
    options = parse(options)
    points = []
    for quantity, values in VALUES.items():
        for value in values:
            sizes = {name.replace(" ", "_"): size for name, size in {**BASE, quantity: value}.items()}
            points.append({"quantity": quantity, "value": value, **measure(**sizes, rounds=options.rounds)})
    worst = torch.tensor([p["differences"] for p in points]).amax(0).tolist()
    checked = {"largest relative difference of the first loss (exact, bfloat16)": Within(worst, [1e-4, 1e-2])}
    if options.json:
        print(json.dumps({"machine": machine(), "base": BASE, "points": points}))
    else:
        print("; ".join(f"{key} {value}" for key, value in machine().items()))
        print(table(points))
        for name, fact in checked.items():
            print(f"{name}: {fact}")
    if options.plot:
        draw(points, options.plot)
    return agreement(checked)


if __name__ == "__main__":
    sys.exit(main())
