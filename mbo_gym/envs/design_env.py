"""The environment with one design as its state."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium as gym
import numpy as np
import torch

from mbo_gym.envs.process import EnvConfig, Process, State
from mbo_gym.envs.spec import complete_spec, limit_of_make
from mbo_gym.errors import MissingDependency

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec

__all__ = ["DesignEnv"]


class DesignEnv(gym.Env[np.ndarray, np.ndarray]):
    """Improve one design step by step.

    ## Description
    A state is a design of a task, an action moves it, and the reward is what the move gained. The
    reward is offline by default: a surrogate, fitted on the visible designs, predicts the score. An
    agent that is trained here proposes designs without measuring any.

    An encoder maps a design to features z of length d (by default z-scores, on sequences of
    smoothed letters), and features back to the nearest design. With the surrogate f and actions a:

        step_vector     z' = clip(z + scale * a * direction(z))    the default
        displacement    z' = clip(z + scale * a)

    ``direction`` is the surrogate's gradient, divided by its root mean square over the features
    (``gradient="unit"``, the default) or as it is (``gradient="raw"``). ``clip`` keeps z' in the
    box that the visible designs span.

    ## Action space
    ``Box(-1, 1, (d,), float32)``; ``Box(-1, 1, (1,), float32)`` with ``step="scalar"``. A component
    is a share of the largest step, `scale`, along its feature. With ``sign="positive"``, -1 stands
    for no step and 1 for the largest.

    | `action_mode` | `gradient` | default of `scale` |
    | --- | --- | --- |
    | step_vector | raw | 0.05 sqrt(d), categorical 2 sqrt(d): PGS's search step |
    | step_vector | unit | 0.1, categorical 0.5 standard deviations, times `trust` |
    | displacement | | the width of the box in each feature |

    ## Observation space
    A ``Box`` of float32. ``observation="design"``, the default, is the features, d numbers.
    ``observation="guided"`` is 2 d + 3 numbers:

    | index | observation | lowest | highest |
    | --- | --- | --- | --- |
    | 0 .. d-1 | features z, as far as the visible designs reach | min | max |
    | d .. 2d-1 | agreement: product of surrogate's and judge's unit gradients | -d | d |
    | 2d | prediction of the surrogate, standard deviations | -3.4e38 | 3.4e38 |
    | 2d+1 | spread of the judge's members, 0 without members | 0 | 3.4e38 |
    | 2d+2 | share of steps left | 0 | 1 |

    With ``bounds="none"`` the features too have no bounds, which is written as the largest float32.

    | task | design | d | guided |
    | --- | --- | --- | --- |
    | TFBind8 | 8 letters of 4 | 24 | 51 |
    | TFBind10 | 10 letters of 4 | 30 | 63 |
    | UTR | 50 letters of 4 | 150 | 303 |
    | GFP | 237 letters of 20 | 4503 | 9009 |
    | CIFARNAS | 64 letters of 5 | 256 | 515 |
    | Superconductor | 86 numbers | 86 | 175 |
    | AntMorphology | 60 numbers | 60 | 123 |
    | DKittyMorphology | 56 numbers | 56 | 115 |
    | HopperController | 5126 numbers | 5126 | 10255 |
    | Levy, Rastrigin, Rosenbrock, Ackley, Griewank | `dim` = 60 numbers | 60 | 123 |
    | Branin | 2 numbers | 2 | 7 |
    | FluidContain, FluidRamp | 16 angles | 16 | 35 |
    | FluidMaze | 24 angles | 24 | 51 |
    | Formulation | 11 parameters of six kinds | 32 | 67 |

    A site of A letters takes A - 1 features; in mixed spaces, A (`MixedSpace.features`).

    ## Rewards
    The difference of the design's value, in standard deviations of the visible scores:

    | arguments | value |
    | --- | --- |
    | ``reward="surrogate"`` | f(z), the prediction of the surrogate |
    | the same with a `judge` g | g(x) - pessimism * spread of g at x, for x that z decodes to |
    | ``reward="oracle"`` | the true score of x; every step is an oracle call and is counted |

    With ``judge="cross"`` a step is worth what a model says that had no part in choosing it.

    ## Starting state
    One of the `n_starts` best distinct visible designs (``start="top"``), or of all visible rows
    (``start="any"``), drawn uniformly; ``reset(options={"design": x})`` starts at a native design,
    on mixed spaces also at a mapping by name, e.g. ``{"solvent": "water", "temperature": 55, ..}``.

    ## Episode end
    Truncation after `horizon` steps. Nothing terminates. Gymnasium's `max_episode_steps` is the
    same number by another name, and counts where both are given. `env.spec.max_episode_steps` tells
    it.

    ## Arguments
    `render_mode`: ``ansi`` (a line of text), ``rgb_array`` (scores of the episode, for 2-D tasks
    also its path, for fluid tasks the tool and the water; needs matplotlib) or None. All others are
    the fields of `mbo_gym.envs.process.EnvConfig`::

        gym.make("mbo_gym/TFBind8-Exact-v0", action_mode="displacement", horizon=20)

    What policy-guided search (`pgs`) is trained on and searches with, by default::

        gym.make(
            "mbo_gym/TFBind8-Exact-v0",
            observation="guided",
            judge="cross",
            trust=True,
            sign="positive",
        )

    `info` holds ``design`` (native; on mixed spaces a mapping by name, in the user's terms),
    ``prediction`` where a surrogate is used, ``value`` where there is a judge and, with
    ``oracle_info=True``, ``oracle_score`` (raw).
    `mbo_gym.envs.vector_env` has the same with thousands of designs at once.

    ## Version history
    The version is that of the task. Defaults that changed after 0.1.0:

    | argument | 0.1.0 | now |
    | --- | --- | --- |
    | `gradient` | raw | unit |
    | `surrogate` | mlp | auto |

    ``preset="paper"`` has the environment of PGS.

    Args:
        render_mode: ``ansi``, ``rgb_array`` or None.
        preset: Name of arguments in `EnvConfig.PRESETS`; further ones count where both are given.
        **config: Fields of `EnvConfig`.

    Example:
        >>> import gymnasium as gym
        >>> import mbo_gym
        >>> env = gym.make("mbo_gym/Branin-Exact-v0", surrogate="quadratic")
        >>> observation, info = env.reset(seed=0)
        >>> observation.shape
        (2,)
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["ansi", "rgb_array"] if find_spec("matplotlib") else ["ansi"],
        "render_fps": 4,
    }
    _spec: EnvSpec | None = None

    def __init__(
        self, render_mode: str | None = None, preset: str | None = None, **config: Any
    ) -> None:
        if render_mode == "rgb_array" and render_mode not in self.metadata["render_modes"]:
            raise MissingDependency("matplotlib", "report")
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(
                f"render_mode must be None or one of {self.metadata['render_modes']}, "
                f"got {render_mode!r}"
            )
        self.render_mode = render_mode
        self.process = Process(EnvConfig.of(preset, **config))
        low, high = self.process.observation_box()
        n_actions = (self.process.n_actions,)
        self.observation_space = gym.spaces.Box(low, high, dtype=np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, shape=n_actions, dtype=np.float32)
        self._states: list[State] = []  # of this episode, for rendering

    @property
    def spec(self) -> EnvSpec | None:
        """Spec that `gym.make` makes the same environment from; None where it was made by hand."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        steps = limit_of_make(sys._getframe(1))
        if steps is not None:
            self.process.config = replace(self.process.config, horizon=steps)
        self._spec = complete_spec(spec, self.process)

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
        n_actions = self.process.n_actions
        tensor = torch.from_numpy(np.asarray(action, dtype=np.float32).reshape(1, -1))
        if tensor.shape[1] != n_actions or not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"an action is {n_actions} finite numbers, got {action!r}")
        state, reward = self.process.step(self._states[-1], tensor)
        self._states.append(state)
        truncated = state.step >= state.horizon
        return self._observation(), float(reward[0]), False, truncated, self._info()

    def render(self) -> Any:
        """Return the state as text (``ansi``) or as a picture (H, W, 3) uint8 (``rgb_array``)."""
        if self.render_mode is None or not self._states:
            return None
        from mbo_gym.envs import render

        return (render.as_text if self.render_mode == "ansi" else render.as_picture)(
            self.process, self._states
        )

    def _observation(self) -> np.ndarray:
        # a copy: a caller may change what it got
        return np.array(self._states[-1].observation[0].numpy())

    def _info(self) -> dict[str, Any]:
        return state_info(self.process, self._states[-1], row=0)


def state_info(process: Process, state: State, row: int) -> dict[str, Any]:
    """Return the `info` of one row of a state."""
    config, scale = process.config, process.score_scale
    info: dict[str, Any] = {"design": process.design(state.z[row])}
    if config.uses_surrogate:
        info["prediction"] = float(state.prediction[row])
    if config.judge is not None and config.reward == "surrogate":
        info["value"] = float(state.value[row])
    if config.oracle_info:
        info["oracle_score"] = float(state.score[row]) * scale.std + scale.mean
    return info
