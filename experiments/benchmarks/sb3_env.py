"""Speed for stable-baselines3: environment steps a second of our VecEnv against its DummyVecEnv of
gym.make envs."""

from __future__ import annotations

import argparse
import time
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

import mbo_gym
from agents.online.env import DesignVecEnv
from experiments.benchmarks.common import rate, seconds_per_call, show, where


def stepping(env: VecEnv, budget_s: float) -> float:
    """Return steps/s with random actions."""
    env.reset()
    shape = (env.num_envs, *env.action_space.shape)
    actions = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    return env.num_envs / seconds_per_call(lambda: env.step(actions), budget_s=budget_s, repeats=3)


def learning(model: PPO, rollout: int) -> float:
    """Return steps/s of a round of PPO.learn, its updates included."""
    started = time.perf_counter()
    model.learn(rollout)
    return rollout / (time.perf_counter() - started)


def measure(envs: list[VecEnv], rollout: int, rounds: int, budget_s: float) -> np.ndarray:
    """Return steps/s (rounds, environments, 2) of random actions and of PPO.learn.

    Rounds go through all environments, so that a machine that slows down slows all of them. One
    before does not count.
    """
    # The same number of steps and of mini-batches between updates, whatever the number of
    # environments.
    shared = {"batch_size": rollout // 5, "seed": 0, "device": "cpu"}
    models = [PPO("MlpPolicy", env, n_steps=rollout // env.num_envs, **shared) for env in envs]
    pairs = list(zip(envs, models, strict=True))
    speeds = [
        [(stepping(e, budget_s), learning(m, rollout)) for e, m in pairs] for _ in range(1 + rounds)
    ]
    return np.array(speeds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="TFBind8-Exact-v0", help="task id (default: %(default)s)")
    parser.add_argument(
        "--batch", type=int, nargs="+", default=[8, 64, 256], help="environments in our VecEnv"
    )
    parser.add_argument(
        "--dummy", type=int, default=8, help="environments in a DummyVecEnv (default: %(default)s)"
    )
    parser.add_argument(
        "--rollout",
        type=int,
        default=6400,
        help="steps between PPO's updates (default: %(default)s)",
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="measurements of each (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="time for each measurement of random actions"
    )
    args = parser.parse_args()
    mbo_gym.make_task(args.task)  # says what is missing before anything is timed
    env_id, rows = f"mbo_gym/{args.task}", []
    for mode in ("step_vector", "displacement"):
        config: dict[str, Any] = {"action_mode": mode}
        scalar = DummyVecEnv([lambda config=config: gym.make(env_id, **config)] * args.dummy)
        batched = [DesignVecEnv(gym.make_vec(env_id, num_envs=n, **config)) for n in args.batch]
        envs = [scalar, *batched]
        speeds = measure(envs, args.rollout, args.rounds, args.seconds)
        middle, ratio = np.median(speeds, axis=0), np.median(speeds / speeds[:, :1], axis=0)
        for env, speed, times in zip(envs, middle, ratio, strict=True):
            cells = [
                cell
                for pair in zip(map(rate, speed), (f"{t:.1f}" for t in times), strict=True)
                for cell in pair
            ]
            rows.append((f"{mode}: {type(env).__name__}", str(env.num_envs), *cells))
    columns = ("environment", "envs", "steps/s", "times Dummy", "PPO.learn steps/s", "times Dummy")
    note = (
        f"surrogate's reward; medians of {args.rounds} rounds, each with its own ratio; {where()}"
    )
    show(f"Environments of {args.task} for stable-baselines3", columns, rows, note)


if __name__ == "__main__":
    main()
