"""Oracle of a list of measured designs."""

from __future__ import annotations

import numpy as np

from mbo_gym.errors import InvalidData
from mbo_gym.problem.oracle import Oracle
from mbo_gym.problem.space import DesignSpace, readonly

__all__ = ["RowsOracle"]


class RowsOracle(Oracle):
    """Scores of a finite list of designs: a batch is scored by one binary search.

    Args:
        space: Designs that it can score; every one of them stands in the list.
        x: (N, *shape) distinct designs.
        y: (N,) their scores.

    Raises:
        InvalidData: A design stands twice, or lies outside the space.
    """

    def __init__(self, space: DesignSpace, x: np.ndarray, y: np.ndarray) -> None:
        super().__init__(space, batch_size=1 << 16)
        inside = space.contains(x)
        if not inside.all():
            i = int(np.argmin(inside))
            raise InvalidData(f"row {i} of the table is no design: {space.why_not(x[i])}")
        keys = self._keys(x)
        order = np.argsort(keys)
        self._sorted = keys[order]
        if (self._sorted[1:] == self._sorted[:-1]).any():
            raise InvalidData("a design stands twice in the table; average its scores first")
        self.x = readonly(np.asarray(x)[order], space.dtype)
        self.table = readonly(np.asarray(y)[order], np.float32)

    def _keys(self, x: np.ndarray) -> np.ndarray:
        """Return each design as one string of bytes, (N,)."""
        width = int(np.prod(self.space.shape))
        rows = np.ascontiguousarray(x, dtype=self.space.dtype).reshape(len(x), width)
        rows = rows + rows.dtype.type(0)  # -0.0 and 0.0 are one number
        keys = rows.view(np.dtype(("S", rows.dtype.itemsize * width))).ravel()
        return np.asarray(keys)

    def values(self, x: np.ndarray) -> np.ndarray:
        """Return the table's scores of designs (N, *shape), (N,) float32.

        This reads published data, e.g. for the exact scores of controls. It is no oracle call and
        is not counted; proposals are scored by calling the oracle.

        Raises:
            InvalidData: A design does not stand in the table.
        """
        keys = self._keys(x)
        place = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        known = self._sorted[place] == keys
        if not known.all():
            i = int(np.argmin(known))
            raise InvalidData(
                f"row {i} does not stand in the table of {len(self.table):,} measured designs. "
                "Give the space the list of them as a constraint."
            )
        return np.asarray(self.table[place])

    def _score(self, x: np.ndarray) -> np.ndarray:
        return self.values(x)
