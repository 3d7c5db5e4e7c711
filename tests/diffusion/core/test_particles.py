"""Particle search: weights, systematic resampling, perturbation, and energies that fall."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffusion.core.particles import (
    particle_search,
    particle_weights,
    perturbed,
    systematic_rows,
)
from diffusion.core.samplers import ddim, start_noise
from diffusion.core.schedule import Karras, levels

SPREAD = 0.7  # standard deviation of the designs, a Gaussian about 0
START = 20.0
WIDTH = math.hypot(SPREAD, START)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def denoise(z: Tensor, s: Tensor) -> Tensor:
    """The exact denoiser of the Gaussian above."""
    return z * SPREAD**2 / (SPREAD**2 + s**2)


def few_steps(z: Tensor) -> Tensor:
    return ddim(denoise, z, levels(Karras(0.01, START), 4))


def energy(x: Tensor) -> Tensor:
    return -x[:, 0]


def searched(n: int = 2000, rounds: int = 2, seed: int = 0, **settings: float) -> Tensor:
    generator = seeded(seed)
    z = start_noise((n, 3), START, generator, sigma_data=SPREAD)
    given = {"temperature": 0.5, "perturbation": 0.25, "width": WIDTH} | settings
    return particle_search(few_steps, energy, z, rounds=rounds, generator=generator, **given)


def test_weights_are_the_softmax_of_the_negative_energies():
    energies = torch.tensor([0.0, 1.0, -2.0])
    weights = particle_weights(energies, 0.5)
    assert float(weights.sum()) == pytest.approx(1.0, abs=1e-12)
    assert float(weights[0] / weights[1]) == pytest.approx(math.exp(1.0 / 0.5))
    assert float(weights[2] / weights[0]) == pytest.approx(math.exp(2.0 / 0.5))
    assert torch.equal(weights, particle_weights(energies + 1000.0, 0.5))


def test_a_particle_without_an_energy_is_never_drawn():
    weights = particle_weights(torch.tensor([math.nan, 1.0, math.inf, -math.inf, 2.0]), 1.0)
    assert weights[[0, 2, 3]].tolist() == [0.0, 0.0, 0.0]
    assert {0, 2, 3}.isdisjoint(systematic_rows(weights, seeded()).tolist())
    with pytest.raises(ValueError, match="none of 2 particles has a finite energy"):
        particle_weights(torch.tensor([math.nan, math.inf]), 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_systematic_resampling_draws_each_row_within_one_of_its_share(seed):
    n = 50
    weights = particle_weights(torch.randn(n, generator=seeded(seed)), 0.7)
    rows = systematic_rows(weights, seeded(seed + 100))
    assert len(rows) == n
    counts = torch.bincount(rows, minlength=n)
    assert float((counts - n * weights).abs().max()) < 1.0


def test_systematic_resampling_draws_each_row_by_its_weight_on_average():
    weights = torch.tensor([0.05, 0.5, 0.15, 0.3], dtype=torch.float64)
    generator = seeded()
    drawn = torch.cat([systematic_rows(weights, generator) for _ in range(4000)])
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    # the count of a row is its floor or ceiling: a standard error of at most 0.5 / sqrt(4000) / 4
    torch.testing.assert_close(shares.double(), weights, rtol=0, atol=0.008)


def test_equal_weights_keep_every_particle_once():
    rows = systematic_rows(torch.full((7,), 1 / 7, dtype=torch.float64), seeded(3))
    assert rows.tolist() == list(range(7))


@pytest.mark.parametrize("s", [0.0, 0.25, 0.8, 1.0])
def test_a_perturbation_keeps_the_variance(s):
    z = WIDTH * torch.randn(200_000, generator=seeded(1))
    moved = perturbed(z, s, WIDTH, seeded(2))
    # standard error of a standard deviation: WIDTH / sqrt(400,000)
    assert float(moved.std()) == pytest.approx(WIDTH, rel=0.008)
    correlation = float((moved * z).mean()) / WIDTH**2
    assert correlation == pytest.approx(math.sqrt(1 - s * s), abs=0.012)


def test_energies_fall_as_the_tilt_of_a_gaussian_says():
    # Samples are Gaussian with the spread r of the few steps. Weights exp(x / tau) move their mean
    # by r^2 / tau; the perturbation keeps sqrt(1 - s^2) of it.
    base = few_steps(searched(40_000, rounds=0))
    spread = float(base[:, 0].std())
    after = few_steps(searched(40_000, rounds=1, temperature=0.5, perturbation=0.25))
    wanted = spread**2 / 0.5 * math.sqrt(1 - 0.25**2)
    assert float(after[:, 0].mean()) == pytest.approx(wanted, abs=0.05)
    assert abs(float(after[:, 1].mean())) < 0.05


def test_more_rounds_lower_the_energy_further_and_none_change_nothing():
    means = [float(energy(few_steps(searched(rounds=k))).mean()) for k in (0, 1, 2, 4)]
    assert means == sorted(means, reverse=True)
    assert means[0] - means[1] > 0.2
    z = torch.randn(4, 3, generator=seeded())
    same = particle_search(
        few_steps,
        energy,
        z,
        rounds=0,
        temperature=1.0,
        perturbation=0.5,
        width=WIDTH,
        generator=seeded(),
    )
    assert torch.equal(same, z)


def test_the_same_seed_gives_the_same_particles():
    assert torch.equal(searched(64, seed=4), searched(64, seed=4))
    assert not torch.equal(searched(64, seed=4), searched(64, seed=5))


def test_rounds_are_shown_with_the_estimates_and_energies_they_computed():
    seen = []
    generator = seeded()
    z = start_noise((16, 3), START, generator, sigma_data=SPREAD)
    particle_search(
        few_steps,
        energy,
        z,
        rounds=2,
        temperature=0.5,
        perturbation=0.25,
        width=WIDTH,
        generator=generator,
        watch=lambda k, x, e: seen.append((k, x, e)),
    )
    assert [k for k, _, _ in seen] == [0, 1]
    assert torch.equal(seen[0][1], few_steps(z))
    for _, x, found in seen:
        assert torch.equal(found, energy(x))


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        searched(8, temperature=0.0)
    with pytest.raises(ValueError, match=r"perturbation must lie in \[0, 1\], got 1.5"):
        searched(8, perturbation=1.5)
