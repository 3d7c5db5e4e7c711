"""Trajectory synthesis: all at once with cached gradients, against loops in the manner of PGS's program."""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch
from common import show, where

import mbo_gym
from mbo_gym.encoding import make_encoder
from mbo_gym.envs.dynamics import default_action_scale
from mbo_gym.surrogates import Surrogate, fitted_surrogate
from mbo_gym.trajectories import random_top, top_rows_of_percentile, with_actions


def peak_gb() -> float:
    """Return the most memory that this process has held, the kernel's ru_maxrss, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # kB on Linux


def loop(z: np.ndarray, y: np.ndarray, n: int, horizon: int, scale: float, f: Surrogate, *, together: bool) -> int:
    """Make `n` trajectories one after the other and return the number of transitions.

    Each draws its designs without replacement and gets its gradients by calls of its own: one a transition, or one
    for all transitions of the trajectory (`together`).
    """
    rng, tuples = np.random.default_rng(0), []
    for _ in range(n):
        chosen = rng.choice(len(z), size=horizon + 1, replace=False)
        states = z[chosen]
        if together:
            gradients = f.gradient(torch.from_numpy(states[:-1])).numpy()
        for t in range(horizon):
            gradient = gradients[t] if together else f.gradient(torch.from_numpy(states[t : t + 1])).numpy()[0]
            with np.errstate(divide="ignore", invalid="ignore"):
                action = np.nan_to_num((states[t + 1] - states[t]) / gradient) / scale
            action[np.abs(action) > 1] = 0.0
            reward = y[chosen[t + 1]] - y[chosen[t]]
            tuples.append((states[t], action, reward, states[t + 1], t == horizon - 1))
    return len(tuples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="TFBind8-Exact-v0", help="task id (default: %(default)s)")
    parser.add_argument("--trajectories", type=int, default=20_000)
    parser.add_argument("--horizon", type=int, default=50)
    parser.add_argument("--loop-trajectories", type=int, default=200, help="made by the loops, then scaled")
    parser.add_argument("--percent", type=float, default=20.0, help="of the best visible designs")
    args = parser.parse_args()
    n, horizon = args.trajectories, args.horizon
    problem = mbo_gym.make_task(args.task).problem()
    encoder = make_encoder(problem)
    surrogate = fitted_surrogate(problem, encoder)
    scale = default_action_scale(problem, encoder, "step_vector")
    surrogate.gradient(torch.zeros(8, encoder.n_features))  # the first call sets autograd up
    before, ours = peak_gb(), []
    for _ in range(3):
        started = time.perf_counter()
        batch = random_top(problem, encoder, args.percent, n, horizon, torch.Generator().manual_seed(0))
        drawn = time.perf_counter()
        batch = with_actions(batch, surrogate, "step_vector", scale, outside="zero")
        ours.append((time.perf_counter() - started, drawn - started))
        del batch
    memory = peak_gb() - before
    total, draw = np.median(ours, axis=0)

    top = top_rows_of_percentile(problem, args.percent)
    z, y = encoder.encode(problem.dataset.x[top]), problem.dataset.score_scale.standardise(problem.dataset.y[top])
    rows = [
        ("all at once: drawing", f"{draw:.2f}", "-", "-"),
        ("all at once: drawing, actions, rewards", f"{total:.2f}", f"{memory:.2f}", "1"),
    ]
    for name, together in (("a call a trajectory", True), ("a call a transition", False)):
        started = time.perf_counter()
        loop(z, y, args.loop_trajectories, horizon, float(scale[0]), surrogate, together=together)
        scaled = (time.perf_counter() - started) * n / args.loop_trajectories
        rows.append((f"loop, gradients by {name} (scaled)", f"{scaled:.0f}", "-", f"{scaled / total:,.0f}"))
    note = (
        f"{args.task}, default MLP; median of 3; memory: growth of ru_maxrss, the result included; loops: measured on "
        f"{args.loop_trajectories} trajectories; {where()}"
    )
    columns = ("synthesis", "seconds", "peak GB", "times the first")
    show(f"{n:,} trajectories of {horizon} steps", columns, rows, note)


if __name__ == "__main__":
    main()
