"""Fit surrogates on problems, with a cache."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder, encoded
from mbo_gym.files import store
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import Choice
from mbo_gym.surrogates.base import Surrogate
from mbo_gym.surrogates.registry import load_surrogate, make_surrogate

__all__ = ["fit_guide_and_judge", "fit_surrogate", "fitted_surrogate", "row_weights"]

_CACHE_VERSION = 2  # raise it when a change of the training code changes what a fit returns


def row_weights(
    problem: OfflineProblem, device: str = "cpu", rows: np.ndarray | None = None
) -> Tensor | None:
    """Return the weights (n,) of visible rows by `OfflineDataset.weights`, mean 1; None for none.

    Args:
        problem: What a method may know.
        device: Device of the tensor.
        rows: (n,) visible rows; None for all.
    """
    weight = problem.dataset.weights()
    if weight is None:
        return None
    weight = weight if rows is None else weight[rows]
    return torch.from_numpy(weight / weight.mean()).to(device)


def fit_surrogate(
    problem: OfflineProblem,
    encoder: Encoder,
    surrogate: Surrogate,
    *,
    seed: int,
    device: str = "cpu",
    progress: Progress | None = None,
    rows: np.ndarray | None = None,
) -> Surrogate:
    """Fit a surrogate on a problem's encoded designs and standardised scores: the only place that
    does.

    Rows with standard errors count by `OfflineDataset.weights`.

    Args:
        problem: What a method may know.
        encoder: Fitted on it.
        surrogate: Unfitted surrogate.
        seed: Seed of the fit.
        device: Device of the tensors.
        progress: Observer of the fit.
        rows: (n,) visible rows to fit on; None for all.

    Returns:
        The surrogate, on `device`.
    """
    data = encoded(problem, encoder, device, rows)
    surrogate.for_problem(problem, encoder)
    weight = row_weights(problem, device, rows)
    if weight is None or surrogate.weighs_rows:
        surrogate.row_weight = weight
    else:
        warnings.warn(
            f"{surrogate.kind!r} surrogates do not use the standard errors of the scores; every "
            "row counts alike. Take another surrogate, such as 'mlp', to use them.",
            stacklevel=2,
        )
    surrogate.fit(data.z, data.y, seed=seed, progress=progress)
    return surrogate


def fitted_surrogate(
    problem: OfflineProblem,
    encoder: Encoder,
    name: str | Choice = "mlp",
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
    rows: np.ndarray | None = None,
    climbed: bool = False,
) -> Surrogate:
    """Return a surrogate fitted on a problem, from the cache where the same fit was made before.

    It is fitted on the CPU, so that every machine's cache holds the same model, and then moved to
    `device`. The name of the cached file hashes the data, the encoder, the settings, the seed, the
    rows and torch's version.

    Args:
        problem: What a method may know.
        encoder: Fitted on it.
        name: Registered name, or a `Choice` of one with settings.
        seed: Seed of the fit.
        device: Device of the returned surrogate.
        progress: Observer of the fit.
        rows: (n,) visible rows to fit on; None for all.
        climbed: Whether its gradient is needed.

    Raises:
        NotDifferentiable: Its gradient is needed, and it has none.
    """
    surrogate = make_surrogate(name)
    if climbed:
        surrogate.for_ascent()
    surrogate.for_problem(problem, encoder)
    facts = [
        problem.dataset.content_hash(),
        encoder.fingerprint,
        surrogate.kind,
        surrogate.facts(),
        seed,
    ]
    if rows is not None:
        facts.append(hashlib.sha256(np.asarray(rows, dtype=np.int64).tobytes()).hexdigest())
    digest = hashlib.sha256(
        json.dumps([*facts, torch.__version__, _CACHE_VERSION], sort_keys=True).encode()
    ).hexdigest()

    def build(path: Path) -> None:
        fitted = fit_surrogate(problem, encoder, surrogate, seed=seed, progress=progress, rows=rows)
        fitted.save(path)

    path = store.cached_file(f"surrogate-{digest[:32]}.safetensors", build)
    return load_surrogate(path).to(device)


def fit_guide_and_judge(
    problem: OfflineProblem,
    encoder: Encoder,
    surrogate: str | Choice,
    judge: Literal["same", "cross"],
    *,
    seed: int,
    device: str = "cpu",
    progress: Progress | None = None,
    cached: bool = False,
    climbed: bool = True,
) -> tuple[Surrogate, Surrogate]:
    """Fit two surrogates of one kind: a guide that gives gradients, and a judge that rewards.

    Args:
        problem: What a method may know.
        encoder: Fitted on it.
        surrogate: Registered name, or a `Choice` of one with settings.
        judge: ``same``: one surrogate is both; ``cross``: each is fitted on its own half of the
            visible rows, which the seed draws.
        seed: Seed of the halves and of the fits.
        device: Device of the tensors.
        progress: Observer of the fits.
        cached: Fit by `fitted_surrogate`.
        climbed: Whether their gradients are needed.

    Raises:
        NotDifferentiable: Their gradients are needed, and they have none.
    """

    def fit(seed: int, rows: np.ndarray | None) -> Surrogate:
        if cached:
            return fitted_surrogate(
                problem,
                encoder,
                surrogate,
                seed=seed,
                device=device,
                progress=progress,
                rows=rows,
                climbed=climbed,
            )
        made = make_surrogate(surrogate)
        if climbed:
            made.for_ascent()
        return fit_surrogate(
            problem, encoder, made, seed=seed, device=device, progress=progress, rows=rows
        )

    if judge == "same":
        guide = fit(seed, None)
        return guide, guide
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(problem.dataset), generator=generator).numpy()
    return fit(2 * seed, order[::2]), fit(2 * seed + 1, order[1::2])
