"""Oracle of the fluid tasks: the water is simulated for every design."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mbo_gym.problem.oracle import Oracle
from mbo_gym.problem.space import DesignSpace
from mbo_gym.simulators.fluid.physics import Physics
from mbo_gym.simulators.fluid.rollout import Engine, rollout
from mbo_gym.simulators.fluid.scene import Scene
from mbo_gym.simulators.fluid.score import SCORED_FRAMES, goal_scores

__all__ = ["FluidOracle"]


class FluidOracle(Oracle):
    """Smooth share of the water at the goal at the end of an episode, by the reference engine.

    Deterministic: the scores of a design are the same bits in every batch and run.

    Args:
        space: Angles of the tool.
        scene: What is simulated, and the goal.
        physics: Constants of the water; None for the tasks' own.
    """

    def __init__(self, space: DesignSpace, scene: Scene, physics: Physics | None = None) -> None:
        super().__init__(space, batch_size=256)
        self.scene = scene
        self.physics = physics or Physics()

    def simulate(self, x: np.ndarray, *, engine: Engine = "torch") -> np.ndarray:
        """Return the whole episodes of designs, for pictures and for scores under other goals.

        Each design counts as an oracle call, since its frames tell its score.

        Args:
            x: (N, n_angles) designs inside the space.
            engine: Engine that simulates; both give the same frames.

        Returns:
            (N, F, P, 2) float32 positions of the P particles, in metres.

        Raises:
            MissingDependency: numba is asked for and not installed.
        """
        self._count(len(x))
        return rollout(self.scene, x, self.physics, engine=engine)

    def score_tensor(self, x: Tensor) -> Tensor:
        """Score designs (N, n_angles) that lie inside the space, on the tensor's device."""
        self._count(len(x))
        scores = self._scores(x.detach().cpu().numpy(), x.device)
        return torch.from_numpy(scores).to(x.device)

    def _score(self, x: np.ndarray) -> np.ndarray:
        return self._scores(x, "cpu")

    def _scores(self, x: np.ndarray, device: str | torch.device) -> np.ndarray:
        frames_m = rollout(self.scene, x, self.physics, last=SCORED_FRAMES, device=device)
        return goal_scores(frames_m, self.scene.goal_m, self.scene.sigma_m)
