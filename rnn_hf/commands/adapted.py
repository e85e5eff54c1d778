"""A language model's figures with a cache, by dynamic evaluation and mixed with other models: what `rnn-hf evaluate`
prints beside the plain one. What is given no value is tuned on the validation split, never on what is reported.
"""

import contextlib
import itertools
import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..data.lanes import stream_batches
from ..data.sources import DataSet
from ..data.token_stream import TokenStream
from ..generation.adaptation import (
    ContinuousCache,
    DynamicEvaluation,
    gradient_rms,
    mixed,
    mixture_weights,
    text_log_probs,
)
from ..models.config_checks import Rule, integer, number, one_of
from ..models.suggestion import suggestion
from .common import open_model

# What is tried where no value is given; rates and decays from the lowest on, for as long as it helps.
WINDOWS, THETAS = (100, 200, 500, 1000, 2000, 4000), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
RATES, DECAYS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0), (0.0, 0.001, 0.003, 0.01, 0.03)
TUNED_TOKENS = 10_000  # of the validation split's beginning, that rate and decay are tuned on
LANES, BATCHES = 100, 200  # of a segment's steps each, of the training text that gradients are measured on
SEGMENT = 20  # tokens scored before the weights move; with Krause et al.'s 5, four times the time for 1 % on PTB

COLUMNS = ("perplexity", "loss", "validation_perplexity")
CACHE = {"window": integer(1), "theta": number(0, 1000), "weight": number(0, 1, open_above=True)}
DYNAMIC = {"form": one_of("rms", "sgd"), "segment": integer(1), "rate": number(0, 1e6), "decay": number(0, 1)}


def add_options(parser) -> None:
    """`--cache`, `--dynamic` and `--interpolate`."""
    group = parser.add_argument_group(
        "language models that adapt",
        "Each gives a figure of its own beside the plain one, and together one more. Values that are left out are "
        "tuned on the validation split, and printed.",
    )
    group.add_argument(
        "--cache",
        nargs="?",
        const="",
        metavar="window=N,theta=X,weight=X",
        help="mixed with a cache of the last N words (Grave et al. 2017)",
    )
    group.add_argument(
        "--dynamic",
        nargs="?",
        const="",
        metavar="form=rms,segment=N,rate=X,decay=X",
        help="learning from each segment of N tokens once it is scored (Krause et al. 2018); form: rms, the default "
        f"where there is a train split to measure gradients on, or sgd; N: {SEGMENT} by default",
    )
    group.add_argument(
        "--interpolate",
        nargs="+",
        default=[],
        metavar="FOLDER[=WEIGHT]",
        help="mixed with other language models of the same vocabulary",
    )


class Adaptation:
    """The ways to adapt that were asked for; false if there are none.

    Args:
        arguments: parsed, with those of `add_options` and `split`.
        data: what is reported on, and tuned.
        columns: of `stream_batches`, `text_column` and `direction`.

    Raises:
        ValueError: an unknown name, a value out of range, a model of another vocabulary or direction, or a split that
            is not there.
    """

    def __init__(
        self, arguments, tokenizer: PreTrainedTokenizerBase, data: DataSet, eval_state: str, columns: dict[str, str]
    ):
        self.cache = None if arguments.cache is None else _values("--cache", arguments.cache, CACHE)
        self.dynamic = None if arguments.dynamic is None else _values("--dynamic", arguments.dynamic, DYNAMIC)
        self.weights = {"model": None} | ({} if self.cache is None else {"cache": self.cache.get("weight")})
        self.others = {}
        for given in arguments.interpolate:
            folder, self.weights[folder] = _folder_and_weight(given)
            self.others[folder] = _opened(folder, tokenizer, columns["direction"])
        mixture_weights(torch.zeros(len(self.weights), 1), [*self.weights.values()])  # refuses more than 1 at once
        self.split, self.eval_state = arguments.split, eval_state
        self.batches = partial(stream_batches, data, tokenizer, **{n: columns[n] for n in ("text_column", "direction")})
        self._require_splits(data)

    def __bool__(self) -> bool:
        return self.cache is not None or self.dynamic is not None or bool(self.others)

    def _require_splits(self, data: DataSet) -> None:
        there = () if data.is_file else data.splits  # a file alone is all that there is
        if self.dynamic is not None:
            self.dynamic = {"form": "rms" if "train" in there else "sgd", "segment": SEGMENT, **self.dynamic}
            if self.dynamic["form"] == "rms" and "train" not in there:
                raise ValueError(f"--dynamic form=rms needs a train split, and {data.name} has none: give form=sgd")
        wanted = [] if self.cache is None else [("--cache", self.cache, name) for name in CACHE]
        wanted += [] if self.dynamic is None else [("--dynamic", self.dynamic, name) for name in DYNAMIC]
        left_out = [f"{option} {name}=" for option, values, name in wanted if name not in values]
        left_out += [f"--interpolate {folder}=" for folder in self.others if self.weights[folder] is None]
        self.tunes = bool(left_out)
        if left_out and "validation" not in there:
            raise ValueError(
                f"{data.name} has no validation split to tune on: give a folder that has one, or the values of "
                f"{', '.join(left_out)}"
            )

    def figures(self, model: PreTrainedModel) -> dict[str, dict[str, Any]]:
        """Of each way to adapt, and of all together: `loss` in nats per token and `perplexity`, that of the validation
        split if anything was tuned there, and what was tuned or given. Progress goes to standard error."""
        splits = ["validation", self.split] if self.tunes else [self.split]
        if splits == ["validation"] * 2:
            _say("warning: the validation split is tuned on: its figures are no measure of new text")
        texts = [_texts(self.batches(split=split).dataset.stream, self.eval_state) for split in splits]
        static = dynamic = None
        if self.cache is not None or self.others:
            _say("reading with the trained weights")
            static = [self._read(model, one) for one in texts]
        if self.dynamic is not None:
            with self._learner(model, texts[0]) as learner:
                _say("dynamic evaluation")
                dynamic = [self._read(model, one, learner) for one in texts]
        others = {}
        for folder, other in self.others.items():
            _say(f"reading with {folder}")
            others[folder] = [text_log_probs(other, one)[0] for one in texts]
        ways = {}
        if self.cache is not None:
            ways["cache"] = static, True, {}
        if self.dynamic is not None:
            ways["dynamic"] = dynamic, False, {}
        if others:
            ways["interpolated"] = static, False, others
        if len(ways) > 1:
            ways[" + ".join(ways)] = dynamic or static, self.cache is not None, others
        return {name: self._figure(*way) | (self.dynamic if way[0] is dynamic else {}) for name, way in ways.items()}

    def _read(self, model, texts: Sequence[Tensor], learner: DynamicEvaluation | None = None):
        """(log-probabilities [tokens] of the model, those [settings, tokens] of the cache if there is one)."""
        return text_log_probs(model, texts, learner, None if self.cache is None else self._new_cache())

    def _new_cache(self) -> ContinuousCache:
        given = self.cache
        windows, thetas = ([given[n]] if n in given else all for n, all in (("window", WINDOWS), ("theta", THETAS)))
        return ContinuousCache(windows, thetas)

    def _learner(self, model: PreTrainedModel, texts: Sequence[Tensor]) -> DynamicEvaluation:
        values, rms = self.dynamic, None
        if values["form"] == "rms":
            _say("dynamic evaluation: gradients on training text")
            batches = self.batches(split="train", lanes=LANES, sequence_length=values["segment"])
            inputs = ({name: batch[name] for name in ("input_ids", "shift_labels")} for batch in batches)
            rms = gradient_rms(model, itertools.islice(inputs, BATCHES))
        beginning = _beginning(texts, TUNED_TOKENS)
        for name, tried in (("rate", RATES), ("decay", DECAYS)):
            lowest, best = math.inf, tried[0]
            for value in () if name in values else tried:
                settings = {"decay": DECAYS[0], **values, name: value}
                with DynamicEvaluation(model, settings["rate"], settings["decay"], rms, values["segment"]) as learner:
                    loss = -float(text_log_probs(model, beginning, learner)[0].double().mean())
                _say(f"dynamic evaluation: {name} {value}: perplexity {_perplexity(loss):.2f}, validation's beginning")
                if not loss < lowest:
                    break
                lowest, best = loss, value
            values.setdefault(name, best)
        return DynamicEvaluation(model, values["rate"], values["decay"], rms, values["segment"])

    def _figure(self, scores: list, with_cache: bool, others: dict[str, list[Tensor]]) -> dict[str, Any]:
        """`scores` (of `_read`) and `others`: of the split that is tuned on, and of the one that is reported."""
        names = ["model", *(["cache"] if with_cache else []), *others]
        given = [self.weights[name] for name in names]

        def parts(split: int, setting: int) -> Tensor:  # [models, tokens]
            of_model, of_cache = scores[split]
            cached = [of_cache[setting]] if with_cache else []
            return torch.stack([of_model, *cached, *(other[split] for other in others.values())])

        settings = self._new_cache().settings if with_cache else [None]
        lowest, best, best_weights = math.inf, None, None
        for i in range(len(settings)):
            log_probs = parts(0, i)
            weights = mixture_weights(log_probs, given)  # where all but one are given, what they leave
            loss = -float(mixed(log_probs, weights).mean())
            if loss < lowest:
                lowest, best, best_weights = loss, i, weights
        if best is None:
            raise ValueError(f"the model's loss is {loss} as it adapts: lower the rate of --dynamic")
        loss = -float(mixed(parts(-1, best), best_weights).mean())
        figure = {"loss": loss, "perplexity": _perplexity(loss)}
        if self.tunes:
            figure["validation_perplexity"] = _perplexity(lowest)
        if len(names) > 1:
            figure["weights"] = dict(zip(names, best_weights.tolist(), strict=True))
        if with_cache:
            figure |= dict(zip(("window", "theta"), settings[best], strict=True))
        return figure


def table_of(figures: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Header and rows: each figure and what it was made with."""
    rows = [["with", "perplexity", "loss", "on validation", "weights and values"]]
    for name, figure in figures.items():
        numbers = [f"{figure[key]:.6g}" if key in figure else "" for key in COLUMNS]
        values = {**figure.get("weights", {}), **{k: v for k, v in figure.items() if k not in (*COLUMNS, "weights")}}
        made = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items())
        rows.append([name, *numbers, ", ".join(made)])
    return rows


def _perplexity(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf


def _values(option: str, text: str, rules: dict[str, Rule]) -> dict[str, Any]:
    """The values of `name=value,...`. Raises ValueError for a name or value that `rules` do not allow."""
    values = {}
    for part in filter(None, text.split(",")):
        name, _, value = (word.strip() for word in part.partition("="))
        if name not in rules:
            takes = ",".join(f"{rule}=..." for rule in rules)
            raise ValueError(f"{option} takes {takes}, some or none of them; got {part!r}{suggestion(name, rules)}")
        values[name] = _number(value)
        if problem := rules[name](values[name]):
            raise ValueError(f"{option} {name} must be {problem}")
    return values


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _folder_and_weight(given: str) -> tuple[str, float | None]:
    folder, separator, weight = given.rpartition("=")
    if not separator or Path(given).exists():
        return given, None
    if problem := CACHE["weight"](_number(weight)):
        raise ValueError(f"the weight in --interpolate {given} must be {problem}")
    return folder, float(weight)


def _opened(folder: str, tokenizer: PreTrainedTokenizerBase, direction: str) -> PreTrainedModel:
    """The language model in a folder. Raises ValueError if its words are not those of `tokenizer`, or if it reads them
    in another direction: a token's probability given what follows it does not mix with one given what precedes it."""
    other, its_tokenizer = open_model(folder, "ForCausalLM")
    ours, theirs = tokenizer.get_vocab(), its_tokenizer.get_vocab()
    if ours != theirs:
        raise ValueError(
            f"--interpolate takes models of one vocabulary: the model has {len(ours):,} tokens, {folder} has "
            f"{len(theirs):,}, {len(ours.items() & theirs.items()):,} of them the same. Train both on the same text "
            "with the same data.tokenizer"
        )
    if (reads := getattr(other.config, "direction", "forward")) != direction:
        raise ValueError(
            f"--interpolate takes models of one direction: the model reads {direction}, {folder} reads {reads}. "
            "Mix two directions as classifiers: `rnn-hf evaluate --average`"
        )
    return other


def _texts(stream: TokenStream, eval_state: str) -> list[Tensor]:
    """The stream as it is, or each of its texts by itself; with the `<eos>` before it, which is read and not scored."""
    if eval_state == "carried":
        return [stream.ids]
    ends = stream.ends.tolist()
    return [stream.ids[start : end + 1] for start, end in itertools.pairwise([0, *ends])]


def _beginning(texts: Sequence[Tensor], tokens: int) -> list[Tensor]:
    """Texts from the first on that hold so many tokens to score, the last of them cut there."""
    some = []
    for ids in texts:
        if tokens > 0:
            some.append(ids[: tokens + 1])
            tokens -= len(ids) - 1
    return some


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
