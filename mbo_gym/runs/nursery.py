"""The other side of `mbo_gym.runs.apart`: the nursery, and the process that learns."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import numpy as np
import torch

from mbo_gym.errors import MboGymError
from mbo_gym.methods.base import Context
from mbo_gym.progress.bars import RichProgress
from mbo_gym.progress.protocol import T
from mbo_gym.registry import Registry
from mbo_gym.runs import audit
from mbo_gym.runs.learning import learn

__all__ = ["REGISTRIES", "nurse", "preload", "registry", "serve"]

_OF_TRAINING = ("torch._dynamo", "scipy.stats", "sklearn")
"""What most trainings import, the first with the first optimizer: seconds, in each process anew."""
_SECONDS_OF_A_BAR = 0.1
_SECONDS_OF_A_LOOK = 0.5

REGISTRIES = (
    "mbo_gym.methods.registry:METHODS",
    "mbo_gym.surrogates.registry:SURROGATES",
    "mbo_gym.encoders.registry:ENCODERS",
)
"""Where the registries are whose names go to the process that learns."""


def registry(place: str) -> Registry:
    """Return a registry by its place."""
    module, _, name = place.partition(":")
    found: Registry = getattr(import_module(module), name)
    return found


def serve(descriptor: int) -> NoReturn:
    """Be a nursery, in a fresh interpreter."""
    connection = Connection(descriptor)
    preload(training=True)
    nurse(connection)


def preload(*, training: bool) -> None:
    """Import what every run needs, before any fork, and run none of it.

    Args:
        training: Whether to import what most trainings need, too.
    """
    for name in _OF_TRAINING if training else ():
        import_module(name)
    for place in REGISTRIES:
        list(registry(place))


def nurse(connection: Connection) -> NoReturn:
    """Fork a process for each order; end with the process that gives them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process
    parent, learner = os.getppid(), 0

    def end(*_: Any) -> NoReturn:
        if learner:
            with suppress(OSError):
                os.kill(learner, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    while True:
        try:
            order = connection.recv_bytes()
        except (EOFError, OSError):
            end()
        learner = os.fork()
        if learner == 0:
            _be_learner(connection, order)
        status = None
        while status is None:
            done, code = os.waitpid(learner, os.WNOHANG)
            status = code if done else None
            if os.getppid() != parent:
                end()
            time.sleep(0.0 if done else 0.005)
        learner = 0
        try:
            _send(connection, "ended", status=status)
        except OSError:
            end()


def _be_learner(connection: Connection, order: bytes) -> NoReturn:
    """Learn, send what was learned or the error, and leave."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        _learn(connection, order)
    except BaseException as error:  # whatever a method does wrong is told
        with suppress(OSError):
            _send(connection, "error", **_told(error))
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(0)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS_OF_A_LOOK)
    os._exit(1)


def _told(error: BaseException) -> dict[str, Any]:
    kind = type(error)
    arguments = error.__reduce__()[1] if isinstance(error, MboGymError) else error.args
    try:
        json.dumps(arguments)
    except TypeError:
        arguments = (str(error),)
    return {
        "module": kind.__module__,
        "name": kind.__qualname__,
        "message": str(error),
        "args": list(arguments),
        "traceback": "".join(traceback.format_exception(error)),
    }


def _learn(connection: Connection, order: bytes) -> None:
    from threadpoolctl import threadpool_limits

    settings, body = pickle.loads(order)
    sys.path[:] = settings["path"]
    os.environ.clear()
    os.environ.update(settings["environment"])
    os.chdir(settings["folder"])
    audit.arm(settings["data"])  # before a line of the method's module runs
    for place, name, spec in settings["names"]:
        if name not in registry(place):
            known = pickle.loads(spec)
            registry(place).register(name, known.entry_point, **known.kwargs)
    method, problem, seed, device, k, folder, checkpoints, draws = pickle.loads(body)
    warnings.showwarning = partial(_tell, connection)
    torch.set_num_threads(settings["threads"])
    with (
        _PipedProgress(connection, draws=draws) as progress,
        threadpool_limits(settings["threads"]),
    ):
        learned = learn(method, problem, Context(seed, device, progress), k, folder, checkpoints)
    facts = {
        name: getattr(learned, name)
        for name in (
            *("fit_seconds", "propose_seconds", "peak_memory_mb", "oracle_calls"),
            *("learned_rollouts", "learned_gradients"),
        )
    }
    facts["tables"] = {name: list(rows) for name, rows in learned.tables.items()}
    facts["report"] = None if learned.report is None else asdict(learned.report)
    facts["trace"] = [(point.stage, point.step) for point in learned.trace]
    facts["unit"] = learned.proposals.unit
    facts["touched"] = audit.touched()
    arrays = {"x": learned.proposals.x, "criterion": learned.proposals.criterion}
    for i, point in enumerate(learned.trace):
        arrays |= {f"x{i}": point.x, f"prediction{i}": point.prediction}
    buffer = io.BytesIO()
    np.savez(buffer, **{key: np.asarray(value) for key, value in arrays.items()})  # type: ignore[arg-type]
    _send(connection, "learned", facts=facts)
    connection.send_bytes(buffer.getvalue())


_sending = threading.Lock()


def _send(connection: Connection, what: str, **facts: Any) -> None:
    content = json.dumps({"what": what, **facts}, default=_plain).encode()
    with _sending:
        connection.send_bytes(content)


def _plain(value: Any) -> Any:
    """Return a number of numpy or torch as one of Python."""
    return value.item() if hasattr(value, "item") else str(value)


def _tell(
    connection: Connection,
    message: Any,
    category: type[Warning],
    filename: str,
    lineno: int,
    *_: Any,
) -> None:
    """Send a warning to the main process."""
    _send(
        connection,
        "warning",
        text=str(message),
        category=category.__name__,
        file=filename,
        line=lineno,
    )


class _PipedLogger:
    """Sends metrics to the main process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Send the numbers of a step."""
        _send(self._connection, "metrics", stage=stage, step=step, values=dict(values))

    def close(self) -> None:
        """Do nothing."""


class _PipedProgress(RichProgress):
    """Progress whose bars and metrics are shown by the main process; the trace is kept here."""

    def __init__(self, connection: Connection, *, draws: bool) -> None:
        super().__init__([_PipedLogger(connection)], quiet=True)
        self._connection, self._sends_bars = connection, draws
        self._n_bars = 0

    def track(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        """Yield `items` under a bar of the main process."""
        if not self._sends_bars:
            yield from items
            return
        if total is None and isinstance(items, Sized):
            total = len(items)
        update = self.open_bar(description, total)
        try:
            for done, item in enumerate(items, start=1):
                yield item
                update(done)
        finally:
            update(None)

    def open_bar(self, description: str, total: int | None) -> Callable[[int | None], None]:
        """Show a bar of the main process, at most ten times a second."""
        if not self._sends_bars:
            return lambda done: None
        self._n_bars += 1
        number, last = self._n_bars, 0.0
        _send(self._connection, "bar", id=number, description=description, total=total)

        def update(done: int | None) -> None:
            nonlocal last
            now = time.monotonic()
            if done is None or done == total or now - last > _SECONDS_OF_A_BAR:
                last = now
                _send(self._connection, "done", id=number, done=done)

        return update
