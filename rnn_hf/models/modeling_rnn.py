"""Elman, GRU and LSTM networks for text: encoder, language model, sequence and token classifiers.

The road of a batch: ids -> embedding (word dropout, locked input dropout) -> a stack of `RnnLayer` with locked dropout
between -> optional final norm -> locked output dropout -> a head. The recurrent state goes in and comes out as
`past_key_values`; the model keeps none. Padding on any side, and any split into calls, leave the numbers as they are.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    SequenceClassifierOutputWithPast,
    TokenClassifierOutput,
)
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils import can_return_tuple, is_tracing
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .adaptive_head import AdaptiveHead, WordVectors
from .cache import KEPT_HISTORY, new_cache
from .causal_lm import TextGenerationMixin
from .config_checks import integer, require
from .configuration_rnn import RnnConfig
from .heads import cross_entropy, linear_cross_entropy
from .input_checks import (
    check_ids,
    check_input,
    checked_labels,
    label_ids,
    mask_or_padding,
    pad_rows,
    step_mask,
    token_rows,
)
from .pooling import WIDTHS, Pooler
from .rnn_layers import HIGHWAY_BIAS, HighwayGate, LockedDropout, Padding, RecurrentWeights, RnnLayer
from .text_model import OF_FILES, SizeMismatchError, TextPreTrainedModel

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
        elif isinstance(module, nn.Embedding):
            self._init_token_vectors(module.weight)
            if module.padding_idx is not None and not getattr(module.weight, "_is_hf_initialized", False):
                module.weight[module.padding_idx] = 0
        elif isinstance(module, RnnLayer):
            if module.initial_state is not None:
                init.zeros_(module.initial_state)
        elif isinstance(module, nn.Linear):
            if isinstance(module, WordVectors):
                self._init_token_vectors(module.weight)
            else:
                init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.constant_(module.bias, HIGHWAY_BIAS if isinstance(module, HighwayGate) else 0.0)
        else:
            super()._init_weights(module)

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
            pooler = Pooler(self.config.pooling, self.config.output_size, self.config.directions)
        ids = token_rows(texts, tokenizer)
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
    """The encoder: embedding and recurrent layers."""

    def __init__(self, config: RnnConfig, token_length: float | None = None):
        super().__init__(config)
        self.token_length = token_length
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size, config.pad_token_id)
        self.input_dropout = LockedDropout(config.input_dropout)
        self.layers = nn.ModuleList(RnnLayer(config, i) for i in range(config.num_hidden_layers))
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
                from tensors. A bidirectional model takes it as initial state and returns both directions' final one.
            inputs_embeds (`torch.Tensor` of shape `(batch, time, embedding_size)`, *optional*): In place of ids.
            use_cache (`bool`, *optional*): Return the state; bidirectional models do only if one was passed.

        Returns:
            `last_hidden_state` (`torch.Tensor` of shape `(batch, time, config.output_size)`): at a padded step it
            repeats the row's latest real one (the carried state's, or zeros, where there was none).

        Raises:
            ValueError: not exactly one of ids and embeddings; an empty batch or text; an id outside the vocabulary; a
                mask or a state of another shape.
        """
        embedded = self._embed(input_ids, inputs_embeds)
        batch, time, _ = embedded.shape
        if past_key_values is not None:
            self._check_layers(past_key_values)
        mask = step_mask(attention_mask, batch, time)
        padding = None
        if mask is not None and not is_tracing(mask):
            mask = None if bool(mask.all()) else mask
        if mask is not None and not torch.compiler.is_exporting():
            padding = Padding.of(mask)
        if mask is not None and inputs_embeds is not None:
            embedded = embedded.masked_fill(~mask[..., None], 0)  # NaN at padding would stay in the gradients
        if past_key_values is None and use_cache and not self.config.bidirectional:
            past_key_values = new_cache(self.config)

        hidden = self.input_dropout(embedded)
        for i, layer in enumerate(self.layers):
            cache = None if past_key_values is None else past_key_values.layers[i]
            state = None if cache is None else self._checked(cache, i, batch)
            record = cache is not None and cache.record_past and not self.config.bidirectional
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

    def _embed(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        given = input_ids if inputs_embeds is None else inputs_embeds
        check_input(given, inputs_embeds is None)
        if inputs_embeds is not None:
            width, dtype = self.config.embedding_size, self.embed_tokens.weight.dtype
            if inputs_embeds.shape[-1] != width:  # torch's LSTM kernel would read beyond the weights
                raise ValueError(f"inputs_embeds must have {width} features (embedding_size); got {given.shape[-1]}")
            if inputs_embeds.dtype != dtype and not torch.is_autocast_enabled(inputs_embeds.device.type):
                raise ValueError(f"inputs_embeds must be of the model's type, {dtype}; got {inputs_embeds.dtype}")
            return inputs_embeds
        try:
            embedded = self.embed_tokens(input_ids)
        except IndexError as error:
            check_ids(input_ids, self.embed_tokens.num_embeddings)
            raise error
        p = self.config.embedding_dropout
        if self.training and p > 0:  # whole words, the same ones all over the batch
            kept = F.dropout(embedded.new_ones(self.embed_tokens.num_embeddings), p)
            embedded = embedded * kept[input_ids][..., None]
        return embedded

    def _check_layers(self, cache: Cache) -> None:
        layers = getattr(cache, "layers", None)
        if (
            layers is None
            or len(layers) != len(self.layers)
            or any(getattr(c, "_layer_type", "") != "rnn" for c in layers)
        ):
            kinds = [type(c).__name__ for c in layers] if layers is not None else type(cache).__name__
            raise ValueError(
                f"past_key_values must hold {len(self.layers)} layers of recurrent state; got {kinds}: it belongs to "
                "another model, or make an empty one with rnn_hf.new_cache(model.config)"
            )

    def _checked(self, cache, layer: int, batch: int):
        """The state that a layer's cache holds, if it is one of this model."""
        state = cache.state
        if state is None or is_tracing(state[0]):
            return state
        kind = cache.origin.kind
        if kind not in (None, self.config.state_kind):
            raise ValueError(
                f"past_key_values belongs to another model: it holds a state of the kind {kind!r}, not "
                f"{self.config.state_kind!r}"
            )
        expected = (batch, self.config.layer_sizes[layer][1] * self.config.directions)
        count = len(self.config.state_names(layer))
        if len(state) != count or any(s.shape != expected for s in state):
            raise ValueError(
                f"past_key_values of layer {layer} must hold {count} tensors of shape {expected}; "
                f"got {[tuple(s.shape) for s in state]}: it belongs to another model or batch"
            )
        if torch.is_grad_enabled() and any(s.is_inference() for s in state):
            state = tuple(s.clone() for s in state)  # made under `torch.inference_mode`, no graph may keep it
        return state

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embed_tokens = value


class RnnForCausalLM(RnnPreTrainedModel, TextGenerationMixin):
    """A language model: the next token's distribution at each step."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _head_keys = ("lm_head.", "projection.")

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
        self.model = RnnModel(config, self.token_length)
        self.output_dropout = LockedDropout(config.output_dropout)
        width = config.output_size
        self.projection = None
        if config.tie_word_embeddings and width != config.embedding_size:
            self.projection = nn.Linear(width, config.embedding_size, bias=False)
            width = config.embedding_size
        if config.lm_head == "adaptive":
            self._tied_weights_keys = {}  # it takes the embedding's rows, and has no matrix of its own
            self.lm_head = AdaptiveHead(
                width, config.vocab_size, config.cutoffs, config.adaptive_div_value, config.tie_word_embeddings
            )
        else:
            self.lm_head = WordVectors(width, config.vocab_size)
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
        logits_to_keep: int | Tensor = 0,
        skip_logits: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        r"""
        Args:
            input_ids, attention_mask, past_key_values, inputs_embeds, use_cache: as in [`RnnModel`].
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
        encode, wanted = self.model, logits_to_keep if isinstance(logits_to_keep, int) else 0
        if getattr(past_key_values, "layers", None) and past_key_values.is_recording_past(0):
            encode = partial(self._encode_recorded, max(wanted, KEPT_HISTORY))
        outputs = encode(
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

    def _loss(self, hidden: Tensor, targets: Tensor, num_items: Tensor | int | None = None) -> Tensor:
        """From the head's input (batch, time, features), without logits of all tokens."""
        if not isinstance(self.lm_head, AdaptiveHead):
            return linear_cross_entropy(hidden, self.lm_head.weight, self.lm_head.bias, targets, num_items)
        scored = targets != -100
        nats = self.lm_head.nats(hidden[scored], targets[scored], self.model.embed_tokens.weight)
        return nats.mean() if num_items is None else nats.sum() / num_items

    def _logits(self, hidden: Tensor) -> Tensor:
        """Of an adaptive head they are log-probabilities, whose softmax is the distribution too."""
        if isinstance(self.lm_head, AdaptiveHead):
            return self.lm_head.log_probs(hidden, self.model.embed_tokens.weight)
        return self.lm_head(hidden)

    def get_output_embeddings(self) -> nn.Linear | None:
        """The matrix of all words' output vectors; None for an adaptive head, which has several."""
        return None if isinstance(self.lm_head, AdaptiveHead) else self.lm_head

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

    def _check_cache(self, cache: Cache) -> None:
        self.model._check_layers(cache)


class RnnForSequenceClassification(RnnPreTrainedModel):
    """One label, several, or a number for a text (`config.problem_type`, else by the labels given)."""

    accepts_loss_kwargs = False  # the loss is a batch's mean: Trainer divides it by its accumulation steps
    _head_keys = ("pooler.", "score.")

    def __init__(self, config: RnnConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = RnnModel(config)
        self.pooler = Pooler(config.pooling, config.output_size, config.directions)
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
        mask = step_mask(attention_mask, *hidden.shape[:2])
        if mask is None:
            mask = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        logits = self.score(self.dropout(self.pooler(hidden, mask)))
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
