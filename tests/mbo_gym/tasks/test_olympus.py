"""Tasks from the tables of Olympus: a made-up package, and the real one where it is installed."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

import mbo_gym
from mbo_gym.data import manifest
from mbo_gym.data.installed import installed_file
from mbo_gym.data.olympus import TABLES, TableFacts, read_measured
from mbo_gym.errors import InvalidData, MissingData, MissingDependency, UnknownId
from mbo_gym.oracles.forest import ForestOracle
from mbo_gym.oracles.rows import RowsOracle
from mbo_gym.problem.constraints import AllowedDesigns, FixedSum
from mbo_gym.problem.parameters import Category, Levels
from mbo_gym.problem.space import ContinuousSpace

SOLVENTS = ("DMF", "water", "C1=CC=CC=C1, dry")
DOSES = ("0", "24", "12")
ROWS = [
    (solvent, dose, f"{10 * i + j}", f"{100 - i}")
    for i, (solvent, (j, dose)) in enumerate(itertools.product(SOLVENTS, enumerate(DOSES)))
]
CONFIG = {
    "constraints": {"parameters": "none"},
    "parameters": [
        {"name": "solvent", "type": "categorical", "options": list(SOLVENTS)},
        {"name": "dose", "type": "categorical", "options": list(DOSES)},
    ],
    "measurements": [{"name": "yield"}, {"name": "cost"}],
    "default_goal": ["maximize", "minimize"],
}
NUMBERS = {
    "constraints": {"parameters": "none"},
    "parameters": [
        {"name": "time", "low": 0.5, "high": 2.0},
        {"name": "heat", "low": 60, "high": 90},
    ],
    "measurements": [{"name": "waste"}],
    "default_goal": "minimize",
}
BLENDS = [[0.5, 0.5, 0.0, 3.0], [0.333333, 0.333333, 0.333334, 1.0], [0.0, 0.0, 1.0, 2.0]]


def write(folder: Path, name: str, config: dict, rows: list) -> Path:
    place = folder / f"dataset_{name}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.json").write_text(json.dumps(config))
    lines = [",".join(f'"{c}"' if "," in str(c) else str(c) for c in row) for row in rows]
    (place / "data.csv").write_text("\n".join(lines) + "\n")
    return folder


def facts(name: str, kind: str, designs: int, **more) -> TableFacts:
    return TableFacts(name, kind, "olymp", designs, "yield", "maximize", "A table", "", **more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, "made_up", CONFIG, ROWS)


def test_a_factorial_becomes_words_and_levels(folder):
    found = read_measured(facts("made_up", "factorial", 9), folder)
    solvent, dose = found.space.parameters
    assert solvent == Category("solvent", SOLVENTS)
    assert dose == Levels("dose", (0.0, 12.0, 24.0))
    assert found.space.constraints == ()
    assert found.space.n_designs == len(found.x) == 9
    cells = found.space.values(found.x)
    assert cells[0] == {"solvent": "DMF", "dose": 0.0}
    assert cells[-1] == {"solvent": "C1=CC=CC=C1, dry", "dose": 12.0}
    np.testing.assert_array_equal(found.y, [float(row[2]) for row in ROWS])


def test_another_measurement_is_the_score_with_its_own_goal(folder):
    found = read_measured(facts("made_up", "factorial", 9), folder, "cost")
    assert (found.measurement, found.minimise) == ("cost", True)
    np.testing.assert_array_equal(found.y, [-float(row[3]) for row in ROWS])
    with pytest.raises(UnknownId, match="cost, yield"):
        read_measured(facts("made_up", "factorial", 9), folder, "purity")


def test_repeats_are_averaged(tmp_path):
    write(tmp_path, "twice", CONFIG, [*ROWS, ("DMF", "0.0", "30", "100")])
    found = read_measured(facts("twice", "factorial", 9), tmp_path)
    assert found.n_rows == 10
    assert found.y[0] == 15


def test_a_factorial_with_a_hole_is_refused(tmp_path):
    write(tmp_path, "hole", CONFIG, ROWS[:-1])
    with pytest.raises(InvalidData, match="8 of 9 combinations"):
        read_measured(facts("hole", "factorial", 9), tmp_path)
    found = read_measured(facts("hole", "list", 8), tmp_path)
    assert found.space.contains(found.x).all()
    missing = found.space.parse([{"solvent": SOLVENTS[2], "dose": 12}])
    assert not found.space.contains(missing)[0]


def test_a_table_of_another_size_is_refused(folder):
    with pytest.raises(InvalidData, match="9 distinct designs, and 10 were expected"):
        read_measured(facts("made_up", "list", 10), folder)


def test_a_row_with_too_few_cells_is_named(tmp_path):
    write(tmp_path, "short", CONFIG, [*ROWS[:2], ROWS[2][:3]])
    with pytest.raises(InvalidData, match="line 3 has 3 cells"):
        read_measured(facts("short", "factorial", 9), tmp_path)


def test_mixtures_keep_their_sum(tmp_path):
    parts = [{"name": n, "type": "continuous", "lower": 0.0, "upper": 1.0} for n in "abc"]
    config = {**NUMBERS, "parameters": parts, "constraints": {"parameters": "simplex"}}
    write(tmp_path, "blend", config, BLENDS)
    space = read_measured(facts("blend", "list", 3), tmp_path).space
    assert [type(c) for c in space.constraints] == [FixedSum, AllowedDesigns]
    nearest = space.project(np.array([0.1, 0.0, 0.7]))
    np.testing.assert_allclose(nearest, [0, 0, 1])
    write(tmp_path, "no_blend", config, [[0.9, 0.9, 0.9, 1.0], *BLENDS])
    space = read_measured(facts("no_blend", "list", 4), tmp_path).space
    assert [type(c) for c in space.constraints] == [AllowedDesigns]


def test_points_lie_between_bounds_that_the_data_may_widen(tmp_path):
    write(tmp_path, "points", NUMBERS, [(0.5, 70, 2.0), (2.5, 80, 1.0)])
    found = read_measured(facts("points", "points", 2, parameters=("t", "T")), tmp_path)
    np.testing.assert_array_equal(found.space.low, [0.5, 60])
    np.testing.assert_array_equal(found.space.high, [2.5, 90])
    assert found.space.names == ("t", "T")
    np.testing.assert_array_equal(found.y, [-2.0, -1.0])


def test_files_are_found_in_a_package_that_cannot_be_imported(tmp_path, monkeypatch):
    package = tmp_path / "olympus"
    write(package / "datasets", "made_up", CONFIG, ROWS)
    (package / "__init__.py").write_text("raise RuntimeError('a release of 2020')")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delenv("MBO_GYM_OLYMPUS", raising=False)
    assert read_measured(facts("made_up", "factorial", 9)).n_rows == 9
    assert installed_file("olympus", "datasets/none.csv") is None
    assert "olympus" not in sys.modules


def test_what_is_missing_is_said_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delenv("MBO_GYM_OLYMPUS", raising=False)
    assert manifest.find("olymp") is None
    with pytest.raises(MissingDependency, match=r"pip install 'mbo-gym\[olymp\]'"):
        mbo_gym.make_task("Olympus_fullerenes-Exact-v0")
    with pytest.raises(MissingData, match=r"git clone .* MBO_GYM_OLYMPUS"):
        mbo_gym.make_task("Olympus_buchwald_a-Exact-v0")
    with pytest.raises(MissingData, match="dataset_suzuki has no data"):
        mbo_gym.make_task("Olympus_suzuki-Exact-v0", folder=str(tmp_path))


def test_options_are_checked():
    with pytest.raises(ValueError, match="percentile must lie"):
        mbo_gym.make_task("Olympus_fullerenes-Exact-v0", percentile=0)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_table_is_a_task(name):
    """Of the real package; the eleven tables of its repository need MBO_GYM_OLYMPUS."""
    known = TABLES[name]
    exact = known.kind != "points"
    task_id = f"Olympus_{name}-{'Exact' if exact else 'RandomForest'}-v0"
    assert task_id in mbo_gym.list_tasks()
    try:
        task = mbo_gym.make_task(task_id, percentile=100)
    except MissingDependency:
        pytest.skip("the package olymp is not installed")
    except MissingData:
        pytest.skip("this table is in the repository of Olympus only; set MBO_GYM_OLYMPUS")
    data = task.dataset
    assert len(data) == task.info.n_full == known.designs
    assert task.space.contains(data.x).all()
    assert known.measurement in task.info.score_name
    assert ("minus" in task.info.score_name) == (known.goal == "minimize")
    if not exact:
        assert isinstance(task.hidden_oracle, ForestOracle)
        assert isinstance(task.space, ContinuousSpace)
        assert spearmanr(task.oracle()(data.x), data.y).statistic > 0.9
        return
    assert isinstance(task.hidden_oracle, RowsOracle)
    np.testing.assert_array_equal(task.oracle()(data.x), data.y)
    drawn = task.space.sample(500, np.random.default_rng(0))
    assert set(task.oracle()(drawn)) <= set(data.y)
    assert task.ceiling.scores[0] == data.y.max()
    if known.kind == "factorial":
        assert task.space.n_designs == len(data)
    half = mbo_gym.make_task(task_id)
    assert half.dataset.y.max() <= np.percentile(data.y, 50) < data.y.max()
