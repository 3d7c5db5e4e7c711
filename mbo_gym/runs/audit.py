"""Audit of the process that learns: what it touched that a method has no need of.

An audit hook of Python (PEP 578) sees what the process opens, starts and makes, and cannot be taken
away. It is for honest people, who want to know when a method reads what it should not, as through a
library that fetches data. It is no sandbox: a program that means harm can go round it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from mbo_gym.files import store
from mbo_gym.problem.oracle import MADE

__all__ = ["arm", "touched"]

_MOST = 20
"""Marks that are kept."""
_OWN_CACHE = ("surrogate-", "vae-", ".surrogate-", ".vae-")
"""What methods cache of visible data; all else in the cache was made of hidden data."""
_RESULTS = ("record.json", "result.json", "designs.npz", "designs.csv")
_SHIPPED = (".npz", ".npy", ".csv", ".xz")
_WALKS = ("gc.get_objects", "gc.get_referrers", "gc.get_referents")
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn")
_HARMLESS = ("uname", "ldconfig", "nvidia-smi", "cc", "c++", "gcc", "g++", "ptxas")
"""Programs by which libraries ask for the machine, or compile."""

_marks: dict[str, None] = {}
_armed = False


def arm(data: tuple[str, ...] = ()) -> None:
    """Begin to mark what this process touches; it does so for its whole life.

    Args:
        data: Further files that hold the task's data, such as a user's table.
    """
    global _armed
    if _armed:
        raise RuntimeError("this process is audited already")
    _armed = True
    sys.addaudithook(_hook(data))


def touched() -> tuple[str, ...]:
    """Return the marks, in order."""
    return tuple(_marks)


def _hook(data: tuple[str, ...]) -> Callable[[str, tuple[Any, ...]], None]:
    own = {os.path.realpath(path) for path in data}
    folders = [os.path.realpath(folder) for folder in store.folders()]
    shipped = [os.path.realpath(str(files(name))) for name in ("mbo_gym", "agents", "diffusion")]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            _mark(_opened(arguments[0], own, folders, shipped))
        elif event == MADE:
            _mark(f"makes the {arguments[0]} {arguments[1]}")
        elif event in _WALKS:
            _mark(f"walks the objects of the process ({event})")
        elif event in _STARTS:
            program = os.path.basename(os.fsdecode(arguments[0])) if arguments else "itself"
            if program not in _HARMLESS:
                _mark(f"starts a process ({event}: {program})")
        elif event == "socket.connect":
            _mark("connects to a network or another process (socket.connect)")

    return hook


def _mark(text: str) -> None:
    if text and len(_marks) < _MOST:
        _marks[text] = None


def _opened(path: Any, own: set[str], folders: list[str], shipped: list[str]) -> str:
    """Return a mark where a path holds data or results; empty where it does not."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        return ""  # a file descriptor
    real = os.path.realpath(os.fsdecode(path))
    name = os.path.basename(real)
    if real in own:
        return f"opens the task's file {name}"
    for folder in folders:
        if real.startswith(folder + os.sep):
            inside = Path(real).relative_to(folder).parts
            if inside[0] == "locks" or (inside[0] == "fitted" and name.startswith(_OWN_CACHE)):
                return ""
            return f"opens {'/'.join(inside)} of the data"
    if name in _RESULTS or (name.startswith("results") and ".jsonl" in name):
        return f"opens {name} of a run"
    for folder in shipped:
        if real.startswith(folder + os.sep) and name.endswith(_SHIPPED):
            return f"opens {name} of the package's data"
    return ""
