"""`rnn-hf score FOLDER TEXT...`: each token's log-probability given those before it, their sum and the perplexity.

The chain rule: the log-probability of a text is the sum of its tokens'. In nats (natural logarithm). A model that reads
backward has the tokens in that order, the last one first.
"""

from .common import Parser, encode, open_model

EXAMPLES = """example:
  rnn-hf score runs/quickstart/language_model "the film is good" "film the good is" """


def run(argv: list[str]) -> None:
    parser = Parser(prog="rnn-hf score", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("folder", help="run folder, model folder or Hub id of a language model")
    parser.add_argument("texts", nargs="+", metavar="TEXT")
    arguments = parser.parse_args(argv)
    model, tokenizer = open_model(arguments.folder, "ForCausalLM")
    for number, text in enumerate(arguments.texts, 1):
        encode(tokenizer, text, f"text {number}")
    for number, scored in enumerate(model.score(arguments.texts, tokenizer)):
        if number:
            print()
        for token, log_prob in zip(scored.tokens, scored.log_probs.tolist(), strict=True):
            print(f"{log_prob:10.4f}  {token}")
        print(f"{float(scored.total):10.4f}  sum of {len(scored.tokens)} tokens, in nats")
        print(f"{float(scored.perplexity):10.2f}  perplexity = exp(-sum / tokens)")
