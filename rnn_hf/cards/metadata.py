"""The metadata at the head of a card: made from facts, merged with what stands there, and checked as the Hub does."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import langcodes
import yaml
from huggingface_hub import EvalResult, ModelCardData
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from huggingface_hub.utils import validate_repo_id, yaml_dump
from huggingface_hub.utils._validators import HFValidationError

from .facts import Facts
from .licences import HUB_LICENCES, is_url, licence_metadata
from .results import results

NO_LANGUAGE = ("code", "multilingual")  # what the Hub takes beside ISO 639
LISTS = ("language", "tags", "datasets", "metrics", "base_model")  # which may also be one string
PLACEHOLDER = "More Information Needed"


def split_card(text: str) -> tuple[str, str]:
    """(the YAML block at the head, what follows it); the first is empty where there is none."""
    head = REGEX_YAML_BLOCK.match(text)
    return (head[2], text[head.end() :]) if head else ("", text)


def read_metadata(block: str, where: str) -> dict[str, Any]:
    """The mapping of a YAML block. Raises ValueError, which names `where`, for one that is none."""
    try:
        found = yaml.safe_load(block)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: the metadata is not valid YAML: {error}") from error
    if found is not None and not isinstance(found, dict):
        raise ValueError(f"{where}: the metadata must be a mapping; got {block!r:.60}")
    return found or {}


def metadata(facts: Facts, name: str, widget: list[str]) -> dict[str, Any]:
    """The metadata of a folder, as YAML has it.

    Args:
        name: the model's name in `model-index`.
        widget: texts to try the model on.
    """
    config, about = facts.config, facts.get("data", "about", default={})
    kinds = [config.get("model_type"), config.get("cell_type")]
    shown = results(facts)
    pretrained = facts.get("pretrained", "name")
    on_the_hub = pretrained is not None and facts.get("pretrained", "is_local") is False
    data = ModelCardData(
        language=about.get("languages"),
        library_name="transformers",
        pipeline_tag=facts.task.pipeline_tag,
        tags=["rnn-hf", *(kind for kind in kinds if kind)],
        base_model=pretrained if on_the_hub else None,
        datasets=[facts.hub_dataset] if facts.hub_dataset else None,
        metrics=list(dict.fromkeys(result.kind for result in shown if result.kind in ("accuracy", "f1", "perplexity")))
        or None,
        widget=[{"text": text} for text in widget] or None,
        model_name=name,
        eval_results=[
            EvalResult(
                task_type=facts.task.pipeline_tag,
                dataset_type=facts.hub_dataset or facts.dataset,
                dataset_name=facts.dataset,
                dataset_split=facts.reported_split,
                metric_type=result.kind,
                metric_name=result.title,
                metric_value=_rounded(result.value),
                metric_args=result.interval
                and {"confidence_interval_95": list(map(_rounded, result.interval)), "method": result.method},
            )
            for result in shown
            if facts.dataset is not None
        ]
        or None,
    )
    if data.eval_results is None:
        data.pop("model_name")
    return data.to_dict()


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def merged(present: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """What stands in a card with what is new: single values stay, lists grow, results of the same metric are replaced.

    Raises ValueError for a `model-index` that is damaged.
    """
    result = {**new, **present}
    for key in LISTS:
        if key in present and key in new:
            both = list(dict.fromkeys([*_as_list(present[key]), *_as_list(new[key])]))
            result[key] = present[key] if both == _as_list(present[key]) else both
    if "model-index" in present and "model-index" in new:
        theirs = ModelCardData(**{"model-index": present["model-index"]})
        ours = ModelCardData(**{"model-index": new["model-index"]})
        replaced = set(map(_measured, ours.eval_results))
        kept = [old for old in theirs.eval_results if _measured(old) not in replaced]
        both = ModelCardData(model_name=ours.model_name, eval_results=[*ours.eval_results, *kept])
        result["model-index"] = both.to_dict()["model-index"]
    return result


def _measured(result: EvalResult) -> tuple:
    return result.unique_identifier, result.metric_type, result.metric_name


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def given_metadata(
    licence: str | None, licence_name: str | None, licence_link: str | None, language: str | None, folder: Path
) -> dict[str, Any]:
    """What the caller decides, over whatever stands in the card. Raises ValueError as `licence_metadata`."""
    if licence is None and (licence_name or licence_link):
        raise ValueError("license_name and license_link are for license other; got them without a license")
    given: dict[str, Any] = {}
    if licence is not None:  # the name and link of another licence go
        given = {"license_name": None, "license_link": None}
        given |= licence_metadata(licence, licence_name, licence_link, folder)
    if language is not None:
        codes = [code.strip() for code in language.split(",")]
        if wrong := [code for code in codes if not is_language(code)]:
            raise ValueError(f"language must be ISO 639 codes such as en or en,de; got {wrong[0]!r}")
        given["language"] = codes
    return given


def as_yaml(data: dict[str, Any]) -> str:
    """The YAML block of a card: first what people look for."""
    first = ("language", "license", "license_name", "license_link")
    data = {key: data[key] for key in (*first, *data) if key in data}
    return yaml_dump({key: value for key, value in data.items() if value is not None}, sort_keys=False).strip()


def is_language(code: Any) -> bool:
    """Whether it is an ISO 639 code of two or three letters, or one of `NO_LANGUAGE`."""
    if not isinstance(code, str):
        return False
    return code in NO_LANGUAGE or bool(re.fullmatch("[a-z]{2,3}", code) and langcodes.tag_is_valid(code))


def check(text: str) -> list[str]:
    """What is wrong with a card, a sentence each, by the Hub's rules; no request is sent.

    A licence may be missing: a folder that is not shared needs none.
    """
    block, body = split_card(text)
    problems = [f"the text says '{PLACEHOLDER}'"] if PLACEHOLDER.lower() in body.lower() else []
    if not block.strip():
        return ["there is no metadata: a card begins with a YAML block between two lines of ---", *problems]
    try:
        data = read_metadata(block, "README.md")
    except ValueError as error:
        return [str(error), *problems]
    return [*_wrong_values(data), *problems]


def _wrong_values(data: dict[str, Any]) -> Iterator[str]:
    for key in LISTS:
        values = _as_list(data.get(key, []))
        if not all(isinstance(value, str) and value for value in values):
            yield f"{key} must be a string or a list of strings; got {data[key]!r}"
        elif key == "language":
            yield from (f"language must be ISO 639 codes; got {value!r}" for value in values if not is_language(value))
        elif key in ("datasets", "base_model"):
            yield from filter(None, (_wrong_id(key, value) for value in values))
    for key in ("library_name", "pipeline_tag", "license", "license_name", "license_link"):
        if not isinstance(data.get(key, ""), str):
            yield f"{key} must be a string; got {data[key]!r}"
    licence = data.get("license")
    if isinstance(licence, str) and licence not in HUB_LICENCES:
        yield f"license must be an identifier that the Hub has, in small letters, or other; got {licence!r}"
    if licence == "other":
        yield from (f"license other needs {key}" for key in ("license_name", "license_link") if not data.get(key))
    link = data.get("license_link")
    if isinstance(link, str) and ":" in link and not is_url(link):
        yield f"license_link must be a URL or a file of the repository; got {link!r}"
    if "model-index" in data:
        yield from _wrong_results(data["model-index"])


def _wrong_id(key: str, value: str) -> str | None:
    try:
        validate_repo_id(value)
    except HFValidationError as error:
        return f"{key} must be ids on the Hub; got {value!r}: {error}"
    return None


def _wrong_results(index: Any) -> Iterator[str]:
    try:
        found = ModelCardData(**{"model-index": index}).eval_results
    except (ValueError, AttributeError) as error:
        yield f"model-index is damaged: {error}"
        return
    for result in found or []:
        value = result.metric_value
        if isinstance(value, float) and not math.isfinite(value):
            yield f"model-index: {result.metric_type} must be a finite number; got {value}"
        elif isinstance(value, bool) or not isinstance(value, int | float | str):
            yield f"model-index: {result.metric_type} must be a number or a string; got {value!r}"
