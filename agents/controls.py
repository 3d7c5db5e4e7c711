"""Controls: methods that learn nothing, or use a surrogate only as a filter; those with a model in
closed form are in `agents.optima`.

They reach many published maxima, so every table has them: a method is worth what it adds to the
best of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mbo_gym.encoders.registry import make_encoder
from mbo_gym.errors import InvalidData
from mbo_gym.methods.base import Context, Method, MethodInfo, Proposals
from mbo_gym.methods.distinct import as_they_come
from mbo_gym.methods.fitted import LIGHT_SURROGATE, Fitted
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.sampling import sampling_space
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.settings import Choice, require_at_least
from mbo_gym.surrogates.registry import make_surrogate

__all__ = [
    "MeanDesign",
    "NoConfig",
    "NoiseConfig",
    "Random",
    "RandomFiltered",
    "RandomFilteredConfig",
    "RandomUnseen",
    "TopK",
    "TopKNoise",
]


_MOST_DRAWS = 100


@dataclass(frozen=True)
class NoConfig:
    """No settings."""


def _best_rows(dataset: OfflineDataset, k: int) -> np.ndarray:
    """Return `k` rows of the best distinct designs, best first, repeated where there are fewer;
    (k,) int64."""
    rows = dataset.top_rows(k)
    return np.asarray(rows[np.sort(np.arange(k) % len(rows))])


class Random(Method):
    """Random: uniform designs of the space, in no order.

    Algorithm:
        1. cut infinite sides of the space at the range of the visible designs
        2. draw K designs uniformly from the space; propose them in the order drawn

    Args:
        config: No settings.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("random")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)
    """

    info: ClassVar[MethodInfo] = MethodInfo(title="Random: uniform random designs", kind="control")
    Config: ClassVar[type[Any]] = NoConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {"light": NoConfig()}
    CONTROL: ClassVar[bool] = True

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Keep the problem and the seed."""
        self.start(problem, context)

    def propose(self, k: int) -> Proposals:
        """Return `k` uniform designs."""
        seed = self.context.seed
        x = sampling_space(self.problem).sample(k, np.random.default_rng(seed))
        return as_they_come(self.problem, x, np.zeros(k), k, seed)


class RandomUnseen(Method):
    """RandomUnseen: uniform designs that were not measured.

    Where the worse half of a finite space is visible, what is left is the better half, so drawing
    blindly from it beats many methods.

    Algorithm:
        1. draw designs uniformly from the space, as in `Random`; leave out those that are visible,
           and repeated ones
        2. draw again until there are K; after 100 draws of a space with fewer, those found are
           repeated
        3. propose them in the order drawn

    Args:
        config: No settings.

    Raises:
        InvalidData: Every design drawn was measured.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("random_unseen")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="RandomUnseen: uniform random designs that were not measured", kind="control"
    )
    Config: ClassVar[type[Any]] = NoConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {"light": NoConfig()}
    CONTROL: ClassVar[bool] = True

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Keep the problem and the seed."""
        self.start(problem, context)

    def propose(self, k: int) -> Proposals:
        """Return `k` uniform designs that are not visible."""
        problem, seed = self.problem, self.context.seed
        space, rng = sampling_space(problem), np.random.default_rng([seed, 3])
        x = problem.dataset.x[:0]
        for _ in range(_MOST_DRAWS):
            x = problem.dataset.unseen(np.concatenate([x, space.sample(2 * k, rng)]))
            if len(x) >= k:
                break
        if not len(x):
            raise InvalidData(
                f"all {_MOST_DRAWS * 2 * k:,} designs drawn for {problem.task_id} are measured "
                "ones: its space has none left, or hardly any. Choose another control."
            )
        return as_they_come(problem, x[np.arange(k) % len(x)], np.zeros(k), k, seed)


class TopK(Method):
    """TopK: the best distinct visible designs, unchanged.

    Algorithm:
        1. order the distinct visible designs by their score, the highest first
        2. propose the first K; where there are fewer, all of them are repeated in turn until there
           are K, copies next to each other

    Args:
        config: No settings.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("top_k")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)
    """

    info: ClassVar[MethodInfo] = MethodInfo(title="TopK: the best visible designs", kind="control")
    Config: ClassVar[type[Any]] = NoConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {"light": NoConfig()}
    CONTROL: ClassVar[bool] = True

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Keep the problem."""
        self.start(problem, context)

    def propose(self, k: int) -> Proposals:
        """Return the `k` best visible designs; the criterion is their visible score."""
        dataset = self.problem.dataset
        rows = _best_rows(dataset, k)
        return Proposals(np.asarray(dataset.x[rows]), dataset.y[rows], unit="score")


@dataclass(frozen=True)
class NoiseConfig:
    """Settings of `TopKNoise`.

    Args:
        noise: Continuous and mixed spaces: standard deviation of Gaussian noise in z-scored
            features. Categorical spaces: probability that a site is given a random letter.
    """

    noise: float = 0.1

    def __post_init__(self) -> None:
        require_at_least(self, 0, "noise")


class TopKNoise(Method):
    """TopKNoise: the best visible designs with random changes.

    Algorithm:
        1. x <- the K best distinct visible designs, repeated as in `TopK` where there are fewer
        2. continuous spaces: z-score x, add noise * N(0, 1) to each feature, and clip the result to
           the bounds of the space;
           categorical spaces: with probability `noise`, replace a letter by one drawn uniformly
        3. propose the changed designs, in the order of the scores of the unchanged ones

    Args:
        config: Settings; the amount of noise.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("top_k_noise", noise=0.2)
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="TopKNoise: the best visible designs with random changes", kind="control"
    )
    Config: ClassVar[type[Any]] = NoiseConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {"light": NoiseConfig()}
    CONTROL: ClassVar[bool] = True

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Keep the problem and the seed."""
        self.start(problem, context)

    def propose(self, k: int) -> Proposals:
        """Return `k` changed designs; the criterion is the visible score of the unchanged one."""
        problem = self.problem
        rng = np.random.default_rng(self.context.seed)
        noise = self.config.noise
        rows = _best_rows(problem.dataset, k)
        x = problem.dataset.x[rows]
        criterion = problem.dataset.y[rows]
        if isinstance(problem.space, CategoricalSpace):
            letters = np.where(rng.random(x.shape) < noise, problem.space.sample(k, rng), x)
            return Proposals(letters.astype(np.int32), criterion)
        encoder = make_encoder(problem)
        z = encoder.encode(x)
        x = encoder.decode(z + noise * rng.standard_normal(z.shape))
        return as_they_come(problem, x, criterion, k, self.context.seed)


class MeanDesign(Method):
    """MeanDesign: one design, k times: the mean of the visible designs.

    Algorithm:
        1. continuous spaces: x <- the mean of the visible designs, clipped to the bounds;
           categorical spaces: x <- the commonest letter of each site, the first one in a tie;
           mixed spaces: x <- the commonest words and letters with the nearest allowed numbers
        2. propose x, K times; on mixed spaces x once, then near designs

    Args:
        config: No settings.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("mean_design")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="MeanDesign: the mean of the visible designs", kind="control"
    )
    Config: ClassVar[type[Any]] = NoConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {"light": NoConfig()}
    CONTROL: ClassVar[bool] = True

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Keep the problem."""
        self.start(problem, context)

    def propose(self, k: int) -> Proposals:
        """Return `k` copies of the mean design, on mixed spaces near designs in place of copies."""
        x = self.problem.dataset.x
        space = self.problem.space
        if isinstance(space, CategoricalSpace):
            counts = np.stack([(x == a).sum(axis=0) for a in range(space.n_categories)])  # (A, L)
            return Proposals(np.tile(counts.argmax(axis=0).astype(np.int32), (k, 1)), np.zeros(k))
        if isinstance(space, MixedSpace):
            mean = space.features(x).mean(axis=0, dtype=np.float64)
            copies = np.tile(space.from_features(mean[None]), (k, 1))
            return as_they_come(self.problem, copies, np.zeros(k), k, self.context.seed)
        mean = x.mean(axis=0, dtype=np.float64)
        return Proposals(space.clip(np.tile(mean, (k, 1))), np.zeros(k))


@dataclass(frozen=True)
class RandomFilteredConfig:
    """Settings of `RandomFiltered`.

    Args:
        n_candidates: Random designs drawn; at least k are.
        surrogate: Surrogate that filters them.
    """

    n_candidates: int = 4096
    surrogate: Choice = Choice("mlp")

    def __post_init__(self) -> None:
        require_at_least(self, 1, "n_candidates")


class RandomFiltered(Method):
    """RandomFiltered: the best of many uniform random designs by a plain surrogate.

    There is no search at all; on TFBind8 it outranks most methods.

    Algorithm:
        1. fit a surrogate f on the features of the visible designs
        2. draw `n_candidates` designs uniformly, at least K, as in `Random`
        3. propose the K with the highest f, the highest first

    Args:
        config: Settings; the number of candidates and the surrogate.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("random_filtered", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="RandomFiltered: the best of many random designs by a surrogate", kind="control"
    )
    Config: ClassVar[type[Any]] = RandomFilteredConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {"light": RandomFilteredConfig(100, LIGHT_SURROGATE)}
    CONTROL: ClassVar[bool] = True

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the surrogate."""
        self.start(problem, context)
        self.fitted = Fitted.fit(problem, make_surrogate(self.config.surrogate), "z_score", context)

    def propose(self, k: int) -> Proposals:
        """Return the `k` random designs with the highest predictions."""
        rng = np.random.default_rng(self.context.seed)
        x = sampling_space(self.problem).sample(max(k, self.config.n_candidates), rng)
        return self.fitted.best(self.fitted.encoder.features(x, self.context.device), k)

    def write_state(self, folder: Path) -> None:
        """Write the surrogate."""
        self.fitted.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the surrogate."""
        self.fitted = Fitted.load(folder, self.problem, "z_score", self.context)
