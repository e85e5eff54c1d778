"""What every causal language model shares: `generate()` with its checks and its state, and the score of a text."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import GenerationMixin, LogitsProcessor, PreTrainedTokenizerBase, StoppingCriteria
from transformers.cache_utils import Cache

from .cache import begins_with_what_was_read, check_cache
from .config_checks import integer, require
from .input_checks import check_ids, check_input, pad_rows, step_mask, token_rows


@dataclass
class TextScore:
    """Log-probabilities of one text under a language model, in nats.

    `log_probs[i]` is log p(tokens[i] | tokens[:i]); by the chain rule their sum is the text's log-probability. The
    last token is the end of the text, the first one is conditioned on the beginning-of-text token. Of a model that
    reads backward the tokens are in the order of its reading: the text's last token first, and the end of the text
    behind its first one.
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


class TextGenerationMixin(GenerationMixin):
    """Every way of decoding from and to a state (`past_key_values`), and scores of texts.

    What belongs to the state stands in `cache.py`; a model's forward takes it in and gives it back.
    """

    @staticmethod
    def create_masks_for_generate(config, inputs_embeds, attention_mask, is_first_iteration=False, **kwargs):
        """The mask of the steps at hand: there is no attention to the past, whose padding the state has skipped."""
        if attention_mask is None or attention_mask.ndim != 2:
            return None
        if inputs_embeds.shape[1] == 1 and not is_first_iteration:  # a token that was just chosen is no padding
            return None
        return attention_mask[:, -inputs_embeds.shape[1] :].contiguous()

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
            check_input(embeds, False)
            if kwargs.get("assistant_model") is not None or kwargs.get("prompt_lookup_num_tokens") is not None:
                raise ValueError("assisted decoding drafts by ids: give input_ids in place of inputs_embeds")
        elif isinstance(ids, Tensor):
            check_input(ids, True)
            check_ids(ids, self.config.vocab_size)  # on a GPU an embedding's own error cannot be recovered from
        given, mask = ids if embeds is None else embeds, kwargs.get("attention_mask")
        if isinstance(given, Tensor):
            step_mask(mask, *given.shape[:2])  # raises where it does not fit
            if kwargs.get("past_key_values") is not None:
                kwargs |= self._new_turn(given, mask, kwargs["past_key_values"])
        return super().generate(inputs, *args, **kwargs)

    def _new_turn(self, given: Tensor, mask: Tensor | None, state: Cache) -> dict[str, Tensor]:
        """What transformers has to be told of a new turn's ids or embeddings, which it takes for the whole text where
        they are longer than the state's; nothing where they are the whole text."""
        check_cache(state, self.config)
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
            raise ValueError("assistant_early_exit must be None: layers cannot be left out")
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
        backward = getattr(self.config, "direction", "forward") == "backward"  # few families can
        ids = [[*row, tokenizer.eos_token_id] for row in token_rows(texts, tokenizer, last_first=backward)]
        scores = []
        was_training = self.training
        self.eval()
        try:
            for start in range(0, len(ids), batch_size):
                rows = ids[start : start + batch_size]
                batch = pad_rows([[tokenizer.bos_token_id, *row[:-1]] for row in rows], self.device)
                targets = pad_rows(rows, self.device)["input_ids"]
                scored = self.token_log_probs(targets=targets, **batch)
                for text, row, log_probs in zip(texts[start:], rows, scored, strict=False):
                    tokens = tokenizer.convert_ids_to_tokens(row)
                    scores.append(TextScore(text, tokens, log_probs[: len(row)].cpu()))
        finally:
            self.train(was_training)
        return scores

    def token_log_probs(
        self,
        input_ids: Tensor,
        targets: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
    ) -> Tensor:
        """log p of the target of each step, (batch, time), in nats."""
        logits = self(input_ids, attention_mask=attention_mask, past_key_values=past_key_values, use_cache=False).logits
        return logits.float().log_softmax(-1).gather(-1, targets[..., None])[..., 0]
