"""Samplers against closed forms: a correlated Gaussian, a mixture of two, and the equation solved
by torchdiffeq.

No network here: the denoisers are exact, so what is off is off by the sampler's steps or by
Monte-Carlo error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import pytest
import torch
from torch import Tensor
from torchdiffeq import odeint

from diffusion.core.samplers import (
    SAMPLERS,
    ddim,
    dpm_solver_2m,
    euler_maruyama,
    heun,
    noised,
    start_noise,
)
from diffusion.core.schedule import Cosine, Karras, Schedule, VPLinear, levels

N = 5_000
ORDERS = {"heun": 2, "ddim": 1, "dpm_solver_2m": 2}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ancestral(denoise, z: Tensor, rungs: Tensor, generator: torch.Generator) -> Tensor:
    return ddim(denoise, z, rungs, generator, eta=1.0)


STOCHASTIC: dict[str, Callable[..., Tensor]] = {
    "euler_maruyama": euler_maruyama,
    "ancestral": ancestral,
}


def run(name: str, denoise, z: Tensor, rungs: Tensor, seed: int = 1) -> Tensor:
    if name in SAMPLERS:
        return SAMPLERS[name](denoise, z, rungs)
    return STOCHASTIC[name](denoise, z, rungs, seeded(seed))


@dataclass
class Gaussian:
    """Correlated data of which everything is known."""

    mean: Tensor
    covariance: Tensor

    @cached_property
    def principal(self) -> tuple[Tensor, Tensor]:
        variance, basis = torch.linalg.eigh(self.covariance)
        return variance, basis

    def power(self, of_variance: Callable[[Tensor], Tensor]) -> Tensor:
        variance, basis = self.principal
        return (basis * of_variance(variance)) @ basis.T

    def denoise(self, z: Tensor, s: Tensor) -> Tensor:
        return self.mean + (z - self.mean) @ self.power(lambda v: v / (v + s**2))

    def flow(self, z: Tensor, s: float, s_next: float) -> Tensor:
        """The probability flow solved: each component shrinks as its noised standard deviation
        does."""
        return self.mean + (z - self.mean) @ self.power(
            lambda v: ((v + s_next**2) / (v + s**2)).sqrt()
        )

    def draw(self, n: int, seed: int = 0) -> Tensor:
        fresh = torch.randn(n, len(self.mean), generator=seeded(seed), dtype=torch.float64)
        return self.mean + fresh @ self.power(torch.sqrt)


CORRELATED = Gaussian(
    torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64),
    torch.tensor([[1.0, 0.6, 0.0], [0.6, 0.8, -0.3], [0.0, -0.3, 1.2]], dtype=torch.float64),
)


@dataclass
class Mixture:
    """Two round modes in the plane, of mean 0 overall."""

    weights: tuple[float, float] = (0.3, 0.7)
    std: float = 0.2

    @property
    def modes(self) -> Tensor:
        return torch.tensor([[1.4, 0.7], [-0.6, -0.3]], dtype=torch.float64)

    def denoise(self, z: Tensor, s: Tensor) -> Tensor:
        variance = self.std**2 + s**2
        away = z[:, None] - self.modes  # (B, 2 modes, 2)
        logits = torch.tensor(self.weights, dtype=torch.float64).log() - away.square().sum(
            dim=2
        ) / (2 * variance)
        within = self.modes + self.std**2 / variance * away
        return (torch.softmax(logits, dim=1)[:, :, None] * within).sum(dim=1)


def within_errors(found: Tensor, wanted: Tensor, error: Tensor) -> bool:
    """Within five standard errors: a right sampler fails at one of a dozen numbers for one seed in
    100,000."""
    return bool(((found - wanted).abs() < 5 * error).all())


def check_moments(x: Tensor, mean: Tensor, covariance: Tensor) -> None:
    n, variance = len(x), covariance.diagonal()
    assert within_errors(x.mean(dim=0), mean, (variance / n).sqrt())
    error = (
        (variance[:, None] * variance + covariance**2) / n
    ).sqrt()  # of a sample covariance of Gaussians
    assert within_errors(torch.cov(x.T), covariance, error)


# Steps are so many that what they leave is about one standard error, 2 % of a variance, or less. In
# a step from q = v +
# s^2 to q' Euler-Maruyama leaves v^2 (q - q')^2 / (q q'^2) too much of a variance v; ancestral
# sampling leaves v^3
# (q - q')^2 / (q q'^2 s^2) and DDIM v^2 (s - s')^2 / q^2 too little. Summed over 600 steps from
# pure noise, or 200 from
# level .7, that is at most 1.8, 2.5 and .9 % of v. The second-order ones, whose maps of a Gaussian
# are matrices, leave
# up to 2.7 % of the smallest eigenvalue, .24, and 1.6 % of the others.
N_STEPS = {"heun": 40, "dpm_solver_2m": 60, "ddim": 600, "euler_maruyama": 600, "ancestral": 600}


@pytest.mark.parametrize("schedule", [VPLinear(), Karras()], ids=["vp", "karras"])
@pytest.mark.parametrize("name", N_STEPS)
def test_pure_noise_becomes_a_correlated_gaussian(name, schedule):
    rungs = levels(schedule, N_STEPS[name])
    # data of mean m and width about 1 at a level of 80 or 152 differ from this start by m / 80,
    # half a standard error
    z = start_noise((N, 3), float(rungs[0]), seeded()).double()
    check_moments(run(name, CORRELATED.denoise, z, rungs), CORRELATED.mean, CORRELATED.covariance)


@pytest.mark.parametrize(
    "schedule", [VPLinear(0.01, 2.0), Karras(), Cosine()], ids=["vp", "karras", "cosine"]
)
@pytest.mark.parametrize("name", N_STEPS)
def test_noised_data_become_data_again(name, schedule):
    z = noised(CORRELATED.draw(N), 0.7, seeded(2))
    out = run(name, CORRELATED.denoise, z, levels(schedule, N_STEPS[name] // 3, start=0.7))
    check_moments(out, CORRELATED.mean, CORRELATED.covariance)


@pytest.mark.parametrize("name", N_STEPS)
def test_pure_noise_becomes_a_mixture(name):
    mixture, n = Mixture(), 4_000
    # the errors above for v = .04: 2.3, 2.6 and 1.2 % of it, against standard errors of 2.7 and 4 %
    # in the two modes
    rungs = levels(Karras(sigma_max=20.0), 60 if ORDERS.get(name) == 2 else 400)
    z = start_noise((n, 2), float(rungs[0]), seeded()).double()
    out = run(name, mixture.denoise, z, rungs)
    first = out[:, 0] > 0.4  # half way between modes that are eleven widths apart
    share = first.double().mean()
    assert abs(share - 0.3) < 5 * math.sqrt(0.3 * 0.7 / n)
    round_ = 0.04 * torch.eye(2, dtype=torch.float64)
    check_moments(out[first], mixture.modes[0], round_)
    check_moments(out[~first], mixture.modes[1], round_)


@pytest.mark.parametrize("name", ORDERS)
def test_halving_the_steps_shows_the_order(name):
    z = CORRELATED.draw(8) * 5
    errors = []
    for n in (80, 160, 320):
        # from 5 to .1, so that no step to level 0, of first order in all, is part of it
        rungs = Karras(0.1, 5.0).level(torch.linspace(1, 0, n + 1, dtype=torch.float64))
        found = SAMPLERS[name](CORRELATED.denoise, z, rungs)
        errors.append(float((found - CORRELATED.flow(z, 5.0, 0.1)).norm()))
    orders = [math.log2(errors[i] / errors[i + 1]) for i in range(2)]
    # the next term of the error is 1/n of the first, times a constant of order 1 to 10: .1 at n =
    # 80, half at 160
    assert orders == pytest.approx([ORDERS[name]] * 2, abs=0.1)
    assert abs(orders[1] - ORDERS[name]) < abs(orders[0] - ORDERS[name])


@pytest.mark.parametrize("name", ORDERS)
def test_the_flow_of_a_mixture_is_the_one_that_torchdiffeq_solves(name):
    mixture, start, end = Mixture(), 5.0, 0.1
    z = start * torch.randn(20, 2, generator=seeded(3), dtype=torch.float64)

    def slope(s: Tensor, at: Tensor) -> Tensor:
        return (at - mixture.denoise(at, s)) / s

    span = torch.tensor([start, end], dtype=torch.float64)
    exact = odeint(slope, z, span, method="dopri8", rtol=1e-10, atol=1e-12)[-1]
    found = [
        SAMPLERS[name](
            mixture.denoise,
            z,
            Karras(end, start).level(torch.linspace(1, 0, n + 1, dtype=torch.float64)),
        )
        for n in (200, 400)
    ]
    change = (found[1] - found[0]).abs().max()
    assert change < 0.1  # of modes 2 apart
    # at order p the finer one is off by change / (2^p - 1); a tenth more for the terms that are
    # left out
    error = (found[1] - exact).abs().max()
    assert error < 1.1 * change / (2 ** ORDERS[name] - 1) + 1e-8


def test_one_step_of_each_is_the_one_computed_by_hand():
    z, rungs = torch.tensor([[4.0]], dtype=torch.float64), torch.tensor([2.0, 1.0])

    def denoise(z: Tensor, s: Tensor) -> Tensor:
        return z / (1 + s**2)

    # D = .8, slope (4 - .8) / 2 = 1.6, Euler: 4 - 1.6
    assert float(ddim(denoise, z, rungs)) == pytest.approx(2.4)
    assert float(dpm_solver_2m(denoise, z, rungs)) == pytest.approx(2.4)
    # there D = 1.2, slope 1.2; the mean of both slopes is 1.4
    assert float(heun(denoise, z, rungs)) == pytest.approx(2.6)
    # Euler-Maruyama without its noise: 4 + (4 - 1) / 4 (.8 - 4)
    assert float(euler_maruyama(denoise, z, rungs, seeded(), temperature=0.0)) == pytest.approx(1.6)
    # with it, sqrt(4 - 1) times the same draw
    fresh = torch.randn(1, 1, generator=seeded(), dtype=torch.float64)
    half = euler_maruyama(denoise, z, rungs, seeded(), temperature=0.5)
    assert float(half) == pytest.approx(1.6 + 0.5 * math.sqrt(3) * float(fresh))
    # eta 1: noise sqrt(3) / 2 of level 1, the rest of its variance, 1/4, stays along z - D: .8 + .5
    # / 2 * 3.2
    assert float(ddim(denoise, z, rungs, seeded(), eta=1.0)) == pytest.approx(
        1.6 + math.sqrt(0.75) * float(fresh)
    )


def test_two_steps_of_the_multistep_solver_are_those_computed_by_hand():
    z, rungs = torch.tensor([[4.0]], dtype=torch.float64), torch.tensor([2.0, 1.0, 0.25])
    found = dpm_solver_2m(lambda z, s: z / (1 + s**2), z, rungs)
    # D = .8 at z = 4; z = 2.4, D = 1.2; h = log 4 after log 2: D + (log 4 / (2 log 2)) (1.2 - .8) =
    # 1.6
    assert float(found) == pytest.approx(0.25 * 2.4 + 0.75 * 1.6)


@pytest.mark.parametrize("name", N_STEPS)
def test_calls_of_the_denoiser_are_counted(name):
    asked = []

    def denoise(z: Tensor, s: Tensor) -> Tensor:
        asked.append(float(s))
        return CORRELATED.denoise(z, s)

    rungs = levels(Karras(), 7)
    run(name, denoise, torch.zeros(2, 3, dtype=torch.float64), rungs)
    assert len(asked) == (13 if name == "heun" else 7)
    assert set(asked) == set(rungs[:-1].tolist())  # the network is never asked about level 0


@pytest.mark.parametrize(
    "schedule", [VPLinear(), Cosine(), Karras()], ids=["vp", "cosine", "karras"]
)
@pytest.mark.parametrize("n", [1, 2, 200])
@pytest.mark.parametrize("name", N_STEPS)
def test_a_sure_denoiser_is_followed_to_the_bit(name, n, schedule: Schedule):
    answer = torch.tensor([[0.1, -7.3], [1e-3, 2.0]])
    rungs = levels(schedule, n)
    out = run(name, lambda z, s: answer, start_noise((2, 2), float(rungs[0]), seeded()), rungs)
    assert torch.equal(out, answer)


@pytest.mark.parametrize("name", N_STEPS)
def test_the_same_seed_gives_the_same_bits(name):
    rungs = levels(VPLinear(), 10)

    def sample(seed: int) -> Tensor:
        z = start_noise((50, 3), float(rungs[0]), seeded(4)).double()
        return run(name, CORRELATED.denoise, z, rungs, seed)

    assert torch.equal(sample(1), sample(1))
    assert torch.equal(sample(1), sample(2)) == (name in SAMPLERS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", N_STEPS)
def test_the_dtype_and_shape_stay(name, dtype):
    out = run(
        name, lambda z, s: z / (1 + s**2), torch.ones(4, 5, 2, dtype=dtype), levels(VPLinear(), 3)
    )
    assert (out.dtype, out.shape) == (dtype, (4, 5, 2))


def test_no_gradients_are_kept():
    weight = torch.ones(1, requires_grad=True)
    for name in N_STEPS:
        assert not run(
            name, lambda z, s: weight * z, torch.ones(2, 1), levels(VPLinear(), 3)
        ).requires_grad


def test_noise_has_the_width_that_was_asked_for():
    # a sample variance of N numbers has relative standard error sqrt(2 / N)
    x = torch.full((N, 3), 2.0, dtype=torch.float64)
    added = noised(x, 0.5, seeded()) - x
    assert added.dtype == torch.float64
    assert float(added.var()) == pytest.approx(0.25, rel=5 * math.sqrt(2 / (3 * N)))
    z = start_noise((N, 3), 2.0, seeded(), sigma_data=1.5, scale=0.5)
    assert float(z.var()) == pytest.approx((1.5**2 + 2.0**2) / 4, rel=5 * math.sqrt(2 / (3 * N)))
    # of a variance-preserving process, the standard normal
    rung = VPLinear().level(torch.tensor(0.3))
    standard = VPLinear().alpha(torch.tensor(0.3)) * start_noise((4, 2), float(rung), seeded())
    torch.testing.assert_close(standard, torch.randn(4, 2, generator=seeded()))


def test_ddim_refuses_what_it_cannot_do():
    z, rungs = torch.zeros(1, 1), levels(VPLinear(), 3)
    with pytest.raises(ValueError, match=r"\[0, 1\], got 1\.5"):
        ddim(lambda z, s: z, z, rungs, seeded(), eta=1.5)
    with pytest.raises(ValueError, match="pass a generator"):
        ddim(lambda z, s: z, z, rungs, eta=0.5)
