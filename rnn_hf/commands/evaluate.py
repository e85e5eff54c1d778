"""`rnn-hf evaluate FOLDER --data FILE`: the metrics of a model on a file, as training computes them.

Language models: loss (nats per token), perplexity, bits per character and byte, and tokens: every token is scored, an
`<eos>` at each text's end too, in the state carried from text to text or, with --eval-state reset, each text by itself.
Classifiers: loss (nats per row), accuracy, macro and micro F1, expected calibration error and rows; precision, recall,
F1 and support of each label; the confusion matrix. With several labels a row, the share of rows whose every label is
right takes the place of accuracy, and there is no matrix. Taggers: loss (nats per word), accuracy and words, every word
scored once; of tags that mark spans precision, recall and F1 of whole spans too.
"""

import json
from pathlib import Path
from typing import Any

import torch

from ..data.batches import labelled_batches
from ..data.lanes import EVAL_STATES, stream_batches
from ..data.sentences import tagged_batches
from ..training.classification_metrics import EVALUATIONS
from ..training.classification_plots import draw_report
from ..training.metrics import LanguageModelingEvaluation
from ..training.tagging_metrics import evaluation_of
from .common import KINDS, Parser, architecture, model_folder, open_model, require_labels

WIDEST_MATRIX = 12  # labels; of more, the commonest mistakes are listed
MISTAKES = 20
EXAMPLES = """examples:
  rnn-hf evaluate runs/quickstart/language_model --data movie_reviews
  rnn-hf evaluate runs/quickstart/sentiment --data reviews.csv --label-column stars --json
  rnn-hf evaluate runs/topics --data topics.csv --label-separator ";" --plots pictures"""


def run(argv: list[str]) -> None:
    parser = Parser(prog="rnn-hf evaluate", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("folder", help="run folder, model folder or Hub id")
    parser.add_argument("--data", required=True, help="a file, a folder of splits or a packaged data set")
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"), help="default: test")
    parser.add_argument("--text-column", "--text_column", help="default: text; for taggers tokens")
    parser.add_argument("--label-column", "--label_column", help="default: label; for taggers tags")
    parser.add_argument("--label-separator", "--label_separator", help="between several labels in a string")
    parser.add_argument(
        "--eval-state",
        "--eval_state",
        choices=EVAL_STATES,
        default="carried",
        help="for language models; default: carried",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="also draw confusion matrix and reliability there")
    arguments = parser.parse_args(argv)
    found = architecture(model_folder(arguments.folder))
    kind = next((kind for kind in KINDS if found.endswith(kind)), "ForCausalLM")
    model, tokenizer = open_model(arguments.folder, kind)
    columns = {"text_column": arguments.text_column or "text", "split": arguments.split}
    if kind == "ForSequenceClassification":
        require_labels(model, arguments.folder, "evaluate")
        problem = model.config.problem_type or "single_label_classification"
        columns["label_column"] = arguments.label_column or "label"
        if problem.startswith("multi"):
            columns |= {"row_kind": "multi_label", "label_separator": arguments.label_separator}
        batches = labelled_batches(arguments.data, tokenizer, model.config.label2id, **columns)
        evaluation = EVALUATIONS[problem]()
    elif kind == "ForTokenClassification":
        columns |= {"text_column": arguments.text_column or "tokens", "label_column": arguments.label_column or "tags"}
        batches = tagged_batches(arguments.data, tokenizer, model.config.label2id, **columns)
        evaluation = evaluation_of(model.config.label2id)()
    else:
        evaluation = LanguageModelingEvaluation()
        batches = stream_batches(arguments.data, tokenizer, eval_state=arguments.eval_state, **columns)
    with torch.inference_mode():
        for batch in batches:
            evaluation.update(model, batch)
    metrics = evaluation.compute()
    if kind == "ForCausalLM":
        metrics["eval_state"], report = arguments.eval_state, {}
    else:
        report = evaluation.report(model.config.id2label)
    print(json.dumps({**metrics, **report}, ensure_ascii=False) if arguments.json else as_text(metrics, report))
    if arguments.plots is not None:
        draw_report(arguments.plots, report, f"{arguments.data} {arguments.split}")


def as_text(metrics: dict[str, float | int], report: dict[str, Any]) -> str:
    """Metrics a line each; then the report's tables, columns two spaces apart, numbers right-aligned."""
    parts = ["\n".join(f"{n} {v:.6g}" if isinstance(v, float) else f"{n} {v}" for n, v in metrics.items())]
    labels = report.get("labels", {})
    for name, table in {"span": report.get("span_types", {}), "label": labels}.items():
        rows = [[key, *(f"{row[column]:.4f}" for column in ("precision", "recall", "f1")), f"{row['support']}"]
                for key, row in table.items()]  # fmt: skip
        parts += [_table([name, "precision", "recall", "f1", "support"], rows)] if rows else []
    if "confusion_matrix" in report:
        matrix, names = report["confusion_matrix"], list(labels)
        if len(names) <= WIDEST_MATRIX:
            rows = [[name, *map(str, row)] for name, row in zip(names, matrix, strict=True)]
            parts.append(_table(["true \\ predicted", *names], rows))
        else:
            wrong = [(n, i, j) for i, row in enumerate(matrix) for j, n in enumerate(row) if i != j and n]
            rows = [[names[i], names[j], str(n)] for n, i, j in sorted(wrong, key=lambda m: -m[0])[:MISTAKES]]
            parts.append(_table(["commonest mistakes: true", "predicted", "rows"], rows))
    return "\n\n".join(parts)


def _table(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for name, *cells in [header, *rows]:
        numbers = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *numbers]))
    return "\n".join(lines)
