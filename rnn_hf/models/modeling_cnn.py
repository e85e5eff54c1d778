"""Convolutions over the tokens of a text: windows of several widths side by side, the largest value of each filter.

Padding never reaches a window's result: a text's real tokens stand first, and beyond its ends there are zeros, in a
batch as alone. So a text may be shorter than the widest window.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import can_return_tuple

from .configuration_cnn import CnnConfig
from .input_checks import checked_labels, mask_or_padding, real_steps
from .padding import left_aligned
from .pooling import Pooler
from .rnn_layers import LockedDropout
from .text_model import TextPreTrainedModel
from .token_embedding import embed


class WindowLayer(nn.Module):
    """Filters over windows of several widths, each window around one token (Kim 2014, eq. 2)."""

    def __init__(self, features: int, kernel_sizes: list[int], num_filters: int):
        super().__init__()
        self.filters = nn.ModuleList(nn.Conv1d(features, num_filters, width) for width in kernel_sizes)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(batch, time, features), zero where mask (batch, time) is false -> (batch, time, all filters), likewise."""
        channels = hidden.transpose(1, 2)
        found = []
        for convolution in self.filters:
            before, after = (convolution.kernel_size[0] - 1) // 2, convolution.kernel_size[0] // 2
            found.append(F.relu(convolution(F.pad(channels, (before, after)))))
        return torch.cat(found, 1).transpose(1, 2).masked_fill(~mask[..., None], 0)


class CnnForSequenceClassification(TextPreTrainedModel):
    """One label, several, or a number for a text (`config.problem_type`, else by the labels given)."""

    config_class = CnnConfig
    config: CnnConfig
    AUTO_MAP = {
        "AutoConfig": "configuration_cnn.CnnConfig",
        "AutoModelForSequenceClassification": "modeling_cnn.CnnForSequenceClassification",
    }
    accepts_loss_kwargs = False  # the loss is a batch's mean: Trainer divides it by its accumulation steps
    _no_split_modules = ["WindowLayer"]
    _can_compile_fullgraph = True

    def __init__(self, config: CnnConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size, config.pad_token_id)
        self.input_dropout = LockedDropout(config.input_dropout)
        widths = [config.embedding_size] + [config.output_size] * (config.num_hidden_layers - 1)
        self.layers = nn.ModuleList(WindowLayer(width, config.kernel_sizes, config.num_filters) for width in widths)
        self.hidden_dropout = LockedDropout(config.hidden_dropout)
        self.pooler = Pooler("max", config.output_size, 1)
        self.dropout = nn.Dropout(config.output_dropout)
        self.score = nn.Linear(config.output_size, config.num_labels)
        self.post_init()

    @can_return_tuple
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
            `loss`, `logits` (`torch.Tensor` of shape `(batch, num_labels)`).

        Raises:
            ValueError: not exactly one of ids and embeddings; an empty batch or text; an id outside the vocabulary; a
                mask of another shape.
        """
        attention_mask = mask_or_padding(self.config, input_ids, attention_mask)
        embedded = embed(self.embed_tokens, input_ids, inputs_embeds, self.config.embedding_dropout)
        mask, embedded = left_aligned(real_steps(attention_mask, embedded), embedded)
        hidden = self.input_dropout(embedded.masked_fill(~mask[..., None], 0))
        for i, layer in enumerate(self.layers):
            if i == 0:
                hidden = layer(hidden, mask)
            else:
                hidden = self.hidden_dropout(hidden)
                hidden = layer(hidden, mask) + hidden
        logits = self.score(self.dropout(self.pooler(hidden, mask)))
        loss = None
        if labels is not None:
            labels = checked_labels(labels, logits, self.config)
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits)


__all__ = ["CnnForSequenceClassification"]
