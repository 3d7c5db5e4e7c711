"""Environment speed: steps a second against Gymnasium's SyncVectorEnv, and what a step adds to the
surrogate's call."""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import mbo_gym
from experiments.benchmarks.common import rate, seconds_per_call, show, where

MODES: dict[str, dict[str, Any]] = {
    "displacement, oracle's reward": {"action_mode": "displacement", "reward": "oracle"},
    "displacement, surrogate's reward": {"action_mode": "displacement", "reward": "surrogate"},
    "step_vector, surrogate's reward": {"action_mode": "step_vector", "reward": "surrogate"},
}


def batched(
    env_id: str, n: int, args: argparse.Namespace, config: dict[str, Any]
) -> tuple[float, float | None]:
    """Return steps/s, and the time of a step over the bare surrogate call that it needs (None
    without a surrogate)."""
    timing = {"budget_s": args.seconds, "device": args.device}
    env = gym.make_vec(env_id, num_envs=n, device=args.device, **config)
    state, _ = env.reset(seed=0)
    action = torch.rand(state.shape, device=args.device) * 2 - 1
    step = seconds_per_call(lambda: env.step(action), **timing)
    surrogate = env.unwrapped.process.surrogate
    if surrogate is None:
        return n / step, None

    def bare() -> None:
        if config["action_mode"] == "step_vector":
            surrogate.value_and_gradient(state)
        else:
            with torch.no_grad():
                surrogate.predict(state)

    # Alternating measurements, so that a machine that slows down slows both.
    pairs = [
        (seconds_per_call(lambda: env.step(action), **timing), seconds_per_call(bare, **timing))
        for _ in range(3)
    ]
    return n / np.median([s for s, _ in pairs]), float(np.median([s / b for s, b in pairs]))


def synchronous(env_id: str, n: int, args: argparse.Namespace, config: dict[str, Any]) -> float:
    """Return steps/s of n scalar environments in Gymnasium's SyncVectorEnv, without its passive
    checker."""
    env = gym.vector.SyncVectorEnv(
        [lambda: gym.make(env_id, disable_env_checker=True, **config)] * n
    )
    env.reset(seed=0)
    action = np.random.default_rng(0).uniform(-1, 1, env.action_space.shape).astype(np.float32)
    return n / seconds_per_call(lambda: env.step(action), budget_s=args.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="TFBind8-Exact-v0", help="task id (default: %(default)s)")
    parser.add_argument(
        "--batch", type=int, nargs="+", default=[1, 64, 4096], help="batched environments"
    )
    parser.add_argument(
        "--sync",
        type=int,
        nargs="+",
        default=[8, 64],
        help="environments in a SyncVectorEnv (on the CPU)",
    )
    parser.add_argument("--device", default="cpu", help="of the batched environments: cpu, cuda")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each measurement")
    args = parser.parse_args()
    mbo_gym.make_task(args.task)  # says what is missing before anything is timed
    env_id, rows = f"mbo_gym/{args.task}", []
    for name, config in MODES.items():
        per_second = {n: synchronous(env_id, n, args, config) for n in args.sync}
        best = max(per_second.values())
        for n, speed in per_second.items():
            rows.append((f"{name}: SyncVectorEnv", str(n), rate(speed), f"{speed / best:.2f}", "-"))
        for n in args.batch:
            speed, over_bare = batched(env_id, n, args, config)
            ratio = "-" if over_bare is None else f"{over_bare:.2f}"
            rows.append((f"{name}: batched", str(n), rate(speed), f"{speed / best:,.0f}", ratio))
    columns = (
        "environment",
        "envs",
        "steps/s",
        "times the best Sync",
        "step / bare surrogate call",
    )
    show(
        f"Environments of {args.task}",
        columns,
        rows,
        f"surrogate: the default MLP, 2 x 256; {where(args.device)}",
    )


if __name__ == "__main__":
    main()
