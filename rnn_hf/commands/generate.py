"""`rnn-hf generate FOLDER`: continue a text, printed as it is made."""

import torch
from transformers import TextStreamer, set_seed

from .common import Parser, encode, open_model

EXAMPLES = """examples:
  rnn-hf generate runs/quickstart/language_model --prompt "the film is"
  rnn-hf generate runs/quickstart/language_model --temperature 0 --max-new-tokens 50"""


class FromFirstWord(TextStreamer):
    """Prints the text as it is made, without the space that many tokenizers decode before its first word."""

    begun = False

    def on_finalized_text(self, text: str, stream_end: bool = False):
        text = text if self.begun else text.lstrip(" ")
        self.begun = self.begun or text != ""
        super().on_finalized_text(text, stream_end)


def run(argv: list[str]) -> None:
    parser = Parser(prog="rnn-hf generate", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("folder", help="run folder, model folder or Hub id of a language model")
    parser.add_argument("--prompt", help="text to continue; without it, the model begins a text of its own")
    parser.add_argument("--max-new-tokens", type=int, default=100, help="default: 100")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 takes the likeliest token; default: 0.8")
    parser.add_argument(
        "--top-p", type=float, default=0.95, help="sample from this share of probability; default: 0.95"
    )
    parser.add_argument("--seed", type=int, help="the same seed gives the same text; default: another each time")
    arguments = parser.parse_args(argv)
    if arguments.max_new_tokens < 1:
        raise ValueError(f"--max-new-tokens must be at least 1; got {arguments.max_new_tokens}")
    if not 0 <= arguments.temperature < float("inf"):
        raise ValueError(f"--temperature must be 0 or more; got {arguments.temperature}")
    if not 0 < arguments.top_p <= 1:
        raise ValueError(f"--top-p must be above 0 and at most 1; got {arguments.top_p}")

    model, tokenizer = open_model(arguments.folder, "ForCausalLM")
    if getattr(model.config, "direction", "forward") == "backward":
        raise ValueError(
            f"{arguments.folder!r} reads backward, from the end of a text: it continues none. It is for "
            "`rnn-hf score`, `rnn-hf evaluate` and, as model.pretrained, for a classifier"
        )
    # A text begins after the token that ended the one before it, as in training.
    ids = [tokenizer.bos_token_id if model.config.bos_token_id is None else model.config.bos_token_id] + (
        [] if arguments.prompt is None else encode(tokenizer, arguments.prompt, "prompt")
    )
    sampling = {"do_sample": False}
    if arguments.temperature > 0:
        sampling = {"do_sample": True, "temperature": arguments.temperature, "top_p": arguments.top_p, "top_k": 0}
    if arguments.seed is not None:
        set_seed(arguments.seed)
    model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=arguments.max_new_tokens,
        streamer=FromFirstWord(tokenizer, skip_special_tokens=True),
        **sampling,
    )
