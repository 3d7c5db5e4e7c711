"""CMA-ES: covariance matrix adaptation on a surrogate, one evolution from each of the best visible
designs.

Algorithm (Hansen, arXiv 1604.00772, through the library cma; as a baseline: design-baselines,
Trabucco et al., 2022):
    1. Fit an ensemble on the visible designs' features; f is its mean.
    2. From each of the K best visible designs start a search distribution N(m, sigma^2 C) with C =
       I and sigma = 0.5.
    3. For 100 generations, or until its own criteria stop it: draw 4 + floor(3 ln d) designs from
       each distribution, predict them, and move m, sigma and C towards the better half.
    4. Return the best design that each start has seen, the highest f first.

All starts are stepped together, so that f is asked once a generation.

Differs from the released program: a start counts as seen, so that no search returns less than it
began with; the ensemble is `ensemble`, 2 x 256 with members that differ in their first weights and
the order of batches (`paper`: 1 x 256 on bootstraps, as there). The evolution leads a smaller one
astray on Levy: `light_ensemble` takes half the time and ends below the published scores.

The published search has no bounds and leaves the data far behind: on TFBind8 predictions end
thousands of standard deviations above anything seen. `boxed` keeps it in the box that the visible
designs' features span. Different searches may end in the same design; what is proposed is not made
distinct.

Above 500 features C is kept diagonal (Ros and Hansen, 2008): K full ones of d^2 numbers would take
more memory than there is, 125 GB for GFP's 4,503 features, and hours to factorise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from mbo_gym.methods.ascent import SearchWatch, best_first, start_features
from mbo_gym.methods.fitted import Bounds
from mbo_gym.methods.surrogate_search import SurrogateSearch
from mbo_gym.optional import optional_import
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import predict_in_pieces

__all__ = ["CMAES", "CMAESConfig", "evolve"]

_MOST_FULL = 500  # features; 256 full covariances, with what cma keeps beside them, then take 2 GB


@dataclass(frozen=True)
class CMAESConfig:
    """Settings of CMA-ES.

    Args:
        surrogate: Name of the surrogate.
        steps: Most generations of a search.
        sigma0: First standard deviation, in features.
        population: Designs that a search draws in a generation; None for 4 + floor(3 ln d).
        bounds: ``none``, or ``data``: the search stays in the box that the visible designs'
            features span.
        covariance: C: ``full``, or ``diagonal``; None for diagonal above 500 features.
        encoder: Name of the encoder.
    """

    surrogate: str = "ensemble"
    steps: int = 100
    sigma0: float = 0.5
    population: int | None = None
    bounds: Bounds = "none"
    covariance: Literal["full", "diagonal"] | None = None
    encoder: str = "z_score"

    def __post_init__(self) -> None:
        require_at_least(self, 0, "steps")
        require_at_least(self, 2, "population")
        if not self.sigma0 > 0:
            raise ValueError(f"sigma0 must be above 0, got {self.sigma0!r}")


class CMAES(SurrogateSearch):
    """Covariance matrix adaptation from the best visible designs; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = CMAESConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": CMAESConfig(surrogate="bootstrap_ensemble_paper"),
        "boxed": CMAESConfig(bounds="data"),
    }

    def fit(self, problem: OfflineProblem, *, seed: int, device: str, progress: Progress) -> None:
        """Fit the surrogate."""
        optional_import("cma", "search")  # a missing library shows now, not after the fit
        super().fit(problem, seed=seed, device=device, progress=progress)

    def propose(self, k: int) -> np.ndarray:
        """Search from the `k` best visible designs; return the best of each search, the highest
        prediction first."""
        config, box = self.config, self.box()
        starts = start_features(
            self._problem, self._encoder, k, torch.Generator().manual_seed(self._seed)
        )
        watch = SearchWatch(self._problem, self._encoder, "cma_es", config.steps, self._progress)
        best = evolve(
            self._predict,
            starts.numpy(),
            config,
            box=None if box is None else (box[0].cpu().numpy(), box[1].cpu().numpy()),
            seed=self._seed,
            progress=self._progress,
            watch=lambda step, z, value: watch(step, torch.from_numpy(z), torch.from_numpy(value)),
        )
        z = torch.from_numpy(best).to(self._device)
        ordered, self.criterion = best_first(self._surrogate, z, k)
        return self._encoder.decode(ordered.cpu().numpy())

    def _predict(self, z: np.ndarray) -> np.ndarray:
        features = torch.from_numpy(z).to(self._device)
        return predict_in_pieces(self._surrogate.predict, features).cpu().numpy()


def evolve(
    predict: Callable[[np.ndarray], np.ndarray],
    starts: np.ndarray,
    config: CMAESConfig,
    *,
    box: tuple[np.ndarray, np.ndarray] | None,
    seed: int,
    progress: Progress,
    watch: Callable[[int, np.ndarray, np.ndarray], None],
) -> np.ndarray:
    """Maximise a function by one CMA-ES from each start, all stepped together; returns the best of
    each, (S, d).

    Args:
        predict: Maps features (B, d) float32 to values (B,).
        starts: (S, d) float32, inside the box where there is one.
        config: `steps`, `sigma0`, `population` and `covariance` are used.
        box: Lowest and highest features (d,), (d,) that are tried, or None.
        seed: Start i draws from a stream of (seed, i), so that it does not depend on the other
            starts.
        progress: Shows how far it is.
        watch: Called with the generation and each start's best so far (S, d) and its value (S,),
            before each generation and at the end.
    """
    searches = [
        _new_search(start, config, box, np.random.default_rng([seed, i]))
        for i, start in enumerate(starts)
    ]
    best, value = starts.copy(), predict(starts)
    for step in progress.track(range(config.steps), "CMA-ES"):
        watch(step, best, value)
        going = np.array(
            [i for i, search in enumerate(searches) if not search.stop()], dtype=np.int64
        )
        if not len(going):
            break
        populations = [searches[i].ask() for i in going]
        tried = np.array(populations, dtype=np.float32)  # (G, population, d)
        found = predict(tried.reshape(-1, tried.shape[2])).reshape(tried.shape[:2])
        for i, population, values in zip(going, populations, found, strict=True):
            searches[i].tell(population, (-values.astype(np.float64)).tolist())
        winner = found.argmax(axis=1)
        highest = found[np.arange(len(going)), winner]
        better = highest > value[going]
        best[going[better]] = tried[better, winner[better]]
        value[going[better]] = highest[better]
    watch(config.steps, best, value)
    return best


def _new_search(
    start: np.ndarray,
    config: CMAESConfig,
    box: tuple[np.ndarray, np.ndarray] | None,
    rng: np.random.Generator,
) -> Any:
    options: dict[str, Any] = {
        "randn": lambda *shape: rng.standard_normal(shape),
        "seed": np.nan,  # any other value seeds numpy's global state
        "maxiter": config.steps,
        "verbose": -9,
        "verb_log": 0,
    }
    covariance = config.covariance or ("full" if len(start) <= _MOST_FULL else "diagonal")
    if covariance == "diagonal":
        options["CMA_diagonal"] = True
    if config.population is not None:
        options["popsize"] = config.population
    if box is not None:
        options["bounds"] = [side.astype(np.float64).tolist() for side in box]
    return optional_import("cma", "search").CMAEvolutionStrategy(
        start.astype(np.float64), config.sigma0, options
    )
