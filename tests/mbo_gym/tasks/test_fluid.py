"""The fluid tasks: options, labels, controls, and what the oracle says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mbo_gym
from mbo_gym.errors import InvalidData, MissingData
from mbo_gym.evaluation.controls import known_controls
from mbo_gym.methods.saved import read_problem, write_problem
from mbo_gym.problem.oracle import count_oracle_calls
from mbo_gym.tasks.fluid import rows_file

CONTAIN = "FluidContain-MPM-v0"
IDS = (CONTAIN, "FluidRamp-MPM-v0", "FluidMaze-MPM-v0")


@pytest.mark.parametrize(
    ("task_id", "flat", "seconds"),
    [(CONTAIN, 0.035, 1.2), (IDS[1], 0.168, 1.2), (IDS[2], 0.0, 2.4)],
)
def test_the_scenes_are_those_that_were_measured(task_id, flat, seconds):
    task = mbo_gym.make_task(task_id)
    assert task.hidden_oracle.scene.seconds == seconds
    assert task.controls["flat"] == pytest.approx(flat, abs=0.002)
    assert task.space.shape == (24 if "Maze" in task_id else 16,)
    assert float(task.space.high.max()) == pytest.approx(np.pi / 2)


@pytest.mark.parametrize("task_id", IDS)
def test_simple_tools_stay_below_the_searches(task_id):
    task = mbo_gym.make_task(task_id)
    controls = known_controls(task, 256)
    assert list(controls) == ["flat", "tilt", "arc", "best_stored"]
    simple = [controls[name]["p100"] for name in ("flat", "tilt", "arc")]
    assert simple == sorted(simple)
    assert simple[-1] < 0.8  # of the best that CEM found
    assert controls["best_stored"]["p100"] == pytest.approx(task.info.d_best)
    if "Ramp" not in task_id:  # whose visible rows end a little below its best arc
        assert simple[-1] < task.info.d_best
    assert not task.ceiling.exact
    assert task.normalise(task.ceiling.scores[0]) == 1
    assert task.info.noise_floor == 0.01


def test_another_goal_scores_the_same_designs_anew():
    own, other = mbo_gym.make_task(CONTAIN), mbo_gym.make_task(CONTAIN, goal=[0.4, 0.38])
    assert np.array_equal(other.problem().context, np.float32([0.4, 0.38]))
    assert (other.dataset.context == other.problem().context).all()
    assert other.options["goal"] == other.problem().options["goal"] == [0.4, 0.38]
    rows = other.dataset.top_rows(3)
    stored, simulated = other.dataset.y[rows], other.oracle()(other.dataset.x[rows])
    np.testing.assert_allclose(stored, simulated, atol=0.01)
    elsewhere = own.oracle()(other.dataset.x[rows])
    assert np.abs(elsewhere - simulated).min() > 0.02
    assert other.info.y_max != own.info.y_max


def test_rows_may_keep_the_goal_they_were_searched_for():
    task = mbo_gym.make_task(CONTAIN)
    mixed = mbo_gym.make_task(CONTAIN, relabel=False)
    assert np.array_equal(mixed.dataset.x, task.dataset.x)
    assert len(np.unique(mixed.dataset.context, axis=0)) == 4
    same = (mixed.dataset.context == mixed.problem().context).all(axis=1)
    assert np.array_equal(mixed.dataset.y[same], task.dataset.y[same])
    assert not np.array_equal(mixed.dataset.y[~same], task.dataset.y[~same])
    assert mixed.info.d_best == pytest.approx(float(task.normalise(mixed.dataset.y[same].max())))
    few = mixed.with_options(fraction=0.1).dataset
    assert len(few.context) == len(few)


def test_a_narrow_goal_asks_for_more():
    wide, narrow = mbo_gym.make_task(CONTAIN), mbo_gym.make_task(CONTAIN, sigma=0.05)
    assert narrow.info.y_max < wide.info.y_max
    assert len(np.unique(mbo_gym.make_task(CONTAIN, sigma=0.05, relabel=False).dataset.context)) > 3


@pytest.mark.parametrize(
    ("task_id", "options", "words"),
    [
        (CONTAIN, {"goal": [0.01, 0.5]}, r"in \[0.09375, 0.90625\].*got \[0.01, 0.5\]"),
        (CONTAIN, {"goal": [0.5]}, "two numbers"),
        (CONTAIN, {"sigma": 0.0}, r"sigma must be a number in \[0.02, 0.5\]"),
        (CONTAIN, {"n_angles": 1}, "n_angles must be a whole number"),
        (IDS[2], {"n_angles": 12}, "24 paddles at fixed places"),
    ],
)
def test_options_out_of_range_are_refused(task_id, options, words):
    with pytest.raises(InvalidData, match=words):
        mbo_gym.make_task(task_id, **options)


def test_other_links_need_data_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("MBO_GYM_DATA", str(tmp_path))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    with pytest.raises(MissingData, match=r"mbo-gym data make FluidContain-MPM-v0 -o n_angles=8"):
        mbo_gym.make_task(CONTAIN, n_angles=8)


def test_frames_and_tensors_give_the_same_scores():
    task = mbo_gym.make_task(CONTAIN)
    x = task.dataset.x[[5]]
    oracle = task.hidden_oracle
    with count_oracle_calls() as calls:
        frames = oracle.simulate(x)
        scores = oracle.score_tensor(torch.from_numpy(x.copy()))
    assert calls.count == 2
    assert frames.shape == (1, 80, 144, 2)
    assert float(scores[0]) == task.dataset.y[5]
    assert frames[0, 0, :, 1].min() > 0.6  # the first frame: still in the air
    assert rows_file(oracle.scene) == "fluid_contain.npz.xz"


def test_a_saved_problem_keeps_its_contexts(tmp_path):
    problem = mbo_gym.make_task(CONTAIN, relabel=False, max_rows=50).problem()
    write_problem(tmp_path, problem)
    read = read_problem(tmp_path)
    assert np.array_equal(read.context, problem.context)
    assert np.array_equal(read.dataset.context, problem.dataset.context)
    assert read.dataset.content_hash() == problem.dataset.content_hash()
