"""The JSON schema of recipes, for editors: derived from the command's own parser and from the rules of each value.

What the parser knows gives keys, types, defaults and help; where a rule checks a value, its limits stand in the schema
too (`config_checks.described`).
"""

import inspect
import json
import re
import types
from typing import Any, Literal, Union, get_args, get_origin

from ..models.auto import families
from ..models.config_checks import FLOAT_TYPES
from ..tokenization import KINDS, RULES, kind_options
from .fit import TASKS
from .lightning_cli import CLASSES, FitCLI
from .recipe_keys import PLUGINS

BASIC = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    dict: "object",
    list: "array",
    type(None): "null",
}

# what transformers declares for every configuration, as far as a recipe may want it
INHERITED = {
    "id2label": {"type": "object"},
    "label2id": {"type": "object"},
    "num_labels": {"type": "integer", "minimum": 1},
    "problem_type": {"type": ["string", "null"]},
    "dtype": {"enum": [*FLOAT_TYPES, None]},
}


def schema_text() -> str:
    """The schema as it stands in `recipes/schema.json`."""
    return json.dumps(recipe_schema(), indent=1, ensure_ascii=False) + "\n"


def recipe_schema() -> dict[str, Any]:
    """A mapping in which no key is unknown; `model` and `data` are those of the recipe's `task`."""
    sections = {task: _closed(_task_properties(task)) for task in TASKS}
    shared = dict(sections[TASKS[0]]["properties"])
    shared |= {"task": {"enum": list(TASKS), "description": "what is trained"}, "model": {}, "data": {}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "a recipe of rnn-hf",
        **_closed(shared),
        "allOf": [
            {
                "if": {"properties": {"task": {"const": task}}, "required": ["task"]},
                "then": {"properties": {name: section["properties"][name] for name in ("model", "data")}},
            }
            for task, section in sections.items()
        ],
    }


class _Parser(FitCLI):
    """The command with a parser, and without a run."""

    def parse_arguments(self, parser, args):
        self.config = parser.get_defaults()

    def before_instantiate_classes(self):
        pass

    def instantiate_classes(self):
        pass


def _task_properties(task: str) -> dict[str, Any]:
    """The keys of the parser that a recipe may hold, nested."""
    module, datamodule = CLASSES[task]
    properties: dict[str, Any] = {}
    for action in _Parser(task, task, {}, []).parser._actions:
        keys = action.dest.split(".")
        hint = getattr(action, "_typehint", None) or action.type
        if hint is None or keys[-1] == "help" or action.dest == "config" or " --> " in str(action.option_strings):
            continue
        place = properties
        for key in keys[:-1]:
            place = place.setdefault(key, _closed({}))["properties"]
        place[keys[-1]] = _with_help(_type_schema(hint), action)
    for section, rules in (("model", module.rules), ("data", datamodule.rules)):
        for name, rule in rules.items():
            if name in (known := properties[section]["properties"]):
                known[name] |= getattr(rule, "schema", {})
    properties["model"]["properties"]["config"] |= _config_schema(families(module.auto_class))
    properties["data"]["properties"]["tokenizer"] |= _tokenizer_schema()
    for name in PLUGINS:
        properties["trainer"]["properties"][name] |= _plugin_schema(name)
    return properties


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _with_help(schema: dict[str, Any], action: Any) -> dict[str, Any]:
    text = re.sub(r"\s*\((type|required|default|known subclasses).*", "", " ".join((action.help or "").split()))
    default = action.default
    if default is not None and isinstance(default, bool | int | float | str) and "==" not in str(default):
        schema["default"] = default
    return {**schema, "description": text} if text and "%" not in text else schema


def _type_schema(hint: Any) -> dict[str, Any]:
    """What values of the type look like in YAML; {} (anything) for classes, which the parser alone can check."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        schemas = [_type_schema(argument) for argument in arguments]
        if {} in schemas:
            return {}
        # Python takes `int | float` for the `float | int` that it saw before
        names = sorted(schema["type"] for schema in schemas if set(schema) == {"type"})
        others = [schema for schema in schemas if set(schema) != {"type"}]
        if not others:
            return {"type": names}
        return {"anyOf": [*others, *([{"type": names}] if names else [])]}
    name = BASIC.get(origin or hint)
    if name == "array" and arguments and (items := _type_schema(arguments[0])):
        return {"type": name, "items": items}
    return {"type": name} if name else {}


def _config_schema(families: dict[str, type]) -> dict[str, Any]:
    """`model.config`: the fields of the family that `model_type` names, `rnn` without it."""
    chosen = [
        {
            "if": {"properties": {"model_type": {"const": name}}, "required": [] if name == "rnn" else ["model_type"]},
            "then": _fields_schema(config_class) | {"type": ["object", "null"]},
        }
        for name, config_class in families.items()
    ]
    family = {"enum": list(families), "default": "rnn", "description": "The family."}
    return {"type": ["object", "null"], "properties": {"model_type": family}, "allOf": chosen}


def _fields_schema(config_class: type) -> dict[str, Any]:
    """The fields of a family's configuration with their documentation."""
    fields = {name: dict(getattr(rule, "schema", {})) for name, rule in config_class.field_rules.items()}
    for names, text in re.findall(
        r"^ {8}([\w, ]+?) \(`.*?\):(.*?)(?=^ {8}\w|^ {4}\w|\Z)", config_class.__doc__, re.M | re.S
    ):
        for name in names.split(", "):
            fields[name]["description"] = " ".join(text.split())
    for name in fields:
        default = getattr(config_class, name, None)
        if default is not None:
            fields[name]["default"] = default
    return _closed({"model_type": {}} | fields | INHERITED)


def _tokenizer_schema() -> dict[str, Any]:
    described = [_closed({"pretrained": {"type": "string", "description": "a folder, or an id on the Hub"}})]
    for kind in KINDS:
        options = {name: getattr(RULES.get(name), "schema", {}) for name in kind_options(kind)}
        described.append(_closed({"kind": {"const": kind}, **options}) | {"required": ["kind"]})
    return {"anyOf": [{"type": ["string", "null"], "examples": list(KINDS)}, *described]}


def _plugin_schema(name: str) -> dict[str, Any]:
    """`trainer.callbacks` or `trainer.logger`: Lightning's classes by name with their arguments, one's own by path."""
    module, known, classes = PLUGINS[name], [], []
    for class_name in sorted(module.__all__):
        arguments = inspect.signature(getattr(module, class_name)).parameters.values()
        named = {argument.name: {} for argument in arguments if argument.kind is not argument.VAR_KEYWORD}
        open_ended = any(argument.kind is argument.VAR_KEYWORD for argument in arguments)
        known += [class_name, f"{module.__name__}.{class_name}"]
        parts = {"class_path": {"enum": known[-2:]}, "init_args": _closed(named) | {"additionalProperties": open_ended}}
        classes.append(_closed(parts | {"dict_kwargs": {"type": "object"}}) | {"required": ["class_path"]})
    own = {"class_path": {"type": "string", "pattern": r"\.", "not": {"enum": known}}, "init_args": {"type": "object"}}
    classes.append(_closed(own | {"dict_kwargs": {"type": "object"}}) | {"required": ["class_path"]})
    names = {"type": "string", "anyOf": [{"enum": known}, {"pattern": r"\."}]}
    entry = {"anyOf": [names, *classes]}
    single = {"type": ["boolean", "null"]} if name == "logger" else {"type": "null"}
    return {"anyOf": [single, entry, {"type": "array", "items": entry}]}
