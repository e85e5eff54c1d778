"""Train a language model by truncated backpropagation through time (Williams & Peng 1990).

The module owns the recurrent state: carried from batch to batch along contiguous lanes, detached at each step, dropped
where the stream starts anew (each epoch, each evaluation). Validation has a state of its own.
"""

from typing import Any

from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from ..generation.state import move_state
from ..models.cache import detach_, new_cache
from ..models.config_checks import integer, require
from ..processes import this_process
from .metrics import IGNORED, LanguageModelingEvaluation
from .module import TextModule
from .ranks import gathered
from .regularisation import Kept, leads_of_head


class LanguageModelingModule(TextModule):
    """A causal language model on batches `input_ids`, `shift_labels` `[lanes, time]` that continue the same lanes.

    Losses are mean nats per scored token (`shift_labels` other than -100); perplexity is exp(all nats / all tokens).
    Of several processes each trains on lanes of its own, and each evaluates everything: one stream has no parts.

    Args:
        tokenizer: Decides the vocabulary size and the special tokens.
        config: Fields of the model's configuration; with `pretrained`, changes to it.
        pretrained: Folder or Hub id of a language model to go on from.
        full_rate_length: For batches of random length (AWD-LSTM, Merity et al. 2018): a step's learning rate is
            multiplied by its batch's time steps over this many. None: it is not.
        direction: In which the batches' texts run, which becomes the configuration's.
        optimization: See `TextModule`.
    """

    auto_class = AutoModelForCausalLM
    monitor = ("validation/perplexity", "min")
    Evaluation = LanguageModelingEvaluation
    shares_evaluation = False

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        config: dict[str, Any] | None = None,
        pretrained: str | None = None,
        full_rate_length: int | None = None,
        direction: str = "forward",
        **optimization,
    ):
        super().__init__(**optimization)
        require(integer(1, optional=True), **{"model.full_rate_length": full_rate_length})
        self.full_rate_length = full_rate_length
        self.lengths = []  # time steps of each batch since the last optimiser step
        decided = {"direction": direction} if direction != "forward" else {}  # few families can do otherwise
        self.model = self.build_model(tokenizer, config, pretrained, **decided)
        if (reads := getattr(self.model.config, "direction", "forward")) != direction:
            raise ValueError(f"the model reads {reads}, the data run {direction}: give data.direction {reads}")
        if self.label_smoothing:
            if getattr(self.model.config, "lm_head", "full") != "full":
                raise ValueError(
                    "model.label_smoothing needs model.config.lm_head full: an adaptive one never computes all words"
                )
            self.head_input = Kept(self.model.projection or self.model.output_dropout)
        if tokenizer.unk_token_id is not None:  # "unknown word" is no word to write
            self.model.generation_config.suppress_tokens = [tokenizer.unk_token_id]
        self.train_state = None  # past_key_values between training steps

    def drop_state(self):
        self.train_state = None

    def on_train_epoch_start(self):
        super().on_train_epoch_start()
        self.drop_state()

    def on_save_checkpoint(self, checkpoint):
        state = self.train_state
        layers = None if state is None else [[s.cpu() for s in layer.states] for layer in state.layers]
        checkpoint["train_state"] = gathered(layers)
        super().on_save_checkpoint(checkpoint)

    def on_load_checkpoint(self, checkpoint):
        layers = checkpoint["train_state"][this_process()[0]]
        self.train_state = None if layers is None else new_cache(self.model.config, layers)
        super().on_load_checkpoint(checkpoint)

    def on_train_start(self):
        super().on_train_start()
        if self.train_state is not None:  # of a checkpoint, read before the model was put on its device
            self.train_state = move_state(self.train_state, self.device)

    def training_step(self, batch, batch_idx):
        if self.train_state is None:
            self.train_state = new_cache(self.model.config)
        output = self.model(**self.read(batch), past_key_values=self.train_state)  # which the model updates in place
        detach_(self.train_state)
        self.lengths.append(batch["input_ids"].shape[1])
        if self.logs_now:
            loss = self.whole_batch_mean(output.loss.detach(), self.scored(batch))
            self.log("train/loss", loss, prog_bar=True)
            self.log("train/perplexity", loss.exp(), prog_bar=True)
        return self.training_loss(output.loss, output, batch)

    def smoothing(self, plain, output, batch):
        targets = batch["shift_labels"]
        scored = targets != IGNORED
        _, hidden = self.head_input.take()
        return leads_of_head(hidden[scored], self.model.lm_head, targets[scored]).mean()

    def evaluation_report(self):
        return self.evaluation.report()

    def real_steps(self, batch):
        return batch["shift_labels"] != IGNORED  # what fills up a lane or a text, nothing scores

    def on_before_optimizer_step(self, optimizer):
        super().on_before_optimizer_step(optimizer)
        if self.full_rate_length is not None:
            for group in optimizer.param_groups:
                group["lr"] *= sum(self.lengths) / len(self.lengths) / self.full_rate_length
        self.lengths = []

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        """Lightning's; the rate that the schedule gave is back afterwards."""
        rates = [group["lr"] for group in optimizer.param_groups]
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
