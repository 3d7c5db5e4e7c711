"""The batched environment as stable-baselines3's `VecEnv`, and its training shown by our progress.

Importing this module imports stable-baselines3 (MissingDependency where it is not installed).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mbo_gym.envs.vector_env import DesignVectorEnv
from mbo_gym.optional import optional_import
from mbo_gym.progress.protocol import Progress

__all__ = ["DesignVecEnv", "ProgressCallback", "ProgressWriter"]

_callbacks: Any = optional_import("stable_baselines3.common.callbacks", "rl")
_logger: Any = optional_import("stable_baselines3.common.logger", "rl")
_vec_env: Any = optional_import("stable_baselines3.common.vec_env", "rl")


_INSTEAD = "use the batched environment itself (`.env`), or a DummyVecEnv of gym.make environments"


class DesignVecEnv(_vec_env.VecEnv):  # type: ignore[misc]  # a class of a library without types
    """Steps `num_envs` designs as one tensor, behind the interface that stable-baselines3 trains
    on.

    All episodes end in the same step, by time limit. The observations returned are then those of
    the next episodes; the ends stand in each info's ``terminal_observation``, beside
    ``TimeLimit.truncated``. In all other steps the infos are empty.

    Differs from `DummyVecEnv`: the whole batch has one seed; the single environments cannot be
    written to or called, for there are none.

    Args:
        env: As `gym.make_vec` returns it.
    """

    def __init__(self, env: DesignVectorEnv) -> None:
        self.env = env
        self._nothing: list[dict[str, Any]] = [{} for _ in range(env.num_envs)]
        self._actions: np.ndarray | None = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> np.ndarray:
        """Start all episodes, with what `seed` and `set_options` were given; (num_envs, d)."""
        designs = [options["design"] for options in self._options if "design" in options]
        options = {"design": np.stack(designs)} if designs else None
        observation, _ = DesignVectorEnv.reset(self.env, seed=self._seeds[0], options=options)
        self._reset_seeds()
        self._reset_options()
        return _own_array(observation)

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions (num_envs, d) of the next step."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Take the step; observations (num_envs, d), rewards (num_envs,), dones (num_envs,),
        infos."""
        assert self._actions is not None
        # of tensors, and anew in the same step, whichever of the two `gym.make_vec` has made
        observation, rewards, _, truncated, info = DesignVectorEnv.step(self.env, self._actions)
        infos = self._nothing
        if "final_obs" in info:
            ends = _own_array(info["final_obs"])
            infos = [{"terminal_observation": end, "TimeLimit.truncated": True} for end in ends]
        return _own_array(observation), _own_array(rewards), _own_array(truncated), infos

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: int | Sequence[int] | None = None) -> list[Any]:
        """Return an attribute of the batched environment once for each of the environments asked
        for."""
        return [getattr(self.env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(
        self, attr_name: str, value: Any, indices: int | Sequence[int] | None = None
    ) -> None:
        """Refuse: the environments are rows of one tensor."""
        raise NotImplementedError(
            f"{attr_name} cannot be set for single designs of a batch; {_INSTEAD}"
        )

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: int | Sequence[int] | None = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Refuse: the environments are rows of one tensor."""
        raise NotImplementedError(
            f"{method_name}() cannot be called for single designs of a batch; {_INSTEAD}"
        )

    def env_is_wrapped(
        self, wrapper_class: type[Any], indices: int | Sequence[int] | None = None
    ) -> list[bool]:
        """Say that no environment is wrapped."""
        return [False] * len(list(self._get_indices(indices)))


class ProgressCallback(_callbacks.BaseCallback):  # type: ignore[misc]
    """Shows how far a training of `total` environment steps is.

    Args:
        progress: Where it is shown.
        description: What is trained.
        total: Environment steps.
        watch: Function that is called with the policy and the steps so far, at the start and about
            ten times more.
    """

    def __init__(
        self,
        progress: Progress,
        description: str,
        total: int,
        watch: Callable[[Any, int], None] | None = None,
    ) -> None:
        super().__init__()
        self._advance = progress.bar(description, total)
        self._total = total
        self._watch = watch
        self._due = 0

    def _on_training_start(self) -> None:
        self._look()

    def _on_step(self) -> bool:
        self._advance(self.num_timesteps)
        if self.num_timesteps >= self._due:
            self._look()
        return True

    def _on_training_end(self) -> None:
        self._advance(self._total)

    def _look(self) -> None:
        if self._watch:
            self._watch(self.model.policy, self.num_timesteps)
            self.model.policy.set_training_mode(False)  # as rollouts have it
        self._due = self.num_timesteps + max(1, self._total // 10)


class ProgressWriter(_logger.KVWriter):  # type: ignore[misc]
    """Hands stable-baselines3's metrics to our progress, but for those that tell the time.

    Args:
        progress: What gets them, as the stage ``online_rl``, by environment steps.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0
    ) -> None:
        """Forward the metrics that stand at a step."""
        values = {
            key: float(value) for key, value in key_values.items() if not key.startswith("time/")
        }
        self._progress.metrics("online_rl", step, **values)

    def close(self) -> None:
        """Keep the progress open, which others use too."""


def _own_array(tensor: Any) -> np.ndarray:
    """Copy a tensor of any device to an array, which the learner may change (PPO adds to its
    rewards)."""
    return np.array(tensor.cpu().numpy())
