"""rnn-hf: classical recurrent networks for text in the Hugging Face ecosystem.

Importing it registers the models with transformers' Auto classes. It touches no network, and names are imported when
they are first used, so training libraries cost nothing to those who only load a model.
"""

import importlib
import sys
from pathlib import Path

__version__ = "0.1.0"


def _is_command() -> bool:
    """Whether this process is `rnn-hf ...` or `python -m rnn_hf.cli ...`."""
    program = Path(sys.argv[0]).name if sys.argv else ""
    return program in ("rnn-hf", "rnn-hf.exe") or (program == "-m" and "rnn_hf.cli" in sys.orig_argv)


# torch and transformers take seconds, for which `rnn-hf --help` and `rnn-hf recipes ls` should not wait: the command
# registers the models where a verb opens or makes one (`commands/common.py`).
if not _is_command():
    importlib.import_module(".models.auto", __name__)

_LAZY = {
    "BowConfig": ".models.configuration_bow",
    "BowForSequenceClassification": ".models.modeling_bow",
    "ClassificationDataModule": ".data.classification",
    "ClassificationModule": ".training.classification",
    "CnnConfig": ".models.configuration_cnn",
    "CnnForCausalLM": ".models.modeling_cnn",
    "CnnModel": ".models.modeling_cnn",
    "CnnForSequenceClassification": ".models.modeling_cnn",
    "CountingModule": ".training.counting",
    "FittedClassificationModule": ".training.fitted_classification",
    "FfnConfig": ".models.configuration_ffn",
    "FfnForCausalLM": ".models.modeling_ffn",
    "FfnModel": ".models.modeling_ffn",
    "LanguageModelingDataModule": ".data.language_modeling",
    "LanguageModelingModule": ".training.language_modeling",
    "NgramConfig": ".models.configuration_ngram",
    "NgramForCausalLM": ".models.modeling_ngram",
    "RnnConfig": ".models.configuration_rnn",
    "RnnForCausalLM": ".models.modeling_rnn",
    "RnnForSequenceClassification": ".models.modeling_rnn",
    "RnnForTokenClassification": ".models.modeling_rnn",
    "RnnModel": ".models.modeling_rnn",
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

__all__ = ["__version__", *sorted(_LAZY)]


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
