"""Data sets of the Hugging Face Hub, through `datasets.load_dataset`; what goes wrong is said in terms of the id.

Notable: an id may carry configuration and revision, `owner/name:config@revision`. `datasets` keeps what it loads in its
cache, in files of which only the rows at hand are in memory.
"""

import ast
import re
from collections.abc import Mapping
from typing import Any

from ..models.config_checks import suggestion

HUB_ID = re.compile(r"(?P<id>\w[\w.-]*/\w[\w.-]*)(:(?P<config>[^@]+))?(@(?P<revision>.+))?")


def load_hub_set(name: str, splits: Mapping[str, str | None] | None = None) -> dict[str, Any]:
    """A `datasets.Dataset` for each split of the data set called `name`, by the split's name on the Hub.

    Args:
        name: `owner/name`, `owner/name:config`, `owner/name@revision` or `owner/name:config@revision`.
        splits: its values are split names or expressions of `datasets` such as "train[:1000]" and "validation+test";
            each comes under its key. None values are passed over.

    Raises FileNotFoundError for an unknown id or revision, ConnectionError where the Hub cannot be reached, ValueError
    for a configuration or split that it lacks, listing those that it has, and for one that `datasets` cannot read.
    """
    import datasets
    from huggingface_hub.errors import RepositoryNotFoundError

    parts = HUB_ID.fullmatch(name).groupdict()
    hub_id, config, revision = parts["id"], parts["config"], parts["revision"]
    try:
        loaded = dict(datasets.load_dataset(hub_id, config, revision=revision))
        expressions = {split: expression for split, expression in (splits or {}).items() if expression is not None}
        named = {
            split: datasets.load_dataset(hub_id, config, revision=revision, split=expression)
            for split, expression in expressions.items()
        }
    except ConnectionError as error:
        raise ConnectionError(f"the Hub, from which {name} is to come, cannot be reached: {error}") from error
    except (datasets.exceptions.DatasetNotFoundError, RepositoryNotFoundError) as error:
        page = f"https://huggingface.co/datasets/{hub_id}"
        raise FileNotFoundError(f"the Hub gives no data set {name!r}: {error} Its page: {page}") from error
    except (ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(_said(error, name, hub_id, config)) from error
    return loaded | named


def _said(error: Exception, name: str, hub_id: str, config: str | None) -> str:
    message = " ".join(str(error).split())
    if "scripts are no longer supported" in message:
        copy = f"{hub_id}{':' + config if config else ''}@refs/convert/parquet"
        return f"{hub_id} is a script, which `datasets` does not run: name its Parquet copy, if it has one: {copy}"
    if found := re.search(r"(?:available configs|Available): (\[.*?\])", message):
        wrong = f"has no configuration {config!r}" if config else "has several configurations"
        configs = ast.literal_eval(found[1])
        return f"{hub_id} {wrong}: write {hub_id}:NAME, NAME one of {', '.join(configs)}{suggestion(config, configs)}"
    if found := re.search(r'Unknown split "(.*?)"\. Should be one of (\[.*?\])', message):
        names = ast.literal_eval(found[2])
        return f"{name} has no split {found[1]!r}; its splits: {', '.join(names)}{suggestion(found[1], names)}"
    cause = f" ({' '.join(str(error.__cause__).split())})" if error.__cause__ else ""
    return f"{name} cannot be read: {message}{cause}"
