"""One recurrent layer: directions, padding, connections and dropouts around a fused step loop.

Three ways to run a layer give the same numbers:
- `fused`: torch's kernels (oneDNN, cuDNN) on parameters that this module owns, for training and prefill;
- `step by step` with the equations of `rnn_cells`, for single steps, mogrifiers and where past states are recorded;
- `scan`, a higher-order operator that exports with dynamic lengths, under `torch.export`.

Padding is skipped: a padded step leaves the state as it was. The fused path therefore moves each row's real tokens to
the front (`Padding`), runs over the dense batch and gathers what it needs: packing would fall off the fast kernels.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn import functional as F
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import is_tracing

from .configuration_rnn import GATES, RnnConfig
from .fused_loop import fused_loop, run
from .rnn_cells import elman_cell, gru_cell, lstm_cell, mogrify

State = tuple[Tensor, ...]  # (h,) or (h, c), each [batch, hidden_size]

HIGHWAY_BIAS = -2.0  # sigmoid(-2) = 0.12: a new layer carries most of its input (Srivastava et al. 2015)
_CLOSED = 1.0e4  # a gate's input that makes sigmoid exactly 0 or 1


class Padding(NamedTuple):
    """Where the real tokens of a padded batch stand; worked out once a batch."""

    mask: Tensor  # [batch, time] bool
    lengths: Tensor  # [batch]
    order: Tensor | None  # [batch, time]: gathers real tokens to the front; None where they stand there already
    latest: Tensor  # [batch, time]: index, among the real tokens, of the latest one so far; -1 before the first
    flip: Tensor  # [batch, time]: reverses the real tokens at the front, leaves the rest in place

    @classmethod
    def of(cls, mask: Tensor) -> "Padding":
        lengths, latest = mask.sum(-1), mask.cumsum(-1) - 1
        steps = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
        flip = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
        # compiled code cannot look, and sorts in any case
        right_padded = not is_tracing(mask) and bool((mask == (steps < lengths[:, None])).all())
        order = None if right_padded else torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)
        return cls(mask, lengths, order, latest, flip)


def take(x: Tensor, index: Tensor) -> Tensor:
    """Gathers steps: x [batch, time, features], index [batch, steps] -> [batch, steps, features]."""
    batch, time, features = x.shape
    rows = index + time * torch.arange(batch, device=x.device)[:, None]
    # whole rows, several times as fast as `gather` by each number, backwards too
    return x.reshape(-1, features).index_select(0, rows.flatten()).view(batch, -1, features)


def hold_last(x: Tensor, latest: Tensor, before: Tensor) -> Tensor:
    """At each step the row's latest real value; `before` [batch, features] where there was none yet."""
    return torch.where((latest < 0)[..., None], before[:, None], take(x, latest.clamp(min=0)))


def drop_weights(weight: Tensor, p: float) -> Tensor:
    """DropConnect (Wan et al. 2013): each weight is 0 with probability `p`, the others are divided by `1 - p`.

    As `F.dropout`, whose random numbers, one a weight, cost a CPU a tenth of a training step. There `p` is rounded to
    1/65536, in both places: four weights share one random number of 64 bits.
    """
    if weight.device.type != "cpu" or is_tracing(weight):
        return F.dropout(weight, p)
    bits = torch.empty(-(-weight.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    dropped = min(round(p * 2**16), 2**16 - 1)  # of 2**16 numbers, so many are below
    kept = bits[: weight.numel()].view(weight.shape) >= dropped - 2**15
    return weight * kept.to(weight.dtype).div_(1 - dropped / 2**16)


class LockedDropout(nn.Module):
    """Dropout with one mask for all steps of a sequence (Gal & Ghahramani 2016)."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:  # [batch, time, features]
        if not self.training or self.p == 0:
            return x
        return x * F.dropout(x.new_ones(x.shape[0], 1, x.shape[2]), self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class HighwayGate(nn.Linear):
    """`sigmoid(W x + b)`, the share of a layer's new output against its input."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(super().forward(x))


class RecurrentWeights(nn.Module):
    """The parameters of one layer, named and shaped as in torch.nn.LSTM/GRU/RNN with one layer.

    Not an nn.RNNBase: dynamo refuses to trace a module that holds one.
    """

    def __init__(self, cell_type: str, input_size: int, hidden_size: int, directions: int, mogrifier_rounds: int = 0):
        super().__init__()
        rows = GATES[cell_type] * hidden_size
        self.hidden_size = hidden_size
        self.suffixes = ("_l0", "_l0_reverse")[:directions]
        self.gates = [f"mogrifier_{i}" for i in range(mogrifier_rounds)]
        for suffix in self.suffixes:
            setattr(self, f"weight_ih{suffix}", nn.Parameter(torch.empty(rows, input_size)))
            setattr(self, f"weight_hh{suffix}", nn.Parameter(torch.empty(rows, hidden_size)))
            setattr(self, f"bias_ih{suffix}", nn.Parameter(torch.empty(rows)))
            setattr(self, f"bias_hh{suffix}", nn.Parameter(torch.empty(rows)))
            for i, name in enumerate(self.gates):
                sizes = (input_size, hidden_size) if i % 2 == 0 else (hidden_size, input_size)
                setattr(self, f"{name}{suffix}", nn.Parameter(torch.empty(sizes)))

    def direction(self, index: int) -> list[Tensor]:
        """weight_ih, weight_hh, bias_ih, bias_hh of direction 0 (forward) or 1 (reverse), and a mogrifier's gates."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", *self.gates)
        return [getattr(self, f"{name}{self.suffixes[index]}") for name in names]

    @torch.no_grad()
    def init_weights(self, cell_type: str) -> None:
        """Glorot-uniform input weights and mogrifier gates, orthogonal recurrent weights gate by gate (Saxe et al.
        2014), zero biases but for an LSTM's forget gate at 1 (Jozefowicz et al. 2015)."""
        for name, parameter in self.named_parameters():
            if getattr(parameter, "_is_hf_initialized", False):  # it came from a checkpoint
                continue
            value = torch.zeros(parameter.shape)
            for gate in value.chunk(GATES[cell_type]):
                if name.startswith("weight_ih"):
                    nn.init.xavier_uniform_(gate)
                elif name.startswith("weight_hh"):
                    nn.init.orthogonal_(gate)
            if name.startswith("mogrifier"):
                nn.init.xavier_uniform_(value)
            if cell_type == "lstm" and name.startswith("bias_ih"):
                value.chunk(4)[1].fill_(1.0)
            init.copy_(parameter, value)


class RnnLayer(GradientCheckpointingLayer):
    """A recurrent layer with its connection. State in, state out: it keeps none.

    Shapes: x (batch, time, input size) -> output (batch, time, directions * hidden size); a state tensor is (batch,
    directions * hidden size). `from_end`: as in the configuration, unless given. Whatever is read first, the output is
    in the order of x.
    """

    def __init__(self, config: RnnConfig, layer_idx: int, from_end: tuple[bool, ...] | None = None):
        super().__init__()
        input_size, hidden_size = config.layer_sizes[layer_idx]
        self.cell_type, self.nonlinearity = config.cell_type, config.nonlinearity
        self.from_end = config.from_end if from_end is None else from_end
        self.directions, self.connection = config.directions, config.layer_connection
        self.hidden_size, self.weight_dropout = hidden_size, config.weight_dropout
        self.num_states = 2 if self.cell_type == "lstm" else 1
        output_size = hidden_size * self.directions
        self.carries_output = "output" in config.state_shapes(layer_idx)

        self.norm = nn.LayerNorm(input_size, eps=config.layer_norm_eps) if config.layer_norm else None
        self.mogrifies = config.mogrifier_rounds > 0
        self.rnn = RecurrentWeights(self.cell_type, input_size, hidden_size, self.directions, config.mogrifier_rounds)
        self.skip = self.gate = self.initial_state = None
        if self.connection != "none" and input_size != output_size:
            self.skip = nn.Linear(input_size, output_size, bias=False)
        if self.connection == "highway":
            self.gate = HighwayGate(input_size, output_size)
        if config.initial_state == "learned":
            self.initial_state = nn.Parameter(torch.empty(self.num_states, output_size))

    def forward(
        self,
        hidden_states: Tensor,
        state: State | None = None,
        mask: Tensor | None = None,
        padding: Padding | None = None,
        keep_state: bool = False,
        record: bool = False,
    ) -> tuple[Tensor, State | None, list[list[Tensor]] | None]:
        """Runs the layer.

        Args:
            hidden_states: (batch, time, input size).
            state: the state before the first step, as this method returns it; None for the initial one.
            mask: (batch, time) bool, true at real tokens; None without padding.
            padding: what `Padding.of(mask)` says, for the fused path.
            keep_state: whether the final state is wanted.
            record: whether the state after every step is wanted (for roll-back).

        Returns:
            output, final state (None unless wanted), state after each step (None unless recorded). At a padded step
            the output repeats the row's latest real one.
        """
        before = None  # the output at padded steps that no real one precedes
        if state is None:
            state = self._initial_state(hidden_states)
        elif self.carries_output:
            *state, before = state
        state = tuple(s.to(hidden_states.dtype) for s in state)
        if before is None:
            before = state[0] if self.connection == "none" else torch.zeros_like(state[0])
        weights = [self._weights(d) for d in range(self.directions)]
        steps = None

        if padding is not None and not record and hidden_states.shape[1] > 1 and not self.mogrifies:
            x = hidden_states if padding.order is None else take(hidden_states, padding.order)
            out, state = self._fused_padded(self._normed(x), state, padding, weights, keep_state)
            out = hold_last(self._connect(x, out), padding.latest, before)
        else:
            x = self._normed(hidden_states)
            # where the length is dynamic, `x.shape[1] == 1` would shut a single step out of the exported program
            one_step = statically_known_true(x.shape[1] == 1) if torch.compiler.is_exporting() else x.shape[1] == 1
            if record or one_step or (self.mogrifies and not torch.compiler.is_compiling()):
                out, state, steps = self._step_by_step(x, state, mask, weights)
            elif torch.compiler.is_exporting() or self.mogrifies:
                out, state = self._scan(x, state, mask, weights)
            else:
                out, state = self._fused(x, state, weights)
            out = self._connect(hidden_states, out)
            if mask is not None and (self.connection != "none" or any(self.from_end)):
                # otherwise the carried h stands there already
                out = _hold(out, mask, before)
        if not keep_state:
            return out, None, None
        if self.carries_output:
            state = (*state, out[:, -1])
            if record:
                steps = [[*step, out[:, t]] for t, step in enumerate(steps)]
        return out, state, steps if record else None

    def _normed(self, x: Tensor) -> Tensor:
        return x if self.norm is None else self.norm(x)

    def _connect(self, x: Tensor, out: Tensor) -> Tensor:
        if self.connection == "none":
            return out
        path = x if self.skip is None else self.skip(x)
        if self.gate is None:
            return out + path
        gate = self.gate(x)
        return gate * out + (1 - gate) * path

    def _initial_state(self, x: Tensor) -> State:
        if self.initial_state is not None:
            return tuple(s.expand(x.shape[0], -1) for s in self.initial_state)
        # One tensor each: a carry that stands twice makes `scan` fail under compile and export wrong numbers silently.
        width = self.hidden_size * self.directions
        return tuple(x.new_zeros(x.shape[0], width) for _ in range(self.num_states))

    def _weights(self, direction: int) -> list[Tensor]:
        weight_ih, weight_hh, *others = self.rnn.direction(direction)
        if self.training and self.weight_dropout:
            weight_hh = drop_weights(weight_hh, self.weight_dropout)
        return [weight_ih, weight_hh, *others]

    def _split(self, state: State) -> list[State]:
        """The state of each direction."""
        return list(zip(*(s.chunk(self.directions, -1) for s in state), strict=True))

    def _kernel(self, x: Tensor, state: State, weights: list[Tensor]) -> tuple[Tensor, State]:
        """torch's fused loop over one direction, or over both: state tensors are [directions, batch, hidden_size]."""
        kernel = f"rnn_{self.nonlinearity}" if self.cell_type == "elman" else self.cell_type
        compiling, device = torch.compiler.is_compiling(), x.device.type
        if torch.is_autocast_enabled(device) and (compiling or device == "cuda"):
            # autocast does not know the operator of compiled code, and would run cuDNN in float16 whatever its type is
            dtype = torch.get_autocast_dtype(device)
            x, state, weights = x.to(dtype), [s.to(dtype) for s in state], [w.to(dtype) for w in weights]
        if compiling:
            out, *state = fused_loop(kernel, x, state, weights)
        else:
            train = self.training or torch.is_grad_enabled()  # cuDNN keeps what backward needs only then
            out, *state = run(kernel, train, x, state, weights)
        return out, tuple(state)

    def _fused(self, x: Tensor, state: State, weights: list[list[Tensor]]) -> tuple[Tensor, State]:
        state = tuple(torch.stack(s.chunk(self.directions, -1)) for s in state)
        alone_from_end = self.from_end == (True,)  # the kernel itself turns the second of two directions round
        out, state = self._kernel(x.flip(1) if alone_from_end else x, state, [w for one in weights for w in one])
        out = out.flip(1) if alone_from_end else out
        return out, tuple(torch.cat(s.unbind(0), -1) for s in state)

    def _fused_padded(self, x, state: State, padding: Padding, weights, keep_state: bool) -> tuple[Tensor, State]:
        """`_fused` on rows whose real tokens stand at the front; x at the other steps does not matter."""
        steps = torch.arange(x.shape[1], device=x.device)
        padded = (steps >= padding.lengths[:, None])[..., None].to(x.dtype)  # [batch, time, 1]
        if self.cell_type == "elman" and self.nonlinearity == "relu":
            # Nothing bounds a relu's state, and what overflows at padding would poison the gradient: 0 there.
            x = torch.cat([x, padded], -1)
            weights = [[F.pad(w_ih, (0, 1), value=-_CLOSED), *others] for w_ih, *others in weights]
        if keep_state and self.cell_type == "lstm":
            # h after the last real step is among the outputs, c is not. One more input feature, 1 at padded steps,
            # shuts the input gate and opens the forget gate there, so that c stays as it was.
            x = torch.cat([x, padded], -1)
            gates = x.new_tensor([-_CLOSED, _CLOSED, 0.0, 0.0]).repeat_interleave(self.hidden_size)[:, None]
            weights = [[torch.cat([w_ih, gates], -1), *others] for w_ih, *others in weights]
        outs, states = [], []
        for from_end, one_state, one in zip(self.from_end, self._split(state), weights, strict=True):
            one_x = take(x, padding.flip) if from_end else x
            out, (_, *others) = self._kernel(one_x, tuple(s[None].contiguous() for s in one_state), one)
            last = take(out, (padding.lengths[:, None] - 1).clamp(min=0))[:, 0]
            last = torch.where((padding.lengths == 0)[:, None], one_state[0], last)
            outs.append(take(out, padding.flip) if from_end else out)
            states.append((last, *(s[0] for s in others)))
        return torch.cat(outs, -1), tuple(torch.cat(s, -1) for s in zip(*states, strict=True))

    def _cell(self, x: Tensor, state: State, weights: list[Tensor]) -> State:
        weight_ih, weight_hh, bias_ih, bias_hh, *gates = weights
        if gates:  # no projection can be made ahead of a step
            x, h = mogrify(x, state[0], gates)
            x, state = F.linear(x, weight_ih, bias_ih), (h, *state[1:])
        if self.cell_type == "elman":
            return elman_cell(x, state, weight_hh, bias_hh, self.nonlinearity)
        return (gru_cell if self.cell_type == "gru" else lstm_cell)(x, state, weight_hh, bias_hh)

    def _step_by_step(self, x, state: State, mask: Tensor | None, weights) -> tuple[Tensor, State, list[list[Tensor]]]:
        outs, states, steps = [], [], []
        for from_end, one, one_state in zip(self.from_end, weights, self._split(state), strict=True):
            projected = x if self.mogrifies else F.linear(x, one[0], one[2])
            out = [None] * x.shape[1]
            for t in reversed(range(x.shape[1])) if from_end else range(x.shape[1]):
                new = self._cell(projected[:, t], one_state, one)
                if mask is not None:
                    new = tuple(torch.where(mask[:, t, None], n, s) for n, s in zip(new, one_state, strict=True))
                one_state, out[t] = new, new[0]
                steps.append(list(new))
            outs.append(torch.stack(out, 1))
            states.append(one_state)
        return torch.cat(outs, -1), tuple(torch.cat(s, -1) for s in zip(*states, strict=True)), steps

    def _scan(self, x: Tensor, state: State, mask: Tensor | None, weights) -> tuple[Tensor, State]:
        outs, states = [], []
        for from_end, one, one_state in zip(self.from_end, weights, self._split(state), strict=True):
            projected = x if self.mogrifies else F.linear(x, one[0], one[2])
            projected = projected.transpose(0, 1)  # [time, batch, gates * hidden_size, or features]
            inputs = projected if mask is None else (projected, mask.transpose(0, 1)[..., None])
            one_state = tuple(s.clone() for s in one_state)

            def step(carry, inputs, one=one):
                if mask is None:
                    new = self._cell(inputs, carry, one)
                else:
                    new = self._cell(inputs[0], carry, one)
                    new = tuple(torch.where(inputs[1], n, s) for n, s in zip(new, carry, strict=True))
                return new, new[0].clone()

            one_state, out = scan(step, one_state, inputs, reverse=from_end)
            outs.append(out.transpose(0, 1))
            states.append(one_state)
        return torch.cat(outs, -1), tuple(torch.cat(s, -1) for s in zip(*states, strict=True))


def _hold(x: Tensor, mask: Tensor, before: Tensor) -> Tensor:
    """`hold_last`, by a mask."""
    if not torch.compiler.is_exporting():
        steps = torch.arange(mask.shape[1], device=mask.device)
        return hold_last(x, torch.where(mask, steps, -1).cummax(1).values, before)

    # cummax has no ONNX form
    def step(carry, inputs):
        carry = torch.where(inputs[1], inputs[0], carry)
        return carry, carry.clone()

    return scan(step, before.clone(), (x.transpose(0, 1), mask.transpose(0, 1)[..., None]))[1].transpose(0, 1)
