"""`CnnConfig`: convolutions over the tokens of a text."""

from .config_checks import CheckedConfig, boolean, checked_config, described, integer, number, token_ids

_dropout = number(0.0, 1.0, open_above=True)


@described(type="array", items={"type": "integer", "minimum": 1, "maximum": 1000}, minItems=1)
def _widths(value: object) -> str | None:
    if isinstance(value, list | tuple) and value and not any(integer(1, 1000)(width) for width in value):
        return None
    return f"a list of whole numbers from 1 to 1000; got {value!r}"


@checked_config
class CnnConfig(CheckedConfig):
    r"""
    Configuration of [`CnnForSequenceClassification`] and [`CnnForCausalLM`]. Dropouts are probabilities in [0, 1).

    Args:
        vocab_size (`int`, defaults to 10000): Number of tokens.
        embedding_size (`int`, defaults to 256): Width of a token's vector.
        kernel_sizes (`list[int]`, defaults to `[3, 4, 5]`):
            Tokens in a window: each layer has filters of all these widths side by side (Kim 2014).
        num_filters (`int`, defaults to 100): Filters of each width.
        num_hidden_layers (`int`, defaults to 1):
            Layers of convolutions. Each after the first adds to what it reads: `y = relu(conv(x)) + x`.
        embedding_dropout (`float`, defaults to 0.0): Drops whole words of the vocabulary (Gal & Ghahramani 2016).
        input_dropout (`float`, defaults to 0.0): Drops features of the embedded input; one mask a text (locked).
        hidden_dropout (`float`, defaults to 0.0): The same between layers.
        output_dropout (`float`, defaults to 0.0): Drops features of the pooled vector.
        tie_word_embeddings (`bool`, defaults to `False`):
            Share the embedding with a language model's output, behind a projection where the widths differ.
        initializer_range (`float`, *optional*):
            Embeddings and a language model's output start uniformly within it. Default: 0.1; in a language model what
            makes a token's vector 1 long.
        use_cache (`bool`, defaults to `True`): Return the windows of a language model as `past_key_values`.
        pad_token_id, bos_token_id, eos_token_id (`int`, *optional*): Ids of the special tokens.

    Raises:
        ValueError: one error that lists every problem: unknown keys (with the nearest right one), values outside
            their allowed set, and sizes that add up to more than 2 billion parameters.
    """

    model_type = "cnn"
    keys_to_ignore_at_inference = ["past_key_values"]
    size_fields = ("vocab_size", "embedding_size", "kernel_sizes", "num_filters", "num_hidden_layers")

    vocab_size: int = 10_000
    embedding_size: int = 256
    kernel_sizes: list[int] | tuple[int, ...] = (3, 4, 5)
    num_filters: int = 100
    num_hidden_layers: int = 1
    embedding_dropout: float | int = 0.0
    input_dropout: float | int = 0.0
    hidden_dropout: float | int = 0.0
    output_dropout: float | int = 0.0
    tie_word_embeddings: bool = False
    initializer_range: float | int | None = None
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    field_rules = {
        "vocab_size": integer(1),
        "embedding_size": integer(1),
        "kernel_sizes": _widths,
        "num_filters": integer(1),
        "num_hidden_layers": integer(1, 1000),
        "embedding_dropout": _dropout,
        "input_dropout": _dropout,
        "hidden_dropout": _dropout,
        "output_dropout": _dropout,
        "tie_word_embeddings": boolean,
        "initializer_range": number(0.0, 10.0, optional=True),
        "use_cache": boolean,
        "pad_token_id": token_ids,
        "bos_token_id": token_ids,
        "eos_token_id": token_ids,
    }

    @property
    def output_size(self) -> int:
        """Width of a layer's output: all filters."""
        return self.num_filters * len(self.kernel_sizes)

    @property
    def num_parameters(self) -> int:
        inputs = self.embedding_size + (self.num_hidden_layers - 1) * self.output_size  # of all layers
        filters = inputs * sum(self.kernel_sizes) * self.num_filters
        return self.vocab_size * self.embedding_size + filters + self.output_size * self.num_labels

    @property
    def layer_sizes(self) -> list[int]:
        """Width of what each layer reads."""
        return [self.embedding_size] + [self.output_size] * (self.num_hidden_layers - 1)

    # A property, so not saved: `DynamicCache(config=...)` and `StaticCache(config=...)` find the cache layer by it.
    @property
    def layer_types(self) -> list[str]:
        return ["window"] * self.num_hidden_layers

    def state_shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """The tensors of a layer's state in a language model, shapes without the batch."""
        return {"window": (max(self.kernel_sizes) - 1, self.layer_sizes[layer])}

    @property
    def state_identity(self) -> dict[str, object]:
        """What a state depends on, as it comes back from JSON."""
        names = ("model_type", "kernel_sizes", "layer_sizes")
        return {name: list(value) if isinstance(value := getattr(self, name), tuple) else value for name in names}

    @property
    def state_kind(self) -> str:
        """What a state is, beside its shape."""
        return "window of features"


__all__ = ["CnnConfig"]
