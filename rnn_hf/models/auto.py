"""Importing it registers every family with transformers' Auto classes."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from .config_checks import CheckedConfig
from .configuration_bow import BowConfig
from .configuration_cnn import CnnConfig
from .configuration_ffn import FfnConfig
from .configuration_ngram import NgramConfig
from .configuration_rnn import RnnConfig
from .modeling_bow import BowForSequenceClassification
from .modeling_cnn import CnnForCausalLM, CnnForSequenceClassification, CnnModel
from .modeling_ffn import FfnForCausalLM, FfnModel
from .modeling_ngram import NgramForCausalLM
from .modeling_rnn import RnnForCausalLM, RnnForSequenceClassification, RnnForTokenClassification, RnnModel

FAMILIES: dict[type, dict[type, type]] = {  # configuration -> Auto class -> model
    RnnConfig: {
        AutoModel: RnnModel,
        AutoModelForCausalLM: RnnForCausalLM,
        AutoModelForSequenceClassification: RnnForSequenceClassification,
        AutoModelForTokenClassification: RnnForTokenClassification,
    },
    CnnConfig: {
        AutoModel: CnnModel,
        AutoModelForCausalLM: CnnForCausalLM,
        AutoModelForSequenceClassification: CnnForSequenceClassification,
    },
    BowConfig: {AutoModelForSequenceClassification: BowForSequenceClassification},
    FfnConfig: {AutoModel: FfnModel, AutoModelForCausalLM: FfnForCausalLM},
    NgramConfig: {AutoModelForCausalLM: NgramForCausalLM},
}

for config_class, heads in FAMILIES.items():
    AutoConfig.register(config_class.model_type, config_class)
    for auto_class, model_class in heads.items():
        auto_class.register(config_class, model_class)


def families(auto_class: type) -> dict[str, type[CheckedConfig]]:
    """`model_type` -> configuration of the families that have a model for this Auto class."""
    return {config.model_type: config for config, heads in FAMILIES.items() if auto_class in heads}
