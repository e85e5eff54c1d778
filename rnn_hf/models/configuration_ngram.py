"""`NgramConfig`: language models that count: Kneser-Ney, add-k and maximum likelihood, of any order."""

import itertools

from .config_checks import CheckedConfig, boolean, checked_config, described, integer, number, one_of, token_ids

SMOOTHINGS = ("modified_kneser_ney", "kneser_ney", "add_k", "maximum_likelihood", "arpa")


@described(type=["array", "null"], items={"type": "integer", "minimum": 0})
def _thresholds(value: object) -> str | None:
    if value is None:
        return None
    counts = value if isinstance(value, list) and value else [-1]
    whole = all(isinstance(c, int) and not isinstance(c, bool) for c in counts)
    if whole and counts[0] == 0 and all(a <= b for a, b in itertools.pairwise(counts)):
        return None
    return f"a list of counts that begins with 0 and never falls, or None; got {value!r}"


@described(type=["array", "null"], items={"type": "integer", "minimum": 0})
def _sizes(value: object) -> str | None:
    if value is None or (isinstance(value, list) and all(type(size) is int and 0 <= size < 2**40 for size in value)):
        return None
    return f"a list of numbers of rows, or None; got {value!r}"


@checked_config
class NgramConfig(CheckedConfig):
    r"""
    Configuration of [`NgramForCausalLM`].

    Args:
        vocab_size (`int`, defaults to 10000): Number of tokens.
        order (`int`, defaults to 5): A token is predicted from the `order - 1` before it.
        smoothing (`str`, defaults to `"modified_kneser_ney"`):
            `"modified_kneser_ney"` (interpolated, three discounts an order) or `"kneser_ney"` (interpolated, one; both
            Chen & Goodman 1999), `"add_k"` (`k` is added to each count of the longest history) or
            `"maximum_likelihood"` (relative frequencies, so that what was never seen has probability 0). The counts
            serve all four: a saved model opens with another one. `"arpa"` marks a model that was read from such a file.
        k (`float`, defaults to 1.0): What `"add_k"` adds; 1 is Laplace's rule.
        prune_counts (`list[int]`, *optional*):
            N-grams of order i that were seen at most `prune_counts[i - 1]` times are dropped, the last threshold
            counting for higher orders too: `[0, 0, 1]` drops those from order 3 on that were seen once. What they had
            goes to the lower order. For Kneser-Ney smoothing.
        reset_at_eos (`bool`, defaults to `True`):
            A text is read from its start: no history reaches back over an `eos_token_id`, which begins the next text.
        num_ngrams, num_contexts (`list[int]`, *optional*):
            Rows of each order's tables; counting sets them.
        use_cache (`bool`, defaults to `True`): Return the last tokens as `past_key_values`.
        pad_token_id, bos_token_id, eos_token_id (`int`, *optional*): Ids of the special tokens.

    Raises:
        ValueError: one error that lists every problem: unknown keys (with the nearest right one), values outside
            their allowed set, and sizes that add up to more than 2 billion numbers.
    """

    model_type = "ngram"
    keys_to_ignore_at_inference = ["past_key_values"]
    size_fields = ("vocab_size", "num_ngrams", "num_contexts")

    vocab_size: int = 10_000
    order: int = 5
    smoothing: str = "modified_kneser_ney"
    k: float | int = 1.0
    prune_counts: list[int] | None = None
    reset_at_eos: bool = True
    num_ngrams: list[int] | None = None
    num_contexts: list[int] | None = None
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    tie_word_embeddings: bool = False  # there are none

    field_rules = {
        "vocab_size": integer(1),
        "order": integer(1, 100),
        "smoothing": one_of(*SMOOTHINGS),
        "k": number(1e-9, 1e9),
        "prune_counts": _thresholds,
        "reset_at_eos": boolean,
        "num_ngrams": _sizes,
        "num_contexts": _sizes,
        "use_cache": boolean,
        "pad_token_id": token_ids,
        "bos_token_id": token_ids,
        "eos_token_id": token_ids,
    }

    def cross_problems(self) -> list[str]:
        problems = []
        for name in ("num_ngrams", "num_contexts"):
            sizes = getattr(self, name)
            if sizes is not None and len(sizes) != self.order:
                problems.append(f"{name} must have {self.order} numbers, one an order; got {sizes}")
        if self.prune_counts is not None and self.smoothing in ("add_k", "maximum_likelihood"):
            problems.append(f"prune_counts={self.prune_counts} is for Kneser-Ney smoothing; got {self.smoothing!r}")
        return problems or super().cross_problems()

    @property
    def one_pass(self) -> bool:
        return True

    @property
    def table_sizes(self) -> list[tuple[int, int]]:
        """(n-grams, contexts) of each order, from the unigrams up; the context of a unigram is empty, and one."""
        empty = [0] * self.order, [1] + [0] * (self.order - 1)
        return list(zip(self.num_ngrams or empty[0], self.num_contexts or empty[1], strict=True))

    @property
    def num_parameters(self) -> int:
        return sum(2 * (ngrams + contexts) for ngrams, contexts in self.table_sizes) + self.vocab_size

    @property
    def ends_of_text(self) -> list[int]:
        """The ids that no history reaches back over."""
        ids = self.eos_token_id if isinstance(self.eos_token_id, list) else [self.eos_token_id]
        return [i for i in ids if i is not None] if self.reset_at_eos else []

    num_hidden_layers = 1  # of state: the window

    @property
    def layer_types(self) -> list[str]:
        return ["window"]

    def state_shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """The tensors of a layer's state, shapes without the batch."""
        return {"window": (self.order - 1,)}

    @property
    def state_identity(self) -> dict[str, object]:
        """What a state depends on, as it comes back from JSON."""
        return {name: getattr(self, name) for name in ("model_type", "order")}

    @property
    def state_kind(self) -> str:
        """What a state is, beside its shape."""
        return "window of ids"


__all__ = ["NgramConfig"]
