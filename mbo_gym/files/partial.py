"""Hidden folders that are being written: whose they are, and whether their writer is gone.

``.<name>.<pid>-<host>-<random>`` becomes ``<name>`` when it is whole. Its time of change is set
again and again while its process lives, so that another machine can tell.
"""

from __future__ import annotations

import os
import platform
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mbo_gym.machine import is_running

__all__ = ["is_abandoned", "kept_alive", "make_partial", "whole_name"]

_PATTERN = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)-(?:(?P<host>.*)-)?[^-.]*(?:\.old)?")
_SECONDS_TO_TOUCH = 30.0
_SECONDS_UNTIL_LOST = 300.0


def make_partial(folder: Path) -> Path:
    """Create a hidden folder beside `folder`, which is to take its name, and return it."""
    prefix = f".{folder.name}.{os.getpid()}-{_host()}-"
    return Path(tempfile.mkdtemp(dir=folder.parent, prefix=prefix))


def whole_name(path: Path) -> str | None:
    """Return the name that a hidden folder is to take; None for one of another kind."""
    found = _PATTERN.fullmatch(path.name)
    return found["name"] if found else None


def is_abandoned(path: Path) -> bool:
    """Return whether the process that wrote a hidden folder is gone.

    On another machine: whether it has not touched the folder for five minutes.
    """
    found = _PATTERN.fullmatch(path.name)
    if found is None:
        return False
    if found["host"] in (None, _host()):
        return not is_running(int(found["pid"]))
    try:
        return time.time() - path.stat().st_mtime > _SECONDS_UNTIL_LOST
    except FileNotFoundError:  # it has just become whole
        return False


@contextmanager
def kept_alive(path: Path) -> Iterator[None]:
    """Touch a folder every half minute, for `is_abandoned` on other machines."""
    ended = threading.Event()

    def touch() -> None:
        while not ended.wait(_SECONDS_TO_TOUCH):
            with suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=touch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _host() -> str:
    """Return this machine's name without dots, which separate the parts of a hidden name."""
    return platform.node().replace(".", "_")
