"""What a card says of a model by its configuration and recipe: in a few words, and where its methods come from."""

from collections.abc import Callable, Iterator
from typing import Any

from .facts import Facts

CELLS = {"elman": "Elman RNN", "gru": "GRU", "lstm": "LSTM"}
CLASSIFIERS = {
    "naive_bayes": "Naive Bayes",
    "logistic_regression": "logistic regression",
    "nb_logistic_regression": "logistic regression with Naive Bayes features",
    "mlp": "neural bag-of-words",
}
SMOOTHINGS = {
    "modified_kneser_ney": "modified Kneser-Ney",
    "kneser_ney": "Kneser-Ney",
    "add_k": "add-k",
    "maximum_likelihood": "maximum-likelihood",
    "arpa": "back-off",
}


def describe(facts: Facts) -> str:
    """A noun phrase for the model: "a 2-layer bidirectional LSTM text classifier"; of an unknown family its class."""
    known = DESCRIPTIONS.get(str(facts.config.get("model_type")))
    words = known(facts.config, facts.task.verb) if known else facts.architecture
    phrase = f"{words} {facts.task.what}".strip()
    return f"{'an' if phrase[0] in 'aeiouAEIOU8' else 'a'} {phrase}"


def _rnn(config: dict[str, Any], verb: str) -> str:
    words = [
        _layers(config.get("num_hidden_layers", 1)),
        "bidirectional" if config.get("bidirectional") else None,
        "backward" if config.get("direction") == "backward" else None,
        CELLS.get(config.get("cell_type", "lstm"), config.get("cell_type")),
    ]
    return " ".join(filter(None, words))


def _bow(config: dict[str, Any], verb: str) -> str:
    return CLASSIFIERS.get(config.get("classifier", "naive_bayes"), str(config.get("classifier")))


def _cnn(config: dict[str, Any], verb: str) -> str:
    gated = "gated " if verb == "generate" else ""
    return f"{_layers(config.get('num_hidden_layers', 1))} {gated}convolutional"


def _ffn(config: dict[str, Any], verb: str) -> str:
    return f"feed-forward {config.get('context_size', 4) + 1}-gram"


def _ngram(config: dict[str, Any], verb: str) -> str:
    smoothing = str(config.get("smoothing", "modified_kneser_ney"))
    return f"{config.get('order', 5)}-gram {SMOOTHINGS.get(smoothing, smoothing)}"


def _layers(number: int) -> str:
    return "single-layer" if number == 1 else f"{number}-layer"


# model_type -> what is said of a network by its config.json and the verb of its task
DESCRIPTIONS: dict[str, Callable[[dict[str, Any], str], str]] = {
    "rnn": _rnn, "bow": _bow, "cnn": _cnn, "ffn": _ffn, "ngram": _ngram
}  # fmt: skip

# A source, and whether the model or its training uses it. `c` is config.json, `m` the recipe's `model`.
_Used = Callable[[dict[str, Any], dict[str, Any], Facts], Any]
_SOURCES: list[tuple[_Used, str]] = [
    (lambda c, m, f: _rnn_cell(c) == "elman",
     "Elman 1990, Finding structure in time, Cognitive Science 14"),
    (lambda c, m, f: _rnn_cell(c) == "lstm",
     "Hochreiter and Schmidhuber 1997, Long short-term memory, Neural Computation 9; Gers, Schmidhuber and Cummins "
     "2000, Learning to forget, Neural Computation 12"),
    (lambda c, m, f: _rnn_cell(c) == "gru",
     "Cho et al. 2014, Learning phrase representations using RNN encoder-decoder, "
     "[arXiv:1406.1078](https://arxiv.org/abs/1406.1078)"),
    (lambda c, m, f: c.get("model_type") == "bow" and c.get("classifier") == "naive_bayes",
     "McCallum and Nigam 1998, A comparison of event models for naive Bayes text classification"),
    (lambda c, m, f: c.get("model_type") == "bow" and c.get("classifier") == "nb_logistic_regression",
     "Wang and Manning 2012, Baselines and bigrams: simple, good sentiment and topic classification, ACL"),
    (lambda c, m, f: c.get("model_type") == "bow" and c.get("classifier") == "mlp",
     "Iyyer et al. 2015, Deep unordered composition rivals syntactic methods for text classification, ACL"),
    (lambda c, m, f: c.get("model_type") == "cnn" and f.architecture.endswith("ForSequenceClassification"),
     "Kim 2014, Convolutional neural networks for sentence classification, "
     "[arXiv:1408.5882](https://arxiv.org/abs/1408.5882)"),
    (lambda c, m, f: c.get("model_type") == "cnn" and f.architecture.endswith("ForCausalLM"),
     "Dauphin et al. 2017, Language modeling with gated convolutional networks, "
     "[arXiv:1612.08083](https://arxiv.org/abs/1612.08083)"),
    (lambda c, m, f: c.get("model_type") == "ffn",
     "Bengio et al. 2003, A neural probabilistic language model, JMLR 3"),
    (lambda c, m, f: c.get("model_type") == "ngram",
     "Chen and Goodman 1999, An empirical study of smoothing techniques for language modeling, "
     "Computer Speech and Language 13"),
    (lambda c, m, f: c.get("model_type") == "ngram" and "kneser_ney" in c.get("smoothing", ""),
     "Kneser and Ney 1995, Improved backing-off for m-gram language modeling, ICASSP"),
    (lambda c, m, f: c.get("bidirectional"),
     "Schuster and Paliwal 1997, Bidirectional recurrent neural networks, IEEE Transactions on Signal Processing 45"),
    (lambda c, m, f: c.get("layer_connection") == "residual",
     "He et al. 2016, Deep residual learning, [arXiv:1512.03385](https://arxiv.org/abs/1512.03385)"),
    (lambda c, m, f: c.get("layer_connection") == "highway",
     "Srivastava, Greff and Schmidhuber 2015, Highway networks, "
     "[arXiv:1505.00387](https://arxiv.org/abs/1505.00387)"),
    (lambda c, m, f: c.get("mogrifier_rounds"),
     "Melis, Kočiský and Blunsom 2020, Mogrifier LSTM, [arXiv:1909.01792](https://arxiv.org/abs/1909.01792)"),
    (lambda c, m, f: c.get("layer_norm"),
     "Ba, Kiros and Hinton 2016, Layer normalization, [arXiv:1607.06450](https://arxiv.org/abs/1607.06450)"),
    (lambda c, m, f: f.task.verb == "predict" and c.get("pooling") == "attention",
     "Yang et al. 2016, Hierarchical attention networks for document classification, NAACL"),
    (lambda c, m, f: (f.architecture.endswith("ForSequenceClassification") and c.get("pooling") == "concat")
     or (f.get("pretrained", "task") == "language_modeling" and f.task.verb == "predict"),
     "Howard and Ruder 2018, Universal language model fine-tuning for text classification, "
     "[arXiv:1801.06146](https://arxiv.org/abs/1801.06146)"),
    (lambda c, m, f: c.get("tie_word_embeddings"),
     "Press and Wolf 2017, Using the output embedding to improve language models, "
     "[arXiv:1608.05859](https://arxiv.org/abs/1608.05859)"),
    (lambda c, m, f: c.get("lm_head") == "adaptive",
     "Grave et al. 2017, Efficient softmax approximation for GPUs, "
     "[arXiv:1609.04309](https://arxiv.org/abs/1609.04309)"),
    (lambda c, m, f: any(c.get(name) for name in
                         ("input_dropout", "hidden_dropout", "output_dropout", "embedding_dropout")),
     "Gal and Ghahramani 2016, A theoretically grounded application of dropout in recurrent neural networks, "
     "[arXiv:1512.05287](https://arxiv.org/abs/1512.05287)"),
    (lambda c, m, f: c.get("weight_dropout") or m.get("averaging_patience"),
     "Merity, Keskar and Socher 2018, Regularizing and optimizing LSTM language models, "
     "[arXiv:1708.02182](https://arxiv.org/abs/1708.02182)"),
    (lambda c, m, f: m.get("activation_penalty") or m.get("temporal_activation_penalty"),
     "Merity, McCann and Socher 2017, Revisiting activation regularization for language RNNs, "
     "[arXiv:1708.01009](https://arxiv.org/abs/1708.01009)"),
    (lambda c, m, f: m.get("label_smoothing"),
     "Szegedy et al. 2016, Rethinking the Inception architecture, "
     "[arXiv:1512.00567](https://arxiv.org/abs/1512.00567)"),
    (lambda c, m, f: m.get("word_dropout"),
     "Bowman et al. 2016, Generating sentences from a continuous space, "
     "[arXiv:1511.06349](https://arxiv.org/abs/1511.06349)"),
    (lambda c, m, f: m.get("optimizer") == "adamw",
     "Loshchilov and Hutter 2019, Decoupled weight decay regularization, "
     "[arXiv:1711.05101](https://arxiv.org/abs/1711.05101)"),
    (lambda c, m, f: m.get("schedule") == "one_cycle" and m.get("warmup_share"),
     "Smith 2018, A disciplined approach to neural network hyper-parameters, "
     "[arXiv:1803.09820](https://arxiv.org/abs/1803.09820)"),
    (lambda c, m, f: m.get("schedule") == "one_cycle" and m.get("warmup_share") == 0,
     "Loshchilov and Hutter 2017, SGDR, [arXiv:1608.03983](https://arxiv.org/abs/1608.03983)"),
    (lambda c, m, f: m.get("ema_decay"),
     "Polyak and Juditsky 1992, Acceleration of stochastic approximation by averaging, SIAM Journal on Control and "
     "Optimization 30"),
    (lambda c, m, f: _rnn_cell(c) and f.architecture.endswith("ForCausalLM") and m,
     "Williams and Peng 1990, An efficient gradient-based algorithm for on-line training of recurrent network "
     "trajectories, Neural Computation 2"),
    (lambda c, m, f: _tokenizer_kind(f) == "bpe",
     "Sennrich, Haddow and Birch 2016, Neural machine translation of rare words with subword units, "
     "[arXiv:1508.07909](https://arxiv.org/abs/1508.07909)"),
    (lambda c, m, f: "glove" in str(f.get("word_vectors", "file")).lower(),
     "Pennington, Socher and Manning 2014, GloVe: global vectors for word representation, EMNLP"),
]  # fmt: skip


def sources(facts: Facts) -> Iterator[str]:
    """Where the methods of this very model and its training come from, and its data."""
    model = facts.recipe.get("model") or {}
    yield from (source for used, source in _SOURCES if used(facts.config, model, facts))
    if reference := facts.get("data", "about", "reference"):
        yield f"The data: {reference}"


def _rnn_cell(config: dict[str, Any]) -> str | None:
    return config.get("cell_type", "lstm") if config.get("model_type") == "rnn" else None


def _tokenizer_kind(facts: Facts) -> str | None:
    given = facts.get("data", "tokenizer")
    return given.get("kind") if isinstance(given, dict) else given
