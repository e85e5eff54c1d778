"""The floors of the house, read from the imports, and what `import rnn_hf` may cost."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest

import rnn_hf

ROOT = Path(__file__).parents[1]
PACKAGE = Path(rnn_hf.__file__).parent
FLOORS = {
    "models": 0,
    "files": 0,
    **dict.fromkeys(["tokenization", "embeddings", "generation", "analysis", "processes"], 1),
    **dict.fromkeys(["data", "training", "cards"], 2),
    "hub": 3,
    **dict.fromkeys(["recipes", "compare", "commands", "cli"], 4),
}
TOP = 4
MODEL_LIBRARIES = {"torch", "transformers", "huggingface_hub", "safetensors"}
FILES = sorted(PACKAGE.rglob("*.py"))
MODEL_FILES = sorted((PACKAGE / "models").glob("*.py"))


def unit(path: Path) -> str:
    """The part of the house that a file belongs to: `data` for `rnn_hf/data/lanes.py`, `cli` for `rnn_hf/cli.py`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, eager: bool = False) -> list[tuple[str, ...]]:
    """Every imported name, split at the dots, relative imports resolved; with `eager`, those at module level only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    here = ("rnn_hf", *path.relative_to(PACKAGE).parent.parts)
    found = []
    for node in tree.body if eager else ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) + 1 - node.level] if node.level else ()
            module = tuple(node.module.split(".")) if node.module else ()
            found += [(*base, *module, alias.name) for alias in node.names]
    return found


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_every_file_stands_on_a_floor():
    assert {unit(path) for path in FILES} <= {*FLOORS, "__init__", "__main__"}
    assert len(FILES) > 5


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_go_downward_only(path):
    own = unit(path)
    floor = FLOORS.get(own, 1)  # what `__init__` loads eagerly is floor 0
    if floor == TOP:
        return
    for imported in imports(path, eager=own == "__init__"):
        if imported[0] != "rnn_hf" or imported[1:] == ("__version__",):
            continue
        assert imported[1:2] and imported[1] in FLOORS, (
            f"{name(path)} imports {'.'.join(imported)} through the package: import the name from its own module"
        )
        assert own == imported[1] or FLOORS[imported[1]] < floor, (
            f"{name(path)} (floor {floor}) imports {'.'.join(imported)} (floor {FLOORS[imported[1]]}): only downward"
        )


@pytest.mark.parametrize("path", FILES, ids=name)
def test_third_party_imports_are_declared(path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    declared = {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in requirements}
    providers = packages_distributions()
    for top in {imported[0] for imported in imports(path)} - sys.stdlib_module_names - {"rnn_hf"}:
        assert {d.lower().replace("_", "-") for d in providers.get(top, [top])} & declared, (
            f"{name(path)} imports {top}, which pyproject.toml does not declare"
        )


@pytest.mark.parametrize("path", MODEL_FILES, ids=name)
def test_model_files_can_travel(path):
    """A pushed checkpoint takes along its modelling file and the siblings that the file's single-dot imports name."""
    text = path.read_text(encoding="utf-8")
    siblings, tree = set(), ast.parse(text)
    # what is imported under `try` the file can do without, and transformers does not ask for it
    optional = {inner for node in ast.walk(tree) if isinstance(node, ast.Try) for inner in ast.walk(node)}
    for node in set(ast.walk(tree)) - optional:
        if isinstance(node, ast.Import):
            tops = {alias.name.split(".")[0] for alias in node.names}
            assert tops <= sys.stdlib_module_names | MODEL_LIBRARIES, f"line {node.lineno} imports {tops}"
        elif isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1 and node.module and "." not in node.module, f"line {node.lineno} leaves the folder"
            assert (path.parent / f"{node.module}.py").exists(), f"line {node.lineno}: no sibling {node.module}"
            siblings.add(node.module)
        elif isinstance(node, ast.ImportFrom):
            top = node.module.split(".")[0]
            assert top in sys.stdlib_module_names | MODEL_LIBRARIES, f"line {node.lineno} imports {top}"
    # transformers finds the siblings with these expressions, in docstrings too.
    seen = re.findall(r"^\s*import\s+\.(\S+)\s*$", text, re.M) + re.findall(r"^\s*from\s+\.(\S+)\s+import", text, re.M)
    assert set(seen) == siblings


def test_models_is_flat():
    assert [path.name for path in (PACKAGE / "models").iterdir() if path.is_dir() and path.name != "__pycache__"] == []


IMPORT = """
import sys, time
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
start = time.perf_counter()
import rnn_hf
print(time.perf_counter() - start)
print(*sorted({"lightning", "pytorch_lightning", "datasets", "pandas", "matplotlib"} & set(sys.modules)))
"""


def test_import_is_light():
    fastest = float("inf")
    for _ in range(8):  # the machine may be busy: the fastest of a few runs counts
        done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
        seconds, heavy = done.stdout.split("\n")[:2]
        assert not heavy, f"import rnn_hf imports {heavy}"
        fastest = min(fastest, float(seconds))
        if fastest < 0.3:
            return
    pytest.fail(f"import rnn_hf adds {fastest:.2f} s to torch and transformers; the budget is 0.3 s")


def test_every_public_name_exists():
    assert [public for public in rnn_hf.__all__ if not hasattr(rnn_hf, public)] == []


def skip_reason_lines(text: str) -> set[int]:
    """The lines of calls such as `pytest.skip(...)` and `pytest.mark.skipif(...)`."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    skips = [call for call in calls if "skip" in ast.unparse(call.func)]
    return {line for call in skips for line in range(call.lineno, call.end_lineno + 1)}


def test_nothing_depends_on_the_workshop():
    """The benchmark text beside the checkout is read through RNN_HF_DATA only."""
    folder = re.compile(r"(\.\.|/work|parents?\[\d\]|parent)[\"' /)]*/[\"' ]*" + "shared")
    texts = [
        path
        for part in ("rnn_hf", "recipes", "tests", "benchmarks", "model_cards")
        for path in (ROOT / part).rglob("*")
    ]
    for path in [*texts, *ROOT.glob("*.md"), *ROOT.glob("Makefile"), *ROOT.glob(".ci/run")]:
        if path.suffix in {".py", ".yaml", ".yml", ".md", ".toml", ".json", ".csv", ".txt", ""} and path.is_file():
            text = path.read_text(encoding="utf-8")
            allowed = skip_reason_lines(text) if path.suffix == ".py" else set()
            for number, line in enumerate(text.splitlines(), start=1):
                assert number in allowed or not folder.search(line), f"{path}:{number} names the benchmark folder"
