"""Regression trees as surrogates: gradient boosting and extra trees of scikit-learn, as arrays."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import (
    FitReport,
    Surrogate,
    held_out_report,
    hold_out,
    require_fitted,
)
from mbo_gym.trees.arrays import Trees, boosted_trees, forest_trees

__all__ = ["TreesConfig", "TreesSurrogate"]

_PIECE = 1 << 15  # rows times trees evaluated at once, in hundreds


@dataclass(frozen=True)
class TreesConfig:
    """Settings of trees.

    Args:
        model: ``boosting`` (histogram gradient boosting) or ``extra`` (extremely randomised trees).
        n_trees: Trees; None for 200 boosted and 60 extra ones.
        learning_rate: Learning rate of boosting.
        max_leaves: Most leaves of a boosted tree.
        min_rows: Fewest rows of a leaf; None for 20 and 2, and fewer where there are few rows.
        share: Share of the features tried at a split of an extra tree.
        held_out: Share of the rows kept back for the report, in [0, 1).
    """

    model: Literal["boosting", "extra"] = "boosting"
    n_trees: int | None = None
    learning_rate: float = 0.1
    max_leaves: int = 31
    min_rows: int | None = None
    share: float = 0.4
    held_out: float = 0.1

    def __post_init__(self) -> None:
        require_at_least(self, 1, "n_trees", "min_rows")
        require_at_least(self, 2, "max_leaves")
        require_at_least(self, 0, "held_out")
        if self.held_out >= 1:
            raise ValueError(f"held_out is a share in [0, 1), got {self.held_out}")
        if not 0 < self.share <= 1 or not self.learning_rate > 0:
            raise ValueError(
                "share lies in (0, 1] and learning_rate is above 0, "
                f"got {self.share} and {self.learning_rate}"
            )
        if self.model not in ("boosting", "extra"):
            raise ValueError(f"model must be boosting or extra, got {self.model!r}")


class TreesSurrogate(Surrogate):
    """A sum of boosted trees, or the mean of extra trees.

    Bounded by the scores seen, and flat between thresholds: it has no gradient, so methods that
    climb one refuse it. Fitted by scikit-learn, kept as arrays.

    Args:
        config: Settings.
    """

    kind: ClassVar[str] = "trees"
    differentiable: ClassVar[bool] = False
    weighs_rows: ClassVar[bool] = True
    Config: ClassVar[type[TreesConfig]] = TreesConfig

    def __init__(self, config: TreesConfig | None = None) -> None:
        self.config = config or TreesConfig()
        self._trees: Trees | None = None
        self._offset = torch.zeros(())

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Fit on features (N, d) and scores (N,); see `Surrogate.fit`."""
        started = time.perf_counter()
        generator = torch.Generator(z.device).manual_seed(seed)
        held, train = hold_out(len(z), self.config.held_out, generator)
        model = self._model(len(train), seed)
        weight = None if self.row_weight is None else self.row_weight[train].cpu().numpy()
        rows = z[train].cpu().float().numpy()
        model.fit(rows, y[train].cpu().double().numpy(), sample_weight=weight)
        offset = 0.0
        if self.config.model == "boosting":
            arrays, offset = boosted_trees(model)
        else:
            arrays = forest_trees(model.estimators_)
        self._trees = Trees.of(arrays).to(z.device)
        self._offset = torch.tensor(offset, dtype=torch.float64, device=z.device)
        seconds = time.perf_counter() - started
        self.report = held_out_report(
            self, z[held], y[held], n_train=len(train), steps=0, seconds=seconds
        )
        return self.report

    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of features (B, d); (B,), constant between thresholds."""
        trees = require_fitted(self._trees, self.kind)
        piece = max(1, 100 * _PIECE // len(trees.roots))
        found = [self._combined(trees.values(rows)) for rows in torch.split(z.detach(), piece)]
        return torch.cat(found).to(z.dtype) if found else z.new_empty(0)

    def state(self) -> dict[str, Tensor]:
        """Return the trees' arrays and what boosted ones are added to."""
        trees = require_fitted(self._trees, self.kind)
        return {**trees.tensors(), "offset": self._offset}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        own = dict(state)
        self._offset = own.pop("offset")
        self._trees = Trees(**own)

    def _combined(self, values: Tensor) -> Tensor:
        """Return the sum or the mean (B,) of what each tree says (B, T)."""
        if self.config.model == "boosting":
            return self._offset + values.sum(dim=1)
        return values.mean(dim=1)

    def _model(self, n_rows: int, seed: int) -> Any:
        """Return the unfitted model of scikit-learn."""
        from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor

        config = self.config
        if config.model == "extra":
            least = config.min_rows or (2 if n_rows > 500 else 1)
            return ExtraTreesRegressor(
                config.n_trees or 60,
                min_samples_leaf=least,
                # a row of little weight makes no leaf of its own
                min_weight_fraction_leaf=0.0 if self.row_weight is None else 0.5 * least / n_rows,
                max_features=config.share,
                n_jobs=1,
                random_state=seed,
            )
        return HistGradientBoostingRegressor(
            max_iter=config.n_trees or 200,
            learning_rate=config.learning_rate,
            max_leaf_nodes=config.max_leaves,
            min_samples_leaf=config.min_rows or min(20, max(2, n_rows // 20)),
            early_stopping=False,
            random_state=seed,
        )
