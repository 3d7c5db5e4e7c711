"""Seeded initial weights of networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["build", "draw_weights", "linear_layers", "seeded"]

Module = TypeVar("Module", bound=nn.Module)


def build(make: Callable[[], Module], generator: torch.Generator) -> Module:
    """Build a network on a generator's device and draw its weights from it.

    Torch's layers draw their first weights from the global random state, which is as before
    afterwards.

    Args:
        make: Builds the network, on the CPU.
        generator: Source of the weights, see `draw_weights`.
    """
    with torch.random.fork_rng(devices=[]):
        module = make()
    module = module.to(generator.device)
    draw_weights(module, generator)
    return module


def linear_layers(
    sizes: Sequence[int], members: int, generator: torch.Generator
) -> tuple[list[Tensor], list[Tensor]]:
    """Draw weights (M, in, out) and biases (M, 1, out) of linear layers from one size to the next.

    The distribution is torch.nn.Linear's.
    """
    weights = []
    biases = []
    for n_in, n_out in pairwise(sizes):
        size = (members, n_in + 1, n_out)
        uniform = torch.rand(size, generator=generator, device=generator.device) * 2 - 1
        weight, bias = (uniform / n_in**0.5).split([n_in, 1], dim=1)
        weights.append(weight.contiguous().requires_grad_())
        biases.append(bias.contiguous().requires_grad_())
    return weights, biases


def draw_weights(module: nn.Module, generator: torch.Generator) -> None:
    """Draw a network's weights anew from a generator on its device: uniform in linear layers,
    normal in embeddings."""
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Linear):
                bound = part.in_features**-0.5
                part.weight.uniform_(-bound, bound, generator=generator)
                part.bias.uniform_(-bound, bound, generator=generator)
            elif isinstance(part, nn.Embedding):
                part.weight.normal_(generator=generator)
            elif part is not module and hasattr(
                part, "reset_parameters"
            ):  # nothing random in these
                part.reset_parameters()  # type: ignore[operator]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw what is drawn inside on the CPU from a seed; torch's global random state is as before
    afterwards.

    Args:
        seed: Decides the weights of the networks built inside, on whatever device they go to later.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(
            seed
        )  # not torch.manual_seed, which also seeds every GPU
        yield
