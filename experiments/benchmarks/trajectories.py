"""Trajectory synthesis, all at once against one after the other, in the manner of PGS's and of
GTG's program."""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

import mbo_gym
from experiments.benchmarks.common import show, where
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import default_action_scale
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.surrogates.base import Surrogate
from mbo_gym.surrogates.fitting import fitted_surrogate
from mbo_gym.trajectories.actions import with_actions
from mbo_gym.trajectories.samplers import local_improving, random_top, top_rows_of_percentile

LOCAL_HORIZON = 63  # 64 designs, as in GTG


def peak_gb() -> float:
    """Return the most memory that this process has held, the kernel's VmHWM, in GB (not ru_maxrss:
    it is inherited)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1e6


def loop(
    z: np.ndarray,
    y: np.ndarray,
    n: int,
    horizon: int,
    scale: float,
    f: Surrogate,
    *,
    together: bool,
) -> int:
    """Make `n` trajectories one after the other and return the number of transitions.

    Each draws its designs without replacement and gets its gradients by calls of its own: one a
    transition, or one for all transitions of the trajectory (`together`).
    """
    rng, tuples = np.random.default_rng(0), []
    for _ in range(n):
        chosen = rng.choice(len(z), size=horizon + 1, replace=False)
        states = z[chosen]
        if together:
            gradients = f.gradient(torch.from_numpy(states[:-1])).numpy()
        for t in range(horizon):
            gradient = (
                gradients[t]
                if together
                else f.gradient(torch.from_numpy(states[t : t + 1])).numpy()[0]
            )
            with np.errstate(divide="ignore", invalid="ignore"):
                action = np.nan_to_num((states[t + 1] - states[t]) / gradient) / scale
            action[np.abs(action) > 1] = 0.0
            reward = y[chosen[t + 1]] - y[chosen[t]]
            tuples.append((states[t], action, reward, states[t + 1], t == horizon - 1))
    return len(tuples)


def compare_random(args: argparse.Namespace) -> None:
    """Time trajectories of random designs with their actions and rewards (PGS)."""
    n, horizon = args.trajectories, args.horizon
    problem = mbo_gym.make_task(args.task).problem()
    encoder = make_encoder(problem)
    surrogate = fitted_surrogate(problem, encoder)
    scale = default_action_scale(problem, encoder, "step_vector")
    surrogate.gradient(torch.zeros(8, encoder.n_features))  # the first call sets autograd up
    before, ours = peak_gb(), []
    for _ in range(3):
        started = time.perf_counter()
        batch = random_top(
            problem, encoder, args.percent, n, horizon, torch.Generator().manual_seed(0)
        )
        drawn = time.perf_counter()
        batch = with_actions(batch, surrogate, "step_vector", scale, outside="zero")
        ours.append((time.perf_counter() - started, drawn - started))
        del batch
    memory = peak_gb() - before
    total, draw = np.median(ours, axis=0)

    top = top_rows_of_percentile(problem, args.percent)
    z, y = (
        encoder.encode(problem.dataset.x[top]),
        problem.dataset.score_scale.standardise(problem.dataset.y[top]),
    )
    rows = [
        ("all at once: drawing", f"{draw:.2f}", "-", "-"),
        ("all at once: drawing, actions, rewards", f"{total:.2f}", f"{memory:.2f}", "1"),
    ]
    for name, together in (("a call a trajectory", True), ("a call a transition", False)):
        started = time.perf_counter()
        loop(z, y, args.loop_trajectories, horizon, float(scale[0]), surrogate, together=together)
        scaled = (time.perf_counter() - started) * n / args.loop_trajectories
        rows.append(
            (f"loop, gradients by {name} (scaled)", f"{scaled:.0f}", "-", f"{scaled / total:,.0f}")
        )
    note = (
        f"{args.task}, default MLP; median of 3; memory: growth of the peak, the result included; "
        "loops: measured on "
        f"{args.loop_trajectories} trajectories; {where()}"
    )
    columns = ("synthesis", "seconds", "peak GB", "times the first")
    show(f"{n:,} trajectories of {horizon} steps", columns, rows, note)


def local_problem(name: str) -> OfflineProblem:
    """Return the named problem: TFBind8's first so many rows by score, or made-up data of the size
    of other tasks."""
    if name.startswith("TFBind8"):
        return mbo_gym.make_task(
            "TFBind8-Exact-v0", max_rows=8_000 if name.endswith("8,000") else None
        ).problem()
    rng = np.random.default_rng(0)
    if name == "50,000 sequences of 10 letters":
        code = rng.choice(4**10, size=50_000, replace=False)
        x = code[:, None] // 4 ** np.arange(10) % 4
        y = rng.normal(size=(10, 4))[np.arange(10), x].sum(axis=1) + rng.normal(size=len(x))
        space: CategoricalSpace | ContinuousSpace = CategoricalSpace(10, 4)
    else:
        x = rng.normal(size=(17_000, 86))
        y = x @ rng.normal(size=86) / 3 + rng.normal(size=len(x))
        space = ContinuousSpace(np.full(86, -np.inf), np.full(86, np.inf))
    # The visible scores fill the lower 45 % of the range, as TFBind8's do.
    return OfflineProblem(
        "made-up", space, OfflineDataset(x, y), (y.min(), y.min() + 2.2 * np.ptp(y))
    )


def plain_walks(
    problem: OfflineProblem, n: int, k: int, eps: float, *, whole_rows: bool
) -> tuple[float, float]:
    """Build the N x N matrix and walk one trajectory after the other; return the CPU seconds of
    each part.

    Each step sorts the distances of the candidates, or of all designs with the others set far away
    (`whole_rows`).
    """
    started = time.process_time()
    x = torch.nn.functional.one_hot(torch.tensor(problem.dataset.x).long()).flatten(1).float()
    distances = torch.cdist(x, x).numpy()
    built = time.process_time()
    low, high = problem.score_range
    y = (problem.dataset.y - low) / (high - low)
    starts, rng = np.flatnonzero(y >= np.percentile(y, 20)), np.random.default_rng(0)
    for _ in range(n):
        path = [rng.choice(starts)]
        for _ in range(LOCAL_HORIZON):
            candidate = y >= y[path].max() - eps
            candidate[path] = False
            if whole_rows:
                rows = np.argsort(np.where(candidate, distances[path[-1]], 1000.0))[:k]
            else:
                rows = np.flatnonzero(candidate)
                rows = rows[np.argsort(distances[path[-1], rows])[:k]]
            path.append(rng.choice(rows))
    return built - started, time.process_time() - built


def measure_local(
    name: str, n: int, k: int, eps: float, way: str, n_plain: int
) -> tuple[float, float, float]:
    """Return seconds, CPU seconds and GB; the plain ways make `n_plain` trajectories, scaled to
    `n`."""
    problem = local_problem(name)
    encoder = make_encoder(problem)
    before, started, cpu = peak_gb(), time.perf_counter(), time.process_time()
    if way == "all at once":
        local_improving(
            problem, encoder, 80, n, LOCAL_HORIZON, torch.Generator().manual_seed(0), k=k, eps=eps
        )
        seconds, used = time.perf_counter() - started, time.process_time() - cpu
    else:
        matrix, walks = plain_walks(problem, n_plain, k, eps, whole_rows="rows" in way)
        used = matrix + walks * n / n_plain
        seconds = used * (time.perf_counter() - started) / (matrix + walks)
    return seconds, used, peak_gb() - before


def compare_local(n_plain: int) -> None:
    """Time trajectories from neighbour to neighbour (GTG), each case in a process of its own for
    its memory's sake."""
    ways = ("all at once", "loop, candidates sorted", "loop, whole rows sorted")
    cases = [
        (name, 1000, 50, 0.05, way)
        for name in ("TFBind8, 8,000", "TFBind8, 32,898")
        for way in ways
    ]
    for eps in (0.05, 1.0):
        cases.append(("50,000 sequences of 10 letters", 1000, 50, eps, ways[0]))
        cases.append(("17,000 designs of 86 reals", 4000, 20, eps, ways[0]))
    rows, ours = [], 0.0
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for name, n, k, eps, way in cases:
            seconds, used, memory = pool.submit(
                measure_local, name, n, k, eps, way, n_plain
            ).result()
            ours = used if way == ways[0] else ours
            figures = f"{seconds:.1f}", f"{used:.1f}", f"{memory:.2f}", f"{used / ours:.1f}"
            rows.append((f"{name}, eps {eps:g}: {way}", f"{n:,}", *figures))
    note = (
        "k = 50 (sequences) or 20; with eps 1 every design is a candidate at every step; "
        "measured once; loops: over "
        f"an N x N matrix, measured on {n_plain} trajectories and scaled; memory: growth of the "
        f"peak; {where()}"
    )
    columns = ("designs, way", "trajectories", "seconds", "CPU s", "peak GB", "CPU ratio")
    show(f"local trajectories of {LOCAL_HORIZON} steps", columns, rows, note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="TFBind8-Exact-v0", help="task id (default: %(default)s)")
    parser.add_argument("--trajectories", type=int, default=20_000)
    parser.add_argument("--horizon", type=int, default=50)
    parser.add_argument(
        "--loop-trajectories", type=int, default=200, help="made by the loops, then scaled"
    )
    parser.add_argument(
        "--local-loop-trajectories", type=int, default=50, help="the same for local trajectories"
    )
    parser.add_argument("--percent", type=float, default=20.0, help="of the best visible designs")
    args = parser.parse_args()
    compare_random(args)
    compare_local(args.local_loop_trajectories)


if __name__ == "__main__":
    main()
