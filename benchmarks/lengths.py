"""C4: texts of unequal length through a bidirectional LSTM, forward and backward, per real token.

    python benchmarks/lengths.py

300 wide, batches of 32 texts of like length (what rnn-hf's loader makes), 82 tokens in the mean. The peers are nn.LSTM
on packed sequences of the same batches, and on full batches without padding of as many real tokens. Outputs at real
tokens and gradients are compared with the packed ones in the same run.
"""

import sys

import torch
from compare import Row, Within, arguments, medians, report
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnn_hf import RnnConfig, RnnModel
from rnn_hf.data.batches import LengthBucketSampler

TEXTS, BATCH, WIDTH, WORDS = 1600, 32, 300, 10_000
BATCHES = 6  # of the epoch's 50


def main() -> int:
    options = arguments(__doc__, rounds=5)
    torch.manual_seed(0)
    lengths = torch.randn(TEXTS).mul(0.75).add(4.13).exp().long().clamp(4, 500)  # log-normal, as reviews are
    batches, real = [], 0
    for rows in list(LengthBucketSampler(lengths, BATCH))[:BATCHES]:
        mask = torch.arange(int(lengths[rows].max())) < lengths[rows][:, None]
        batches.append((torch.randint(WORDS, mask.shape), mask, lengths[rows]))
        real += int(mask.sum())
    steps = round(real / BATCHES / BATCH)
    full = [torch.randint(WORDS, (BATCH, steps)) for _ in range(BATCHES)]

    ours = RnnModel(RnnConfig(vocab_size=WORDS, embedding_size=WIDTH, hidden_size=WIDTH, bidirectional=True)).train()
    peer = nn.LSTM(WIDTH, WIDTH, batch_first=True, bidirectional=True)
    peer.load_state_dict(ours.layers[0].rnn.state_dict())
    embedding = ours.embed_tokens

    def packed(ids, mask, lengths):
        out, _ = peer(pack_padded_sequence(embedding(ids), lengths, batch_first=True, enforce_sorted=False))
        return pad_packed_sequence(out, batch_first=True)[0]

    def masked(ids, mask, lengths):
        return ours(ids, attention_mask=mask).last_hidden_state * mask[..., None]

    def train(forward, batches):
        def run():
            outs = []
            for batch in batches:
                for module in (ours, peer):
                    module.zero_grad()
                out = forward(*batch)
                out.square().sum().backward()
                outs.append(out.detach())
            return outs

        return run

    competitors = {
        "packed": train(packed, batches),
        "ours": train(masked, batches),
        "dense": train(lambda ids: peer(embedding(ids))[0], [(ids,) for ids in full]),
    }
    outputs, gradients = {}, {}
    for name, parameters in (("packed", peer.parameters()), ("ours", ours.layers[0].rnn.parameters())):
        outputs[name], gradients[name] = competitors[name](), [p.grad.clone() for p in parameters]
    pairs = zip(outputs["ours"] + gradients["ours"], outputs["packed"] + gradients["packed"], strict=True)
    difference = float(torch.stack([(a - b).abs().max() / b.abs().max() for a, b in pairs]).max())
    time = medians(competitors, options.rounds)
    per_token = BATCHES * BATCH * steps / real  # the full batches' tokens by the real ones
    rows = [
        Row("C4", "against packed", time["packed"], time["ours"], 3.5),
        Row("C4", "against full batches", time["dense"] / per_token, time["ours"], 0.9),
    ]
    facts = {
        "largest relative difference from packed": Within([difference], [1e-4]),
        "real tokens": f"{real:,}, {real / sum(mask.numel() for _, mask, _ in batches):.0%} of the batches",
    }
    return report(rows, facts, options.json)


if __name__ == "__main__":
    sys.exit(main())
