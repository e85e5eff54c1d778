"""Pictures of a classifier's report (`classification_metrics`): the confusion matrix and the reliability diagram."""

from pathlib import Path
from typing import Any

from .classification_metrics import calibration_error

NUMBERED = 25  # beyond so many labels the matrix's numbers could not be read
NAMED = 80  # nor beyond these the labels' names


def draw_report(folder: Path, report: dict[str, Any], subject: str) -> list[Path]:
    """Writes `confusion_matrix.png` and `reliability_diagram.png`, as far as the report has their numbers.

    Args:
        folder: Where to; made if need be.
        report: What an evaluation's `report` returns.
        subject: What was evaluated, for the titles.

    Returns:
        The files.
    """
    drawings = {"confusion_matrix": _confusion_matrix, "calibration": _reliability_diagram}
    files = {"confusion_matrix": "confusion_matrix.png", "calibration": "reliability_diagram.png"}
    written = []
    for part, draw in drawings.items():
        if part in report:
            folder.mkdir(parents=True, exist_ok=True)
            draw(report, subject).savefig(folder / files[part], dpi=120, bbox_inches="tight")
            written.append(folder / files[part])
    return written


def _confusion_matrix(report: dict[str, Any], subject: str):
    from matplotlib.figure import Figure  # half a second, which only a picture should cost

    counts, names = report["confusion_matrix"], [name[:30] for name in report["labels"]]
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    size = min(20.0, 3 + 0.45 * len(names))
    figure = Figure(figsize=(size, size))
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.04)
    bar.set_label("share of the rows with this true label")
    if len(names) <= NAMED:
        axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 3 else 0)
        axes.set_yticks(range(len(names)), names)
    if len(names) <= NUMBERED:
        for i, row in enumerate(counts):
            for j, count in enumerate(row):
                colour = "white" if shares[i][j] > 0.5 else "black"
                axes.text(j, i, f"{count}", ha="center", va="center", color=colour, fontsize=8)
    axes.set_xlabel("predicted label")
    axes.set_ylabel("true label")
    axes.set_title(f"{subject}: {sum(map(sum, counts)):,} rows")
    return figure


def _reliability_diagram(report: dict[str, Any], subject: str):
    from matplotlib.figure import Figure

    bins = report["calibration"]
    width = 1 / len(bins["rows"])
    middles = [(i + 0.5) * width for i in range(len(bins["rows"]))]
    figure = Figure(figsize=(5, 6))
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    above.bar(middles, [value or 0 for value in bins["accuracy"]], width, edgecolor="white", label="accuracy")
    above.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfectly calibrated")
    points = [(c, a) for c, a in zip(bins["confidence"], bins["accuracy"], strict=True) if c is not None]
    above.plot(*zip(*points, strict=True), "o", color="black", markersize=3, label="mean confidence of the bin")
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    above.set_title(f"{subject}: expected calibration error {calibration_error(bins):.3f}")
    above.legend(loc="upper left", fontsize=8)
    below.bar(middles, bins["rows"], width, edgecolor="white")
    below.set(ylabel="rows", xlabel="confidence: probability of the predicted label")
    return figure
