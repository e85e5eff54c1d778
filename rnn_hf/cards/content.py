"""What the template of the card is filled with: tables and numbers, made from facts."""

from collections.abc import Iterator
from typing import Any

import yaml

from .facts import Facts
from .families import describe, sources
from .markdown import counted, figure, literal, megabytes, percent, seconds, table
from .results import BLOCKS, BOOTSTRAP, COUNTS, METRICS, WILSON, baselines, results
from .usage import HERE, examples, snippets

MOST_LABELS = 50  # rows of a table
CONFUSIONS = 5
UNIT = {"rows": "text", "sentences": "sentence", "texts": "text"}


def content(facts: Facts, name: str, where: str) -> dict[str, Any]:
    """The template's variables. A value without facts is empty, and its section is left out.

    Args:
        name: the model's name for people.
        where: what the snippets load.
    """
    return {
        "facts": facts,
        "get": facts.get,
        "name": literal(name),
        "what": literal(describe(facts)),
        "task": facts.task,
        "dataset": literal(facts.dataset) if facts.dataset else None,
        "shape": list(_shape(facts)),
        "snippets": snippets(facts, where),
        "is_here": where == HERE,
        "results": _results(facts),
        "methods": {result.method for result in results(facts)} - {None},
        "WILSON": WILSON, "BOOTSTRAP": BOOTSTRAP, "BLOCKS": BLOCKS,
        "scores_of_labels": _scores_of_labels(facts),
        "confusions": list(_confusions(facts)),
        "split_table": _splits(facts),
        "labels": _labels(facts),
        "overlap": list(_overlap(facts)),
        "settings": _settings(facts),
        "log": _log(facts),
        "limits": list(_limits(facts)),
        "sources": list(sources(facts)),
        "has_curve": (facts.folder / "curves.png").is_file(),
        "literal": literal, "figure": figure, "seconds": seconds, "counted": counted, "as_yaml": _yaml,
    }  # fmt: skip


def widget(facts: Facts) -> list[str]:
    """Texts that the Hub's page offers to try."""
    return [] if facts.task.verb == "score" else examples(facts)


def _shape(facts: Facts) -> Iterator[str]:
    if facts.parameters:
        yield f"{facts.parameters:,} parameters"
    if facts.weight_bytes:
        yield f"{megabytes(facts.weight_bytes)} of weights"
    config = facts.config
    if size := config.get("vocab_size"):
        yield f"{size:,} tokens in its vocabulary"
    if ngrams := config.get("num_features") or sum(config.get("num_ngrams") or []):
        yield f"{ngrams:,} n-grams of up to {counted(config.get('order') or config.get('ngram_max'), 'token')}"


def _results(facts: Facts) -> str:
    metrics = facts.get("metrics", default={})
    splits = [s for s in ("validation", "test") if any(key.startswith(f"{s}/") for key in metrics)]
    if not splits:
        return ""
    rows = []
    for result in results(facts):
        interval = f"{figure(result.interval[0])} to {figure(result.interval[1])}" if result.interval else ""
        rows.append([result.title, *(figure(metrics.get(f"{split}/{result.name}")) for split in splits), interval])
    unknown = dict.fromkeys(key.partition("/")[2] for key in metrics if key.startswith(tuple(f"{s}/" for s in splits)))
    for name in unknown:
        if name not in METRICS and name not in COUNTS:
            rows.append([literal(name.replace("_", " ")), *(figure(metrics.get(f"{s}/{name}")) for s in splits), ""])
    for name, *values in baselines(facts):
        shown = values if len(splits) == 2 else [values[("validation", "test").index(splits[0])]]
        rows.append([f"To compare: {literal(name)}", *map(figure, shown), ""])
    for name in COUNTS:
        if any(f"{split}/{name}" in metrics for split in splits):
            counts = [figure(metrics.get(f"{split}/{name}")) for split in splits]
            rows.append([f"{name.capitalize()} scored", *counts, ""])
    return table(["", *splits, f"95 % interval of {splits[-1]}"], rows)


def _scores_of_labels(facts: Facts) -> str:
    report = facts.get("reports", facts.reported_split or "", default={})
    kind = "span_types" if "span_types" in report else "labels"
    scores = sorted(report.get(kind, {}).items(), key=lambda item: -item[1]["support"])
    rows = [
        [literal(name, 60), *(f"{row[column]:.3f}" for column in ("precision", "recall", "f1")), figure(row["support"])]
        for name, row in scores[:MOST_LABELS]
    ]
    header = ["Span" if kind == "span_types" else "Label", "Precision", "Recall", "F1", f"In {facts.reported_split}"]
    return _shortened(table(header, rows), len(scores)) if rows else ""


def _confusions(facts: Facts) -> Iterator[tuple[str, str, int, int]]:
    """(true label, predicted label, how often, of how many) of the commonest mistakes."""
    report = facts.get("reports", facts.reported_split or "", default={})
    matrix, names = report.get("confusion_matrix", []), list(report.get("labels", {}))
    wrong = [(n, i, j) for i, row in enumerate(matrix) for j, n in enumerate(row) if i != j and n]
    for count, i, j in sorted(wrong, key=lambda m: -m[0])[:CONFUSIONS]:
        yield literal(names[i], 60), literal(names[j], 60), count, sum(matrix[i])


# what metrics.json counts in a split -> the column of the card
_COLUMNS = {
    "rows": "Texts", "texts": "Texts", "sentences": "Sentences", "words": "Words", "tokens": "Tokens",
    "characters": "Characters", "dropped_tokens": "Not trained on", "empty_texts": "Empty texts",
    "rows_without_label": "Without label",
}  # fmt: skip


def _splits(facts: Facts) -> str:
    columns = [key for key in _COLUMNS if any(counts.get(key) for counts in facts.splits.values())]
    rows = [[split, *(figure(counts.get(key)) for key in columns)] for split, counts in facts.splits.items()]
    for row, counts in zip(rows, facts.splits.values(), strict=True):
        row.append(percent(counts.get("unknown_share")))
    return table(["", *(_COLUMNS[key] for key in columns), "Unknown"], rows) if rows else ""


def _labels(facts: Facts) -> str:
    counts = {split: c.get("labels") or c.get("tags") or {} for split, c in facts.splits.items()}
    train = counts.get("train", {})
    if not train:
        return ""
    shown, kept = facts.labels or list(train), facts.get("data", "label_examples", default={})
    rows = []
    for label in sorted(shown, key=lambda name: -train.get(name, 0))[:MOST_LABELS]:
        texts = " / ".join(literal(text, 90) for text in kept.get(label, []))
        rows.append([literal(label, 60), *(figure(counts[split].get(label, 0)) for split in counts), texts])
    header = ["Label", *counts, examples := "Examples (training)"]
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return _shortened(table(header, rows, words=[examples]), len(shown))


def _overlap(facts: Facts) -> Iterator[str]:
    least = facts.get("data", "least_overlap_words", default=1)
    long = f" of {least} words or more" if least > 1 else ""
    for split, count in facts.get("data", "held_out_texts_also_in_train", default={}).items():
        counts = facts.splits.get(split, {})
        unit = next((UNIT[key] for key in UNIT if key in counts), "text")
        size = next((f" of the {figure(counts[key])}" for key in UNIT if key in counts), "")
        if count:
            same = f"are training {unit}s" if count != 1 else f"is a training {unit}"
            those = f",{long}," if long else ""
            yield f"{count:,}{size} {split} {unit}s{those} {same} too: figures on them are too good."
        else:
            yield f"No {split} {unit}{long} is a training {unit}."
    if removed := facts.get("data", "train_texts_removed_as_held_out"):
        was, they = ("were", "they are") if removed != 1 else ("was", "it is")
        yield f"{counted(removed, 'training text')} {was} removed because {they} in the validation or test split."


def _settings(facts: Facts) -> str:
    rows = [[f"`{key}`", literal(_yaml(value), 120)] for key, value in facts.get("settings", default={}).items()]
    return table(["Setting", "Value"], rows, words=["Value"]) if rows else ""


def _yaml(value: Any) -> str:
    """As a recipe has it, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _log(facts: Facts) -> str:
    evaluations = facts.get("log", default=[])
    saved = facts.get("best_step")
    names = [name for name in ("loss", "accuracy", "subset_accuracy", "f1", "f1_macro", "f1_micro", "perplexity")
             if any(f"validation/{name}" in row for row in evaluations)]  # fmt: skip
    if "accuracy" in names and "f1_micro" in names:
        names.remove("f1_micro")
    rows = []
    for row in evaluations:
        cells = [figure(row["step"]), figure(row["epoch"]), figure(row.get("train/loss")),
                 *(figure(row.get(f"validation/{name}")) for name in names)]  # fmt: skip
        rows.append([f"**{cell}**" if row["step"] == saved and cell else cell for cell in cells])
    header = ["Step", "Epoch", "Training loss", *(f"Validation: {METRICS[name][1]}" for name in names)]
    return table(header, rows) if rows else ""


def _limits(facts: Facts) -> Iterator[str]:
    split = facts.reported_split
    counts = facts.splits.get(split or "", {})
    train = facts.splits.get("train", {})
    if facts.dataset:
        yield (
            f"Its figures hold for text such as that of {literal(facts.dataset)}: on other subjects, styles or "
            "languages nothing was measured."
        )
    if share := counts.get("unknown_share"):
        yield (
            f"{percent(share)} of the {split} tokens are unknown to its vocabulary and all read as `<unk>`; text of "
            "another kind has more of them."
        )
    lengths = train.get("tokens_a_text", {})
    if lengths:
        yield (
            f"Training texts have {figure(lengths.get('median'))} tokens in the median, 95 % of them up to "
            f"{figure(lengths.get('95th_percentile'))}, the longest {figure(lengths.get('max'))}; longer ones were "
            "never seen."
        )
    limit = facts.tokenizer.get("model_max_length")
    if isinstance(limit, int) and limit < 10**9:
        cut = counts.get("truncated_share")
        share = f" ({percent(cut)} of the {split} texts are longer)" if cut else ""
        yield f"Only the first {limit:,} tokens of a text are read{share}."
    if facts.task.pipeline_tag == "text-classification" and facts.labels:
        if facts.config.get("problem_type") == "multi_label_classification":
            yield "It knows no other labels than these, and may give a text none."
        else:
            yield f"It gives every text one of its {len(facts.labels)} labels, one that fits none of them too."
    if facts.task.verb == "score":
        yield (
            "It reads a text from its end and predicts the token before: it continues no text, and `generate` takes "
            "and gives ids with the last token first."
        )
    if facts.task.verb == "generate":
        yield "What it writes may be false, offensive, or taken word by word from the training text."
    notes = facts.get("data", "about", "notes", default=[])
    for note in notes:
        yield literal(note)
    for note in facts.get("pretrained", "leaks", default=[]):
        if note not in notes:
            yield f"It starts from weights that saw {literal(facts.get('pretrained', 'dataset'))}. {literal(note)}"


def _shortened(shown: str, number: int) -> str:
    return shown if number <= MOST_LABELS else f"{shown}\n\nand {number - MOST_LABELS:,} more."
