"""Trajectories of a mixed constrained space in every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mbo_gym
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.export import export_task, load_npz
from mbo_gym.trajectories.recipe import TrajectoryRecipe

TASK = "Formulation-Exact-v0"
OPTIONS = {"max_rows": 200}


@pytest.mark.parametrize("sampler", ["random_top", "sorted_top", "local_improving"])
def test_trajectories_visit_visible_designs(tmp_path: Path, sampler: str) -> None:
    recipe = TrajectoryRecipe(sampler=sampler, n=4, horizon=5)
    export_task(TASK, recipe, to="npz", path=tmp_path / "b.npz", options=OPTIONS)
    batch = load_npz(tmp_path / "b.npz")
    problem = mbo_gym.make_task(TASK, **OPTIONS).problem()
    encoder = make_encoder(problem)
    assert batch.z.shape == (4, 6, encoder.n_features)
    x = encoder.designs(batch.z.flatten(0, 1))
    assert batch.rows is not None
    visible = problem.dataset.x[batch.rows.flatten().numpy()]
    np.testing.assert_allclose(x, visible, rtol=1e-5)  # logarithms are float32 too


@pytest.mark.parametrize("action_mode", ["displacement", "step_vector"])
@pytest.mark.parametrize(("to", "library"), [("d3rlpy", "d3rlpy"), ("minari", "minari")])
def test_other_libraries_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, library: str, action_mode: str
) -> None:
    pytest.importorskip(library)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    recipe = TrajectoryRecipe(n=4, horizon=5, action_mode=action_mode, surrogate="quadratic")
    path = "tests/formulation-v0" if to == "minari" else tmp_path / "data.h5"
    said = export_task(TASK, recipe, to=to, path=path, options=OPTIONS)
    assert (said.episodes, said.transitions) == (4, 20)
