"""Reader of the Superconductor data (UCI 464)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mbo_gym.data import manifest
from mbo_gym.data.placed import check_placed
from mbo_gym.errors import InvalidData, MissingData
from mbo_gym.files.table import read_table

__all__ = ["ELEMENTS", "KELVIN_RANGE", "N_FULL", "read_csv"]


_SYMBOLS = """
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br
    Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho
    Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn
"""


ELEMENTS = tuple(_SYMBOLS.split())


N_FULL = 21_263


KELVIN_RANGE = (0.0002099999983329326, 185.0)


def read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read unique_m.csv.

    Its authentic sha256 is unknown. Its content is checked instead, and its sha256 against that of
    the first reading.

    Returns:
        x: (21263, 86) float32, the amounts of the elements.
        y: (21263,) float32, critical temperatures in K.

    Raises:
        MissingData: The file is another one; the message names the reason.
        DamagedFile: The file has another content than when it was first read.
    """
    problem = ""
    values = np.empty((0, 87))
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline().rstrip().split(",")
    if header[:87] != [*ELEMENTS, "critical_temp"]:
        problem = "its header is not H, He, .., Rn, critical_temp, material"
    else:
        try:
            table = read_table(path, ",")
            if len(table) != N_FULL:
                problem = f"it has {len(table)} rows, expected {N_FULL}"
            else:
                values = table.numbers(header[:87])
        except InvalidData as error:
            problem = f"a row is damaged or a cell is not a number ({error})"
    temperatures = values[:, 86]
    if not problem and not np.allclose(
        [temperatures.min(), temperatures.max()], KELVIN_RANGE, rtol=1e-5
    ):
        problem = "its critical temperatures do not run from 0.00021 to 185 K"
    if problem:
        remedy = manifest.entry("superconductor").by_hand
        raise MissingData(
            f"{path} is not UCI 464's unique_m.csv: {problem}. To replace it, {remedy}."
        )
    check_placed([path])
    return values[:, :86].astype(np.float32), temperatures.astype(np.float32)
