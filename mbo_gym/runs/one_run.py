"""One run: a method on a task with a seed, scored, and written to a folder that is there whole or
not at all."""

from __future__ import annotations

import csv
import glob
import io
import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mbo_gym.evaluation.scoring import Evaluation, evaluate
from mbo_gym.evaluation.search import score_search
from mbo_gym.files import store
from mbo_gym.files.designs import free_name
from mbo_gym.files.partial import is_abandoned, kept_alive, make_partial, whole_name
from mbo_gym.machine import own_memory_mb, peak_memory_mb, reset_peak_memory
from mbo_gym.methods import saved
from mbo_gym.methods.base import Context, Method, Proposals
from mbo_gym.methods.registry import make_method
from mbo_gym.optional import optional_import
from mbo_gym.problem.task import Task
from mbo_gym.progress.bars import RichProgress
from mbo_gym.progress.loggers import JsonLinesLogger, make_loggers
from mbo_gym.progress.protocol import LEARNING
from mbo_gym.runs.apart import CAN_ISOLATE, learn_apart, prepare
from mbo_gym.runs.data_files import check_folder, files_of, place_of, write_rows
from mbo_gym.runs.learning import Learned, learn
from mbo_gym.runs.memory import MadeTask, make_measured, most
from mbo_gym.runs.offline import offline_numbers
from mbo_gym.runs.picture import PICTURE, save_designs, save_picture
from mbo_gym.runs.provenance import environment_facts
from mbo_gym.runs.request import RunRequest
from mbo_gym.tasks.registry import task_options

__all__ = ["RunRequest", "RunResult", "check_device", "check_folder", "run"]


@dataclass(frozen=True)
class RunResult:
    """What came out.

    Args:
        request: What was run.
        evaluation: The proposals' scores.
        search_oracle_calls: Oracle calls while the method learned and proposed; 0 for an offline
            method.
        fit_seconds: Wall-clock time of `fit`.
        propose_seconds: Wall-clock time of `propose`.
        peak_memory_mb: Most memory that the run has held, MiB: while the task was read, while the
            method learned (in its process, and in this one beside it), or while it was scored.
        search: {"step", "prediction", "score"} along the search, see
            `mbo_gym.evaluation.search.score_search`; empty where the method records none.
        learning: The same of the designs that a policy reaches, along its training; empty where the
            method trains none.
        trace_oracle_calls: Oracle calls for these scores, made when the search was over.
        learned_rollouts: Episodes that learned simulators computed while the method learned and
            proposed, see `mbo_gym.surrogates.calls`.
        learned_gradients: Gradients of such episodes.
        tables: Tables that the method recorded, by name, such as the race of families.
        offline: What the method's surrogate says of itself, see
            `mbo_gym.runs.offline.offline_numbers`.
        data: Hash of the task's data, see `Task.data_hash`.
        touched: What the process that learned touched that a method needs not, see
            `mbo_gym.runs.audit`.
        isolated: Whether that process held the problem alone, see `mbo_gym.runs.apart`.
        folder: Where it is written.
    """

    request: RunRequest
    evaluation: Evaluation
    search_oracle_calls: int
    fit_seconds: float
    propose_seconds: float
    peak_memory_mb: float | None
    search: list[dict[str, Any]]
    learning: list[dict[str, Any]]
    trace_oracle_calls: int
    learned_rollouts: int
    learned_gradients: int
    tables: Mapping[str, list[dict[str, Any]]]
    offline: Mapping[str, float | None]
    data: str
    touched: tuple[str, ...]
    isolated: bool
    folder: Path

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values, but for the single scores and the folder."""
        return {
            "method": self.request.method,
            "seed": self.request.seed,
            **self.evaluation.to_dict(),
            "search_oracle_calls": self.search_oracle_calls,
            "trace_oracle_calls": self.trace_oracle_calls,
            "learned_rollouts": self.learned_rollouts,
            "learned_gradients": self.learned_gradients,
            "fit_seconds": self.fit_seconds,
            "propose_seconds": self.propose_seconds,
            "peak_memory_mb": self.peak_memory_mb,
            "search": self.search,
            "learning": self.learning,
            "tables": dict(self.tables),
            "offline": dict(self.offline),
            "data": self.data,
            "touched": list(self.touched),
            "isolated": self.isolated,
        }


def run(
    request: RunRequest,
    folder: Path,
    *,
    task: Task | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    plot: bool = False,
    isolated: bool = True,
    keep_rows: bool = True,
    task_peak_mb: float | None = None,
    checkpoints: Path | None = None,
) -> RunResult:
    """Run a method on a task and write its folder.

    The method learns and proposes in a process apart, which gets the problem alone; task, oracle
    and hidden rows stay here, where the proposals are scored.

    It holds ``config.json``, ``metrics.jsonl``, ``designs.npz``, ``designs.csv``, ``result.json``,
    ``model/`` and, where it is asked for, ``picture.png``. Everything is written to a temporary
    folder beside `folder`, which takes its name at the end; Ctrl-C or an error removes it.

    Where `folder` holds a run, and a file that the task is made of has changed since, that run is
    kept. A warning tells what has changed, and this run goes beside it, see
    `mbo_gym.runs.data_files.place_of`.

    Args:
        request: What to run.
        folder: The run's folder.
        task: The task, where it is made already; else it is made from the request.
        overwrite: Replace a finished run in `folder`.
        quiet: No progress bars, even on a terminal.
        plot: Draw what the method did, see `mbo_gym.runs.picture`.
        isolated: Whether the method learns in a process apart. A method that asks the oracle by its
            settings does not, nor does any on Windows.
        keep_rows: Whether the folder keeps a number for each row of the task's table, from which a
            later run tells what is new.
        task_peak_mb: Memory that making `task` took, see `mbo_gym.runs.memory.make_measured`; it
            counts in the peak of the run.
        checkpoints: Folder in which long trainings keep checkpoints, and from which a run that was
            killed goes on; see `mbo_gym.nn.checkpoints.trainings_kept`. The caller removes it.

    Raises:
        TypeError: The method's class cannot be imported by another process.
        FileExistsError: `folder` exists, `overwrite` is off and the data are the same.
        DamagedFile: `folder` holds a run that cannot be read.
        MissingDependency: A library that a logger or the picture needs is not installed.
    """
    _sweep(folder)
    place = place_of(folder, request.options, overwrite=overwrite)
    if place.note:
        warnings.warn(place.note, stacklevel=2)
        folder = place.folder
    if plot:
        optional_import("matplotlib", "report")  # a missing library shows before any work is done
    check_device(request.device)
    if isolated and CAN_ISOLATE:
        prepare()
    if task is None:
        # in their types and with absolute paths: what is kept means the same in every folder
        request = replace(request, options=task_options(request.task_id, **request.options))
        made = make_measured(request.task_id, **request.options)
        task, task_peak_mb = made.task, made.peak_mb
    else:
        reset_peak_memory()
    method = make_method(
        request.method, preset=request.preset, task_id=request.task_id, **request.settings
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = make_partial(folder)
    try:
        facts = {"request": asdict(request), "config": asdict(method.config), **environment_facts()}
        facts |= {"command": request.command, "files": files_of(request.options)}
        _write_json(partial / "config.json", facts)
        if keep_rows:
            write_rows(partial, request.options)
        with kept_alive(partial):
            result, proposals = _run_into(
                partial,
                request,
                MadeTask(task, task_peak_mb),
                method,
                folder=folder,
                quiet=quiet,
                plot=plot,
                apart=isolated,
                checkpoints=checkpoints,
            )
        _write_designs(partial, task, proposals, result.evaluation)
        _write_json(partial / "result.json", result.to_dict())
        store.seal(partial)
        partial.chmod(0o755)
        _put_in_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return result


def _run_into(
    partial: Path,
    request: RunRequest,
    made: MadeTask,
    method: Method,
    *,
    folder: Path,
    quiet: bool,
    plot: bool,
    apart: bool,
    checkpoints: Path | None,
) -> tuple[RunResult, Proposals]:
    """Let the method learn and propose, score the proposals, draw them; return the result and the
    designs."""
    task = made.task
    name = f"{request.method} on {request.task_id}, seed {request.seed}"
    more = make_loggers(request.loggers, partial, run_name=name, config=asdict(method.config))
    loggers = [JsonLinesLogger(partial / "metrics.jsonl"), *more]
    before = peak_memory_mb()
    held = own_memory_mb() or 0.0  # beside the process that learns
    with RichProgress(loggers, f"{name}: ", quiet=quiet) as progress:
        learned = _learned(
            request, task, method, partial / "model", progress, checkpoints, apart=apart
        )
    proposals = learned.proposals
    evaluation = evaluate(task, proposals.x)
    walks = [point for point in learned.trace if point.stage != LEARNING]
    training = [point for point in learned.trace if point.stage == LEARNING]
    search, search_calls = score_search(task, walks)
    learning, learning_calls = score_search(task, training)
    if plot:
        save_picture(partial / PICTURE, task, proposals.x, evaluation, walks, name=name)
        if evaluation.scores is not None:
            save_designs(partial, task, proposals.x, evaluation.scores)
    learner_peak = learned.peak_memory_mb
    if learned.isolated and learner_peak is not None:
        learner_peak += held
    scale = task.dataset.score_scale
    return RunResult(
        request=request,
        evaluation=evaluation,
        search_oracle_calls=learned.oracle_calls,
        fit_seconds=learned.fit_seconds,
        propose_seconds=learned.propose_seconds,
        peak_memory_mb=most(made.peak_mb, before, learner_peak, peak_memory_mb()),
        search=search,
        learning=learning,
        trace_oracle_calls=search_calls + learning_calls,
        learned_rollouts=learned.learned_rollouts,
        learned_gradients=learned.learned_gradients,
        tables=learned.tables,
        offline=offline_numbers(learned.report, scale, proposals, evaluation.scores),
        data=task.data_hash,
        touched=learned.touched,
        isolated=learned.isolated,
        folder=folder,
    ), proposals


def _learned(
    request: RunRequest,
    task: Task,
    method: Method,
    model: Path,
    progress: RichProgress,
    checkpoints: Path | None,
    *,
    apart: bool,
) -> Learned:
    """Let the method learn, propose and write the folder `model`."""
    problem, seed, device = task.problem(), request.seed, request.device
    if not apart or not CAN_ISOLATE or method.asks_oracle:
        context = Context(seed, device, progress)
        return learn(method, problem, context, request.k, model, checkpoints)
    files = tuple(value for value in request.options.values() if isinstance(value, str))
    opaque = problem.opaque()
    learned = learn_apart(
        method, opaque, seed, device, request.k, model, progress, files, checkpoints
    )
    saved.name_problem(model, problem)
    return learned


def _sweep(folder: Path) -> None:
    """Remove the hidden folders that killed runs of this name left, and bring an older run back
    that had made room for one of them."""
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.*"):
        if whole_name(path) != folder.name or not is_abandoned(path):
            continue
        if path.suffix == ".old" and not folder.exists():
            path.rename(folder)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _put_in_place(finished: Path, folder: Path) -> None:
    """Give a finished folder its name; an older run of that name goes only once the new one is
    there."""
    if not folder.exists():
        finished.rename(folder)
        return
    retired = finished.with_name(f"{finished.name}.old")
    folder.rename(retired)
    finished.rename(folder)
    shutil.rmtree(retired)


def check_device(device: str) -> None:
    """Raise ValueError where torch has no such device, or one without numbers, before any work."""
    try:
        float(torch.zeros(1, device=device))
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"torch cannot use the device {device!r} on this machine: {_first_sentence(error)}. "
            "Pass cpu, or cuda or cuda:N where there is a GPU."
        ) from error


def _first_sentence(error: Exception) -> str:
    return str(error).splitlines()[0].partition(". ")[0].rstrip(".")


def _write_json(path: Path, facts: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(facts, indent=2, default=str) + "\n")


def _write_designs(folder: Path, task: Task, proposals: Proposals, evaluation: Evaluation) -> None:
    """Write the proposals as arrays for programs and as a table for people, best first.

    Arrays are as methods and oracles give them. The table has scores in the unit and sign of the
    task's file, and another name for a criterion that is no score.
    """
    arrays = {"x": proposals.x, "criterion": proposals.criterion}
    names = task.space.names
    sign = -1.0 if task.info.minimised else 1.0
    predicted = proposals.scores(task.dataset.score_scale)
    if predicted is None:
        columns = {"own_criterion": proposals.criterion}
    else:
        columns = {"criterion": sign * predicted}
    if evaluation.scores is not None:
        arrays["y"] = evaluation.scores
        columns["oracle_score"] = sign * evaluation.scores
    header = [*names, *(free_name(name, names) for name in columns)]
    texts = [[f"{value + 0.0:.7g}" for value in values] for values in columns.values()]
    designs = task.space.format(proposals.x)
    rows = [[*cells, *more] for cells, *more in zip(designs, *texts, strict=True)]
    store.write_atomic(folder / "designs.npz", _npz(arrays))
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    store.write_atomic(folder / "designs.csv", text.getvalue().encode())


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
