"""Checks that every family's configuration shares: all problems at once, each with value, allowed set and cure.

A configuration class states its rules in `field_rules`; `checked_config` runs them before anything is stored, and
`PreTrainedModel` constructors run them again before anything is allocated.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig
from transformers.utils import logging

from .suggestion import suggestion

logger = logging.get_logger(__name__)

# Beyond this a configuration is taken for a mistake: 2 billion parameters are 8 GB in f32.
MAX_PARAMETERS = 2_000_000_000

# What transformers itself hands to a configuration's constructor beside the declared fields.
_TRANSFORMERS_KEYS = {
    "_attn_implementation_internal",
    "_commit_hash",
    "_experts_implementation_internal",
    "_name_or_path",
    "attn_implementation",
    "auto_map",
    "experts_implementation",
    "model_type",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "tie_last_hidden_states",
    "torch_dtype",
}

Rule = Callable[[Any], str | None]  # value -> what is allowed, or None where the value is


def described(**schema: Any) -> Callable[[Rule], Rule]:
    """Decorator of a rule: its `schema` is what JSON schema calls the values that the rule allows, as far as it can."""

    def mark(rule: Rule) -> Rule:
        rule.schema = schema
        return rule

    return mark


def _types(name: str, optional: bool) -> list[str]:
    return [name, "null"] if optional else [name]


def one_of(*allowed: str, optional: bool = False) -> Rule:
    """The value is one of these names; with `optional`, None as well."""

    @described(enum=[*allowed, *([None] if optional else [])])
    def rule(value: Any) -> str | None:
        if (isinstance(value, str) and value in allowed) or (value is None and optional):
            return None
        return f"one of {', '.join(allowed)}{' or None' if optional else ''}; got {value!r}{suggestion(value, allowed)}"

    return rule


def integer(low: int, high: int = 10**9, optional: bool = False) -> Rule:
    """A whole number in [low, high]; with `optional`, None as well."""

    @described(type=_types("integer", optional), minimum=low, maximum=high)
    def rule(value: Any) -> str | None:
        if value is None and optional:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return None
        return f"a whole number from {low} to {high}{' or None' if optional else ''}; got {value!r}"

    return rule


def number(low: float, high: float, open_above: bool = False, optional: bool = False) -> Rule:
    """A finite number in [low, high], or [low, high) with `open_above`; with `optional`, None as well."""
    above = {"exclusiveMaximum" if open_above else "maximum": high}

    @described(type=_types("number", optional), minimum=low, **above)
    def rule(value: Any) -> str | None:
        if value is None and optional:
            return None
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if is_number and low <= value and (value < high or (value == high and not open_above)):
            return None
        limits = f"{low:g} to {'below ' if open_above else ''}{high:g}{' or None' if optional else ''}"
        return f"a number from {limits}; got {value!r}"

    return rule


@described(type="boolean")
def boolean(value: Any) -> str | None:
    """True or False."""
    return None if isinstance(value, bool) else f"true or false; got {value!r}"


FLOAT_TYPES = ("float32", "bfloat16", "float16", "float64")


@described(enum=[*FLOAT_TYPES, None])
def float_type(value: Any) -> str | None:
    """A floating-point type by torch's name, the type itself, or None."""
    if value is None or value in [getattr(torch, name) for name in FLOAT_TYPES]:
        return None
    return one_of(*FLOAT_TYPES)(value)


@described(type=["integer", "array", "null"], items={"type": "integer"})
def token_ids(value: Any) -> str | None:
    """A token id, a list of them (several ends of text), or None."""
    ids = value if isinstance(value, list) else [value]
    ok = all(i is None or (isinstance(i, int) and not isinstance(i, bool)) for i in ids)
    return None if ok else f"a token id or None; got {value!r}"


def require(rule: Rule, **values: Any) -> None:
    """Raises ValueError for the first of a function's arguments that `rule` refuses."""
    for name, value in values.items():
        if problem := rule(value):
            raise ValueError(f"{name} must be {problem}")


def field_problems(config_class: type, values: dict[str, Any]) -> list[str]:
    """Every value that its field's rule refuses."""
    found = {name: rule(values[name]) for name, rule in config_class.field_rules.items() if name in values}
    return [f"{name} must be {problem}" for name, problem in found.items() if problem]


def unknown_keys(config_class: type, keys: Iterable[str]) -> list[str]:
    """Those of `keys` that neither the family nor transformers declares."""
    known = {f.name for f in fields(config_class)} | _TRANSFORMERS_KEYS
    return [key for key in keys if key not in known]


def refuse(config_class: type, problems: list[str]) -> None:
    """Raises one ValueError that lists `problems`, if there are any."""
    if problems:
        raise ValueError(f"{config_class.__name__}: " + "; ".join(problems))


def checked_config(config_class: type) -> type:
    """Class decorator in the place of `@strict`: refuses unknown keys and every value outside its field's rule.

    Raises:
        ValueError: one error for all problems, at construction. Loading a `config.json` (`from_dict`) keeps unknown
            keys with a warning instead: a newer release may have written them.
    """
    config_class = strict(config_class)
    strict_init = config_class.__init__

    def __init__(self, **kwargs):
        own = [*sorted(config_class.field_rules), "num_labels", "id2label", "label2id", "problem_type"]
        problems = [
            f"unknown key {key!r}{suggestion(key, own)}; the keys are {', '.join(own)}"
            for key in unknown_keys(config_class, kwargs)
        ]
        refuse(config_class, problems + field_problems(config_class, kwargs) + _inherited_problems(kwargs))
        if kwargs.get("label2id") and not kwargs.get("id2label"):
            kwargs["id2label"] = _inverse(kwargs["label2id"])
        try:
            strict_init(self, **kwargs)
        except StrictDataclassError as error:  # a field that transformers declares
            raise ValueError(f"{config_class.__name__}: {error}") from error
        if kwargs.get("id2label") and not kwargs.get("label2id"):
            self.label2id = _inverse(self.id2label)
        self.check()

    config_class.__init__ = __init__
    return config_class


def _inverse(names: dict[Any, Any]) -> dict[Any, Any]:
    return {value: key for key, value in names.items()}


def _inherited_problems(values: dict[str, Any]) -> list[str]:
    """Problems of the keys that transformers declares: labels, kind of problem, number type."""
    problems = _label_problems(values)
    kinds = ("regression", "single_label_classification", "multi_label_classification")
    if values.get("problem_type") is not None and (problem := one_of(*kinds)(values["problem_type"])):
        problems.append(f"problem_type must be {problem}")
    for name in ("dtype", "torch_dtype"):
        if problem := float_type(values.get(name)):
            problems.append(f"{name} must be {problem}")
    return problems


def _label_problems(values: dict[str, Any]) -> list[str]:
    num_labels, id2label, label2id = (values.get(name) for name in ("num_labels", "id2label", "label2id"))
    if num_labels is not None and (problem := integer(1, 10**6)(num_labels)):
        return [f"num_labels must be {problem}"]
    for name, names in (("id2label", id2label), ("label2id", label2id)):
        if names is not None and (not isinstance(names, dict) or not names):
            return [f"{name} must be a mapping that is not empty, or None; got {names!r}"]
    pairs = [(i, label) for label, i in (label2id or {}).items()] if id2label is None else list(id2label.items())
    if not pairs:
        return []
    count = len(pairs)
    if {str(i) for i, _ in pairs} != {str(i) for i in range(count)}:
        return [f"id2label must have the keys 0 to {count - 1}; got {', '.join(str(i) for i, _ in pairs)}"]
    if not all(isinstance(label, str) for _, label in pairs) or len({label for _, label in pairs}) != count:
        return [f"id2label must name each label by a string of its own; got {[label for _, label in pairs]}"]
    if num_labels not in (None, count):
        return [f"num_labels must be {count}, the number of names; got {num_labels}"]
    expected = {label: int(i) for i, label in pairs}
    if label2id is not None and {k: str(i) for k, i in label2id.items()} != {k: str(i) for k, i in expected.items()}:
        return [f"label2id must be the inverse of id2label, {expected}, or left out; got {label2id}"]
    return []


def _saved_names(saved: dict[str, Any]) -> dict[int, str]:
    """The label names of a `config.json`, where either mapping may have been edited after construction."""
    id2label = {int(i): label for i, label in (saved.get("id2label") or {}).items()}
    label2id = {label: int(i) for label, i in (saved.get("label2id") or {}).items()}
    unnamed = all(label == f"LABEL_{i}" for i, label in id2label.items())
    if unnamed and sorted(label2id.values()) == list(range(len(id2label) or len(label2id))):
        return dict(sorted(_inverse(label2id).items()))
    return id2label


class CheckedConfig(PreTrainedConfig):
    """What the configurations of all families share beside their fields."""

    field_rules = {}
    size_fields = ("vocab_size",)  # what decides on `num_parameters`, for the error that names them

    @property
    def num_parameters(self) -> int:
        """Numbers that a model of this configuration holds, for the budget: small parts may be left out."""
        raise NotImplementedError

    @property
    def one_pass(self) -> bool:
        """Whether a model is fitted in one pass over its training data, without an optimiser: by counting, say."""
        return False

    def cross_problems(self) -> list[str]:
        """Problems between fields, once each field alone is right. Families add theirs."""
        problems = []
        if self.num_parameters > MAX_PARAMETERS:
            sizes = ", ".join(f"{name}={getattr(self, name)}" for name in self.size_fields)
            problems.append(
                f"{sizes} make {self.num_parameters:.1e} parameters, more than {MAX_PARAMETERS:.1e}: lower them"
            )
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            ids = getattr(self, name)
            for token_id in ids if isinstance(ids, list) else [ids]:
                if token_id is not None and not 0 <= token_id < self.vocab_size:
                    problems.append(f"{name} must be from 0 to {self.vocab_size - 1} (vocab_size - 1); got {token_id}")
        return problems

    def validate_layer_type(self):
        """Replaces transformers' check, whose allowed types are attention's."""

    def check(self) -> None:
        """Raises one ValueError that lists every field whose value is not allowed."""
        problems = field_problems(type(self), {name: getattr(self, name) for name in self.field_rules})
        refuse(type(self), problems or self.cross_problems())

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """As in transformers; keys that this release does not know are kept, with a warning."""
        unknown = {key: config_dict[key] for key in unknown_keys(cls, config_dict)}
        names = ("id2label", "label2id")
        known = {key: value for key, value in config_dict.items() if key not in unknown and key not in names}
        if known.get("dtype") == "auto":
            del known["dtype"]
        given = {name: kwargs.pop(name) for name in ("num_labels", *names) if kwargs.get(name) is not None}
        refuse(cls, _label_problems(given))
        if given.keys() & set(names):
            labels = given.get("id2label") or _inverse(given["label2id"])
        else:
            labels = _saved_names(config_dict)
            if given.get("num_labels") not in (None, len(labels)):
                labels = {}  # the saved names are another task's
                known["num_labels"] = given["num_labels"]
        try:
            loaded = super().from_dict(known, **kwargs)
        except StrictDataclassError as error:
            raise ValueError(f"{cls.__name__}: {error}") from error
        config = loaded[0] if isinstance(loaded, tuple) else loaded
        if unknown:
            logger.warning(
                f"{cls.__name__}: kept keys of config.json that this release does not know: {', '.join(unknown)}"
            )
            for key, value in unknown.items():
                setattr(config, key, value)
        if labels:
            config.id2label = {int(i): label for i, label in labels.items()}
            config.label2id = _inverse(config.id2label)
        config.check()
        return loaded
