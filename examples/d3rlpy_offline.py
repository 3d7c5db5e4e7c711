"""Offline RL with d3rlpy: python examples/d3rlpy_offline.py TFBind8-Exact-v0 --algorithm iql."""

from pathlib import Path

import d3rlpy
import gymnasium as gym
import numpy as np
import typer
from d3rlpy.dataset import InfiniteBuffer
from d3rlpy.logging import FileAdapterFactory, NoopAdapterFactory

import mbo_gym

CONFIGS = {  # a step earns at once what it is worth: a discount of 0.5 looks far enough ahead
    "iql": d3rlpy.algos.IQLConfig(gamma=0.5),
    "cql": d3rlpy.algos.CQLConfig(gamma=0.5, alpha_learning_rate=0.0, n_action_samples=4),
    "td3bc": d3rlpy.algos.TD3PlusBCConfig(gamma=0.5),
}


def main(
    task_id: str,
    algorithm: str = "iql",
    steps: int = 1000,
    trajectories: int = 1000,
    output: Path = Path("d3rlpy_offline"),
    seed: int = 0,
    logs: bool = False,
) -> None:
    """Learn step sizes on a surrogate's gradient offline; improve the best visible designs."""
    output.mkdir(parents=True, exist_ok=True)
    d3rlpy.seed(seed)
    recipe = mbo_gym.TrajectoryRecipe(n=trajectories, seed=seed)  # random steps
    print(mbo_gym.export_task(task_id, recipe, to="d3rlpy", path=output / "data.h5"))
    data = d3rlpy.dataset.ReplayBuffer.load(str(output / "data.h5"), InfiniteBuffer())
    env = gym.make(f"mbo_gym/{task_id}", **recipe.env_arguments())
    env.reset(seed=seed)
    algo = CONFIGS[algorithm].create()
    algo.fit(
        data,
        n_steps=steps,
        n_steps_per_epoch=max(1, steps // 5),
        evaluators={"surrogate_gain": d3rlpy.metrics.EnvironmentEvaluator(env, n_trials=5)},
        logger_adapter=FileAdapterFactory(str(output)) if logs else NoopAdapterFactory(),
    )
    algo.save(str(output / "policy.d3"))  # for d3rlpy.load_learnable
    algo.save_policy(str(output / "policy.pt"))  # for torch.jit.load

    task = mbo_gym.make_task(task_id)
    starts = task.dataset.top(256).x
    envs = gym.make_vec(f"mbo_gym/{task_id}", num_envs=len(starts), **recipe.env_arguments())
    envs.rollout(lambda z: algo.predict(z.numpy()), options={"design": starts})
    np.savez(output / "designs.npz", x=envs.designs())
    print("before:", mbo_gym.evaluate(task, starts))
    print("after: ", mbo_gym.evaluate(task, envs.designs()))


if __name__ == "__main__":
    typer.run(main)
