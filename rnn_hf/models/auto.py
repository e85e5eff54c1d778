"""Importing it registers every family with transformers' Auto classes."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from .configuration_rnn import RnnConfig
from .modeling_rnn import RnnForCausalLM, RnnForSequenceClassification, RnnForTokenClassification, RnnModel

AutoConfig.register("rnn", RnnConfig)
AutoModel.register(RnnConfig, RnnModel)
AutoModelForCausalLM.register(RnnConfig, RnnForCausalLM)
AutoModelForSequenceClassification.register(RnnConfig, RnnForSequenceClassification)
AutoModelForTokenClassification.register(RnnConfig, RnnForTokenClassification)
