"""stable-baselines3's PPO on a task's environment: python experiments/train_sb3.py TFBind8-Exact-v0
--steps 300000."""

import gymnasium as gym
import torch
import typer
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

import mbo_gym
from agents.online.env import DesignVecEnv


def main(
    task_id: str, steps: int = 300_000, horizon: int = 50, seed: int = 0, verbose: bool = True
) -> None:
    """Learn step sizes on a surrogate's gradient with PPO, improve the best visible designs by
    them, score the result.

    STEPS are environment steps, rounded up to whole episodes of the 64 environments.
    """
    env_id = f"mbo_gym/{task_id}"
    # 64 designs stepped as one tensor; gym.make(env_id, horizon=horizon) instead works too, one
    # design a time. The
    # reward is the surrogate's: no oracle call. (reward="oracle" would train on the true score: an
    # upper bound.)
    training = DesignVecEnv(gym.make_vec(env_id, num_envs=64, horizon=horizon))
    ppo = PPO(
        "MlpPolicy",
        VecMonitor(training),
        n_steps=horizon,
        batch_size=640,
        seed=seed,
        verbose=verbose,
    )
    ppo.learn(steps)

    task = mbo_gym.make_task(task_id)
    starts = task.dataset.top(256).x
    search = gym.make_vec(
        env_id, num_envs=len(starts), horizon=horizon + 1
    )  # it would start anew after `horizon`
    observations, info = search.reset(options={"design": starts})
    for _ in range(horizon):
        actions, _ = ppo.predict(observations.numpy(), deterministic=True)
        observations, _, _, _, info = search.step(torch.from_numpy(actions))
    designs = search.designs()[
        info["prediction"].argsort(descending=True).numpy()
    ]  # the surrogate's best first
    print(f"Before: {mbo_gym.evaluate(task, starts)}\nAfter:  {mbo_gym.evaluate(task, designs)}")


if __name__ == "__main__":
    typer.run(main)
