"""The environment with thousands of designs as one tensor, on any device."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from mbo_gym.envs.process import DesignProcess, EnvConfig, State

__all__ = ["DesignVectorEnv"]


class DesignVectorEnv(gym.vector.VectorEnv[Any, Any, Any]):
    """Improve `num_envs` designs at once; the same process as `DesignEnv`, batched.

    Observations, rewards and flags are tensors on `device`; actions may be tensors or arrays
    (num_envs, d). All episodes have the same length, so all are truncated in the same step, and the
    environment then starts anew in that step (same-step autoreset): the observations returned are
    the new ones, the last ones of the old episodes stand in ``info["final_obs"]``. The tensors are
    the environment's own, not copies: do not change them in place.

    `info` holds ``prediction`` (num_envs,) where a surrogate is used and, on request,
    ``oracle_score`` (raw); the native designs are what `designs()` returns.

    Args:
        num_envs: B, number of designs.
        device: ``cpu``, ``cuda``, ..
        max_episode_steps: The same as `horizon`, by Gymnasium's name.
        **config: Fields of `EnvConfig`.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": [],
        **(
            {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}
            if hasattr(gym.vector, "AutoresetMode")
            else {}
        ),
    }

    def __init__(
        self,
        num_envs: int = 1,
        device: str = "cpu",
        max_episode_steps: int | None = None,
        **config: Any,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        if max_episode_steps is not None:
            config["horizon"] = max_episode_steps
        config.pop("render_mode", None)
        self.process = DesignProcess(EnvConfig(**config), device)
        self.num_envs, self.device = num_envs, torch.device(device)
        low, high = self.process.low, self.process.high
        self.single_observation_space = gym.spaces.Box(low, high, dtype=np.float32)
        self.single_action_space = gym.spaces.Box(-1.0, 1.0, shape=low.shape, dtype=np.float32)
        self.observation_space = gym.vector.utils.batch_space(
            self.single_observation_space, num_envs
        )
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self._state: State | None = None
        self._steps = 0
        self._no = torch.zeros(num_envs, dtype=torch.bool, device=self.device)

    @property
    def oracle_calls(self) -> int:
        """Designs that the oracle has scored for this environment."""
        return self.process.oracle.calls if self.process.oracle else 0

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Start all episodes at start designs, or at ``options={"design": x}`` (one design, or
        num_envs of them).

        Args:
            seed: One seed for the whole batch (a list counts as one seed of several words).
            options: See above.
        """
        if seed is not None:
            self._np_random = np.random.default_rng(seed)
        self._state, self._steps = self.process.start(self.num_envs, self.np_random, options), 0
        return self._state.z, self._info(self._state)

    def step(
        self, actions: Tensor | np.ndarray
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Take one step with every design; see `mbo_gym.envs.dynamics`.

        Returns:
            Observations (B, d), rewards (B,), terminated (B,) always False, truncated (B,), info.
        """
        if self._state is None:
            raise RuntimeError("call reset() before the first step()")
        action = torch.as_tensor(actions, dtype=torch.float32, device=self.device)
        if action.shape != self._state.z.shape:
            raise ValueError(
                f"actions must have shape {tuple(self._state.z.shape)}, got {tuple(action.shape)}"
            )
        self._state, rewards = self.process.step(self._state, action)
        self._steps += 1
        info = self._info(self._state)
        if self._steps < self.process.config.horizon:
            return self._state.z, rewards, self._no, self._no, info
        final = {"final_obs": self._state.z, "final_info": info}
        self._state, self._steps = self.process.start(self.num_envs, self.np_random), 0
        return self._state.z, rewards, self._no, ~self._no, {**self._info(self._state), **final}

    def designs(self) -> np.ndarray:
        """Return the current native designs (num_envs, *shape)."""
        if self._state is None:
            raise RuntimeError("call reset() first")
        return self.process.designs(self._state.z)

    def _info(self, state: State) -> dict[str, Any]:
        info: dict[str, Any] = {}
        if state.prediction is not None:
            info["prediction"] = state.prediction
        if self.process.config.oracle_info and state.score is not None:
            info["oracle_score"] = (
                state.score * self.process.score_scale.std + self.process.score_scale.mean
            )
        return info
