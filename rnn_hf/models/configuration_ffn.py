"""`FfnConfig`: language models that read a window of fixed size (Bengio et al. 2003)."""

from .config_checks import CheckedConfig, boolean, checked_config, integer, number, token_ids

_dropout = number(0.0, 1.0, open_above=True)


@checked_config
class FfnConfig(CheckedConfig):
    r"""
    Configuration of [`FfnModel`] and [`FfnForCausalLM`]. Dropouts are probabilities in [0, 1).

    Args:
        vocab_size (`int`, defaults to 10000): Number of tokens.
        embedding_size (`int`, defaults to 128): Width of a token's vector.
        context_size (`int`, defaults to 4): Tokens that are read to predict the next: n - 1 of an n-gram.
        hidden_size (`int`, defaults to 256): Width of a hidden layer.
        num_hidden_layers (`int`, defaults to 1): Hidden layers, of hyperbolic tangents.
        direct_connections (`bool`, defaults to `False`):
            The output also reads the window itself, past the hidden layers (Bengio et al. 2003, eq. 1, `W x`).
        tie_word_embeddings (`bool`, defaults to `False`):
            Share the embedding with the output, behind a projection where the widths differ.
        embedding_dropout (`float`, defaults to 0.0): Drops whole words of the vocabulary (Gal & Ghahramani 2016).
        input_dropout (`float`, defaults to 0.0): Drops features of the embedded input; one mask a sequence (locked).
        hidden_dropout (`float`, defaults to 0.0): The same between layers.
        output_dropout (`float`, defaults to 0.0): The same on what the output reads.
        initializer_range (`float`, *optional*):
            Embeddings and the output start uniformly in [-initializer_range, initializer_range]. Default: 0.1; in a
            language model what makes a token's vector 1 long.
        use_cache (`bool`, defaults to `True`): Return the window as `past_key_values`.
        pad_token_id, bos_token_id, eos_token_id (`int`, *optional*): Ids of the special tokens.

    Raises:
        ValueError: one error that lists every problem: unknown keys (with the nearest right one), values outside
            their allowed set, and sizes that add up to more than 2 billion parameters.
    """

    model_type = "ffn"
    keys_to_ignore_at_inference = ["past_key_values"]
    size_fields = ("vocab_size", "embedding_size", "context_size", "hidden_size", "num_hidden_layers")

    vocab_size: int = 10_000
    embedding_size: int = 128
    context_size: int = 4
    hidden_size: int = 256
    num_hidden_layers: int = 1
    direct_connections: bool = False
    tie_word_embeddings: bool = False
    embedding_dropout: float | int = 0.0
    input_dropout: float | int = 0.0
    hidden_dropout: float | int = 0.0
    output_dropout: float | int = 0.0
    initializer_range: float | int | None = None
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    field_rules = {
        "vocab_size": integer(1),
        "embedding_size": integer(1),
        "context_size": integer(1, 10_000),
        "hidden_size": integer(1),
        "num_hidden_layers": integer(1, 1000),
        "direct_connections": boolean,
        "tie_word_embeddings": boolean,
        "embedding_dropout": _dropout,
        "input_dropout": _dropout,
        "hidden_dropout": _dropout,
        "output_dropout": _dropout,
        "initializer_range": number(0.0, 10.0, optional=True),
        "use_cache": boolean,
        "pad_token_id": token_ids,
        "bos_token_id": token_ids,
        "eos_token_id": token_ids,
    }

    @property
    def window_size(self) -> int:
        """Features of a window."""
        return self.context_size * self.embedding_size

    @property
    def output_size(self) -> int:
        """Width of `last_hidden_state`."""
        return self.hidden_size + self.direct_connections * self.window_size

    @property
    def num_parameters(self) -> int:
        layers = self.hidden_size * (self.window_size + (self.num_hidden_layers - 1) * self.hidden_size)
        return self.vocab_size * (self.embedding_size + self.output_size) + layers

    # A property, so not saved: `DynamicCache(config=...)` and `StaticCache(config=...)` find the cache layer by it.
    @property
    def layer_types(self) -> list[str]:
        return ["window"]

    def state_shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """The tensors of a layer's state, shapes without the batch."""
        return {"window": (self.context_size, self.embedding_size)}

    @property
    def state_identity(self) -> dict[str, object]:
        """What a state depends on, as it comes back from JSON."""
        return {name: getattr(self, name) for name in ("model_type", "context_size", "embedding_size")}

    @property
    def state_kind(self) -> str:
        """What a state is, beside its shape."""
        return "window of embeddings"


__all__ = ["FfnConfig"]
