"""C5: the language-modelling head and its loss, forward and backward, at 33,278 words (WikiText-2's).

    python benchmarks/head.py

The peer is `F.cross_entropy(F.linear(...))` in float32. Ours is what RnnForCausalLM trains with. The gradients of all
are compared with float64's in the same run, the adaptive head with torch.nn.AdaptiveLogSoftmaxWithLoss, and the memory
that a step needs beside the gradients is measured (Linux). Targets are distributed as words are.
"""

import ctypes
import gc
import sys

import torch
from compare import Row, Within, arguments, medians, report, zipf
from torch import nn
from torch.nn import functional as F

from rnn_hf import RnnConfig, RnnForCausalLM
from rnn_hf.models.heads import linear_cross_entropy
from rnn_hf.models.products import use_onednn

TOKENS, WIDTH, WORDS = 32 * 35, 650, 33_278


def extra_memory(step) -> float:
    """Peak resident memory of `step` above that before it, in MB."""

    def field(name):
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(name)) / 1e3

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back, so that it is counted when it is taken again
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # the peak starts anew
    before = field("VmRSS")
    step()
    return field("VmHWM") - before


def torch_adaptive(ours: nn.Module, div_value: float) -> nn.AdaptiveLogSoftmaxWithLoss:
    """torch's, with the same weights."""
    theirs = nn.AdaptiveLogSoftmaxWithLoss(WIDTH, WORDS, ours.cutoffs, div_value, head_bias=True)
    with torch.no_grad():
        theirs.head.weight.copy_(torch.cat([ours.words.weight, ours.clusters.weight]))
        theirs.head.bias.copy_(torch.cat([ours.bias, ours.clusters.bias]))
        for tail, projection, words in zip(theirs.tail, ours.projections, ours.tails, strict=True):
            tail[0].weight.copy_(projection.weight)
            tail[1].weight.copy_(words.weight)
    return theirs


def main() -> int:
    options = arguments(__doc__, rounds=5)
    torch.manual_seed(0)
    hidden = 0.5 * torch.randn(TOKENS, WIDTH)
    parameters = [0.05 * torch.randn(WORDS, WIDTH), torch.randn(WORDS)]
    targets = zipf((TOKENS,), WORDS)

    def step(loss, dtype=torch.float32, autocast=False):
        inputs = [t.to(dtype).detach().requires_grad_() for t in (hidden, *parameters)]

        def run():
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                value = loss(*inputs, targets)
            value.backward()
            gradients = [tensor.grad for tensor in inputs]
            for tensor in inputs:
                tensor.grad = None
            return value.detach(), *gradients

        return run

    def plain(hidden, weight, bias, targets):
        return F.cross_entropy(F.linear(hidden, weight, bias), targets)

    config = RnnConfig(vocab_size=WORDS, embedding_size=WIDTH, hidden_size=WIDTH, lm_head="adaptive")
    adaptive = RnnForCausalLM(config).lm_head

    def adaptive_step(autocast=False):
        inputs = hidden.clone().requires_grad_()

        def run():
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                value = adaptive.nats(inputs, targets, None).mean()
            value.backward()
            gradients = [inputs.grad, *(p.grad for p in adaptive.parameters())]
            inputs.grad = None
            adaptive.zero_grad()
            return value.detach(), *gradients

        return run

    competitors = {
        "plain": step(plain),
        "plain bf16": step(plain, autocast=True),
        "ours": step(linear_cross_entropy),
        "ours bf16": step(linear_cross_entropy, autocast=True),
    }
    exact = step(plain, torch.float64)()
    facts = {}
    for name, run in competitors.items():
        errors = [float((a - b).norm() / b.norm()) for a, b in zip(run(), exact, strict=True)]
        facts[f"relative error of {name} (loss, hidden, weight, bias)"] = Within(
            errors, [2e-2 if "bf16" in name else 1e-5] * 4
        )
    del exact
    competitors |= {"adaptive": adaptive_step(), "adaptive bf16": adaptive_step(autocast=True)}
    expected = torch_adaptive(adaptive, config.adaptive_div_value)(hidden, targets).loss.item()
    for name in ("adaptive", "adaptive bf16"):
        facts[f"relative difference of {name} from torch's (loss)"] = Within(
            [abs(float(competitors[name]()[0]) / expected - 1)], [1e-2 if "bf16" in name else 1e-5]
        )
    facts["float32 products by"] = "oneDNN" if use_onednn() else "torch.mm"
    if sys.platform == "linux":
        of_full = sum(t.numel() for t in (hidden, *parameters)) * 4e-6
        of_adaptive = sum(t.numel() for t in (hidden, *adaptive.parameters())) * 4e-6
        for name, run in competitors.items():
            gradients = of_adaptive if name.startswith("adaptive") else of_full
            facts[f"memory of {name} beside the gradients, MB"] = round(extra_memory(run) - gradients)
    time = medians(competitors, options.rounds)
    rows = [
        Row("C5", "exact", time["plain"], time["ours"], 2.0),
        Row("C5", "bfloat16", time["plain"], time["ours bf16"], 4.0),
        Row("", "bfloat16 against the plain form in bfloat16", time["plain bf16"], time["ours bf16"], 1.0),
        Row("C5", "adaptive softmax", time["plain"], time["adaptive"], 8.0),
        Row("C5", "adaptive softmax, bfloat16", time["plain"], time["adaptive bf16"], 8.0),
    ]
    return report(rows, facts, options.json)


if __name__ == "__main__":
    sys.exit(main())
