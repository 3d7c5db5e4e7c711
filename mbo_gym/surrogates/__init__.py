"""Surrogates: models of the score, fitted on the visible data."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mbo_gym._moved import forwarded

if TYPE_CHECKING:
    from mbo_gym.surrogates.auto import AutoConfig, AutoSurrogate
    from mbo_gym.surrogates.base import CannotFit, FitReport, Surrogate, predict_in_pieces
    from mbo_gym.surrogates.fitting import fit_surrogate, fitted_surrogate
    from mbo_gym.surrogates.least_error import LeastErrorConfig, LeastErrorSurrogate
    from mbo_gym.surrogates.mlp import (
        EnsembleConfig,
        EnsembleSurrogate,
        MLPConfig,
        MLPSurrogate,
    )
    from mbo_gym.surrogates.quadratic import QuadraticConfig, QuadraticSurrogate
    from mbo_gym.surrogates.registry import (
        SURROGATES,
        list_surrogates,
        load_surrogate,
        make_surrogate,
        register_surrogate,
    )

__all__ = [
    "SURROGATES",
    "AutoConfig",
    "AutoSurrogate",
    "CannotFit",
    "EnsembleConfig",
    "EnsembleSurrogate",
    "FitReport",
    "LeastErrorConfig",
    "LeastErrorSurrogate",
    "MLPConfig",
    "MLPSurrogate",
    "QuadraticConfig",
    "QuadraticSurrogate",
    "Surrogate",
    "fit_surrogate",
    "fitted_surrogate",
    "list_surrogates",
    "load_surrogate",
    "make_surrogate",
    "predict_in_pieces",
    "register_surrogate",
]

_MODULES = {
    "AutoConfig": "mbo_gym.surrogates.auto",
    "AutoSurrogate": "mbo_gym.surrogates.auto",
    "CannotFit": "mbo_gym.surrogates.base",
    "EnsembleConfig": "mbo_gym.surrogates.mlp",
    "EnsembleSurrogate": "mbo_gym.surrogates.mlp",
    "FitReport": "mbo_gym.surrogates.base",
    "LeastErrorConfig": "mbo_gym.surrogates.least_error",
    "LeastErrorSurrogate": "mbo_gym.surrogates.least_error",
    "MLPConfig": "mbo_gym.surrogates.mlp",
    "MLPSurrogate": "mbo_gym.surrogates.mlp",
    "QuadraticConfig": "mbo_gym.surrogates.quadratic",
    "QuadraticSurrogate": "mbo_gym.surrogates.quadratic",
    "SURROGATES": "mbo_gym.surrogates.registry",
    "Surrogate": "mbo_gym.surrogates.base",
    "fit_surrogate": "mbo_gym.surrogates.fitting",
    "fitted_surrogate": "mbo_gym.surrogates.fitting",
    "list_surrogates": "mbo_gym.surrogates.registry",
    "load_surrogate": "mbo_gym.surrogates.registry",
    "make_surrogate": "mbo_gym.surrogates.registry",
    "predict_in_pieces": "mbo_gym.surrogates.base",
    "register_surrogate": "mbo_gym.surrogates.registry",
}
_old_names = forwarded(__name__)


def __getattr__(name: str) -> Any:
    if name in _MODULES:  # they load torch, which listing names does without
        return getattr(import_module(_MODULES[name]), name)
    return _old_names(name)
