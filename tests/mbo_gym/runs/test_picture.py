"""The picture of a run: walks by row, a readable PNG for every kind of task, and no oracle call
that is counted."""

from __future__ import annotations

import json
import struct
import sys
import warnings

import numpy as np
import pytest

import mbo_gym
from mbo_gym.errors import MissingDependency
from mbo_gym.problem.oracle import count_oracle_calls
from mbo_gym.progress.protocol import SearchPoint
from mbo_gym.runs import picture as pictures
from mbo_gym.runs.one_run import RunRequest, run
from mbo_gym.runs.picture import assemble_walks, principal_components, save_picture

BRANIN = "Branin-Exact-v0"


def point(stage: str, step: int, x: np.ndarray) -> SearchPoint:
    return SearchPoint(stage, step, x, np.zeros(len(x)))


def numbered(n: int, step: int) -> np.ndarray:
    """Return designs (n, 2) that say which walk and which step they are of."""
    return np.stack([np.arange(n), np.full(n, step)], axis=1)


def size_of_png(path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:])


def own_task(tmp_path, text: str, **options):
    (tmp_path / "own.csv").write_text(text)
    return mbo_gym.make_task("csv", path=str(tmp_path / "own.csv"), score_column="y", **options)


@pytest.fixture
def draw(tmp_path):
    """Return what draws proposals and a trace; it returns the labels drawn and the size, and allows
    no warning."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    def call(task, designs, trace=()):
        evaluation, seen = mbo_gym.evaluate(task, designs), []

        def legend(figure, *arguments, **keywords):
            seen.extend(
                label for axes in figure.axes for label in axes.get_legend_handles_labels()[1]
            )
            seen.extend(axes.get_title() for axes in figure.axes)
            seen.append(figure.get_suptitle())
            return plain(figure, *arguments, **keywords)

        plain = Figure.legend
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("error")
            patch.setattr(Figure, "legend", legend)
            save_picture(
                tmp_path / "it.png", task, designs, evaluation, trace, name="it on a task, seed 3"
            )
        return "\n".join(seen), size_of_png(tmp_path / "it.png")

    return call


def test_row_i_of_successive_steps_is_walk_i():
    walks = assemble_walks([point("ascent", step, numbered(3, step)) for step in (0, 5, 7, 8)])
    assert (walks.stage, walks.n_recorded, walks.x.shape) == ("ascent", 3, (3, 4, 2))
    for i in range(3):
        np.testing.assert_array_equal(walks.x[i], [[i, 0], [i, 5], [i, 7], [i, 8]])


def test_many_walks_are_thinned_evenly_and_keep_the_first_and_the_last():
    walks = assemble_walks([point("s", step, numbered(301, step)) for step in (0, 1)], most=4)
    assert walks.n_recorded == 301
    np.testing.assert_array_equal(walks.x[:, 0, 0], [0, 100, 200, 300])
    np.testing.assert_array_equal(walks.x[:, 1, 0], [0, 100, 200, 300])


def test_the_last_stage_that_walks_is_taken():
    trace = [point("first", 0, numbered(4, 0)), point("first", 1, numbered(4, 1))]
    trace += [point("edit", 0, numbered(2, 10)), point("edit", 3, numbered(2, 13))]
    assert assemble_walks(trace).stage == "edit"
    # a single step is no walk
    assert assemble_walks([*trace, point("chosen", 0, numbered(9, 0))]).stage == "edit"
    assert assemble_walks(trace[:3]).stage == "first"


@pytest.mark.parametrize("rows_and_step", [(5, 2), (4, 0), (4, 1)])
def test_other_walks_begin_where_rows_change_or_the_step_does_not_rise(rows_and_step):
    rows, step = rows_and_step
    trace = [point("s", 0, numbered(4, 0)), point("s", 1, numbered(4, 1))]
    trace += [point("s", step, numbered(rows, 20)), point("s", step + 1, numbered(rows, 21))]
    walks = assemble_walks(trace)
    assert walks.x.shape == (rows, 2, 2)
    np.testing.assert_array_equal(walks.x[0], [[0, 20], [0, 21]])


def test_no_walks_where_none_were_recorded():
    assert assemble_walks([]) is None
    assert assemble_walks([point("s", 0, numbered(4, 0))]) is None
    assert assemble_walks([point("s", 0, numbered(0, 0)), point("s", 1, numbered(0, 1))]) is None


def test_principal_components_are_those_of_a_known_cloud():
    rng = np.random.default_rng(0)
    along, across = np.array([0.6, 0.0, -0.8]), np.array([0.0, 1.0, 0.0])
    weights = rng.normal(size=(400, 2)) * [5, 1]
    weights -= weights.mean(axis=0)
    weights[:, 1] -= (
        weights[:, 0] * (weights[:, 0] @ weights[:, 1]) / (weights[:, 0] @ weights[:, 0])
    )
    mean, components, shares = principal_components(weights @ np.stack([along, across]) + 7)
    np.testing.assert_allclose(mean, [7, 7, 7])
    # the largest is positive
    np.testing.assert_allclose(components, np.stack([-along, across], axis=1), atol=1e-12)
    np.testing.assert_allclose(shares, (weights**2).sum(axis=0) / (weights**2).sum())


@pytest.mark.parametrize("z", [np.ones((5, 3)), np.ones((1, 4)), np.arange(6.0)[:, None]])
def test_components_that_are_not_there_are_zero(z):
    _, components, shares = principal_components(z)
    assert components.shape == (z.shape[1], 2)
    varies = len(np.unique(z)) > 1
    np.testing.assert_array_equal(components[0], [float(varies), 0])
    np.testing.assert_array_equal(shares, [float(varies), 0])


def test_two_numbers_are_drawn_over_the_landscape(draw):
    task = mbo_gym.make_task(BRANIN)
    top = task.dataset.top(70).x
    with count_oracle_calls() as calls:
        labels, size = draw(
            task, top, [point("trajectories", 0, top), point("trajectories", 9, top + 0.01)]
        )
    assert calls.count == 70 + 10_000  # the evaluation's and the landscape's
    assert (
        "landscape drawn after the run; its 10,000 oracle calls are not among those of the run"
        in labels
    )
    assert "walks of stage 'trajectories' (64 of 70)" in labels
    assert "visible designs (2,000 of 2,500)" in labels
    assert (
        "it on a task, seed 3\nnormalised scores of 70 designs: 100th percentile 0.880, 50th 0.8"
        in labels
    )
    assert size == (860, 640)


def test_sequences_are_drawn_on_principal_components_without_an_oracle_call(draw):
    task = mbo_gym.make_task("TFBind8-Exact-v0", max_rows=300)
    x = task.space.sample(40, np.random.default_rng(0))
    with count_oracle_calls() as calls:
        labels, size = draw(
            task, x, [point("edit", 0, task.dataset.top(40).x), point("edit", 1, x)]
        )
    assert calls.count == 40
    assert "walks of stage 'edit' (40)" in labels
    assert "visible designs (300)" in labels
    assert f"D(best), the best visible score: {task.info.d_best:.3f}" in labels
    assert f"median visible score: {task.normalise(np.median(task.dataset.y)):.3f}" in labels
    assert size == (1200, 640)


@pytest.mark.parametrize(
    ("task_id", "options"), [(BRANIN, {}), ("TFBind8-Exact-v0", {}), ("Levy-Exact-v0", {"dim": 3})]
)
def test_designs_outside_the_space_are_named_and_not_drawn(draw, task_id, options):
    task = mbo_gym.make_task(task_id, max_rows=50, **options)
    x = task.dataset.x[:6].astype(np.float32)
    x[:2] = 1e6
    x[2] = np.nan
    labels, _ = draw(task, x, [point("s", 0, x), point("s", 1, x)])
    assert "proposals (6; 3 infeasible, not drawn)" in labels
    draw(task, np.full_like(x, 1e6))  # nor does a picture fail where none is left


@pytest.mark.parametrize(
    ("text", "options", "size"),
    [
        ("a,b,y\n1,2,3\n2,3,4\n4,5,2\n", {}, (860, 640)),  # no oracle, so no landscape
        ("a,b,y\n1,2,3\n2,3,4\n4,5,2\n", {"bounds": "none"}, (860, 640)),  # a plane without ends
        # a plane without width
        ("a,b,y\n1,2,3\n1,3,4\n1,5,2\n", {"oracle": lambda x: x[:, 1]}, (860, 640)),
        # a flat landscape
        ("a,b,y\n1,2,3\n2,3,4\n4,5,2\n", {"oracle": lambda x: 0 * x[:, 1]}, (860, 640)),
        ("a,b,y\n1,2,3\n2,3,4\n4,5,2\n", {"oracle": lambda x: np.nan * x[:, 1]}, (860, 640)),
        ("a,y\n1,3\n2,4\n4,2\n", {}, (860, 640)),  # no scores, so no second panel
        ("a,y\n1,3\n2,4\n4,2\n", {"oracle": lambda x: x[:, 0]}, (1200, 640)),
        # two sites are no plane
        ("s,y\nAC,1\nCA,2\nCC,5\n", {"oracle": lambda x: x[:, 0]}, (1200, 640)),
    ],
)
def test_every_kind_of_task_can_be_drawn(draw, tmp_path, text, options, size):
    task = own_task(tmp_path, text, **options)
    x = task.dataset.x
    labels, drawn = draw(task, x, [point("s", 0, x), point("s", 1, x[::-1])])
    assert drawn == size
    nothing_to_colour = task.has_oracle and len(np.unique(mbo_gym.evaluate(task, x).scores)) == 1
    assert ("; no colours, as it is flat or nowhere finite" in labels) == nothing_to_colour
    assert ("landscape" in labels) == (
        task.has_oracle and task.space.dtype is np.float32 and x.shape[1] == 2
    )
    assert ("not scored: the task has no oracle" in labels) == (not task.has_oracle)


def test_a_run_writes_the_same_record_with_and_without_its_picture(tmp_path):
    pytest.importorskip("matplotlib")
    records = []
    for plot in (False, True):
        folder = run(RunRequest("top_k_noise", BRANIN, k=8), tmp_path / str(plot), plot=plot).folder
        assert (folder / pictures.PICTURE).exists() == plot
        records.append(json.loads((folder / "result.json").read_text()))
        for name in ("fit_seconds", "propose_seconds", "peak_memory_mb"):
            del records[-1][name]
    assert records[0] == records[1]
    assert [records[1][f"{name}oracle_calls"] for name in ("", "search_", "trace_")] == [8, 0, 0]


def test_a_missing_matplotlib_is_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        MissingDependency, match=r"needs matplotlib, .*pip install 'mbo-gym\[report\]'"
    ):
        run(RunRequest("no such method", BRANIN), tmp_path / "runs" / "one", plot=True)
    assert list(tmp_path.iterdir()) == []
