"""Exponential moving average of a network's weights."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["EMA"]


class EMA:
    """Exponential moving average of a module's parameters and floating buffers.

    The average of n updates has decay min(decay, (1 + n) / (10 + n)), so that the first weights are
    soon forgotten.

    Args:
        module: What is averaged.
        decay: In [0, 1).

    Attributes:
        weights: The averages, by name.
        n_updates: How many there were.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module, self._decay, self.n_updates = module, decay, 0
        self.weights = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the module's present weights."""
        self.n_updates += 1
        share = 1 - min(self._decay, (1 + self.n_updates) / (10 + self.n_updates))
        state = self._module.state_dict()
        floating = [name for name, value in state.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [self.weights[name] for name in floating], [state[name] for name in floating], share
        )
        for name in state.keys() - set(floating):
            self.weights[name].copy_(state[name])

    def copy_to_module(self) -> None:
        """Give the module the averages."""
        self._module.load_state_dict(self.weights)
