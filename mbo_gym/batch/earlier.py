"""The batch before: how many of its designs are measured by now."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mbo_gym.errors import InvalidData
from mbo_gym.files.designs import read_designs
from mbo_gym.problem.task import OfflineProblem

__all__ = ["earlier_batch"]


def earlier_batch(path: Path, problem: OfflineProblem) -> str:
    """Say how many designs of an earlier batch are in the data, failed ones among them.

    Args:
        path: File of the batch, as `Batch.to_csv` writes it.
        problem: Space and data of the next batch.
    """
    try:
        designs = read_designs(path, problem.space)
    except InvalidData:
        return f"{path} is kept. It holds no designs of this table."
    known = problem.dataset.x
    if problem.dataset.failed is not None:
        known = np.concatenate([known, problem.dataset.failed])
    measured = {row.tobytes() for row in np.asarray(known, dtype=np.float64)}
    n = sum(row.tobytes() in measured for row in np.asarray(designs, dtype=np.float64))
    left = len(designs) - n
    told = f"{path} is kept: {n} of its {len(designs)} designs are in the table by now"
    if not left:
        return f"{told}."
    return (
        f"{told}, {left} {'is' if left == 1 else 'are'} not. Where these are being measured, pass "
        f"--exclude {path}."
    )
