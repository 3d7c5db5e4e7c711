"""Regression trees as arrays: taken over from scikit-learn once, evaluated with torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Trees", "boosted_trees", "forest_trees"]


@dataclass(frozen=True, eq=False)
class Trees:
    """All nodes of some trees. A node's children are ``left`` and ``left + 1``; a leaf is its own
    child with feature -1.

    Args:
        feature: (M,) int16.
        threshold: (M,) float64; rows above it go right.
        left: (M,) int32.
        value: (M,) float64 of the leaves.
        roots: (T,) int64 first node of each tree.
    """

    feature: Tensor
    threshold: Tensor
    left: Tensor
    value: Tensor
    roots: Tensor

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Trees:
        """Return trees of arrays by the names of the fields."""
        return cls(**{key: torch.from_numpy(np.asarray(value)) for key, value in arrays.items()})

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by name."""
        return {key: getattr(self, key) for key in self.__dataclass_fields__}

    def to(self, device: torch.device) -> Trees:
        """Return the trees on a device."""
        return Trees(**{key: value.to(device) for key, value in self.tensors().items()})

    def values(self, x: Tensor) -> Tensor:
        """Return what each tree says of features (N, d), level by level for all; (N, T) float64.

        Like scikit-learn: float32 features, float64 thresholds.
        """
        x = x.float()
        node = self.roots.repeat(len(x))  # (N T,)
        row = torch.arange(len(x), device=x.device).repeat_interleave(len(self.roots))
        active = torch.arange(len(node), device=x.device)
        while len(active):
            at = node[active]
            feature = self.feature[at].long()
            inner = feature >= 0
            active, at, feature = active[inner], at[inner], feature[inner]
            goes_right = x[row[active], feature].double() > self.threshold[at]
            node[active] = self.left[at].long() + goes_right.long()
        return self.value[node].view(len(x), -1)


def forest_trees(estimators: Sequence[Any]) -> dict[str, np.ndarray]:
    """Return the arrays of a fitted forest's trees (``forest.estimators_`` of scikit-learn)."""
    trees = []
    for estimator in estimators:
        tree = estimator.tree_
        is_leaf = tree.children_left < 0
        trees.append(
            _Nodes(
                np.where(is_leaf, -1, tree.feature),
                tree.threshold,
                tree.children_left,
                tree.children_right,
                tree.value[:, 0, 0],
            )
        )
    return _joined(trees)


def boosted_trees(model: Any) -> tuple[dict[str, np.ndarray], float]:
    """Return the arrays of a fitted HistGradientBoostingRegressor's trees, and the prediction that
    they are added to.

    The nodes are no public part of scikit-learn; a test compares the predictions.
    """
    trees = []
    for (predictor,) in model._predictors:
        nodes = predictor.nodes
        leaf = nodes["is_leaf"].astype(bool)
        trees.append(
            _Nodes(
                np.where(leaf, -1, nodes["feature_idx"]),
                nodes["num_threshold"],
                np.where(leaf, -1, nodes["left"].astype(np.int64)),
                np.where(leaf, -1, nodes["right"].astype(np.int64)),
                nodes["value"],
            )
        )
    return _joined(trees), float(np.ravel(model._baseline_prediction)[0])


@dataclass(frozen=True, eq=False)
class _Nodes:
    """The nodes of one tree in any order, the root first; children of leaves are -1."""

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray


def _joined(trees: Sequence[_Nodes]) -> dict[str, np.ndarray]:
    """Return the arrays of `Trees`."""
    parts: dict[str, list[np.ndarray]] = {"feature": [], "threshold": [], "left": [], "value": []}
    roots, offset = [], 0
    for tree in trees:
        order, left = _siblings_side_by_side(tree.left, tree.right)
        parts["feature"].append(tree.feature[order].astype(np.int16))
        parts["threshold"].append(tree.threshold[order])
        parts["left"].append((left + offset).astype(np.int32))
        parts["value"].append(tree.value[order])
        roots.append(offset)
        offset += len(order)
    return {key: np.concatenate(value) for key, value in parts.items()} | {
        "roots": np.array(roots, dtype=np.int64)
    }


def _siblings_side_by_side(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Renumber a tree's nodes level by level so that a right child follows its left one.

    Returns:
        order: (M,) old number of each new node.
        first_child: (M,) new number of each new node's left child; a leaf's own number.
    """
    levels, level = [np.array([0])], np.array([0])
    while len(level := level[left[level] >= 0]):
        level = np.stack([left[level], right[level]], axis=1).ravel()
        levels.append(level)
    order = np.concatenate(levels)
    new = np.empty(len(order), dtype=np.int64)
    new[order] = np.arange(len(order))
    first_child = np.where(left[order] >= 0, new[left[order]], np.arange(len(order)))
    return order, first_child
