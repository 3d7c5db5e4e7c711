"""Online RL with stable-baselines3: python examples/sb3.py TFBind8-Exact-v0."""

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
    """Learn step sizes on a surrogate's gradient with PPO; improve the best visible designs."""
    env_id = f"mbo_gym/{task_id}"
    # 64 designs as one tensor. The reward is the surrogate's: no oracle call.
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
    search = gym.make_vec(env_id, num_envs=len(starts), horizon=horizon)
    search.rollout(
        lambda z: torch.from_numpy(ppo.predict(z.numpy(), deterministic=True)[0]),
        options={"design": starts},
    )
    print(f"Before: {mbo_gym.evaluate(task, starts)}")
    print(f"After:  {mbo_gym.evaluate(task, search.designs())}")


if __name__ == "__main__":
    typer.run(main)
