"""PGS: policy-guided gradient search (Chemingui, Deshwal, Hoang, Doppa, AAAI 2024, arXiv 2405.05349).

Offline optimisation as offline reinforcement learning: a state is a design, an action a vector of step sizes on the
surrogate's gradient, the reward the improvement of the score.

Algorithm:
    1. Fit a surrogate f on the visible designs' features.
    2. Draw trajectories of T + 1 distinct designs from the best p percent (trajectories.random_top).
    3. Turn each step into (s, a, r, s'), a = (z' - z) / (scale * grad f(z)), r = y' - y (trajectories.with_actions).
    4. Learn a policy from these transitions with conservative Q-learning (agents.rl.offline, through d3rlpy).
    5. From the K best visible designs, repeat T times: z <- z + scale * policy(z) * grad f(z) (envs.dynamics).
    6. Return the ends, the highest prediction f(z) first.

Differs from the paper: categorical spaces use z-scored logits, not the latent means of a sequence VAE; the surrogate is
2 x 256; 1,000 trajectories and 2,000 updates of CQL with 4 action samples instead of 20,000, 400,000 and 10.

Differs from the released program: one action scale serves training and search (there, 10 against 0.39); rewards belong
to their own transition (there, they are averaged over the mini-batch by a broadcast); components of actions outside
[-1, 1] are clipped (there, set to zero: `outside="zero"`); the search stays in the box of the visible features
(`bounds="none"` lifts that); the ends of an episode are time limits (`terminal=True` for the program's).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import safetensors.torch
import torch

from agents.base import SearchWatch, best_first, start_features
from agents.rl.offline import OfflineConfig, policy_actions, train_offline
from mbo_gym.encoding import make_encoder
from mbo_gym.envs.dynamics import default_action_scale, feature_bounds, transition
from mbo_gym.errors import UnknownId
from mbo_gym.export.d3rlpy import import_d3rlpy
from mbo_gym.method import save_config
from mbo_gym.progress import Progress
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates import Surrogate, fit_surrogate, make_surrogate, predict_in_pieces
from mbo_gym.task import OfflineProblem
from mbo_gym.trajectories import SAMPLERS, with_actions

__all__ = ["PGSConfig", "PolicyGuidedSearch"]


@dataclass(frozen=True)
class PGSConfig(OfflineConfig):
    """Settings of policy-guided search; those of the offline-RL learner come first.

    Args:
        p: Trajectories are drawn from the best `p` percent of the visible designs.
        horizon: T, steps of a trajectory.
        n_trajectories: Number of trajectories.
        trajectories: Sampler: ``random_top`` (the paper's) or ``sorted_top``.
        reward: ``difference`` of the data's scores (the paper's) or ``surrogate_difference``.
        outside: Action components outside [-1, 1]: ``clip`` or ``zero``.
        terminal: Whether a trajectory's last transition ends the world.
        action_scale: Unit of an action in training and search; None for 0.05 sqrt(d), categorical 2 sqrt(d), the
            paper's search step.
        search_steps: Steps of the search; None for `horizon`.
        bounds: ``data``: the search stays in the box of the visible features; ``none``.
        surrogate: Name of the surrogate.
        encoder: Name of the encoder.
    """

    p: float = 20.0
    horizon: int = 50
    n_trajectories: int = 1000
    trajectories: str = "random_top"
    reward: Literal["difference", "surrogate_difference"] = "difference"
    outside: Literal["clip", "zero"] = "clip"
    terminal: bool = False
    action_scale: float | None = None
    search_steps: int | None = None
    bounds: Literal["data", "none"] = "data"
    surrogate: str = "mlp"
    encoder: str = "z_score"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "horizon", "n_trajectories")
        require_at_least(self, 0, "search_steps", "action_scale")


class PolicyGuidedSearch:
    """Policy-guided gradient search; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = PGSConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": PGSConfig(
            surrogate="mlp_paper", n_trajectories=20_000, train_steps=400_000, n_action_samples=10, bounds="none"
        ),
    }
    SETTINGS: ClassVar[Mapping[str, Any]] = {}
    criterion: np.ndarray
    _surrogate: Surrogate

    def __init__(self, config: PGSConfig | None = None) -> None:
        self.config = config or PGSConfig()
        if self.config.trajectories not in SAMPLERS:
            raise UnknownId("trajectory sampler", self.config.trajectories, SAMPLERS)

    def fit(self, problem: OfflineProblem, *, seed: int, device: str, progress: Progress) -> None:
        """Fit the surrogate, draw the trajectories, learn the policy."""
        import_d3rlpy()  # a missing library shows now, not after minutes of fitting
        config = self.config
        self._problem, self._seed, self._device, self._progress = problem, seed, device, progress
        self._encoder = make_encoder(problem, config.encoder)
        surrogate = make_surrogate(config.surrogate)
        self._surrogate = fit_surrogate(problem, self._encoder, surrogate, seed=seed, device=device, progress=progress)
        self._scale = default_action_scale(problem, self._encoder, "step_vector")
        if config.action_scale is not None:
            self._scale = torch.full_like(self._scale, config.action_scale)
        generator = torch.Generator().manual_seed(seed)
        sampler = SAMPLERS[config.trajectories]
        batch = sampler(problem, self._encoder, config.p, config.n_trajectories, config.horizon, generator)
        batch = with_actions(
            batch, self._surrogate.to("cpu"), "step_vector", self._scale, reward=config.reward, outside=config.outside
        )
        self._surrogate.to(device)
        assert batch.actions is not None
        progress.metrics("trajectories", 0, clipped_share=float((batch.actions.abs() == 1).float().mean()))
        self._algo = train_offline(batch, config, seed=seed, device=device, progress=progress, terminal=config.terminal)

    def propose(self, k: int) -> np.ndarray:
        """Search from the `k` best visible designs; return the ends, the highest prediction first."""
        config, device = self.config, self._device
        z = start_features(self._problem, self._encoder, k, torch.Generator().manual_seed(self._seed)).to(device)
        bounds = None
        if config.bounds == "data":
            low, high = feature_bounds(self._problem, self._encoder)
            bounds = torch.from_numpy(low).to(device), torch.from_numpy(high).to(device)
        scale = self._scale.to(device)
        steps = config.horizon if config.search_steps is None else config.search_steps
        watch = SearchWatch(self._problem, self._encoder, "search", steps, self._progress)
        for step in self._progress.track(range(steps), "policy-guided search"):
            value, gradient = self._surrogate.value_and_gradient(z)
            action = policy_actions(self._algo, z)
            watch(step, z, value)
            self._progress.metrics("search", step, action=float(action.mean()))
            z = transition(z, action, gradient, scale, bounds)
        watch(steps, z, predict_in_pieces(self._surrogate.predict, z))
        best, self.criterion = best_first(self._surrogate, z, k)
        return self._encoder.decode(best.cpu().numpy())

    def save(self, folder: Path) -> None:
        """Write the settings, the surrogate and the policy's weights."""
        save_config(folder, self.config)
        self._surrogate.save(folder / "surrogate.safetensors")
        weights = {key: value.detach().cpu().contiguous() for key, value in self._algo.impl.policy.state_dict().items()}
        safetensors.torch.save_file(weights, folder / "policy.safetensors")
