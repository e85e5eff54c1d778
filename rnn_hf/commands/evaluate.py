"""`rnn-hf evaluate FOLDER --data FILE`: the metrics of a model on a file, as training computes them.

Language models: loss (nats per token), perplexity, bits per character and byte, and tokens: every token is scored, an
`<eos>` at each text's end too, in the state carried from text to text or, with --eval-state reset, each text by itself.
Classifiers: loss (nats per row), accuracy and rows.
"""

import json

import torch

from ..data.batches import labelled_batches
from ..data.lanes import EVAL_STATES, stream_batches
from ..training.metrics import ClassificationEvaluation, LanguageModelingEvaluation
from .common import Parser, architecture, model_folder, open_model, require_single_label

EXAMPLES = """examples:
  rnn-hf evaluate runs/quickstart/language_model --data movie_reviews
  rnn-hf evaluate runs/quickstart/sentiment --data reviews.csv --label-column stars --json"""


def run(argv: list[str]) -> None:
    parser = Parser(prog="rnn-hf evaluate", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("folder", help="run folder, model folder or Hub id")
    parser.add_argument("--data", required=True, help="a file, a folder of splits or a packaged data set")
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"), help="default: test")
    parser.add_argument("--text-column", default="text", help="default: text")
    parser.add_argument("--label-column", default="label", help="for classifiers; default: label")
    parser.add_argument(
        "--eval-state", default="carried", choices=EVAL_STATES, help="for language models; default: carried"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    arguments = parser.parse_args(argv)
    is_classifier = architecture(model_folder(arguments.folder)).endswith("ForSequenceClassification")
    model, tokenizer = open_model(arguments.folder, "ForSequenceClassification" if is_classifier else "ForCausalLM")
    if is_classifier:
        require_single_label(model, arguments.folder, "evaluate")
    columns = {"text_column": arguments.text_column, "split": arguments.split}
    if is_classifier:
        columns["label_column"] = arguments.label_column
        evaluation, batches = (
            ClassificationEvaluation(),
            labelled_batches(arguments.data, tokenizer, model.config.label2id, **columns),
        )
    else:
        evaluation = LanguageModelingEvaluation()
        batches = stream_batches(arguments.data, tokenizer, eval_state=arguments.eval_state, **columns)
    with torch.inference_mode():
        for batch in batches:
            evaluation.update(model, batch)
    metrics = evaluation.compute()
    if not is_classifier:
        metrics["eval_state"] = arguments.eval_state
    if arguments.json:
        print(json.dumps(metrics))
    else:
        print(
            "\n".join(
                f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in metrics.items()
            )
        )
