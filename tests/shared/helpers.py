"""What several files of tests use."""

from __future__ import annotations

import pytest
import torch

from agents.gradient.tuned import VisibleRows
from mbo_gym.envs.process import DEFAULT_SURROGATE
from mbo_gym.errors import MissingDependency
from mbo_gym.optional import optional_import
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.settings import leaf_settings, with_settings
from mbo_gym.surrogates.mlp import EnsembleConfig, EnsembleSurrogate, MLPConfig, MLPSurrogate
from mbo_gym.surrogates.registry import SURROGATES, load_surrogate, make_surrogate


class Notes(NullProgress):
    """Keeps the metrics and the designs along the search."""

    def __init__(self):
        self.seen, self.shown = [], []

    def metrics(self, stage, step, **values):
        self.seen.append((stage, step, values))

    def designs(self, stage, step, x, prediction):
        self.shown.append((stage, step, x, prediction))

    def of(self, stage, name):
        """List the values of one metric of one stage."""
        return [values[name] for other, _, values in self.seen if other == stage and name in values]


def small_default_surrogate():
    """Return a context in which the environments' default surrogate is small and quickly fitted."""
    small = {"hidden": 16, "train_steps": 100}
    return SURROGATES.temporarily(
        DEFAULT_SURROGATE, lambda **c: MLPSurrogate(MLPConfig(**{**small, **c}))
    )


def with_leaves(config, **values):
    """Return a nested config with settings given by the last parts of their names."""
    places = {name.rpartition(".")[2]: name for name in leaf_settings(config)}
    return with_settings(config, {places[key]: value for key, value in values.items()})


def d3rlpy_or_skip():
    """Return d3rlpy's module; skip the test where it is not installed."""
    try:
        return optional_import("d3rlpy", "rl")
    except MissingDependency as error:
        pytest.skip(str(error))


def assert_reads_what_it_saved(name, factory, settings, z, y, path):
    """A surrogate that moves designs predicts the same once saved and read, and once fitted
    again."""
    with SURROGATES.temporarily(name, factory):
        surrogate = make_surrogate(name, **settings)
        surrogate.fit(z, y, seed=3)
        surrogate.save(path)
        read = load_surrogate(path)
        assert type(read) is type(surrogate)
        assert read.config == surrogate.config
        assert torch.equal(read.predict(z), surrogate.predict(z))
        assert torch.equal(read.designs, surrogate.designs)
        again = make_surrogate(name, **settings)
        again.fit(z, y, seed=3)
        again.fit(z, y, seed=3)  # a second fit starts over
        assert torch.equal(again.predict(z), surrogate.predict(z))


SMALL_PROXIES = {"hidden": 16, "train_steps": 60, "batch_size": 64}


def proxy_data(n: int = 200, d: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Make what the proxies of ICT and tri-mentoring learn from, in double precision for
    differences' sake."""
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return z, 4.0 + 3.0 * (z[:, 0] - z[:, 1].abs())


def trained_proxies() -> EnsembleSurrogate:
    surrogate = EnsembleSurrogate(EnsembleConfig(**SMALL_PROXIES, members=3))
    z, y = proxy_data()
    surrogate.fit(z.float(), y.float(), seed=0)
    surrogate.load_state({key: value.double() for key, value in surrogate.state().items()})
    return surrogate


def visible_rows(trained: EnsembleSurrogate) -> VisibleRows:
    """Return the rows of `proxy_data`, standardised as the proxies are."""
    z, y = proxy_data()
    return VisibleRows(z, (y - trained.model.unit[0]) / trained.model.unit[1])


def network(layers, m, x):
    """Return what the m-th of some proxies predicts at x (n, d), one layer after the other."""
    (w0, w1, w2, b0, b1, b2) = (layer[m] for layer in layers)
    return (((x @ w0 + b0).clamp_min(0) @ w1 + b1).clamp_min(0) @ w2 + b2)[:, 0]
