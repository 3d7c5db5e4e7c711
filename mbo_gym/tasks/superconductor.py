"""Superconductor: materials with a high critical temperature."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from mbo_gym._moved import forwarded
from mbo_gym.data import manifest
from mbo_gym.data.design_bench import read_arrays
from mbo_gym.data.superconductor import ELEMENTS, KELVIN_RANGE, read_csv
from mbo_gym.errors import MissingData
from mbo_gym.files import store
from mbo_gym.oracles.forest import ForestConfig, fit_forest
from mbo_gym.problem.space import ContinuousSpace
from mbo_gym.problem.task import Ceiling, Task, TaskInfo, offline_split
from mbo_gym.tasks.registry import described_by

__all__ = ["make_superconductor", "superconductor_info"]

__getattr__ = forwarded(__name__)  # names that have moved

MAX_FEATURES: dict[int, float | str] = {0: 1.0, 1: "sqrt"}


def superconductor_info(version: int = 0, rows: str = "all rows of the data") -> TaskInfo:
    """Return the facts of Superconductor-RandomForest.

    Args:
        version: Version of the id.
        rows: Rows that the oracle is fitted on, in words.
    """
    return TaskInfo(
        task_id=f"Superconductor-RandomForest-v{version}",
        description="The amounts of 86 elements in a material with a high critical temperature.",
        space="86 real numbers >= 0, the amounts of the elements from H to Rn in a formula.",
        y_min=KELVIN_RANGE[0],
        y_max=KELVIN_RANGE[1],
        score_name="critical temperature (K)",
        split="Rows with measured temperatures at or below the 80th percentile, in file order.",
        oracle=f"Random forest of 100 trees (max_features={MAX_FEATURES[version]!r}) fitted on "
        f"{rows} with a fixed seed. The papers' forest is lost, so its scores are near theirs, not "
        "equal.",
        licence=manifest.entry("superconductor").licence,
        references=(
            "Hamidieh, Comput. Mater. Sci. 154 (2018)",
            "Trabucco et al., Design-Bench, ICML 2022, arXiv:2202.08450",
        ),
        version_history=(
            "v0: all features tried at a split, scikit-learn's old default; this forest rewards "
            "noise on good designs",
            'v1: max_features="sqrt", so that noise is not rewarded',
        ),
        percentile=80,
        sources=("superconductor", "superconductor_given", "design_bench"),
    )


@described_by(superconductor_info)
def make_superconductor(version: int = 0, folder: str | os.PathLike[str] | None = None) -> Task:
    """Make Superconductor-RandomForest; its forest is fitted once (seconds), then cached.

    Args:
        version: 0 for the forest of the papers' kind, 1 for the one that does not reward noise.
        folder: Design-Bench's data folder, to use its arrays; None takes, in this order,
            ``unique_m.csv``, the development file, Design-Bench's folder where one is known.

    Raises:
        MissingData: No source file was found, or the one found is incomplete.
    """
    x, y, source = _read(folder)
    space = ContinuousSpace(np.zeros(len(ELEMENTS)), np.full(len(ELEMENTS), np.inf), ELEMENTS)
    oracle = fit_forest(space, x, y, ForestConfig(max_features=MAX_FEATURES[version]))
    info = replace(superconductor_info(version, source), n_full=len(y))
    assert oracle.on_data is not None
    best = np.unique(oracle.on_data)[::-1].astype(np.float32)
    ceiling = Ceiling(
        best,
        exact=False,
        note="the forest's highest values on the full data; a design can exceed them",
    )
    return Task(info, space, offline_split(x, y, info.percentile), oracle, ceiling)


def _read(folder: str | os.PathLike[str] | None) -> tuple[np.ndarray, np.ndarray, str]:
    given = manifest.entry("superconductor_given")
    whole = manifest.entry("superconductor")
    if folder is None and (path := manifest.find(whole.name)):
        return (*read_csv(path), "all 21,263 rows of UCI 464")
    if folder is None and (path := manifest.find(given.name)):
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
            f"{whole.title} is not on this machine. Run `mbo-gym data get superconductor`, or "
            f"{whole.by_hand}: one of {where}."
        ) from error
    return x, y, f"{len(y):,} rows of Design-Bench's folder"
