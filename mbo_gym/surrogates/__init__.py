"""Surrogates: models of the score, fitted on the visible data."""

from mbo_gym._moved import forwarded
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

__getattr__ = forwarded(__name__)  # names that have moved
