"""Convolutions over the tokens of a text: windows of several widths side by side, the largest value of each filter.

Padding never reaches a window's result: a text's real tokens stand first, and beyond its ends there are zeros, in a
batch as alone. So a text may be shorter than the widest window.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, SequenceClassifierOutput
from transformers.utils import is_tracing
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .cache import check_cache, new_cache
from .configuration_cnn import CnnConfig
from .input_checks import checked_labels, mask_or_padding, real_steps, step_mask
from .neural_lm import NeuralGenerationMixin
from .padding import left_aligned
from .pooling import Pooler
from .rnn_layers import LockedDropout
from .text_model import TextPreTrainedModel
from .token_embedding import embed
from .window import read_windows


class WindowLayer(GradientCheckpointingLayer):
    """Filters over windows of several widths, each window around one token (Kim 2014, eq. 2), in a `residual` layer
    added to what it reads."""

    def __init__(self, features: int, kernel_sizes: list[int], num_filters: int, residual: bool):
        super().__init__()
        self.residual = residual
        self.filters = nn.ModuleList(nn.Conv1d(features, num_filters, width) for width in kernel_sizes)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(batch, time, features), zero where mask (batch, time) is false -> (batch, time, all filters), likewise."""
        channels = hidden.transpose(1, 2)
        found = []
        for convolution in self.filters:
            before, after = (convolution.kernel_size[0] - 1) // 2, convolution.kernel_size[0] // 2
            found.append(F.relu(convolution(F.pad(channels, (before, after)))))
        out = torch.cat(found, 1).transpose(1, 2).masked_fill(~mask[..., None], 0)
        return out + hidden if self.residual else out


class CnnPreTrainedModel(TextPreTrainedModel):
    """What the models of the family share."""

    config_class = CnnConfig
    config: CnnConfig
    AUTO_MAP = {
        "AutoConfig": "configuration_cnn.CnnConfig",
        "AutoModel": "modeling_cnn.CnnModel",
        "AutoModelForCausalLM": "modeling_cnn.CnnForCausalLM",
        "AutoModelForSequenceClassification": "modeling_cnn.CnnForSequenceClassification",
    }
    supports_gradient_checkpointing = True
    _no_split_modules = ["WindowLayer", "GatedLayer"]
    _can_compile_fullgraph = True
    _all_heads = ("lm_head.", "projection.")

    def get_input_embeddings(self) -> nn.Embedding:
        return self.base_model.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.base_model.embed_tokens = value


class GatedLayer(GradientCheckpointingLayer):
    """Filters over windows that end at each step, gated: `(X * W + b) sigmoid(X * V + c)` (Dauphin et al. 2017, eq. 1),
    added to what the layer reads (a projection of it, where the widths differ)."""

    def __init__(self, features: int, kernel_sizes: list[int], num_filters: int):
        super().__init__()
        self.kernel_sizes = kernel_sizes
        self.filters = nn.ModuleList(nn.Linear(width * features, 2 * num_filters) for width in kernel_sizes)
        widths = features, num_filters * len(kernel_sizes)
        self.path = nn.Identity() if widths[0] == widths[1] else nn.Linear(*widths, bias=False)

    def forward(self, hidden: Tensor, windows: Tensor) -> Tensor:
        """(batch, time, features) and the window of each step, (batch, time, widest window, features), the step itself
        the newest -> (batch, time, all filters)."""
        found = [
            F.glu(linear(windows[:, :, -width:].flatten(2)))
            for width, linear in zip(self.kernel_sizes, self.filters, strict=True)
        ]
        return torch.cat(found, -1) + self.path(hidden)


class CnnModel(CnnPreTrainedModel):
    """The encoder of a language model: embedding and gated convolutions that see no later token."""

    _can_record_outputs = {"hidden_states": GatedLayer}

    def __init__(self, config: CnnConfig, token_length: float | None = None):
        super().__init__(config)
        self.token_length = token_length
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size, config.pad_token_id)
        self.input_dropout = LockedDropout(config.input_dropout)
        sizes = config.kernel_sizes, config.num_filters
        self.layers = nn.ModuleList(GatedLayer(width, *sizes) for width in config.layer_sizes)
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
            past_key_values (`Cache`, *optional*):
                Each layer's window before the first token; updated in place and returned.
            inputs_embeds (`torch.Tensor` of shape `(batch, time, embedding_size)`, *optional*): In place of ids.
            use_cache (`bool`, *optional*): Return the windows.

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
        hidden, width = self.input_dropout(embedded), max(self.config.kernel_sizes)
        for i, layer in enumerate(self.layers):
            hidden = hidden if i == 0 else self.hidden_dropout(hidden)
            windows = read_windows(hidden, mask, width, 0.0, past_key_values, i, self.config)
            hidden = layer(windows[:, :, -1], windows)  # a padded step repeats the latest real one
        if past_key_values is not None and not self.training and not is_tracing(hidden):
            past_key_values.layers[0].note_ids(input_ids, embedded.shape[1])
        return BaseModelOutputWithPast(last_hidden_state=hidden, past_key_values=past_key_values)


class CnnForCausalLM(NeuralGenerationMixin, CnnPreTrainedModel):
    """A language model: the next token's distribution after the tokens that the layers' windows reach."""

    def __init__(self, config: CnnConfig):
        super().__init__(config)
        self.token_length = 1.0
        self.model = CnnModel(config, self.token_length)
        self._make_head(config.output_size)
        self.post_init()


class CnnForSequenceClassification(CnnPreTrainedModel):
    """One label, several, or a number for a text (`config.problem_type`, else by the labels given)."""

    accepts_loss_kwargs = False  # the loss is a batch's mean: Trainer divides it by its accumulation steps
    _can_record_outputs = {"hidden_states": WindowLayer}

    def __init__(self, config: CnnConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size, config.pad_token_id)
        self.input_dropout = LockedDropout(config.input_dropout)
        sizes = config.kernel_sizes, config.num_filters
        self.layers = nn.ModuleList(WindowLayer(width, *sizes, i > 0) for i, width in enumerate(config.layer_sizes))
        self.hidden_dropout = LockedDropout(config.hidden_dropout)
        self.pooler = Pooler("max", config.output_size)
        self.dropout = nn.Dropout(config.output_dropout)
        self.score = nn.Linear(config.output_size, config.num_labels)
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs,
    ) -> SequenceClassifierOutput:
        r"""
        Args:
            input_ids (`torch.LongTensor` of shape `(batch, time)`): Token ids.
            attention_mask (`torch.Tensor` of shape `(batch, time)`, *optional*):
                1 at real tokens, 0 at padding, which may stand anywhere; windows pass over it. Without a mask,
                `pad_token_id` is taken for padding.
            inputs_embeds (`torch.Tensor` of shape `(batch, time, embedding_size)`, *optional*): In place of ids.
            labels (*optional*): `(batch,)` class ids; `(batch, num_labels)` of 0 and 1 for several labels;
                `(batch, num_labels)`, or `(batch,)` of one target, numbers for regression.

        Returns:
            `loss`, `logits` (`torch.Tensor` of shape `(batch, num_labels)`), and by `output_hidden_states=True`
            `hidden_states`, what each layer reads and gives, with a row's real tokens first.

        Raises:
            ValueError: not exactly one of ids and embeddings; an empty batch or text; an id outside the vocabulary; a
                mask of another shape.
        """
        attention_mask = mask_or_padding(self.config, input_ids, attention_mask)
        embedded = embed(self.embed_tokens, input_ids, inputs_embeds, self.config.embedding_dropout)
        mask, embedded = left_aligned(real_steps(attention_mask, embedded), embedded)
        hidden = self.input_dropout(embedded.masked_fill(~mask[..., None], 0))
        for i, layer in enumerate(self.layers):
            hidden = layer(hidden if i == 0 else self.hidden_dropout(hidden), mask)
        logits = self.score(self.dropout(self.pooler(hidden, mask)))
        loss = None
        if labels is not None:
            labels = checked_labels(labels, logits, self.config)
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits)


__all__ = ["CnnForCausalLM", "CnnForSequenceClassification", "CnnModel"]
