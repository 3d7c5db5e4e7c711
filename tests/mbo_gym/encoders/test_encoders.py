"""Encoders: hand-computed numbers, invertibility, and decoding that lands inside the space whatever
comes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import mbo_gym
from mbo_gym.encoders.letters import Logits, OneHot
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.encoders.scaling import Chain, MinMax, ZScore
from mbo_gym.errors import UnknownId
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace

DNA = CategoricalSpace(2, 4)
ANYWHERE = ContinuousSpace(np.full(2, -np.inf), np.full(2, np.inf))


def box(low, high) -> ContinuousSpace:
    return ContinuousSpace(np.array(low, dtype=float), np.array(high, dtype=float))


def test_logits_of_four_letters_are_log_7_by_hand():
    # p of the letter itself: .6 + .4 / 4 = .7; of each other one .1; log(.7 / .1) = log 7 =
    # 1.9459..
    z = Logits(DNA).encode(np.array([[0, 1], [3, 2]]))
    c = math.log(7)
    np.testing.assert_allclose(z, [[-c, -c, -c, c, 0, 0], [0, 0, c, 0, c, 0]], rtol=1e-6)
    assert z.dtype == np.float32
    assert f"{c:.4f}" == "1.9459"


def test_logits_of_two_letters_and_another_mixing_by_hand():
    # p = .5 + .5 / 2 = .75 against .25
    z = Logits(CategoricalSpace(1, 2), mixing=0.5).encode(np.array([[0], [1]]))
    np.testing.assert_allclose(z, [[-math.log(3)], [math.log(3)]], rtol=1e-6)
    for mixing in (0, 1, -1, 2):
        with pytest.raises(ValueError, match="mixing"):
            Logits(DNA, mixing)


def test_logits_are_the_logarithms_of_design_benchs_mixture():
    x = np.array([[0, 1], [2, 3]])
    p = 0.6 * np.eye(4)[x] + 0.4 / 4
    expected = (np.log(p[:, :, 1:]) - np.log(p[:, :, :1])).reshape(2, -1)
    np.testing.assert_allclose(Logits(DNA).encode(x), expected, rtol=1e-6)


def test_logits_decode_to_the_most_probable_letter_and_the_first_on_ties():
    z = np.array([[-1, -2, -3, 0.1, 0.3, 0.2], [0, 0, 0, 0.5, 0.5, 0.1]])
    assert Logits(DNA).decode(z).tolist() == [[0, 2], [0, 1]]


def test_z_score_by_hand():
    # column 0: mean 2, variance 2/3; column 1 never varies
    encoder = ZScore(ANYWHERE, np.array([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]]))
    np.testing.assert_allclose(
        encoder.encode(np.array([[1.0, 7.0], [5.0, 7.0]])),
        [[-(1.5**0.5), 0], [3 * 1.5**0.5, 0]],
        rtol=1e-6,
    )
    np.testing.assert_allclose(encoder.decode(np.array([[1.5**0.5, 3.0]])), [[3.0, 7.0]], rtol=1e-6)


def test_min_max_by_hand():
    encoder = MinMax(ANYWHERE, np.array([[0.0, -4.0], [10.0, -4.0], [5.0, -4.0]]))
    np.testing.assert_allclose(
        encoder.encode(np.array([[0.0, -4.0], [7.5, -4.0], [20.0, -4.0]])),
        [[-1, 0], [0.5, 0], [3, 0]],
    )
    np.testing.assert_allclose(
        encoder.decode(np.array([[0.5, 0.9], [-1.0, 0.0]])), [[7.5, -4.0], [0.0, -4.0]]
    )


def test_data_that_never_vary_at_all_decode_to_themselves():
    x = np.full((3, 2), 0.1, dtype=np.float32)
    for scaling in (ZScore, MinMax):
        encoder = scaling(ANYWHERE, x)
        assert encoder.encode(x).tolist() == [[0, 0]] * 3
        np.testing.assert_array_equal(encoder.decode(np.full((1, 2), 5.0)), x[:1])


def test_decoding_is_clipped_to_the_bounds():
    space = box([0.0, -1.0], [1.0, np.inf])
    encoder = ZScore(space, np.array([[0.0, 0.0], [1.0, 2.0]]))
    x = encoder.decode(np.array([[-9.0, -9.0], [9.0, np.inf], [np.nan, -np.inf]]))
    assert x[0].tolist() == [0.0, -1.0]
    assert x[1, 0] == 1.0
    assert x[1, 1] == np.finfo(np.float32).max
    assert x[2].tolist() == [0.0, -1.0]  # NaN counts as 0


def test_one_hot_by_hand():
    encoder = OneHot(DNA)
    assert encoder.encode(np.array([[2, 0]])).tolist() == [[0, 0, 1, 0, 1, 0, 0, 0]]
    assert encoder.decode(np.array([[0.1, 0.4, 0.4, 0.0, -3.0, -2.0, -2.5, -9.0]])).tolist() == [
        [1, 1]
    ]


@pytest.mark.parametrize("scaling", [ZScore, MinMax])
def test_a_chain_scales_the_features_of_its_first_encoder(scaling):
    x = CategoricalSpace(3, 4).sample(500, np.random.default_rng(0))
    encoder = Chain(Logits(CategoricalSpace(3, 4)), x, scaling)
    z = encoder.encode(x)
    assert z.shape == (500, encoder.n_features) == (500, 9)
    if scaling is ZScore:
        np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(z.std(axis=0), 1, atol=1e-5)
    else:
        assert (z.min(), z.max()) == (-1, 1)
    assert np.array_equal(encoder.decode(z), x)


def test_a_letter_that_no_visible_design_has_still_decodes():
    x = np.array([[0, 1], [0, 2]])  # site 0 never varies, letter 3 never occurs
    encoder = Chain(Logits(DNA), x)
    assert np.array_equal(encoder.decode(encoder.encode(x)), x)
    assert DNA.contains(encoder.decode(encoder.encode(np.array([[3, 3]])))).all()


@pytest.mark.parametrize("task_id", ["TFBind8-Exact-v0", "Branin-Exact-v0"])
@pytest.mark.parametrize("name", ["z_score", "min_max"])
def test_every_task_space_has_both_scalings(task_id, name):
    problem = mbo_gym.make_task(task_id, max_rows=2000).problem()
    encoder = make_encoder(problem, name)
    x = problem.dataset.x
    assert encoder.name == name
    assert encoder.decode(encoder.encode(x)).dtype == x.dtype
    np.testing.assert_allclose(encoder.decode(encoder.encode(x)), x, rtol=1e-5, atol=1e-5)
    tensor = encoder.decode_tensor(encoder.encode_tensor(torch.tensor(x)))
    np.testing.assert_array_equal(tensor.numpy(), encoder.decode(encoder.encode(x)))


def test_a_wrong_encoder_is_answered():
    branin = mbo_gym.make_task("Branin-Exact-v0").problem()
    with pytest.raises(UnknownId, match="Did you mean z_score"):
        make_encoder(branin, "zscore")
    for name in ("logits", "one_hot", "vae"):
        with pytest.raises(ValueError, match="needs a categorical space"):
            make_encoder(branin, name)


@pytest.mark.parametrize("name", ["z_score", "min_max", "logits", "one_hot"])
def test_an_encoder_that_learns_nothing_is_the_same_for_every_seed(name):
    problem = mbo_gym.make_task("TFBind8-Exact-v0", max_rows=50).problem()
    first, other = make_encoder(problem, name), make_encoder(problem, name, seed=5)
    np.testing.assert_array_equal(first.encode(problem.dataset.x), other.encode(problem.dataset.x))
    assert first.fingerprint == first.name == other.fingerprint == name


WILD = st.floats(width=32, allow_nan=True, allow_infinity=True)


@st.composite
def categorical(draw):
    space = CategoricalSpace(draw(st.integers(1, 5)), draw(st.integers(2, 6)))
    letters = st.integers(0, space.n_categories - 1)
    x = draw(hnp.arrays(np.int32, (draw(st.integers(1, 6)), space.length), elements=letters))
    kinds = [Logits(space), OneHot(space), Chain(Logits(space), x), Chain(OneHot(space), x, MinMax)]
    return space, x, draw(st.sampled_from(kinds))


@given(categorical(), st.data())
def test_categorical_encoders_are_inverted_and_decode_inside(made, data):
    space, x, encoder = made
    assert np.array_equal(encoder.decode(encoder.encode(x)), x)
    z = data.draw(hnp.arrays(np.float32, (4, encoder.n_features), elements=WILD))
    decoded = encoder.decode(z)
    assert decoded.dtype == np.int32
    assert space.contains(decoded).all()


@st.composite
def continuous(draw):
    d = draw(st.integers(1, 4))
    sides = st.floats(-1e6, 1e6, width=32)
    a, b = (draw(hnp.arrays(np.float32, d, elements=sides)) for _ in range(2))
    low, high = np.minimum(a, b), np.maximum(a, b)
    x = low + draw(
        hnp.arrays(np.float64, (draw(st.integers(1, 6)), d), elements=st.floats(0, 1))
    ) * (high - low)
    unbounded = draw(hnp.arrays(bool, d))
    space = ContinuousSpace(np.where(unbounded, -np.inf, low), np.where(unbounded, np.inf, high))
    return space, np.clip(x.astype(np.float32), low, high)


@given(continuous(), st.sampled_from([ZScore, MinMax]), st.data())
def test_continuous_encoders_are_inverted_and_decode_inside(made, scaling, data):
    space, x = made
    encoder = scaling(space, x)
    z = encoder.encode(x)
    assert np.isfinite(z).all()
    tolerance = 1e-5 * (
        np.abs(x).max(axis=0) + 1e-30
    )  # float32 resolves each feature relative to its size
    assert (np.abs(encoder.decode(z) - x) <= tolerance).all()
    wild = data.draw(hnp.arrays(np.float32, (4, encoder.n_features), elements=WILD))
    assert space.contains(encoder.decode(wild)).all()
