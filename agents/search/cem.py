"""CEM: the cross-entropy method on a surrogate, with a budget of evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from agents.search.budgeted import BudgetConfig, best_found, search_box, search_starts
from mbo_gym.methods.base import Context, Difference, Method, MethodInfo, Proposals
from mbo_gym.methods.fitted import LIGHT_SURROGATE, Fitted
from mbo_gym.optimisers.searches import cross_entropy
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.settings import Choice, require_at_least
from mbo_gym.surrogates.registry import make_surrogate

__all__ = ["CEM", "CEMConfig"]


@dataclass(frozen=True)
class CEMConfig:
    """Settings of `CEM`.

    Args:
        surrogate: Surrogate that is maximised.
        search: Settings of starts and budget.
        population: Designs of a step.
        n_elite: Designs that the next Gaussian is fitted to.
        std: Standard deviation of the first step, in features.
        least_std: Smallest standard deviation later, in features.
        encoder: Name of the encoder.
    """

    surrogate: Choice = Choice("least_error")
    search: BudgetConfig = BudgetConfig()
    population: int = 20
    n_elite: int = 5
    std: float = 1.0
    least_std: float = 0.06
    encoder: str = "z_score"

    def __post_init__(self) -> None:
        require_at_least(self, 1, "population", "n_elite")
        require_at_least(self, 0, "std", "least_std")
        if self.n_elite > self.population:
            raise ValueError(
                f"n_elite must be at most population={self.population}, got {self.n_elite}"
            )


class CEM(Method):
    """CEM: the cross-entropy method on a surrogate, with a budget (Rubinstein, 1999).

    One of the two optimisers that DGID is compared with. Under a budget of simulator calls, the
    same search (`mbo_gym.optimisers.searches.cross_entropy`) runs on the simulator itself.

    Algorithm:
        1. fit a surrogate f on the features of the visible designs
        2. start a Gaussian N(m, diag(v)) at each start: uniform designs, the middle of the bounds,
           or the best visible designs
        3. until the budget is used up: draw 20 designs from each Gaussian, and fit its m and v to
           the 5 with the highest f; no standard deviation falls below the least one
        4. propose the best designs that each search has seen, the highest f first

    Args:
        config: Settings; preset `flat` starts one search at the middle, as in the papers.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("cem", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Rubinstein 1999, The Cross-Entropy Method for Combinatorial and Continuous Optimization. For
        tools in water: Allen et al. 2022, Physical Design using Differentiable Learned Simulators,
        arXiv 2202.00728; Vlastelica et al. 2023, Diffusion Generative Inverse Design,
        arXiv 2309.02040.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="CEM: the cross-entropy method on a surrogate, with a budget",
        paper=(
            "Rubinstein 1999, The Cross-Entropy Method for Combinatorial and Continuous "
            "Optimization; as an optimiser of Allen et al. 2022, Physical Design using "
            "Differentiable Learned Simulators, arXiv 2202.00728"
        ),
        kind="adaptation",
        differences=(
            Difference(
                "one search on a simulator, learned or not",
                "K searches on any surrogate; presets `paper` and `flat` make one",
                "a method for every task",
            ),
            Difference(
                "population, share of elite designs and deviations (not seen by us)",
                "20 designs, 5 elite, and a least deviation",
                "chosen on FluidContain; without a least deviation searches freeze",
            ),
        ),
        metrics={
            "cem/prediction": "mean prediction of the best design of each search, in standard "
            "deviations of the visible scores",
        },
        equations=(
            r"x_i \sim \mathcal{N}(m, \operatorname{diag}(v))",
            r"m \leftarrow \operatorname{mean}(x_{1:e}), \quad "
            r"v \leftarrow \max(\operatorname{var}(x_{1:e}), v_{\min})",
        ),
    )
    Config: ClassVar[type[Any]] = CEMConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": CEMConfig(search=BudgetConfig(n_searches=1)),
        "flat": CEMConfig(search=BudgetConfig(n_searches=1, start="middle")),
        "light": CEMConfig(
            surrogate=LIGHT_SURROGATE, search=BudgetConfig(budget=30), population=10, n_elite=3
        ),
    }

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the surrogate."""
        self.start(problem, context)
        surrogate = make_surrogate(self.config.surrogate)
        self.fitted = Fitted.fit(problem, surrogate, self.config.encoder, context)

    def propose(self, k: int) -> Proposals:
        """Search from each start; the criterion is the prediction."""
        config = self.config
        rng = np.random.default_rng(self.context.seed)
        n, _, _ = config.search.searches(k)
        search = cross_entropy(
            search_starts(self.fitted, config.search, n, rng),
            rng,
            population=config.population,
            n_elite=config.n_elite,
            std=config.std,
            least_std=config.least_std,
            box=search_box(self.fitted, config.search),
        )
        return best_found(self.fitted, search, config.search, k, "cem")

    def write_state(self, folder: Path) -> None:
        """Write the surrogate."""
        self.fitted.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the surrogate."""
        self.fitted = Fitted.load(folder, self.problem, self.config.encoder, self.context)
