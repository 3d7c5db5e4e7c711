"""Schedules against their papers' formulas and published values; the levels of sampling and of
training."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from diffusion.core.schedule import (
    Cosine,
    Karras,
    VPLinear,
    drawn_levels,
    levels,
    log_normal_levels,
)

DDOM = VPLinear(0.01, 2.0)
PRESERVING = [DDOM, VPLinear(), VPLinear(3.0, 3.0), Cosine()]
SCHEDULES = [*PRESERVING, Karras()]


def float64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_time_is_the_inverse_of_level(schedule):
    t = torch.linspace(1e-4, 0.98, 500, dtype=torch.float64)
    level = schedule.level(t)
    assert (level.diff() > 0).all()
    # float64 has sixteen digits; differences such as 1 - 1 / (1 + s^2) lose up to seven at s of
    # 1e-3
    torch.testing.assert_close(schedule.time(level), t, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(schedule.level(schedule.time(level)), level, rtol=1e-9, atol=0)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_float32_gives_the_levels_of_float64(schedule):
    t = torch.tensor([1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9])
    # a handful of roundings of 6e-8, and a power of 7
    torch.testing.assert_close(
        schedule.level(t).double(), schedule.level(t.double()), rtol=2e-6, atol=0
    )


@pytest.mark.parametrize("schedule", PRESERVING, ids=str)
def test_variance_preserving_schedules_keep_the_variance(schedule):
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t), rtol=1e-12, atol=0)
    torch.testing.assert_close(sigma / alpha, schedule.level(t), rtol=1e-12, atol=0)
    assert float(schedule.level(float64(0.0))) == 0
    assert (
        float(schedule.level(torch.zeros(()))) == 0
    )  # in float32 too: `levels` tells by it where to end


def test_linear_beta_gives_the_published_values():
    # DDOM's .01 to 2: exp(-(.01 + 1.99 / 2) / 2) = exp(-.5025) = .605 is left of the signal at the
    # end
    assert float(DDOM.alpha(float64(1.0))) == pytest.approx(math.exp(-0.5025), rel=1e-12)
    assert float(DDOM.alpha(float64(1.0))) == pytest.approx(0.605, abs=5e-4)
    # where DEMO starts to edit, t = .4: weight .922, deviation .388 (published with three digits)
    assert float(DDOM.alpha(float64(0.4))) == pytest.approx(0.922, abs=5e-4)
    assert float(DDOM.sigma(float64(0.4))) == pytest.approx(0.388, abs=5e-4)
    # .1 to 20: exp(-10.05 / 2) = .0066
    assert float(VPLinear().alpha(float64(1.0))) == pytest.approx(math.exp(-5.025), rel=1e-12)


def test_linear_beta_is_the_formula_of_the_paper():
    t = np.linspace(0, 1, 11)
    for schedule in (DDOM, VPLinear()):
        low, high = schedule.beta_min, schedule.beta_max
        mean = np.exp(-0.25 * t**2 * (high - low) - 0.5 * t * low)  # Song et al. 2021, equation 33
        std = np.sqrt(1 - np.exp(-0.5 * t**2 * (high - low) - t * low))
        np.testing.assert_allclose(schedule.alpha(torch.from_numpy(t)), mean, rtol=1e-12)
        np.testing.assert_allclose(schedule.sigma(torch.from_numpy(t)), std, rtol=1e-12, atol=1e-15)


def test_cosine_is_the_formula_of_the_paper():
    t = np.linspace(0, 0.99, 12)  # beyond, the level is cut off
    f = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2  # Nichol and Dhariwal 2021, equation 17
    np.testing.assert_allclose(Cosine().alpha(torch.from_numpy(t)) ** 2, f / f[0], rtol=1e-12)
    assert float(Cosine().level(float64(1.0))) == 100
    assert float(Cosine(max_level=20.0).level(float64(1.0))) == 20


def test_levels_of_karras_are_those_of_the_paper():
    low, high, n = 0.002 ** (1 / 7), 80 ** (1 / 7), 18
    published = [(high + i / (n - 1) * (low - high)) ** 7 for i in range(n)] + [
        0.0
    ]  # EDM, equation 5
    np.testing.assert_allclose(levels(Karras(), n), published, rtol=1e-6)  # float32
    assert levels(Karras(), 1).tolist() == [80, 0]
    t = float64(0.0, 0.3, 1.0)
    assert Karras().alpha(t).tolist() == [1, 1, 1]
    assert torch.equal(Karras().sigma(t), Karras().level(t))


@pytest.mark.parametrize("n", [1, 2, 3, 18, 1000])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_levels_fall_from_the_highest_to_0(schedule, n):
    rungs = levels(schedule, n)
    assert rungs.shape == (n + 1,)
    assert (rungs.diff() < 0).all()
    assert float(rungs[-1]) == 0
    assert float(rungs[0]) == pytest.approx(float(schedule.level(float64(1.0))), rel=1e-7)


@pytest.mark.parametrize("n", [1, 2, 18, 200])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_levels_may_start_in_the_middle(schedule, n):
    rungs = levels(schedule, n, start=0.42)
    assert rungs.shape == (n + 1,)
    assert (rungs.diff() < 0).all()
    assert rungs[0] == torch.tensor(0.42)
    assert float(rungs[-1]) == 0


def test_levels_are_evenly_spaced_in_time():
    times = VPLinear().time(levels(VPLinear(), 5).double())
    np.testing.assert_allclose(
        times, [1, 0.8, 0.6, 0.4, 0.2, 0], atol=1e-6
    )  # levels are rounded to float32


def test_levels_out_of_range_are_refused():
    with pytest.raises(ValueError, match="at least one step, got 0"):
        levels(VPLinear(), 0)
    with pytest.raises(ValueError, match="got 81"):
        levels(Karras(), 5, start=81.0)
    with pytest.raises(ValueError, match=r"\(0\.002, 80\]"):
        levels(Karras(), 5, start=0.001)
    with pytest.raises(ValueError, match="got 0"):
        levels(VPLinear(), 5, start=0.0)


def test_levels_may_start_at_the_highest_in_float32():
    highest = float(VPLinear().level(torch.ones(())))
    assert float(levels(VPLinear(), 4, start=highest)[0]) == highest


@pytest.mark.parametrize("schedule", [VPLinear(), Cosine(), Karras()], ids=str)
def test_levels_for_training_are_uniform_in_time(schedule):
    drawn = drawn_levels(schedule, 20_000, torch.Generator().manual_seed(0))
    assert drawn.shape == (20_000,)
    assert (drawn > 0).all()
    times = schedule.time(drawn.double())
    times = times[times < 0.99]  # above, the cosine's level is cut off
    assert (
        kstest(times / 0.99, "uniform").pvalue > 1e-4
    )  # a true uniform fails once in 10,000 seeds


def test_log_normal_levels_have_normal_logarithms():
    drawn = log_normal_levels(20_000, torch.Generator().manual_seed(0), mean=0.3, std=1.5)
    assert kstest((drawn.log() - 0.3) / 1.5, "norm").pvalue > 1e-4
    again = log_normal_levels(20_000, torch.Generator().manual_seed(0), mean=0.3, std=1.5)
    assert torch.equal(drawn, again)
