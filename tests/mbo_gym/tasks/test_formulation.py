"""The formulation task: its function, its optimum and its data."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import mbo_gym
from mbo_gym.tasks import formulation as module
from mbo_gym.tasks.formulation import BEST, formulation, formulation_space

TASK = "Formulation-Exact-v0"
LETTERS = "AKEL"


def rows(solvent, temperature, passes, mesh, parts, initiator, peptide) -> np.ndarray:
    x = np.zeros((len(parts), 14))
    for slot, value in enumerate((solvent, temperature, passes, mesh)):
        x[:, slot] = value
    x[:, 4:8] = parts
    x[:, 8] = initiator
    x[:, 9:13] = peptide
    return x


def test_a_score_by_hand():
    design = BEST | {"temperature": 70, "passes": 5, "mesh": 100, "initiator": 0.1, "clay": 0.1}
    design |= {"resin": 0.5, "oil": 0.2, "wax": 0.2, "peptide": "AKE"}
    # water: T_s = 55, c_s = -2, p = 1.2, recipe (0.42, 0.23, 0.25, 0.10)
    t = 1.0
    c = -1 + 2 - 0.3
    recipe = 0.08**2 + 0.03**2 + 0.05**2
    peptide = 1 - 1 + 0 + 0 + 3
    score = 80 - 5 * t**2 - 4 * c**2 - 0.8 * (5 - 4 + 1) ** 2 - 0.5 - 60 * recipe
    score += 12 * 0.5 * 0.2 - 10 * 0.2 * t + 1.2 * peptide
    assert formulation(formulation_space().parse([design])) == pytest.approx(score, rel=1e-5)


def test_no_design_is_better_than_the_ceiling():
    """Process and peptide add terms of their own under each solvent; the other terms are gone
    through for every temperature and every mixture, at the initiator's best value."""
    space = formulation_space()
    n = range(101)
    parts = np.array([(a, b, w, 100 - a - b - w) for a, b, w in product(n, n, n)]) / 100
    parts = parts[parts[:, 3] >= 0]
    parts = parts[(parts > 0).sum(axis=1) <= 3]
    parts = parts[parts[:, 1] + 2 * parts[:, 2] <= 0.8 + 1e-9]
    peptides = [p for p in product(range(5), repeat=4) if 4 not in p[:3]]
    best = []
    for solvent in range(4):
        processes = list(product(range(1, 7), (10, 20, 50, 100, 200)))
        some = [parts[:1]] * len(peptides)
        peptide = peptides[
            np.argmax(
                [
                    formulation(rows(solvent, 40, 4, 50, p, 0.01, q))[0]
                    for p, q in zip(some, peptides, strict=True)
                ]
            )
        ]
        process = processes[
            np.argmax(
                [formulation(rows(solvent, 40, *p, parts[:1], 0.01, peptide))[0] for p in processes]
            )
        ]
        for temperature in range(20, 81, 5):
            if solvent == 1 and temperature >= 70:
                continue
            t = (temperature - module.BEST_TEMPERATURE[solvent]) / 15
            initiator = 10 ** np.clip(module.BEST_INITIATOR[solvent] + 0.3 * t, -4, -1)
            x = rows(solvent, temperature, *process, parts, initiator, peptide)
            row = int(np.argmax(formulation(x)))
            best.append((formulation(x)[row], x[row]))
    score, design = max(best, key=lambda pair: pair[0])
    ceiling = mbo_gym.make_task(TASK).ceiling
    assert ceiling.exact
    assert ceiling.scores == pytest.approx(score, abs=1e-4)
    assert space.values(design[None]) == space.values(space.parse([BEST]))
    assert space.contains(space.parse([BEST]))[0]


def test_the_data_are_the_worse_half_of_allowed_samples_and_never_change():
    task = mbo_gym.make_task(TASK)
    assert (task.info.n_full, task.info.n_visible) == (10_000, 5_000)
    assert task.space.contains(task.dataset.x).all()
    np.testing.assert_allclose(task.oracle()(task.dataset.x), task.dataset.y, rtol=1e-6)
    assert (task.info.y_min, task.info.y_max) == pytest.approx((-43.3537, 89.2693), abs=1e-4)
    assert float(task.dataset.y.mean()) == pytest.approx(26.4, abs=1.0)
    assert task.info.d_best == pytest.approx(0.6675, abs=1e-4)
    # the samples reach every value
    for name in ("solvent", "temperature", "passes", "mesh"):
        parameter = task.space.slots.parameters[name]
        seen = np.unique(task.dataset.x[:, task.space.slots.of(name)])
        assert len(seen) == parameter.n_values


def test_designs_are_scored_in_the_users_terms():
    task = mbo_gym.make_task(TASK)
    worse = BEST | {"solvent": "ethanol", "temperature": 75}
    evaluation = mbo_gym.evaluate(task, [BEST, worse])
    assert evaluation.n_infeasible == 1
    assert evaluation.scores[0] == pytest.approx(task.ceiling.scores[0], abs=1e-4)
