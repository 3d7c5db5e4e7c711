"""Superconductor: the critical temperature of a material, from the amounts of its chemical elements.

Description: 86 element amounts of a formula; find formulas with a high critical temperature.
Design space: 86 reals >= 0, the amount of each element from H to Rn.
Score: critical temperature in K, as the forest predicts it.
Offline split: rows at or below the 80th percentile of the measured temperatures.
Oracle: a random forest of 100 trees fitted on the full data with a fixed seed. The forest of the papers is gone, so
    scores are near theirs, not equal.
Licence: CC BY 4.0, Hamidieh (2018), UCI 464.
References: Hamidieh, Computational Materials Science 154 (2018); Trabucco et al., Design-Bench (2022).
Version history: v0 tries all features at a split, which is what scikit-learn's "auto" meant. That forest rewards adding
    noise to good designs. v1 tries the square root of their number, which does not.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from mbo_gym.data import manifest, store
from mbo_gym.errors import MissingData
from mbo_gym.forest import ForestConfig, fit_forest
from mbo_gym.space import ContinuousSpace
from mbo_gym.task import Ceiling, Task, TaskInfo, offline_split

__all__ = ["ELEMENTS", "make_superconductor", "read_csv"]

_SYMBOLS = """
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo
    Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl
    Pb Bi Po At Rn
"""
ELEMENTS = tuple(_SYMBOLS.split())
N_FULL = 21_263
KELVIN_RANGE = (0.0002099999983329326, 185.0)
MAX_FEATURES: dict[int, float | str] = {0: 1.0, 1: "sqrt"}


def make_superconductor(version: int = 0, folder: str | None = None) -> Task:
    """Make Superconductor-RandomForest; the first time this fits the forest (seconds), then it is cached.

    Args:
        version: 0 for the forest of the papers' kind, 1 for the one that does not reward noise.
        folder: Design-Bench's data folder, to use its arrays; None takes, in this order, ``unique_m.csv``, the
            development file, Design-Bench's folder where one is known.

    Raises:
        MissingData: None of them is on this machine, or the one that is is not whole.
    """
    x, y, source = _read(folder)
    space = ContinuousSpace(np.zeros(len(ELEMENTS)), np.full(len(ELEMENTS), np.inf), ELEMENTS)
    oracle = fit_forest(space, x, y, ForestConfig(max_features=MAX_FEATURES[version]))
    info = TaskInfo(
        task_id=f"Superconductor-RandomForest-v{version}",
        description="The amounts of 86 elements in a material with a high critical temperature.",
        y_min=KELVIN_RANGE[0],
        y_max=KELVIN_RANGE[1],
        score_name="critical temperature (K)",
        licence=manifest.entry("superconductor").licence,
        oracle=f"Random forest (max_features={MAX_FEATURES[version]!r}) fitted on {source}; "
        "its scores are near the papers', not equal.",
        references=(
            "Hamidieh, Comput. Mater. Sci. 154 (2018)",
            "Trabucco et al., Design-Bench, ICML 2022, arXiv:2202.08450",
        ),
        version_history=("v0: all features tried at a split", 'v1: max_features="sqrt", so that noise is not rewarded'),
        n_full=len(y),
        percentile=80,
    )
    assert oracle.on_data is not None
    best = np.unique(oracle.on_data)[::-1].astype(np.float32)
    ceiling = Ceiling(best, exact=False, note="the forest's highest values on the full data; a design can exceed them")
    return Task(info, space, offline_split(x, y, info.percentile), oracle, ceiling)


def _read(folder: str | None) -> tuple[np.ndarray, np.ndarray, str]:
    from mbo_gym.tasks import design_bench

    given, whole = manifest.entry("superconductor_given"), manifest.entry("superconductor")
    if folder is None and (path := store.find(whole.file)):
        return (*read_csv(path), "all 21,263 rows of UCI 464")
    if folder is None and (path := store.find(given.file)):
        arrays = store.load_npz(store.read_checked(path, given.sha256, remedy=f"To mend it, {whole.by_hand}."))
        return arrays["x"], arrays["y"], "19,137 of the 21,263 rows of UCI 464"
    try:
        x, y = design_bench.read_arrays("Superconductor-RandomForest-v0", folder)
    except MissingData as error:
        if folder is not None:  # the user meant this folder: what is wrong with it is the answer
            raise
        where = [str(f) for f in store.folders()]
        raise MissingData(
            f"{whole.title} is not on this machine. Run `mbo-gym data get superconductor`, or {whole.by_hand}: one of "
            f"{where}."
        ) from error
    return x, y, f"{len(y):,} rows of Design-Bench's folder"


def read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read unique_m.csv; its sha256 is not known to us, so what we know of its content is checked instead."""
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
    if not problem and not np.allclose([values[:, 86].min(), values[:, 86].max()], KELVIN_RANGE, rtol=1e-5):
        problem = "its critical temperatures do not run from 0.00021 to 185 K"
    if problem:
        raise MissingData(
            f"{path} is not UCI 464's unique_m.csv: {problem}. To mend it, {manifest.entry('superconductor').by_hand}."
        )
    return values[:, :86].astype(np.float32), values[:, 86].astype(np.float32)
