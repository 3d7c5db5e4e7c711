"""The environment with thousands of designs at once: as one tensor on any device, or as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from mbo_gym.envs.process import EnvConfig, Process, State
from mbo_gym.envs.rollout import Policy, Rollout, roll_out
from mbo_gym.envs.spec import complete_spec, require_steps
from mbo_gym.problem.mixed import MixedSpace

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec

__all__ = ["ArrayVectorEnv", "DesignVectorEnv", "Rollout", "make_vector_env"]


class DesignVectorEnv(gym.vector.VectorEnv[Any, Any, Any]):
    """`num_envs` copies of `DesignEnv`, stepped as one tensor.

    `gym.make_vec` makes it where it is given a `device`; else it makes an `ArrayVectorEnv`.

    Observations, rewards and flags are tensors on `device`; actions may be tensors or arrays
    (num_envs, m). They are the environment's own tensors: do not change them in place. All
    episodes have the same length, so all are truncated in the same step. The environment then
    starts anew in that step (same-step autoreset): the observations returned are the new ones, and
    ``info["final_obs"]`` and ``info["final_info"]`` hold the last ones of the old episodes.
    `rollout` returns whole trajectories and never starts anew.

    `info` holds ``prediction`` (num_envs,) where a surrogate is used, ``value`` where there is a
    judge, and ``oracle_score`` (raw) on request. `designs()` returns the native
    designs, `values()` the same in the user's terms.

    Args:
        num_envs: B, number of designs.
        device: Device of the tensors: ``cpu``, ``cuda``, ...
        max_episode_steps: Gymnasium's name of `horizon`; counts where both are given.
        preset: Name of arguments in `EnvConfig.PRESETS`; further ones count where both are given.
        **config: Fields of `EnvConfig`.

    Example:
        >>> import gymnasium as gym
        >>> import mbo_gym
        >>> branin = {"num_envs": 8, "device": "cpu", "surrogate": "quadratic"}
        >>> envs = gym.make_vec("mbo_gym/Branin-Exact-v0", **branin)
        >>> envs.rollout(lambda observation: -0.1 * observation, 5).rewards.shape
        torch.Size([8, 5])
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": [],
        **(
            {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}
            if hasattr(gym.vector, "AutoresetMode")
            else {}
        ),
    }
    _spec: EnvSpec | None = None

    def __init__(
        self,
        num_envs: int = 1,
        device: str = "cpu",
        max_episode_steps: int | None = None,
        preset: str | None = None,
        **config: Any,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        if max_episode_steps not in (None, -1):
            config["horizon"] = require_steps(max_episode_steps)
        config.pop("render_mode", None)
        self.process = Process(EnvConfig.of(preset, **config), device)
        self.num_envs = num_envs
        self.device = torch.device(device)
        low, high = self.process.observation_box()
        n_actions = (self.process.n_actions,)
        self.single_observation_space = gym.spaces.Box(low, high, dtype=np.float32)
        self.single_action_space = gym.spaces.Box(-1.0, 1.0, shape=n_actions, dtype=np.float32)
        self.observation_space = gym.vector.utils.batch_space(
            self.single_observation_space, num_envs
        )
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self._state: State | None = None
        self._no = torch.zeros(num_envs, dtype=torch.bool, device=self.device)

    @property
    def spec(self) -> EnvSpec | None:
        """Spec that `gym.make_vec` makes the same environment from; None where made by hand."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = complete_spec(spec, self.process)

    @property
    def oracle_calls(self) -> int:
        """Designs that the oracle has scored for this environment."""
        return self.process.oracle.calls if self.process.oracle else 0

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start all episodes.

        Args:
            seed: One seed of the whole batch (a list counts as one seed of several words).
            options: ``{"design": x}``, one native design or num_envs of them, starts there; else
                episodes start at start designs.
        """
        if seed is not None:
            self._np_random = np.random.default_rng(seed)
        state = self.process.start(self.num_envs, self.np_random, options)
        self._state = state
        return state.observation, self._info(state)

    def step(
        self, actions: Tensor | np.ndarray
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Take one step with every design; see `mbo_gym.envs.dynamics`.

        Returns:
            Observations (B, o), rewards (B,), terminated (B,) always False, truncated (B,), info.
        """
        state, rewards = self._advance(actions)
        info = self._info(state)
        if state.step < state.horizon:
            return state.observation, rewards, self._no, self._no, info
        final = {"final_obs": state.observation, "final_info": info}
        start = self.process.start(self.num_envs, self.np_random)
        self._state = start
        return start.observation, rewards, self._no, ~self._no, {**self._info(start), **final}

    def rollout(
        self,
        policy: Policy,
        steps: int | None = None,
        *,
        seed: int | list[int] | None = None,
        options: dict[str, Any] | None = None,
    ) -> Rollout:
        """Start all episodes, follow a policy, and return the trajectories.

        The environment stays at their ends: nothing starts anew. A guided observation counts the
        steps left of `steps`.

        Args:
            policy: Function of observations (B, o) that returns actions (B, m).
            steps: T, at least 1; None for the horizon.
            seed: As in `reset`.
            options: As in `reset`.
        """
        if seed is not None:
            self._np_random = np.random.default_rng(seed)
        steps = self.process.config.horizon if steps is None else steps
        start = self.process.start(self.num_envs, self.np_random, options, steps)
        trajectories, self._state = roll_out(self.process, start, policy, steps)
        return trajectories

    def designs(self) -> np.ndarray:
        """Return the current native designs (num_envs, *shape)."""
        if self._state is None:
            raise RuntimeError("call reset() first")
        return self.process.designs(self._state.z)

    def _advance(self, actions: Tensor | np.ndarray) -> tuple[State, Tensor]:
        """Take one step; return the state it leads to and the rewards (B,)."""
        if self._state is None:
            raise RuntimeError("call reset() before the first step()")
        action = torch.as_tensor(actions, dtype=torch.float32, device=self.device)
        if action.shape != self.action_space.shape:
            raise ValueError(
                f"actions must have shape {self.action_space.shape}, got {tuple(action.shape)}"
            )
        state, rewards = self.process.step(self._state, action)
        self._state = state
        return state, rewards

    def values(self) -> list[Any]:
        """Return the current designs as `info["design"]` of `DesignEnv` has them.

        On mixed spaces each is a mapping by name, in the user's terms; else an array (*shape).
        """
        x = self.designs()
        space = self.process.problem.space
        return list(space.values(x)) if isinstance(space, MixedSpace) else list(x)

    def _info(self, state: State) -> dict[str, Any]:
        config, scale = self.process.config, self.process.score_scale
        info: dict[str, Any] = {}
        if config.uses_surrogate:
            info["prediction"] = state.prediction
        if config.judge is not None and config.reward == "surrogate":
            info["value"] = state.value
        if config.oracle_info:
            info["oracle_score"] = state.score * scale.std + scale.mean
        return info


class ArrayVectorEnv(DesignVectorEnv):
    """`DesignVectorEnv` in NumPy arrays, for Gymnasium's vector wrappers.

    It behaves as Gymnasium's own vector environments do. Observations, rewards and flags are
    arrays, the caller's own. The step after the one that truncates starts all episodes anew,
    ignores its actions and has reward 0 (next-step autoreset). In `info` a mask of the environments
    that have a value, e.g. ``_prediction``, stands beside the values. `rollout` is that of
    `DesignVectorEnv`.

    Args:
        num_envs: B, number of designs.
        max_episode_steps: Gymnasium's name of `horizon`; counts where both are given.
        preset: Name of arguments in `EnvConfig.PRESETS`; further ones count where both are given.
        **config: Fields of `EnvConfig`.

    Example:
        >>> import gymnasium as gym
        >>> import mbo_gym
        >>> from gymnasium.wrappers.vector import RecordEpisodeStatistics
        >>> envs = gym.make_vec("mbo_gym/Branin-Exact-v0", num_envs=8, surrogate="quadratic")
        >>> observations, info = RecordEpisodeStatistics(envs).reset(seed=0)
        >>> observations.shape
        (8, 2)
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": [],
        **(
            {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}
            if hasattr(gym.vector, "AutoresetMode")
            else {}
        ),
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        max_episode_steps: int | None = None,
        preset: str | None = None,
        **config: Any,
    ) -> None:
        super().__init__(num_envs, "cpu", max_episode_steps, preset, **config)

    def reset(  # type: ignore[override]
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start all episodes; see `DesignVectorEnv.reset`."""
        observation, info = super().reset(seed=seed, options=options)
        return _own_array(observation), _masked(info)

    def step(  # type: ignore[override]
        self, actions: Tensor | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one step with every design, or start anew after the step that has truncated.

        Returns:
            Observations (B, o), rewards (B,), terminated (B,) always False, truncated (B,), info.
        """
        no = np.zeros(self.num_envs, dtype=bool)
        if self._state is not None and self._state.step >= self._state.horizon:
            observation, info = self.reset()
            return observation, np.zeros(self.num_envs, dtype=np.float32), no, no.copy(), info
        state, rewards = self._advance(actions)
        truncated = np.full(self.num_envs, state.step >= state.horizon)
        info = _masked(self._info(state))
        return _own_array(state.observation), _own_array(rewards), no, truncated, info


def make_vector_env(
    num_envs: int = 1, device: str | None = None, **arguments: Any
) -> DesignVectorEnv:
    """Make the environment of `gym.make_vec`.

    Args:
        num_envs: B, number of designs.
        device: Device of the tensors of a `DesignVectorEnv`: ``cpu``, ``cuda``, ...; None for an
            `ArrayVectorEnv`.
        **arguments: Further arguments of the environment.
    """
    if device is None:
        return ArrayVectorEnv(num_envs, **arguments)
    return DesignVectorEnv(num_envs, device, **arguments)


def _own_array(tensor: Tensor) -> np.ndarray:
    """Return a copy, which the caller may change."""
    return np.array(tensor.numpy())


def _masked(info: dict[str, Any]) -> dict[str, Any]:
    """Return an info in arrays, with the masks of Gymnasium's vector environments."""
    masked: dict[str, Any] = {}
    for key, value in info.items():
        masked[key] = _own_array(value)
        masked[f"_{key}"] = np.ones(len(value), dtype=bool)
    return masked
