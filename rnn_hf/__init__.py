"""rnn-hf: classical recurrent networks for text in the Hugging Face ecosystem.

Importing it registers the models with transformers' Auto classes. It touches no network, and names are imported when
they are first used, so training libraries cost nothing to those who only load a model.
"""

import importlib

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from .models.configuration_rnn import RnnConfig
from .models.modeling_rnn import RnnForCausalLM, RnnForSequenceClassification, RnnForTokenClassification, RnnModel

__version__ = "0.1.0"

AutoConfig.register("rnn", RnnConfig)
AutoModel.register(RnnConfig, RnnModel)
AutoModelForCausalLM.register(RnnConfig, RnnForCausalLM)
AutoModelForSequenceClassification.register(RnnConfig, RnnForSequenceClassification)
AutoModelForTokenClassification.register(RnnConfig, RnnForTokenClassification)

_LAZY = {
    "ClassificationDataModule": ".data.classification",
    "ClassificationModule": ".training.classification",
    "LanguageModelingDataModule": ".data.language_modeling",
    "LanguageModelingModule": ".training.language_modeling",
    "TaggingDataModule": ".data.tagging",
    "TaggingModule": ".training.tagging",
    "build_tokenizer": ".tokenization",
    "byte_tokenizer": ".tokenization",
    "detach_": ".models.cache",
    "load_state": ".generation.state",
    "move_state": ".generation.state",
    "new_cache": ".models.cache",
    "read_prompt": ".generation.streaming",
    "repeat_state": ".generation.state",
    "save_state": ".generation.state",
    "select_state": ".generation.state",
    "split_words": ".data.sentences",
    "stream": ".generation.streaming",
    "tag_sentences": ".data.sentences",
    "train_bpe_tokenizer": ".tokenization",
    "train_char_tokenizer": ".tokenization",
    "train_word_tokenizer": ".tokenization",
}

__all__ = [
    "RnnConfig",
    "RnnForCausalLM",
    "RnnForSequenceClassification",
    "RnnForTokenClassification",
    "RnnModel",
    "__version__",
    *sorted(_LAZY),
]


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
