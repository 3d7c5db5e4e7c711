"""The denoiser around a network that knows the answer, its condition, and the average of
weights."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from diffusion.core.denoiser import Denoiser, Parameterisation
from diffusion.core.schedule import VPLinear
from mbo_gym.nn.ema import EMA

ALL = get_args(Parameterisation)
LEVELS = torch.tensor([0.002, 0.3, 1.0, 7.0, 80.0], dtype=torch.float64)


class Recorder(nn.Module):
    """Returns what it is told to and remembers what it was shown."""

    def __init__(self, answer: Tensor | None = None) -> None:
        super().__init__()
        self.answer = answer

    def forward(
        self, z: Tensor, noise: Tensor, condition: Tensor | None, extra: Tensor | None
    ) -> Tensor:
        self.z, self.noise, self.condition, self.extra = z, noise, condition, extra
        return torch.zeros_like(z) if self.answer is None else self.answer


class Sum(nn.Module):
    """A network that adds up its condition columns."""

    def forward(self, z: Tensor, noise: Tensor, condition: Tensor, extra: None) -> Tensor:
        return z + (condition * torch.tensor([1.0, 10.0, 100.0])[: condition.shape[1]]).sum(
            dim=1, keepdim=True
        )


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def target(parameterisation: str, x: Tensor, noise: Tensor, s: Tensor, sigma_data: float) -> Tensor:
    """What each network is to return, as its paper has it, with alpha and sigma of the preserving
    process."""
    alpha, sigma = 1 / (1 + s**2).sqrt(), s / (1 + s**2).sqrt()
    if parameterisation == "edm":
        total = sigma_data**2 + s**2
        return (x - sigma_data**2 / total * (x + s * noise)) * total.sqrt() / (s * sigma_data)
    return {"eps": noise, "x0": x, "v": alpha * noise - sigma * x}[parameterisation]


@pytest.mark.parametrize("shape", [(5, 3), (5, 4, 3)], ids=["designs", "trajectories"])
@pytest.mark.parametrize("parameterisation", ALL)
def test_the_exact_target_gives_the_exact_design(parameterisation, shape):
    x, noise = drawn(*shape), drawn(*shape, seed=1)
    s = LEVELS.view(-1, *(1,) * (len(shape) - 1))
    network = Recorder(target(parameterisation, x, noise, s, 0.7))
    denoiser = Denoiser(network, parameterisation, sigma_data=0.7)
    # z is up to 100 times as large as x and the target is multiplied by up to 80: three digits of
    # float64's sixteen
    torch.testing.assert_close(denoiser(x + s * noise, LEVELS), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("parameterisation", ALL)
def test_one_level_stands_for_all_rows(parameterisation):
    z = drawn(4, 3)
    denoiser = Denoiser(Recorder(drawn(4, 3, seed=1)), parameterisation)
    one = torch.tensor(0.5, dtype=torch.float64)
    each = denoiser(z, one.repeat(4))
    assert torch.equal(denoiser(z, one), each)
    assert torch.equal(denoiser(z, one[None]), each)
    assert each.dtype == torch.float64


def test_edm_has_unit_variance_in_and_out_at_every_level():
    data = 0.7
    skip, out, scale = Denoiser(Recorder(), "edm", sigma_data=data).coefficients(LEVELS)
    one = torch.ones_like(LEVELS)
    # of z = x + s eps with Var x = data^2; the target is ((1 - c_skip) x - c_skip s eps) / c_out
    torch.testing.assert_close(scale**2 * (data**2 + LEVELS**2), one, rtol=1e-12, atol=0)
    variance = ((1 - skip) ** 2 * data**2 + skip**2 * LEVELS**2) / out**2
    # 1 - c_skip cancels up to five digits at the lowest level
    torch.testing.assert_close(variance, one, rtol=1e-10, atol=0)


@pytest.mark.parametrize("parameterisation", ["eps", "x0", "v"])
def test_the_others_see_a_variance_preserving_process(parameterisation):
    network, z = Recorder(), drawn(5, 3)
    Denoiser(network, parameterisation)(z, LEVELS)
    torch.testing.assert_close(network.z, z / (1 + LEVELS[:, None] ** 2).sqrt(), rtol=1e-12, atol=0)


def test_the_network_sees_a_quarter_of_the_logarithm_or_the_time():
    network, z = Recorder(), drawn(5, 3)
    Denoiser(network)(z, LEVELS)
    torch.testing.assert_close(network.noise, LEVELS.log() / 4)
    Denoiser(network, "eps", time=VPLinear(0.01, 2.0))(
        z, VPLinear(0.01, 2.0).level(torch.full((5,), 0.4).double())
    )
    torch.testing.assert_close(network.noise, torch.full((5,), 0.4).double())


def test_extra_reaches_the_network_as_it_is():
    network, extra = Recorder(), drawn(5, 2, seed=3)
    Denoiser(network)(drawn(5, 3), LEVELS, extra=extra)
    assert network.extra is extra


def test_a_flag_tells_zero_from_unknown():
    network, z = Recorder(), torch.zeros(3, 2)
    denoiser = Denoiser(network, n_conditions=2)
    condition = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]])
    denoiser(z, torch.tensor(1.0), condition, torch.tensor([True, True, False]))
    assert network.condition.tolist() == [[0, 0, 1], [1, 2, 1], [0, 0, 0]]
    denoiser(z, torch.tensor(1.0), condition)
    assert network.condition.tolist() == [[0, 0, 1], [1, 2, 1], [3, 4, 1]]
    denoiser(z, torch.tensor(1.0))
    assert network.condition.tolist() == [[0, 0, 0]] * 3


def test_without_a_flag_zeros_stand_for_unknown():
    network, z = Recorder(), torch.zeros(2, 2)
    denoiser = Denoiser(network, n_conditions=1, flag=False)
    denoiser(z, torch.tensor(1.0), torch.tensor([[1.5], [2.5]]), torch.tensor([True, False]))
    assert network.condition.tolist() == [[1.5], [0]]
    denoiser(z, torch.tensor(1.0))
    assert network.condition.tolist() == [[0], [0]]


def test_steps_of_a_trajectory_may_have_conditions_of_their_own():
    network, z = Recorder(), torch.zeros(2, 3, 4)
    denoiser = Denoiser(network, n_conditions=1, per_step=True)
    condition = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])[:, :, None]
    denoiser(z, torch.tensor(1.0), condition, torch.tensor([True, False]))
    assert network.condition.tolist() == [[[1, 1], [2, 1], [3, 1]], [[0, 0]] * 3]
    denoiser(z, torch.tensor(1.0))
    assert network.condition.tolist() == [[[0, 0]] * 3] * 2


@pytest.mark.parametrize("flag", [True, False])
def test_rows_without_their_condition_do_not_depend_on_it(flag):
    denoiser = Denoiser(Sum(), n_conditions=2, flag=flag)
    z, keep = torch.ones(4, 2), torch.tensor([True, False, True, False])
    some = denoiser(z, torch.tensor(0.5), torch.full((4, 2), 2.0), keep)
    other = denoiser(z, torch.tensor(0.5), torch.full((4, 2), torch.nan), keep)
    assert torch.equal(some[~keep], other[~keep])
    assert torch.equal(some[~keep], denoiser(z, torch.tensor(0.5))[~keep])
    assert other[keep].isnan().all()


def test_a_denoiser_without_conditions_refuses_one():
    network = Recorder()
    denoiser = Denoiser(network)
    with pytest.raises(ValueError, match=r"no condition, got one of shape \(2, 1\)"):
        denoiser(torch.zeros(2, 2), torch.tensor(1.0), torch.zeros(2, 1))
    denoiser(torch.zeros(2, 2), torch.tensor(1.0))
    assert network.condition is None


def test_an_unknown_parameterisation_is_refused():
    with pytest.raises(ValueError, match="got 'score'"):
        Denoiser(Recorder(), "score")


def test_the_average_of_weights_is_the_one_computed_by_hand():
    module = nn.BatchNorm1d(1)  # it has parameters, floating buffers and a buffer of integers
    with torch.no_grad():
        module.weight.fill_(1.0)
    average = EMA(module, 0.25)
    for value in (3.0, 5.0):
        with torch.no_grad():
            module.weight.fill_(value)
            module.running_mean.fill_(2 * value)
            module.num_batches_tracked.fill_(int(value))
        average.update()
    # decays 2/11 and min(.25, 3/12) = .25: weight 1 -> 2/11 * 1 + 9/11 * 3 = 29/11 -> (29/11) / 4 +
    # 5 * 3/4
    assert float(average.weights["weight"]) == pytest.approx(29 / 44 + 15 / 4)
    # the running mean starts at 0: -> 9/11 * 6 = 54/11 -> (54/11) / 4 + 10 * 3/4
    assert float(average.weights["running_mean"]) == pytest.approx(54 / 44 + 30 / 4)
    assert int(average.weights["num_batches_tracked"]) == 5
    assert average.n_updates == 2
    assert float(module.weight.detach()) == 5  # untouched so far
    average.copy_to_module()
    assert float(module.weight.detach()) == pytest.approx(29 / 44 + 15 / 4)
    with torch.no_grad():
        module.weight.fill_(9.0)
    assert float(average.weights["weight"]) == pytest.approx(
        29 / 44 + 15 / 4
    )  # a copy, not the weights themselves


def test_the_average_of_weights_forgets_at_its_decay_in_the_end():
    module = nn.Linear(1, 1, bias=False)
    average = EMA(module, 0.5)
    with torch.no_grad():
        module.weight.fill_(0.0)
    for _ in range(9):  # (1 + n) / (10 + n) reaches .5 at n = 8
        average.update()
    average.weights["weight"].fill_(1.0)
    average.update()
    assert float(average.weights["weight"]) == 0.5
