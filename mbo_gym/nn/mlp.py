"""MLPs whose members are one batched network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from mbo_gym.nn.weights import linear_layers

__all__ = ["Activation", "BatchedMLP", "apply_layers"]

Activation: TypeAlias = Callable[[Tensor], Tensor]


class BatchedMLP(nn.Module):
    """M multilayer perceptrons of one shape as one batched network.

    Weights have shape (M, in, out), biases (M, 1, out). M = 1 is a plain MLP. The state's keys are
    ``weight.0``, ``weight.1``, .., ``bias.0``, ...

    The network comes without gradients; a `Trainer` turns them on.

    Args:
        weights: (M, in, out) of each layer, the first layer first.
        biases: (M, 1, out) of each layer.
        activation: Function between two layers.

    Attributes:
        activation: Function between two layers.
        members: M.

    Example:
        >>> network = BatchedMLP.draw([3, 16, 1], 5, torch.Generator().manual_seed(0))
        >>> network(torch.zeros(7, 3)).shape
        torch.Size([5, 7, 1])
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        activation: Activation = torch.relu,
    ) -> None:
        super().__init__()
        self.weight = nn.ParameterList([nn.Parameter(w, requires_grad=False) for w in weights])
        self.bias = nn.ParameterList([nn.Parameter(b, requires_grad=False) for b in biases])
        self.activation = activation

    @classmethod
    def draw(
        cls,
        sizes: Sequence[int],
        members: int,
        generator: torch.Generator,
        activation: Activation = torch.relu,
    ) -> BatchedMLP:
        """Return a network with initial weights from a generator, on its device.

        Args:
            sizes: Inputs, width of each hidden layer, outputs.
            members: M.
            generator: Source of the weights, see `linear_layers`.
            activation: Function between two layers.
        """
        return cls(*linear_layers(sizes, members, generator), activation)

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], activation: Activation = torch.relu
    ) -> BatchedMLP:
        """Return the network of a state; other keys than the layers' play no part."""
        n = sum(key.startswith("weight.") for key in state)
        weights = [state[f"weight.{i}"] for i in range(n)]
        return cls(weights, [state[f"bias.{i}"] for i in range(n)], activation)

    @property
    def members(self) -> int:
        """M."""
        return len(self.layers()[0])

    def layers(self) -> list[Tensor]:
        """Return all weights, then all biases, the first layer first: what `apply_layers` takes."""
        # Iterating over a ParameterList looks each up by name, which takes a tenth of a small step.
        parts = (self.weight._parameters, self.bias._parameters)
        return [layer for part in parts for layer in part.values() if layer is not None]

    def forward(self, z: Tensor) -> Tensor:
        """Return the outputs (M, B, out) at inputs (M, B, in), or (B, in) for all members alike."""
        layers = self.layers()
        if z.dim() == 2:
            z = z.expand(len(layers[0]), *z.shape)
        return apply_layers(z, layers, self.activation)

    def outputs(self, z: Tensor) -> Tensor:
        """Return the outputs (M, B) of members with one output; see `forward`."""
        return self.forward(z).squeeze(2)

    def hidden(self, z: Tensor) -> Tensor:
        """Return the last hidden layer (M, B, width) at inputs (M, B, in) or (B, in)."""
        layers = self.layers()
        half = len(layers) // 2
        if z.dim() == 2:
            z = z.expand(self.members, *z.shape)
        if half == 1:
            return z
        z = apply_layers(z, [*layers[: half - 1], *layers[half:-1]], self.activation)
        return self.activation(z)

    def copies(self, n: int) -> BatchedMLP:
        """Return `n` copies of the members, one after the other, as one network of n M members."""
        weights = [weight.detach().repeat(n, 1, 1) for weight in self.weight]
        biases = [bias.detach().repeat(n, 1, 1) for bias in self.bias]
        return BatchedMLP(weights, biases, self.activation)

    @torch.no_grad()
    def rescale(self, shift: Tensor, scale: Tensor) -> None:
        """Make the outputs (outputs - shift) / scale, through the last layer."""
        weight, bias = self.weight[-1], self.bias[-1]
        self.weight[-1] = nn.Parameter(weight / scale, requires_grad=False)
        self.bias[-1] = nn.Parameter((bias - shift) / scale, requires_grad=False)


def apply_layers(
    z: Tensor, layers: Sequence[Tensor], activation: Activation = torch.relu
) -> Tensor:
    """Apply linear layers with an activation between them; a pure function of all its arguments.

    Args:
        z: (M, B, in) inputs.
        layers: Weights (M, in, out), then as many biases (M, 1, out).
        activation: Function between two layers.

    Returns:
        (M, B, out) outputs.
    """
    half = len(layers) // 2
    for i in range(half):
        if i:
            z = activation(z)
        z = torch.baddbmm(layers[half + i], z, layers[i])
    return z
