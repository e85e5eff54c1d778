"""`RnnConfig`: Elman, GRU and LSTM networks, stacked, bidirectional, residual or highway, for every head."""

import itertools

from .config_checks import (
    CheckedConfig,
    boolean,
    checked_config,
    described,
    integer,
    number,
    one_of,
    token_ids,
)

GATES = {"elman": 1, "gru": 3, "lstm": 4}  # blocks of rows in weight_ih and weight_hh, as in torch.nn
DIRECTIONS = ("forward", "backward")

_dropout = number(0.0, 1.0, open_above=True)


@described(type=["array", "null"], items={"type": "integer", "minimum": 1})
def _cutoffs(value: object) -> str | None:
    if value is None:
        return None
    ids = value if isinstance(value, list) and value else [0]
    whole = all(isinstance(i, int) and not isinstance(i, bool) for i in ids)
    if whole and ids[0] > 0 and all(a < b for a, b in itertools.pairwise(ids)):
        return None
    return f"a list of increasing ids above 0, or None; got {value!r}"


@checked_config
class RnnConfig(CheckedConfig):
    r"""
    Configuration of [`RnnModel`] and its heads. Sizes are numbers of features; dropouts are probabilities in [0, 1).

    Args:
        vocab_size (`int`, defaults to 10000): Number of tokens.
        embedding_size (`int`, defaults to 256): Width of a token's vector. The first layer reads it directly.
        hidden_size (`int`, defaults to 256):
            Width of a layer **per direction**: a bidirectional layer puts out twice as much.
        last_hidden_size (`int`, *optional*, defaults to `hidden_size`):
            Width of the last layer per direction. AWD-LSTM's 400 -> 1150 -> 1150 -> 400 (Merity et al. 2018) is
            `embedding_size=400, hidden_size=1150, last_hidden_size=400, num_hidden_layers=3`.
        num_hidden_layers (`int`, defaults to 1): Recurrent layers.
        cell_type (`str`, defaults to `"lstm"`):
            `"elman"` (Elman 1990), `"gru"` (Cho et al. 2014, in torch's form) or `"lstm"` (Hochreiter & Schmidhuber
            1997 with the forget gate of Gers et al. 2000).
        nonlinearity (`str`, defaults to `"tanh"`): `"tanh"` or `"relu"`, for `cell_type="elman"` alone.
        bidirectional (`bool`, defaults to `False`): Also read the text backwards. Not for language models.
        direction (`str`, defaults to `"forward"`):
            `"backward"` reads a text from its last token to its first. Encoder, classifiers and taggers take the text
            as it stands, and states and labels come back in its order. A language model takes and predicts ids in the
            order of its reading, last token first; `score`, `encode` and `rnn-hf` put them so.
        layer_connection (`str`, defaults to `"none"`):
            How a layer's input joins its output: `"none"`, `"residual"` (`y = F(x) + x`) or `"highway"`
            (`y = g F(x) + (1 - g) x` with `g = sigmoid(W x + b)`, Srivastava et al. 2015; `b` starts at -2, so that a
            new layer carries most of its input through). Where the widths of `x` and `F(x)` differ, a linear
            projection without bias stands on the path of `x`.
        initial_state (`str`, defaults to `"zeros"`):
            `"zeros"` or `"learned"` (one trained state a layer). A caller's `past_key_values` goes before either.
        layer_norm (`bool`, defaults to `False`):
            Normalise each layer's input (Ba et al. 2016), and the last layer's output.
        layer_norm_eps (`float`, defaults to 1e-5): Added to the variance.
        pooling (`str`, defaults to `"last"`):
            How a text becomes one vector: `"last"` (each direction's final output), `"mean"`, `"max"`, `"concat"`
            (last, max and mean side by side, Howard & Ruder 2018) or `"attention"` (Yang et al. 2016). Only real
            tokens count.
        tie_word_embeddings (`bool`, defaults to `False`):
            Share the embedding with the language-modelling head (Press & Wolf 2017, Inan et al. 2017). Where the last
            layer is not `embedding_size` wide, a projection without bias stands between them.
        lm_head (`str`, defaults to `"full"`):
            `"full"`, or `"adaptive"` (Grave et al. 2017): frequent words first, the others in clusters that are
            computed for the tokens that need them. For ids that run from frequent to rare, as a word tokenizer's do.
        adaptive_cutoffs (`list[int]`, *optional*, defaults to 6 % and 30 % of the vocabulary):
            First id of each cluster.
        adaptive_div_value (`float`, defaults to 4.0):
            Each cluster's words have so many times fewer features than those before; tied, all have the embedding's.
        embedding_dropout (`float`, defaults to 0.0): Drops whole words of the vocabulary (Gal & Ghahramani 2016).
        input_dropout (`float`, defaults to 0.0): Drops features of the embedded input; one mask a sequence (locked).
        hidden_dropout (`float`, defaults to 0.0): The same between layers.
        output_dropout (`float`, defaults to 0.0):
            The same on the last layer's output; in a classifier, on the pooled vector.
        weight_dropout (`float`, defaults to 0.0): DropConnect on the recurrent weights (Merity et al. 2018).
        mogrifier_rounds (`int`, defaults to 0):
            Before each step of an LSTM its input and its last output scale each other so many times (Melis et al.
            2020, who take 5). No fused loop has such a step: training takes about twice as long. 4 rounds in 2 epochs
            of ptb/lstm_small: test perplexity 118.1 in place of 123.4.
        initializer_range (`float`, *optional*):
            Embeddings and the language-modelling head start uniformly in [-initializer_range, initializer_range].
            Default: 0.1; in a language model what makes a token's vector 3 long (1 with `layer_norm`) whatever its
            width, but 1 at most: 0.3 at 300 features.
        use_cache (`bool`, defaults to `True`): Return the recurrent state as `past_key_values`.
        pad_token_id, bos_token_id, eos_token_id (`int`, *optional*): Ids of the special tokens.

    Raises:
        ValueError: one error that lists every problem: unknown keys (with the nearest right one), values outside
            their allowed set, and sizes that add up to more than 2 billion parameters.
    """

    model_type = "rnn"
    keys_to_ignore_at_inference = ["past_key_values"]
    size_fields = ("vocab_size", "embedding_size", "hidden_size", "last_hidden_size", "num_hidden_layers")

    vocab_size: int = 10_000
    embedding_size: int = 256
    hidden_size: int = 256
    last_hidden_size: int | None = None
    num_hidden_layers: int = 1
    cell_type: str = "lstm"
    nonlinearity: str = "tanh"
    bidirectional: bool = False
    direction: str = "forward"
    layer_connection: str = "none"
    initial_state: str = "zeros"
    layer_norm: bool = False
    layer_norm_eps: float = 1e-5
    pooling: str = "last"
    tie_word_embeddings: bool = False
    lm_head: str = "full"
    adaptive_cutoffs: list[int] | None = None
    adaptive_div_value: float | int = 4.0
    embedding_dropout: float | int = 0.0
    input_dropout: float | int = 0.0
    hidden_dropout: float | int = 0.0
    output_dropout: float | int = 0.0
    weight_dropout: float | int = 0.0
    mogrifier_rounds: int = 0
    initializer_range: float | int | None = None
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    field_rules = {
        "vocab_size": integer(1),
        "embedding_size": integer(1),
        "hidden_size": integer(1),
        "last_hidden_size": integer(1, optional=True),
        "num_hidden_layers": integer(1, 1000),
        "cell_type": one_of(*GATES),
        "nonlinearity": one_of("tanh", "relu"),
        "bidirectional": boolean,
        "direction": one_of(*DIRECTIONS),
        "layer_connection": one_of("none", "residual", "highway"),
        "initial_state": one_of("zeros", "learned"),
        "layer_norm": boolean,
        "layer_norm_eps": number(1e-12, 1.0),
        "pooling": one_of("last", "mean", "max", "concat", "attention"),
        "tie_word_embeddings": boolean,
        "lm_head": one_of("full", "adaptive"),
        "adaptive_cutoffs": _cutoffs,
        "adaptive_div_value": number(1.0, 1000.0),
        "embedding_dropout": _dropout,
        "input_dropout": _dropout,
        "hidden_dropout": _dropout,
        "output_dropout": _dropout,
        "weight_dropout": _dropout,
        "mogrifier_rounds": integer(0, 100),
        "initializer_range": number(0.0, 10.0, optional=True),
        "use_cache": boolean,
        "pad_token_id": token_ids,
        "bos_token_id": token_ids,
        "eos_token_id": token_ids,
    }

    def cross_problems(self) -> list[str]:
        problems = []
        if self.nonlinearity != "tanh" and self.cell_type != "elman":
            problems.append(f"nonlinearity={self.nonlinearity!r} is for cell_type='elman'; got {self.cell_type!r}")
        if self.mogrifier_rounds and self.cell_type != "lstm":
            problems.append(f"mogrifier_rounds={self.mogrifier_rounds} is for cell_type='lstm'; got {self.cell_type!r}")
        if self.bidirectional and self.direction != "forward":
            problems.append(f"direction={self.direction!r} is for one direction; bidirectional=True reads both ways")
        if self.lm_head == "full" and self.adaptive_cutoffs is not None:
            problems.append(f"adaptive_cutoffs={self.adaptive_cutoffs} is for lm_head='adaptive'; got 'full'")
        if self.lm_head == "full" and self.adaptive_div_value != type(self).adaptive_div_value:
            problems.append(f"adaptive_div_value={self.adaptive_div_value} is for lm_head='adaptive'; got 'full'")
        if self.lm_head == "adaptive" and self.cutoffs[-1] >= self.vocab_size:
            problems.append(
                f"adaptive_cutoffs must be below vocab_size={self.vocab_size}; got {self.cutoffs}: "
                "leave them out, or take lm_head='full' for so few words"
            )
        return problems + super().cross_problems()

    @property
    def from_end(self) -> tuple[bool, ...]:
        """Of each direction, whether it reads a text from its end."""
        return (False, True) if self.bidirectional else (self.direction == "backward",)

    @property
    def directions(self) -> int:
        """2 if bidirectional, else 1."""
        return len(self.from_end)

    @property
    def layer_sizes(self) -> list[tuple[int, int]]:
        """(width of the input, hidden size per direction) of each layer."""
        hidden = [self.hidden_size] * (self.num_hidden_layers - 1) + [self.last_hidden_size or self.hidden_size]
        return list(zip([self.embedding_size] + [h * self.directions for h in hidden[:-1]], hidden, strict=True))

    @property
    def output_size(self) -> int:
        """Width of `last_hidden_state`: the last layer's, over all directions."""
        return self.layer_sizes[-1][1] * self.directions

    @property
    def cutoffs(self) -> list[int]:
        """First id of each cluster of an adaptive head."""
        first = max(1, self.vocab_size * 6 // 100)
        return self.adaptive_cutoffs or [first, max(first + 1, self.vocab_size * 30 // 100)]

    def state_shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """The tensors of a layer's state, shapes without the batch.

        `h`, of an LSTM `c`, and of the last layer its output where a connection makes that another than `h`: a chunk of
        padding alone repeats it.
        """
        carries_output = self.layer_connection != "none" and layer == self.num_hidden_layers - 1
        names = ["h"] + ["c"] * (self.cell_type == "lstm") + ["output"] * carries_output
        return dict.fromkeys(names, (self.layer_sizes[layer][1] * self.directions,))

    @property
    def state_kind(self) -> str:
        """What the numbers of a state mean, beside their shapes: states of equal kind and shape can be taken over."""
        cell = f"{self.nonlinearity} {self.cell_type}" if self.cell_type == "elman" else self.cell_type
        reads = "bidirectional" if self.bidirectional else self.direction
        return f"{cell}, {reads}, connection {self.layer_connection}"

    @property
    def state_identity(self) -> dict[str, object]:
        """What a state depends on, as it comes back from JSON."""
        names = ["model_type", "cell_type", "nonlinearity", "layer_connection", "layer_norm", "directions"]
        names += ["direction"] * (self.direction != "forward")  # older files, which are forward, do not say so
        return {name: getattr(self, name) for name in names} | {"layer_sizes": [list(s) for s in self.layer_sizes]}

    @property
    def num_parameters(self) -> int:
        """Parameters of the network with a full language-modelling head, biases left out."""
        gates = GATES[self.cell_type]
        layers = sum(
            self.directions * (gates * h * (i + h) + self.mogrifier_rounds * h * i) for i, h in self.layer_sizes
        )
        paths = sum(2 * i * h * self.directions for i, h in self.layer_sizes) * (self.layer_connection != "none")
        return self.vocab_size * (self.embedding_size + self.output_size) + layers + paths

    # A property, so not saved: `DynamicCache(config=...)` and `StaticCache(config=...)` find the cache layer by it.
    @property
    def layer_types(self) -> list[str]:
        return ["rnn"] * self.num_hidden_layers


__all__ = ["DIRECTIONS", "GATES", "RnnConfig"]
