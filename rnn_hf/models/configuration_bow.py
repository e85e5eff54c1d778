"""`BowConfig`: classifiers that see which words a text holds, not their order beyond `ngram_max`."""

import itertools

from .config_checks import CheckedConfig, checked_config, integer, number, one_of, token_ids

_NAIVE_BAYES = ("naive_bayes", "nb_logistic_regression")
_REGRESSION = ("logistic_regression", "nb_logistic_regression")
_NGRAMS = ("naive_bayes", *_REGRESSION)
_MLP = ("mlp",)

# field -> the classifiers that have it, where not all do
_OWNERS = {
    "ngram_max": _NGRAMS,
    "features": _NGRAMS,
    "num_features": _NGRAMS,
    "alpha": _NAIVE_BAYES,
    "l2_penalty": _REGRESSION,
    "embedding_size": _MLP,
    "hidden_size": _MLP,
    "num_hidden_layers": _MLP,
    "embedding_dropout": _MLP,
    "hidden_dropout": _MLP,
    "initializer_range": _MLP,
}

_dropout = number(0.0, 1.0, open_above=True)


@checked_config
class BowConfig(CheckedConfig):
    r"""
    Configuration of [`BowForSequenceClassification`].

    Args:
        vocab_size (`int`, defaults to 10000): Number of tokens.
        classifier (`str`, defaults to `"naive_bayes"`):
            `"naive_bayes"` (multinomial), `"logistic_regression"`, `"nb_logistic_regression"` (logistic regression on
            features times their Naive Bayes log-count ratios, Wang & Manning 2012), fitted in one pass over the
            training rows without an optimiser; or `"mlp"`, hidden layers on the average of the words' embeddings (Iyyer
            et al. 2015), trained by gradient descent.
        ngram_max (`int`, defaults to 1): Features are all n-grams of up to so many tokens; of an `mlp`, tokens.
        features (`str`, defaults to `"counts"`):
            What a text's n-gram is worth: `"counts"`, `"binary"` (1) or `"tfidf"` (its count times
            `ln((1 + texts) / (1 + texts with it)) + 1`, the text's vector of length 1). Not for an `mlp`.
        alpha (`float`, defaults to 1.0): Added to each n-gram's count in each label, for Naive Bayes and its ratios.
        l2_penalty (`float`, defaults to 1.0):
            Times half the squared length of the weights, it is added to the nats of all training rows together, in
            logistic regression: 1 / C of scikit-learn.
        num_features (`int`, defaults to 0): N-grams in the table; the fit sets it.
        embedding_size (`int`, defaults to 256): Width of a token's vector in an `mlp`.
        hidden_size (`int`, defaults to 256): Width of its hidden layers.
        num_hidden_layers (`int`, defaults to 1): Hidden layers, of rectified linear units; 0 for none.
        embedding_dropout (`float`, defaults to 0.0): Drops whole words of the vocabulary (Gal & Ghahramani 2016).
        hidden_dropout (`float`, defaults to 0.0): Drops features of the average and of each hidden layer's output.
        initializer_range (`float`, *optional*, defaults to 0.1): Embeddings start uniformly within it.
        pad_token_id, bos_token_id, eos_token_id (`int`, *optional*): Ids of the special tokens.

    Raises:
        ValueError: one error that lists every problem: unknown keys (with the nearest right one), values outside
            their allowed set, fields that the classifier does not have, more than 2 billion parameters.
    """

    model_type = "bow"
    size_fields = ("vocab_size", "num_features", "num_labels", "embedding_size", "hidden_size", "num_hidden_layers")

    vocab_size: int = 10_000
    classifier: str = "naive_bayes"
    ngram_max: int = 1
    features: str = "counts"
    alpha: float | int = 1.0
    l2_penalty: float | int = 1.0
    num_features: int = 0
    embedding_size: int = 256
    hidden_size: int = 256
    num_hidden_layers: int = 1
    embedding_dropout: float | int = 0.0
    hidden_dropout: float | int = 0.0
    initializer_range: float | int | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    tie_word_embeddings: bool = False  # there is no head to share them with

    field_rules = {
        "vocab_size": integer(1),
        "classifier": one_of(*_NGRAMS, *_MLP),
        "ngram_max": integer(1, 100),
        "features": one_of("counts", "binary", "tfidf"),
        "alpha": number(1e-10, 1e6),
        "l2_penalty": number(1e-10, 1e10),
        "num_features": integer(0),
        "embedding_size": integer(1),
        "hidden_size": integer(1),
        "num_hidden_layers": integer(0, 1000),
        "embedding_dropout": _dropout,
        "hidden_dropout": _dropout,
        "initializer_range": number(0.0, 10.0, optional=True),
        "pad_token_id": token_ids,
        "bos_token_id": token_ids,
        "eos_token_id": token_ids,
    }

    def cross_problems(self) -> list[str]:
        problems = [
            f"{name}={getattr(self, name)!r} is for classifier={' or '.join(owners)}; got {self.classifier!r}"
            for name, owners in _OWNERS.items()
            if self.classifier not in owners and getattr(self, name) != getattr(type(self), name)
        ]
        if self.one_pass and self.problem_type == "regression":
            problems.append(f"problem_type regression is for classifier=mlp; got {self.classifier!r}")
        return problems + super().cross_problems()

    @property
    def one_pass(self) -> bool:
        return self.classifier != "mlp"

    @property
    def num_parameters(self) -> int:
        if self.one_pass:
            return self.num_features * (self.num_labels + 2)
        widths = [self.embedding_size] + [self.hidden_size] * self.num_hidden_layers
        hidden = sum(before * width for before, width in itertools.pairwise(widths))
        return self.vocab_size * self.embedding_size + hidden + widths[-1] * self.num_labels


__all__ = ["BowConfig"]
