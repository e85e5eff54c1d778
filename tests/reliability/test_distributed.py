"""Several processes train as one: the same global batches, the same weights, one run folder, one voice, one end.

Notable: dropout is 0 wherever weights are compared. Compared are the weights after the last step, and every metric.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from rnn_hf import processes
from rnn_hf.cli import main
from rnn_hf.data import language_modeling
from rnn_hf.data.batches import EncodedTexts, LengthBucketSampler, Share
from rnn_hf.data.lanes import Lanes, StepSampler
from rnn_hf.data.token_stream import token_stream
from rnn_hf.tokenization import train_word_tokenizer
from rnn_hf.training import module
from rnn_hf.training.checkpoint_files import newest_checkpoint
from rnn_hf.training.classification_metrics import ClassificationEvaluation, MultiLabelEvaluation
from rnn_hf.training.language_modeling import LanguageModelingModule
from rnn_hf.training.metrics import WeightedMean, merged
from rnn_hf.training.tagging_metrics import SpanEvaluation

GOOD, BAD = ["good", "great", "moving", "honest"], ["bad", "dull", "awful", "slow"]
FILL = ["the", "a", "film", "movie", "story", "plot", "is", "was", "very", "quite", "of", "and"]
EXACT, ROUNDED = 1e-12, 1e-5  # largest difference of a weight in float64, in float32

CONFIG = "model: {config: {embedding_size: 8, hidden_size: 8, bidirectional: true, pooling: max}, learning_rate: 0.02}"
TRAINER = "trainer: {max_epochs: 2, accelerator: cpu, log_every_n_steps: 3}"
RECIPES = {
    "classifier": f"task: classification\n{CONFIG}\ndata: {{dataset: reviews, batch_size: 10}}\n{TRAINER}\n",
    "topics": f"task: classification\n{CONFIG}\n"
    f"data: {{dataset: topics, multi_label: true, batch_size: 10}}\n{TRAINER}\n",
    "tagger": f"task: tagging\n{CONFIG.replace(', pooling: max', '')}\n"
    f"data: {{dataset: tags, batch_size: 10}}\n{TRAINER}\n",
    "lm": f"task: language_modeling\n{CONFIG.replace('bidirectional: true, pooling: max', 'num_hidden_layers: 2')}\n"
    "data: {dataset: reviews, batch_size: 12, sequence_length: 12, random_sequence_length: true}\n" + TRAINER + "\n",
}
F64, IN_THREES = ("--trainer.precision", "64-true"), ("--trainer.accumulate_grad_batches", "3")
# batches of 24 words, of which many have none of the rarest: a cluster without a gradient, in one process or in all
SHORT = ("--data.random_sequence_length", "false", "--data.sequence_length", "2")
WEIGHTS = ("--data.class_weights", "{negative: 3, positive: 0.5}")
PENALTIES = (
    "--model.activation_penalty",
    "2",
    "--model.temporal_activation_penalty",
    "1",
    "--model.label_smoothing",
    "0.1",
)
THAWING = ("--model.gradual_unfreezing", "true", "--model.layer_rate_divisor", "2.6", "--trainer.max_epochs", "4")
# name -> (recipe, options); 101 training rows in batches of 10: the last batch has fewer rows than there are processes
QUICK = {
    "buckets": ("classifier", F64),
    "accumulated": ("classifier", (*F64, *IN_THREES, "--trainer.gradient_clip_val", "0.1")),
    "weighted rows": ("classifier", (*F64, *IN_THREES, *WEIGHTS)),
    "tagger": ("tagger", (*F64, *IN_THREES)),
    "lanes": ("lm", F64),
    "regularised": ("classifier", (*F64, *IN_THREES, *WEIGHTS, *PENALTIES)),
    "layers that thaw": ("classifier", (*F64, *THAWING, *IN_THREES, "--trainer.gradient_clip_val", "0.1")),
    "lanes, f32": ("lm", ()),
    "buckets, f32": ("classifier", ()),
}
MORE = {
    "balanced": ("classifier", (*F64, "--data.sampling", "balanced")),
    "rows of no weight": (
        "classifier",
        (*F64, "--data.batch_size", "3", "--data.class_weights", "{negative: 0, positive: 2}"),
    ),
    "several labels": ("topics", (*F64, *IN_THREES)),
    "several labels, weighted": ("topics", (*F64, "--data.class_weights", "balanced")),
    "lanes, regularised": ("lm", (*F64, *PENALTIES)),
    "several labels, regularised": ("topics", (*F64, *PENALTIES)),
    "tagger, regularised": ("tagger", (*F64, *IN_THREES, *PENALTIES)),
    "lanes, averaged": ("lm", ("--model.ema_decay", "0.9")),  # float32, as the average is
    "tagger, f32": ("tagger", ()),
    "lanes accumulated": ("lm", (*F64, *IN_THREES, "--trainer.gradient_clip_val", "0.1")),
    "layers of a language model that thaw": ("lm", (*F64, *THAWING, *PENALTIES)),
    "tied": ("lm", (*F64, "--model.config.tie_word_embeddings", "true")),
    "adaptive": (
        "lm",
        (*F64, "--model.config.lm_head", "adaptive", "--model.config.adaptive_cutoffs", "[10, 21]", *SHORT),
    ),
    "sgd, texts by themselves": (
        "lm",
        (*F64, "--model.optimizer", "sgd", "--model.learning_rate", "1", "--data.eval_state", "reset"),
    ),
    "frozen vectors": ("classifier", (*F64, "--model.word_vectors", "v.txt", "--model.freeze_word_vectors", "true")),
    "checkpointed layers": ("lm", (*F64, "--model.gradient_checkpointing", "true")),
}


def write_workplace(folder):
    for kind in ("reviews", "tags", "topics"):
        (folder / kind).mkdir()
    for split, rows in {"train": 101, "validation": 31, "test": 33}.items():
        draw = random.Random(rows)
        lines, tags, topics = [], [], []
        for i in range(rows):
            words = [draw.choice(FILL) for _ in range(draw.randint(2, 25))]
            words.insert(draw.randrange(len(words)), draw.choice(GOOD if i % 3 else BAD))
            lines.append(f"{' '.join(words)},{'positive' if i % 3 else 'negative'}")
            of_words = ["B-GOOD" if word in GOOD else "B-BAD" if word in BAD else "O" for word in words]
            tags.append(json.dumps({"tokens": words, "tags": of_words}))
            held = sorted({"film", "plot", "very"} & set(words))
            topics.append(json.dumps({"text": " ".join(words), "label": held}))
        (folder / "reviews" / f"{split}.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
        (folder / "tags" / f"{split}.jsonl").write_text("\n".join(tags) + "\n")
        (folder / "topics" / f"{split}.jsonl").write_text("\n".join(topics) + "\n")
    draw = random.Random(0)
    vectors = [f"{word} {' '.join(f'{draw.gauss(0, 0.1):.4f}' for _ in range(8))}" for word in [*GOOD, *BAD, *FILL]]
    (folder / "v.txt").write_text("\n".join(vectors) + "\n")
    for name, text in RECIPES.items():
        (folder / f"{name}.yaml").write_text(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    write_workplace(folder)
    return folder


@pytest.fixture
def workplace(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(Path(processes.__file__).parents[1]), "OMP_NUM_THREADS": "1", **more}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def torchrun(program, count=2, port=None):
    return [
        sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={count}",
        "--master_addr=127.0.0.1", f"--master_port={port or free_port()}", *program,
    ]  # fmt: skip


def torchrun_fit(*arguments, count=2):
    """`torchrun --nproc_per_node=2 -m rnn_hf.cli fit ...` to its end."""
    command = torchrun(["-m", "rnn_hf.cli", "fit", *arguments], count)
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)


def final(run):
    """(weights after the last step, optimiser steps, metrics) of a run folder."""
    checkpoint = torch.load(newest_checkpoint(run / "checkpoints"))
    report = json.loads((run / "model" / "metrics.json").read_text())
    return checkpoint["state_dict"], checkpoint["global_step"], report["metrics"]


def assert_equal_runs(one, several, most):
    (weights, steps, metrics), (others, other_steps, other_metrics) = final(one), final(several)
    assert steps == other_steps
    assert metrics == pytest.approx(other_metrics, rel=most, abs=most)
    difference = max(float((weights[name] - others[name]).abs().max()) for name in weights)
    print(f"{several.name}: {steps} steps, largest difference of a weight {difference:.1e}")
    assert difference <= most
    logged, other_logged = ((run / "metrics.csv").read_text().splitlines() for run in (one, several))
    for row, other in zip(logged, other_logged, strict=True):
        for value, of_other in zip(row.split(","), other.split(","), strict=True):
            if value and value[0].isdigit():
                assert float(value) == pytest.approx(float(of_other), rel=max(most, 1e-6), abs=max(most, 1e-6))


def compare(workplace, cases, count):
    def runs(kind):
        return [
            ["--config", f"{recipe}.yaml", "--output_dir", f"{kind}/{name}", *options]
            for name, (recipe, options) in cases.items()
        ]

    for arguments in runs("one"):
        if not Path(arguments[3]).exists():
            assert main(["fit", *arguments]) == 0
    (workplace / "runs.json").write_text(json.dumps(runs(f"of_{count}")))
    program = [str(Path(__file__).with_name("fit_each.py")), "runs.json"]
    done = subprocess.run(torchrun(program, count), env=environment(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    for name, (_, options) in cases.items():
        assert_equal_runs(Path("one", name), Path(f"of_{count}", name), EXACT if F64[1] in options else ROUNDED)


def test_two_processes_equal_one(workplace):
    """`torchrun --nproc_per_node=2 $(which rnn-hf) fit --config R` against `rnn-hf fit --config R`.

    Measured in November 2026: weights 9e-16 apart in float64, 2.4e-7 in float32. Attention pooling is not compared in
    float32: the gradient of its projection's bias is nearly 0, and Adam makes steps of its rounding (3e-5 apart).
    """
    compare(workplace, QUICK, 2)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3, 4])
def test_any_number_of_processes_equals_one(workplace, count):
    """`torchrun --nproc_per_node=COUNT $(which rnn-hf) fit --config R`, all kinds of data, loss and head.

    Measured in November 2026: weights at most 1.9e-14 apart in float64, 2.4e-7 in float32.
    """
    compare(workplace, MORE if count == 2 else QUICK | MORE, count)


def test_a_bad_recipe_is_reported_once(workplace):
    """`torchrun --nproc_per_node=2 -m rnn_hf.cli fit --config lm.yaml --model.config.hidden_size 0`: one line, and
    torchrun's own code 1. Measured in November 2026: so."""
    done = torchrun_fit("--config", "lm.yaml", "--output_dir", "bad", "--model.config.hidden_size", "0")
    assert done.returncode != 0
    assert done.stderr.count("rnn-hf: error:") == 1
    assert done.stderr.count("hidden_size") == 1
    assert not Path("bad").exists()


@pytest.mark.slow
def test_lanes_that_cannot_be_shared_out_are_refused(workplace):
    """`torchrun --nproc_per_node=2 -m rnn_hf.cli fit --config lm.yaml --data.batch_size 5`. Measured: one line."""
    done = torchrun_fit("--config", "lm.yaml", "--output_dir", "odd", "--data.batch_size", "5")
    assert done.returncode != 0
    assert done.stderr.count("batch_size must be a multiple of 2, the processes that share its lanes; got 5") == 1
    assert "give 4 or 6" in done.stderr


@pytest.mark.slow
def test_the_first_process_alone_speaks_and_writes(workplace):
    """`torchrun --nproc_per_node=2 -m rnn_hf.cli fit --config classifier.yaml`, twice: runs/classifier, then
    runs/classifier-2, each line printed once."""
    for name in ("classifier", "classifier-2"):
        done = torchrun_fit("--config", "classifier.yaml")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(f"wrote runs/{name}/model") == done.stdout.count("test/accuracy") == 1
        assert done.stderr.count("| 2 processes") == done.stderr.count("epoch 2 |") == 1
    assert sorted(path.name for path in Path("runs").iterdir()) == ["classifier", "classifier-2"]
    assert {path.name for path in Path("runs/classifier").iterdir()} == {
        "model", "checkpoints", "metrics.csv", "curves.png", "confusion_matrix.png", "reliability_diagram.png",
    }  # fmt: skip


@pytest.mark.slow
def test_lightning_starts_the_processes_itself(workplace):
    """`python -m rnn_hf.cli fit --config classifier.yaml --trainer.devices 2`, without torchrun.

    Measured in November 2026: weights 4.4e-16 apart.
    """
    fit = ["fit", "--config", "classifier.yaml", *F64, "--output_dir"]
    if not Path("rows").exists():
        assert main([*fit, "rows"]) == 0
    command = [sys.executable, "-m", "rnn_hf.cli", *fit, "devices", "--trainer.devices", "2"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote devices/model") == done.stderr.count("epoch 2 |") == 1
    assert_equal_runs(Path("rows"), Path("devices"), EXACT)


def of_two_nodes(workplace, kind):
    """The commands of two machines, each of one process, and the environment of each."""
    fit = ["-m", "rnn_hf.cli", "fit", "--config", "lm.yaml", "--output_dir", kind, *F64]
    port = free_port()
    if kind == "torchrun":
        for node in range(2):
            yield torchrun(["--nnodes=2", f"--node_rank={node}", *fit], 1, port), environment()
    else:
        for node in range(2):
            variables = {
                "SLURM_NTASKS": 2, "SLURM_NTASKS_PER_NODE": 1, "SLURM_NNODES": 2, "SLURM_PROCID": node,
                "SLURM_LOCALID": 0, "SLURM_NODEID": node, "SLURM_NODELIST": "127.0.0.1", "SLURM_JOB_NAME": "fit",
                "SLURM_JOB_ID": 7, "MASTER_PORT": port,
            }  # fmt: skip
            yield [sys.executable, *fit], environment(**{key: str(value) for key, value in variables.items()})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torchrun", "srun"])
def test_two_machines_equal_one(workplace, kind):
    """`torchrun --nnodes=2 --node_rank={0,1} --nproc_per_node=1 --master_addr=127.0.0.1 --master_port=P
    $(which rnn-hf) fit --config lm.yaml`, and the same with the variables that `srun` sets in two processes.

    Measured in November 2026: weights 3.3e-16 apart.
    """
    if not Path("single").exists():
        assert main(["fit", "--config", "lm.yaml", "--output_dir", "single", *F64]) == 0
    started = [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command, env in of_two_nodes(workplace, kind)
    ]
    outputs = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    assert outputs[0][0].count("test/perplexity") == 1 and not outputs[1][0]
    assert_equal_runs(Path("single"), Path(kind), EXACT)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
@pytest.mark.parametrize("kind", ["torchrun", "srun"])
def test_the_death_of_one_process_ends_the_other(workplace, kind, killed, tmp_path):
    """`kill -9` of either process of a long run: the other ends within 60 s with a code other than 0.

    Measured in November 2026: within 0.9 s.
    """
    fit = [
        "-m",
        "rnn_hf.cli",
        "fit",
        "--config",
        "lm.yaml",
        "--output_dir",
        str(tmp_path / "run"),
        "--max_steps",
        "1000000",
    ]
    if kind == "torchrun":
        started = [subprocess.Popen(torchrun(fit), env=environment(), stderr=subprocess.PIPE, text=True)]
    else:
        started = [
            subprocess.Popen([sys.executable, *fit], env=env, stderr=subprocess.PIPE, text=True)
            for _, env in of_two_nodes(workplace, kind)
        ]
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "metrics.csv").exists():  # some steps are done
        assert time.monotonic() < deadline
        time.sleep(0.2)
    pids = children(started[0].pid) if kind == "torchrun" else [process.pid for process in started]
    assert len(pids) == 2
    os.kill(pids[killed], signal.SIGKILL)
    began = time.monotonic()
    errors = [process.communicate(timeout=60)[1] for process in started]
    print(f"{kind}, process {killed}: the other ended after {time.monotonic() - began:.1f} s")
    assert all(process.returncode for process in started), errors
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("recipe", ["lm", "classifier"])
def test_an_ended_run_of_two_processes_goes_on_to_the_same_bits(workplace, recipe, how):
    """A process killed with -9, or torchrun ended with SIGTERM, and then the same command with `--resume auto`.

    Dropout, carried state and accumulated batches are on. Measured in November 2026: weights, metrics and metrics.csv
    bit-equal.
    """
    epochs = {"lm": "40", "classifier": "60"}[recipe]
    dropout = ("--model.config.input_dropout", "0.3", "--model.config.weight_dropout", "0.3")
    fit = ["--config", f"{recipe}.yaml", *dropout, "--trainer.max_epochs", epochs, "--checkpoint_every_n_steps", "1"]
    fit += ["--early_stopping_patience", "0", "--trainer.accumulate_grad_batches", "2", "--output_dir"]
    whole, ended = Path(f"whole-{recipe}"), Path(f"ended-{recipe}-{how.name}")
    if not whole.exists():
        done = torchrun_fit(*fit, str(whole))
        assert done.returncode == 0, done.stderr
    command = torchrun(["-m", "rnn_hf.cli", "fit", *fit, str(ended)])
    run = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (found := newest_checkpoint(ended / "checkpoints")) or int(found.stem[5:]) < 20:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(children(run.pid)[1] if how == signal.SIGKILL else run.pid, how)
    error = run.communicate(timeout=60)[1]
    assert run.returncode, error
    assert not (ended / "model").exists(), "it was over before the signal"
    done = torchrun_fit(*fit, str(ended), "--resume", "auto")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("going on from") == 1
    (weights, steps, metrics), (others, other_steps, other_metrics) = final(whole), final(ended)
    assert (steps, metrics) == (other_steps, other_metrics)
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert (whole / "metrics.csv").read_text() == (ended / "metrics.csv").read_text()


@pytest.mark.slow
def test_a_checkpoint_of_two_processes_is_not_for_one(workplace):
    """`torchrun --nproc_per_node=2 -m rnn_hf.cli fit --config lm.yaml`, and then `--resume` with one process."""
    run = Path("of-two")
    assert torchrun_fit("--config", "lm.yaml", "--output_dir", str(run)).returncode == 0
    (run / "model").rename("of-two-model")
    command = [sys.executable, "-m", "rnn_hf.cli", "fit", "--config", "lm.yaml", "--resume", str(run)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert "processes: 2, now 1" in done.stderr


@pytest.mark.slow
def test_a_machine_that_does_not_see_the_checkpoint_is_named(workplace, tmp_path):
    """`srun rnn-hf fit ... --resume auto` on two machines, of which one has another disk."""
    write_workplace(tmp_path)
    done = torchrun_fit("--config", "lm.yaml", "--output_dir", "srun-seen")
    assert done.returncode == 0, done.stderr
    Path("srun-seen/model").rename("srun-seen-model")
    started = []
    for (command, env), place in zip(of_two_nodes(workplace, "srun"), (workplace, tmp_path), strict=True):
        command[command.index("--output_dir") + 1] = "srun-seen"
        command = [*command[: -len(F64)], "--resume", "auto"]
        started.append(subprocess.Popen(command, env=env, cwd=place, stderr=subprocess.PIPE, text=True))
    errors = [process.communicate(timeout=100)[1] for process in started]
    assert all(process.returncode for process in started)
    assert "--resume needs a run folder that all machines see" in errors[0]


def children(pid):
    """The processes that a process has started, in the order of their numbers."""
    return sorted(int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def test_every_row_is_in_one_share_once_an_epoch():
    """Without processes: 101 texts in batches of 10 and two epochs, shared out to 1, 2, 3 and 10."""
    texts = [" ".join(random.Random(i).choices(FILL, k=i % 7 + 1)) for i in range(101)]
    encoded = EncodedTexts(texts, train_word_tokenizer(texts), labels=torch.arange(101))
    for world in (1, 2, 3, 10):
        shares = [Share(encoded, rank, world) for rank in range(world)]
        sampler = LengthBucketSampler(encoded.lengths, 10, seed=3)
        for epoch in range(2):
            sampler.set_epoch(epoch)
            seen = []
            for rows in sampler:
                parts = [share[rows] for share in shares]
                copies = {part.pop("copies", 1) for part in parts}
                assert copies == ({world} if len(rows) < world else {1})
                assert all(len(part["labels"]) for part in parts)
                held = torch.cat([part["labels"] for part in (parts[:1] if copies == {world} else parts)])
                assert sorted(held.tolist()) == sorted(rows.tolist())
                seen += held.tolist()
            assert sorted(seen) == list(range(101))


def test_lanes_stay_contiguous_in_every_block():
    """Without processes: each lane of each block is one uninterrupted part of the stream, at every step."""
    tokenizer = train_word_tokenizer([" ".join(FILL)])
    stream = token_stream([" ".join(random.Random(i).choices(FILL, k=9)) for i in range(50)], tokenizer)
    for whole in (True, False):
        lanes = Lanes(stream, 6, whole)
        for world in (1, 2, 3, 6):
            steps = list(StepSampler(lanes.time, 10, random=True))
            read = []
            for rank in range(world):
                block = Lanes(stream, 6, whole, block=(rank, world))
                items = [block[step] for step in steps]
                read.append(torch.cat([item["shift_labels"] for item in items], 1))
                assert torch.equal(
                    torch.cat([item["input_ids"] for item in items], 1)[:, 1:][read[-1][:, 1:] >= 0],
                    read[-1][:, :-1][read[-1][:, 1:] >= 0],
                )
            read = torch.cat(read).flatten()
            assert torch.equal(read[read >= 0].int(), stream.ids[1 : lanes.num_tokens + 1].int())


@pytest.mark.parametrize(("size", "world", "near"), [(20, 3, "18 or 21"), (2, 4, "4")])
def test_the_number_of_lanes_is_a_multiple_of_the_processes(workplace, monkeypatch, size, world, near):
    monkeypatch.setattr(language_modeling, "this_process", lambda: (0, world))
    data = language_modeling.LanguageModelingDataModule("reviews", batch_size=size)
    with pytest.raises(ValueError, match=f"multiple of {world}, .*; got {size}: give {near}$"):
        data.train_dataloader()


class Answers(torch.nn.Module):
    """A model that answers each batch with the logits that it holds."""

    def forward(self, labels, logits, **ignored):
        spread = logits.flatten(0, -2) if labels.dtype == torch.int64 else logits
        loss = (
            torch.nn.functional.cross_entropy(spread, labels.flatten())
            if labels.dtype == torch.int64
            else (torch.nn.functional.binary_cross_entropy_with_logits(logits, labels))
        )
        return type("Output", (), {"loss": loss, "logits": logits})


@pytest.mark.parametrize("kind", [ClassificationEvaluation, MultiLabelEvaluation, SpanEvaluation])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_evaluations_of_parts_merge_to_the_whole_bit_for_bit(kind, count):
    """Without processes: 7 batches, or fewer than there are processes."""
    draw = torch.Generator().manual_seed(count)
    model = Answers()
    model.config = type("Config", (), {"id2label": {0: "B-X", 1: "I-X", 2: "O"}})
    whole, parts = kind(), [kind() for _ in range(3)]
    for i in range(count):
        shape = (4 + i, 5) if kind is SpanEvaluation else (4 + i,)
        labels = torch.randint(0, 3, shape, generator=draw)
        if kind is MultiLabelEvaluation:
            labels = torch.nn.functional.one_hot(labels, 3).float()
        batch = {"labels": labels, "logits": torch.randn(*shape, 3, generator=draw)}
        for evaluation in (whole, parts[i % 3]):
            evaluation.update(model, batch)
    together = merged(parts)
    assert together.compute() == whole.compute()
    assert together.report(model.config.id2label) == whole.report(model.config.id2label)
    assert isinstance(together.nats, WeightedMean) and len(together.nats.means) == count


def test_each_process_draws_dropout_masks_of_its_own(monkeypatch):
    """Without processes: equal weights from one seed, and then another seed in each rank."""
    tokenizer, seeds = train_word_tokenizer([" ".join(FILL)]), []
    for rank in range(3):
        torch.manual_seed(5)
        fitted = LanguageModelingModule(tokenizer, config={"embedding_size": 4, "hidden_size": 4})
        monkeypatch.setattr(module, "this_process", lambda rank=rank: (rank, 3))
        fitted.on_fit_start()
        seeds.append(torch.initial_seed())
    assert seeds == [5, 6, 7]


def test_what_a_launcher_says(monkeypatch):
    """torchrun's variables decide before SLURM's, which a shell of an allocation has too."""
    for name in os.environ:
        if name.startswith(("SLURM", "TORCHELASTIC", "LOCAL_RANK")):
            monkeypatch.delenv(name)
    assert (processes.launched(), processes.launched_rank(), processes.this_process()) == ({}, 0, (0, 1))
    slurm = {"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_PROCID": "5", "SLURM_JOB_NAME": "bash"}
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    assert (processes.launched(), processes.launched_rank()) == ({}, 0)
    monkeypatch.setenv("SLURM_JOB_NAME", "fit")
    assert (processes.launched(), processes.launched_rank()) == ({"devices": 4, "num_nodes": 2}, 5)
    elastic = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "3", "GROUP_WORLD_SIZE": "1", "RANK": "2"}
    for name, value in elastic.items():
        monkeypatch.setenv(name, value)
    assert (processes.launched(), processes.launched_rank()) == ({"devices": 3, "num_nodes": 1}, 2)


def test_the_processes_but_the_first_are_silent(monkeypatch, capsys):
    for rank in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        with processes.first_one_speaks():
            print("out", rank)
            print("err", rank, file=sys.stderr)
    assert tuple(capsys.readouterr()) == ("out 0\n", "err 0\n")
