"""d3rlpy's IQL on a task's visible designs: python experiments/train_d3rlpy_iql.py TFBind8-Exact-v0
--steps 5000."""

from pathlib import Path

import d3rlpy
import gymnasium as gym
import numpy as np
import torch
import typer
from d3rlpy.logging import FileAdapterFactory, NoopAdapterFactory

import mbo_gym


def main(
    task_id: str,
    steps: int = 5000,
    trajectories: int = 1000,
    output: Path = Path("d3rlpy_iql"),
    seed: int = 0,
    logs: bool = False,
) -> None:
    """Learn step sizes on a surrogate's gradient with IQL, improve the best visible designs by
    them, score the result.

    STEPS are updates, rounded up to 5 epochs; --logs keeps d3rlpy's logs and checkpoints too.
    """
    output.mkdir(parents=True, exist_ok=True)
    d3rlpy.seed(seed)
    env_id, data = f"mbo_gym/{task_id}", str(output / "data.h5")
    settings = {
        "action_mode": "step_vector",
        "trajectories": trajectories,
        "horizon": 50,
        "seed": seed,
    }
    print(mbo_gym.export.export_task(task_id, to="d3rlpy", output=data, **settings))
    buffer = d3rlpy.dataset.ReplayBuffer.load(data, d3rlpy.dataset.InfiniteBuffer())
    env = gym.make(
        env_id, action_mode="step_vector", horizon=50
    )  # the surrogate's rewards: no oracle call
    env.reset(seed=seed)
    # Higher expectiles trust the best actions of the data more, higher temperatures copy them more
    # sharply.
    iql = d3rlpy.algos.IQLConfig(expectile=0.7, weight_temp=3.0).create()
    iql.fit(
        buffer,
        n_steps=-(-steps // 5) * 5,
        n_steps_per_epoch=-(-steps // 5),
        evaluators={"surrogate_gain": d3rlpy.metrics.EnvironmentEvaluator(env, n_trials=5)},
        logger_adapter=FileAdapterFactory(str(output)) if logs else NoopAdapterFactory(),
    )
    iql.save(str(output / "policy.d3"))
    iql.save_policy(str(output / "policy.pt"))
    task = mbo_gym.make_task(task_id)
    starts = task.dataset.top(256).x
    envs = gym.make_vec(
        env_id, num_envs=len(starts), action_mode="step_vector", horizon=51
    )  # 50 would start anew
    observations, info = envs.reset(options={"design": starts})
    for _ in range(50):
        observations, _, _, _, info = envs.step(torch.from_numpy(iql.predict(observations.numpy())))
    designs = envs.designs()[
        info["prediction"].argsort(descending=True).numpy()
    ]  # the surrogate's best first
    np.savez(output / "designs.npz", x=designs)
    print(
        f"Policy: d3rlpy.load_learnable('{output}/policy.d3'), or torch.jit.load('{output}/policy.pt')"
    )
    print(f"Before: {mbo_gym.evaluate(task, starts)}\nAfter:  {mbo_gym.evaluate(task, designs)}")


if __name__ == "__main__":
    typer.run(main)
