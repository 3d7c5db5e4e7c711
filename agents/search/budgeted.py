"""Searches with a budget of evaluations: where they start, and what they propose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from mbo_gym.methods.base import Proposals
from mbo_gym.methods.fitted import Bounds, Fitted
from mbo_gym.optimisers.searches import Box, Search, follow
from mbo_gym.problem.sampling import sampling_space
from mbo_gym.problem.space import ContinuousSpace
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import predict_in_pieces

__all__ = ["BudgetConfig", "best_found", "search_box", "search_starts"]


@dataclass(frozen=True)
class BudgetConfig:
    """Settings that searches with a budget share.

    Args:
        budget: Evaluations of the surrogate by each search; at least as many as it has to propose.
        n_searches: Number of searches; None for K, each of which proposes its best design. Of
            fewer, each proposes several.
        start: ``random``: uniform designs; ``middle``: the middle of the bounds (the flat tool of
            the fluid tasks), or the visible mean where the space has no middle; ``best``: the best
            visible designs.
        bounds: ``none``, or ``data``: searches stay in the box that the visible designs' features
            span.
    """

    budget: int = 320
    n_searches: int | None = None
    start: Literal["random", "middle", "best"] = "random"
    bounds: Bounds = "data"

    def __post_init__(self) -> None:
        require_at_least(self, 1, "budget", "n_searches")

    def searches(self, k: int) -> tuple[int, int, int]:
        """Return the number of searches, the designs that each keeps, and its budget."""
        n = k if self.n_searches is None else self.n_searches
        keep = math.ceil(k / n)
        return n, keep, max(self.budget, keep)


def search_starts(
    fitted: Fitted, config: BudgetConfig, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the features (n, d) that `n` searches start from."""
    problem, encoder = fitted.problem, fitted.encoder
    if config.start == "best":
        return fitted.starts(n).cpu().numpy()
    if config.start == "random":
        return encoder.encode(sampling_space(problem).sample(n, rng))
    space = problem.space
    if isinstance(space, ContinuousSpace) and space.bounded:
        middle = encoder.encode(((space.low + space.high) / 2)[None])
    else:
        middle = encoder.encode(problem.dataset.x).mean(axis=0, keepdims=True)
    return np.repeat(middle, n, axis=0)


def search_box(fitted: Fitted, config: BudgetConfig) -> Box | None:
    """Return the box of a search in features, or None."""
    box = fitted.box(config.bounds)
    return None if box is None else (box[0].cpu().numpy(), box[1].cpu().numpy())


def best_found(
    fitted: Fitted, search: Search, config: BudgetConfig, k: int, stage: str
) -> Proposals:
    """Follow searches on the surrogate; propose the best designs of each, highest first.

    Designs are distinct, unless the searches found fewer than `k`.

    Args:
        fitted: Encoder and surrogate.
        search: Search of as many starts as `config` says.
        config: Settings of the budget.
        k: Number of designs.
        stage: Name of the search for the progress.
    """
    device, progress = fitted.context.device, fitted.context.progress
    n, keep, budget = config.searches(k)
    show = fitted.watch(stage, budget)
    bar = progress.bar(stage, budget)

    def predict(z: np.ndarray) -> np.ndarray:
        features = torch.from_numpy(z.astype(np.float32)).to(device)
        return predict_in_pieces(fitted.surrogate.predict, features).cpu().numpy()

    def watch(used: int, best: np.ndarray, scores: np.ndarray) -> None:
        bar(used)
        show(used, torch.from_numpy(best.astype(np.float32)), torch.from_numpy(scores))

    found = follow(search, predict, budget, keep, watch)
    best = found.designs.reshape(n * keep, -1).astype(np.float32)
    return fitted.distinct(fitted.encoder.decode(best), k)
