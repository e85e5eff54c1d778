"""One million tokens written, and one million read: memory and speed at the start and at the end.

    python benchmarks/million_tokens.py                 # 1,000,000 tokens each
    python benchmarks/million_tokens.py --tokens 20000  # in short

A text is written with `rnn_hf.stream` and a prompt is read with `rnn_hf.read_prompt`, by one small random model on one
CPU thread. Growth is that of the resident memory since the work began, beside the prompt's ids, which were there
before; speed is by the processor's time, which other work on the machine does not change. Exit status 1 if the growth
reaches 1 MB. With `--generate`, `model.generate()` writes as much, for comparison: it keeps all ids and joins each new
one to a copy of them.
"""

import argparse
import gc
import os
import sys
import time
from collections.abc import Iterator

import torch

from rnn_hf import RnnConfig, RnnForCausalLM, new_cache, read_prompt, stream

LIMIT = 1.0  # MB
TENTHS = 10


def resident() -> float:
    """Resident memory of this process in MB (Linux)."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(name: str, steps: Iterator[int], tokens: int) -> float:
    """Runs `steps`, each of which says how many tokens it dealt with; prints and returns the growth in MB."""
    marks, start, since, done = [], resident(), time.process_time(), 0
    last = 0
    for count in steps:
        done += count
        if done >= tokens * (len(marks) + 1) / TENTHS or done >= tokens:
            now = time.process_time()
            marks.append(((done - last) / (now - since), resident() - start))
            since, last = time.process_time(), done
    growth = max(grown for _, grown in marks)
    first, final = marks[0][0], marks[-1][0]
    print(f"{name}: {done:,} tokens; memory +{growth:.2f} MB (limit {LIMIT:.0f}); "
          f"{first:,.0f} tokens a CPU second in the first tenth, "
          f"{final:,.0f} in the last, ratio {final / first:.2f}")  # fmt: skip
    print("  speed by tenth: " + " ".join(f"{speed:,.0f}" for speed, _ in marks))
    print("  MB by tenth:    " + " ".join(f"{grown:+.2f}" for _, grown in marks))
    return growth


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1_000_000, help="default: 1,000,000")
    parser.add_argument("--cell-type", default="lstm", choices=["elman", "gru", "lstm"], help="default: lstm")
    parser.add_argument("--hidden-size", type=int, default=32, help="default: 32")
    parser.add_argument("--generate", action="store_true", help="also write with model.generate()")
    arguments = parser.parse_args()
    if arguments.tokens < 1000:
        parser.error(f"--tokens must be at least 1000; got {arguments.tokens}")
    tokens, chunk = arguments.tokens, 1000

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = RnnConfig(
        vocab_size=256, embedding_size=32, hidden_size=arguments.hidden_size, cell_type=arguments.cell_type
    )
    model = RnnForCausalLM(config).eval()
    prompt = torch.randint(256, (1, tokens))

    def write(count: int) -> Iterator[int]:
        for _ in stream(model, prompt[:, :1], max_new_tokens=count, do_sample=True, top_k=50, top_p=0.95):
            yield 1

    def read(count: int) -> Iterator[int]:
        cache = new_cache(config)
        for part in prompt[:, :count].split(chunk, 1):
            read_prompt(model, part, cache, chunk_size=chunk)
            yield part.shape[1]

    def write_with_generate(count: int) -> Iterator[int]:
        """generate() says nothing until it is done, but to a streamer; here it tells the speed of the whole."""
        model.generate(prompt[:, :1], max_new_tokens=count, do_sample=True, top_k=50, top_p=0.95)
        yield count

    ways = {"written": write, "read": read}
    if arguments.generate:
        ways["written by generate()"] = write_with_generate
    growth = {}
    for name, run in ways.items():
        for _ in run(5 * chunk):  # allocators and caches fill once
            pass
        growth[name] = measure(name, run(tokens), tokens)
    return int(max(growth["written"], growth["read"]) >= LIMIT)


if __name__ == "__main__":
    sys.exit(main())
