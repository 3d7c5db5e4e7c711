"""Oracle of a complete table of scores."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mbo_gym.problem.oracle import Oracle
from mbo_gym.problem.space import CategoricalSpace, readonly

__all__ = ["TableOracle"]


class TableOracle(Oracle):
    """A complete table of scores for a categorical space: scoring is one gather, on any device.

    Args:
        space: L sites of A letters; A ** L must fit in memory.
        table: (A ** L,) scores by code = sum_i x_i A ** (L - 1 - i).
    """

    space: CategoricalSpace

    def __init__(self, space: CategoricalSpace, table: np.ndarray) -> None:
        # a batch that stays in the processor's cache is faster than one pass
        super().__init__(space, batch_size=1 << 16)
        size = space.n_categories**space.length
        if table.shape != (size,):
            raise ValueError(f"the table of this space has {size} entries, got {table.shape=}")
        self.table = readonly(table, np.float32)
        self._on_device: dict[torch.device, Tensor] = {}

    def values(self, x: np.ndarray) -> np.ndarray:
        """Return the table's values of designs (N, L) inside the space, (N,) float32.

        This reads published data, e.g. for the exact scores of controls. It is no oracle call and
        is not counted; proposals are scored by calling the oracle.
        """
        return np.asarray(self.table[design_codes(x, self.space.n_categories)])

    def _score(self, x: np.ndarray) -> np.ndarray:
        return self.values(x)

    def score_tensor(self, x: Tensor) -> Tensor:
        """Gather the scores of designs (N, L) on their own device; (N,) float32."""
        self._count(len(x))
        if x.device not in self._on_device:
            self._on_device[x.device] = torch.tensor(self.table, device=x.device)
        code = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        for site in range(self.space.length):
            code = code * self.space.n_categories + x[:, site]
        return self._on_device[x.device][code]

    def best(self, k: int) -> np.ndarray:
        """Return the `k` highest scores of distinct designs, highest first, (k,)."""
        k = min(k, len(self.table))
        return np.sort(np.partition(self.table, len(self.table) - k)[len(self.table) - k :])[::-1]


def design_codes(x: np.ndarray, n_categories: int) -> np.ndarray:
    """Return the codes sum_i x_i A ** (L - 1 - i) of designs (N, L), (N,) int64.

    They are the designs' places in a complete table.
    """
    code = x[:, 0].astype(np.int64)
    for site in range(1, x.shape[1]):
        code *= n_categories
        code += x[:, site]
    return code
