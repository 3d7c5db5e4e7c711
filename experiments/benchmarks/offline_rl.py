"""Offline-RL updates of d3rlpy: the algorithms, CQL's settings, and where the time of a CQL update
goes.

One thread, CPU seconds: what else the machine does hardly counts. Speed does not depend on what the
transitions hold, so they are random numbers of the tasks' sizes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from experiments.benchmarks.common import rate, show, where
from mbo_gym.export.d3rlpy import to_d3rlpy
from mbo_gym.optional import optional_import
from mbo_gym.trajectories.batch import TrajectoryBatch

ALGORITHMS = {
    "cql": "CQLConfig",
    "sac": "SACConfig",
    "iql": "IQLConfig",
    "td3bc": "TD3PlusBCConfig",
    "rebrac": "ReBRACConfig",
    "bc": "BCConfig",
}
CQL: dict[str, dict[str, int]] = {
    "10 action samples, width 256, batch 256 (d3rlpy's defaults)": {},
    "4 action samples": {"n_action_samples": 4},
    "2 action samples": {"n_action_samples": 2},
    "1 action sample": {"n_action_samples": 1},
    "width 128": {"width": 128},
    "width 64": {"width": 64},
    "batch 128": {"batch_size": 128},
    "4 action samples, width 128": {"n_action_samples": 4, "width": 128},
    "4 action samples, width 128, batch 128": {
        "n_action_samples": 4,
        "width": 128,
        "batch_size": 128,
    },
}
ENCODERS = (
    "actor_encoder_factory",
    "critic_encoder_factory",
    "value_encoder_factory",
    "encoder_factory",
)
FORWARD = "sampled actions: Q forward"
BACKWARD = "sampled actions: Q backward *"
SAMPLING = "sampled actions: policy, log-probs"
TEMPORAL = "TD error: forward, backward"
ACTOR = "actor, temperature: forward, backward"
OPTIMISER = "3 Adam steps, target networks"
REST = "rest: arrays to tensors, metrics"
STAGES = (FORWARD, BACKWARD, SAMPLING, TEMPORAL, ACTOR, OPTIMISER, REST)
TOTAL = "all, ms"
BARE = "two plain networks **"
CALLS = "calls alone ***"


def learner(
    config: str, d: int, *, width: int = 256, batch_size: int = 256, **settings: Any
) -> tuple[Any, Any]:
    """Return one of d3rlpy's algorithms for d features and d actions, and a mini-batch for it."""
    d3rlpy = optional_import("d3rlpy", "rl")
    kind, encoder = (
        getattr(d3rlpy.algos, config),
        d3rlpy.models.VectorEncoderFactory([width, width]),
    )
    nets = {name: encoder for name in ENCODERS if name in kind.__dataclass_fields__}
    if config == "CQLConfig":
        settings["alpha_learning_rate"] = 0.0  # no Lagrange multiplier, as in PGS
    algo = kind(batch_size=batch_size, **nets, **settings).create(device="cpu")
    algo.create_impl((d,), d)
    rng = np.random.default_rng(0)

    def numbers(columns: int, scale: float = 1.0) -> np.ndarray:
        return np.asarray(scale * rng.uniform(-1, 1, (batch_size, columns)), dtype=np.float32)

    batch = d3rlpy.dataset.TransitionMiniBatch(
        observations=numbers(d, 2),
        actions=numbers(d),
        rewards=numbers(1),
        next_observations=numbers(d, 2),
        next_actions=numbers(d),
        terminals=np.zeros((batch_size, 1), dtype=np.float32),
        intervals=np.ones((batch_size, 1), dtype=np.float32),
        transitions=[],
    )
    return algo, batch


def update(config: str, d: int, **settings: Any) -> Callable[[], Any]:
    """Return one update as a function."""
    algo, batch = learner(config, d, **settings)
    return partial(algo.update, batch)


def buffer_sampling(d: int) -> Callable[[], Any]:
    """Return what `fit` does besides an update: draw a mini-batch of 256 from a replay buffer, here
    of 200 episodes."""
    z, actions = torch.randn(200, 51, d), torch.rand(200, 50, d)
    buffer = to_d3rlpy(TrajectoryBatch(z, z[:, :, 0], actions, actions[:, :, 0]))
    return partial(buffer.sample_transition_batch, 256)


def bare_critics(d: int, n_action_samples: int) -> Callable[[], Any]:
    """Return CQL's critics without CQL: two plain networks, forward and backward on as many sampled
    actions."""
    rows = torch.randn(3 * n_action_samples * 256, 2 * d)
    nets = [
        nn.Sequential(
            nn.Linear(2 * d, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 1)
        )
        for _ in range(2)
    ]

    def call() -> None:
        for piece in rows.split(n_action_samples * 256):  # d3rlpy's three sources of actions
            torch.stack([net(piece) for net in nets]).sum().backward()

    return call


def seconds(
    calls: Mapping[str, Callable[[], Any]], budget_s: float, rounds: int = 5
) -> dict[str, float]:
    """Return the CPU seconds of each call: medians over rounds in which all take turns."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for function in calls.values():
        function()
    for _ in range(rounds):
        for name, function in calls.items():
            started, count = time.process_time(), 0
            # An even number: some algorithms update their actor every second time.
            while count % 2 or count < 2 or time.process_time() - started < budget_s / rounds:
                function()
                count += 1
            taken[name].append((time.process_time() - started) / count)
    return {name: statistics.median(values) for name, values in taken.items()}


class Stopwatch:
    """CPU seconds spent in wrapped functions, each without those it calls, by the names of all that
    are running."""

    def __init__(self) -> None:
        self.taken: Counter[tuple[str, ...]] = Counter()
        self.calls: Counter[tuple[str, ...]] = Counter()
        self._running: list[str] = []
        self._inner = [0.0]

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._running.append(name)
            self._inner.append(0.0)
            started = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                total = time.process_time() - started
                self.taken[tuple(self._running)] += total - self._inner.pop()
                self.calls[tuple(self._running)] += 1
                self._inner[-1] += total
                self._running.pop()

        return timed


@contextmanager
def watched(algos: Mapping[str, Any]) -> Iterator[Stopwatch]:
    """Time the parts of the algorithms' updates (of SAC, and of CQL, which is SAC with a
    conservative loss)."""
    watch, parts = Stopwatch(), [("backward", torch.Tensor, "backward")]
    for name, algo in algos.items():
        impl, forwarder, modules = algo.impl, algo.impl._q_func_forwarder, algo.impl.modules
        parts += [
            (name, algo, "update"),
            ("critic", impl, "_compute_critic_grad"),
            ("actor", impl, "_compute_actor_grad"),
            ("q", forwarder, "compute_expected_q"),
            ("sync", impl, "update_critic_target"),
        ]
        parts += [
            ("adam", optim, "step")
            for optim in (modules.critic_optim, modules.actor_optim, modules.temp_optim)
        ]
        if hasattr(impl, "_compute_conservative_loss"):
            parts.append(("conservative", impl, "_compute_conservative_loss"))
    with ExitStack() as stack:
        for name, owner, attribute in parts:
            stack.enter_context(
                patch.object(owner, attribute, watch.wrap(name, getattr(owner, attribute)))
            )
        yield watch


def stage(path: Sequence[str]) -> str:
    """Return the row of the table that a path of running functions belongs to."""
    if path[-1] in ("adam", "sync"):
        return OPTIMISER
    if "conservative" in path:
        return FORWARD if path[-1] == "q" else SAMPLING
    if "actor" in path:
        return ACTOR
    if "critic" in path:
        return BACKWARD if path[-1] == "backward" else TEMPORAL
    return REST


def shares(d: int, n_action_samples: int, budget_s: float) -> dict[str, float]:
    """Return the share of each stage in a CQL update, its seconds, and the two yardsticks in the
    same unit."""
    (cql, batch), (sac, _) = (
        learner("CQLConfig", d, n_action_samples=n_action_samples),
        learner("SACConfig", d),
    )
    calls = {
        BARE: bare_critics(d, n_action_samples),
        CALLS: update("CQLConfig", 1, width=8, batch_size=1, n_action_samples=1),
    }
    with watched({"cql": cql, "sac": sac}) as watch:
        taken = seconds(
            {TOTAL: lambda: cql.update(batch), "sac": lambda: sac.update(batch), **calls}, budget_s
        )
    found: Counter[str] = Counter()
    for path, value in watch.taken.items():
        per_update = value / max(1, watch.calls[path[:1]])
        if path[0] == "cql":
            found[stage(path)] += per_update
        elif path[0] == "sac" and stage(path) == BACKWARD:  # what the TD error alone needs
            found[BACKWARD] -= per_update
            found[TEMPORAL] += per_update
    total = sum(found.values())
    result = {name: found[name] / total for name in STAGES}
    return {
        **result,
        TOTAL: taken[TOTAL],
        **{name: taken[name] / taken[TOTAL] for name in (BARE, CALLS)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU time for each measurement")
    args = parser.parse_args()
    torch.set_num_threads(1)
    d3rlpy = optional_import("d3rlpy", "rl")
    d3rlpy.seed(0)
    note = f"CPU seconds, medians of 5 rounds in turns; d3rlpy {optional_import('d3rlpy', 'rl').__version__}; {where()}"

    for d in (24, 60):
        calls = {name: update(config, d) for name, config in ALGORITHMS.items()}
        taken = seconds(
            {**calls, "(mini-batch from d3rlpy's buffer, for any of them)": buffer_sampling(d)},
            args.seconds,
        )
        rows = [
            (n, rate(1 / s), f"{1e3 * s:.2f}", f"{taken['cql'] / s:.1f}") for n, s in taken.items()
        ]
        show(
            f"{d} features, batch 256, default nets",
            ("algorithm", "updates/s", "ms", "times cql"),
            rows,
            note,
        )

    for d in (24, 60):
        taken = seconds(
            {name: update("CQLConfig", d, **settings) for name, settings in CQL.items()},
            args.seconds,
        )
        first = next(iter(taken.values()))
        rows = [
            (name, rate(1 / s), f"{1e3 * s:.2f}", f"{first / s:.2f}") for name, s in taken.items()
        ]
        show(
            f"CQL's settings, {d} features",
            ("setting", "updates/s", "ms", "times the first"),
            rows,
            note,
        )

    cases = [(24, 10), (24, 4), (60, 10), (60, 4)]
    found = [shares(d, n, args.seconds) for d, n in cases]
    rows = [(name, *(f"{parts[name]:.1%}" for parts in found)) for name in (*STAGES, BARE, CALLS)]
    rows.insert(len(STAGES), (TOTAL, *(f"{1e3 * parts[TOTAL]:.1f}" for parts in found)))
    columns = ("stage", *(f"d = {d}, n = {n}" for d, n in cases))
    note = (
        "d features, n action samples, width 256, batch 256\n* CQL's backward pass less SAC's\n"
        "** two plain networks, forward and backward on as many rows: the arithmetic without CQL "
        "around it\n"
        f"*** an update on one transition, width 8, n = 1: hardly a number to compute\n{where()}"
    )
    show("Where the time of a CQL update goes", columns, rows, note)


if __name__ == "__main__":
    main()
