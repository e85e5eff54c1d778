"""Elman, GRU and LSTM networks for text: encoder, language model, sequence and token classifiers.

The road of a batch: ids -> embedding (word dropout, locked input dropout) -> a stack of `RnnLayer` with locked dropout
between -> optional final norm -> locked output dropout -> a head. The recurrent state goes in and comes out as
`past_key_values`; the model keeps none. Padding on any side, and any split into calls, leave the numbers as they are.
"""

import copy
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    GenerationMixin,
    LogitsProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
)
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.dynamic_module_utils import custom_object_save
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
from .cache import KEPT_HISTORY, begins_with_what_was_read, new_cache
from .config_checks import integer, require
from .configuration_rnn import RnnConfig
from .heads import cross_entropy, linear_cross_entropy
from .pooling import WIDTHS, Pooler
from .rnn_layers import HIGHWAY_BIAS, HighwayGate, LockedDropout, Padding, RecurrentWeights, RnnLayer

# Saved with the code (`save_pretrained(..., include_code=True)`), a folder opens through each of these without rnn-hf.
AUTO_MAP = {
    "AutoConfig": "configuration_rnn.RnnConfig",
    "AutoModel": "modeling_rnn.RnnModel",
    "AutoModelForCausalLM": "modeling_rnn.RnnForCausalLM",
    "AutoModelForSequenceClassification": "modeling_rnn.RnnForSequenceClassification",
    "AutoModelForTokenClassification": "modeling_rnn.RnnForTokenClassification",
}

# What a checkpoint may hold beside the encoder: the head of another task is left out.
_ALL_HEADS = ("lm_head.", "projection.", "pooler.", "score.")

# What from_pretrained takes that decides on an adaptive head's clusters, or on the files that are read.
_OF_CLUSTERS = {"adaptive_cutoffs", "adaptive_div_value"}
_OF_FILES = {"cache_dir", "force_download", "proxies", "token", "local_files_only", "revision", "subfolder"}


@dataclass
class TextScore:
    """Log-probabilities of one text under a language model, in nats.

    `log_probs[i]` is log p(tokens[i] | tokens[:i]); by the chain rule their sum is the text's log-probability. The
    last token is the end of the text, the first one is conditioned on the beginning-of-text token.
    """

    text: str
    tokens: list[str]
    log_probs: Tensor  # [len(tokens)]

    @property
    def total(self) -> float:
        """log p(text), in nats."""
        return float(self.log_probs.sum())

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-probability per token."""
        return math.exp(-self.total / len(self.tokens))


class FiniteScores(LogitsProcessor):
    """The last of generate()'s processors: refuses scores that nothing can be chosen by."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        # The maximum is NaN where any score is, and -inf only where no token is left: one pass, whatever the processor.
        rows = scores.amax(-1).isfinite()
        if not rows.all():
            row = int(rows.logical_not().nonzero()[0])
            raise ValueError(
                f"the scores of the next token are {float(scores[row].amax())} in row {row}. Look for NaN or inf in "
                "the weights and in the state or embeddings that were passed (training that diverged, half precision); "
                "if those are finite, a logits processor or a temperature near 0 is at fault"
            )
        return scores


class StopTexts(StoppingCriteria):
    """Ends the rows whose latest token completes a stop string.

    transformers' own criterion spells the vocabulary out letter by letter, which word tokenizers cannot do; this one
    decodes the end of each row.
    """

    def __init__(self, stop_strings: Sequence[str], tokenizer: PreTrainedTokenizerBase):
        self.stop_strings, self.tokenizer = stop_strings, tokenizer
        self.reach = 1 + max(map(len, stop_strings))  # no token decodes to less than a character

    @staticmethod
    def is_needed(tokenizer: PreTrainedTokenizerBase) -> bool:
        probe = "abcdef"  # transformers' own
        return probe not in tokenizer.convert_tokens_to_string(tokenizer.tokenize(probe))

    def __call__(self, input_ids: Tensor, scores: Tensor | None, **kwargs) -> Tensor:
        ended = []
        for row in input_ids[:, -self.reach :].tolist():
            before, text = len(self.tokenizer.decode(row[:-1])), self.tokenizer.decode(row)
            ended.append(any(text.find(stop, max(0, before - len(stop) + 1)) >= 0 for stop in self.stop_strings))
        return torch.tensor(ended, device=input_ids.device)


class SizeMismatchError(ValueError, RuntimeError):
    """Sizes in a checkpoint differ from the configuration's, where transformers raises RuntimeError."""


class RnnPreTrainedModel(PreTrainedModel):
    """Weights, loading and saving that all heads share."""

    config_class = RnnConfig
    config: RnnConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["RnnLayer"]
    _skip_keys_device_placement = ["past_key_values"]
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": RnnLayer}
    _is_stateful = False  # `crop` rolls the state back exactly, so assisted decoding is allowed
    _head_keys: tuple[str, ...] = ()  # parameters that may be new when an encoder of another task is loaded
    # Initial length of the vectors of tokens; None for entries within 0.1. Long vectors of seldom-seen words are noise
    # to a classifier: one epoch of quickstart/sentiment ends at test loss 0.474 so, at 0.495 with length 3 (two seeds).
    token_length: float | None = None

    def __init__(self, config: RnnConfig, *args, **kwargs):
        config.check()  # fields may have been set since the configuration was made; nothing is allocated yet
        super().__init__(config, *args, **kwargs)

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

    def _init_token_vectors(self, weight: Tensor) -> None:
        span = self.config.initializer_range
        if span is None and self.token_length is None:
            span = 0.1
        elif span is None:
            # The variance of U(-a, a) is a^2 / 3. Narrow vectors stay shorter, where entries would be beyond 1.
            span = min(1.0, self.token_length * math.sqrt(3 / weight.shape[1]))
        init.uniform_(weight, -span, span)

    @staticmethod
    def create_masks_for_generate(config, inputs_embeds, attention_mask, is_first_iteration=False, **kwargs):
        """The mask of the steps at hand: there is no attention to the past, whose padding the state has skipped."""
        if attention_mask is None or attention_mask.ndim != 2:
            return None
        if inputs_embeds.shape[1] == 1 and not is_first_iteration:  # a token that was just chosen is no padding
            return None
        return attention_mask[:, -inputs_embeds.shape[1] :].contiguous()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, **kwargs):
        """As in transformers, but strict.

        Only safetensors are read, shard paths stay inside the folder, every shape must be equal and no key may be
        missing, but those of a head that the checkpoint was not trained with: that head is new, and the same under one
        seed. With an explicit `state_dict=`, `ignore_mismatched_sizes=True` or `output_loading_info=True` (whose report
        lists what is missing) it loads what there is, as transformers does.

        Raises:
            OSError: no such folder or repository, or no safetensors in it.
            ValueError: missing keys, shapes that differ, paths outside the folder, `use_safetensors=False`.
        """
        return_info = kwargs.pop("output_loading_info", False)
        explicit = kwargs.get("state_dict") is not None
        ignore_sizes = kwargs.pop("ignore_mismatched_sizes", False)
        if not explicit and pretrained_model_name_or_path is not None:
            if kwargs.setdefault("use_safetensors", True) is not True:
                raise ValueError("use_safetensors must be True: pickled weights can run code and are not read")
            _check_shard_paths(Path(pretrained_model_name_or_path) / (kwargs.get("subfolder") or ""))
        try:
            # Sizes are checked below: transformers' own error leaves their names to a table in the log.
            model, info = super().from_pretrained(
                pretrained_model_name_or_path,
                *model_args,
                ignore_mismatched_sizes=ignore_sizes or not explicit,
                output_loading_info=True,
                **kwargs,
            )
        except NotImplementedError as error:  # transformers compares two tensors, one of which was never read
            raise ValueError(
                f"{cls.__name__} from {pretrained_model_name_or_path}: tie_word_embeddings must be as the weights "
                "were saved"
            ) from error
        except SafetensorError as error:
            raise ValueError(_damaged(Path(pretrained_model_name_or_path), error)) from error
        if not explicit and not ignore_sizes and not return_info:  # who asks for the report judges it
            model._check_loaded(info, pretrained_model_name_or_path)
            if kwargs.keys() & {"config", *_OF_CLUSTERS}:
                model._check_clusters(pretrained_model_name_or_path, kwargs)
        return (model, info) if return_info else model

    def _check_loaded(self, info: dict, source) -> None:
        missing, clusters = set(info["missing_keys"]), "lm_head.clusters.weight"
        was_full = clusters in missing and "lm_head.bias" in {name for name, *_ in info["mismatched_keys"]}
        if was_full or (clusters in info["unexpected_keys"] and "lm_head.bias" in self.state_dict()):
            raise SizeMismatchError(
                f"{type(self).__name__} from {source}: lm_head is {'full' if was_full else 'adaptive'!r} in the "
                f"checkpoint, not {self.config.lm_head!r}. Take the configuration that was saved with the weights; "
                "ignore_mismatched_sizes=True keeps the encoder and makes a new head"
            )
        sizes = [
            f"{name} is {tuple(there)}, not {tuple(here)}" for name, there, here in sorted(info["mismatched_keys"])
        ]
        if sizes:
            raise SizeMismatchError(
                f"{type(self).__name__} from {source}: sizes differ from the configuration's: {'; '.join(sizes)}. "
                "Take the configuration that was saved with the weights"
            )
        foreign = sorted(key for key in info["unexpected_keys"] if not key.startswith(_ALL_HEADS))
        if foreign:
            raise ValueError(
                f"{type(self).__name__} from {source}: the configuration has no place for {', '.join(foreign)}. "
                "Take the configuration that was saved with the weights"
            )
        saved_as = self.config.architectures or []
        head = {key for key in self.state_dict() if key.startswith(self._head_keys)} if self._head_keys else set()
        head -= set(self.all_tied_weights_keys)
        # A head is new as a whole, and only where the checkpoint was saved by another class.
        if head and head <= missing and type(self).__name__ not in saved_as:
            missing -= head
        if missing:
            raise ValueError(
                f"{type(self).__name__} from {source}: the checkpoint lacks {', '.join(sorted(missing))}. "
                "Take a complete checkpoint"
            )

    def _check_clusters(self, source, kwargs: dict) -> None:
        """A tied adaptive head is of one size whatever its clusters: what they were, the saved configuration says."""
        if not (isinstance(getattr(self, "lm_head", None), AdaptiveHead) and self.config.tie_word_embeddings):
            return
        try:
            saved = RnnConfig.from_pretrained(source, **{key: kwargs[key] for key in _OF_FILES & kwargs.keys()})
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

    def save_pretrained(self, save_directory, *args, include_code: bool = False, **kwargs):
        """As in transformers.

        Args:
            include_code: also write the modelling files, so that the folder opens with `trust_remote_code=True` where
                rnn-hf is not installed, through every Auto class of the family.
        """
        own_map = getattr(self.config, "auto_map", None)
        if include_code or self._auto_class is not None:
            self.config.auto_map = dict(AUTO_MAP)
        elif own_map is not None:
            del self.config.auto_map  # it would name files that this folder will not hold
        try:
            super().save_pretrained(save_directory, *args, **kwargs)
            if include_code and self._auto_class is None:
                custom_object_save(self, save_directory)
        finally:
            if own_map is not None:
                self.config.auto_map = own_map
            elif hasattr(self.config, "auto_map"):
                del self.config.auto_map

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

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, *args, **kwargs
    ) -> nn.Embedding:
        """As in transformers. Raises ValueError for an adaptive head, whose last cluster cannot grow, and where the ids
        of special tokens would lie outside the vocabulary."""
        require(integer(1, optional=True), pad_to_multiple_of=pad_to_multiple_of)
        now, multiple = self.get_input_embeddings().num_embeddings, pad_to_multiple_of or 1
        size = -(-(now if new_num_tokens is None else new_num_tokens) // multiple) * multiple
        if size != now and self.config.lm_head == "adaptive":
            raise ValueError("resize_token_embeddings needs lm_head='full': an adaptive head has one size")
        if size != now:
            resized = copy.deepcopy(self.config)
            resized.vocab_size = size
            resized.check()
        return super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, *args, **kwargs)

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
        ids = _token_ids(texts, tokenizer)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        pooled = [None] * len(ids)
        was_training = self.training
        self.eval()
        try:
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                batch = _pad([ids[i] for i in rows], self.device)
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
        mask = _step_mask(attention_mask, batch, time)
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
        _check_input(given, inputs_embeds is None)
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
            _check_ids(input_ids, self.embed_tokens.num_embeddings)
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


class RnnForCausalLM(RnnPreTrainedModel, GenerationMixin):
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
            shift_labels = _label_ids(shift_labels, self.config.vocab_size)
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

    @torch.no_grad()
    def generate(self, inputs: Tensor | None = None, *args, **kwargs):
        """As in transformers, for every way of decoding, with `past_key_values` as the state to go on from.

        A state goes on with the new turn's ids alone, or with the whole text, of which only what the state has not read
        is read then. An `attention_mask` over the text so far and the ids makes them a new turn. Without one they are
        the whole text if they begin with the ids that the state has read; where it does not know these (it has read
        embeddings, or by compiled steps), and for `inputs_embeds`, if they are more than it has read, as in
        transformers. A returned state has read all but the last token of the text. Where the state has one row a
        prompt, it is repeated for beams and `num_return_sequences`.

        A row of padding alone is written from the initial state (or the one passed), as if nothing had been read.

        Raises:
            ValueError: an empty prompt or batch, an id outside the vocabulary, no new token asked for
                (`max_new_tokens=0`), a state of another model or batch, scores that are NaN or inf, `use_cache=False`
                with an assistant, or `assistant_early_exit` (layers cannot be left out).
        """
        ids, embeds = kwargs.get("input_ids") if inputs is None else inputs, kwargs.get("inputs_embeds")
        if embeds is not None:
            _check_input(embeds, False)
            if kwargs.get("assistant_model") is not None or kwargs.get("prompt_lookup_num_tokens") is not None:
                raise ValueError("assisted decoding drafts by ids: give input_ids in place of inputs_embeds")
        elif isinstance(ids, Tensor):
            _check_input(ids, True)
            _check_ids(ids, self.config.vocab_size)  # on a GPU an embedding's own error cannot be recovered from
        given, mask = ids if embeds is None else embeds, kwargs.get("attention_mask")
        if isinstance(given, Tensor):
            _step_mask(mask, *given.shape[:2])  # raises where it does not fit
            if kwargs.get("past_key_values") is not None:
                kwargs |= self._new_turn(given, mask, kwargs["past_key_values"])
        return super().generate(inputs, *args, **kwargs)

    def _new_turn(self, given: Tensor, mask: Tensor | None, state: Cache) -> dict[str, Tensor]:
        """What transformers has to be told of a new turn's ids or embeddings, which it takes for the whole text where
        they are longer than the state's; nothing where they are the whole text."""
        self.model._check_layers(state)
        past, length = int(state.get_seq_length()), given.shape[1]
        is_embeds = given.ndim == 3
        covered = mask is not None and mask.shape[1] == past + length
        if is_embeds:
            new = covered or length <= past
        else:
            new = not covered and length > past and begins_with_what_was_read(given, state) is False
        if past == 0 or not new:
            return {}
        told = {}
        if not covered:
            mask = torch.ones(given.shape[:2], dtype=torch.long, device=given.device) if mask is None else mask
            told["attention_mask"] = F.pad(mask, (past, 0), value=1)
        if is_embeds:  # of which it always takes the end
            told["inputs_embeds"] = F.pad(given, (0, 0, past, 0))
        return told

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, mode, batch_size, *args) -> None:
        if generation_config.assistant_early_exit is not None:
            raise ValueError("assistant_early_exit must be None: an rnn model cannot leave its last layers out")
        if generation_config.prefill_chunk_size is not None:
            require(integer(1), prefill_chunk_size=generation_config.prefill_chunk_size)
        super()._prepare_cache_for_generation(generation_config, model_kwargs, mode, batch_size, *args)
        cache = model_kwargs.get("past_key_values")
        if cache is None:
            return
        copies = max(generation_config.num_beams or 1, generation_config.num_return_sequences or 1)
        if cache.batch_size == batch_size and copies > 1:
            cache.batch_repeat_interleave(copies)
        past = int(cache.get_seq_length())
        # transformers takes ids as long as their mask for the whole text, the part that was read included.
        mask = model_kwargs.get("attention_mask")
        length = generation_config._mask_length if mask is None else mask.shape[1]
        if 0 < length <= past and not generation_config.is_assistant:
            if mask is None:
                generation_config._mask_length = past + length
            else:
                model_kwargs["attention_mask"] = F.pad(mask, (past, 0), value=1)

    def _get_static_cache_init_shape(self) -> None:
        """No heads to allocate by: the first step makes the state."""

    def _assisted_decoding(self, input_ids, generation_config, inputs_tensor=None, **kwargs):
        cache, mask = kwargs.get("past_key_values"), kwargs.get("attention_mask")
        past = 0 if cache is None else int(cache.get_seq_length())
        if past and (generation_config._mask_length if mask is None else mask.shape[1]) == input_ids.shape[1]:
            raise ValueError(  # transformers would read the first part of the text a second time
                f"assisted decoding goes on from a state with the new ids alone; got {input_ids.shape[1]} ids after a "
                f"state of {past} tokens: leave out those that it has read (give a new turn that is longer with an "
                f"attention_mask of {past} + {input_ids.shape[1]})"
            )
        return super()._assisted_decoding(
            input_ids, generation_config=generation_config, inputs_tensor=inputs_tensor, **kwargs
        )

    def _get_logits_processor(self, *args, **kwargs):
        processors = super()._get_logits_processor(*args, **kwargs)
        if not any(isinstance(p, FiniteScores) for p in processors):
            processors.append(FiniteScores())
        return processors

    def _get_stopping_criteria(self, generation_config, stopping_criteria, tokenizer=None, **kwargs):
        stop_strings = generation_config.stop_strings
        if stop_strings is not None:
            given = [stop_strings] if isinstance(stop_strings, str) else list(stop_strings)
            if not given or not all(isinstance(stop, str) and stop for stop in given):
                raise ValueError(f"stop_strings must be texts that are not empty, or None; got {stop_strings!r}")
        if stop_strings is None or tokenizer is None or not StopTexts.is_needed(tokenizer):
            return super()._get_stopping_criteria(generation_config, stopping_criteria, tokenizer=tokenizer, **kwargs)
        generation_config = copy.copy(generation_config)
        generation_config.stop_strings = None
        criteria = super()._get_stopping_criteria(generation_config, stopping_criteria, tokenizer=tokenizer, **kwargs)
        criteria.append(StopTexts(given, tokenizer))
        return criteria

    @torch.no_grad()
    def score(
        self, texts: str | Sequence[str], tokenizer: PreTrainedTokenizerBase, batch_size: int = 32
    ) -> list[TextScore]:
        """Log-probability of each token of each text, its end included.

        Args:
            texts: one text or several.
            tokenizer: the model's tokenizer, with a beginning-of-text and an end-of-text token.
            batch_size: texts run at once.

        Raises:
            ValueError: no text, a text without a token, `batch_size` below 1, or a tokenizer without those two tokens.
        """
        require(integer(1), batch_size=batch_size)
        texts = [texts] if isinstance(texts, str) else list(texts)
        if tokenizer.bos_token_id is None or tokenizer.eos_token_id is None:
            raise ValueError("score needs a tokenizer with bos_token (read before the text) and eos_token (its end)")
        ids = [[*row, tokenizer.eos_token_id] for row in _token_ids(texts, tokenizer)]
        scores = []
        was_training = self.training
        self.eval()
        try:
            for start in range(0, len(ids), batch_size):
                rows = ids[start : start + batch_size]
                batch = _pad([[tokenizer.bos_token_id, *row[:-1]] for row in rows], self.device)
                logits = self(**batch, use_cache=False).logits.float()
                for text, row, row_logits in zip(texts[start:], rows, logits, strict=False):
                    log_probs = row_logits[: len(row)].log_softmax(-1)
                    picked = log_probs.gather(-1, torch.tensor(row, device=logits.device)[:, None])[:, 0]
                    scores.append(TextScore(text, tokenizer.convert_ids_to_tokens(row), picked.cpu()))
        finally:
            self.train(was_training)
        return scores


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
        attention_mask = _mask_or_padding(self.config, input_ids, attention_mask)
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=bool(use_cache),  # a pooled vector has no continuation: only on request
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        mask = _step_mask(attention_mask, *hidden.shape[:2])
        if mask is None:
            mask = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        logits = self.score(self.dropout(self.pooler(hidden, mask)))
        loss = None
        if labels is not None:
            labels = _checked_labels(labels, logits, self.config)
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
        attention_mask = _mask_or_padding(self.config, input_ids, attention_mask)
        kwargs["use_cache"] = False
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds, **kwargs)
        logits = self.score(self.dropout(outputs.last_hidden_state))
        loss = None
        if labels is not None:
            if labels.shape != logits.shape[:2]:
                raise ValueError(f"labels must be of shape {tuple(logits.shape[:2])}; got {tuple(labels.shape)}")
            labels = _label_ids(labels, self.num_labels)
            count = kwargs.get("num_items_in_batch")  # Trainer's, over all the batches that it accumulates
            loss = cross_entropy(logits, labels, count)  # transformers' own rounds float64 to float32
        return TokenClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


def _step_mask(attention_mask: Tensor | None, batch: int, time: int) -> Tensor | None:
    """(batch, time) bool: the part of the mask that belongs to the steps at hand."""
    if attention_mask is None:
        return None
    if not is_tracing(attention_mask):
        shape = tuple(attention_mask.shape)
        if attention_mask.ndim != 2 or shape[0] != batch or shape[1] < time:
            raise ValueError(f"attention_mask must be of shape ({batch}, {time}) or longer in time; got {shape}")
    return attention_mask[:, -time:].bool()


def _check_input(given: Tensor, is_ids: bool) -> None:
    if given.ndim != (2 if is_ids else 3):
        axes = "batch, time" if is_ids else "batch, time, features"
        raise ValueError(f"the input must be of shape ({axes}); got {tuple(given.shape)}")
    if is_ids and given.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"token ids must be int64 or int32; got {given.dtype}")
    if not is_tracing(given) and 0 in given.shape:
        raise ValueError(
            f"an input of shape {tuple(given.shape)} holds no token: give at least one text and one token "
            "(to generate from nothing, start with bos_token_id)"
        )


def _check_ids(ids: Tensor, vocab_size: int) -> None:
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocab_size:
        raise ValueError(f"token ids must be from 0 to {vocab_size - 1}; got {low if low < 0 else high}")


def _mask_or_padding(config: RnnConfig, input_ids: Tensor | None, attention_mask: Tensor | None) -> Tensor | None:
    if attention_mask is None and input_ids is not None and config.pad_token_id is not None:
        return input_ids.ne(config.pad_token_id)
    return attention_mask


def _checked_labels(labels: Tensor, logits: Tensor, config: RnnConfig) -> Tensor:
    """The labels in the shape and type that the loss of the problem takes. Raises ValueError for any other shape."""
    batch, num_labels = logits.shape
    shape = tuple(labels.shape)
    problem, origin = config.problem_type, "config.problem_type"
    if problem is None:
        origin = "by their shape and type, as config.problem_type is None"
        single = not labels.is_floating_point() and shape != (batch, num_labels)
        problem = "single_label_classification" if single else "multi_label_classification"
        problem = "regression" if num_labels == 1 else problem
    expected = (batch,) if problem == "single_label_classification" or num_labels == 1 else (batch, num_labels)
    if shape != expected and not (shape == (batch, 1) and expected == (batch,)):
        raise ValueError(f"labels must be of shape {expected} for {problem} ({origin}); got {shape}")
    if problem == "single_label_classification":
        labels = _label_ids(labels, num_labels).view(batch)
    else:
        labels = labels.to(logits.dtype).view(batch, num_labels)
    if problem == "multi_label_classification" and labels.device.type == "cpu" and not is_tracing(labels):
        wrong = labels[(labels < 0) | (labels > 1)]
        if len(wrong):
            raise ValueError(f"labels must be from 0 to 1 for {problem} ({origin}); got {float(wrong[0])}")
    config.problem_type = problem  # as transformers, which saves it
    return labels


def _label_ids(labels: Tensor, count: int) -> Tensor:
    """The labels as int64, each from 0 to count - 1, or -100; looked at on the CPU, where that costs nothing."""
    if labels.is_floating_point():
        raise ValueError(f"labels must be whole numbers; got {labels.dtype}")
    if labels.device.type == "cpu" and not is_tracing(labels):
        wrong = labels[(labels != -100) & ((labels < 0) | (labels >= count))]
        if len(wrong):
            raise ValueError(
                f"labels must be from 0 to {count - 1}, or -100 for what is not scored; got {int(wrong[0])}"
            )
    return labels.long()


def _token_ids(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    if not texts:
        raise ValueError("no text was given: give at least one")
    ids = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    for text, row in zip(texts, ids, strict=True):
        if not row:
            raise ValueError(f"text {text!r} holds no token: give a text that is not empty")
        if tokenizer.unk_token_id is not None and set(row) == {tokenizer.unk_token_id}:
            raise ValueError(f"text {text!r:.80} has only words that the tokenizer does not know")
    return ids


def _pad(rows: Iterable[list[int]], device) -> dict[str, Tensor]:
    rows = [torch.tensor(row, device=device) for row in rows]
    mask = [torch.ones_like(row) for row in rows]
    pad: Callable = nn.utils.rnn.pad_sequence
    return {"input_ids": pad(rows, batch_first=True), "attention_mask": pad(mask, batch_first=True)}


def _damaged(source: Path, error: SafetensorError) -> str:
    """Names the file at fault, where the weights are local."""
    for file in sorted(source.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError:
            return f"{file} is damaged or incomplete ({error}): fetch or save it again"
    return f"the weights of {source} are damaged or incomplete ({error}): fetch or save them again"


def _check_shard_paths(folder: Path) -> None:
    """A local index may only name files that stand in its own folder."""
    for index in folder.glob("*.safetensors.index*.json"):  # `variant=` reads model.safetensors.index.VARIANT.json
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{index} is no index of weights (a JSON object with weight_map): save it again"
            ) from error
        for shard in shards:
            if Path(shard).name != shard:
                raise ValueError(f"{index} names a shard outside its folder: {shard!r}")


__all__ = [
    "RnnForCausalLM",
    "RnnForSequenceClassification",
    "RnnForTokenClassification",
    "RnnModel",
    "RnnPreTrainedModel",
    "TextScore",
]
