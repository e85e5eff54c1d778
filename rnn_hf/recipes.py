"""Find recipes: the YAML files under `recipes/`, named `<dataset>/<model>`, or any path to one."""

import re
from pathlib import Path
from typing import Any

import yaml

from .models.suggestion import suggestion

_INSTALLED = Path(__file__).with_name("_recipes")  # inside the wheel
ROOT = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[1] / "recipes"


class _Loader(yaml.SafeLoader):
    """YAML in which `1e-3` is a number, as everyone means it and YAML 1.2 has it; to YAML 1.1 it is a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def recipe_names() -> list[str]:
    """The names of all recipes that come with the package, sorted."""
    return sorted(path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.rglob("*.yaml"))


def find_recipe(name_or_path: str) -> Path:
    """The file of a recipe, given by a path or by its name.

    Raises:
        FileNotFoundError: neither a file nor a known name; the message lists the names.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml"):
        raise FileNotFoundError(f"no recipe file {name_or_path!r} in {Path.cwd()}")
    names = recipe_names()
    if name_or_path in names:
        return ROOT / f"{name_or_path}.yaml"
    raise FileNotFoundError(
        f"no recipe {name_or_path!r}{suggestion(name_or_path, names)}; give a path to a YAML file or one of: "
        + ", ".join(names)
    )


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe's mapping. Raises ValueError if the file is not a YAML mapping."""
    try:
        recipe = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"{path} must hold a mapping with the keys task, model, data, trainer; got {recipe!r:.60}")
    for section in ("model", "data", "trainer"):
        if not isinstance(recipe.get(section, {}), dict):
            raise ValueError(f"{path}: {section} must be a mapping; got {recipe[section]!r:.60}")
    return recipe


def recipe_title(path: Path) -> str:
    """The first line of the header, which says what the recipe is; empty where it has none."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            return ""
        if not line.startswith("# yaml-language-server:"):
            return line.lstrip("# ").rstrip()
    return ""


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """`second` over `first`, key by key at any depth.

    A mapping that names what it is, by `kind` or `class_path`, replaces the other whole: its options are no others'.
    """
    result = dict(first)
    for name, value in second.items():
        whole = (
            not isinstance(value, dict) or not isinstance(first.get(name), dict) or {"kind", "class_path"} & {*value}
        )
        result[name] = value if whole else merged(first[name], value)
    return result


def run_name(name_or_path: str) -> str:
    """What a run of this recipe is called under `runs/`: the recipe's name, or its file's.

    `OUT/model/recipe.yaml`, which every run leaves, is called after `OUT`.
    """
    path = find_recipe(name_or_path).resolve()
    if path.is_relative_to(ROOT.resolve()):
        return path.relative_to(ROOT.resolve()).with_suffix("").as_posix()
    if path.name == "recipe.yaml":
        folder = path.parent.parent if path.parent.name == "model" else path.parent
        return folder.name or "recipe"
    return path.stem
