"""Surrogates by name: built, fitted once per data set and cached, saved and loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from mbo_gym.data import store
from mbo_gym.encoding import Encoder
from mbo_gym.progress import Progress
from mbo_gym.registry import Registry
from mbo_gym.surrogates.auto import AutoConfig, AutoSurrogate
from mbo_gym.surrogates.base import CannotFit, FitReport, Surrogate, predict_in_pieces, read_saved
from mbo_gym.surrogates.mlp import EnsembleConfig, EnsembleSurrogate, MLPConfig, MLPSurrogate, StackedMLP
from mbo_gym.surrogates.quadratic import QuadraticConfig, QuadraticSurrogate
from mbo_gym.task import OfflineProblem

__all__ = [
    "SURROGATES",
    "AutoConfig",
    "AutoSurrogate",
    "CannotFit",
    "EnsembleConfig",
    "EnsembleSurrogate",
    "FitReport",
    "MLPConfig",
    "MLPSurrogate",
    "QuadraticConfig",
    "QuadraticSurrogate",
    "StackedMLP",
    "Surrogate",
    "fit_surrogate",
    "fitted_surrogate",
    "load_surrogate",
    "make_surrogate",
    "predict_in_pieces",
]

SURROGATES = Registry("surrogate", group="mbo_gym.surrogates")
"""Every surrogate by name; a name is a function of its config's fields that returns the unfitted surrogate."""

_CACHE_VERSION = 1  # raise it when a change of the training code changes what a fit returns


def make_surrogate(name: str = "mlp", **config: Any) -> Surrogate:
    """Build an unfitted surrogate.

    Args:
        name: ``mlp`` (2 x 256), ``mlp_paper`` (2 x 2048, the papers' size; minutes on two cores), ``mean_ensemble``,
            ``min_ensemble`` (both also with ``_paper``), ``bootstrap_ensemble_paper`` (design-baselines': five 1 x 256
            on bootstraps), ``light_ensemble`` and ``light_min_ensemble`` (five 2 x 128, half as long trained),
            ``gtg_proxy`` (GTG's ten, which see good rows more often; ``light_gtg_proxy`` of 2 x 128), ``quadratic``
            (all squares and products by ridge regression), ``auto`` (of ``light_ensemble`` and ``quadratic`` the one
            with the lower error on held-out rows), one that belongs to a method (``coms``, ``roma``, ``nemo``,
            ``iom``, ``ram_listnet``, ``ram_rankcosine``), or a name that another package registered.
        **config: Fields of its config dataclass.

    Raises:
        UnknownId: No surrogate has that name.
    """
    surrogate: Surrogate = SURROGATES.spec(name).make(**config)
    surrogate.name = "" if config else name
    return surrogate


def fit_surrogate(
    problem: OfflineProblem,
    encoder: Encoder,
    surrogate: Surrogate,
    *,
    seed: int,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Surrogate:
    """Fit a surrogate on a problem's encoded designs and standardised scores; returns it, on `device`."""
    z = torch.from_numpy(encoder.encode(problem.dataset.x)).to(device)
    y = torch.from_numpy(problem.dataset.score_scale.standardise(problem.dataset.y)).to(device)
    surrogate.for_space(problem.space)
    surrogate.fit(z, y, seed=seed, progress=progress)
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
    """Return the named surrogate fitted on a problem, from the cache where the same fit was made before.

    It is fitted on the CPU, so that every machine's cache holds the same model, and then moved to `device`. The name of
    the cached file hashes the data, the encoder, the settings, the seed and torch's version.
    """
    surrogate = make_surrogate(name)
    surrogate.for_space(problem.space)
    facts = [problem.dataset.content_hash(), encoder.fingerprint, surrogate.kind, surrogate.facts(), seed]
    digest = hashlib.sha256(
        json.dumps([*facts, torch.__version__, _CACHE_VERSION], sort_keys=True).encode()
    ).hexdigest()

    def build(path: Path) -> None:
        fit_surrogate(problem, encoder, surrogate, seed=seed, progress=progress).save(path)

    return load_surrogate(store.cached_file(f"surrogate-{digest[:32]}.safetensors", build)).to(device)


def load_surrogate(path: Path | str) -> Surrogate:
    """Read a surrogate that `Surrogate.save` wrote; of an `AutoSurrogate`, the one that it kept."""
    tensors, facts = read_saved(path)
    surrogate: Surrogate = SURROGATES.spec(facts["kind"]).make(**facts["config"])
    surrogate.name = facts["name"]
    surrogate.load_state(tensors)
    surrogate.report = FitReport(**facts["report"]) if facts["report"] else None
    return surrogate


def _mlp(**config: Any) -> Surrogate:
    return MLPSurrogate(MLPConfig(**config))


def _ensemble(**config: Any) -> Surrogate:
    return EnsembleSurrogate(EnsembleConfig(**config))


def _quadratic(**config: Any) -> Surrogate:
    return QuadraticSurrogate(QuadraticConfig(**config))


def _auto(**config: Any) -> Surrogate:
    return AutoSurrogate(AutoConfig(**config))


_PAPER = {"hidden": 2048, "train_steps": 11_600, "batch_size": 128, "learning_rate": 3e-4}  # 50 epochs of TFBind8

SURROGATES.register("mlp", _mlp)
SURROGATES.register("mlp_paper", _mlp, **_PAPER)
SURROGATES.register("ensemble", _ensemble)
SURROGATES.register("mean_ensemble", _ensemble, aggregate="mean")
SURROGATES.register("min_ensemble", _ensemble, aggregate="min")
SURROGATES.register("mean_ensemble_paper", _ensemble, aggregate="mean", **_PAPER)
SURROGATES.register("min_ensemble_paper", _ensemble, aggregate="min", **_PAPER)
SURROGATES.register(  # 100 epochs of TFBind8
    "bootstrap_ensemble_paper", _ensemble, bootstrap=True, layers=1, train_steps=32_900, batch_size=100
)
SURROGATES.register("light_ensemble", _ensemble, hidden=128, train_steps=1500)  # a quarter of the time, for two at once
SURROGATES.register("light_min_ensemble", _ensemble, hidden=128, train_steps=1500, aggregate="min")
SURROGATES.register("gtg_proxy", _ensemble, members=10, hidden=1024, train_steps=5000, batch_size=128, rank_weight=0.01)
SURROGATES.register(
    "light_gtg_proxy", _ensemble, members=10, hidden=128, train_steps=1500, batch_size=128, rank_weight=0.01
)
SURROGATES.register("quadratic", _quadratic)
SURROGATES.register("auto", _auto)
