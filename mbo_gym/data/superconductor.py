"""Reader of the Superconductor data (UCI 464)."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from mbo_gym.data import manifest
from mbo_gym.errors import MissingData

__all__ = ["ELEMENTS", "KELVIN_RANGE", "N_FULL", "read_csv"]


_SYMBOLS = """
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo
    Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl
    Pb Bi Po At Rn
"""


ELEMENTS = tuple(_SYMBOLS.split())


N_FULL = 21_263


KELVIN_RANGE = (0.0002099999983329326, 185.0)


def read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read unique_m.csv; its sha256 is not known to us, so what we know of its content is checked
    instead."""
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    problem = ""
    if not rows or tuple(rows[0][:86]) != ELEMENTS or rows[0][86:87] != ["critical_temp"]:
        problem = "its header is not H, He, .., Rn, critical_temp, material"
    elif len(rows) - 1 != N_FULL:
        problem = f"it has {len(rows) - 1} rows, expected {N_FULL}"
    else:
        try:
            values = np.array([row[:87] for row in rows[1:]], dtype=np.float64)
        except ValueError as error:
            problem = f"a cell is not a number ({error})"
    if not problem and not np.allclose(
        [values[:, 86].min(), values[:, 86].max()], KELVIN_RANGE, rtol=1e-5
    ):
        problem = "its critical temperatures do not run from 0.00021 to 185 K"
    if problem:
        raise MissingData(
            f"{path} is not UCI 464's unique_m.csv: {problem}. To mend it, {manifest.entry('superconductor').by_hand}."
        )
    return values[:, :86].astype(np.float32), values[:, 86].astype(np.float32)
