"""What tests of the benchmark share: methods that misbehave, importable in every process, and grids
of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mbo_gym.benchmark.plan.grid import Cell, Grid, MethodChoice, TaskChoice
from mbo_gym.benchmark.record import CellRecord
from mbo_gym.methods.registry import METHODS

TASK = "Branin-Exact-v0"
SECONDS_TO_WAIT = 120
"""A busy machine may take long; nothing is said about time by this."""

_METHODS = '''
"""Methods that do what they are told to."""

import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mbo_gym.methods.base import Context, Method, MethodInfo, Proposals, Resources


@dataclass(frozen=True)
class OddConfig:
    """Settings: `what` is "", raise, exit, full, interrupt, die, die_once or wait; marks are left in the folder `marks`."""

    what: str = ""
    marks: str = ""


class Odd(Method):
    """Trains a little; designs depend on every bit of it, the criterion is the number of threads."""

    info = MethodInfo("Odd", kind="own", metrics={"loss": "training loss"})
    Config = OddConfig
    PRESETS = {"bad": OddConfig(what="raise")}

    def fit(self, problem, context=Context()):
        self.start(problem, context)
        what, seed = self.config.what, context.seed
        if self.config.marks:
            mark = Path(self.config.marks) / f"started-{seed}"
            again = mark.exists()
            mark.write_text(str(os.getpid()))
            if what == "die" or (what == "die_once" and not again):
                os.kill(os.getpid(), signal.SIGKILL)
            while what == "wait" and not (mark.parent / "go").exists():
                time.sleep(0.02)
        if what == "raise":
            raise ArithmeticError(f"seed {seed} is no good")
        if what == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        if what == "interrupt":
            raise KeyboardInterrupt
        if what == "exit":
            raise SystemExit("a method that leaves")
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(300, 300, generator=generator, requires_grad=True)
        adam = torch.optim.Adam([weight], lr=1e-2)
        for step in range(5):
            adam.zero_grad()
            loss = (weight @ weight).tanh().sum() / 300 + weight.square().mean()
            loss.backward()
            adam.step()
            context.progress.metrics("odd", step, loss=loss.item())
        self.weight = weight.detach()

    def propose(self, k):
        z = (self.weight @ self.weight).flatten()[: 2 * k].sigmoid().view(k, 2).numpy()
        low, high = self.problem.space.low, self.problem.space.high
        x = (low + z * (high - low)).astype(np.float32)
        return Proposals(x, np.full(k, torch.get_num_threads(), dtype=np.float32))


class Wide(Odd):
    """The same on two cores."""

    RESOURCES = Resources(cpus=2)


'''


@pytest.fixture(scope="session")
def odd_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an installed package of methods: ``odd``, and ``odd_wide`` on two
    cores."""
    folder = tmp_path_factory.mktemp("site-packages")
    (folder / "odd_methods.py").write_text(_METHODS)
    info = folder / "odd_methods-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-methods\nVersion: 0.1\n")
    points = ["odd = odd_methods:Odd", "odd_wide = odd_methods:Wide"]
    (info / "entry_points.txt").write_text("\n".join(["[mbo_gym.methods]", *points, ""]))
    return folder


@pytest.fixture(scope="module")
def odd_methods(odd_package: Path) -> Iterator[Path]:
    """Make these methods known here and in every process that is started; return their folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(odd_package))
        patch.setenv("PYTHONPATH", str(odd_package), prepend=os.pathsep)
        with (
            METHODS.temporarily("odd", "odd_methods:Odd"),
            METHODS.temporarily("odd_wide", "odd_methods:Wide"),
        ):
            yield odd_package
    sys.modules.pop("odd_methods", None)


def odd(what: str = "", marks: Path | str = "", label: str = "", name: str = "odd") -> MethodChoice:
    """Return the choice of a method that misbehaves."""
    settings = {key: str(value) for key, value in (("what", what), ("marks", marks)) if value}
    return MethodChoice(name, settings=settings, label=label)


def cells_of(
    *methods: MethodChoice | str, seeds: tuple[int, ...] = (0,), k: int = 8, **options: Any
) -> list[Cell]:
    """Return the cells of methods on Branin."""
    chosen = [MethodChoice(method) if isinstance(method, str) else method for method in methods]
    return Grid(chosen, [TaskChoice(TASK, options)], seeds, (k,)).cells()


def comparable(record: CellRecord) -> dict[str, Any]:
    """Return what of a record must not depend on where the cell ran."""
    changing = {"finished", "seconds", "environment", "sha256"}
    kept = {key: value for key, value in record.to_json().items() if key not in changing}
    if kept["result"] is not None:
        measured = {"fit_seconds", "propose_seconds", "peak_memory_mb"}
        kept["result"] = {
            key: value for key, value in kept["result"].items() if key not in measured
        }
    if kept["error"] is not None:
        kept["error"] = {key: value for key, value in kept["error"].items() if key != "traceback"}
    return kept


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Wait until something holds, or fail."""
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while not condition():
        assert time.monotonic() < deadline, f"waited {SECONDS_TO_WAIT} s until {what}"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Return whether a process is there and is no zombie that nobody has collected."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


PROGRAM = """
import signal
# also where the tests run in the background
signal.signal(signal.SIGINT, signal.default_int_handler)
from mbo_gym.cli import main
main()
"""


@pytest.fixture
def start(odd_package: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return what starts `mbo-gym` with arguments in a process group of its own, as a shell does,
    in `tmp_path`."""
    started: list[subprocess.Popen[str]] = []

    def call(*arguments: str | Path) -> subprocess.Popen[str]:
        path = filter(None, [str(odd_package), os.environ.get("PYTHONPATH")])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield call
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
