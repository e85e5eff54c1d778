"""`rnn-hf predict FOLDER TEXT...`: one line a text, its label and the label's probability, separated by a tab."""

import sys

import torch

from .common import Parser, encode, open_model, require_single_label

BATCH_SIZE = 64  # texts in one forward pass
EXAMPLES = """examples:
  rnn-hf predict runs/quickstart/sentiment "a moving and honest film" "dull"
  rnn-hf predict runs/quickstart/sentiment - < reviews.txt"""


def run(argv: list[str]) -> None:
    parser = Parser(prog="rnn-hf predict", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("folder", help="run folder, model folder or Hub id of a classifier")
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="a text; `-` reads one a line from standard input")
    arguments = parser.parse_args(argv)
    model, tokenizer = open_model(arguments.folder, "ForSequenceClassification")
    require_single_label(model, arguments.folder, "predict")
    texts = sys.stdin.read().splitlines() if arguments.texts == ["-"] else arguments.texts
    if not texts:
        raise ValueError("standard input holds no text")
    ids = [encode(tokenizer, text, f"text {number}") for number, text in enumerate(texts, 1)]
    for start in range(0, len(ids), BATCH_SIZE):
        batch = tokenizer.pad({"input_ids": ids[start : start + BATCH_SIZE]}, return_tensors="pt")
        with torch.inference_mode():
            probabilities = model(**batch).logits.float().softmax(-1)  # [batch, num_labels]
        for probability, label in zip(*(column.tolist() for column in probabilities.max(-1)), strict=True):
            print(f"{model.config.id2label[label]}\t{probability:.4f}", flush=True)
