"""`rnn-hf predict FOLDER TEXT...` or `--input FILE`: labels and their probabilities.

Texts given as arguments, or one a line on standard input (`-`), are answered by a line each: the label and its
probability, separated by a tab. Lines of standard input are answered as they come, an empty one by a tab alone.

`--input` reads a file of any size and writes its rows in their order, every column as it stands, and the columns
label, score (the probability of the answer) and probability_<label>; for a tagger tags and scores. Where a column of
that name is there already, the added one is called predicted_<name>. Several labels are a list, in csv and tsv a
string, of those with a probability above 0.5. An empty text has no label; standard error says how many there were.
Standard output is csv or tsv if the input is, else jsonl. CoNLL input can be written as .conll: each word with its
columns, the predicted tag last. A file that is there already is kept, unless --overwrite is given.

With --average the probabilities are the mean of several classifiers', each with its own tokenizer.
"""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..data.readers import MissingColumn
from ..data.records import STANDARD, Input, Row, check_output, open_output, windows
from .averaged import Classifiers, add_average
from .common import Parser, architecture, encode, model_folder, open_model, require_labels
from .predictors import ClassifierPredictor, TaggerPredictor
from .trained_run import TrainedRun

ROWS_A_WINDOW = 2048  # within which texts of about one length are read together
EXAMPLES = """examples:
  rnn-hf predict runs/quickstart/sentiment "a moving and honest film" "dull"
  rnn-hf predict runs/quickstart/sentiment - < reviews.txt
  rnn-hf predict runs/quickstart/sentiment --input reviews.csv --output labelled.csv
  rnn-hf predict runs/quickstart/sentiment --input reviews.parquet --text-column review --output labelled.parquet
  rnn-hf predict runs/forward "a moving and honest film" "dull" --average runs/backward"""


def run(argv: list[str]) -> None:
    parser = Parser(prog="rnn-hf predict", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("folder", help="run folder, model folder or Hub id of a classifier or tagger")
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="a text; `-` reads one a line from standard input")
    parser.add_argument(
        "--input", metavar="FILE", help="csv, tsv, json, jsonl, parquet, txt, CoNLL; `-`: a text a line"
    )
    parser.add_argument("--output", metavar="FILE", help="csv, tsv, jsonl or parquet; default: `-`, standard output")
    parser.add_argument("--overwrite", action="store_true", help="take the place of an --output that is there")
    parser.add_argument(
        "--text-column", "--text_column", metavar="NAME", help="default: that of training, or text; of a tagger tokens"
    )
    parser.add_argument("--label-separator", "--label_separator", metavar="S", help="default: that of training, or ;")
    add_average(parser)
    arguments = parser.parse_args(argv)
    if (arguments.input is None) == (not arguments.texts):
        before = " (texts stand before --average)" if arguments.average else ""
        raise ValueError(f"predict takes either texts or --input FILE{before}; `rnn-hf predict --help` explains")
    if arguments.input is None and arguments.output is not None:
        raise ValueError("--output is for --input FILE: texts are answered on standard output")
    if arguments.input is not None:  # before the model is opened
        source, output = Input(arguments.input), arguments.output or STANDARD
        check_output(output, source)
        if not arguments.overwrite:
            refuse_overwriting(output)
    folder = model_folder(arguments.folder)
    tags = architecture(folder).endswith("ForTokenClassification")
    if tags and arguments.average:
        raise ValueError(f"--average is for classifiers; {arguments.folder!r} holds a tagger")
    model, tokenizer = open_model(arguments.folder, "ForTokenClassification" if tags else "ForSequenceClassification")
    require_labels(model, arguments.folder, "predict")
    if tags:
        predictor = TaggerPredictor(model, tokenizer)
    else:
        predictor = ClassifierPredictor(Classifiers({arguments.folder: (model, tokenizer)}, arguments.average))
    trained = TrainedRun(folder)
    separator = arguments.label_separator or trained.label_separator or ";"
    if arguments.input is not None:
        names = [arguments.text_column] if arguments.text_column else [trained.text_column, *predictor.text_columns]
        predict_file(predictor, source, output, names, separator)
    elif arguments.texts == [STANDARD]:
        answer_lines(predictor, separator)
    else:
        for number, text in enumerate(arguments.texts, 1):
            encode(tokenizer, text, f"text {number}")
        for window in windows(arguments.texts, ROWS_A_WINDOW):
            answer(predictor, window, separator)


def refuse_overwriting(output: str) -> None:
    """Raises FileExistsError for a file that holds something."""
    file = Path(output).expanduser()
    if output != STANDARD and file.exists() and file.stat().st_size:
        raise FileExistsError(f"the output {output!r} is there already: give another name, or --overwrite")


def answer(predictor, texts: list[str], separator: str) -> None:
    """A line for each text."""
    cells = [predictor.text(text) for text in texts]
    for cell, added in zip(cells, predictor(cells), strict=True):
        print(predictor.line(added, cell, separator))
    sys.stdout.flush()


def answer_lines(predictor, separator: str) -> None:
    """A line for each line of standard input, as soon as it is there; standard error says what was odd about them."""
    count = 0
    for window in Input(STANDARD).windows(ROWS_A_WINDOW):
        answer(predictor, [row["text"] for row in window], separator)
        count += len(window)
    if not count:
        raise ValueError("standard input holds no text")
    if notes := predictor.notes():
        print("; ".join([f"{count:,} texts", *notes]), file=sys.stderr)


def predict_file(predictor, source: Input, output: str, text_columns: Sequence[str | None], separator: str) -> None:
    """Writes the rows of `source` with the predictor's columns, and says on standard error what was done.

    The texts are in the first of `text_columns` that is there.

    Raises ValueError naming input and row for a row that cannot be read, and for a column that is not there.
    """
    read = source.windows(ROWS_A_WINDOW)
    first = next(read, None)
    if first is None:
        raise ValueError(f"{source.name} holds no rows")
    column = next((name for name in text_columns if name in first[0]), text_columns[-1])
    names = added_names(predictor.columns, dict.fromkeys(name for row in first for name in row), source.name)
    added = {names[name]: kind for name, kind in predictor.columns.items()}
    join = {names[name]: between for name, between in predictor.joins(separator).items()}
    count = 0
    with (
        open_output(output, source, added, join) as writer,
        tqdm(total=source.length, unit=" rows", disable=None) as progress,  # None: no bar where nobody looks
    ):
        for window in itertools.chain([first], read):
            texts = [text_of(predictor, row, column, source, n) for n, row in enumerate(window, count + 1)]
            for number, (row, new) in enumerate(zip(window, predictor(texts), strict=True), count + 1):
                if twice := [name for name in added if name in row]:
                    raise ValueError(
                        f"{source.name} row {number} has a column {twice[0]!r}, which the first rows lack and "
                        "prediction adds: rename it"
                    )
                row |= {names[name]: value for name, value in new.items()}
            writer.write(window)
            if output == STANDARD:
                sys.stdout.flush()  # who waits for an answer before the next line gets it
            count += len(window)
            progress.update(len(window))
    renamed = [f"{name} is in the input, the prediction is {names[name]}" for name in names if names[name] != name]
    where = "standard output" if output == STANDARD else output
    print(
        "; ".join([f"{count:,} rows of {source.name}, column {column} -> {where}", *predictor.notes(), *renamed]),
        file=sys.stderr,
    )


def added_names(columns: dict[str, str], taken: dict[str, Any], name: str) -> dict[str, str]:
    """What each added column is called beside those of the input."""
    names = {column: f"predicted_{column}" if column in taken else column for column in columns}
    if twice := [new for new in names.values() if new in taken]:
        raise ValueError(f"{name} has the column {twice[0]!r} and that without predicted_: rename one of them")
    return names


def text_of(predictor, row: Row, column: str, source: Input, number: int) -> Any:
    """The text of a row."""
    where = f"{source.name} row {number}"
    if column not in row:
        raise ValueError(f"{MissingColumn(column, where, row)}; --text-column names another")
    try:
        return predictor.text(row[column])
    except ValueError as error:
        raise ValueError(f"{where}, column {column!r} {error}") from error
