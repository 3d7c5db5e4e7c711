"""The batch before: how many of its designs are measured by now."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from mbo_gym.errors import InvalidData
from mbo_gym.files import store
from mbo_gym.files.designs import read_designs
from mbo_gym.problem.task import OfflineProblem

__all__ = ["earlier_batch"]

_SUMS = re.compile(rb'<meta name="batch-sha256" content="([^"]*)">')


def earlier_batch(path: Path, problem: OfflineProblem) -> str:
    """Say how many designs of an earlier batch are in the data, failed ones among them.

    The card beside the file holds its checksum. Where the file is another one, that is said too.

    Args:
        path: File of the batch, as `Batch.to_csv` writes it.
        problem: Space and data of the next batch.
    """
    if _was_changed(path):
        path_in_words = f"{path} was changed after it was written (or its card was), and is kept"
    else:
        path_in_words = f"{path} is kept"
    try:
        designs = read_designs(path, problem.space)
    except InvalidData:
        return f"{path_in_words}. It holds no designs of this table."
    known = problem.dataset.x
    if problem.dataset.failed is not None:
        known = np.concatenate([known, problem.dataset.failed])
    measured = {row.tobytes() for row in np.asarray(known, dtype=np.float64)}
    n = sum(row.tobytes() in measured for row in np.asarray(designs, dtype=np.float64))
    left = len(designs) - n
    told = f"{path_in_words}: {n} of its {len(designs)} designs are in the table by now"
    if not left:
        return f"{told}."
    return (
        f"{told}, {left} {'is' if left == 1 else 'are'} not. Where these are being measured, pass "
        f"--exclude {path}."
    )


def _was_changed(path: Path) -> bool:
    """Whether a batch is not what its card tells; False where there is no card with a checksum."""
    card = path.with_suffix(".html")
    if not card.is_file():
        return False
    found = _SUMS.search(card.read_bytes())
    return found is not None and store.sha256(path).encode() not in found[1].split()
