"""One seed, one result: every recipe twice in fresh processes, and once with another seed.

On tiny data of the shape that the recipe reads. Row 18 of the project's table of what must survive what.
"""

import hashlib

import pytest
import yaml

from rnn_hf.commands.tiny_data import on_tiny_data
from rnn_hf.recipes import find_recipe, read_recipe, recipe_names

from .processes import fit

SHORT = ("names/char_gru", "custom/tagging")


def weights(folder, run, seed):
    """The sha256 of the weights after 5 steps."""
    code = fit(folder, "--config", "recipe.yaml", "--output_dir", run, "--seed_everything", seed, "--max_steps", "5",
               "--device", "cpu", "--trainer.precision", "32-true")  # fmt: skip
    assert code == 0
    return hashlib.sha256((folder / run / "model" / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SHORT else pytest.mark.slow) for name in recipe_names()]
)
def test_a_seed_decides_every_byte(name, tmp_path):
    """Last measured: equal for every recipe, and another seed differs."""
    (tmp_path / "data").mkdir()
    recipe = on_tiny_data(read_recipe(find_recipe(name)), tmp_path / "data")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    first = weights(tmp_path, "first", "0")
    assert weights(tmp_path, "second", "0") == first
    assert weights(tmp_path, "other", "1") != first
