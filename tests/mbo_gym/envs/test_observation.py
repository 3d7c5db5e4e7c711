"""The decision process with surrogates known by hand: what is seen, what a step does, values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

import mbo_gym
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.observation import observation_box
from mbo_gym.envs.process import EnvConfig, Process
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.settings import Choice
from mbo_gym.surrogates.base import FitReport, Surrogate
from mbo_gym.surrogates.fitting import fit_guide_and_judge
from mbo_gym.surrogates.registry import SURROGATES

SPY = "spy_of_the_process_tests"
PLAIN = {"bounds": "none", "pessimism": 0.0}  # all else as by default


class Valley(Surrogate):
    """f(z) = - sum of c (z - m)^2 / 2, whose gradient is c (m - z)."""

    kind = "valley"

    def __init__(self, curvature: list[float], middle: list[float]) -> None:
        self.c, self.m, self.rows = torch.tensor(curvature), torch.tensor(middle), []

    def fit(self, z, y, *, seed, progress=None):
        raise NotImplementedError

    def predict(self, z: Tensor) -> Tensor:
        self.rows.append(len(z))
        return -(self.c * (z - self.m).square()).sum(dim=1) / 2

    def state(self):
        return {}

    def load_state(self, state):
        pass


class Doubtful(Valley):
    """The same, with the distance from 0 for its members' spread."""

    def spread(self, z: Tensor) -> Tensor:
        return z.norm(dim=1)


class Spy(Surrogate):
    """Remembers what it was fitted on."""

    kind = SPY

    def fit(self, z, y, *, seed, progress=None):
        self.z, self.y, self.seed = z, y, seed
        return FitReport(0.0, 0.0, len(z), 0, 0, 0.0)

    def predict(self, z: Tensor) -> Tensor:
        return z.sum(dim=1)

    def state(self):
        return {}

    def load_state(self, state):
        pass


@dataclass
class Build:
    """Builds a process over the corners of a square, where z-scores are the designs themselves."""

    problem: OfflineProblem

    def __call__(self, guide=None, judge=None, **settings) -> Process:
        guide = guide or Valley([1.0, 2.0], [0.0, 0.0])
        models = {"task": self.problem, "surrogate": guide, "judge": judge or guide}
        return Process(EnvConfig(**{**PLAIN, "action_scale": 0.5, **models, **settings}))


@pytest.fixture(scope="module")
def process() -> Build:
    x = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], dtype=np.float32)
    space = ContinuousSpace(np.full(2, -3.0, dtype=np.float32), np.full(2, 3.0, dtype=np.float32))
    return Build(OfflineProblem("square", space, OfflineDataset(x, x.sum(axis=1)), (0.0, 1.0)))


@pytest.fixture(scope="module")
def letters() -> OfflineProblem:
    """Return sequences of 3 sites and 4 letters."""
    x = np.random.default_rng(0).integers(4, size=(41, 3)).astype(np.int32)
    y = np.arange(41, dtype=np.float32)
    return OfflineProblem("letters", CategoricalSpace(3, 4), OfflineDataset(x, y), (0.0, 1.0))


@pytest.fixture(autouse=True)
def spy_surrogate() -> Iterator[None]:
    with SURROGATES.temporarily(SPY, Spy):
        yield


def rows(*numbers: list[float]) -> Tensor:
    return torch.tensor(numbers)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# --------------------------------------------------------------------------------------------------
# look


def test_the_paper_sees_the_design_and_follows_the_raw_gradient(process):
    z = rows([3.0, 2.0], [-1.0, 0.5])
    look = process(gradient="raw").look(z, 0.3)
    assert torch.equal(look.observation, z)
    torch.testing.assert_close(look.direction, rows([-3.0, -4.0], [1.0, -1.0]))


def test_a_unit_gradient_has_a_root_mean_square_of_one(process):
    z = rows([3.0, 2.0], [-1.0, 0.5], [0.001, 0.0])
    direction = process(gradient="unit").look(z, 0.3).direction
    # (-3, -4) / sqrt((9 + 16) / 2) and (1, -1) / 1; a tiny gradient is as long as a large one
    torch.testing.assert_close(
        direction, rows([-0.848528, -1.131371], [1.0, -1.0], [-(2**0.5), 0.0])
    )
    torch.testing.assert_close(direction.square().mean(dim=1).sqrt(), torch.ones(3))


def test_where_there_is_no_gradient_there_is_no_direction(process):
    direction = process(gradient="unit").look(torch.zeros(1, 2), 1.0).direction
    assert direction.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("gradient", ["raw", "unit"])
def test_a_guided_policy_sees_agreement_prediction_spread_and_the_steps_left(process, gradient):
    z, judge = rows([3.0, 2.0], [-1.0, 0.5]), Doubtful([9.0, 9.0], [5.0, 5.0])
    look = process(judge=judge, observation="guided", gradient=gradient).look(z, 0.3)
    # The guide's direction is (-.849, -1.131) and (1, -1); the judge's, (18, 27) and (54, 40.5) at
    # unit size, is
    # (.784, 1.177) and (1.131, .849): they agree in the sign of one feature. The guide's prediction
    # is -(9 + 8) / 2 and
    # -(1 + .5) / 2; the judge's spread the root of 13 and of 1.25.
    expected = rows(
        [3.0, 2.0, -0.665640, -1.331280, -8.5, 3.605551, 0.3],
        [-1.0, 0.5, 1.131371, -0.848528, -0.75, 1.118034, 0.3],
    )
    torch.testing.assert_close(look.observation, expected)
    plain = process(gradient=gradient).look(z, 0.3)
    assert torch.equal(look.direction, plain.direction)
    assert torch.equal(look.prediction, plain.prediction)
    still = process(judge=judge, observation="guided", action_mode="displacement").look(z, 0.3)
    assert still.direction is None
    assert torch.equal(still.observation, look.observation)


def test_one_that_judges_itself_agrees_with_itself(process):
    z = rows([3.0, 2.0], [-1.0, 0.5])
    direction = process(gradient="unit").look(z, 0.3).direction
    for guided in (process(observation="guided"), process(observation="guided", judge="same")):
        seen = guided.look(z, 0.3).observation
        torch.testing.assert_close(seen[:, 2:4], direction.square())


def test_without_an_ensemble_the_spread_is_zero_and_each_row_may_have_its_own_steps_left(process):
    left = torch.tensor([1.0, 0.5, 0.0])
    observation = process(observation="guided").look(noise(3, 2), left).observation
    assert observation[:, 5].tolist() == [0, 0, 0]
    assert observation[:, 6].tolist() == [1.0, 0.5, 0.0]


# --------------------------------------------------------------------------------------------------
# move


def test_a_step_vector_moves_along_the_direction(process):
    z, direction, action = rows([1.0, 2.0]), rows([4.0, -6.0]), rows([0.5, -1.0])
    assert process().move(z, direction, action).tolist() == [
        [2.0, 5.0]
    ]  # 1 + .5 * .5 * 4, 2 + .5 * -1 * -6
    # positive: the actions .5 and -1 are .75 and 0 of the largest step
    assert process(sign="positive").move(z, direction, action).tolist() == [[2.5, 2.0]]


def test_a_scalar_step_is_the_same_along_all_features(process):
    z, direction = rows([1.0, 2.0], [1.0, 2.0]), rows([4.0, -6.0], [4.0, -6.0])
    scalar = process(step="scalar")
    assert (scalar.n_actions, process().n_actions) == (1, 2)
    assert scalar.move(z, direction, rows([0.5], [-1.0])).tolist() == [[2.0, 0.5], [-1.0, 5.0]]


@pytest.mark.parametrize("step", ["vector", "scalar"])
def test_positive_steps_never_go_against_the_gradient(process, step):
    positive, both = (
        process(step=step, sign=sign, action_scale=None) for sign in ("positive", "both")
    )
    z = 3 * noise(500, 2)
    action = noise(500, positive.n_actions, seed=1)
    direction = positive.look(z, 1.0).direction
    assert bool(((positive.move(z, direction, action) - z) * direction >= 0).all())
    beyond = positive.move(z, direction, 5 * action)
    assert bool(((beyond - z) * direction >= 0).all())
    assert bool(((both.move(z, direction, action) - z) * direction < 0).any())


def test_the_search_stays_in_the_box_of_the_visible_features_unless_it_is_lifted(process):
    z, direction, action = rows([0.5, -0.5]), rows([4.0, -0.5]), rows([1.0, 1.0])
    assert process(bounds="data").move(z, direction, action).tolist() == [[1.0, -0.75]]
    assert process(bounds="none").move(z, direction, action).tolist() == [[2.5, -0.75]]


@pytest.mark.parametrize(
    ("sign", "allowed", "clipped"),
    [("both", [-1, -0.5, 1], [-1, 1]), ("positive", [0, 0.25, 1], [0, 1])],
)
def test_the_action_of_a_step_takes_that_step(process, sign, allowed, clipped):
    searching = process(sign=sign, step="scalar")
    z, direction = torch.zeros(3, 2), torch.ones(3, 2)
    step = torch.tensor(allowed).view(3, 1).float()
    action = searching.dynamics.action(step)
    assert float(action.min()) == -1
    torch.testing.assert_close(searching.move(z, direction, action), 0.5 * step.expand(3, 2))
    largest = searching.dynamics.action(rows([-7.0], [7.0]))
    moved = searching.move(z[:2], direction[:2], largest)[:, 0] / 0.5
    torch.testing.assert_close(moved, torch.tensor(clipped).float())


def test_the_largest_step_is_the_papers_or_a_share_of_a_standard_deviation(process, letters):
    def scale(problem: OfflineProblem, **settings) -> float:
        made = Build(problem)(**{"action_scale": None, **settings}).scale
        assert made.shape == (make_encoder(problem).n_features,)
        assert len(set(made.tolist())) == 1
        return float(made[0])

    assert scale(process.problem, gradient="raw") == pytest.approx(0.05 * 2**0.5)
    assert scale(letters, gradient="raw") == pytest.approx(2 * 9**0.5)
    assert scale(process.problem) == pytest.approx(0.1)
    assert scale(letters) == pytest.approx(0.5)
    assert scale(letters, action_scale=0.7) == pytest.approx(0.7)


@pytest.mark.parametrize(("known", "share"), [(0.4, 0.4), (-0.3, 0.05), (float("nan"), 1.0)])
def test_the_less_the_guide_knows_the_shorter_its_steps(process, known, share):
    guide = Valley([1.0, 2.0], [0.0, 0.0])
    guide.report = FitReport(known, 1.0, n_train=8, n_held_out=4, steps=1, seconds=0.0)
    settings = {"gradient": "unit", "action_scale": None, "trust": True}

    def scale(**other) -> list[float]:
        return process(guide, **{**settings, **other}).scale.tolist()

    assert scale() == pytest.approx([0.1 * share] * 2)
    assert scale(trust=False) == pytest.approx([0.1] * 2)
    assert scale(gradient="raw") == pytest.approx([0.05 * 2**0.5 * share] * 2)
    assert scale(action_scale=0.3) == pytest.approx([0.3] * 2)


# --------------------------------------------------------------------------------------------------
# value


def test_a_value_is_the_judges_prediction_less_its_doubt(process):
    judge = Doubtful([1.0, 1.0], [0.0, 1.0])
    z = rows([3.0, 2.0], [0.0, -1.0])
    assert process(judge=judge).value(z).tolist() == [-5.0, -2.0]
    torch.testing.assert_close(
        process(judge=judge, pessimism=2.0).value(z),
        torch.tensor([-5 - 2 * 13**0.5, -4.0]),
        rtol=1e-6,
        atol=0,
    )


def test_a_value_is_that_of_the_design_that_is_decoded(process):
    z = rows([9.0, 2.0], [-100.0, -4.0])  # the space ends at 3
    assert (
        process().value(z).tolist()
        == process().value(rows([3.0, 2.0], [-3.0, -3.0])).tolist()
        == [-8.5, -13.5]
    )


def test_between_sequences_a_value_is_that_of_the_sequence_that_is_decoded(letters):
    encoder = make_encoder(letters)
    judge = Valley([1.0] * 9, [0.5] * 9)
    searching = Build(letters)(judge, judge)
    z = 3 * noise(50, 9)
    sequences = encoder.encode(encoder.decode(z.numpy()))
    torch.testing.assert_close(searching.value(z), judge.predict(torch.from_numpy(sequences)))
    assert not torch.allclose(searching.value(z), judge.predict(z))


def test_values_of_many_designs_are_taken_in_pieces_without_a_graph(process):
    judge = Valley([1.0, 1.0], [0.0, 0.0])
    z = noise(20_000, 2).requires_grad_()
    value = process(judge).value(z)
    assert not value.requires_grad
    assert (sum(judge.rows), max(judge.rows)) == (20_000, 8192)
    torch.testing.assert_close(value, -z.detach().square().sum(dim=1) / 2)


def test_pessimism_is_two_deviations_where_there_are_members_unless_told(process):
    judge, z = Doubtful([1.0, 1.0], [0.0, 0.0]), rows([3.0, 0.0], [0.0, 2.0])
    assert process(judge=judge, pessimism=None).value(z).tolist() == [-4.5 - 2 * 3, -2.0 - 2 * 2]
    assert process(Valley([1.0, 1.0], [0.0, 0.0]), pessimism=None).value(z).tolist() == [-4.5, -2.0]


def test_pessimism_needs_an_ensemble(process):
    with pytest.raises(
        ValueError, match=r"pessimism=0.5 needs an ensemble's spread.*'valley'.*use mean_ensemble"
    ):
        process(pessimism=0.5)
    process(judge=Doubtful([1.0, 1.0], [0.0, 0.0]), pessimism=0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pessimism": -0.1, "judge": "same"}, "pessimism must be at least 0"),
        ({"pessimism": 2.0}, "pessimism=2 needs a judge; pass judge='same'"),
        ({"judge": "other"}, "judge must be 'same', 'cross', a fitted Surrogate or None"),
        ({"judge": "cross", "surrogate": Valley([1.0], [0.0])}, "pass the name of a surrogate"),
        ({"observation": "all"}, r"observation must be one of \('design', 'guided'\), got 'all'"),
        ({"bounds": "box"}, "bounds must be one of"),
        ({"sign": "negative"}, "sign must be one of"),
        ({"step": "constant"}, "step must be one of"),
        ({"action_mode": "displacement", "step": "scalar"}, "step='scalar' needs a gradient"),
        ({"action_mode": "displacement", "sign": "positive"}, "sign='positive' needs a gradient"),
        ({"action_mode": "displacement", "trust": True}, "trust=True needs a gradient"),
    ],
)
def test_arguments_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EnvConfig("Branin-Exact-v0", **settings)


def test_without_a_judge_a_value_is_the_prediction_between_designs(letters):
    guide, z = Valley([1.0] * 9, [0.5] * 9), 3 * noise(50, 9)
    plain = Process(EnvConfig(letters, surrogate=guide))
    assert torch.equal(plain.value(z), guide.predict(z))
    assert torch.equal(plain.at(z).value, guide.predict(z))


# --------------------------------------------------------------------------------------------------
# states


@pytest.mark.parametrize("horizon", [None, 4])
def test_a_state_knows_its_value_and_the_steps_left(process, horizon):
    judge = Doubtful([9.0, 9.0], [0.5, 0.5])
    made = process(judge=judge, observation="guided", pessimism=1.0, horizon=8)
    z, action = noise(5, 2), noise(5, 2, seed=1)
    state = made.at(z, horizon=horizon)
    after, reward = made.step(state, action)
    length = horizon or 8
    assert (state.step, after.step, after.horizon) == (0, 1, length)
    assert torch.equal(state.observation, made.look(z, 1.0).observation)
    assert torch.equal(after.z, made.move(z, made.look(z, 1.0).direction, action))
    assert torch.equal(after.observation, made.look(after.z, 1 - 1 / length).observation)
    assert torch.equal(reward, made.value(after.z) - made.value(z))
    assert torch.equal(after.prediction, made.surrogate.predict(after.z))
    assert after.score.isnan().all()


def test_the_box_of_observations_holds_what_is_seen(process):
    low, high = np.array([-1.0, -2.0], dtype=np.float32), np.array([1.0, 3.0], dtype=np.float32)
    for side, given in zip(observation_box("design", low, high), (low, high), strict=True):
        np.testing.assert_array_equal(side, given)
    lowest, highest = observation_box("guided", low, high)
    assert (lowest.dtype, lowest.shape) == (np.float32, (7,))
    np.testing.assert_array_equal(lowest[:2], low)
    np.testing.assert_allclose(highest[2:4], 2, rtol=0.01)
    assert (lowest[5], lowest[6], highest[6]) == (0, 0, 1)
    assert np.isfinite([lowest, highest]).all()
    free, _ = observation_box("guided", low, high, bounded=False)
    assert (free[:2] < -1e38).all()
    # a gradient along one feature alone agrees with itself by d, the most that there is
    made = process(Valley([1.0, 0.0], [0.0, 0.0]), observation="guided")
    seen = made.look(rows([0.9, 0.2]), 1.0).observation
    assert float(seen[0, 2]) == pytest.approx(2)
    box = made.observation_box()
    assert bool((seen >= torch.from_numpy(box[0])).all() & (seen <= torch.from_numpy(box[1])).all())


# --------------------------------------------------------------------------------------------------
# surrogates


def fitted(problem: OfflineProblem, judge: str, seed: int = 0) -> tuple[Spy, Spy]:
    return fit_guide_and_judge(problem, make_encoder(problem), SPY, judge, seed=seed)


def test_one_surrogate_that_judges_itself_sees_every_row(letters):
    guide, judge = fitted(letters, "same", seed=5)
    assert guide is judge
    assert (guide.seed, guide.name) == (5, SPY)
    np.testing.assert_array_equal(guide.z, make_encoder(letters).encode(letters.dataset.x))
    np.testing.assert_array_equal(
        guide.y, letters.dataset.score_scale.standardise(letters.dataset.y)
    )


def test_guide_and_judge_see_halves_that_share_no_row_and_make_up_all(letters):
    guide, judge = fitted(letters, "cross")
    standardised = letters.dataset.score_scale.standardise(
        letters.dataset.y
    )  # a different score for each row
    halves = [np.searchsorted(standardised, spy.y.numpy()) for spy in (guide, judge)]
    assert (len(halves[0]), len(halves[1])) == (21, 20)
    assert sorted(np.concatenate(halves)) == list(range(41))
    z = make_encoder(letters).encode(letters.dataset.x)
    for spy, half in zip((guide, judge), halves, strict=True):
        np.testing.assert_array_equal(spy.z, z[half])
        np.testing.assert_array_equal(spy.y, standardised[half])
    assert guide.seed != judge.seed
    assert (
        abs(np.median(halves[0]) - np.median(halves[1])) < 15
    )  # drawn, not cut: the rows stand in order of score


def test_the_seed_draws_the_halves(letters):
    first, again, other = (fitted(letters, "cross", seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first.y, again.y)
    assert not torch.equal(first.y.sort().values, other.y.sort().values)
    seeds = [spy.seed for seed in range(4) for spy in fitted(letters, "cross", seed)]
    assert len(set(seeds)) == 8


def test_an_unknown_surrogate_is_answered_with_the_nearest(process):
    encoder = make_encoder(process.problem)
    with pytest.raises(mbo_gym.errors.UnknownId, match="Did you mean mean_ensemble"):
        fit_guide_and_judge(process.problem, encoder, "mean_ensembl", "cross", seed=0)


@pytest.mark.parametrize("judge", ["same", "cross"])
def test_surrogates_from_the_cache_are_those_that_are_fitted(process, judge):
    task = mbo_gym.make_task("Branin-Exact-v0", max_rows=200).problem()
    encoder, kind = make_encoder(task), Choice("mlp", {"hidden": 8, "train_steps": 20})
    z = torch.from_numpy(encoder.encode(task.dataset.x))
    fitted, cached, again = (
        fit_guide_and_judge(task, encoder, kind, judge, seed=3, cached=keep)
        for keep in (False, True, True)
    )
    for one, two, three in zip(fitted, cached, again, strict=True):
        assert torch.equal(one.predict(z), two.predict(z))
        assert torch.equal(one.predict(z), three.predict(z))
