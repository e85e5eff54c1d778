"""`TextModule`: what every task's LightningModule shares: optimiser, schedule, regularisers, averaged weights, and the
exact metrics of an evaluation."""

import math
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..embeddings import find_word_vectors, match_word_vectors
from ..models.config_checks import boolean, described, integer, number, one_of
from ..processes import this_process
from .averaging import NonMonotoneAveraging
from .guard import StepGuard
from .layer_groups import grouped_for_optimizer, layer_groups
from .metrics import IGNORED, of_all_processes
from .pretrained import build_model, matched_vocabulary
from .regularisation import LastOutput, activation_penalty, drop_words, temporal_activation_penalty, wide

LEAST_SCORED = 1e-6  # to divide by, where a batch scores nothing


@described(type="array", items={"type": "number", "minimum": 0, "exclusiveMaximum": 1}, minItems=2, maxItems=2)
def _betas(value: Any) -> str | None:
    is_pair = isinstance(value, list | tuple) and len(value) == 2
    if is_pair and not any(map(number(0, 1, open_above=True), value)):
        return None
    return f"two numbers from 0 to below 1; got {value!r}"


class TextModule(L.LightningModule):
    """A LightningModule that trains `self.model`, with a learning-rate schedule over the whole run.

    A task gives `monitor`, `Evaluation` and `training_step`. Accumulated batches count by what they score (tokens or
    rows), so k batches in one step have the gradient of the one batch that they would be together. So do the parts of
    a batch that several processes share (DDP), to whatever number of tokens or rows each has.

    Args:
        optimizer: `adamw`, or `sgd` (plain, without momentum) as in the recipes of Zaremba et al. 2014.
        learning_rate: The highest of the run.
        weight_decay: Decoupled for AdamW (Loshchilov & Hutter 2019); on matrices alone: biases and normalisation are
            exempt.
        schedule: `one_cycle` warms up and then falls to zero along a cosine (Smith 2018); `slanted_triangular` rises
            from a 32nd of the highest rate and falls back to it, both linearly (Howard & Ruder 2018); `constant` stays;
            `step_decay` stays for `decay_after_epoch` epochs and is then multiplied by `decay_factor` each epoch.
        warmup_share: Share of all steps in which the rate rises, linearly; 0 makes `one_cycle` a cosine alone
            (Loshchilov & Hutter 2017). Not for `step_decay`.
        betas: AdamW's, of the moving averages of the gradient (the momentum) and of its square (Kingma & Ba 2015).
        base_momentum: The first beta falls to this while the rate rises, and comes back as it falls, as in torch's
            `OneCycleLR` (Smith 2018; fastai's 0.8-0.7-0.8 is `betas` [0.8, 0.99] and 0.7). None: it stays.
        decay_factor: See `schedule`.
        decay_after_epoch: See `schedule`.
        layer_rate_divisor: Each layer's learning rate is the one of the layer above over this, from the head's, which
            is `learning_rate`, down to the embedding's (ULMFiT, Howard & Ruder 2018: 2.6). 1: all alike.
        gradual_unfreezing: Trains the head alone in the first epoch, and one layer more in each epoch after it, down to
            the embedding (ULMFiT).
        activation_penalty: AR, alpha of Merity et al. 2017: times the mean square of the last layer's output after its
            dropout, added to the training loss (AWD-LSTM: 2).
        temporal_activation_penalty: TAR, beta of the same: times the mean square of the differences between that
            output's neighbouring steps, before the dropout (AWD-LSTM: 1).
        label_smoothing: Share of the training loss's targets that all classes get alike (Szegedy et al. 2016).
        word_dropout: Probability of each word to be read as `<unk>` in training (Bowman et al. 2016).
        ema_decay: Evaluates and exports the exponential moving average of the weights, which after each step is
            `ema_decay` times itself plus the rest of the new weights. 0: none.
        averaging_patience: Evaluates and exports the mean of the weights from the evaluation on that is worse than the
            best of those more than so many before it (NT-ASGD, Merity et al. 2018: 5). 0: never.
        gradient_checkpointing: Computes each layer twice, to keep fewer activations in memory.
        word_vectors: A file of pre-trained vectors, or the name of one (`embeddings.find_word_vectors`), that the
            embedding starts from. `config.embedding_size` is theirs.
        freeze_word_vectors: Leaves the embedding as it starts, the rows that the file lacks too.
        skip_nonfinite: Steps with a non-finite loss or gradient that a run may leave out before it stops (`StepGuard`).

    Raises:
        ValueError: a value outside its range.
    """

    auto_class: type  # of the task: opens a model of any family that has one for it
    monitor: tuple[str, str]  # the metric that decides which weights are best, and its better end: "min" or "max"
    Evaluation: type  # one pass over evaluation data, see `metrics.py`; its `names` are what it computes
    one_pass = False  # whether it is for families without an optimiser (`OnePassModule`)
    trainer_defaults: dict[str, Any] = {}  # of `rnn-hf fit`, over its own
    shares_evaluation = True  # whether of several processes each evaluates some of the batches
    rules = {
        "optimizer": one_of("adamw", "sgd"),
        "learning_rate": number(0, 100),
        "weight_decay": number(0, 100),
        "schedule": one_of("one_cycle", "slanted_triangular", "constant", "step_decay"),
        "warmup_share": number(0, 1),
        "betas": _betas,
        "base_momentum": number(0, 1, open_above=True, optional=True),
        "decay_factor": number(0, 1),
        "decay_after_epoch": integer(0),
        "layer_rate_divisor": number(1, 100),
        "gradual_unfreezing": boolean,
        "activation_penalty": number(0, 1000),
        "temporal_activation_penalty": number(0, 1000),
        "label_smoothing": number(0, 1, open_above=True),
        "word_dropout": number(0, 1, open_above=True),
        "ema_decay": number(0, 1, open_above=True),
        "averaging_patience": integer(0),
        "gradient_checkpointing": boolean,
        "freeze_word_vectors": boolean,
        "skip_nonfinite": integer(0),
    }

    def __init__(
        self,
        optimizer: str = "adamw",
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        schedule: str = "one_cycle",
        warmup_share: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.999),
        base_momentum: float | None = None,
        decay_factor: float = 0.5,
        decay_after_epoch: int = 4,
        layer_rate_divisor: float = 1.0,
        gradual_unfreezing: bool = False,
        activation_penalty: float = 0.0,
        temporal_activation_penalty: float = 0.0,
        label_smoothing: float = 0.0,
        word_dropout: float = 0.0,
        ema_decay: float = 0.0,
        averaging_patience: int = 0,
        gradient_checkpointing: bool = False,
        word_vectors: str | None = None,
        freeze_word_vectors: bool = False,
        skip_nonfinite: int = 0,
    ):
        super().__init__()
        given = {name: value for name, value in locals().items() if name in self.rules}
        problems = [f"model.{name} must be {p}" for name, value in given.items() if (p := self.rules[name](value))]
        if problems:
            raise ValueError("; ".join(problems))
        # Not `self.optimizer`: Lightning's `optimizers()` holds the object, this is its name.
        self.optimizer_name, self.learning_rate, self.weight_decay = optimizer, learning_rate, weight_decay
        self.schedule, self.warmup_share = schedule, warmup_share
        self.betas, self.base_momentum = tuple(betas), base_momentum
        self.decay_factor, self.decay_after_epoch = decay_factor, decay_after_epoch
        self.layer_rate_divisor, self.gradual_unfreezing = layer_rate_divisor, gradual_unfreezing
        self.activation_penalty, self.temporal_activation_penalty = activation_penalty, temporal_activation_penalty
        self.label_smoothing, self.word_dropout = label_smoothing, word_dropout
        if base_momentum is not None and optimizer != "adamw":
            raise ValueError(f"model.base_momentum is for model.optimizer adamw; got {optimizer}")
        if ema_decay and averaging_patience:
            raise ValueError("give model.ema_decay or model.averaging_patience, two averages of the weights; got both")
        self.ema_decay, self.averaging_patience = ema_decay, averaging_patience
        self.gradient_checkpointing = gradient_checkpointing
        if freeze_word_vectors and word_vectors is None:
            raise ValueError("model.freeze_word_vectors needs model.word_vectors: there are none to freeze")
        self.word_vectors, self.freeze_word_vectors = word_vectors, freeze_word_vectors
        # which file, and how much of the vocabulary it has; or which pretrained model of another vocabulary
        self.word_vector_facts: dict[str, Any] | None = None
        self.vocabulary_facts: dict[str, Any] | None = None
        self.guard = StepGuard(skip_nonfinite)
        self._frozen: list[torch.nn.Parameter] = []  # what `gradual_unfreezing` leaves out for now
        # `validation/...` and `test/...` of the last evaluation, in float64: Lightning's own are rounded to float32.
        self.metrics: dict[str, float] = {}
        self.reports: dict[str, dict] = {}  # split -> what its last evaluation says beside them, ready for JSON

    def build_model(
        self,
        tokenizer: PreTrainedTokenizerBase,
        config: dict[str, Any] | None,
        pretrained: str | None,
        **decided: Any,
    ) -> PreTrainedModel:
        """`pretrained.build_model`, with the word vectors if there are any, and with what the regularisers need.

        Raises ValueError also if both they and `pretrained` are given, and for word dropout without an `<unk>`.
        """
        if self.word_dropout:
            if tokenizer.unk_token_id is None:
                raise ValueError("model.word_dropout needs a tokenizer with an <unk> to read in a word's place")
            self.unknown = tokenizer.unk_token_id
            self.never_dropped = tokenizer.all_special_ids
        if self.word_vectors is not None:
            model = self._with_word_vectors(tokenizer, config, pretrained, **decided)
        else:
            vocabulary = None if pretrained is None else matched_vocabulary(pretrained, tokenizer)
            model = build_model(self.auto_class, tokenizer, config, pretrained, vocabulary=vocabulary, **decided)
            if vocabulary is not None:
                self.vocabulary_facts, self.has_vector = vocabulary.facts, vocabulary.found
        if model.config.one_pass != self.one_pass:
            how = "in one pass" if model.config.one_pass else "by gradient descent"
            raise ValueError(f"model_type {model.config.model_type!r} is fitted {how}: not by {type(self).__name__}")
        if self.activation_penalty or self.temporal_activation_penalty:
            self.last_output = LastOutput(model)
        return model

    def _with_word_vectors(self, tokenizer, config, pretrained, **decided) -> PreTrainedModel:
        if pretrained is not None:
            raise ValueError("give model.word_vectors or model.pretrained, which has its own; got both")
        vectors = match_word_vectors(find_word_vectors(self.word_vectors), tokenizer)
        self.word_vector_facts, self.has_vector = vectors.facts, vectors.found
        model = build_model(self.auto_class, tokenizer, config, None, vectors, **decided)
        model.get_input_embeddings().weight.requires_grad_(not self.freeze_word_vectors)
        return model

    def count_covered_tokens(self, batches: Iterable[dict[str, torch.Tensor]]) -> None:
        """Adds to the facts on word vectors, or on a pretrained vocabulary, the share of the tokens of `batches` that
        have a vector there."""
        facts = self.word_vector_facts or self.vocabulary_facts
        if facts is not None:
            counts = torch.zeros(len(self.has_vector), dtype=torch.int64)
            for batch in batches:
                ids = batch["input_ids"]
                ids = ids[batch["attention_mask"].bool()] if "attention_mask" in batch else ids.flatten()
                counts += ids.bincount(minlength=len(counts))
            facts["training_tokens_found_share"] = (counts[self.has_vector].sum() / counts.sum()).item()

    def summary(self) -> list[str]:
        """What a run says about its model before it trains, in lines."""
        facts = self.word_vector_facts or self.vocabulary_facts
        if facts is None:
            return []
        found = facts["found_exactly"] + facts["found_ignoring_case"]
        source = f"word vectors {facts['file']}" if "file" in facts else f"vocabulary of {facts['pretrained']}"
        line = (
            f"{source}: {found / facts['vocabulary']:.1%} of {facts['vocabulary']:,} tokens of the "
            f"vocabulary ({facts['found_exactly']:,} exactly, {facts['found_ignoring_case']:,} ignoring case)"
        )
        share = facts.get("training_tokens_found_share")
        line = line if share is None else f"{line}, {share:.1%} of the training tokens"
        return [line if "file" in facts else f"{line}; the others start at the mean vector"]

    @property
    def logs_now(self) -> bool:
        """Whether this training step reports: `self.log` at every step costs as much as a small model's step."""
        return (self.global_step + 1) % self.trainer.log_every_n_steps == 0

    @property
    def patience_counts(self) -> bool:
        """Whether an evaluation without improvement may end the run: under `one_cycle` not in its first half.

        There the rate is high, and what it hides still comes as it falls. Nor before NT-ASGD averages, which begins
        because an evaluation is no better, nor while a layer is frozen.
        """
        if (self.averaging_patience and not self._averaging.began) or self._frozen:
            return False
        return self.schedule != "one_cycle" or self.global_step >= self.planned_steps / 2

    def configure_callbacks(self):
        if self.trainer.state.fn != "fit" or not (self.ema_decay or self.averaging_patience):
            return []
        device = self.trainer.strategy.root_device  # the model itself is moved there later
        if self.ema_decay:
            return [EMAWeightAveraging(device, use_buffers=False, decay=self.ema_decay)]
        self._averaging = NonMonotoneAveraging(self.averaging_patience, device)
        return [self._averaging]

    @cached_property
    def _layers(self) -> list[list[torch.nn.Parameter]]:
        """What is trained, from the head down to the embedding."""
        layers = [[p for p in layer if p.requires_grad] for layer in layer_groups(self.model)]
        return [layer for layer in layers if layer]

    def configure_optimizers(self):
        groups = grouped_for_optimizer(self._layers, self.learning_rate, self.layer_rate_divisor, self.weight_decay)
        if self.optimizer_name == "sgd":
            optimizer = SGD(groups, lr=self.learning_rate, fused=True)
        else:
            optimizer = AdamW(groups, lr=self.learning_rate, betas=self.betas, fused=True)
        # Lightning clips no fused optimizer under mixed precision, in case it unscales; without this mark none does.
        optimizer._step_supports_amp_scaling = False
        if self.schedule == "step_decay":
            schedule = LambdaLR(optimizer, lambda done: self.decay_factor ** max(0, done + 1 - self.decay_after_epoch))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}
        steps = self.planned_steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            if self.schedule in ("one_cycle", "slanted_triangular"):
                raise ValueError(f"model.schedule {self.schedule} needs trainer.max_epochs or trainer.max_steps")
            return optimizer  # a share of an endless run is no number of steps
        schedule = LambdaLR(optimizer, lambda step: rate_factor(step, steps, self.warmup_share * steps, self.schedule))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self):
        self._thaw()  # an epoch that a checkpoint goes on with has no start

    def on_train_epoch_start(self):
        self._thaw()

    def _thaw(self) -> None:
        """Freezes all layers but the epoch's uppermost, under `gradual_unfreezing`."""
        if not self.gradual_unfreezing:
            return
        trained = 1 + self.current_epoch
        self._frozen = [p for layer in self._layers[trained:] for p in layer]
        if this_process()[1] == 1:  # DDP expects the gradients that it began with: there they are dropped
            for number, layer in enumerate(self._layers):
                for parameter in layer:
                    parameter.requires_grad_(number < trained)

    def on_fit_start(self):
        if self.gradient_checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        self._accumulated = []  # what each batch since the last step scores, where several make a step
        self._share = None  # what this process scores of a batch, over the mean of all, where there are several
        rank, _ = this_process()
        if rank:  # dropout masks of its own for the rows of each process
            torch.manual_seed(torch.initial_seed() + rank)

    def scored(self, batch) -> torch.Tensor:
        """What a batch's training loss is the mean over: the number of its tokens or rows, or their weights' sum."""
        return self.scored_of_rows(batch).sum()

    def scored_of_rows(self, batch) -> torch.Tensor:
        """What each row of a batch, text or lane, adds to `scored`."""
        targets = batch.get("shift_labels", batch.get("labels"))
        # labels of a multi-label row are floats, and the row counts; -100 marks what no loss reads
        if targets.is_floating_point():
            return torch.ones(len(targets), dtype=torch.int64, device=targets.device)
        return (targets != IGNORED).reshape(len(targets), -1).sum(1)

    def read(self, batch) -> dict[str, torch.Tensor]:
        """The batch as the model reads it in training: some words dropped."""
        if not self.word_dropout:
            return batch
        ids = drop_words(batch["input_ids"], self.word_dropout, self.unknown, self.never_dropped)
        return {**batch, "input_ids": ids}

    def training_loss(self, plain: torch.Tensor, output, batch) -> torch.Tensor:
        """What is descended: `plain`, the loss that is reported, and what the regularisers add to it."""
        loss = plain
        if self.label_smoothing:
            loss = loss + self.label_smoothing * self.smoothing(plain, output, batch)
        if self.activation_penalty or self.temporal_activation_penalty:
            raw, dropped = self.last_output.take()
            steps, rows = self.real_steps(batch), self.scored_of_rows(batch)
            if self.activation_penalty:
                loss = loss + self.activation_penalty * activation_penalty(dropped, steps, rows)
            if self.temporal_activation_penalty:
                loss = loss + self.temporal_activation_penalty * temporal_activation_penalty(raw, steps, rows)
        return loss

    def smoothing(self, plain: torch.Tensor, output, batch) -> torch.Tensor:
        """The loss with all classes alike as targets, less `plain`: a task's own."""
        raise NotImplementedError

    def real_steps(self, batch) -> torch.Tensor | None:
        """`[rows, time]`, false at padding; None without any."""
        return batch["attention_mask"].bool() if "attention_mask" in batch else None

    def on_train_batch_start(self, batch, batch_idx):
        copies = batch.pop("copies", 1)  # how many processes have these same rows
        self._targets = batch.get("shift_labels", batch.get("labels"))
        _, world = this_process()
        if self.trainer.accumulate_grad_batches == world == 1:
            return
        scored = self.scored(batch).to(torch.promote_types(self.model.dtype, torch.float32))
        total = scored.clone()
        if world > 1:
            torch.distributed.all_reduce(total)
            self._share = scored * world / total.clamp(min=LEAST_SCORED)
        if self.trainer.accumulate_grad_batches > 1:
            self._accumulated.append((total / copies).clamp(min=LEAST_SCORED))

    def whole_batch_mean(self, mean: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
        """The mean over a batch that several processes share, of each one's mean over `count` items."""
        if this_process()[1] == 1:
            return mean
        mean = wide(mean)
        sums = torch.stack([mean * count, torch.as_tensor(count, dtype=mean.dtype, device=mean.device)])
        torch.distributed.all_reduce(sums)
        return sums[0] / sums[1].clamp(min=LEAST_SCORED)

    def backward(self, loss):
        """Lightning's, but for the weight of a batch among those that make one step and of a process's share of it, and
        for the guard's watch."""
        if self._share is not None:  # DDP takes the plain mean of the processes' gradients
            loss = loss * self._share
        # Relative to the first, so that float16 does not overflow; `on_before_optimizer_step` makes the sum 1.
        loss = loss * self._accumulated[-1] / self._unit() if self._accumulated else loss
        loss.backward(self.guard.start(loss, self._targets))

    def _unit(self) -> torch.Tensor:
        """What the weights of accumulated batches are relative to; one that scores nothing would make them huge."""
        return self._accumulated[0].clamp(min=1)

    def on_before_optimizer_step(self, optimizer):
        if self.logs_now:
            self.log("learning_rate", optimizer.param_groups[0]["lr"])
        if self.base_momentum is not None:
            highest, second = self.betas
            for group in optimizer.param_groups:
                most = group.get("initial_lr", group["lr"])  # the rate that the schedule's factors multiply
                share = min(1.0, group["lr"] / most) if most else 1.0
                group["betas"] = (highest + (self.base_momentum - highest) * share, second)
        if self._accumulated:  # Lightning has divided each loss by the number of batches, in an epoch's last step too
            weights = torch.stack(self._accumulated) / self._unit()
            scale = self.trainer.accumulate_grad_batches / weights.sum()
            torch._foreach_mul_([p.grad for p in self.model.parameters() if p.grad is not None], scale)
            self._accumulated = []
        for parameter in self._frozen:
            parameter.grad = None

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        # Lightning calls it in every step, clipping or not, after all that may change the gradient.
        self.guard.clip(self, optimizer, gradient_clip_val, gradient_clip_algorithm)

    def drop_state(self):
        """Forgets what is carried from step to step, as it may not be finite."""

    def on_save_checkpoint(self, checkpoint):
        checkpoint["guard"] = self.guard.state_dict()

    def on_load_checkpoint(self, checkpoint):
        self.guard.load_state_dict(checkpoint["guard"])

    def _start_evaluation(self):
        self.evaluation = self.Evaluation()

    def _evaluation_step(self, batch, batch_idx):
        rank, world = this_process()
        if not self.shares_evaluation or batch_idx % world == rank:
            self.evaluation.update(self.model, batch)

    def _finish_evaluation(self, split: str):
        if self.shares_evaluation:
            self.evaluation = of_all_processes(self.evaluation)
        metrics = {f"{split}/{name}": value for name, value in self.evaluation.compute().items()}
        metrics = self.trainer.strategy.broadcast(metrics)  # all decide alike, whatever their processors round
        self.metrics.update(metrics)
        self.log_dict({name: float(value) for name, value in metrics.items()})
        if report := self.evaluation_report():
            self.reports[split] = report

    def evaluation_report(self) -> dict[str, Any]:
        """What the evaluation says beside its metrics, ready for JSON."""
        return self.evaluation.report(self.model.config.id2label)

    def report_lines(self) -> Iterable[str]:
        """What a run prints of its reports at its end."""
        return []

    on_validation_epoch_start = on_test_epoch_start = _start_evaluation
    validation_step = test_step = _evaluation_step

    def on_validation_epoch_end(self):
        self._finish_evaluation("validation")

    def on_test_epoch_end(self):
        self._finish_evaluation("test")


def rate_factor(step: int, steps: float, warmup: float, schedule: str) -> float:
    """The learning rate at 0-based `step` of `steps`, as a share of the highest."""
    if schedule == "slanted_triangular":
        share = step / warmup if step < warmup else 1 - (step - warmup) / max(1.0, steps - warmup)
        return (1 + 31 * max(0.0, share)) / 32
    if step < warmup:
        return (step + 1) / (math.floor(warmup) + 1)
    if schedule == "constant":
        return 1.0
    return (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1.0, steps - warmup)))) / 2
