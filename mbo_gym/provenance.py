"""What a reader needs to repeat a number: versions, the source's commit, the machine, the memory it took."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mbo_gym import _version

__all__ = ["environment_facts", "memory_gb", "peak_memory_mb", "reset_peak_memory"]

_LIBRARIES = ("torch", "numpy", "gymnasium", "scikit-learn", "scipy", "d3rlpy")


def environment_facts() -> dict[str, Any]:
    """Return versions, the source's git commit where there is one, and the machine with its number of threads."""
    import torch

    machine = {"platform": platform.platform(), "threads": torch.get_num_threads()}
    return {"versions": dict(_versions()), "git": _git_commit(), "machine": machine}


def memory_gb(device: str = "cpu") -> float:
    """Return all the memory (GiB) of this machine, or of a GPU; infinity where it cannot be told (Windows)."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_properties(device).total_memory / 2**30
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return float("inf")


def reset_peak_memory() -> None:
    """Begin to measure this process's peak memory anew, where the system can (Linux); else it goes on."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # no such file outside Linux; not allowed in some containers
        return


def peak_memory_mb() -> float | None:
    """Return the most memory (MiB) this process has held since `reset_peak_memory`; None on Windows.

    Where the measure cannot be reset (macOS, some containers) it is the most since the process began.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)  # bytes there, KiB elsewhere


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
    """Return the commit of the checkout this package runs from, with ``+changes`` where changed, or None."""
    source = Path(__file__).resolve().parents[1]
    if not (source / ".git").exists():
        return None
    try:
        commit = _git(source, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(source, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
