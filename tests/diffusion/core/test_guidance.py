"""Guidance against closed forms: on Gaussians every guided denoiser is linear, so the guided flow
can be solved."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy.integrate import quad
from torch import Tensor, nn

from diffusion.core.denoiser import Denoiser
from diffusion.core.guidance import clipped, conditional, energy_guided, inpainted, unconditional
from diffusion.core.samplers import SAMPLERS, ddim, dpm_solver_2m, euler_maruyama, heun
from diffusion.core.schedule import Karras, levels

SLOPE, WITHIN = (
    1.5,
    0.25,
)  # a design is SLOPE * label + a normal of variance WITHIN, the label a standard normal
WHOLE = SLOPE**2 + WITHIN


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def fine_levels(start: float, n: int = 400) -> Tensor:
    """Levels in float64 down to .01: a step to 0 would be of first order."""
    return Karras(0.01, start).level(torch.linspace(1, 0, n + 1, dtype=torch.float64))


class LabelledGaussian(nn.Module):
    """The network, in terms of x0, that knows the data above; counts its calls and rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []
        self.extra: Tensor | None = None

    def forward(self, z: Tensor, noise: Tensor, condition: Tensor, extra: Tensor | None) -> Tensor:
        self.rows.append(len(z))
        self.extra = extra
        s = (4 * noise).exp()[:, None]
        z = z * (1 + s**2).sqrt()
        label, known = condition[:, :1], condition[:, 1:]
        given = (WITHIN * z + s**2 * SLOPE * label) / (WITHIN + s**2)
        return torch.where(known > 0, given, WHOLE * z / (WHOLE + s**2))


def labelled() -> tuple[Denoiser, LabelledGaussian]:
    network = LabelledGaussian()
    return Denoiser(network, "x0", n_conditions=1), network


def test_the_guided_flow_is_the_closed_form():
    denoiser, _ = labelled()
    z, label, start, end = drawn(6, 1) * 5, drawn(6, 1, seed=1), 5.0, 0.01
    # w = 2: dz/ds = s (3 (z - m) / q - 2 z / (q + r)), with q = WITHIN + s^2, r = WHOLE - WITHIN
    # and m = SLOPE * label.
    # Without m it is solved by q^1.5 / (q + r); with it, by that times z_0's share and 3 m times
    # the integral of
    # (q + r) / (2 q^2.5) from the level's q up to the start's.
    r, q_0, q_1 = WHOLE - WITHIN, WITHIN + start**2, WITHIN + end**2

    def alone(q: float) -> float:
        return q**1.5 / (q + r)

    def integral(q: float) -> float:
        return -(q**-0.5) - r / 3 * q**-1.5

    wanted = alone(q_1) * (z / alone(q_0) + 3 * SLOPE * label * (integral(q_0) - integral(q_1)))
    rungs = fine_levels(start)
    guide = conditional(denoiser, label, weight=2.0)
    fine, coarse = heun(guide, z, rungs), heun(guide, z, rungs[::2])
    # second order: off by a third of what halving the steps changes, here with half as much again
    assert float((fine - coarse).abs().max()) < 1e-2
    assert float((fine - wanted).abs().max()) < 0.5 * float((fine - coarse).abs().max())


def test_guidance_is_one_call_of_both_halves():
    denoiser, network = labelled()
    z, label, extra = drawn(4, 1), drawn(4, 1, seed=1), drawn(4, 2, seed=2)
    s = torch.tensor(0.8, dtype=torch.float64)
    given, free = denoiser(z, s, label), denoiser(z, s)
    network.rows.clear()
    guided = conditional(denoiser, label, weight=2.0, extra=extra)(z, s)
    assert network.rows == [8]
    assert torch.equal(network.extra, torch.cat([extra, extra]))
    torch.testing.assert_close(guided, 3 * given - 2 * free, rtol=1e-12, atol=1e-12)


def test_weight_0_is_plain_conditioning():
    denoiser, network = labelled()
    z, label, s = drawn(4, 1), drawn(4, 1, seed=1), torch.tensor(0.8, dtype=torch.float64)
    wanted = denoiser(z, s, label)
    network.rows.clear()
    assert torch.equal(conditional(denoiser, label)(z, s), wanted)
    assert network.rows == [4]


def test_unconditional_leaves_the_condition_out():
    denoiser, network = labelled()
    z, s, extra = drawn(4, 1), torch.tensor(0.8, dtype=torch.float64), drawn(4, 2)
    torch.testing.assert_close(
        unconditional(denoiser, extra=extra)(z, s), WHOLE * z / (WHOLE + s**2)
    )
    assert network.extra is extra


MEAN = torch.tensor([0.5, -0.3], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 0.8]], dtype=torch.float64)
UPHILL = torch.tensor([0.7, -1.1], dtype=torch.float64)


def gaussian(mean: Tensor, covariance: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    def denoise(z: Tensor, s: Tensor) -> Tensor:
        whole = covariance + s**2 * torch.eye(len(mean), dtype=z.dtype)
        return mean + torch.linalg.solve(whole, covariance @ (z - mean)[..., None])[..., 0]

    return denoise


def energy(x: Tensor) -> Tensor:
    return x @ UPHILL


@pytest.mark.parametrize("s", [0.01, 0.5, 2.0, 80.0])
def test_through_the_denoiser_a_linear_energy_tilts_a_gaussian_exactly(s):
    # p(x) exp(-scale * a . x) is the same Gaussian about mean - scale * covariance a, and this is
    # its denoiser
    level = torch.tensor(s, dtype=torch.float64)
    z = drawn(5, 2) * s
    guided = energy_guided(gaussian(MEAN, COVARIANCE), energy, 0.8, through_denoiser=True)
    tilted = gaussian(MEAN - 0.8 * COVARIANCE @ UPHILL, COVARIANCE)
    torch.testing.assert_close(guided(z, level), tilted(z, level), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("s", [0.01, 0.5, 2.0, 80.0])
def test_the_cheaper_form_is_exact_for_data_of_unit_variance(s):
    level, one = torch.tensor(s, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    z = drawn(5, 2) * s
    guided = energy_guided(gaussian(MEAN, one), energy, 0.8)
    torch.testing.assert_close(
        guided(z, level), gaussian(MEAN - 0.8 * UPHILL, one)(z, level), rtol=1e-10, atol=1e-10
    )


def test_the_shift_of_the_cheaper_form_is_the_closed_form():
    # Variance v < 1 about 0: dz/ds = s z / (v + s^2) + scale a s / (1 + s^2). With p = sqrt(v +
    # s^2) the solution from
    # z = 0 is -scale a p times the integral of dp / (1 - v + p^2), an arc tangent.
    v, start, end, scale = 0.25, 5.0, 0.01, 0.8
    z, rungs = torch.zeros(1, 2, dtype=torch.float64), fine_levels(start)
    guide = energy_guided(gaussian(z[0], v * torch.eye(2, dtype=torch.float64)), energy, scale)
    rest, p_0, p_1 = math.sqrt(1 - v), math.sqrt(v + start**2), math.sqrt(v + end**2)
    wanted = -scale * UPHILL * p_1 * (math.atan(p_0 / rest) - math.atan(p_1 / rest)) / rest
    fine, coarse = heun(guide, z, rungs), heun(guide, z, rungs[::2])
    assert float((fine - coarse).abs().max()) < 1e-2
    assert float((fine - wanted).abs().max()) < 0.5 * float(
        (fine - coarse).abs().max()
    )  # as for the guided flow


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_samplers_follow_an_energy_although_they_keep_no_gradients(sampler):
    guide = energy_guided(gaussian(MEAN, COVARIANCE), energy, 0.8, through_denoiser=True)
    tilted = MEAN - 0.8 * COVARIANCE @ UPHILL
    z = tilted.repeat(5, 1)  # the tilted mean stays where it is under the tilted flow
    torch.testing.assert_close(sampler(guide, z, fine_levels(5.0, 10)), z, rtol=1e-10, atol=1e-10)


def test_long_shifts_are_cut_row_by_row():
    def flat(z: Tensor, s: Tensor) -> Tensor:
        return torch.zeros_like(z)

    def squares(x: Tensor) -> Tensor:
        return (torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], dtype=x.dtype) * x).sum(dim=1)

    z, s = drawn(3, 2), torch.tensor(1.0, dtype=torch.float64)
    # the gradient is multiplied by scale * s^2 / (1 + s^2) = 1
    free = energy_guided(flat, squares, 2.0)(z, s)
    torch.testing.assert_close(free, -torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]).double())
    cut = energy_guided(flat, squares, 2.0, max_norm=1.0)(z, s)
    torch.testing.assert_close(cut, -torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]).double())


def test_the_cheaper_form_keeps_no_graph_of_the_denoiser():
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    seen = []

    def denoise(z: Tensor, s: Tensor) -> Tensor:
        seen.append(torch.is_grad_enabled())
        return weight * z

    with torch.no_grad():
        out = energy_guided(denoise, energy, 1.0)(drawn(2, 2), torch.tensor(1.0))
    assert seen == [False]
    assert not out.requires_grad


def test_a_gradient_in_place_of_an_energy_gives_the_same_guidance():
    z, s = drawn(5, 2), torch.tensor(0.7, dtype=torch.float64)
    denoise = gaussian(MEAN, COVARIANCE)
    by_energy = energy_guided(denoise, lambda x: x.square().sum(dim=1), 0.3)
    seen = []

    def slope(x: Tensor) -> Tensor:
        seen.append(x)
        return 2 * x

    by_gradient = energy_guided(denoise, None, 0.3, gradient=slope)
    torch.testing.assert_close(by_gradient(z, s), by_energy(z, s), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(seen[0], denoise(z, s))  # at the estimate, not at the noised design
    assert not seen[0].requires_grad


def test_the_noisiest_levels_are_not_guided_and_cost_no_gradient():
    levels_of_gradients = []

    def slope(x: Tensor) -> Tensor:
        levels_of_gradients.append(True)
        return UPHILL.expand_as(x)

    denoise, z = gaussian(MEAN, COVARIANCE), drawn(3, 2)
    guide = energy_guided(denoise, None, 1.0, gradient=slope, max_level=2.0)
    above, at = (torch.tensor(s, dtype=torch.float64) for s in (2.1, 2.0))
    torch.testing.assert_close(guide(z, above), denoise(z, above), rtol=0, atol=0)
    assert levels_of_gradients == []
    assert float((guide(z, at) - denoise(z, at)).abs().max()) > 0.1
    assert levels_of_gradients == [True]


def test_energy_guidance_needs_one_source_of_gradients():
    denoise = gaussian(MEAN, COVARIANCE)
    with pytest.raises(ValueError, match="either an energy or a gradient"):
        energy_guided(denoise, None, 1.0)
    with pytest.raises(ValueError, match="either an energy or a gradient"):
        energy_guided(denoise, energy, 1.0, gradient=lambda x: x)
    with pytest.raises(ValueError, match="cannot go through the denoiser"):
        energy_guided(denoise, None, 1.0, gradient=lambda x: x, through_denoiser=True)


HELD = torch.tensor([True, False])


def unit_pair(correlation: float) -> Callable[[Tensor, Tensor], Tensor]:
    covariance = torch.tensor([[1.0, correlation], [correlation, 1.0]], dtype=torch.float64)
    return gaussian(torch.zeros(2, dtype=torch.float64), covariance)


def started(noise: Tensor, value: float, s: float) -> tuple[Tensor, Tensor]:
    known = torch.full_like(noise, value)
    return known, torch.where(HELD, known, 0.0) + s * noise


@pytest.mark.parametrize("name", [*SAMPLERS, "euler_maruyama"])
def test_the_known_part_comes_out_exactly(name):
    noise = drawn(50, 2).float()
    known, z = started(noise, 1.7, 80.0)
    guide = inpainted(lambda z, s: 0.3 * z, known, HELD, noise)
    rungs = levels(Karras(), 12)
    out = (
        euler_maruyama(guide, z, rungs, seeded(1))
        if name == "euler_maruyama"
        else SAMPLERS[name](guide, z, rungs)
    )
    assert torch.equal(out[:, 0], known[:, 0])
    assert (out[:, 1] != known[:, 1]).all()


@pytest.mark.parametrize("sampler", [ddim, heun, dpm_solver_2m])
def test_the_known_part_carries_the_noise_of_the_level_on_the_way(sampler):
    noise = drawn(5, 2)
    known, z = started(noise, 1.7, 5.0)
    out = sampler(inpainted(unit_pair(0.8), known, HELD, noise), z, fine_levels(5.0, 10))
    torch.testing.assert_close(out[:, 0], (known + 0.01 * noise)[:, 0], rtol=1e-12, atol=1e-12)


def test_the_denoiser_is_shown_the_known_part_under_noise():
    seen = []

    def denoise(z: Tensor, s: Tensor) -> Tensor:
        seen.append(z)
        return z

    noise, known, z = drawn(3, 2), drawn(3, 2, seed=1), drawn(3, 2, seed=2)
    out = inpainted(denoise, known, HELD, noise)(z, torch.tensor(2.0, dtype=torch.float64))
    assert torch.equal(seen[0][:, 0], (known + 2 * noise)[:, 0])
    assert torch.equal(seen[0][:, 1], z[:, 1])
    assert torch.equal(out, torch.where(HELD, known, z))


def test_uncorrelated_features_are_left_to_themselves():
    noise = drawn(20, 2)
    known, z = started(noise, 1.7, 5.0)
    free, rungs = unit_pair(0.0), fine_levels(5.0, 20)
    held = heun(inpainted(free, known, HELD, noise), z, rungs)
    torch.testing.assert_close(held[:, 1], heun(free, z, rungs)[:, 1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("correlation", [0.05, 0.8, -0.8, 0.99])
def test_in_painting_moves_the_rest_as_far_as_the_closed_form_says(correlation):
    # Without noise (everything is linear, so this is the mean) the rest u follows, with q = 1 + s^2
    # and c the
    # correlation, du/dq = (q u - c known) / (2 (q^2 - c^2)); from u = 0 at the start
    #     u = (q^2 - c^2)^(1/4) * c * known / 2 * integral of (p^2 - c^2)^(-5/4) dp from q to the
    # start's.
    start, end, value = 80.0, 0.01, 1.7
    q_0, q_1 = 1 + start**2, 1 + end**2
    integral = quad(lambda p: (p**2 - correlation**2) ** -1.25, q_1, q_0, epsabs=1e-12, limit=500)[
        0
    ]
    wanted = (q_1**2 - correlation**2) ** 0.25 * correlation * value / 2 * integral
    known, z = started(torch.zeros(1, 2, dtype=torch.float64), value, start)
    guide = inpainted(unit_pair(correlation), known, HELD, torch.zeros_like(known))
    rungs = fine_levels(start)
    fine, coarse = (float(heun(guide, z, steps)[0, 1]) for steps in (rungs, rungs[::2]))
    assert abs(fine - coarse) < 1e-2 * abs(wanted)
    assert abs(fine - wanted) < 0.5 * abs(fine - coarse)  # second order, as for the guided flow
    # the way to the conditional mean that the docstring states
    share = {0.05: 0.33, 0.8: 0.43, 0.99: 0.69}[abs(correlation)]
    assert fine / (correlation * value) == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(("correlation", "share"), [(0.05, 0.50), (0.8, 0.63), (0.99, 0.88)])
def test_in_painting_with_fresh_noise_moves_the_rest_further(correlation, share):
    # the mean of Euler-Maruyama is its path without noise; there u = known * (1 - sqrt(1 - c^2)) /
    # c at level 0
    closed = (1 - math.sqrt(1 - correlation**2)) / correlation**2
    assert closed == pytest.approx(share, abs=0.006)
    known, z = started(torch.zeros(1, 2, dtype=torch.float64), 1.7, 80.0)
    guide = inpainted(unit_pair(correlation), known, HELD, torch.zeros_like(known))
    found = []
    for n in (200, 400):
        out = euler_maruyama(guide, z, levels(Karras(), n), seeded(), temperature=0.0)
        found.append(float(out[0, 1]) / (correlation * 1.7))
    # first order: the finer one is off by what halving the steps changed, here with half as much
    # again; the start at
    # level 80 in place of infinity leaves 1 / 80^2
    assert abs(found[1] - found[0]) < 0.03
    assert abs(found[1] - closed) < 1.5 * abs(found[1] - found[0]) + 80.0**-2


@pytest.mark.parametrize("name", SAMPLERS)
def test_clipped_estimates_keep_samples_in_the_box(name):
    low, high = torch.tensor([-0.5, -0.1]), torch.tensor([0.2, 3.0])
    rungs = levels(Karras(), 6)
    z = 80 * torch.randn(200, 2, generator=seeded())
    out = SAMPLERS[name](clipped(lambda z, s: 1.1 * z, low, high), z, rungs)
    assert ((out >= low) & (out <= high)).all()
    assert (out == low).any()
    assert (out == high).any()


def test_clipped_takes_numbers_and_leaves_the_inside_alone():
    z = torch.tensor([[-2.0, 0.3], [0.9, 5.0]], dtype=torch.float64)
    out = clipped(lambda z, s: z, -1.0, 1.0)(z, torch.tensor(1.0))
    assert out.tolist() == [[-1.0, 0.3], [0.9, 1.0]]
    assert out.dtype == torch.float64
