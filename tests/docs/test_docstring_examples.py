"""Every example in a docstring of the packages runs and shows what it says."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("mbo_gym", "agents", "diffusion")
OPTIONAL = ("d3rlpy", "stable_baselines3", "botorch", "cma")


def modules_with_examples() -> list[str]:
    """Return the modules whose source holds a prompt."""
    names = []
    for package in PACKAGES:
        root = importlib.import_module(package)
        for info in pkgutil.walk_packages(root.__path__, f"{package}."):
            if info.name.endswith("__main__"):
                continue
            spec = importlib.util.find_spec(info.name)
            assert spec is not None, info.name
            assert spec.origin is not None, info.name
            with open(spec.origin, encoding="utf-8") as file:
                if ">>> " in file.read():
                    names.append(info.name)
    return names


MODULES = modules_with_examples()


def test_examples_are_found():
    assert {"mbo_gym.methods.base", "agents.gradient.coms", "diffusion.ddom"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name, tmp_path, monkeypatch):
    module = importlib.import_module(name)
    tests = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    assert tests, name
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")  # examples read recorded results
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE, verbose=False)
    for test in tests:
        report: list[str] = []
        result = runner.run(test, out=report.append)
        missing = [library for library in OPTIONAL if f"needs {library}" in "".join(report)]
        if missing:
            pytest.skip(f"{missing[0]} is not installed")
        assert result.failed == 0, "".join(report)
