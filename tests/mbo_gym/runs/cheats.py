"""A method that tries to see hidden scores, in each way that is known."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

import mbo_gym
from mbo_gym.data import manifest
from mbo_gym.evaluation.controls import known_controls
from mbo_gym.files import store
from mbo_gym.methods.base import Context, Method, MethodInfo, Proposals
from mbo_gym.problem import oracle
from mbo_gym.problem.task import OfflineProblem, Task

TASK = "TFBind8-Exact-v0"


def calls_an_oracle(problem: OfflineProblem, path: str) -> Any:
    return mbo_gym.make_task(TASK).oracle()(problem.dataset.x[:8])


def evaluates(problem: OfflineProblem, path: str) -> Any:
    return mbo_gym.evaluate(mbo_gym.make_task(TASK), problem.dataset.x[:8]).scores


def steps_in_an_environment(problem: OfflineProblem, path: str) -> Any:
    import gymnasium as gym

    env = gym.make("mbo_gym/Branin-Exact-v0", reward="oracle")
    env.reset(seed=0)
    return env.step(env.action_space.sample())[1]


def scores_uncounted(problem: OfflineProblem, path: str) -> Any:
    return mbo_gym.make_task(TASK).hidden_oracle._score(problem.dataset.x[:8])


def reads_the_table(problem: OfflineProblem, path: str) -> Any:
    return vars(mbo_gym.make_task(TASK).hidden_oracle)


def reads_the_ceiling(problem: OfflineProblem, path: str) -> Any:
    return mbo_gym.make_task(TASK).ceiling.scores


def reads_the_controls(problem: OfflineProblem, path: str) -> Any:
    return known_controls(mbo_gym.make_task(TASK), 8)


def clears_the_counters(problem: OfflineProblem, path: str) -> Any:
    oracle._counters.clear()
    return mbo_gym.make_task(TASK).oracle()(problem.dataset.x[:8])


def walks_frames(problem: OfflineProblem, path: str) -> Any:
    frame, found = sys._getframe(), []
    while frame is not None:
        found += [v for v in frame.f_locals.values() if isinstance(v, (Task, oracle.Oracle))]
        frame = frame.f_back
    return found


def asks_gc_for_objects(problem: OfflineProblem, path: str) -> Any:
    return [o for o in gc.get_objects() if isinstance(o, (Task, oracle.Oracle))]


def asks_gc_for_referrers(problem: OfflineProblem, path: str) -> Any:
    return [o for o in gc.get_referrers(problem) if isinstance(o, (Task, oracle.Oracle))]


def makes_the_task_by_its_id(problem: OfflineProblem, path: str) -> Any:
    try:
        return [mbo_gym.make_task(problem.task_id, **problem.options)]
    except mbo_gym.UnknownId:
        return []


def reads_the_package(problem: OfflineProblem, path: str) -> Any:
    return np.load(str(files("mbo_gym") / "data" / "tfbind8_six6_ref_r1.npz")).files


def reads_the_manifest(problem: OfflineProblem, path: str) -> Any:
    return len(manifest.shipped("tfbind8_six6_ref_r1"))


def reads_the_cache(problem: OfflineProblem, path: str) -> Any:
    return [p.read_bytes() for p in store.write_folder().glob("fitted/forest-*.npz")]


def reads_the_users_file(problem: OfflineProblem, path: str) -> Any:
    return Path(path, "own.csv").read_text()


def reads_other_results(problem: OfflineProblem, path: str) -> Any:
    return np.load(Path(path, "cells", "other", "designs.npz"))["y"]


def starts_a_process(problem: OfflineProblem, path: str) -> Any:
    return subprocess.run([sys.executable, "-c", "print(1)"], check=True, capture_output=True)


def asks_a_server(problem: OfflineProblem, path: str) -> Any:
    import socket

    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", 9))


def patches_the_evaluation(problem: OfflineProblem, path: str) -> Any:
    from mbo_gym.runs import one_run

    def forged(task: Any, x: np.ndarray) -> Any:
        raise AssertionError("the evaluation was replaced")

    one_run.evaluate = forged
    return []


WAYS: dict[str, Callable[[OfflineProblem, str], Any]] = {
    way.__name__: way
    for way in (
        *(calls_an_oracle, evaluates, steps_in_an_environment, scores_uncounted),
        *(reads_the_table, reads_the_ceiling, reads_the_controls, clears_the_counters),
        *(reads_the_package, reads_the_manifest, reads_the_cache, reads_the_users_file),
        *(reads_other_results, starts_a_process, asks_a_server),
        *(walks_frames, asks_gc_for_objects, asks_gc_for_referrers, makes_the_task_by_its_id),
        patches_the_evaluation,
    )
}


@dataclass(frozen=True)
class CheatConfig:
    """Settings: the way that is tried, and a folder with files to look for."""

    way: str = ""
    path: str = ""


class Cheat(Method):
    """Tries one way, and tells how much it found."""

    info = MethodInfo("Cheat", kind="own")
    Config = CheatConfig

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Try."""
        self.start(problem, context)
        found = WAYS[self.config.way](problem, self.config.path)
        n = len(found) if isinstance(found, (list, str, dict, np.ndarray)) else 1
        context.progress.table("found", [{"n": n}])

    def propose(self, k: int) -> Proposals:
        """Return the best visible designs."""
        return Proposals(self.problem.dataset.top(k).x, np.zeros(k))
