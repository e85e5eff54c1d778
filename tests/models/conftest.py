"""Small random models of every shape, for the tests of floor 0."""

import itertools
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rnn_hf import (
    BowConfig,
    BowForSequenceClassification,
    CnnConfig,
    CnnForCausalLM,
    CnnForSequenceClassification,
    CnnModel,
    FfnConfig,
    FfnForCausalLM,
    FfnModel,
    NgramConfig,
    NgramForCausalLM,
    RnnConfig,
    RnnForCausalLM,
    RnnForSequenceClassification,
    RnnForTokenClassification,
    RnnModel,
)

CELLS = ["elman", "gru", "lstm"]
CONNECTIONS = ["none", "residual", "highway"]
POOLINGS = ["last", "mean", "max", "concat", "attention"]
SHAPES = list(itertools.product(CELLS, CONNECTIONS, [1, 3], [False, True]))


def tiny_config(**fields) -> RnnConfig:
    """A configuration whose layers all differ in width, so that a mistaken size cannot go unseen."""
    defaults = {
        "vocab_size": 41,
        "embedding_size": 6,
        "hidden_size": 7,
        "last_hidden_size": 5,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 2,
    }
    return RnnConfig(**{**defaults, **fields})


class ShapesMade(TorchDispatchMode):
    """The shape of every tensor that an operator puts out while this is entered."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        self.shapes.extend(
            tuple(t.shape) for t in (out if isinstance(out, tuple | list) else [out]) if torch.is_tensor(t)
        )
        return out


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def randomise(model):
    """Biases and initial states away from zero: a test must not pass because they are."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name or "initial_state" in name:
                parameter.uniform_(-0.5, 0.5)
    return model.eval()


def full_config(**fields) -> RnnConfig:
    """With every kind of parameter that an rnn has."""
    defaults = {"num_hidden_layers": 2, "layer_connection": "highway", "initial_state": "learned", "layer_norm": True}
    return tiny_config(**{**defaults, **fields})


def rnn(cls, **fields):
    return randomise(cls(full_config(**{"num_labels": 3, "pooling": "attention", **fields})))


SPECIAL = {"vocab_size": 41, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 2}


def ngram(**fields):
    """Counted from a text whose next token depends on the last two, mostly."""
    config = NgramConfig(**{**SPECIAL, "order": 4, **fields})
    ids = torch.randint(2, config.vocab_size, (600,)).tolist()
    for t in range(2, len(ids)):
        if torch.rand(()) < 0.7:
            ids[t] = 2 + (ids[t - 1] + 3 * ids[t - 2]) % (config.vocab_size - 2)
    return NgramForCausalLM(config).fit(torch.tensor(ids)).eval()


def ffn(cls, **fields):
    sizes = {"embedding_size": 6, "context_size": 3, "hidden_size": 7, "num_hidden_layers": 2}
    return randomise(cls(FfnConfig(**{**SPECIAL, **sizes, "direct_connections": True, **fields})))


def cnn(cls=CnnForSequenceClassification, **fields):
    return randomise(cls(CnnConfig(**{**SPECIAL, "embedding_size": 6, "num_filters": 5, "num_labels": 3, **fields})))


GATED = {"kernel_sizes": [3, 2], "num_hidden_layers": 3}


def bow(**fields):
    """Fitted to random texts, where it is fitted."""
    config = BowConfig(**{**SPECIAL, "num_labels": 3, **fields})
    model = BowForSequenceClassification(config)
    if config.one_pass:
        lengths = torch.randint(1, 12, (60,))
        tokens = torch.randint(3, config.vocab_size, (int(lengths.sum()),))
        model.fit(tokens, lengths, torch.arange(60) % config.num_labels)
    return randomise(model)


# What the shared tests take: name -> the maker of a small random model of 41 tokens, 0 padding, 2 the end of a text,
# from whatever fields of its configuration a test wants otherwise.
LANGUAGE_MODELS = {
    **{f"rnn-{cell}": partial(rnn, RnnForCausalLM, cell_type=cell) for cell in CELLS},
    "cnn": partial(cnn, CnnForCausalLM, **GATED),
    "ffn": partial(ffn, FfnForCausalLM),
    "ngram": ngram,
    "ngram-unigram": partial(ngram, order=1),
    "ngram-add_k": partial(ngram, order=3, smoothing="add_k", k=0.1),
}
CLASSIFIERS = {
    **{f"rnn-{cell}": partial(rnn, RnnForSequenceClassification, cell_type=cell) for cell in CELLS},
    "rnn-backward": partial(rnn, RnnForSequenceClassification, direction="backward"),
    "cnn": cnn,
    "cnn-deep": partial(cnn, kernel_sizes=[2, 5], num_hidden_layers=3),
    "bow-naive_bayes": partial(bow, ngram_max=2, features="binary"),
    "bow-logistic_regression": partial(bow, classifier="logistic_regression", ngram_max=3, features="tfidf"),
    "bow-nb_logistic_regression": partial(bow, classifier="nb_logistic_regression"),
    "bow-mlp": partial(bow, classifier="mlp", embedding_size=6, hidden_size=7, num_hidden_layers=2),
}
OTHERS = {
    "rnn": partial(rnn, RnnModel),
    "rnn-tagger": partial(rnn, RnnForTokenClassification),
    "rnn-tagger-backward": partial(rnn, RnnForTokenClassification, direction="backward"),
    "cnn": partial(cnn, CnnModel, **GATED),
    "ffn": partial(ffn, FfnModel),
}
MODELS = {
    f"{name} {kind}": maker
    for kind, makers in {"lm": LANGUAGE_MODELS, "classifier": CLASSIFIERS, "other": OTHERS}.items()
    for name, maker in makers.items()
}


def skip_counted(model, wants: str) -> None:
    """Skips a model of a family that counts: it has nothing of what the test `wants`."""
    if model.config.one_pass:
        pytest.skip(f"{model.config.model_type} is fitted in one pass: it has no {wants}")
