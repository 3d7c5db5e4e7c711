"""Random-forest oracle: fitted once by scikit-learn, cached as arrays, evaluated with torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from mbo_gym.files import store
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.oracle import Oracle
from mbo_gym.problem.plain import space_to_dict
from mbo_gym.problem.space import CategoricalSpace, DesignSpace
from mbo_gym.trees.arrays import Trees, forest_trees

__all__ = ["ForestConfig", "ForestOracle", "fit_forest"]


@dataclass(frozen=True)
class ForestConfig:
    """Settings of scikit-learn's RandomForestRegressor.

    Args:
        n_estimators: Number of trees; Design-Bench uses 100.
        max_depth: Depth of each tree at most; Design-Bench uses 100.
        max_features: Share of the features tried at a split: 1.0 (what "auto" meant) or "sqrt".
        random_state: Seed.
    """

    n_estimators: int = 100
    max_depth: int = 100
    max_features: float | str = 1.0
    random_state: int = 0


class ForestOracle(Oracle):
    """The mean of regression trees, evaluated level by level for a whole batch.

    Args:
        space: The designs it can score; words and letters enter as one-hot
            indicators.
        trees: Arrays of `mbo_gym.trees.arrays.Trees` by name.
        on_data: (N,) its scores of the rows it was fitted on, where they are kept.
    """

    def __init__(
        self, space: DesignSpace, trees: Mapping[str, np.ndarray], on_data: np.ndarray | None = None
    ) -> None:
        super().__init__(space, batch_size=1 << 13)
        self._trees = Trees.of(trees)
        self.on_data = on_data
        self._on_device: dict[torch.device, Trees] = {}

    def _score(self, x: np.ndarray) -> np.ndarray:
        copy = torch.tensor(x)  # torch warns of read-only arrays
        return np.asarray(self._predict(copy).numpy())

    def score_tensor(self, x: Tensor) -> Tensor:
        """Score designs (N, *shape) on their own device; (N,) float32."""
        self._count(len(x))
        return self._predict(x).float()

    def _predict(self, x: Tensor) -> Tensor:
        if isinstance(self.space, CategoricalSpace):
            x = torch.nn.functional.one_hot(x.long(), self.space.n_categories).flatten(1)
        elif isinstance(self.space, MixedSpace):
            x = torch.from_numpy(self.space.features(x.cpu().numpy())).to(x.device)
        if x.device not in self._on_device:
            self._on_device[x.device] = self._trees.to(x.device)
        return self._on_device[x.device].values(x).mean(dim=1)


def fit_forest(
    space: DesignSpace, x: np.ndarray, y: np.ndarray, config: ForestConfig
) -> ForestOracle:
    """Fit the forest on full data, or read it from the cache.

    The cache holds plain arrays, never pickles, under a hash of data and settings.

    Args:
        space: Design space.
        x: (N, *shape) all designs.
        y: (N,) all raw scores.
        config: Settings of the forest.
    """
    import sklearn

    digest = hashlib.sha256(
        json.dumps([asdict(config), sklearn.__version__, 2], sort_keys=True).encode()
    )
    if isinstance(space, CategoricalSpace):  # a larger alphabet makes other features
        digest.update(str(space.n_categories).encode())
    elif isinstance(space, MixedSpace):
        digest.update(json.dumps(space_to_dict(space), sort_keys=True).encode())
    digest.update(np.ascontiguousarray(x).data)
    digest.update(np.ascontiguousarray(y).data)

    def build() -> dict[str, np.ndarray]:
        trees = _fit(space, x, y, config)
        return {**trees, "on_data": ForestOracle(space, trees)._score(x)}

    arrays = store.cached_arrays(f"forest-{digest.hexdigest()[:32]}", build)
    on_data = arrays.pop("on_data")
    return ForestOracle(space, arrays, on_data)


def _fit(
    space: DesignSpace, x: np.ndarray, y: np.ndarray, config: ForestConfig
) -> dict[str, np.ndarray]:
    from sklearn.ensemble import RandomForestRegressor

    if isinstance(space, CategoricalSpace):
        x = np.eye(space.n_categories, dtype=np.float32)[x].reshape(len(x), -1)
    elif isinstance(space, MixedSpace):
        x = space.features(x)
    forest = RandomForestRegressor(**asdict(config), n_jobs=-1).fit(x, y)
    return forest_trees(forest.estimators_)
