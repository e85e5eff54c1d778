"""C2: one LSTM layer in training, forward and backward, against torch.nn.LSTM.

    python benchmarks/layer.py

650 wide, 32 rows of 35 steps. The peer is nn.LSTM, with the connection in plain torch where ours has one. Outputs,
input and weight gradients of both are compared in the same run. Weight drop is compared with nn.LSTM without it.
"""

import sys

import torch
from compare import Row, Within, arguments, medians, report
from torch import nn

from rnn_hf import RnnConfig
from rnn_hf.models.rnn_layers import RnnLayer

BATCH, STEPS, WIDTH = 32, 35, 650


class Plain(nn.Module):
    """nn.LSTM and a connection, as one would write it; the weights are those of our layer."""

    def __init__(self, ours: RnnLayer):
        super().__init__()
        self.connection = ours.connection
        self.rnn = nn.LSTM(WIDTH, WIDTH, batch_first=True, bidirectional=ours.directions == 2)
        self.rnn.load_state_dict(ours.rnn.state_dict())
        self.skip, self.gate = ours.skip, ours.gate

    def forward(self, x):
        out, _ = self.rnn(x)
        if self.connection == "none":
            return out
        path = x if self.skip is None else self.skip(x)
        if self.gate is None:
            return out + path
        gate = self.gate(x)
        return gate * out + (1 - gate) * path


def main() -> int:
    options = arguments(__doc__, rounds=9)
    torch.manual_seed(0)
    x = torch.randn(BATCH, STEPS, WIDTH)
    weight = torch.randn(BATCH, STEPS, 2 * WIDTH)
    cases = [
        ("plain", {}, 0.97),
        ("residual", {"layer_connection": "residual"}, 0.97),
        ("highway", {"layer_connection": "highway"}, 0.97),
        ("bidirectional", {"bidirectional": True}, 0.97),
        ("bidirectional residual", {"bidirectional": True, "layer_connection": "residual"}, 0.97),
        ("weight drop 0.5", {"weight_dropout": 0.5}, 0.9),
    ]

    def step(module, call):
        def run():
            module.zero_grad()
            inputs = x.clone().requires_grad_()
            out = call(inputs)
            (out * weight[..., : out.shape[-1]]).sum().backward()
            return (
                out.detach(),
                inputs.grad,
                *(p.grad for name, p in module.named_parameters() if name.startswith("rnn.")),
            )

        return run

    rows, facts = [], {}
    for name, fields, wanted in cases:
        layer = RnnLayer(RnnConfig(embedding_size=WIDTH, hidden_size=WIDTH, **fields), 0).train()
        layer.rnn.init_weights("lstm")
        for linear in (layer.skip, layer.gate):
            if linear is not None:
                nn.init.xavier_uniform_(linear.weight)
        ours, peer = step(layer, lambda inputs, layer=layer: layer(inputs)[0]), Plain(layer)
        theirs = step(peer, peer)
        if not layer.weight_dropout:
            pairs = zip(ours(), theirs(), strict=True)
            difference = float(torch.stack([(a - b).abs().max() / b.abs().max() for a, b in pairs]).max())
            facts[f"largest relative difference, {name}"] = Within([difference], [1e-5])
        time = medians({"peer": theirs, "ours": ours}, options.rounds)
        rows.append(Row("C2", name, time["peer"], time["ours"], wanted))
    return report(rows, facts, options.json)


if __name__ == "__main__":
    sys.exit(main())
