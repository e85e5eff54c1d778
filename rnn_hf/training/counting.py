"""Count an n-gram language model, and say what its smoothing is worth."""

import math
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from ..models.cache import new_cache
from ..models.configuration_ngram import SMOOTHINGS
from .metrics import IGNORED, LanguageModelingEvaluation
from .one_pass import OnePassModule


class CountingModule(OnePassModule):
    """A language model that is counted, from batches `input_ids`, `shift_labels` `[lanes, time]` that continue lanes.

    Beside the figures of `LanguageModelingModule`, the report of a split says what each way to smooth the same counts
    makes of it (`compare_smoothings`).

    Args:
        tokenizer: Decides the vocabulary size and the special tokens.
        config: Fields of the model's configuration.
    """

    auto_class = AutoModelForCausalLM
    monitor = ("validation/perplexity", "min")
    Evaluation = LanguageModelingEvaluation
    shares_evaluation = False

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: dict[str, Any] | None = None):
        super().__init__()
        self.model = self.build_model(tokenizer, config, None)
        if tokenizer.unk_token_id is not None:  # "unknown word" is no word to write
            self.model.generation_config.suppress_tokens = [tokenizer.unk_token_id]

    def fit_batches(self, batches):
        # lanes follow each other in the text: the last target of one is the first input of the next
        targets = torch.cat([batch["shift_labels"] for batch in batches], 1).flatten()
        self.model.fit(torch.cat([batches[0]["input_ids"][0, :1], targets[targets != IGNORED]]))

    def _start_evaluation(self):
        super()._start_evaluation()
        self.evaluated = []

    def _evaluation_step(self, batch, batch_idx):
        super()._evaluation_step(batch, batch_idx)
        self.evaluated.append(batch)

    def evaluation_report(self):
        return {"smoothing": compare_smoothings(self.model, self.evaluated), **self.evaluation.report()}

    def report_lines(self):
        split = list(self.reports)[-1]  # test, where there is one
        yield f"{split} perplexity and share of tokens with probability 0, of the same counts under each smoothing:"
        for name, found in self.reports[split]["smoothing"].items():
            perplexity = "infinite" if found["perplexity"] is None else f"{found['perplexity']:.6g}"
            yield f"  {name:<20} {perplexity:>10} {found['zero_probability_share']:>7.1%}"

    on_validation_epoch_start = on_test_epoch_start = _start_evaluation
    validation_step = test_step = _evaluation_step


@torch.no_grad()
def compare_smoothings(model, batches: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """What maximum likelihood, add-k and both kinds of Kneser-Ney make of the model's counts on a text.

    Returns:
        smoothing -> `perplexity`, None where it is infinite, and `zero_probability_share`, of all tokens. A pruned
        model has no counts for the first two.
    """
    given, table = model.config.smoothing, {}
    pruned = model.config.prune_counts is not None
    names = [name for name in SMOOTHINGS if name != "arpa" and not (pruned and "kneser_ney" not in name)]
    try:
        for name in names:
            model.config.smoothing, state, found = name, None, []
            for batch in batches:
                if state is None or batch.get("reset_state"):
                    state = new_cache(model.config)
                targets = batch["shift_labels"]
                log_probs = model.token_log_probs(batch["input_ids"], targets.clamp(min=0), past_key_values=state)
                found.append(log_probs[targets != IGNORED].double())
            log_probs = torch.cat(found)
            nats = -log_probs.mean().item()
            table[name] = {
                "perplexity": math.exp(nats) if nats < 700 else None,
                "zero_probability_share": log_probs.isinf().double().mean().item(),
            }
    finally:
        model.config.smoothing = given
    return table
