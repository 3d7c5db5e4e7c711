"""Facts that a reader needs to repeat a number: versions, commit, machine."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mbo_gym import _version

__all__ = ["environment_facts"]

_LIBRARIES = ("torch", "numpy", "gymnasium", "scikit-learn", "scipy", "d3rlpy")


def environment_facts() -> dict[str, Any]:
    """Return versions, the source's git commit where there is one, and the machine with its number
    of threads."""
    import torch

    machine = {"platform": platform.platform(), "threads": torch.get_num_threads()}
    return {"versions": dict(_versions()), "git": _git_commit(), "machine": machine}


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    versions = [("mbo_gym", _version.__version__), ("python", platform.python_version())]
    for library in _LIBRARIES:
        try:
            versions.append((library, version(library)))
        except PackageNotFoundError:
            continue
    return tuple(versions)


@cache
def _git_commit() -> str | None:
    """Return the commit of the checkout this package runs from, with ``+changes`` where changed, or
    None."""
    source = Path(__file__).resolve().parents[2]
    if not (source / ".git").exists():
        return None
    try:
        commit = _git(source, "rev-parse", "HEAD")
        return commit + (
            "+changes" if _git(source, "status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
