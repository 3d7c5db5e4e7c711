"""Superconductor, and the forest behind it: the numbers of scikit-learn without scikit-learn, kept
as plain arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mbo_gym
from mbo_gym.data.superconductor import ELEMENTS
from mbo_gym.errors import MissingData
from mbo_gym.files import store
from mbo_gym.oracles import forest
from mbo_gym.oracles.forest import ForestConfig, ForestOracle, fit_forest
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.tasks import superconductor

PLANE = ContinuousSpace(np.full(3, -10.0), np.full(3, 10.0))


def made_up(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(size=(n, 3)), 2).astype(
        np.float32
    )  # rounded, so that designs tie with thresholds
    return x, (x[:, 0] * x[:, 1] + rng.normal(0, 0.1, n)).astype(np.float32)


def sklearn_forest(config: ForestConfig, x, y):
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(
        n_estimators=config.n_estimators,
        max_depth=config.max_depth,
        max_features=config.max_features,
        random_state=config.random_state,
    ).fit(x, y)


@pytest.mark.parametrize(
    "config",
    [
        ForestConfig(n_estimators=7),
        ForestConfig(n_estimators=5, max_features="sqrt", random_state=3),
        ForestConfig(3, 1),
    ],
)
def test_the_arrays_predict_what_scikit_learn_predicts(config):
    x, y = made_up()
    oracle = fit_forest(PLANE, x, y, config)
    new = np.random.default_rng(1).uniform(-4, 4, size=(500, 3)).astype(np.float32)
    for designs in (x, new):
        expected = sklearn_forest(config, x, y).predict(designs)
        np.testing.assert_allclose(oracle(designs), expected, rtol=1e-6)
        np.testing.assert_array_equal(
            oracle.score_tensor(torch.tensor(designs)).numpy(), oracle(designs)
        )


def test_sequences_enter_the_forest_as_indicators():
    space = CategoricalSpace(4, 3)
    x = space.sample(150, np.random.default_rng(0))
    y = (x == 1).sum(axis=1) + 0.1 * x[:, 0]
    oracle = fit_forest(space, x, y.astype(np.float32), ForestConfig(n_estimators=6))
    indicators = np.eye(3, dtype=np.float32)[x].reshape(150, -1)
    expected = sklearn_forest(
        ForestConfig(n_estimators=6), indicators, y.astype(np.float32)
    ).predict(indicators)
    np.testing.assert_allclose(oracle(x), expected, rtol=1e-6)


def test_a_threshold_of_a_tree_belongs_to_its_left_side():
    trees = {
        "feature": np.array([1, -1, -1], dtype=np.int16),
        "threshold": np.array([0.5, 0, 0]),
        "left": np.array([1, 1, 2], dtype=np.int32),
        "value": np.array([0.0, 10.0, 20.0]),
        "roots": np.array([0]),
    }
    oracle = ForestOracle(PLANE, trees)
    assert oracle(np.array([[9, 0.5, 9], [9, 0.500001, 9], [9, -3, 9]])).tolist() == [10, 20, 10]


def test_a_constant_score_makes_trees_of_one_leaf():
    x, _ = made_up(20)
    oracle = fit_forest(PLANE, x, np.full(20, 3.5, dtype=np.float32), ForestConfig(n_estimators=4))
    assert oracle(x).tolist() == [3.5] * 20


def test_the_second_fit_comes_from_the_cache(monkeypatch):
    x, y = made_up(seed=7)
    config = ForestConfig(n_estimators=3)
    first = fit_forest(PLANE, x, y, config)

    def fail(*args):
        raise AssertionError("it was fitted again")

    monkeypatch.setattr(forest, "_fit", fail)
    np.testing.assert_array_equal(fit_forest(PLANE, x, y, config)(x), first(x))
    for other in (
        (x, y + 1, config),
        (x + 1, y, config),
        (x, y, ForestConfig(n_estimators=3, random_state=1)),
    ):
        with pytest.raises(AssertionError, match="fitted again"):
            fit_forest(PLANE, *other)


def test_superconductors_forest_is_fitted_once_and_cached(shared_data, monkeypatch):
    first = mbo_gym.make_task("Superconductor-RandomForest-v1")
    assert list((shared_data / "fitted").glob("forest-*.npz"))

    def fail(*args):
        raise AssertionError("it was fitted again")

    monkeypatch.setattr(forest, "_fit", fail)
    x = first.dataset.x[:50]
    np.testing.assert_array_equal(
        mbo_gym.make_task("Superconductor-RandomForest-v1").oracle()(x), first.oracle()(x)
    )


def test_superconductors_space_is_86_amounts(shared_data):
    task = mbo_gym.make_task("Superconductor-RandomForest-v0")
    assert task.space.names == ELEMENTS
    assert len(set(ELEMENTS)) == 86
    assert task.space.low.tolist() == [0.0] * 86
    assert np.isinf(task.space.high).all()
    best = task.dataset.top(128).x
    cuprates = (best[:, ELEMENTS.index("Cu")] > 0) & (best[:, ELEMENTS.index("O")] > 0)
    assert (
        cuprates.mean() > 0.8
    )  # what high critical temperatures are known from: the columns are in the right order


def write_csv(path, rows: int, header: str | None = None, cell: str = "1.5") -> None:
    line = ",".join(["0"] * 85 + [cell, "20.0", "X1"])
    lines = [line.replace("20.0", "0.00021"), line.replace("20.0", "185")] + [line] * (rows - 2)
    path.write_text(
        "\n".join([header or ",".join([*ELEMENTS, "critical_temp", "material"]), *lines])
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": 21_263, "header": "a,b,c"}, "its header is not"),
        ({"rows": 21_262}, "21262 rows, expected 21263"),
        ({"rows": 21_263, "cell": "x"}, "a cell is not a number"),
    ],
)
def test_a_wrong_csv_is_refused_with_the_reason(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(store, "folders", lambda: [tmp_path])
    write_csv(tmp_path / "unique_m.csv", **arguments)
    with pytest.raises(MissingData, match=message):
        mbo_gym.make_task("Superconductor-RandomForest-v0")


def test_a_right_csv_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "folders", lambda: [tmp_path])
    write_csv(tmp_path / "unique_m.csv", 21_263)
    monkeypatch.setattr(
        superconductor,
        "fit_forest",
        lambda space, x, y, config: fit_forest(space, x, y, ForestConfig(2)),
    )
    task = mbo_gym.make_task("Superconductor-RandomForest-v0")
    assert task.info.n_full == 21_263
    assert task.dataset.x[0, -1] == 1.5
    assert "all 21,263 rows" in task.info.oracle


def test_without_data_the_error_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "folders", lambda: [tmp_path])
    with pytest.raises(MissingData, match="mbo-gym data get superconductor"):
        mbo_gym.make_task("Superconductor-RandomForest-v0")
