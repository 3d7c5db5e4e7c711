"""The loss by hand, its weights, and what is known."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from diffusion.core.denoiser import Denoiser, Parameterisation
from diffusion.core.losses import denoising_loss


class Recorder(nn.Module):
    """Returns what it is told to and remembers what it was shown."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(
        self, z: Tensor, noise: Tensor, condition: Tensor | None, extra: Tensor | None
    ) -> Tensor:
        self.z, self.condition, self.extra = z, condition, extra
        return self.answer


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(**settings: Tensor) -> float:
    """The loss of two designs of two features whose errors are (1, 2) and (3, -1); F returns the
    design."""
    x = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    denoiser = Denoiser(Recorder(torch.tensor([[1.0, 3.0], [5.0, 2.0]])), "x0")
    return float(
        denoising_loss(denoiser, x, torch.tensor([0.5, 2.0]), torch.ones(2, 2), **settings)
    )


def test_the_loss_is_the_one_computed_by_hand():
    assert by_hand() == pytest.approx((1 + 4 + 9 + 1) / 4)


def test_rows_and_channels_have_weights():
    assert by_hand(row_weight=torch.tensor([2.0, 0.5])) == pytest.approx(
        (2 * (1 + 4) + 0.5 * (9 + 1)) / 4
    )
    assert by_hand(channel_weight=torch.tensor([1.0, 10.0])) == pytest.approx((1 + 40 + 9 + 10) / 4)
    both = by_hand(row_weight=torch.tensor([2.0, 0.5]), channel_weight=torch.tensor([1.0, 10.0]))
    assert both == pytest.approx((2 * 41 + 0.5 * 19) / 4)


def test_what_is_known_counts_nothing():
    assert by_hand(known=torch.tensor([[True, False], [False, False]])) == pytest.approx(
        (4 + 9 + 1) / 4
    )
    assert by_hand(known=torch.tensor([True, False])) == pytest.approx(
        (4 + 1) / 4
    )  # extends to both rows


@pytest.mark.parametrize("parameterisation", get_args(Parameterisation))
def test_what_is_known_carries_no_noise(parameterisation):
    x, noise, level = (
        drawn(3, 4, 2),
        drawn(3, 4, 2, seed=1),
        torch.tensor([0.1, 1.0, 9.0], dtype=torch.float64),
    )
    known = torch.tensor([True, False, True, False])[:, None]  # steps 0 and 2 of each trajectory
    network = Recorder(drawn(3, 4, 2, seed=2))
    denoiser = Denoiser(network, parameterisation)
    loss = denoising_loss(denoiser, x, level, noise, known=known)
    scale = denoiser.coefficients(level)[2].view(-1, 1, 1)
    torch.testing.assert_close(network.z[:, [0, 2]], (scale * x)[:, [0, 2]])
    torch.testing.assert_close(
        network.z[:, [1, 3]], (scale * (x + level.view(-1, 1, 1) * noise))[:, [1, 3]]
    )
    network.answer = torch.where(known, 1e6, network.answer)
    assert float(denoising_loss(denoiser, x, level, noise, known=known)) == float(loss)


def test_the_loss_of_eps_is_the_error_of_the_noise():
    x, noise, f = drawn(50, 4), drawn(50, 4, seed=1), drawn(50, 4, seed=2)
    level = torch.logspace(-3, 2, 50, dtype=torch.float64)
    loss = denoising_loss(Denoiser(Recorder(f), "eps"), x, level, noise)
    # x + s eps - x loses up to three of float64's sixteen digits at s = .001
    assert float(loss) == pytest.approx(float((f - noise).square().mean()), rel=1e-10)


@pytest.mark.parametrize("parameterisation", ["v", "edm"])
def test_the_loss_is_the_error_of_what_the_network_returns(parameterisation):
    x, noise, f = drawn(50, 4), drawn(50, 4, seed=1), drawn(50, 4, seed=2)
    level = torch.logspace(-3, 2, 50, dtype=torch.float64)
    s = level[:, None]
    if parameterisation == "v":
        wanted = (noise - s * x) / (1 + s**2).sqrt()
    else:
        # EDM, equation 8, with unit data:
        # (x - z / (1 + s^2)) sqrt(1 + s^2) / s = (s x - eps) / sqrt(1 + s^2)
        wanted = (s * x - noise) / (1 + s**2).sqrt()
    loss = denoising_loss(Denoiser(Recorder(f), parameterisation), x, level, noise)
    assert float(loss) == pytest.approx(float((f - wanted).square().mean()), rel=1e-10)


def test_condition_and_extra_reach_the_network():
    network = Recorder(torch.zeros(2, 3))
    extra = torch.ones(2, 1)
    denoising_loss(
        Denoiser(network, n_conditions=1),
        torch.zeros(2, 3),
        torch.ones(2),
        torch.zeros(2, 3),
        condition=torch.tensor([[4.0], [5.0]]),
        keep=torch.tensor([False, True]),
        extra=extra,
    )
    assert network.condition.tolist() == [[0, 0], [5, 1]]
    assert network.extra is extra
