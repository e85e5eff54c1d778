"""Feed-forward language models: the last few tokens, side by side, through hidden layers (Bengio et al. 2003).

The road of a batch: ids -> embedding -> the window of each step (`window`) -> hidden layers -> the head (`neural_lm`).
"""

import itertools

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils import is_tracing
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .cache import check_cache, new_cache
from .configuration_ffn import FfnConfig
from .input_checks import step_mask
from .neural_lm import NeuralGenerationMixin
from .rnn_layers import LockedDropout
from .text_model import TextPreTrainedModel
from .token_embedding import embed
from .window import read_windows


class FfnLayer(GradientCheckpointingLayer):
    """tanh(W x + b)."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.linear = nn.Linear(input_size, hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.linear(hidden).tanh()


class FfnPreTrainedModel(TextPreTrainedModel):
    """What the models of the family share."""

    config_class = FfnConfig
    config: FfnConfig
    AUTO_MAP = {
        "AutoConfig": "configuration_ffn.FfnConfig",
        "AutoModel": "modeling_ffn.FfnModel",
        "AutoModelForCausalLM": "modeling_ffn.FfnForCausalLM",
    }
    supports_gradient_checkpointing = True
    _no_split_modules = ["FfnLayer"]
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": FfnLayer}
    _all_heads = ("lm_head.", "projection.")


class FfnModel(FfnPreTrainedModel):
    """The encoder: embedding, window and hidden layers."""

    def __init__(self, config: FfnConfig, token_length: float | None = None):
        super().__init__(config)
        self.token_length = token_length
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size, config.pad_token_id)
        self.input_dropout = LockedDropout(config.input_dropout)
        sizes = [config.window_size] + [config.hidden_size] * config.num_hidden_layers
        self.layers = nn.ModuleList(FfnLayer(*pair) for pair in itertools.pairwise(sizes))
        self.hidden_dropout = LockedDropout(config.hidden_dropout)
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPast:
        r"""
        Args:
            input_ids (`torch.LongTensor` of shape `(batch, time)`): Token ids.
            attention_mask (`torch.Tensor` of shape `(batch, time)` or `(batch, past + time)`, *optional*):
                1 at real tokens, 0 at padding, which may stand anywhere: windows pass over it.
            past_key_values (`Cache`, *optional*): The window before the first token; updated in place and returned.
            inputs_embeds (`torch.Tensor` of shape `(batch, time, embedding_size)`, *optional*): In place of ids.
            use_cache (`bool`, *optional*): Return the window.

        Returns:
            `last_hidden_state` (`torch.Tensor` of shape `(batch, time, config.output_size)`).

        Raises:
            ValueError: not exactly one of ids and embeddings; an empty batch or text; an id outside the vocabulary; a
                mask or a state of another shape.
        """
        embedded = embed(self.embed_tokens, input_ids, inputs_embeds, self.config.embedding_dropout)
        mask = step_mask(attention_mask, *embedded.shape[:2])
        if past_key_values is not None:
            check_cache(past_key_values, self.config)
        elif use_cache:
            past_key_values = new_cache(self.config)
        embedded = self.input_dropout(embedded)
        windows = read_windows(embedded, mask, self.config.context_size, 0.0, past_key_values, 0, self.config)
        hidden = window = windows.flatten(2)
        for i, layer in enumerate(self.layers):
            hidden = layer(hidden if i == 0 else self.hidden_dropout(hidden))
        if self.config.direct_connections:
            hidden = torch.cat([hidden, window], -1)
        if past_key_values is not None and not self.training and not is_tracing(hidden):
            past_key_values.layers[0].note_ids(input_ids, embedded.shape[1])
        return BaseModelOutputWithPast(last_hidden_state=hidden, past_key_values=past_key_values)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embed_tokens = value


class FfnForCausalLM(NeuralGenerationMixin, FfnPreTrainedModel):
    """A language model: the next token's distribution after the last `context_size` tokens."""

    def __init__(self, config: FfnConfig):
        super().__init__(config)
        self.token_length = 1.0
        self.model = FfnModel(config, self.token_length)
        self._make_head(config.output_size)
        self.post_init()


__all__ = ["FfnForCausalLM", "FfnModel", "FfnPreTrainedModel"]
