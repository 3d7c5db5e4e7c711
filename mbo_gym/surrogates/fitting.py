"""Fit surrogates on problems, with a cache."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from mbo_gym.encoders.base import Encoder, encoded
from mbo_gym.files import store
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.surrogates.base import Surrogate
from mbo_gym.surrogates.registry import load_surrogate, make_surrogate

__all__ = ["fit_surrogate", "fitted_surrogate"]


_CACHE_VERSION = 1  # raise it when a change of the training code changes what a fit returns


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
    surrogate.for_space(problem.space)
    surrogate.fit(data.z, data.y, seed=seed, progress=progress)
    return surrogate


def fitted_surrogate(
    problem: OfflineProblem,
    encoder: Encoder,
    name: str = "mlp",
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Surrogate:
    """Return the named surrogate fitted on a problem, from the cache where the same fit was made
    before.

    It is fitted on the CPU, so that every machine's cache holds the same model, and then moved to
    `device`. The name of the cached file hashes the data, the encoder, the settings, the seed and
    torch's version.
    """
    surrogate = make_surrogate(name)
    surrogate.for_space(problem.space)
    facts = [
        problem.dataset.content_hash(),
        encoder.fingerprint,
        surrogate.kind,
        surrogate.facts(),
        seed,
    ]
    digest = hashlib.sha256(
        json.dumps([*facts, torch.__version__, _CACHE_VERSION], sort_keys=True).encode()
    ).hexdigest()

    def build(path: Path) -> None:
        fit_surrogate(problem, encoder, surrogate, seed=seed, progress=progress).save(path)

    return load_surrogate(store.cached_file(f"surrogate-{digest[:32]}.safetensors", build)).to(
        device
    )
