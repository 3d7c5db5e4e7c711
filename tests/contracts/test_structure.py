"""Structure of the three packages: few modules at the top, one subject a room, shallow classes."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

import agents
import diffusion
import mbo_gym
from mbo_gym.errors import MissingDependency

PACKAGES = (mbo_gym, agents, diffusion)
NAMES = tuple(package.__name__ for package in PACKAGES)
ROOMS = sorted(
    path.parent for package in PACKAGES for path in Path(package.__path__[0]).rglob("__init__.py")
)
FILES = sorted(path for package in PACKAGES for path in Path(package.__path__[0]).rglob("*.py"))
MOST_MODULES = 9
DEEPEST = 2


def modules() -> list[ModuleType]:
    """Return every module of the packages whose libraries are installed."""
    found = []
    for package in PACKAGES:
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if info.name.endswith("__main__"):
                continue
            try:
                found.append(importlib.import_module(info.name))
            except MissingDependency:
                continue
    return found


def depth(kind: type) -> int:
    """Return the length of the longest chain of our bases that ends in a class."""
    own = [base for base in kind.__bases__ if base.__module__.partition(".")[0] in NAMES]
    return 1 + max((depth(base) for base in own), default=0)


def test_the_top_of_mbo_gym_has_few_modules():
    top = [path.name for path in Path(mbo_gym.__path__[0]).glob("*.py")]
    assert len(top) <= MOST_MODULES, top


def test_no_class_is_more_than_two_deep():
    deep = {
        f"{kind.__module__}.{kind.__qualname__}": depth(kind)
        for module in modules()
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and depth(kind) > DEEPEST
    }
    assert deep == {}


@pytest.mark.parametrize("room", ROOMS, ids=str)
def test_a_room_names_its_subject_in_a_sentence(room):
    source = (room / "__init__.py").read_text(encoding="utf-8")
    (docstring,) = re.findall(r'\A"""(.+?)"""', source, re.S)
    first = docstring.strip().split("\n")[0]
    assert first.endswith(".")
    assert len(first) <= 100


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-3:]))
def test_docstrings_stand_alone(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"see the module's docstring|config: Its settings\.", text)
