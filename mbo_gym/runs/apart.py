"""A process apart, in which a method learns: it gets the problem and returns designs.

    this process            nursery                         a process for each run
    task, oracle, scores    imports, holds no data, forks   problem, method, audit
         | order ------------------------------------------>|
         |<------------------------- bars, metrics, designs |

The nursery is started once, before this process has made a task or in a fresh interpreter. A fork
of it costs milliseconds and inherits nothing hidden. What comes back is JSON and arrays, never
pickle.
"""

from __future__ import annotations

import atexit
import builtins
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from mbo_gym.errors import MboGymError, UnknownId
from mbo_gym.files.store import load_npz
from mbo_gym.methods.base import Proposals
from mbo_gym.problem.task import tasks_made
from mbo_gym.progress.bars import RichProgress
from mbo_gym.progress.protocol import SearchPoint
from mbo_gym.runs.learning import Learned
from mbo_gym.runs.nursery import REGISTRIES, nurse, preload, registry
from mbo_gym.surrogates.base import FitReport

__all__ = ["CAN_ISOLATE", "LearnerLost", "MethodFailed", "fork_nursery", "learn_apart", "prepare"]

CAN_ISOLATE = hasattr(os, "fork")
"""Whether this system can fork; Windows cannot."""

_KNOWN_ERRORS = ("builtins", "mbo_gym", "agents", "diffusion")
_SECONDS_TO_A_SIGNAL = 0.5


class MethodFailed(MboGymError):
    """An error of a method, of a kind that is known in its own process only.

    Args:
        name: Name of the error's class.
        message: Message.
    """

    def __init__(self, name: str, message: str) -> None:
        self.name = name
        super().__init__(message)

    def __reduce__(self) -> tuple[type[MethodFailed], tuple[str, str]]:
        return type(self), (self.name, str(self))


class LearnerLost(RuntimeError):
    """The process that learned is gone: killed, or out of memory."""


class _Traceback(Exception):
    """The traceback of an error in another process, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class _Nursery:
    """A process that forks one for each run."""

    def __init__(self, *, fork: bool) -> None:
        self.connection, other = Pipe()
        self._process: subprocess.Popen[bytes] | None = None
        if fork:
            self.pid = os.fork()
            if self.pid == 0:
                self.connection.close()
                nurse(other)
        else:
            code = (
                f"import sys; sys.path[:] = {sys.path!r}; "
                f"from mbo_gym.runs.nursery import serve; serve({other.fileno()})"
            )
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], pass_fds=[other.fileno()]
            )
            self.pid = self._process.pid
        other.close()
        self.owner = os.getpid()

    def close(self) -> None:
        """End the nursery, and the process that it forked."""
        if os.getpid() != self.owner:
            return
        with suppress(OSError):
            os.kill(self.pid, signal.SIGTERM)
        self.connection.close()
        with suppress(OSError):
            if self._process is not None:
                self._process.wait()
            else:
                os.waitpid(self.pid, 0)


_nursery: _Nursery | None = None
_in_use = threading.Lock()


def fork_nursery(*, training: bool = True) -> None:
    """Start the nursery by a fork of this process, which must not have run torch yet.

    It takes milliseconds, where a fresh interpreter takes as long as importing torch. Where this
    process has made a task, has other threads, or has a nursery, nothing happens.

    Args:
        training: Whether to import here what most trainings need, which takes seconds and spares
            them in every run.
    """
    if not CAN_ISOLATE or tasks_made() or threading.active_count() > 1:
        return
    if _nursery is None or _nursery.owner != os.getpid():
        preload(training=training)
        _keep(_Nursery(fork=True))


def _keep(nursery: _Nursery) -> _Nursery:
    global _nursery
    if _nursery is None:
        atexit.register(_forget)
    _nursery = nursery
    return nursery


def _forget() -> None:
    global _nursery
    if _nursery is not None:
        _nursery.close()
    _nursery = None


def _own_nursery() -> _Nursery:
    if _nursery is not None and _nursery.owner == os.getpid():
        return _nursery
    return _keep(_Nursery(fork=False))


def prepare() -> None:
    """Start the nursery where there is none, so that it imports while this process goes on."""
    _own_nursery()


def learn_apart(
    method: Any,
    problem: Any,
    seed: int,
    device: str,
    k: int,
    folder: Path,
    progress: RichProgress,
    data: tuple[str, ...] = (),
    checkpoints: Path | None = None,
) -> Learned:
    """Let a method learn in a process apart; see `mbo_gym.runs.learning.learn`.

    Args:
        method: Unfitted method; its class must be importable by its module and name.
        problem: What goes to that process, see `OfflineProblem.opaque`.
        seed: Seed of the method.
        device: Device of the method.
        k: Number of designs.
        folder: Folder of the fitted method.
        progress: Observer in this process.
        data: Files that hold the task's data, which the process has no need to open.
        checkpoints: Folder of checkpoints within the fit, or None.

    Returns:
        What was learned.

    Raises:
        MethodFailed: The method raised an error of a class of its own.
        LearnerLost: The process died.
        TypeError: The method's class cannot be imported by another process.
    """
    order = _order(data, method, problem, seed, device, k, folder, checkpoints, progress.draws)
    with _a_nursery() as connection:
        try:
            connection.send_bytes(order)
            found = _listen(connection, progress)
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise LearnerLost("the process that learned is gone") from error
    if isinstance(found, UnknownId) and found.name in _not_handed_on():
        raise TypeError(
            f"{found.name!r} is registered here as an object that another process cannot import. "
            'Register it as "module:name", or pass isolated=False (the result then says so).'
        ) from found
    if isinstance(found, BaseException):
        raise found
    return found


@contextmanager
def _a_nursery() -> Iterator[Connection]:
    """Yield the connection to this process's nursery, or to one for this run alone where another
    thread uses that; one that is left by an error is ended."""
    if not _in_use.acquire(blocking=False):
        own = _Nursery(fork=False)
        try:
            yield own.connection
        finally:
            own.close()
        return
    try:
        yield _own_nursery().connection
    except BaseException:
        _forget()
        raise
    finally:
        _in_use.release()


def _order(data: tuple[str, ...], method: Any, problem: Any, *rest: Any) -> bytes:
    """Return the bytes of a run: first what the process must be like, then what it shall do."""
    kind = type(method)
    try:
        if kind.__module__ == "__main__":
            raise TypeError("it is defined in the program that runs")
        pickle.loads(pickle.dumps(method))  # large data are not read back
        body = pickle.dumps((method, problem, *rest))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"the method {kind.__qualname__} of {kind.__module__} cannot be handed to the process "
            f"that learns: {error}. Define its class and settings at the top of a module that can "
            "be imported, or pass isolated=False (the result then says so)."
        ) from error
    settings = {
        "path": list(sys.path),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "threads": torch.get_num_threads(),
        "names": _registered(),
        "data": data,
    }
    return pickle.dumps((settings, body))


def _registered() -> list[tuple[str, str, bytes]]:
    """Return what is registered here and can be handed on: registry, name, pickled spec."""
    found = []
    for place in REGISTRIES:
        for name in registry(place):
            with suppress(pickle.PicklingError, AttributeError, TypeError):
                found.append((place, name, pickle.dumps(registry(place).spec(name))))
    return found


def _not_handed_on() -> set[str]:
    """Return the names that are registered here as objects that cannot be pickled."""
    known = {name for _, name, _ in _registered()}
    return {name for place in REGISTRIES for name in registry(place)} - known


def _listen(connection: Connection, progress: RichProgress) -> Learned | BaseException:
    """Take messages until the process has ended; return what was learned, or the error."""
    bars: dict[int, Callable[[int | None], None]] = {}
    found: Learned | BaseException | None = None
    while True:
        # A signal that reaches another thread is handled when this one wakes
        while not connection.poll(_SECONDS_TO_A_SIGNAL):
            pass
        message = json.loads(connection.recv_bytes())
        what = message.pop("what")
        if what == "bar":
            bars[message["id"]] = progress.open_bar(message["description"], message["total"])
        elif what == "done":
            bars[message["id"]](message["done"])
        elif what == "metrics":
            progress.metrics(message["stage"], message["step"], **message["values"])
        elif what == "warning":
            _warn(message)
        elif what == "learned":
            found = _read_learned(message, connection.recv_bytes())
        elif what == "error":
            found = _error(message)
        elif what == "ended":
            if found is None:
                raise LearnerLost(_ended_by(message["status"]))
            return found


def _ended_by(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"the process that learned died (signal {number}: killed, or out of memory)"
    return f"the process that learned left with exit code {os.WEXITSTATUS(status)}"


def _warn(message: Mapping[str, Any]) -> None:
    category = getattr(builtins, message["category"], UserWarning)
    warnings.warn_explicit(message["text"], category, message["file"], message["line"])


def _error(message: Mapping[str, Any]) -> BaseException:
    """Return an error of another process; its class, where that is one of ours or Python's."""
    name, text, module = message["name"], message["message"], message["module"]
    error: BaseException = MethodFailed(name, text)
    if module.partition(".")[0] in _KNOWN_ERRORS:
        kind = getattr(import_module(module), name, None)
        if isinstance(kind, type) and issubclass(kind, BaseException):
            with suppress(TypeError):
                error = kind(*message["args"])
    error.__cause__ = _Traceback(message["traceback"])
    return error


def _read_learned(message: Mapping[str, Any], content: bytes) -> Learned:
    arrays, facts = load_npz(content), dict(message["facts"])
    report = facts.pop("report")
    trace = [
        SearchPoint(stage, step, arrays[f"x{i}"], arrays[f"prediction{i}"])
        for i, (stage, step) in enumerate(facts.pop("trace"))
    ]
    return Learned(
        proposals=Proposals(arrays["x"], arrays["criterion"], unit=facts.pop("unit")),
        report=None if report is None else FitReport(**report),
        trace=trace,
        touched=tuple(facts.pop("touched")),
        isolated=True,
        **facts,
    )
