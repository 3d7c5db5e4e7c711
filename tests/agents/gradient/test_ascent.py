"""Gradient ascent, step by step on surrogates whose gradient is known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import mbo_gym
from agents.gradient.ascent import AscentConfig, Grad, GradConfig
from helpers import Notes
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import feature_bounds
from mbo_gym.methods.ascent import EXTRA_START_NOISE, SearchWatch, ascend, start_features
from mbo_gym.methods.base import Context
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.settings import Choice
from mbo_gym.surrogates.base import FitReport, Surrogate
from mbo_gym.surrogates.registry import SURROGATES

BOWL = "bowl_of_the_ascent_tests"


class Bowl(Surrogate):
    """-sum_j c_j (z_j - m_j)^2 / 2 with its top at m; nothing to learn."""

    kind, config = BOWL, None

    def __init__(self, top=(0.3, -0.2), curvature=(1.0, 4.0)):
        self.top, self.curvature = torch.tensor(top), torch.tensor(curvature)

    def fit(self, z, y, *, seed, progress=None):
        return FitReport(1.0, 0.0, len(z), 0, 0, 0.0)

    def predict(self, z):
        return -(self.curvature * (z - self.top).square()).sum(dim=1) / 2

    def state(self):
        return {"nothing": torch.zeros(1)}

    def load_state(self, state):
        pass


class Slope(Bowl):
    """2 z_0 - 3 z_1."""

    def predict(self, z):
        return z @ torch.tensor([2.0, -3.0])


@pytest.fixture(scope="module", autouse=True)
def more_surrogates() -> Iterator[None]:
    with (
        SURROGATES.temporarily(BOWL, Bowl),
        SURROGATES.temporarily("slope_of_the_ascent_tests", Slope),
    ):
        yield


def climb(surrogate, z, optimiser="plain", steps=1, size=0.1, box=None, progress=None):
    return ascend(
        surrogate,
        torch.tensor(z),
        optimiser,
        steps,
        size,
        box=box,
        progress=progress or NullProgress(),
    )


STARTS = [[1.3, 0.8], [-0.7, -0.2], [0.3, 0.3]]


def test_one_plain_step_by_hand():
    assert torch.allclose(
        climb(Bowl(), STARTS),  # z + 0.1 c (m - z)
        torch.tensor([[1.2, 0.4], [-0.6, -0.2], [0.3, 0.1]]),
        atol=1e-6,
    )


@pytest.mark.parametrize("steps", [0, 1, 2, 17])
def test_plain_steps_shrink_the_distance_geometrically(steps):
    top, shrink = np.array([0.3, -0.2]), np.array([0.9, 0.6])
    expected = top + shrink**steps * (np.array(STARTS) - top)
    np.testing.assert_allclose(climb(Bowl(), STARTS, steps=steps).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 5, 40])
def test_adam_on_a_constant_gradient_moves_its_learning_rate_each_step(steps):
    moved = climb(Slope(), STARTS, "adam", steps, 0.01).numpy() - np.array(STARTS)
    np.testing.assert_allclose(moved, np.tile([0.01 * steps, -0.01 * steps], (3, 1)), rtol=1e-4)


def adam_by_hand(z: np.ndarray, steps: int, size: float) -> np.ndarray:
    m, v = np.zeros_like(z), np.zeros_like(z)
    for t in range(1, steps + 1):
        gradient = np.array([1.0, 4.0]) * (np.array([0.3, -0.2]) - z)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        z = z + size * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return z


@pytest.mark.parametrize("steps", [1, 2, 30])
def test_adam_is_adam(steps):
    got = climb(Bowl(), STARTS[:2], "adam", steps, 0.05).numpy()
    np.testing.assert_allclose(got, adam_by_hand(np.array(STARTS[:2]), steps, 0.05), atol=1e-5)


@pytest.mark.parametrize("optimiser", ["plain", "adam"])
def test_rows_climb_on_their_own(optimiser):
    together = climb(Bowl(), STARTS, optimiser, 20)
    alone = torch.cat([climb(Bowl(), [row], optimiser, 20) for row in STARTS])
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("optimiser", ["plain", "adam"])
def test_the_starts_are_left_as_they_are(optimiser):
    z = torch.tensor(STARTS)
    ascend(Bowl(), z, optimiser, 3, 0.1, box=None, progress=NullProgress())
    assert torch.equal(z, torch.tensor(STARTS))
    assert not z.requires_grad


def test_the_box_holds_after_every_step():
    box = torch.tensor([0.5, -0.1]), torch.tensor([1.25, 1.0])
    once = climb(Bowl(), STARTS, steps=1, box=box)
    assert torch.allclose(once, torch.tensor([[1.2, 0.4], [0.5, -0.1], [0.5, 0.1]]), atol=1e-6)
    assert torch.equal(climb(Bowl(), STARTS, steps=200, box=box), torch.tensor([[0.5, -0.1]] * 3))
    back = torch.tensor([[2.0, 0.0]])  # above the box: clipped to 1.25 first, then on from there
    two = ascend(Bowl(), back, "plain", 2, 0.1, box=box, progress=NullProgress())
    assert torch.allclose(two, torch.tensor([[1.25 + 0.1 * (0.3 - 1.25), -0.1]]), atol=1e-6)


class Cliff(Bowl):
    """The bowl, but left of -1 its slope is no number, and right of 1 it is infinite."""

    def value_and_gradient(self, z):
        value, gradient = super().value_and_gradient(z)
        gradient = torch.where(z[:, :1] < -1, torch.nan, gradient)
        return value, torch.where(z[:, :1] > 1, torch.inf, gradient)


@pytest.mark.parametrize("optimiser", ["plain", "adam"])
def test_a_row_that_leaves_the_numbers_comes_back_as_it_started(optimiser):
    starts, shown = torch.tensor([[-2.0, 0.5], [0.5, 0.5], [2.0, 0.5]]), []

    class Shown(NullProgress):
        def metrics(self, stage, step, **values):
            shown.append((stage, step, values))

    ends = ascend(
        Cliff(),
        starts,
        optimiser,
        5,
        0.1,
        box=None,
        progress=Shown(),
        watch=lambda step, z, value: None,
    )
    assert torch.equal(ends[[0, 2]], starts[[0, 2]])
    alone = ascend(Bowl(), starts[1:2], optimiser, 5, 0.1, box=None, progress=NullProgress())
    assert torch.equal(ends[1:2], alone)
    assert shown == [("ascent", 5, {"diverged": 2})]


def test_each_step_is_watched_before_it_is_taken_and_the_end_too():
    seen = []
    z = torch.tensor(STARTS)
    ends = ascend(
        Bowl(),
        z,
        "plain",
        3,
        0.1,
        box=None,
        progress=NullProgress(),
        watch=lambda step, z, value: seen.append((step, z.clone(), value)),
    )
    assert [step for step, _, _ in seen] == [0, 1, 2, 3]
    for step, held, value in seen:
        assert torch.allclose(held, climb(Bowl(), STARTS, steps=step), atol=1e-6)
        assert torch.allclose(value, Bowl().predict(held), atol=1e-6)
    assert torch.equal(seen[-1][1], ends)


@pytest.fixture(scope="module")
def branin():
    return mbo_gym.make_task("Branin-Exact-v0").problem()


@pytest.fixture(scope="module")
def tfbind8():
    return mbo_gym.make_task("TFBind8-Exact-v0", max_rows=500).problem()


def test_the_recipes_of_the_papers(branin, tfbind8):
    assert AscentConfig().recipe(branin, 25) == (200, pytest.approx(0.05))
    assert AscentConfig().recipe(tfbind8, 24) == (200, pytest.approx(0.01 * 24**0.5))
    assert AscentConfig(optimiser="adam").recipe(branin, 25) == (200, 1e-3)
    assert AscentConfig(optimiser="adam").recipe(tfbind8, 24) == (100, 1e-1)
    assert AscentConfig(steps=0, step_size=3.0).recipe(branin, 25) == (0, 3.0)
    assert AscentConfig(optimiser="adam", steps=7).recipe(tfbind8, 24) == (7, 1e-1)
    presets = {
        name: (config.ascent.optimiser, config.surrogate.name, config.ascent.bounds)
        for name, config in Grad.PRESETS.items()
    }
    assert presets["plain"] == ("plain", "mlp", "none")
    assert presets["paper"] == presets["paper_plain"] == ("plain", "mlp_paper", "none")
    assert presets["paper_adam"] == ("adam", "mlp_paper", "none")
    assert presets["boxed"] == ("plain", "mlp", "data")


def propose(config: GradConfig, problem, k: int, seed: int = 0):
    method = Grad(config)
    method.fit(problem, Context(seed))
    proposals = method.propose(k)
    return proposals.x, proposals.criterion


def on(surrogate: str, **ascent) -> GradConfig:
    """Return the settings of an ascent on a surrogate."""
    return GradConfig(surrogate=Choice(surrogate), ascent=AscentConfig(**ascent))


def test_it_ends_at_the_top_of_the_surrogate(branin):
    x, criterion = propose(on(BOWL, steps=300, step_size=0.1), branin, 4)
    mean, std = (
        branin.dataset.x.mean(axis=0, dtype=np.float64),
        branin.dataset.x.std(axis=0, dtype=np.float64),
    )
    np.testing.assert_allclose(x, np.tile(mean + std * [0.3, -0.2], (4, 1)), rtol=1e-4)
    np.testing.assert_allclose(criterion, 0, atol=1e-8)


def test_without_steps_it_proposes_the_best_visible_designs_in_its_own_order(branin):
    x, criterion = propose(on(BOWL, steps=0), branin, 6)
    best = branin.dataset.top(6).x
    prediction = Bowl().predict(torch.from_numpy(make_encoder(branin).encode(best))).numpy()
    order = np.argsort(-prediction, kind="stable")
    np.testing.assert_allclose(x, best[order], rtol=1e-5)
    np.testing.assert_allclose(criterion, prediction[order])


def test_the_data_box_bounds_the_search(branin):
    free = on("slope_of_the_ascent_tests", steps=100, step_size=0.1)
    boxed = on("slope_of_the_ascent_tests", steps=100, step_size=0.1, bounds="data")
    low, high = feature_bounds(branin, make_encoder(branin))
    _, far = propose(free, branin, 3)
    x, near = propose(boxed, branin, 3)
    assert (far > 2 * high[0] - 3 * low[1]).all()  # beyond the best corner of the box
    np.testing.assert_allclose(near, 2 * high[0] - 3 * low[1], rtol=1e-5)
    corner = branin.dataset.x[:, 0].max(), branin.dataset.x[:, 1].min()
    np.testing.assert_allclose(x, np.tile(corner, (3, 1)), rtol=1e-4, atol=1e-4)


def test_searches_start_at_the_best_designs_and_part_ways_where_these_are_few(branin):
    few = mbo_gym.make_task("Branin-Exact-v0", max_rows=50).problem()
    encoder = make_encoder(few)
    best = torch.from_numpy(encoder.encode(few.dataset.top(50).x))
    z = start_features(few, encoder, 5000, torch.Generator().manual_seed(0))
    assert torch.equal(z[:50], best)
    difference = (z - best.repeat(100, 1))[50:]
    assert float(difference.std()) == pytest.approx(EXTRA_START_NOISE, rel=0.03)
    assert float(difference.mean()) == pytest.approx(0, abs=5 * EXTRA_START_NOISE / 9900**0.5)
    assert torch.equal(start_features(few, encoder, 7, torch.Generator()), best[:7])


@pytest.mark.parametrize(
    ("steps", "watched"),
    [
        (0, [0]),
        (3, [0, 1, 2, 3]),
        (21, [*range(22)]),
        (40, [*range(0, 41, 2)]),
        (45, [*range(0, 45, 2), 45]),
        (200, [*range(0, 201, 10)]),
    ],
)
def test_about_20_steps_of_a_search_are_shown_and_its_end(branin, steps, watched):
    notes, encoder = Notes(), make_encoder(branin)
    watch = SearchWatch(branin, encoder, "ascent", steps, notes)
    for step in range(steps + 1):
        watch(step, torch.zeros(1, 2), torch.zeros(1))
    assert [(stage, step) for stage, step, _, _ in notes.shown] == [
        ("ascent", step) for step in watched
    ]
    assert [step for _, step, _ in notes.seen] == watched


def test_a_search_is_shown_as_designs_and_raw_predictions(branin):
    notes, encoder = Notes(), make_encoder(branin)
    x = branin.dataset.top(3).x
    prediction = torch.tensor([1.5, 0.0, -2.0], requires_grad=True)
    SearchWatch(branin, encoder, "ascent", 5, notes)(
        5, torch.from_numpy(encoder.encode(x)), prediction
    )
    ((stage, step, shown, raw),) = notes.shown
    assert (stage, step) == ("ascent", 5)
    np.testing.assert_allclose(shown, x, rtol=1e-5)
    y = branin.dataset.y.astype(np.float64)
    np.testing.assert_allclose(raw, y.mean() + y.std() * np.array([1.5, 0.0, -2.0]), rtol=1e-4)
    assert notes.seen == [("ascent", 5, {"prediction": pytest.approx(-0.5 / 3)})]


def test_gradient_ascent_shows_its_search_from_start_to_end(branin):
    notes, method = Notes(), Grad(on(BOWL, steps=40, step_size=0.1))
    method.fit(branin, Context(progress=notes))
    assert notes.shown == []
    proposals = method.propose(5)
    assert [(stage, step) for stage, step, _, _ in notes.shown] == [
        ("ascent", step) for step in range(0, 41, 2)
    ]
    np.testing.assert_allclose(notes.shown[0][2], branin.dataset.top(5).x, rtol=1e-5)
    end = notes.shown[-1][2]
    np.testing.assert_array_equal(np.unique(end, axis=0), np.unique(proposals.x, axis=0))
    means = [values["prediction"] for _, _, values in notes.seen]
    assert means == sorted(means)
    assert means[-1] == pytest.approx(proposals.criterion.mean(), abs=1e-6)
