"""Each kind of run once without disturbance: what the disturbed ones must come to."""

import time

import pytest

from .processes import RECIPES, Fit, fit, result, write_workplace


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reliability")
    write_workplace(folder)
    fit(folder, "--help")  # starts the fork server, whose imports no run's time should hold
    yield folder
    for process in Fit.started:
        if process.is_alive():
            process.kill()


@pytest.fixture(scope="session")
def undisturbed(workplace):
    """name -> result of the run, its number of steps, the seconds that it took and the trace of its batches."""
    found = {}
    for name in RECIPES:
        run = f"undisturbed-{name}"
        environment = {"TRACE": f"{run}.trace"}
        began = time.monotonic()
        assert fit(workplace, "--config", f"{name}.yaml", "--output_dir", run, environment=environment) == 0
        seconds = time.monotonic() - began
        found[name] = result(workplace / run)
        found[name]["seconds"] = seconds
        found[name]["steps"] = found[name]["metrics"]["steps"]
        found[name]["trace"] = (workplace / f"{run}.trace").read_text()
    return found
