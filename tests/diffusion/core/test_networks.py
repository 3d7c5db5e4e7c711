"""Networks: shapes at any horizon, what reaches the output, published sizes, and seeds that leave
no trace."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from diffusion.core.denoiser import Denoiser
from diffusion.core.networks import ConcatMLP, ScoreMLP, TemporalUNet
from mbo_gym.nn.weights import seeded

B = 3


def woken(network: nn.Module, seed: int = 0) -> nn.Module:
    """Fill every weight that starts at 0, so that something reaches the output."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1, generator=generator)
    return network


def small_unet(n_channels: int = 4, **settings) -> TemporalUNet:
    with seeded(0):
        return TemporalUNet(n_channels, **{"width": 8, "multipliers": (1, 2, 3), **settings})


def small_mlp(kind: type[nn.Module], n_conditions: int = 2) -> nn.Module:
    with seeded(0):
        return kind(6, hidden=16, layers=2, n_conditions=n_conditions)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def n_weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("horizon", [1, 2, 3, 5, 8, 63, 64])
def test_the_unet_takes_any_horizon_and_every_step_counts(horizon):
    network = woken(small_unet())
    z = drawn(B, horizon, 4).requires_grad_()
    output = network(z, drawn(B), None, None)
    assert output.shape == z.shape
    output.square().sum().backward()
    assert (z.grad.abs().sum(dim=2) > 0).all()


def test_unet_widths_need_not_be_multiples_of_the_groups():
    for width, groups in ((32, 8), (20, 5), (12, 3), (8, 2), (7, 1), (5, 1), (3, 1)):
        network = small_unet(width=width, multipliers=(1, 2))
        assert network.last[1].num_groups == groups
        assert network(drawn(1, 1, 4), drawn(1), None, None).shape == (1, 1, 4)


@pytest.mark.parametrize("multipliers", [(1,), (2, 2), (1, 2, 4, 8)])
def test_the_unet_takes_any_number_of_levels(multipliers):
    network = woken(small_unet(multipliers=multipliers))
    assert len(network.down) == len(multipliers)
    # two blocks a level down, two in the middle, two a level up but for the finest; two
    # convolutions each
    kernels = [m for m in network.modules() if isinstance(m, nn.Conv1d) and m.kernel_size == (5,)]
    assert len(kernels) == 2 * (2 * len(multipliers) + 2 + 2 * (len(multipliers) - 1)) + 1
    assert network(drawn(B, 9, 4), drawn(B), None, None).any()


def test_the_unet_sees_the_order_of_the_steps_and_treats_trajectories_alone():
    network = woken(small_unet())
    z, noise = drawn(B, 12, 4), drawn(B)
    output = network(z, noise, None, None)
    assert not torch.allclose(network(z.flip(1), noise, None, None).flip(1), output, atol=1e-3)
    torch.testing.assert_close(network(z[1:2], noise[1:2], None, None), output[1:2])


def test_extra_channels_stand_beside_those_of_z():
    network = woken(small_unet(n_extra=2))
    z, extra = drawn(B, 10, 4), drawn(B, 10, 2).requires_grad_()
    output = network(z, drawn(B), None, extra)
    assert output.shape == z.shape
    output.square().sum().backward()
    assert (extra.grad.abs().sum(dim=(0, 1)) > 0).all()


def networks() -> dict[str, tuple[nn.Module, torch.Tensor]]:
    return {
        "concat": (small_mlp(ConcatMLP), drawn(B, 6)),
        "residual": (small_mlp(ScoreMLP), drawn(B, 6)),
        "unet": (small_unet(n_conditions=2), drawn(B, 7, 4)),
    }


@pytest.mark.parametrize("name", sorted(networks()))
def test_gradients_flow_to_all_inputs_and_all_weights(name):
    network, z = networks()[name]
    z, noise, condition = (
        z.requires_grad_(),
        drawn(B).requires_grad_(),
        drawn(B, 2).requires_grad_(),
    )
    woken(network)(z, noise, condition, None).square().sum().backward()
    for got in (z, noise, condition, *network.parameters()):
        assert got.grad is not None
        assert got.grad.isfinite().all()
        assert got.grad.any()
    assert condition.grad.all()
    assert noise.grad.all()


@pytest.mark.parametrize("name", sorted(networks()))
def test_networks_fit_in_a_denoiser_with_a_flagged_condition(name):
    network, z = networks()[name]
    denoiser = Denoiser(network, n_conditions=1)
    level, condition = torch.tensor([0.01, 1.0, 80.0]), drawn(B, 1)
    assert denoiser(z, level, condition).shape == z.shape
    woken(network)
    known, unknown = denoiser(z, level, condition), denoiser(z, level)
    assert (known - unknown).flatten(1).abs().amax(dim=1).min() > 0


@pytest.mark.parametrize("name", ["residual", "unet"])
def test_new_networks_return_zeros(name):
    network, z = networks()[name]
    assert not network(z, drawn(B), drawn(B, 2), None).any()


@pytest.mark.parametrize("name", sorted(networks()))
def test_conditions_and_extra_channels_must_be_those_the_network_was_built_for(name):
    network, z = networks()[name]
    with pytest.raises(ValueError, match=r"condition must be of shape \(3, 2\), got None"):
        network(z, drawn(B), None, None)
    with pytest.raises(
        ValueError, match=r"condition must be of shape \(3, 2\), got shape \(3, 1\)"
    ):
        network(z, drawn(B), drawn(B, 1), None)
    with pytest.raises(ValueError, match=r"extra must be left out .* got shape \(3, 4, 1\)"):
        network(z, drawn(B), drawn(B, 2), drawn(B, 4, 1))
    with pytest.raises(ValueError, match=r"condition must be left out .* got shape \(3, 1\)"):
        small_mlp(ConcatMLP, n_conditions=0)(drawn(B, 6), drawn(B), drawn(B, 1), None)
    with pytest.raises(ValueError, match=r"extra must be of shape \(3, 7, 2\), got None"):
        small_unet(n_extra=2)(drawn(B, 7, 4), drawn(B), None, None)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ConcatMLP(6, layers=0), "layers must be at least 1, got 0"),
        (lambda: ScoreMLP(6, hidden=0), "hidden must be at least 1, got 0"),
        (lambda: TemporalUNet(4, multipliers=()), "levels must be at least 1, got 0"),
        (lambda: TemporalUNet(4, kernel=4), "kernel must be odd, .* got 4"),
    ],
)
def test_impossible_sizes_are_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_concat_mlp_by_hand():
    network = ConcatMLP(1, hidden=2, layers=1, n_conditions=1)
    state = {"0.weight": [[1.0, 2.0, 3.0], [0.0, -1.0, 1.0]], "0.bias": [0.5, 0.0]}
    state |= {"3.weight": [[2.0, -1.0]], "3.bias": [1.0]}
    network.network.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    got = network(torch.tensor([[1.0]]), torch.tensor([0.25]), torch.tensor([[-0.5]]), None)
    hidden = torch.tensor([1 + 0.5 - 1.5 + 0.5, -0.25 - 0.5])  # z, noise, condition in this order
    torch.testing.assert_close(
        got, (2 * functional.silu(hidden[0]) - functional.silu(hidden[1]) + 1).view(1, 1)
    )


def test_published_networks_have_the_published_sizes():
    # DDOM: 60 features, time and score to three hidden layers of 1024
    ddom = ConcatMLP(60, hidden=1024, layers=3, n_conditions=1, dropout=0.15)
    assert (
        n_weights(ddom) == (62 * 1024 + 1024) + 2 * (1024**2 + 1024) + (1024 * 60 + 60) == 2_225_212
    )
    # GTG: 3.69 million at width 32 without a condition; ours embeds the noise in 4 widths, scales
    # units where GTG only
    # shifts them (half of each modulation), and has one skip more
    with torch.device("meta"):
        for width, published in ((32, 3.69e6), (128, 58.8e6)):
            network = TemporalUNet(61, width=width, multipliers=(1, 4, 8))
            scales = (
                sum(n_weights(m.modulation) for m in network.modules() if hasattr(m, "modulation"))
                // 2
            )
            assert n_weights(network) - scales == pytest.approx(published, rel=0.06)


def test_steps_with_a_condition_of_their_own_differ_by_it():
    network = woken(TemporalUNet(3, width=8, multipliers=(1, 2), n_conditions=1))
    z, noise = drawn(B, 7, 3), drawn(B)
    one = drawn(B, 1)
    torch.testing.assert_close(
        network(z, noise, one, None), network(z, noise, one[:, None].expand(B, 7, 1), None)
    )
    other = one[:, None].repeat(1, 7, 1)
    other[:, 3:] += 10
    change = (network(z, noise, other, None) - network(z, noise, one, None)).abs().amax(dim=(0, 2))
    assert change[4:].min() > 1e-3


def test_dropout_is_off_in_evaluation():
    for kind in (ConcatMLP, ScoreMLP):
        network = woken(kind(6, hidden=64, layers=2, dropout=0.5))
        z, noise = drawn(B, 6), drawn(B)
        assert not torch.equal(network(z, noise, None, None), network(z, noise, None, None))
        network.eval()
        assert torch.equal(network(z, noise, None, None), network(z, noise, None, None))


def test_a_seed_decides_the_weights_and_leaves_no_trace():
    before = torch.get_rng_state()
    states = []
    for seed in (0, 0, 1):
        with seeded(seed):
            states.append(ScoreMLP(3, hidden=4, layers=1).state_dict())
    one, same, other = states
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["first.weight"], other["first.weight"])
    assert torch.equal(torch.get_rng_state(), before)
