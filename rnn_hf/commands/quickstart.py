"""`rnn-hf quickstart`: the whole road once on real film reviews, in under 10 minutes on 2 CPU cores, offline.

Trains a language model, fine-tunes a sentiment classifier from its encoder, trains the same classifier from scratch to
compare, and opens what was written in a fresh process. Each step is a command or a snippet that you can run yourself;
it is printed before it runs.
"""

import os
import subprocess
import sys
import time

import torch

from ..data.sources import load_rows
from .common import Parser, run_folder
from .stages import fit, minutes, title

# Run as it stands in a process of its own, so that it shows what a user of the folders has to write.
TOUR = """\
import rnn_hf, torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, pipeline, set_seed

lm = AutoModelForCausalLM.from_pretrained("{out}/language_model/model")
tokenizer = AutoTokenizer.from_pretrained("{out}/language_model/model")
set_seed(0)
for prompt in ("the film is", "a story of", "i laughed"):
    ids = tokenizer(prompt, return_tensors="pt")
    text = lm.generate(**ids, max_new_tokens=25, do_sample=True, temperature=0.8, top_p=0.95)
    print("  ", tokenizer.decode(text[0], skip_special_tokens=True).strip())

classifier = AutoModelForSequenceClassification.from_pretrained("{out}/sentiment/model")
classify = pipeline("text-classification", model=classifier, tokenizer=tokenizer)
for review in ("a moving and honest film", "two hours of my life that i want back"):
    print("  ", review, "->", classify(review)[0])
"""

NEXT = """\
Both models are in {out}/. What to do next:
  rnn-hf generate {out}/language_model --prompt "the plot"
  rnn-hf score    {out}/language_model "the film is good" "film the good is"
  rnn-hf predict  {out}/sentiment "your own review"
  rnn-hf evaluate {out}/sentiment --data FILE.csv          (columns text,label)
  rnn-hf fit --config quickstart/sentiment --help          (every key of a recipe)
"""


def run(argv: list[str]) -> None:
    parser = Parser(prog="rnn-hf quickstart", description=__doc__)
    parser.add_argument("--output_dir", help="a new or empty folder; default: runs/quickstart, runs/quickstart-2, ...")
    arguments = parser.parse_args(argv)
    began = time.monotonic()
    load_rows("rotten_tomatoes", "test", label_column="label")  # fails at once where the review text is missing
    out = run_folder(arguments.output_dir, "quickstart")

    speed = speed_options()
    title("1/4  A language model on film reviews (the 1,066 held-out sentences are in no training text)")
    language_model = fit("quickstart/language_model", out / "language_model", *speed["language_model"])
    encoder = str(out / "language_model" / "model")
    title("2/4  A sentiment classifier that starts from the language model's encoder")
    tuned = fit("quickstart/sentiment", out / "sentiment", f"--model.pretrained={encoder}", *speed["classifier"])
    title("3/4  The same classifier from scratch, to compare")
    from_scratch = (out / "sentiment_from_scratch", f"--data.tokenizer={encoder}", *speed["classifier"])
    scratch = fit("quickstart/sentiment", *from_scratch)
    title("4/4  Both folders opened in a fresh process")
    tour = TOUR.format(out=out)
    print(tour)
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    subprocess.run([sys.executable, "-c", tour], check=True, env={**os.environ, **quiet})

    print(f"\nOn {tuned['metrics']['test/rows']:,} held-out Rotten Tomatoes sentences, after {minutes(began)}:")
    print(
        f"  language model   perplexity {language_model['metrics']['test/perplexity']:.1f} over "
        f"{language_model['metrics']['test/tokens']:,} tokens"
        f"   (unigram {language_model['data']['baselines']['test/unigram_perplexity']:.1f})"
    )
    print(
        f"  sentiment        accuracy {tuned['metrics']['test/accuracy']:.3f}   "
        f"(from scratch {scratch['metrics']['test/accuracy']:.3f}, "
        f"majority {tuned['data']['baselines']['test/majority_accuracy']:.3f})\n"
    )
    print(NEXT.format(out=out), end="")


def speed_options() -> dict[str, list[str]]:
    """bfloat16 where the CPU computes in it, which halves the time; elsewhere the language model reads less text."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"):
        return {"language_model": ["--trainer.precision=bf16-mixed"], "classifier": ["--trainer.precision=bf16-mixed"]}
    return {"language_model": ["--trainer.limit_train_batches=1800"], "classifier": []}
