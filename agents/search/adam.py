"""Adam on a surrogate, by its gradient or by smoothed differences, with a budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from agents.search.budgeted import BudgetConfig, best_found, search_box, search_starts
from mbo_gym.methods.base import Context, Difference, Method, MethodInfo, Proposals
from mbo_gym.methods.fitted import LIGHT_SURROGATE, Fitted
from mbo_gym.optimisers.searches import adam_on_differences, adam_on_gradient
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.settings import Choice, require_at_least
from mbo_gym.surrogates.registry import make_surrogate

__all__ = ["AdamConfig", "AdamSearch"]


@dataclass(frozen=True)
class AdamConfig:
    """Settings of `AdamSearch`.

    Args:
        surrogate: Surrogate that is maximised.
        search: Settings of starts and budget.
        gradient: ``differences``: slopes between antithetic pairs around a design, which a chaotic
            simulator needs; ``surrogate``: the surrogate's own gradient, one evaluation a step.
        n_pairs: Pairs of a step of ``differences``, of two evaluations each.
        reach: Standard deviation of a pair's distance from the design, in features.
        rate: Learning rate, in features.
        encoder: Name of the encoder.
    """

    surrogate: Choice = Choice("least_error")
    search: BudgetConfig = BudgetConfig()
    gradient: Literal["differences", "surrogate"] = "differences"
    n_pairs: int = 4
    reach: float = 0.1
    rate: float = 0.05
    encoder: str = "z_score"

    def __post_init__(self) -> None:
        require_at_least(self, 1, "n_pairs")
        require_at_least(self, 0, "rate")
        if not self.reach > 0:
            raise ValueError(f"reach must be above 0, got {self.reach!r}")


class AdamSearch(Method):
    """Adam on smoothed differences of a surrogate, or on its gradient, with a budget.

    One of the two optimisers that DGID is compared with. Under a budget of simulator calls, the
    same search (`mbo_gym.optimisers.searches.adam_on_differences`) runs on the simulator itself.
    Gradient ascent without a budget is the method `grad`.

    Algorithm:
        1. fit a surrogate f on the features of the visible designs
        2. start at uniform designs, at the middle of the bounds, or at the best visible designs
        3. until the budget is used up: estimate the gradient of f by the slopes between 4
           antithetic pairs around each design, or compute it, and take a step of Adam
        4. propose the best designs that each search has seen, the highest f first

    Args:
        config: Settings; preset `paper` follows the surrogate's gradient from one start.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("adam", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Kingma and Ba 2015, Adam: A Method for Stochastic Optimization, arXiv 1412.6980. For tools
        in water: Allen et al. 2022, Physical Design using Differentiable Learned Simulators,
        arXiv 2202.00728; Vlastelica et al. 2023, Diffusion Generative Inverse Design,
        arXiv 2309.02040.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="Adam: gradient steps on differences of a surrogate, with a budget",
        paper=(
            "Kingma and Ba 2015, Adam: A Method for Stochastic Optimization, arXiv 1412.6980; as "
            "an optimiser of Allen et al. 2022, Physical Design using Differentiable Learned "
            "Simulators, arXiv 2202.00728"
        ),
        kind="adaptation",
        differences=(
            Difference(
                "the gradient goes through the learned simulator",
                "slopes between antithetic pairs of designs; preset `paper` has the gradient",
                "over an episode of splashing water, the gradients of both simulators are noise",
            ),
            Difference(
                "one search on a simulator",
                "K searches on any surrogate; preset `paper` makes one",
                "a method for every task",
            ),
        ),
        metrics={
            "adam/prediction": "mean prediction of the best design of each search, in standard "
            "deviations of the visible scores",
        },
        equations=(
            r"g = \frac{1}{n} \sum_{i \le n} "
            r"\frac{f(x + h u_i) - f(x - h u_i)}{2 h} \, u_i, \quad u_i \sim \mathcal{N}(0, I)",
        ),
    )
    Config: ClassVar[type[Any]] = AdamConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": AdamConfig(gradient="surrogate", search=BudgetConfig(n_searches=1)),
        "flat": AdamConfig(search=BudgetConfig(n_searches=1, start="middle")),
        "light": AdamConfig(surrogate=LIGHT_SURROGATE, search=BudgetConfig(budget=24)),
    }

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the surrogate."""
        self.start(problem, context)
        surrogate = make_surrogate(self.config.surrogate)
        climbed = self.config.gradient == "surrogate"
        self.fitted = Fitted.fit(problem, surrogate, self.config.encoder, context, climbed=climbed)

    def propose(self, k: int) -> Proposals:
        """Search from each start; the criterion is the prediction."""
        config = self.config
        rng = np.random.default_rng(self.context.seed)
        n, _, _ = config.search.searches(k)
        starts = search_starts(self.fitted, config.search, n, rng)
        box = search_box(self.fitted, config.search)
        if config.gradient == "surrogate":
            search = adam_on_gradient(starts, self._descent, rate=config.rate, box=box)
        else:
            search = adam_on_differences(
                starts,
                rng,
                n_pairs=config.n_pairs,
                reach=config.reach,
                rate=config.rate,
                box=box,
            )
        return best_found(self.fitted, search, config.search, k, "adam")

    def _descent(self, z: np.ndarray) -> np.ndarray:
        """Return minus the gradient of the prediction at features (S, d)."""
        features = torch.from_numpy(z.astype(np.float32)).to(self.context.device)
        return -self.fitted.surrogate.gradient(features).cpu().numpy()

    def write_state(self, folder: Path) -> None:
        """Write the surrogate."""
        self.fitted.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the surrogate."""
        self.fitted = Fitted.load(folder, self.problem, self.config.encoder, self.context)
