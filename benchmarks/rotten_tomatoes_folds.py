"""ULMFiT on Rotten Tomatoes in 10 folds: every sentence is tested once, by a model that never saw it.

    python benchmarks/rotten_tomatoes_folds.py STAGE_1_RUN [--only 0 1] [--seed 0] [--out runs/folds] [OPTIONS]

The folds are drawn by `--seed` from the package's 8,530 sentences (published 10-fold figures are of all 10,662). Each
runs `rotten_tomatoes/ulmfit_2_lm` on its training sentences, from the language model STAGE_1_RUN, and then
`rotten_tomatoes/ulmfit_3_classifier`, which chooses its epoch on 5 % of them. OPTIONS are those of `rnn-hf fit`. A fold
that was finished before is kept.
"""

import argparse
import csv
import random
import statistics
from pathlib import Path

from rnn_hf.commands.stages import fit
from rnn_hf.data.packaged import PACKAGED

FOLDS = 10
VALIDATION_SHARE = 0.05


def write_fold(folder: Path, rows: list[tuple[str, str]], fold: int) -> None:
    """train.csv, validation.csv and test.csv; `rows` are in random order."""
    folder.mkdir(parents=True, exist_ok=True)
    train = [row for number, row in enumerate(rows) if number % FOLDS != fold]
    held_out = round(VALIDATION_SHARE * len(train))
    splits = {"test": rows[fold::FOLDS], "validation": train[:held_out], "train": train[held_out:]}
    for split, texts in splits.items():
        with open(folder / f"{split}.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *texts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pretrained", help="run folder of a language model of reviews")
    parser.add_argument("--only", type=int, nargs="+", choices=range(FOLDS), default=range(FOLDS), metavar="FOLD")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/folds"))
    arguments, options = parser.parse_known_args()
    splits = PACKAGED["rotten_tomatoes"]().splits.values()
    rows = [pair for split in splits for pair in zip(split.texts, split.labels, strict=True)]
    random.Random(arguments.seed).shuffle(rows)
    accuracies = []
    for fold in arguments.only:
        out = arguments.out / f"fold-{fold}"
        write_fold(out / "data", rows, fold)
        common = (f"--data.dataset={out}/data", f"--seed_everything={arguments.seed}", "--resume=auto", *options)
        fit("rotten_tomatoes/ulmfit_2_lm", out / "lm", "--model.pretrained", arguments.pretrained, *common)
        tuned = ("--model.pretrained", str(out / "lm"), *common)
        report = fit("rotten_tomatoes/ulmfit_3_classifier", out / "classifier", *tuned)
        accuracies.append(report["metrics"]["test/accuracy"])
        print(f"fold {fold}: accuracy {accuracies[-1]:.4f}, mean so far {statistics.mean(accuracies):.4f}", flush=True)
    spread = statistics.stdev(accuracies) if len(accuracies) > 1 else float("nan")
    print(f"{len(accuracies)} of {FOLDS} folds, {len(rows):,} sentences in all")
    print(f"mean accuracy {statistics.mean(accuracies):.4f}, standard deviation {spread:.4f}")


if __name__ == "__main__":
    main()
