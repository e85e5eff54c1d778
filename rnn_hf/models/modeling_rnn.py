"""Elman, GRU and LSTM networks for text: encoder, language model, sequence and token classifiers.

The road of a batch: ids -> embedding (word dropout, locked input dropout) -> a stack of `RnnLayer` with locked dropout
between -> optional final norm -> locked output dropout -> a head. The recurrent state goes in and comes out as
`past_key_values`; the model keeps none. Padding on any side, and any split into calls, leave the numbers as they are.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    SequenceClassifierOutputWithPast,
    TokenClassifierOutput,
)
from transformers.utils import can_return_tuple, is_tracing
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .adaptive_head import AdaptiveHead
from .cache import KEPT_HISTORY, check_cache, checked_state, new_cache
from .config_checks import integer, require
from .configuration_rnn import RnnConfig
from .heads import cross_entropy
from .input_checks import (
    checked_labels,
    label_ids,
    mask_or_padding,
    pad_rows,
    real_steps,
    step_mask,
    token_rows,
)
from .neural_lm import NeuralGenerationMixin
from .pooling import WIDTHS, Pooler
from .rnn_layers import HIGHWAY_BIAS, HighwayGate, LockedDropout, Padding, RecurrentWeights, RnnLayer
from .text_model import OF_FILES, SizeMismatchError, TextPreTrainedModel
from .token_embedding import embed

# What from_pretrained takes that decides on an adaptive head's clusters.
_OF_CLUSTERS = {"adaptive_cutoffs", "adaptive_div_value"}


class RnnPreTrainedModel(TextPreTrainedModel):
    """Weights, loading and saving that all heads share."""

    config_class = RnnConfig
    config: RnnConfig
    AUTO_MAP = {
        "AutoConfig": "configuration_rnn.RnnConfig",
        "AutoModel": "modeling_rnn.RnnModel",
        "AutoModelForCausalLM": "modeling_rnn.RnnForCausalLM",
        "AutoModelForSequenceClassification": "modeling_rnn.RnnForSequenceClassification",
        "AutoModelForTokenClassification": "modeling_rnn.RnnForTokenClassification",
    }
    supports_gradient_checkpointing = True
    _no_split_modules = ["RnnLayer"]
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": RnnLayer}
    _all_heads = ("lm_head.", "projection.", "pooler.", "score.")

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, RecurrentWeights):
            module.init_weights(self.config.cell_type)
        elif isinstance(module, RnnLayer):
            if module.initial_state is not None:
                init.zeros_(module.initial_state)
        else:
            super()._init_weights(module)
            if isinstance(module, HighwayGate):
                init.constant_(module.bias, HIGHWAY_BIAS)

    def _check_loaded(self, info: dict, source, kwargs: dict) -> None:
        missing, clusters = set(info["missing_keys"]), "lm_head.clusters.weight"
        was_full = clusters in missing and "lm_head.bias" in {name for name, *_ in info["mismatched_keys"]}
        if was_full or (clusters in info["unexpected_keys"] and "lm_head.bias" in self.state_dict()):
            raise SizeMismatchError(
                f"{type(self).__name__} from {source}: lm_head is {'full' if was_full else 'adaptive'!r} in the "
                f"checkpoint, not {self.config.lm_head!r}. Take the configuration that was saved with the weights; "
                "ignore_mismatched_sizes=True keeps the encoder and makes a new head"
            )
        super()._check_loaded(info, source, kwargs)
        if kwargs.keys() & {"config", *_OF_CLUSTERS}:
            self._check_clusters(source, kwargs)

    def _check_clusters(self, source, kwargs: dict) -> None:
        """A tied adaptive head is of one size whatever its clusters: what they were, the saved configuration says."""
        if not (isinstance(getattr(self, "lm_head", None), AdaptiveHead) and self.config.tie_word_embeddings):
            return
        try:
            saved = RnnConfig.from_pretrained(source, **{key: kwargs[key] for key in OF_FILES & kwargs.keys()})
        except OSError:  # weights alone, with a configuration from elsewhere
            return
        if type(self).__name__ not in (saved.architectures or []):
            return
        names = [("cutoffs", "adaptive_cutoffs"), ("adaptive_div_value", "adaptive_div_value")]
        problems = [
            f"{name} is {getattr(saved, field)}, not {getattr(self.config, field)}"
            for field, name in names
            if getattr(saved, field) != getattr(self.config, field)
        ]
        if problems:
            raise SizeMismatchError(
                f"{type(self).__name__} from {source}: clusters differ from the configuration's: "
                f"{'; '.join(problems)}. Take the configuration that was saved with the weights"
            )

    def load_torch_rnn(self, state_dict: dict[str, Tensor] | nn.RNNBase) -> None:
        """Takes the weights of an `nn.LSTM`, `nn.GRU` or `nn.RNN` of the same depth, directions and sizes.

        The outputs are equal where the configuration has neither `layer_norm` nor a `layer_connection`.

        Args:
            state_dict: the module, or its `state_dict()`: keys `weight_ih_l{k}[_reverse]` and so on, as in torch.

        Raises:
            ValueError: keys missing or left over, shapes or a nonlinearity that differ (all of them are listed).
        """
        problems = []
        if isinstance(state_dict, nn.Module):
            theirs = getattr(state_dict, "nonlinearity", "tanh")
            if theirs != self.config.nonlinearity:
                problems.append(f"nonlinearity is {theirs!r}, not {self.config.nonlinearity!r}")
            state_dict = state_dict.state_dict()
        if not isinstance(state_dict, dict) or not all(isinstance(value, Tensor) for value in state_dict.values()):
            raise ValueError(f"load_torch_rnn takes an nn.RNNBase or its state_dict(); got {type(state_dict).__name__}")
        ours = {}
        for k, layer in enumerate(self.base_model.layers):
            for name, parameter in layer.rnn.named_parameters():
                ours[name.replace("_l0", f"_l{k}")] = parameter
        problems += [f"no {name}" for name in ours.keys() - state_dict.keys()]
        problems += [f"{name} has no place here" for name in state_dict.keys() - ours.keys()]
        for name in ours.keys() & state_dict.keys():
            if ours[name].shape != state_dict[name].shape:
                problems.append(f"{name} is {tuple(state_dict[name].shape)}, not {tuple(ours[name].shape)}")
        if problems:
            raise ValueError("load_torch_rnn: " + "; ".join(sorted(problems)))
        with torch.no_grad():
            for name, parameter in ours.items():
                parameter.copy_(state_dict[name])

    def _check_vocab_size(self, size: int) -> None:
        if self.config.lm_head == "adaptive":
            raise ValueError("resize_token_embeddings needs lm_head='full': an adaptive head has one size")
        super()._check_vocab_size(size)

    @torch.no_grad()
    def encode(self, texts: str | Sequence[str], tokenizer: PreTrainedTokenizerBase, batch_size: int = 32) -> Tensor:
        """One vector a text, by the configuration's pooling.

        Args:
            texts: one text or several.
            tokenizer: the model's tokenizer.
            batch_size: texts run at once; texts of like length are batched together.

        Returns:
            (number of texts, width), on the model's device. `width` is `config.output_size`, times 3 for `concat`.

        Raises:
            ValueError: no text, a text without a token, `batch_size` below 1, or `pooling="attention"` on a model
                without a trained pooler.
        """
        self.config.check()  # the pooling may have been changed since loading
        require(integer(1), batch_size=batch_size)
        texts = [texts] if isinstance(texts, str) else list(texts)
        pooler = getattr(self, "pooler", None)
        if pooler is None:
            if self.config.pooling == "attention":
                raise ValueError(
                    f"pooling='attention' has trained weights, which {type(self).__name__} does not hold; "
                    "load RnnForSequenceClassification, or set config.pooling to last, mean, max or concat"
                )
            pooler = Pooler(self.config.pooling, self.config.output_size, self.base_model.from_end)
        ids = token_rows(texts, tokenizer, last_first=self.config.from_end != self.base_model.from_end)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        pooled = [None] * len(ids)
        was_training = self.training
        self.eval()
        try:
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                batch = pad_rows([ids[i] for i in rows], self.device)
                hidden = self.base_model(**batch, use_cache=False).last_hidden_state
                for i, vector in zip(rows, pooler(hidden, batch["attention_mask"].bool()), strict=True):
                    pooled[i] = vector
        finally:
            self.train(was_training)
        return torch.stack(pooled)


class RnnModel(RnnPreTrainedModel):
    """The encoder: embedding and recurrent layers.

    `from_end`: as in the configuration, unless given: a language model hands it ids in the order of reading.
    """

    def __init__(self, config: RnnConfig, token_length: float | None = None, from_end: tuple[bool, ...] | None = None):
        super().__init__(config)
        self.token_length = token_length
        self.from_end = config.from_end if from_end is None else from_end
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size, config.pad_token_id)
        self.input_dropout = LockedDropout(config.input_dropout)
        self.layers = nn.ModuleList(RnnLayer(config, i, self.from_end) for i in range(config.num_hidden_layers))
        self.hidden_dropout = LockedDropout(config.hidden_dropout)
        self.norm = nn.LayerNorm(config.output_size, eps=config.layer_norm_eps) if config.layer_norm else None
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
                1 at real tokens, 0 at padding, which may stand anywhere: the state skips it.
            past_key_values (`Cache`, *optional*):
                The state before the first token; updated in place and returned. `new_cache(config, states)` makes one
                from tensors. A model that reads from the end, alone or too, takes it as each direction's initial state
                and returns their final one.
            inputs_embeds (`torch.Tensor` of shape `(batch, time, embedding_size)`, *optional*): In place of ids.
            use_cache (`bool`, *optional*): Return the state; models that read from the end do only if one was passed.

        Returns:
            `last_hidden_state` (`torch.Tensor` of shape `(batch, time, config.output_size)`): at a padded step it
            repeats the row's latest real one (the carried state's, or zeros, where there was none).

        Raises:
            ValueError: not exactly one of ids and embeddings; an empty batch or text; an id outside the vocabulary; a
                mask or a state of another shape.
        """
        embedded = embed(self.embed_tokens, input_ids, inputs_embeds, self.config.embedding_dropout)
        batch, time, _ = embedded.shape
        if past_key_values is not None:
            check_cache(past_key_values, self.config)
        mask = step_mask(attention_mask, batch, time)
        padding = None
        if mask is not None and not is_tracing(mask):
            mask = None if bool(mask.all()) else mask
        if mask is not None and not torch.compiler.is_exporting():
            padding = Padding.of(mask)
        if mask is not None and inputs_embeds is not None:
            embedded = embedded.masked_fill(~mask[..., None], 0)  # NaN at padding would stay in the gradients
        if past_key_values is None and use_cache and not any(self.from_end):
            past_key_values = new_cache(self.config)

        hidden = self.input_dropout(embedded)
        for i, layer in enumerate(self.layers):
            cache = None if past_key_values is None else past_key_values.layers[i]
            state = None if cache is None else checked_state(cache, i, self.config, batch)
            record = cache is not None and cache.record_past and not any(self.from_end)
            hidden, state, steps = layer(hidden, state, mask, padding, cache is not None, record)
            if cache is not None:
                cache.update(state, time, steps=steps)
                if cache.origin.kind is None and not is_tracing(hidden):
                    cache.origin = cache.origin._replace(kind=self.config.state_kind)
            if i < len(self.layers) - 1:
                hidden = self.hidden_dropout(hidden)
        if self.norm is not None:
            hidden = self.norm(hidden)
        if past_key_values is not None and not self.training and not is_tracing(hidden):
            past_key_values.layers[0].note_ids(input_ids, time)
        return BaseModelOutputWithPast(last_hidden_state=hidden, past_key_values=past_key_values)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embed_tokens = value


class RnnForCausalLM(NeuralGenerationMixin, RnnPreTrainedModel):
    """A language model: the next token's distribution at each step.

    One with `config.direction="backward"` reads a text from its end, and so predicts the token before: ids are given
    last token first, and `generate` writes on towards the beginning.
    """

    def __init__(self, config: RnnConfig):
        if config.bidirectional:
            raise ValueError(
                "bidirectional must be false for RnnForCausalLM: a language model cannot see the tokens it predicts"
            )
        super().__init__(config)
        # Logits start at about unit scale: a recurrent layer's features are about 1/3, normalised ones 1. After 250
        # steps of quickstart/language_model, lengths 1 and 3 are at perplexity 217 and 182 (two seeds each), with
        # layer_norm at 170 and 186.
        self.token_length = 1.0 if config.layer_norm else 3.0
        self.model = RnnModel(config, self.token_length, from_end=(False,))
        if config.lm_head == "adaptive":
            self._tied_weights_keys = {}  # it takes the embedding's rows, and has no matrix of its own
            clusters = config.cutoffs, config.adaptive_div_value, config.tie_word_embeddings
            self._make_head(config.output_size, lambda width, vocab_size: AdaptiveHead(width, vocab_size, *clusters))
        else:
            self._make_head(config.output_size)
        self.post_init()

    def _loss(self, hidden: Tensor, targets: Tensor, num_items: Tensor | int | None = None) -> Tensor:
        if not isinstance(self.lm_head, AdaptiveHead):
            return super()._loss(hidden, targets, num_items)
        scored = targets != -100
        nats = self.lm_head.nats(hidden[scored], targets[scored], self.model.embed_tokens.weight)
        return nats.mean() if num_items is None else nats.sum() / num_items

    def _logits(self, hidden: Tensor) -> Tensor:
        """Of an adaptive head they are log-probabilities, whose softmax is the distribution too."""
        if isinstance(self.lm_head, AdaptiveHead):
            return self.lm_head.log_probs(hidden, self.model.embed_tokens.weight)
        return super()._logits(hidden)

    def get_output_embeddings(self) -> nn.Linear | None:
        """The matrix of all words' output vectors; None for an adaptive head, which has several."""
        return None if isinstance(self.lm_head, AdaptiveHead) else self.lm_head

    def _encode(self, logits_to_keep: int | Tensor, past_key_values: Cache | None, **inputs) -> BaseModelOutputWithPast:
        if getattr(past_key_values, "layers", None) and past_key_values.is_recording_past(0):
            wanted = logits_to_keep if isinstance(logits_to_keep, int) else 0
            return self._encode_recorded(max(wanted, KEPT_HISTORY), past_key_values, **inputs)
        return self.model(past_key_values=past_key_values, **inputs)

    def _encode_recorded(self, steps: int, past_key_values: Cache, **inputs) -> BaseModelOutputWithPast:
        """`self.model` with the states of the last `steps` steps recorded, which alone can be rolled back: those before
        run fused and leave none."""
        given = inputs["input_ids"] if inputs["inputs_embeds"] is None else inputs["inputs_embeds"]
        if given is None or given.shape[1] <= steps:
            return self.model(past_key_values=past_key_values, **inputs)
        first, rest = inputs | {}, inputs | {}
        for name in ("input_ids", "inputs_embeds", "attention_mask"):
            if inputs[name] is not None:  # the mask may be longer: its end belongs to the ids
                first[name], rest[name] = inputs[name][:, :-steps], inputs[name][:, -steps:]
        for layer in past_key_values.layers:
            layer.record_past = False
        try:
            parts = [self.model(past_key_values=past_key_values, **first)]
        finally:
            past_key_values.activate_past_recording()
        parts.append(self.model(past_key_values=past_key_values, **rest))
        if parts[0].hidden_states is not None:
            pairs = zip(*(part.hidden_states for part in parts), strict=True)
            parts[1].hidden_states = tuple(torch.cat(pair, 1) for pair in pairs)
        parts[1].last_hidden_state = torch.cat([part.last_hidden_state for part in parts], 1)
        return parts[1]


class RnnForSequenceClassification(RnnPreTrainedModel):
    """One label, several, or a number for a text (`config.problem_type`, else by the labels given)."""

    accepts_loss_kwargs = False  # the loss is a batch's mean: Trainer divides it by its accumulation steps
    _head_keys = ("pooler.", "score.")

    def __init__(self, config: RnnConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = RnnModel(config)
        self.pooler = Pooler(config.pooling, config.output_size, config.from_end)
        self.dropout = nn.Dropout(config.output_dropout)
        self.score = nn.Linear(config.output_size * WIDTHS[config.pooling], config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs,
    ) -> SequenceClassifierOutputWithPast:
        r"""
        Args:
            input_ids, attention_mask, past_key_values, inputs_embeds, use_cache: as in [`RnnModel`]. Without a mask,
                `pad_token_id` is taken for padding.
            labels (*optional*): `(batch,)` class ids; `(batch, num_labels)` of 0 and 1 for several labels;
                `(batch, num_labels)`, or `(batch,)` of one target, numbers for regression.

        Returns:
            `loss`, `logits` (`torch.Tensor` of shape `(batch, num_labels)`).
        """
        attention_mask = mask_or_padding(self.config, input_ids, attention_mask)
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=bool(use_cache),  # a pooled vector has no continuation: only on request
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        logits = self.score(self.dropout(self.pooler(hidden, real_steps(attention_mask, hidden))))
        loss = None
        if labels is not None:
            labels = checked_labels(labels, logits, self.config)
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        return SequenceClassifierOutputWithPast(
            loss=loss, logits=logits, past_key_values=outputs.past_key_values, hidden_states=outputs.hidden_states
        )


class RnnForTokenClassification(RnnPreTrainedModel):
    """A label for each token: part-of-speech tags, named entities."""

    _head_keys = ("score.",)

    def __init__(self, config: RnnConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = RnnModel(config)
        self.dropout = LockedDropout(config.output_dropout)
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
    ) -> TokenClassifierOutput:
        r"""
        Args:
            input_ids, attention_mask, inputs_embeds: as in [`RnnForSequenceClassification`].
            labels (`torch.LongTensor` of shape `(batch, time)`, *optional*): -100 is not scored.

        Returns:
            `loss`, `logits` (`torch.Tensor` of shape `(batch, time, num_labels)`).
        """
        attention_mask = mask_or_padding(self.config, input_ids, attention_mask)
        kwargs["use_cache"] = False
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds, **kwargs)
        logits = self.score(self.dropout(outputs.last_hidden_state))
        loss = None
        if labels is not None:
            if labels.shape != logits.shape[:2]:
                raise ValueError(f"labels must be of shape {tuple(logits.shape[:2])}; got {tuple(labels.shape)}")
            labels = label_ids(labels, self.num_labels)
            count = kwargs.get("num_items_in_batch")  # Trainer's, over all the batches that it accumulates
            loss = cross_entropy(logits, labels, count)  # transformers' own rounds float64 to float32
        return TokenClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


__all__ = [
    "RnnForCausalLM",
    "RnnForSequenceClassification",
    "RnnForTokenClassification",
    "RnnModel",
    "RnnPreTrainedModel",
]
