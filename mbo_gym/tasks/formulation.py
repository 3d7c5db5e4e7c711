"""The formulation task: a computed function of a mixed space with constraints."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from mbo_gym.oracles.function import FunctionOracle
from mbo_gym.problem.constraints import AtMostNonZero, FixedSum, Forbidden, LinearLimit
from mbo_gym.problem.letters import Letters
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.parameter import Cell
from mbo_gym.problem.parameters import Category, Constant, Integer, Levels, Real
from mbo_gym.problem.task import Ceiling, Task, TaskInfo, offline_split
from mbo_gym.tasks.registry import described_by

__all__ = ["PARTS", "formulation", "formulation_info", "formulation_space", "make_formulation"]

N_SAMPLES = 10_000
SAMPLE_SEED = 123
PARTS = ("resin", "oil", "wax", "clay")
SOLVENTS = ("water", "ethanol", "glycerol", "DMSO")
BEST_TEMPERATURE = np.array([55.0, 40.0, 70.0, 60.0])
BEST_INITIATOR = np.array([-2.0, -1.5, -3.0, -2.5])
"""Decadic logarithm."""
RECIPES = np.array(
    [[0.42, 0.23, 0.25, 0.10], [0.55, 0.30, 0.05, 0.10], [0.3, 0.2, 0.1, 0.4], [0.2, 0.5, 0.2, 0.1]]
)
POLARITY = np.array([1.2, 1.0, 0.8, 0.9])
SITES = np.array(
    [
        [1.0, 2.0, -1.0, 0.0, 0.0],
        [0.0, -1.0, 2.0, 1.0, 0.0],
        [2.0, 1.0, 0.0, -1.0, 0.0],
        [-2.0, 1.5, 1.0, 2.0, 0.0],
    ]
)
"""Worth of the letters A, K, E, L and of an empty place, at each place of the peptide."""


BEST: dict[str, Cell] = {
    "solvent": "water",
    "temperature": 55,
    "passes": 4,
    "mesh": 50,
    "resin": 0.46,
    "oil": 0.28,
    "wax": 0.26,
    "clay": 0,
    "initiator": 0.01,
    "peptide": "KEKE",
    "reactor": "R2",
}
"""The best design: process and peptide add terms of their own, the initiator's best value is a
formula, and of the rest all designs were gone through."""


@cache
def formulation_space() -> MixedSpace:
    """Return the space of the formulation task."""
    return MixedSpace(
        (
            Category("solvent", SOLVENTS),
            Real("temperature", 20, 80, step=5, unit="°C"),
            Integer("passes", 1, 6),
            Levels("mesh", (10, 20, 50, 100, 200), unit="µm"),
            *(Real(part, 0, 1, step=0.01) for part in PARTS),
            Real("initiator", 1e-4, 1e-1, log=True, unit="mol/L"),
            Letters("peptide", tuple("AKEL"), 4, shortest=3),
            Constant("reactor", "R2"),
        ),
        (
            FixedSum(PARTS, 1.0),
            AtMostNonZero(PARTS, 3),
            LinearLimit({"oil": 1.0, "wax": 2.0}, high=0.8),
            Forbidden({"solvent": "ethanol", "temperature": {"low": 70}}),
        ),
    )


def formulation(x: np.ndarray) -> np.ndarray:
    r"""Stability of formulations (N, 14); (N,), higher is better.

    With the solvent's best temperature T_s, best initiator c_s, recipe r_s and polarity p_s:

    t = (temperature - T_s) / 15
    c = log10 initiator - c_s - 0.3 t
    g = log2(mesh / 50)
    score = 80 - 5 t^2 - 4 c^2 - 0.8 (passes - 4 + g)^2 - 0.5 g^2 - 60 |parts - r_s|^2
            + 12 resin oil - 10 wax max(t, 0) + p_s peptide

    The peptide's worth is that of its letters at their places, 3 for each K that E follows, and -1
    for each letter that follows itself.
    """
    x = np.asarray(x, dtype=np.float64)
    solvent = x[:, 0].astype(np.int64)
    temperature, passes, mesh = x[:, 1], x[:, 2], x[:, 3]
    parts, initiator, peptide = x[:, 4:8], x[:, 8], x[:, 9:13].astype(np.int64)
    t = (temperature - BEST_TEMPERATURE[solvent]) / 15
    c = np.log10(initiator) - BEST_INITIATOR[solvent] - 0.3 * t
    g = np.log2(mesh / 50)
    recipe = ((parts - RECIPES[solvent]) ** 2).sum(axis=1)
    worth = SITES[np.arange(4), peptide].sum(axis=1)
    pairs = (peptide[:, :-1] == 1) & (peptide[:, 1:] == 2)
    repeats = (peptide[:, :-1] == peptide[:, 1:]) & (peptide[:, 1:] < 4)
    worth = worth + 3 * pairs.sum(axis=1) - repeats.sum(axis=1)
    score = 80 - 5 * t**2 - 4 * c**2 - 0.8 * (passes - 4 + g) ** 2 - 0.5 * g**2 - 60 * recipe
    score += 12 * parts[:, 0] * parts[:, 1] - 10 * parts[:, 2] * np.maximum(t, 0)
    return np.asarray(score + POLARITY[solvent] * worth)


def formulation_info() -> TaskInfo:
    """Return the facts of the formulation task."""
    return TaskInfo(
        task_id="Formulation-Exact-v0",
        description="Find the most stable formulation: solvent, temperature, process, a mixture of "
        "four parts, a concentration and a short peptide; a computed example of a mixed space with "
        "constraints. Stability is 80 - 5 t^2 - 4 c^2 - 0.8 (passes - 4 + g)^2 - 0.5 g^2 - 60 "
        "sum (part - recipe)^2 + 12 resin oil - 10 wax max(t, 0) + polarity * peptide, where t, c "
        "and g are distances of temperature, initiator and mesh from their best values, see "
        "mbo_gym.tasks.formulation.formulation.",
        space="11 parameters: solvent (4 words), temperature (20 to 80 °C in steps of 5, for "
        "ethanol below 70), passes (1 to 6), mesh (5 levels from 10 to 200 µm), four parts in "
        "steps of 0.01 that add up to 1 (at most 3 of them, oil + 2 wax <= 0.8), initiator (1e-4 "
        "to 0.1 mol/L), a peptide of 3 or 4 letters out of AKEL, and a constant.",
        y_min=float("nan"),
        y_max=float("nan"),
        score_name="stability",
        split=f"Rows with scores at or below the 50th percentile of {N_SAMPLES:,} uniform samples.",
        oracle="Exact: the function.",
        licence="none needed: the data are computed",
        references=("Made for mbo_gym; no model of a real product",),
        version_history=(f"v0: {N_SAMPLES:,} uniform samples, seed {SAMPLE_SEED}",),
        percentile=50,
    )


@described_by(formulation_info)
def make_formulation() -> Task:
    """Make the formulation task: a light example of a mixed space with constraints."""
    space = formulation_space()
    x, y = _samples()
    info = replace(formulation_info(), y_min=float(y.min()), y_max=float(y.max()), n_full=len(y))
    ceiling = Ceiling(
        formulation(space.parse([BEST])),
        exact=True,
        note="the function's optimum, found by going through all designs; designs can crowd around "
        "it, since the initiator has no steps",
    )
    dataset = offline_split(x, y, info.percentile)
    return Task(info, space, dataset, FunctionOracle(space, formulation), ceiling)


@cache
def _samples() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.Generator(np.random.PCG64(SAMPLE_SEED))
    x = formulation_space().sample(N_SAMPLES, rng)
    return x, formulation(x)
