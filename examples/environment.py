"""A task as a Gymnasium environment: python examples/environment.py TFBind8-Exact-v0."""

import gymnasium as gym
import numpy as np
import typer

import mbo_gym


def main(
    task_id: str,
    steps: int = 50,
    num_envs: int = 256,
    surrogate: str = "mlp",
    seed: int = 0,
) -> None:
    """Improve the best visible designs along a surrogate's gradient, and score the result.

    The surrogate's rewards cost no oracle call; only the two lines at the end ask the oracle.
    """
    env_id = f"mbo_gym/{task_id}"
    settings = {"action_mode": "step_vector", "surrogate": surrogate, "horizon": steps + 1}

    # One design: gym.make. Any policy may stand in place of the constant action.
    env = gym.make(env_id, **settings)
    observation, info = env.reset(seed=seed)
    print(f"observations {env.observation_space.shape}, actions {env.action_space.shape}")
    total = 0.0
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(env.action_space.high)
        total += reward
    print(f"one design: {total:+.3f} standard deviations by the surrogate, now {info['design']}")

    # Many designs, stepped as one tensor: gym.make_vec with a device; "cuda" for a GPU.
    task = mbo_gym.make_task(task_id)
    starts = task.dataset.top(num_envs).x
    envs = gym.make_vec(env_id, num_envs=len(starts), device="cpu", **settings)
    observations, info = envs.reset(options={"design": starts})
    actions = np.ones(envs.action_space.shape, dtype=np.float32)
    for _ in range(steps):
        observations, rewards, terminated, truncated, info = envs.step(actions)
    best_first = info["prediction"].argsort(descending=True).numpy()
    designs = envs.designs()[best_first]
    print(f"Before: {mbo_gym.evaluate(task, starts)}")
    print(f"After:  {mbo_gym.evaluate(task, designs)}")


if __name__ == "__main__":
    typer.run(main)
