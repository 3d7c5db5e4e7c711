"""Rows of the fluid tasks: searches, resuming, files, scores under any goal."""

from __future__ import annotations

import numpy as np
import pytest

from mbo_gym.data import fluid_making
from mbo_gym.data.fluid import FluidRows, angles_from_steps, count_water, steps_from_angles
from mbo_gym.data.fluid_making import LIMIT_RAD, Recipe, adam, cem, make_rows, n_designs
from mbo_gym.errors import InvalidData
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.simulators.fluid.physics import Physics
from mbo_gym.simulators.fluid.rollout import rollout
from mbo_gym.simulators.fluid.scene import Block, Chain, Scene
from mbo_gym.simulators.fluid.scenes import CONTAIN, MAZE
from mbo_gym.simulators.fluid.score import goal_scores

LIGHT = Physics(n_cells=16, time_step_s=3e-3, substeps_per_frame=5)
DROP = Scene(
    "drop",
    water=Block((0.45, 0.55), (0.60, 0.65)),
    tool=Chain((0.30, 0.45), link_m=0.13, n_angles=3),
    goal_m=(0.5, 0.45),
    sigma_m=0.1,
    seconds=0.15,
)
RECIPE = Recipe(((0.5, 0.45), (0.6, 0.3)), cem_steps=(2, 1), adam_steps=(1, 1))


@pytest.fixture(scope="module")
def rows() -> FluidRows:
    return make_rows(DROP, RECIPE, physics=LIGHT)


def follow(search, score):
    batches = [next(search)]
    try:
        while True:
            batches.append(search.send(score(batches[-1])))
    except StopIteration:
        return batches


def test_cem_climbs_a_hill():
    target = np.array([0.5, -0.5, 0.2])
    batches = follow(
        cem(3, 12, np.random.RandomState(0)), lambda x: -((x - target) ** 2).sum(axis=1)
    )
    assert [len(batch) for batch in batches] == [40] * 12
    assert np.abs(batches[-1].mean(axis=0) - target).max() < 0.05
    assert np.abs(np.concatenate(batches)).max() <= LIMIT_RAD


def test_adam_climbs_a_hill_by_differences():
    target = np.array([0.3, -0.3])
    batches = follow(
        adam(2, 25, np.random.RandomState(0)),
        lambda x: np.exp(-((x - target) ** 2).sum(axis=1) * 4),
    )
    assert [len(batch) for batch in batches] == [9] * 25
    np.testing.assert_array_equal(batches[0][0], 0)  # from the flat tool
    for batch in batches:  # antithetic pairs
        np.testing.assert_allclose(batch[1:5] + batch[5:], 2 * batch[:1].repeat(4, axis=0))
    assert np.abs(batches[-1][0] - target).max() < 0.15


def test_angles_are_kept_exactly():
    angles = np.array([[0.1, -LIMIT_RAD], [9.0, 0.0]])
    steps = steps_from_angles(angles, LIMIT_RAD)
    kept = angles_from_steps(steps)
    assert steps.dtype == np.int16
    assert np.abs(kept).max() <= LIMIT_RAD
    assert np.array_equal(steps_from_angles(kept, LIMIT_RAD), steps)
    np.testing.assert_allclose(kept, [[0.1, -LIMIT_RAD], [LIMIT_RAD, 0]], atol=2**-14)


def test_the_order_of_runs_steps_and_goals(rows):
    assert list(rows.names) == ["flat", "tilt", "arc", "cem", "adam", "cem", "adam"]
    assert len(rows) == n_designs(DROP, RECIPE) == 1 + 41 + 169 + 120 + 18
    assert rows.searched.sum() == 138
    first = rows.run == 3
    assert np.array_equal(np.unique(rows.step[first], return_counts=True), [[0, 1], [40, 40]])
    assert np.array_equal(np.unique(rows.contexts[rows.run >= 5], axis=0), [np.float32([0.6, 0.3])])
    assert np.array_equal(rows.own[rows.run < 5], rows.wanted[rows.run < 5])
    assert (rows.designs[rows.of_control("flat")] == 0).all()


def test_scores_are_the_simulators(rows):
    some = np.random.default_rng(0).choice(len(rows), 20, replace=False)
    frames = rollout(DROP, rows.designs[some], LIGHT)
    assert np.array_equal(goal_scores(frames, (0.5, 0.45), 0.1), rows.wanted[some])
    for goal in ((0.45, 0.4), (0.6, 0.5)):
        simulated = goal_scores(frames, goal, 0.1)
        assert np.ptp(simulated) > 0.02
        # fifteen particles on a coarse lattice; the tasks have 81 and more
        np.testing.assert_allclose(rows.scores(goal, 0.1)[some], simulated, atol=0.015)


def test_a_file_holds_every_row(rows):
    content = rows.to_bytes()
    read = FluidRows.from_bytes(content, "here")
    for name, values in vars(rows).items():
        assert np.array_equal(getattr(read, name), values), name
    assert read.to_bytes() == content
    with pytest.raises(InvalidData, match=r"other\.xz holds no rows of a fluid task"):
        FluidRows.from_bytes(content[:1000], "other.xz")


def test_the_seed_decides_and_work_goes_on_after_ctrl_c(rows, tmp_path, monkeypatch):
    partial = tmp_path / "rows.partial"
    simulated = []

    class Counting(fluid_making._Ledger):
        def _simulate(self, angles):
            if sum(simulated) > 230 and not partial.exists():
                raise KeyboardInterrupt
            simulated.append(len(angles))
            return super()._simulate(angles)

    monkeypatch.setattr(fluid_making, "_Ledger", Counting)
    with pytest.raises(KeyboardInterrupt):
        make_rows(DROP, RECIPE, physics=LIGHT, partial=partial)
    assert partial.exists()
    shown = []

    class Bar(NullProgress):
        def bar(self, description, total):
            assert total == len(rows)
            return shown.append

    again = make_rows(DROP, RECIPE, physics=LIGHT, partial=partial, progress=Bar())
    assert again.to_bytes() == rows.to_bytes()
    assert sum(simulated) == len(rows)  # nothing was simulated twice
    assert shown[-1] == len(rows)
    assert shown == sorted(shown)


def test_another_seed_searches_elsewhere(rows, monkeypatch):
    short = Recipe(((0.5, 0.45),), cem_steps=(1,), adam_steps=(0,))
    other = make_rows(DROP, short, seed=1, physics=LIGHT)
    assert not np.array_equal(other.angles[other.run == 3], rows.angles[rows.run == 3][:40])


def test_counted_water_is_all_of_it():
    frames = np.random.default_rng(0).uniform(0.1, 0.9, (3, 7, 10, 2)).astype(np.float32)
    occupied, square, count = count_water(frames)
    assert len(square) == len(count) == occupied.sum()
    ends = np.cumsum(occupied)
    assert [part.sum() for part in np.split(count, ends[:-1])] == [50, 50, 50]
    assert all((np.diff(part.astype(int)) > 0).all() for part in np.split(square, ends[:-1]))


def test_controls_are_families_of_no_one_and_two_parameters():
    for scene in (CONTAIN, MAZE):
        sizes = [len(fluid_making.control_designs(scene, n)) for n in ("flat", "tilt", "arc")]
        assert sizes == [1, 41, 169]
    tilt = CONTAIN.segments(fluid_making.control_designs(CONTAIN, "tilt"))
    slopes = (tilt[:, :, 3] - tilt[:, :, 1]) / 0.03
    np.testing.assert_allclose(slopes, slopes[:, :1].repeat(16, axis=1), atol=1e-9)
    halves = fluid_making.control_designs(MAZE, "arc")
    assert len(np.unique(halves[5])) == 2
    assert (halves[:, :5] == halves[:, :1]).all()  # the row above the ledge
