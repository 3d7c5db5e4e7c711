"""One run: a method on a task with a seed, scored, and written to a folder that is there whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mbo_gym import _version
from mbo_gym.data import store
from mbo_gym.evaluation import Evaluation, evaluate
from mbo_gym.method import make_method
from mbo_gym.oracle import count_oracle_calls
from mbo_gym.progress import RichProgress
from mbo_gym.task import Task
from mbo_gym.tasks import make_task

__all__ = ["RunRequest", "RunResult", "check_folder", "environment_facts", "run"]

_LIBRARIES = ("torch", "numpy", "gymnasium", "scikit-learn", "scipy", "d3rlpy")


@dataclass(frozen=True)
class RunRequest:
    """What to run.

    Args:
        method: Name of the method.
        task_id: The task.
        seed: Of the method.
        k: Designs proposed.
        preset: Named settings of the method, or None.
        settings: Fields of the method's config.
        options: Options of the task.
        device: ``cpu``, ``cuda``, ..
    """

    method: str
    task_id: str
    seed: int = 0
    k: int = 256
    preset: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"


@dataclass(frozen=True)
class RunResult:
    """What came out.

    Args:
        request: What was run.
        evaluation: The proposals' scores.
        search_oracle_calls: Oracle calls while the method learned and proposed; 0 for an offline method.
        fit_seconds: Wall-clock time of `fit`.
        propose_seconds: Wall-clock time of `propose`.
        peak_memory_mb: Most memory the process has held so far, MiB; None on Windows.
        folder: Where it is written.
    """

    request: RunRequest
    evaluation: Evaluation
    search_oracle_calls: int
    fit_seconds: float
    propose_seconds: float
    peak_memory_mb: float | None
    folder: Path


def run(request: RunRequest, folder: Path, *, task: Task | None = None, overwrite: bool = False) -> RunResult:
    """Run a method on a task and write its folder.

    It holds ``config.json``, ``metrics.jsonl``, ``designs.npz``, ``designs.csv``, ``result.json`` and ``model/``.
    Everything is written to a temporary folder beside `folder`, which takes its name at the end; Ctrl-C or an error
    removes it.

    Args:
        request: What to run.
        folder: The run's folder.
        task: The task, where it is made already; else it is made from the request.
        overwrite: Replace a finished run in `folder`.

    Raises:
        FileExistsError: `folder` exists and `overwrite` is off.
    """
    check_folder(folder, overwrite=overwrite)
    _check_device(request.device)
    task = task or make_task(request.task_id, **request.options)
    method = make_method(request.method, preset=request.preset, task_id=request.task_id, **request.settings)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        facts = {"request": asdict(request), "config": asdict(method.config), **environment_facts()}
        _write_json(partial / "config.json", facts)
        with (partial / "metrics.jsonl").open("w") as metrics, count_oracle_calls() as calls:
            prefix = f"{request.method} on {request.task_id}, seed {request.seed}: "
            with RichProgress(metrics, prefix) as progress:
                started = time.perf_counter()
                method.fit(task.problem(), seed=request.seed, device=request.device, progress=progress)
                fitted = time.perf_counter()
                designs = method.propose(request.k)
                proposed = time.perf_counter()
            search_calls = calls.count
        method.save(partial / "model")
        evaluation = evaluate(task, designs)
        result = RunResult(
            request, evaluation, search_calls, fitted - started, proposed - fitted, _peak_memory_mb(), folder
        )
        _write_designs(partial, task, designs, method.criterion, evaluation)
        _write_json(partial / "result.json", _result_facts(result))
        partial.chmod(0o755)
        _put_in_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return result


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Raise FileExistsError where a run's folder exists and may not be replaced."""
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{folder} exists already; choose another --output, or pass --overwrite to replace it")


def _put_in_place(finished: Path, folder: Path) -> None:
    """Give a finished folder its name; an older run of that name goes only once the new one is there."""
    if not folder.exists():
        finished.rename(folder)
        return
    retired = finished.with_name(f"{finished.name}.old")
    folder.rename(retired)
    finished.rename(folder)
    shutil.rmtree(retired)


def environment_facts() -> dict[str, Any]:
    """Return what a reader needs to repeat a run: versions, the source's git commit where there is one, the machine."""
    versions = {"mbo_gym": _version.__version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "git": _git_commit(),
        "machine": {"platform": platform.platform(), "threads": torch.get_num_threads()},
        "command": " ".join(sys.argv),
    }


def _check_device(device: str) -> None:
    """Raise ValueError where torch has no such device, before any work."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"torch cannot use the device {device!r} on this machine: {str(error).splitlines()[0]}"
        ) from error


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


def _peak_memory_mb() -> float | None:
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)  # bytes there, KiB here


def _result_facts(result: RunResult) -> dict[str, Any]:
    return {
        "method": result.request.method,
        "seed": result.request.seed,
        **result.evaluation.to_dict(),
        "search_oracle_calls": result.search_oracle_calls,
        "fit_seconds": result.fit_seconds,
        "propose_seconds": result.propose_seconds,
        "peak_memory_mb": result.peak_memory_mb,
    }


def _write_json(path: Path, facts: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(facts, indent=2, default=str) + "\n")


def _write_designs(
    folder: Path, task: Task, designs: np.ndarray, criterion: np.ndarray, evaluation: Evaluation
) -> None:
    """Write the proposals as arrays for programs and as a table for people, best first."""
    arrays = {"x": designs, "criterion": np.asarray(criterion)}
    header, columns = [*task.space.names, "criterion"], [f"{v:.7g}" for v in np.asarray(criterion)]
    rows = [[*cells, value] for cells, value in zip(task.space.format(designs), columns, strict=True)]
    if evaluation.scores is not None:
        arrays["y"] = evaluation.scores
        header.append("oracle_score")
        rows = [[*row, f"{y:.7g}"] for row, y in zip(rows, evaluation.scores, strict=True)]
    store.write_atomic(folder / "designs.npz", _npz(arrays))
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    store.write_atomic(folder / "designs.csv", text.getvalue().encode())


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
