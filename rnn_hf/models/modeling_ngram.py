"""Language models that count n-grams: Kneser-Ney smoothing, add-k, maximum likelihood, or an ARPA file's numbers.

The road of a batch: ids -> windows of the last `order - 1` tokens (`window`) -> the numbers of their contexts in sorted
tables (`ngram_tables`) -> log p of the targets alone, or of every token. Nothing is trained: `fit` counts a text.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LogitsProcessor, PreTrainedTokenizerBase
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep

from .arpa import read_arpa, write_arpa
from .cache import check_cache, new_cache
from .causal_lm import TextGenerationMixin
from .configuration_ngram import NgramConfig
from .input_checks import check_ids, check_input, label_ids, refuse_export, step_mask
from .ngram_tables import (
    FALLBACK,
    LogTables,
    NgramTable,
    all_log_probs,
    count_ngrams,
    find_contexts,
    log_tables,
    token_log_probs,
)
from .text_model import TextPreTrainedModel
from .window import read_windows


class EndOfWhatWasCounted(LogitsProcessor):
    """Ends a text of `generate()` where no token has a probability: maximum likelihood has no counts to go on by.

    Such are rows that a search has given up already (beams, drafts, texts that ended before others of the batch), and
    texts that ran into the end of what was counted.

    Raises:
        ValueError: nothing is possible after a prompt itself, or there is no end of text.
    """

    def __init__(self, prompt_length: int | None, ends: list[int]):
        self.prompt_length, self.ends = prompt_length, ends

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        dead = ~scores.amax(-1).isfinite()
        if not dead.any():
            return scores
        row = int(dead.nonzero()[0])
        if input_ids.shape[1] == self.prompt_length or not self.ends:
            cure = "" if self.ends else ", or an eos_token_id that ends the text there"
            raise ValueError(
                f"no token may follow {input_ids[row, -5:].tolist()} (row {row}): smoothing 'maximum_likelihood' gives "
                f"what was not counted probability 0. Load the model with another smoothing{cure}"
            )
        scores = scores.masked_fill(dead[:, None], -torch.inf)
        scores[dead, self.ends[0]] = 0
        return scores


class NgramForCausalLM(TextPreTrainedModel, TextGenerationMixin):
    """A language model of counts: the next token's distribution after the last `order - 1` tokens.

    Its one parameter holds the discounts of Kneser-Ney smoothing, (order, 4): for counts of 1, 2 and 3 or more, and
    that of the plain form. Counts stand in int64 buffers whose sizes the configuration holds. A new model finds all
    tokens alike; [`~NgramForCausalLM.fit`] counts a text.
    """

    config_class = NgramConfig
    config: NgramConfig
    AUTO_MAP = {
        "AutoConfig": "configuration_ngram.NgramConfig",
        "AutoModelForCausalLM": "modeling_ngram.NgramForCausalLM",
    }
    _no_split_modules = []
    _keep_in_fp32_modules_strict = ["discounts"]

    def __init__(self, config: NgramConfig):
        super().__init__(config)
        self.tables = nn.ModuleList(NgramTable(*sizes) for sizes in config.table_sizes)
        self.discounts = nn.Parameter(torch.tensor(FALLBACK).repeat(config.order, 1), requires_grad=False)
        self._logs: tuple[tuple, LogTables] | None = None  # made of the tables when they are first needed
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, NgramTable):
            for buffer in module.buffers():
                if not getattr(buffer, "_is_hf_initialized", False):
                    buffer.zero_()
        if module is self and not getattr(self.discounts, "_is_hf_initialized", False):
            self.discounts.copy_(torch.tensor(FALLBACK).expand_as(self.discounts))

    @torch.no_grad()
    def fit(self, ids: Tensor) -> "NgramForCausalLM":
        """Counts a text, in the place of what was counted before.

        Args:
            ids: (1 + tokens,), int64 or int32. The first one is read and not predicted: usually an end of text, which
                begins the first one.

        Raises:
            ValueError: no token to predict, an id outside the vocabulary, or a model that was read from an ARPA file.
        """
        if self.config.smoothing == "arpa":
            raise ValueError("a model from an ARPA file has no counts: make a new one with another smoothing")
        if ids.ndim != 1 or len(ids) < 2:
            raise ValueError(f"ids must be of shape (1 + tokens,) with a token at least; got {tuple(ids.shape)}")
        check_ids(ids, self.config.vocab_size)
        config = self.config
        tables, discounts = count_ngrams(
            ids.long().to(self.device), config.order, config.vocab_size, config.ends_of_text, config.prune_counts
        )
        self._take(tables)
        self.discounts.copy_(discounts)
        return self

    def _take(self, tables: list[NgramTable]) -> None:
        self.tables, self._logs = nn.ModuleList(tables), None
        self.config.num_ngrams = [len(table.ngrams) for table in tables]
        self.config.num_contexts = [len(table.contexts) for table in tables]
        self.config.check()

    def num_parameters(self, *args, **kwargs) -> int:
        """Numbers that were counted, one an n-gram, and the discounts."""
        return sum(len(table.counts) for table in self.tables) + self.discounts.numel()

    @property
    def logs(self) -> LogTables:
        """log p of every n-gram that was counted. Raises ValueError for counts under smoothing `arpa`, and the other
        way round."""
        config, taken = self.config, self.discounts.detach()  # loading makes parameters want a gradient
        versions = [(tensor.data_ptr(), tensor._version) for tensor in (self.tables[-1].counts, taken)]
        made_of = (config.smoothing, config.k, taken.device, *versions)
        if self._logs is None or self._logs[0] != made_of:
            tables = list(self.tables)
            numbers = tables[0].counts  # above 0 if they are counts, up to 0 if they are log10 p
            if len(numbers) and (config.smoothing == "arpa") == bool(numbers[0] > 0):
                hold = "counts, of any smoothing but" if numbers[0] > 0 else "an ARPA file's numbers, of smoothing"
                raise ValueError(f"smoothing is {config.smoothing!r}, and the tables hold {hold} 'arpa'")
            self._logs = made_of, log_tables(tables, taken, config.smoothing, config.k, config.vocab_size)
        return self._logs[1]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        skip_logits: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        r"""
        Args:
            input_ids (`torch.LongTensor` of shape `(batch, time)`): Token ids.
            attention_mask (`torch.Tensor` of shape `(batch, time)` or `(batch, past + time)`, *optional*):
                1 at real tokens, 0 at padding, which may stand anywhere.
            past_key_values (`Cache`, *optional*): The tokens before the first one; updated in place and returned.
            labels (`torch.LongTensor` of shape `(batch, time)`, *optional*):
                Usually the ids themselves: step t is scored on `labels[:, t + 1]`, the last step on nothing. -100 is
                not scored.
            shift_labels (`torch.LongTensor` of shape `(batch, time)`, *optional*):
                The target of each step, in place of `labels`.
            use_cache (`bool`, *optional*): Return the state.
            logits_to_keep (`int` or `torch.Tensor`): Steps whose logits are wanted; 0 for all.
            skip_logits (`bool`, *optional*): Do not return logits: the loss needs none. Default: where targets are
                given in training.
            num_items_in_batch (`int`, *optional*): Divides the loss in place of the number of scored tokens.

        Returns:
            `loss` (mean nats per scored token), `logits` (`torch.Tensor` of shape `(batch, time, vocab_size)`, the
            log-probabilities), `past_key_values`.

        Raises:
            ValueError: no ids, an empty batch or text, an id outside the vocabulary, a mask, labels or a state of
                another shape.
        """
        refuse_export(self)
        shift_labels, return_dict = kwargs.pop("shift_labels", None), kwargs.pop("return_dict", True)
        if kwargs.get("inputs_embeds") is not None or input_ids is None:
            raise ValueError("give input_ids: n-grams are counted of ids, and there are no embeddings")
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if past_key_values is None and use_cache:
            past_key_values = new_cache(self.config)
        contexts = self._contexts(input_ids, attention_mask, past_key_values)  # [batch, time, order]
        if labels is not None and shift_labels is None:
            shift_labels = F.pad(labels, (0, 1), value=-100)[:, 1:]
        loss = None
        if shift_labels is not None:
            if shift_labels.shape != input_ids.shape:
                raise ValueError(f"labels must be of shape {tuple(input_ids.shape)}; got {tuple(shift_labels.shape)}")
            targets = label_ids(shift_labels, self.config.vocab_size)
            scored = targets != -100
            nats = -token_log_probs(list(self.tables), self.logs, contexts[scored], targets[scored])
            loss = (nats.mean() if num_items_in_batch is None else nats.sum() / num_items_in_batch).float()
        logits = None
        if not (self.training and loss is not None if skip_logits is None else skip_logits):
            wanted = slice_logits_to_keep(contexts, logits_to_keep)
            rows = all_log_probs(list(self.tables), self.logs, wanted.flatten(0, 1))
            logits = rows.view(*wanted.shape[:2], -1)
        layers = () if kwargs.get("output_hidden_states") else None  # generate() goes over what it asks for
        output = CausalLMOutputWithPast(loss, logits, past_key_values, hidden_states=layers)
        return output if return_dict else output.to_tuple()

    def _contexts(self, input_ids: Tensor, attention_mask: Tensor | None, cache: Cache | None) -> Tensor:
        """Numbers of each step's contexts, (batch, time, order)."""
        check_input(input_ids, True)
        check_ids(input_ids, self.config.vocab_size)
        if cache is not None:
            check_cache(cache, self.config)
        mask, width = step_mask(attention_mask, *input_ids.shape), self.config.order - 1
        windows = read_windows(input_ids.long(), mask, width, -1, cache, 0, self.config)
        if cache is not None and not self.training:
            cache.layers[0].note_ids(input_ids, input_ids.shape[1])
        ends = self.config.ends_of_text
        found = find_contexts(list(self.tables), windows.flatten(0, 1), self.config.vocab_size, ends)
        return found.view(*input_ids.shape, -1)

    def token_log_probs(
        self,
        input_ids: Tensor,
        targets: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
    ) -> Tensor:
        """log p of the target of each step, (batch, time), in nats; of no other token."""
        contexts = self._contexts(input_ids, attention_mask, past_key_values).flatten(0, 1)
        return token_log_probs(list(self.tables), self.logs, contexts, targets.flatten()).view(targets.shape).float()

    def _get_logits_processor(self, generation_config, input_ids_seq_length=None, *args, **kwargs):
        processors = super()._get_logits_processor(generation_config, input_ids_seq_length, *args, **kwargs)
        if self.config.smoothing == "maximum_likelihood":
            ends = generation_config._eos_token_tensor
            end = EndOfWhatWasCounted(
                None if generation_config.is_assistant else input_ids_seq_length,  # any draft is as good as none
                [] if ends is None else ends.tolist(),
            )
            processors.insert(0, end)  # before what cannot compute with NaN, as beams give it
            processors.insert(-1, end)  # after what forbids tokens, before the last check
        return processors

    @classmethod
    def from_arpa(cls, file: str | Path, tokenizer: PreTrainedTokenizerBase) -> "NgramForCausalLM":
        """The model in an ARPA file, as kenlm, SRILM and [`~NgramForCausalLM.save_arpa`] write it.

        Args:
            file: the file, gzipped if its name ends in .gz.
            tokenizer: gives each word its id; its `<unk>` and the file's are one, `<s>` and `</s>` are its end of text.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no ARPA file, is cut off, or has words that the tokenizer does not know.
        """
        tables = read_arpa(Path(file), tokenizer)
        special = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
        config = NgramConfig(vocab_size=len(tokenizer), order=len(tables), smoothing="arpa", **special)
        model = cls(config)
        model._take(tables)
        return model.eval()

    def save_arpa(self, file: str | Path, tokenizer: PreTrainedTokenizerBase) -> None:
        """Writes an ARPA file that kenlm, SRILM and [`~NgramForCausalLM.from_arpa`] read.

        Raises:
            ValueError: a smoothing that the format has no room for (`add_k`, `maximum_likelihood`), or
                `reset_at_eos=False`.
        """
        if not self.logs.backs_off:
            raise ValueError(f"an ARPA file holds back-off models, and smoothing is {self.config.smoothing!r}")
        if not self.config.ends_of_text:
            raise ValueError("an ARPA file holds models of sentences: reset_at_eos must be true, with an eos_token_id")
        write_arpa(Path(file), list(self.tables), self.logs, tokenizer, self.config.ends_of_text)


__all__ = ["NgramForCausalLM"]
