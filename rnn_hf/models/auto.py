"""Importing it registers every family with transformers' Auto classes."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from .config_checks import CheckedConfig
from .configuration_rnn import RnnConfig
from .modeling_rnn import RnnForCausalLM, RnnForSequenceClassification, RnnForTokenClassification, RnnModel

FAMILIES: dict[type, dict[type, type]] = {  # configuration -> Auto class -> model
    RnnConfig: {
        AutoModel: RnnModel,
        AutoModelForCausalLM: RnnForCausalLM,
        AutoModelForSequenceClassification: RnnForSequenceClassification,
        AutoModelForTokenClassification: RnnForTokenClassification,
    },
}

for config_class, heads in FAMILIES.items():
    AutoConfig.register(config_class.model_type, config_class)
    for auto_class, model_class in heads.items():
        auto_class.register(config_class, model_class)


def families(auto_class: type) -> dict[str, type[CheckedConfig]]:
    """`model_type` -> configuration of the families that have a model for this Auto class."""
    return {config.model_type: config for config, heads in FAMILIES.items() if auto_class in heads}
