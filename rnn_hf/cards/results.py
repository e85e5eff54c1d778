"""The figures of a run, with what they are called and how sure they are."""

from dataclasses import dataclass

from .facts import Facts
from .intervals import bootstrapped_macro_f1, of_perplexity, wilson

# metric of metrics.json -> (the Hub's name for it, ours, what it is a share of)
METRICS = {
    "accuracy": ("accuracy", "Accuracy", "rows"),
    "subset_accuracy": ("accuracy", "Subset accuracy (every label right)", "rows"),
    "f1": ("f1", "F1 of whole spans", None),
    "f1_macro": ("f1", "Macro F1", None),
    "f1_micro": ("f1", "Micro F1", None),
    "precision": ("precision", "Precision of whole spans", None),
    "recall": ("recall", "Recall of whole spans", "spans"),
    "perplexity": ("perplexity", "Perplexity", None),
    "bits_per_character": ("bits_per_character", "Bits per character", None),
    "bits_per_byte": ("bits_per_byte", "Bits per byte", None),
    "calibration_error": ("expected_calibration_error", "Expected calibration error", None),
    "loss": ("loss", "Loss (nats)", None),
}
COUNTS = ("rows", "tokens", "words", "spans")  # metrics.json has them beside the metrics: what was scored
WILSON = "Wilson score"
BOOTSTRAP = "bootstrap over rows"
BLOCKS = "normal, from blocks of text"


@dataclass(frozen=True)
class Result:
    """A figure of the reported split. `kind`: its name on the Hub. `interval`: of 95 %, by `method`, where counts
    give one."""

    name: str
    kind: str
    title: str
    value: float
    interval: tuple[float, float] | None = None
    method: str | None = None


def results(facts: Facts) -> list[Result]:
    """The figures of the reported split, in the order of `METRICS`."""
    split, metrics = facts.reported_split, facts.get("metrics", default={})
    found = []
    for name, (kind, title, counted) in METRICS.items():
        value = metrics.get(f"{split}/{name}")
        same = name == "f1_micro" and f"{split}/accuracy" in metrics  # of rows with one label each
        if isinstance(value, int | float) and not same:
            interval, method = _interval(facts, name, value, counted)
            found.append(Result(name, kind, title, value, interval, method))
    return found


def _interval(facts: Facts, name: str, value: float, counted: str | None):
    split, metrics = facts.reported_split, facts.get("metrics", default={})
    report = facts.get("reports", split or "", default={})
    if counted is not None:
        # of a tagger's accuracy the trials are words
        count = metrics.get(f"{split}/{counted}") or metrics.get(f"{split}/words")
        return (wilson(value, count), WILSON) if count else (None, None)
    if name == "f1_macro" and report.get("confusion_matrix"):
        return bootstrapped_macro_f1(report["confusion_matrix"]), BOOTSTRAP
    if name == "perplexity" and report.get("loss_standard_error"):
        return of_perplexity(metrics[f"{split}/loss"], report["loss_standard_error"]), BLOCKS
    return None, None


def baselines(facts: Facts) -> list[tuple[str, float | None, float | None]]:
    """(name, validation, test) of what the simplest system reaches, and the same counts under other smoothings."""
    found = facts.get("data", "baselines", default={})
    names = dict.fromkeys(key.partition("/")[2] for key in found)
    rows = [(name.replace("_", " "), found.get(f"validation/{name}"), found.get(f"test/{name}")) for name in names]
    splits = [facts.get("reports", split, "smoothing", default={}) for split in ("validation", "test")]
    for name in dict.fromkeys(name for split in splits for name in split):
        if name != facts.config.get("smoothing"):
            row = [split.get(name, {"perplexity": None}) for split in splits]
            words = name.replace("kneser_ney", "Kneser-Ney").replace("add_k", "add-k").replace("_", " ")
            rows.append((f"perplexity by {words}", *(_or_infinite(found) for found in row)))
            if any(found.get("zero_probability_share") for found in row):
                shares = (found.get("zero_probability_share") for found in row)
                rows.append((f"share of tokens with probability 0 by {words}", *shares))
    return rows


def _or_infinite(smoothing: dict[str, float | None]) -> float | None:
    """The perplexity, which JSON has as null where it is infinite."""
    infinite = smoothing["perplexity"] is None and smoothing.get("zero_probability_share")
    return float("inf") if infinite else smoothing["perplexity"]
