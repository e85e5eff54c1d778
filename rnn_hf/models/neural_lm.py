"""What language models share whose encoder gives features: the head over the vocabulary, and a loss without logits."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils import can_return_tuple

from .causal_lm import TextGenerationMixin
from .heads import cross_entropy, linear_cross_entropy
from .input_checks import label_ids
from .rnn_layers import LockedDropout
from .token_embedding import WordVectors


class NeuralGenerationMixin(TextGenerationMixin):
    """A language model out of `self.model`, an encoder that cannot see the future, and a linear head."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _head_keys = ("lm_head.", "projection.")

    def _make_head(self, width: int, build: Callable[[int, int], nn.Module] = WordVectors) -> None:
        """The head for features of this width, projected to the embedding's where it is tied to that.

        Args:
            build: (width, vocab_size) -> head.
        """
        config = self.config
        self.output_dropout = LockedDropout(config.output_dropout)
        self.projection = None
        if config.tie_word_embeddings and width != config.embedding_size:
            self.projection = nn.Linear(width, config.embedding_size, bias=False)
            width = config.embedding_size
        self.lm_head = build(width, config.vocab_size)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        skip_logits: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        r"""
        Args:
            input_ids, attention_mask, past_key_values, inputs_embeds, use_cache: as in the encoder.
            labels (`torch.LongTensor` of shape `(batch, time)`, *optional*):
                Usually the ids themselves: step t is scored on `labels[:, t + 1]`, the last step on nothing. -100 is
                not scored.
            shift_labels (`torch.LongTensor` of shape `(batch, time)`, *optional*):
                The target of each step, in place of `labels`, so that consecutive chunks of a stream lose none.
            logits_to_keep (`int` or `torch.Tensor`): Steps whose logits are wanted; 0 for all.
            skip_logits (`bool`, *optional*):
                Do not return logits. Default: in training, where targets are given; the loss is then computed without
                ever holding `(batch * time, vocab_size)` numbers.
            num_items_in_batch (`int`, *optional*): Divides the loss in place of the number of scored tokens.

        Returns:
            `loss` (mean nats per scored token), `logits` (`torch.Tensor` of shape `(batch, time, vocab_size)`),
            `past_key_values`.
        """
        # Not in the signature: Trainer takes every argument called labels there for one that a batch must hold.
        shift_labels = kwargs.pop("shift_labels", None)
        outputs = self._encode(
            logits_to_keep=logits_to_keep,
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        hidden = self.output_dropout(outputs.last_hidden_state)
        if self.projection is not None:
            hidden = self.projection(hidden)
        if labels is not None and shift_labels is None:
            shift_labels = F.pad(labels, (0, 1), value=-100)[:, 1:]
        if skip_logits is None:
            skip_logits = self.training and shift_labels is not None and not torch.compiler.is_compiling()
        logits = None if skip_logits else self._logits(slice_logits_to_keep(hidden, logits_to_keep))
        loss = None
        if shift_labels is not None:
            if shift_labels.shape != hidden.shape[:2]:
                raise ValueError(f"labels must be of shape {tuple(hidden.shape[:2])}; got {tuple(shift_labels.shape)}")
            shift_labels = label_ids(shift_labels, self.config.vocab_size)
            all_in_order = isinstance(logits_to_keep, int) and logits is not None and logits.shape[1] == hidden.shape[1]
            if all_in_order:
                loss = cross_entropy(logits, shift_labels, num_items_in_batch)
            else:
                loss = self._loss(hidden, shift_labels, num_items_in_batch)
        return CausalLMOutputWithPast(
            loss=loss, logits=logits, past_key_values=outputs.past_key_values, hidden_states=outputs.hidden_states
        )

    def _encode(self, logits_to_keep: int | Tensor, **inputs) -> BaseModelOutputWithPast:
        """The encoder's output for `inputs`, of which the logits of so many last steps are wanted."""
        return self.model(**inputs)

    def _loss(self, hidden: Tensor, targets: Tensor, num_items: Tensor | int | None = None) -> Tensor:
        """From the head's input (batch, time, features), without logits of all tokens."""
        return linear_cross_entropy(hidden, self.lm_head.weight, self.lm_head.bias, targets, num_items)

    def _logits(self, hidden: Tensor) -> Tensor:
        return self.lm_head(hidden)
