"""Small random models of every shape, for the tests of floor 0."""

import itertools
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rnn_hf import RnnConfig, RnnForCausalLM, RnnForSequenceClassification, RnnForTokenClassification, RnnModel

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


# What the shared tests take: name -> the maker of a small random model of 41 tokens, 0 padding, 2 the end of a text,
# from whatever fields of its configuration a test wants otherwise.
LANGUAGE_MODELS = {f"rnn-{cell}": partial(rnn, RnnForCausalLM, cell_type=cell) for cell in CELLS}
CLASSIFIERS = {f"rnn-{cell}": partial(rnn, RnnForSequenceClassification, cell_type=cell) for cell in CELLS}
ENCODERS = {"rnn": partial(rnn, RnnModel), "rnn-tagger": partial(rnn, RnnForTokenClassification)}
MODELS = {
    f"{name} {kind}": maker
    for kind, makers in {"lm": LANGUAGE_MODELS, "classifier": CLASSIFIERS, "other": ENCODERS}.items()
    for name, maker in makers.items()
}
# Families whose numbers are counted: tests of gradients, embeddings and number types skip them by name.
COUNTED: dict[str, str] = {}


def skip_counted(name: str, wants: str) -> None:
    """Skips a model whose family is counted: it has nothing of what the test `wants`."""
    family = name.split()[0].split("-")[0]
    if family in COUNTED:
        pytest.skip(f"{family} {COUNTED[family]}: no {wants}")
