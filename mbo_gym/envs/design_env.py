"""The environment with one design as its state."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch

from mbo_gym.envs.process import DesignProcess, EnvConfig, State
from mbo_gym.errors import MissingDependency

__all__ = ["DesignEnv"]


class DesignEnv(gym.Env[np.ndarray, np.ndarray]):
    """Improve one design step by step.

    Observation: the encoded design z, a Box (d,) that the visible designs span. Action: Box(-1, 1,
    (d,)), see `mbo_gym.envs.dynamics`. Reward: the surrogate's (or oracle's) difference, in
    standard deviations of the visible scores. An episode is truncated after `horizon` steps and
    never terminated.

    `info` holds ``design`` (native), ``prediction`` (the surrogate's value, where one is used) and,
    on request, ``oracle_score`` (raw).

    Version history: the environment's version is its task's.

    Args:
        render_mode: ``ansi`` (a line of text), ``rgb_array`` (the score along the episode, for 2-D
            tasks the path on the landscape; needs matplotlib) or None.
        **config: Fields of `EnvConfig`.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["ansi", "rgb_array"] if find_spec("matplotlib") else ["ansi"],
        "render_fps": 4,
    }

    def __init__(self, render_mode: str | None = None, **config: Any) -> None:
        if render_mode == "rgb_array" and render_mode not in self.metadata["render_modes"]:
            raise MissingDependency("matplotlib", "report")
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(
                f"render_mode must be None or one of {self.metadata['render_modes']}, got {render_mode!r}"
            )
        self.render_mode = render_mode
        self.process = DesignProcess(EnvConfig(**config))
        low, high = self.process.low, self.process.high
        self.observation_space = gym.spaces.Box(low, high, dtype=np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, shape=low.shape, dtype=np.float32)
        self._states: list[State] = []  # of this episode, for rendering and the step count

    @property
    def oracle_calls(self) -> int:
        """Designs that the oracle has scored for this environment."""
        return self.process.oracle.calls if self.process.oracle else 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode at a start design, or at ``options={"design": x}``."""
        super().reset(seed=seed)
        self._states = [self.process.start(1, self.np_random, options)]
        return self._observation(), self._info()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take one step; see `mbo_gym.envs.dynamics`."""
        tensor = torch.from_numpy(np.asarray(action, dtype=np.float32).reshape(1, -1))
        if tensor.shape[1] != self.process.encoder.n_features or not bool(
            torch.isfinite(tensor).all()
        ):
            raise ValueError(
                f"an action is {self.process.encoder.n_features} finite numbers, got {action!r}"
            )
        state, reward = self.process.step(self._states[-1], tensor)
        self._states.append(state)
        truncated = len(self._states) > self.process.config.horizon
        return self._observation(), float(reward[0]), False, truncated, self._info()

    def render(self) -> Any:
        """Return the current state as text (``ansi``) or as a picture (H, W, 3) uint8
        (``rgb_array``)."""
        if self.render_mode is None or not self._states:
            return None
        from mbo_gym.envs import render

        return (render.as_text if self.render_mode == "ansi" else render.as_picture)(
            self.process, self._states
        )

    def _observation(self) -> np.ndarray:
        return np.array(self._states[-1].z[0].numpy())  # a copy: a caller may change what it got

    def _info(self) -> dict[str, Any]:
        return state_info(self.process, self._states[-1], row=0)


def state_info(process: DesignProcess, state: State, row: int) -> dict[str, Any]:
    """Return what `info` says of one row of a state."""
    info: dict[str, Any] = {"design": process.designs(state.z[row : row + 1])[0]}
    if state.prediction is not None:
        info["prediction"] = float(state.prediction[row])
    if process.config.oracle_info and state.score is not None:
        info["oracle_score"] = (
            float(state.score[row]) * process.score_scale.std + process.score_scale.mean
        )
    return info
