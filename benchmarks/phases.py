"""Where the time of one training step goes, before (a plain torch program) and after, in percent of the former.

    python benchmarks/phases.py

The step of `step.py`: two LSTM layers of 650, 33,278 words, 32 lanes of 35 steps. It is cut where its parts meet: each
part runs forward and backward on its own, with the gradient that the next one left. The parts' sum is compared with the
whole step's time, and the plain losses with ours.
"""

import copy
import itertools
import json
import sys
import time
from statistics import median

import torch
from compare import Within, agreement, arguments, machine, zipf
from step import CLIP, LANES, TIME, WIDTH, WORDS, Bare, Plain
from torch import nn
from torch.nn import functional as F

from rnn_hf import RnnConfig, RnnForCausalLM

PHASES = ("embedding", "recurrent layers", "head and loss", "clipping", "optimiser")


def phases(system: Plain | Bare, batch: dict, autocast: bool) -> tuple[dict[str, float], float]:
    """(CPU milliseconds of each part of one step, its loss in nats)."""
    marks = [time.process_time()]

    def mark():
        marks.append(time.process_time())

    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        plain = isinstance(system, Plain)
        embedding = system.embedding if plain else system.model.model.embed_tokens
        parameters = list((system if plain else system.model).parameters())
        embedded = embedding(batch["input_ids"])
        inputs = embedded.detach().requires_grad_()
        mark()
        hidden = system.rnn(inputs)[0] if plain else system.model.model(inputs_embeds=inputs).last_hidden_state
        features = hidden.detach().requires_grad_()
        mark()
        if plain:
            loss = F.cross_entropy(system.head(features).flatten(0, 1), batch["shift_labels"].flatten())
        else:
            loss = system.model._loss(features, batch["shift_labels"])
    loss.backward()
    mark()
    hidden.backward(features.grad)
    mark()
    embedded.backward(inputs.grad)
    mark()
    nn.utils.clip_grad_norm_(parameters, CLIP)
    mark()
    system.optimizer.step()
    system.optimizer.zero_grad()
    mark()
    look_up, forward, head, backward, scatter, clip, optimise = (
        1e3 * (after - before) for before, after in itertools.pairwise(marks)
    )
    parts = (look_up + scatter, forward + backward, head, clip, optimise)
    return dict(zip(PHASES, parts, strict=True)), float(loss.detach())


def main() -> int:
    options = arguments(__doc__, rounds=5)
    torch.manual_seed(0)
    sizes = {"vocab_size": WORDS, "embedding_size": WIDTH, "hidden_size": WIDTH, "num_hidden_layers": 2}
    model, adaptive = RnnForCausalLM(RnnConfig(**sizes)), RnnForCausalLM(RnnConfig(**sizes, lm_head="adaptive"))
    stream = zipf((LANES, TIME + 1), WORDS)
    batch = {"input_ids": stream[:, :-1], "shift_labels": stream[:, 1:].contiguous()}
    systems = {
        "plain": (Plain(model), False),
        "exact": (Bare(model), False),
        "bfloat16": (Bare(copy.deepcopy(model)), True),
        "adaptive, bfloat16": (Bare(adaptive), True),
    }
    found, losses, whole = {name: [] for name in systems}, {}, []
    for turn in range(options.rounds + 1):
        for name, (system, autocast) in systems.items():
            parts, loss = phases(system, batch, autocast)
            if turn:
                found[name].append(parts)
            else:
                losses[name] = loss
        began = time.process_time()
        systems["plain"][0].step(batch)
        whole.append(1e3 * (time.process_time() - began))
    parts = {name: {phase: median(p[phase] for p in of) for phase in PHASES} for name, of in found.items()}
    total = sum(parts["plain"].values())
    checked = {
        f"relative difference of the first loss, {name} against plain": Within(
            [abs(losses[name] / losses["plain"] - 1)], [allowed]
        )
        for name, allowed in (("exact", 1e-4), ("bfloat16", 1e-2))
    }
    if options.json:
        facts = {"losses": losses, "plain step, ms": median(whole[1:])}
        print(json.dumps({"machine": machine(), "ms": parts, **facts}))
        return agreement(checked)
    print("; ".join(f"{key} {value}" for key, value in machine().items()))
    print(f"{'% of the plain step':20}" + "".join(f"  {name:>18}" for name in parts))
    for phase in PHASES:
        print(f"{phase:20}" + "".join(f"  {100 * of[phase] / total:18.1f}" for of in parts.values()))
    print(f"{'all':20}" + "".join(f"  {100 * sum(of.values()) / total:18.1f}" for of in parts.values()))
    print(f"the plain parts' sum is {total:.0f} ms, the whole plain step {median(whole[1:]):.0f} ms")
    for name, fact in checked.items():
        print(f"{name}: {fact}")
    return agreement(checked)


if __name__ == "__main__":
    sys.exit(main())
