"""C6 and C11: a whole training step of a language model under `rnn-hf fit`, against a plain torch program.

    python benchmarks/step.py

C6: two LSTM layers of 650, 33,278 words that are distributed as words are (Zipf), 32 lanes of 35 steps. The peer is
nn.LSTM, nn.Linear, F.cross_entropy, clipping and AdamW as they come. It starts from our model's weights; the losses of
both are compared. C11: a model with steps of about 10 ms; the peer is a bare loop around the same module's step.
"""

import logging
import sys
import tempfile
import time
import warnings
from statistics import median

import lightning as L
import torch
from compare import Row, Within, arguments, report, zipf
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from rnn_hf import LanguageModelingModule, train_word_tokenizer

LANES, TIME, WIDTH, WORDS = 32, 35, 650, 33_278
CLIP = 0.25


class Plain(nn.Module):
    """The program that a textbook has."""

    def __init__(self, model):
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(model.model.embed_tokens.weight.detach().clone(), freeze=False)
        width, words = model.config.hidden_size, model.config.vocab_size
        self.rnn = nn.LSTM(width, width, len(model.model.layers), batch_first=True)
        self.rnn.load_state_dict(
            {
                name.replace("_l0", f"_l{i}"): weight.detach().clone()
                for i, layer in enumerate(model.model.layers)
                for name, weight in layer.rnn.named_parameters()
            }
        )
        self.head = nn.Linear(width, words)
        if isinstance(model.lm_head, nn.Linear):
            self.head.load_state_dict(model.lm_head.state_dict())
        self.optimizer, self.state = torch.optim.AdamW(self.parameters(), lr=1e-3, weight_decay=0.0), None

    def step(self, batch) -> float:
        out, state = self.rnn(self.embedding(batch["input_ids"]), self.state)
        self.state = tuple(s.detach() for s in state)
        loss = F.cross_entropy(self.head(out).flatten(0, 1), batch["shift_labels"].flatten())
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters(), CLIP)
        self.optimizer.step()
        return loss.item()


class Bare:
    """The step of `rnn-hf fit` in a loop, without a trainer."""

    def __init__(self, model):
        self.model, self.state = model.train(), None
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)

    def step(self, batch) -> torch.Tensor:
        out = self.model(**batch, past_key_values=self.state, use_cache=True)
        self.state = out.past_key_values
        for layer in self.state.layers:
            layer.detach_()
        self.optimizer.zero_grad()
        out.loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        return out.loss.detach()


class Turns(L.Callback):
    """After each step of the trainer, one of the peer on the same batch; CPU milliseconds of both."""

    def __init__(self, peer):
        self.peer, self.ours, self.theirs, self.losses, self.since = peer, [], [], [], None

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        now = time.process_time()
        if self.since is not None:
            self.ours.append(1e3 * (now - self.since))
        began = time.process_time()
        loss = self.peer.step(batch)
        self.theirs.append(1e3 * (time.process_time() - began))
        self.losses.append((float(outputs["loss"]), float(loss)))
        self.since = time.process_time()


def run(tokenizer, batches, peer_class, folder, precision="32-true", **config) -> Turns:
    """Trains through `batches` with Lightning as `rnn-hf fit` does, the peer in turns with it."""
    torch.manual_seed(0)
    module = LanguageModelingModule(
        tokenizer, config, learning_rate=1e-3, weight_decay=0.0, schedule="constant", warmup_share=0.0
    )
    turns = Turns(peer_class(module.model))
    trainer = L.Trainer(
        max_epochs=1, precision=precision, gradient_clip_val=CLIP, logger=CSVLogger(folder), log_every_n_steps=20,
        callbacks=[turns], enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        accelerator="cpu",
    )  # fmt: skip
    trainer.fit(module, DataLoader(batches, batch_size=None))
    return turns


def zipf_batches(count: int, lanes: int, steps: int, words: int) -> list[dict]:
    stream = zipf((lanes, count * steps + 1), words)
    parts = [stream[:, i * steps : (i + 1) * steps + 1] for i in range(count)]
    return [{"input_ids": part[:, :-1], "shift_labels": part[:, 1:].contiguous()} for part in parts]


def main() -> int:
    options = arguments(__doc__, rounds=5)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(0)
    tokenizer = train_word_tokenizer([" ".join(f"w{i}" for i in range(WORDS - 3))])
    batches = zipf_batches(options.rounds + 1, LANES, TIME, WORDS)
    sizes = {"embedding_size": WIDTH, "hidden_size": WIDTH, "num_hidden_layers": 2}
    rows, facts = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for what, wanted, precision, config in [
            ("whole step, exact", 2.0, "32-true", {}),
            ("whole step, bfloat16", 3.0, "bf16-mixed", {}),
            ("whole step, adaptive softmax", 4.0, "32-true", {"lm_head": "adaptive"}),
            ("whole step, adaptive softmax, bfloat16", 4.0, "bf16-mixed", {"lm_head": "adaptive"}),
        ]:
            turns = run(tokenizer, batches, Plain, folder, precision, **sizes, **config)
            rows.append(Row("C6", what, median(turns.theirs[1:]), median(turns.ours), wanted))
            if not config:
                difference = float(torch.tensor([abs(a - b) / b for a, b in turns.losses]).max())
                facts[f"largest relative difference of the losses, {what}"] = Within(
                    [difference], [1e-2 if "bf16" in precision else 1e-4]
                )
        small = {"embedding_size": 64, "hidden_size": 64}
        tokenizer = train_word_tokenizer([" ".join(f"w{i}" for i in range(997))])
        turns = run(tokenizer, zipf_batches(40 * options.rounds, 32, 35, 1000), Bare, folder, **small)
        rows.append(
            Row("C11", "Lightning against a bare loop", median(turns.theirs[20:]), median(turns.ours[20:]), 1 / 1.05)
        )
    return report(rows, facts, options.json)


if __name__ == "__main__":
    sys.exit(main())
