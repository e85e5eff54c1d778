"""Pictures of a run: loss, gradient norm and learning rate over its steps, and what `rnn-hf lr-find` saw: the loss over
the rate.

matplotlib is imported when a picture is drawn, and draws into a file: no display is needed.
"""

import csv
from collections.abc import Sequence
from pathlib import Path


def draw_run(metrics: Path, picture: Path) -> None:
    """Draws losses, gradient norm and learning rate over the steps of a run from its `metrics.csv`, if it has any."""
    if not metrics.is_file():  # trainer.logger is false, or another
        return
    with open(metrics, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not any(int(row["step"]) for row in rows):  # a model that is fitted in one pass
        return
    curves = {}
    for name in ("train/loss", "validation/loss", "gradient_norm", "learning_rate"):
        points = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
        curves[name] = list(zip(*points, strict=True)) or [(), ()]

    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 7), layout="constrained")
    loss, norm, rate = figure.subplots(3, 1, sharex=True, height_ratios=(2, 1, 1))
    loss.plot(*curves["train/loss"], label="train", linewidth=1)
    loss.plot(*curves["validation/loss"], label="validation", marker="o")
    loss.set_ylabel("loss (nats)")
    loss.legend()
    norm.plot(*curves["gradient_norm"], color="gray", linewidth=1)
    norm.set(ylabel="gradient norm", yscale="log")
    rate.plot(*curves["learning_rate"], color="gray")
    rate.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
    figure.align_ylabels()
    figure.savefig(picture, dpi=100)


def draw_rates(rates: Sequence[float], losses: Sequence[float], suggested: float | None, picture: Path) -> None:
    """Draws the smoothed training losses over the learning rates at which they were seen, and the suggested rate."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses)
    if suggested is not None:
        axes.axvline(suggested, color="red", linestyle="--", label=f"suggested: {suggested:.2g}")
        axes.legend()
    low, high = min(losses), losses[0]
    axes.set(xscale="log", xlabel="learning rate", ylabel="smoothed training loss (nats)")
    axes.set_ylim(low - 0.1 * (high - low), high + 0.5 * (high - low))
    figure.savefig(picture, dpi=100)
