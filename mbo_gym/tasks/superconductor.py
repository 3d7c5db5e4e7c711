"""Superconductor: the critical temperature of a material, from the amounts of its chemical
elements.

Description: 86 element amounts of a formula; find formulas with a high critical temperature.
Design space: 86 reals >= 0, the amount of each element from H to Rn.
Score: critical temperature in K, as the forest predicts it.
Offline split: rows at or below the 80th percentile of the measured temperatures.
Oracle: a random forest of 100 trees fitted on the full data with a fixed seed. The forest of the
    papers is gone, so scores are near theirs, not equal.
Licence: CC BY 4.0, Hamidieh (2018), UCI 464.
References: Hamidieh, Computational Materials Science 154 (2018); Trabucco et al., Design-Bench
(2022).
Version history: v0 tries all features at a split, which is what scikit-learn's "auto" meant. That
    forest rewards adding noise to good designs. v1 tries the square root of their number, which
    does not.
"""

from __future__ import annotations

import numpy as np

from mbo_gym._moved import forwarded
from mbo_gym.data import manifest
from mbo_gym.data.superconductor import ELEMENTS, KELVIN_RANGE, read_csv
from mbo_gym.errors import MissingData
from mbo_gym.files import store
from mbo_gym.oracles.forest import ForestConfig, fit_forest
from mbo_gym.problem.space import ContinuousSpace
from mbo_gym.problem.task import Ceiling, Task, TaskInfo, offline_split
from mbo_gym.tasks.design_bench_facts import read_arrays

__all__ = ["make_superconductor"]

__getattr__ = forwarded(__name__)  # names that have moved

MAX_FEATURES: dict[int, float | str] = {0: 1.0, 1: "sqrt"}


def make_superconductor(version: int = 0, folder: str | None = None) -> Task:
    """Make Superconductor-RandomForest; the first time this fits the forest (seconds), then it is
    cached.

    Args:
        version: 0 for the forest of the papers' kind, 1 for the one that does not reward noise.
        folder: Design-Bench's data folder, to use its arrays; None takes, in this order,
            ``unique_m.csv``, the development file, Design-Bench's folder where one is known.

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
        version_history=(
            "v0: all features tried at a split",
            'v1: max_features="sqrt", so that noise is not rewarded',
        ),
        n_full=len(y),
        percentile=80,
    )
    assert oracle.on_data is not None
    best = np.unique(oracle.on_data)[::-1].astype(np.float32)
    ceiling = Ceiling(
        best,
        exact=False,
        note="the forest's highest values on the full data; a design can exceed them",
    )
    return Task(info, space, offline_split(x, y, info.percentile), oracle, ceiling)


def _read(folder: str | None) -> tuple[np.ndarray, np.ndarray, str]:
    given, whole = manifest.entry("superconductor_given"), manifest.entry("superconductor")
    if folder is None and (path := store.find(whole.file)):
        return (*read_csv(path), "all 21,263 rows of UCI 464")
    if folder is None and (path := store.find(given.file)):
        arrays = store.load_npz(
            store.read_checked(path, given.sha256, remedy=f"To mend it, {whole.by_hand}.")
        )
        return arrays["x"], arrays["y"], "19,137 of the 21,263 rows of UCI 464"
    try:
        x, y = read_arrays("Superconductor-RandomForest-v0", folder)
    except MissingData as error:
        if folder is not None:  # the user meant this folder: what is wrong with it is the answer
            raise
        where = [str(f) for f in store.folders()]
        raise MissingData(
            f"{whole.title} is not on this machine. Run `mbo-gym data get superconductor`, or {whole.by_hand}: one of "
            f"{where}."
        ) from error
    return x, y, f"{len(y):,} rows of Design-Bench's folder"
