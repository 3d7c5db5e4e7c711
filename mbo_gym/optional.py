"""Optional libraries: imported on use; a missing one names the extra to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from mbo_gym.errors import MissingDependency

__all__ = ["optional_import"]


def optional_import(module: str, extra: str, library: str | None = None) -> Any:
    """Import and return a module of an optional library.

    Old gym, which d3rlpy and stable-baselines3 import, prints a notice to stderr; the extra ``rl``
    is imported without it.

    Args:
        module: Name of the module, e.g. ``"stable_baselines3.common.vec_env"``.
        extra: Extra of mbo-gym that brings the library.
        library: Name of the library for the error; None for that of the module which is missing.

    Raises:
        MissingDependency: The library, or something that it needs, is not installed.
    """
    try:
        if extra == "rl":
            with _no_gym_notice():
                return import_module(module)
        return import_module(module)
    except ImportError as error:
        raise MissingDependency(library or error.name or module, extra) from error


@contextmanager
def _no_gym_notice() -> Iterator[None]:
    """Suppress old gym's notice during its import, and nothing else."""
    try:
        from gym_notices.notices import notices
    except ModuleNotFoundError:
        yield
        return
    kept = dict(notices)
    notices.clear()
    try:
        yield
    finally:
        notices.update(kept)
