"""Batched MLPs: members are networks of their own, the state tells all."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from mbo_gym.nn.mlp import BatchedMLP, apply_layers


def drawn(members: int = 3, activation=torch.relu) -> BatchedMLP:
    generator = torch.Generator().manual_seed(0)
    return BatchedMLP.draw([4, 8, 6, 1], members, generator, activation)


Z = torch.randn(7, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("activation", [torch.relu, functional.softplus])
def test_each_member_is_a_network_of_its_own(activation):
    network = drawn(activation=activation)
    out = network(Z)
    for member in range(3):
        h = Z
        for i in range(3):
            h = activation(h) if i else h
            h = h @ network.weight[i][member] + network.bias[i][member]
        torch.testing.assert_close(out[member], h)
    assert torch.equal(network.outputs(Z), out.squeeze(2))
    assert torch.equal(network(Z.expand(3, -1, -1)), out)


def test_members_see_inputs_of_their_own():
    network = drawn()
    z = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(2))
    for member in range(3):
        torch.testing.assert_close(network(z)[member], network(z[member])[member])


def test_the_outputs_are_linear_in_the_last_hidden_layer():
    network = drawn()
    hidden = network.hidden(Z)
    assert hidden.shape == (3, 7, 6)
    out = torch.baddbmm(network.bias[-1], hidden, network.weight[-1])
    torch.testing.assert_close(out, network(Z))
    assert torch.equal(BatchedMLP.draw([4, 1], 2, torch.Generator()).hidden(Z), Z.expand(2, 7, 4))


def test_the_state_tells_all_and_weights_come_first():
    network = drawn()
    assert list(network.state_dict()) == [f"{k}.{i}" for k in ("weight", "bias") for i in range(3)]
    again = BatchedMLP.from_state({**network.state_dict(), "unit": torch.ones(2)})
    assert torch.equal(again(Z), network(Z))
    for layer, parameter in zip(network.layers(), network.parameters(), strict=True):
        assert layer is parameter
    assert torch.equal(apply_layers(Z.expand(3, -1, -1), network.layers()), network(Z))


def test_weights_are_torchs_distribution_and_follow_the_generator():
    assert torch.equal(drawn()(Z), drawn()(Z))
    weight = BatchedMLP.draw([100, 200], 2, torch.Generator().manual_seed(0)).weight[0]
    linear = nn.Linear(100, 200).weight
    assert weight.abs().max() <= 0.1
    assert float(weight.std()) == pytest.approx(float(linear.detach().std()), rel=0.05)
    assert not any(parameter.requires_grad for parameter in drawn().parameters())


def test_copies_and_rescaled_outputs():
    network = drawn()
    assert torch.equal(network.copies(2)(Z), torch.cat([network(Z), network(Z)]))
    before, rescaled = network.outputs(Z), copy.deepcopy(network)
    rescaled.rescale(torch.tensor(0.5), torch.tensor(2.0))
    torch.testing.assert_close(rescaled.outputs(Z), (before - 0.5) / 2)
