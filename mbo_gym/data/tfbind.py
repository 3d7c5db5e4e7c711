"""Readers of the TFBind8 and TFBind10 data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mbo_gym.data import manifest
from mbo_gym.files import store

__all__ = ["BASES", "TFBIND10_RANGE", "digits", "read_tfbind10"]


BASES = ("A", "C", "G", "T")


TFBIND10_RANGE = {
    0: (-1.8585268259048462, 2.128706693649292),
    1: (-1.12977135181427, 0.9319333434104919),
}


def digits(code: np.ndarray, length: int) -> np.ndarray:
    """Unpack codes (N,) into designs (N, length) int32, base 4, the first site the highest
    digit."""
    x = np.empty((len(code), length), dtype=np.int32)
    for site in range(length):
        x[:, site] = code // 4 ** (length - 1 - site) % 4
    return x


def read_tfbind10(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read tfbind10_pho4.npz: codes (N,) int32 of the sequences and their ddG (N,), both strands.

    Raises:
        MissingData: The file is damaged.
    """
    facts = manifest.entry("tfbind10")
    arrays = store.load_npz(
        store.read_checked(path, facts.sha256, remedy=f"To mend it, {facts.by_hand}.")
    )
    b, i = arrays["code_bytes"].astype(np.int32), arrays["y_index_bytes"].astype(np.int32)
    code = b[0] << 16 | b[1] << 8 | b[2]
    y = arrays["y_unique"][i[0] << 8 | i[1]]
    return np.concatenate([code, 4**10 - 1 - code]), np.concatenate([y, y])
