"""Tasks from the problems of BOCoDe: a made-up package, and the real one where it is installed."""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import mbo_gym
from mbo_gym.data import bocode as reader
from mbo_gym.data.bocode import PROBLEMS, Problem, ProblemFacts, read_list
from mbo_gym.data.installed import installed_file
from mbo_gym.errors import InvalidData, MissingDependency, UnknownId
from mbo_gym.oracles.function import FunctionOracle
from mbo_gym.oracles.rows import RowsOracle
from mbo_gym.oracles.table import TableOracle
from mbo_gym.problem.constraints import AllowedDesigns, LinearLimit
from mbo_gym.problem.parameters import Category, Integer, Levels, Real
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import Task
from mbo_gym.tasks.bocode import MOST_FAILED, make_bocode

PACKAGE = '''
"""A made-up package with the interface of bocode."""
import warnings
import torch

warnings.filterwarnings("ignore")


class Base:
    optimum = None
    types = None

    def resolved_variable_types(self):
        return self.types or ["continuous"] * len(self.bounds)


class Beam(Base):
    """Thickness, count, size and steel; weight is minimised."""

    bounds = [(1.0, 3.0), (1, 5), (2.0, 8.0), (0, 2)]
    types = ["continuous", "integer", [2.0, 4.0, 8.0], [0, 1, 2]]
    optimum = [0.5]

    def evaluate(self, X):
        weight = X[:, 0] * X[:, 1] + X[:, 2] + X[:, 3]
        linear = X[:, 0] + 2 * X[:, 1] - 9
        strength = 4 - X[:, 0] * X[:, 2]
        return -weight[:, None], torch.stack([linear, strength], dim=1)


class Bowl(Base):
    bounds = [(-1.0, 1.0), (0.7, -0.7)]
    optimum = [0.0]

    def evaluate(self, X):
        y = -(X**2).sum(dim=1, keepdim=True)
        y[X[:, 0] > 0.9] = float("nan")
        return y, None


class Overstated(Bowl):
    optimum = [0.9]


class Cell(Base):
    bounds = [(0, 2)] * 4
    types = [[0, 1, 2]] * 4

    def __init__(self, sign=1):
        self.sign = sign

    def evaluate(self, X):
        assert ((X == X.round()) & (X >= 0) & (X <= 2)).all()
        return self.sign * (X * torch.tensor([27.0, 9, 3, 1]).double()).sum(1, keepdim=True), None


class Pool(Base):
    variable_names = ["rate", "layers"]
    candidates = torch.tensor([[0.1, 1], [0.2, 2], [0.1, 1], [0.4, 1]]).double()
    values = torch.tensor([1.0, 2, 3, 4]).double()
    bounds = [(0.1, 0.4), (1, 2)]


class NeedsMore(Base):
    def __init__(self):
        import no_such_library


def get_problem(name):
    return globals()[name]
'''
BEAM = ProblemFacts("Beam", "function", 4, "A beam", constraints=2)
BOWL = ProblemFacts("Bowl", "function", 2, "A bowl")
POOL = ProblemFacts("Pool", "list", 2, "A pool", designs=3)
TABLE = ProblemFacts(
    "Table",
    "csv",
    2,
    "A table",
    designs=6,
    file="data/table.csv",
    columns=("site a", "site b"),
    score="energy",
    minimise=True,
    words=True,
)
ROWS = "site a,site b,note,energy\n0,0,x,1\n0,1,x,2\n0,2,x,3\n1,0,x,4\n1,1,x,5\n1,2,x,6\n0,0,x,3\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Lay a made-up bocode in front of any other."""
    place = tmp_path / "bocode"
    (place / "data").mkdir(parents=True)
    (place / "__init__.py").write_text(PACKAGE)
    (place / "_registry_data.json").write_text("{}")
    (place / "data" / "table.csv").write_text("\ufeff" + ROWS, encoding="utf-8")
    about = tmp_path / "bocode-9.9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: bocode\nVersion: 9.9\n")
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_bocode(name)}
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MBO_GYM_DATA", str(tmp_path / "cache"))
    for facts in (BEAM, BOWL, POOL, TABLE):
        monkeypatch.setitem(PROBLEMS, facts.name, facts)
    importlib.invalidate_caches()
    yield place
    for name in list(sys.modules):
        if _is_bocode(name):
            del sys.modules[name]
    sys.modules.update(before)


def _is_bocode(name: str) -> bool:
    return name.partition(".")[0] == "bocode"


def add(monkeypatch: pytest.MonkeyPatch, name: str, kind: str, n: int, **more) -> ProblemFacts:
    facts = ProblemFacts(name, kind, n, "Made up", **more)
    monkeypatch.setitem(PROBLEMS, name, facts)
    return facts


def test_parameters_have_the_kinds_of_the_package(package):
    assert Problem(BEAM).parameters == (
        Real("x1", 1.0, 3.0),
        Integer("x2", 1, 5),
        Levels("x3", (2.0, 4.0, 8.0)),
        Category("x4", ("0", "1", "2")),
    )


def test_linear_constraints_become_constraints_of_the_space(package):
    problem = Problem(BEAM)
    (number,) = problem.linear
    limit = problem.linear[number]
    assert number == 0
    assert isinstance(limit, LinearLimit)
    assert dict(limit.weights) == pytest.approx({"x1": 1.0, "x2": 2.0})
    assert limit.high == pytest.approx(9.0)
    assert problem.space.constraints == (limit,)
    x = problem.space.sample(400, np.random.default_rng(0))
    assert (x[:, 0] + 2 * x[:, 1] <= 9 + 1e-4).all()


def test_a_design_that_breaks_another_constraint_is_infeasible(package):
    task = make_bocode("Beam", percentile=100)
    x = task.space.sample(3000, np.random.default_rng(1))
    broken = x[:, 0] * x[:, 2] < 4
    assert 0.05 < broken.mean() < 0.95
    y = task.oracle()(x)
    weight = x[:, 0] * x[:, 1] + x[:, 2] + x[:, 3]
    np.testing.assert_allclose(y[~broken], -weight[~broken], rtol=1e-6)
    assert (y[broken] == np.float32(task.info.y_min)).all()
    assert task.info.y_min == task.dataset.y.min()
    assert (task.dataset.x[:, 0] * task.dataset.x[:, 2] >= 4 - 1e-5).all()
    failed = task.dataset.failed
    assert 0 < len(failed) <= MOST_FAILED
    assert (failed[:, 0] * failed[:, 2] <= 4 + 1e-5).all()


def test_a_score_that_is_not_finite_is_infeasible(package):
    task = make_bocode("Bowl", percentile=100)
    assert isinstance(task.space, ContinuousSpace)
    assert np.isfinite(task.dataset.y).all()
    assert (task.dataset.failed[:, 0] > 0.9).all()
    assert task.oracle()(np.array([[0.95, 0.0]]))[0] == np.float32(task.info.y_min)
    edge = np.array([[-1, np.float32(0.7)]], dtype=np.float32)  # float32(0.7) is above 0.7
    assert task.oracle()(edge)[0] == pytest.approx(-1.49)


def test_samples_are_the_same_every_time_and_kept(package):
    first, second = make_bocode("Beam"), make_bocode("Beam")
    assert first.dataset.content_hash() == second.dataset.content_hash()
    assert len(list((package.parent / "cache" / "fitted").glob("bocode-*.npz"))) == 1


def test_the_top_is_hidden(package):
    whole, half = make_bocode("Beam", percentile=100), make_bocode("Beam")
    limit = np.percentile(whole.dataset.y, 50)
    np.testing.assert_array_equal(half.dataset.y, whole.dataset.y[whole.dataset.y <= limit])
    assert (half.info.y_min, half.info.y_max) == (whole.info.y_min, whole.info.y_max)
    assert half.info.n_full == len(whole.dataset)


def test_a_stated_optimum_counts_unless_a_sample_is_better(package, monkeypatch):
    ceiling = make_bocode("Bowl").ceiling
    assert ceiling.scores.tolist() == [0.0]
    assert not ceiling.exact
    add(monkeypatch, "Overstated", "function", 2)
    assert make_bocode("Overstated").ceiling is None


def test_letters_are_a_complete_table(package, monkeypatch):
    more = {"designs": 81, "problem": "Cell"}
    add(monkeypatch, "Plus", "letters", 4, **more)
    add(monkeypatch, "Minus", "letters", 4, arguments={"sign": -1}, **more)
    task = make_bocode("Plus", percentile=100)
    assert isinstance(task.space, CategoricalSpace)
    assert isinstance(task.hidden_oracle, TableOracle)
    np.testing.assert_array_equal(task.dataset.y, np.arange(81))
    assert task.oracle()(np.array([[2, 0, 1, 1]]))[0] == 58
    assert make_bocode("Minus").ceiling.scores[0] == 0


def test_a_pool_is_a_list_without_repeats(package):
    space, x, y = read_list(POOL)
    assert isinstance(space.constraints[0], AllowedDesigns)
    assert space.names == ("rate", "layers")
    np.testing.assert_allclose(x, [[0.1, 1], [0.2, 2], [0.4, 1]])
    np.testing.assert_array_equal(y, [2, 2, 4])
    task = make_bocode("Pool", percentile=100)
    assert isinstance(task.hidden_oracle, RowsOracle)
    np.testing.assert_array_equal(task.oracle()(x), y)


def test_a_long_pool_is_thinned_evenly(package, monkeypatch):
    monkeypatch.setattr(reader, "MOST_LISTED", 2)
    with pytest.raises(InvalidData, match="2 distinct designs, and 3 were expected"):
        read_list(POOL)


def test_a_file_with_every_combination_is_a_product(package):
    space, x, y = read_list(TABLE)
    assert space.parameters == (
        Category("site a", ("0", "1")),
        Category("site b", ("0", "1", "2")),
    )
    assert space.constraints == ()
    assert space.n_designs == len(x) == 6
    np.testing.assert_array_equal(y, [-2, -2, -3, -4, -5, -6])


def test_what_is_missing_is_said_with_the_remedy(package, monkeypatch):
    add(monkeypatch, "NeedsMore", "function", 1)
    with pytest.raises(MissingDependency, match=r"needs no_such_library.*mbo-gym\[bocode\]"):
        make_bocode("NeedsMore")
    (package / "data" / "table.csv").unlink()
    with pytest.raises(MissingDependency, match="needs bocode"):
        make_bocode("Table")
    with pytest.raises(UnknownId, match="Did you mean Beam"):
        make_bocode("Beem")


def test_without_the_package_the_ids_stay(package, monkeypatch):
    for path in sorted(package.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    package.rmdir()
    monkeypatch.setattr(sys, "path", [str(package.parent)])
    importlib.invalidate_caches()
    name = next(iter(PROBLEMS))
    assert f"BOCoDe_{name}-Exact-v0" in mbo_gym.list_tasks()
    assert mbo_gym.task_info(f"BOCoDe_{name}-Exact-v0").sources == ("bocode",)
    with pytest.raises(MissingDependency, match=r"pip install 'mbo-gym\[bocode\]'"):
        make_bocode("Bowl")


def test_the_package_does_not_silence_warnings(package):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Problem(BOWL)
        with pytest.raises(UserWarning, match="heard"):
            warnings.warn("heard", stacklevel=1)


def real(name: str) -> Task:
    """Return the task of the real package, all rows visible, or skip."""
    if installed_file("bocode", "_registry_data.json") is None:
        pytest.skip("the package bocode is not installed")
    try:
        return mbo_gym.make_task(f"BOCoDe_{name}-Exact-v0", percentile=100)
    except MissingDependency as error:
        pytest.skip(f"the problem needs {error.library}")


def test_the_list_has_only_problems_of_the_package():
    place = installed_file("bocode", "_registry_data.json")
    if place is None:
        pytest.skip("the package bocode is not installed")
    registry = json.loads(place.read_text(encoding="utf-8"))
    for name, facts in PROBLEMS.items():
        found = registry[facts.problem or name]
        assert found[1] is None, name
        about = json.loads(
            installed_file(
                "bocode", f"opt_problems_metadata/{facts.problem or name}.json"
            ).read_text(encoding="utf-8")
        )
        assert about["num_objectives"] == 1, name
        assert about["dim"] == facts.parameters, name


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_every_problem_has_facts(name):
    info = mbo_gym.task_info(f"BOCoDe_{name}-Exact-v0")
    assert info.family == "BOCoDe_<PROBLEM>-Exact-v0"
    assert info.space.startswith(f"{PROBLEMS[name].parameters} parameters")


TABLES = sorted(name for name, facts in PROBLEMS.items() if facts.kind in ("csv", "letters"))
LISTS = sorted(name for name, facts in PROBLEMS.items() if facts.kind == "list")
FUNCTIONS = sorted(
    name
    for name, facts in PROBLEMS.items()
    if facts.kind == "function" and not name.endswith("_PS") and facts.parameters < 100
)
SLOW = ("CEC2020_p24", "CEC2020_p27", "PestControl")
"""Functions that take milliseconds a design."""


@pytest.mark.parametrize("name", [*TABLES, *LISTS[::16]])
def test_a_table_is_complete_and_its_oracle_exact(name):
    task = real(name)
    data = task.dataset
    assert len(data) == task.info.n_full == PROBLEMS[name].designs
    assert task.space.contains(data.x).all()
    np.testing.assert_array_equal(task.oracle()(data.x), data.y)
    drawn = task.space.sample(300, np.random.default_rng(0))
    assert set(task.oracle()(drawn)) <= set(data.y)
    assert task.ceiling.scores[0] == data.y.max()
    assert task.ceiling.exact


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in SLOW])
def test_a_function_scores_its_own_samples(name):
    task = real(name)
    data = task.dataset
    assert isinstance(task.hidden_oracle, FunctionOracle)
    assert task.space.contains(data.x).all()
    rows = np.linspace(0, len(data) - 1, 100).astype(int)
    np.testing.assert_array_equal(task.oracle()(data.x[rows]), data.y[rows])
    assert np.isfinite(data.y).all()
    assert task.info.y_min < task.info.y_max
    if data.failed is not None:
        assert task.space.contains(data.failed).all()
        assert (task.oracle()(data.failed[:50]) == np.float32(task.info.y_min)).all()
    if task.ceiling is not None:
        assert data.y.max() <= np.float32(task.ceiling.scores[0])
