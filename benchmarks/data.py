"""C12: language-modelling batches through the DataLoader, and words to token ids, on one thread.

    python benchmarks/data.py [FILE]

The text is FILE (one text a line, words between spaces, such as WikiText-2's train.txt) or, without one, two million
words drawn by Zipf's law. The peer of the batches is lists of ids, cut and made a tensor batch by batch; that of the
encoding is the tokenizer itself. Both give the same numbers as ours, which is checked in the same run.
"""

import itertools
import sys

import torch
from compare import Row, medians, parse, parser, report, zipf
from torch.utils.data import DataLoader

from rnn_hf.data.encoding import TEXTS_A_CALL, encode
from rnn_hf.data.lanes import Lanes, StepSampler
from rnn_hf.data.token_stream import token_stream
from rnn_hf.tokenization import train_word_tokenizer

LANES, SEQUENCE_LENGTH = 20, 70


def zipf_texts(words: int = 2_000_000) -> list[str]:
    """Lines of 1 to 200 words out of 60,000."""
    torch.manual_seed(0)
    drawn = [f"{'abcdefghijklmno'[i % 15]}{i:x}{'s' * (i % 3)}" for i in zipf((words,), 60_003).tolist()]
    cuts = torch.randint(1, 201, (words // 100,)).cumsum(0).tolist()
    return [" ".join(drawn[start:end]) for start, end in itertools.pairwise([0, *cuts]) if start < words]


def main() -> int:
    given = parser(__doc__, rounds=5)
    given.add_argument("file", metavar="FILE", nargs="?")
    options = parse(given)
    if options.file:
        with open(options.file, encoding="utf-8") as file:
            texts = file.read().splitlines()
    else:
        texts = zipf_texts()
    tokenizer = train_word_tokenizer(texts, split="whitespace")
    words = sum(len(text.split()) for text in texts)

    def by_the_tokenizer() -> list[int]:
        ids = []
        for start in range(0, len(texts), TEXTS_A_CALL):
            some = texts[start : start + TEXTS_A_CALL]
            for row in tokenizer(some, add_special_tokens=False, return_attention_mask=False)["input_ids"]:
                ids += row
        return ids

    if encode(texts, tokenizer)[0].tolist() != by_the_tokenizer():
        raise AssertionError("the ids differ from the tokenizer's")

    stream = token_stream(texts, tokenizer)
    lanes = Lanes(stream, LANES, whole=False)
    loader = DataLoader(lanes, batch_size=None, sampler=StepSampler(lanes.time, SEQUENCE_LENGTH))
    ids = stream.ids.tolist()

    def cut_lists():
        for steps in loader.sampler:
            starts = range(steps.start, steps.start + LANES * lanes.time, lanes.time)
            tokens = torch.tensor([ids[start : start + steps.stop - steps.start + 1] for start in starts])
            yield {"input_ids": tokens[:, :-1], "shift_labels": tokens[:, 1:]}

    for ours, peer in zip(loader, cut_lists(), strict=True):
        if not all(torch.equal(ours[key], peer[key]) for key in peer):
            raise AssertionError("the batches differ from the lists'")

    time = medians(
        {
            "tokenizer": by_the_tokenizer,
            "encode": lambda: encode(texts, tokenizer),
            "lists": lambda: sum(1 for _ in cut_lists()),
            "lanes": lambda: sum(1 for _ in loader),
        },
        options.rounds,
    )
    batched, what = lanes.num_tokens, f"batches of {LANES} x {SEQUENCE_LENGTH}"
    rows = [
        Row("C12", f"{what}, against lists", time["lists"], time["lanes"], 20.0, batched),
        Row("C12", "words to ids, against the tokenizer", time["tokenizer"], time["encode"], 3.0, words),
    ]
    report(rows, {"texts, words, tokens": f"{len(texts):,} {words:,} {stream.num_tokens:,}"}, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
