"""CbAS and autofocused CbAS: a generative model, moved towards designs that a surrogate believes to
be good.

Algorithm (conditioning by adaptive sampling; Brookes, Park and Listgarten, ICML 2019, arXiv
1901.10060):
    1. Fit an ensemble of networks on the visible designs: p(Y | x), Gaussian.
    2. Train a VAE p on the visible designs, whatever their scores. The search model q starts as its
       copy.
    3. Repeat `rounds` times:
       a. Draw latents z from N(0, 1) and designs x from q(x | z).
       b. gamma <- the 80th percentile of their predictions, unless it was higher before.
       c. Train q on them, weighed by p(x | z) / q(x | z) * P(Y >= gamma | x).
    4. Return K designs drawn from q, the highest prediction first.
Autofocused (Fannjiang and Listgarten, NeurIPS 2020, arXiv 2006.08052): after c, train the ensemble
on with the visible designs weighed by q(x | z) / p(x | z), each with a latent z from N(0, 1) of its
own.

P(Y >= gamma | x): Y has the mean of the members' predictions and the variance of the members plus
that of the ensemble's errors on rows held out (where too few rows are visible to hold any out, that
of all scores). The errors include what the members disagree about, so this is a little wide.

`paper` has the settings of design-baselines (arXiv 2202.08450). There, each member predicts its own
variance and is trained on a bootstrap; here members differ in their first weights and batches.

Differs from the papers by default: over dozens of sites or features the ratio p / q leaves a
handful of designs all of
the weight, so it is flattened: raised to the highest power of at most 1 that keeps half of the
effective sample size (`effective_share`; 0, as in `paper`, leaves it as it is). Fewer and larger
updates.
Differs in both: weights are computed from their logarithms and have mean 1 in each round; Adam
starts anew in each round, with a rate that falls to 0; continuous designs are Gaussian with one
spread per feature, not one for each latent and feature; the surrogate sees continuous designs
clipped to the space, as they are proposed; the ensemble's weights say how often a row is drawn
instead of how much it counts.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mbo_gym.encoders.registry import make_encoder
from mbo_gym.files.weights import save_weights
from mbo_gym.methods.ascent import SearchWatch
from mbo_gym.methods.base import save_config
from mbo_gym.nn.vae import MLPVAE, Categorical, Gaussian, VAETraining, fit_vae
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import part_of, require_at_least
from mbo_gym.surrogates.base import hold_out, predict_in_pieces
from mbo_gym.surrogates.mlp import EnsembleConfig, EnsembleSurrogate, MLPConfig

__all__ = [
    "AutofocusedCbAS",
    "AutofocusedCbASConfig",
    "CbAS",
    "CbASConfig",
    "effective_size",
    "flattened_weights",
]

_SHOWN = 256
_PIECE = 1 << 13


@dataclass(frozen=True)
class CbASConfig(MLPConfig):
    """Settings of CbAS; those of the ensemble's members are in `MLPConfig`.

    The VAEs are trained with the same `batch_size` and `learning_rate`.

    Args:
        layers: Number of hidden layers of a member.
        members: Networks in the ensemble.
        latent: Latents of the VAEs.
        width: Of the hidden layer of a VAE's encoder and of its decoder.
        prior_steps: Gradient updates of the prior p.
        kl_weight: Weight of the divergence in the VAEs' loss; 1 is the bound on the likelihood.
        rounds: How often designs are drawn and q is trained on them.
        samples: Designs drawn in a round.
        updates: Gradient updates of q in a round.
        percentile: Of the predictions of a round's designs, which gamma is; in [0, 100].
        effective_share: Share of the effective sample size that the ratio of densities may not take
            away, in [0, 1]; it is flattened until it does not. 0: never flattened.
        encoder: Name of the encoder of the ensemble, and of the VAEs for continuous designs.
    """

    layers: int = 1
    members: int = 5
    latent: int = 32
    width: int = 256
    prior_steps: int = 3000
    kl_weight: float = 1.0
    rounds: int = 20
    samples: int = 1000
    updates: int = 100
    percentile: float = 80.0
    effective_share: float = 0.5
    encoder: str = "z_score"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "members", "latent", "width", "prior_steps", "samples", "updates")
        require_at_least(self, 0, "kl_weight", "rounds", "percentile", "effective_share")
        if self.percentile > 100 or self.effective_share > 1:
            raise ValueError(
                "percentile is at most 100 and effective_share at most 1, "
                f"got {self.percentile} and {self.effective_share}"
            )


_PAPER: Mapping[str, Any] = {  # epochs counted in updates of TFBind8's 32,898 visible rows
    "learning_rate": 3e-4,
    "batch_size": 100,
    "train_steps": 29_600,
    "prior_steps": 65_800,
    "effective_share": 0.0,
}


class CbAS:
    """Conditioning by adaptive sampling; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = CbASConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {"paper": CbASConfig(**_PAPER)}
    SETTINGS: ClassVar[Mapping[str, Any]] = {}
    criterion: np.ndarray

    def __init__(self, config: Any = None) -> None:
        self.config = config or self.Config()

    def fit(self, problem: OfflineProblem, *, seed: int, device: str, progress: Progress) -> None:
        """Fit the ensemble, train the prior, and move the search model."""
        config = self.config
        self._problem, self._seed, self._device, self._progress = problem, seed, device, progress
        self._encoder = make_encoder(problem, config.encoder)
        x = torch.tensor(problem.dataset.x).to(device)
        self._z = self._encoder.encode_tensor(x)  # (N, d)
        self._y = torch.from_numpy(problem.dataset.score_scale.standardise(problem.dataset.y)).to(
            device
        )
        self._categorical = isinstance(problem.space, CategoricalSpace)
        self._x = x if self._categorical else self._z  # (N, *) as the VAEs see them
        self._fit_ensemble()
        generator = torch.Generator(device).manual_seed(seed)
        self._prior = self._new_vae()
        self._prior.initialise(generator)
        fit_vae(
            self._prior,
            self._x,
            self._training(config.prior_steps),
            generator,
            progress=progress,
            stage="prior",
        )
        self._model = copy.deepcopy(self._prior)
        self._search(generator)

    def _fit_ensemble(self) -> None:
        config = self.config
        ensemble = EnsembleConfig(members=config.members, **asdict(part_of(config, MLPConfig)))
        self._ensemble = EnsembleSurrogate(ensemble)
        self._ensemble.fit(self._z, self._y, seed=self._seed, progress=self._progress)
        # The rows that `Surrogate.fit` held out
        order = torch.Generator(self._device).manual_seed(self._seed)
        self._held, self._trained = hold_out(len(self._z), config.held_out, order)
        self._error = self._held_out_error(torch.ones_like(self._y))

    def _held_out_error(self, row_weight: Tensor) -> Tensor:
        """Return the ensemble's root mean squared error () on rows held out, weighed by (N,); 1
        with no such rows."""
        if not len(self._held):
            return self._y.new_ones(())
        mean = predict_in_pieces(self._ensemble.predict, self._z[self._held])
        weight = row_weight[self._held] / row_weight[self._held].sum()
        return (weight * (mean - self._y[self._held]).square()).sum().sqrt()

    def _new_vae(self) -> MLPVAE:
        space, n = self._problem.space, self._x.shape[1]
        likelihood = (
            Categorical(n, space.n_categories)
            if isinstance(space, CategoricalSpace)
            else Gaussian(n)
        )
        with torch.random.fork_rng(
            devices=[]
        ):  # torch's layers draw their first weights from the global state
            vae = MLPVAE(likelihood, latent=self.config.latent, width=self.config.width)
        return vae.to(self._device)

    def _training(self, steps: int) -> VAETraining:
        config = self.config
        return VAETraining(steps, config.batch_size, config.learning_rate, config.kl_weight)

    def _search(self, generator: torch.Generator) -> None:
        config, progress = self.config, self._progress
        watch = SearchWatch(self._problem, self._encoder, "search", config.rounds, progress)
        gamma = self._y.new_tensor(-torch.inf)
        for step in progress.track(range(config.rounds), "adaptive sampling"):
            latents, x = self._draw(config.samples, generator)
            mean, spread = self._belief(x)
            watch(step, self._features(x[:_SHOWN]), mean[:_SHOWN])
            gamma = torch.maximum(gamma, mean.quantile(config.percentile / 100))
            log_above = torch.special.log_ndtr((mean - gamma) / spread)
            log_ratio = -self._log_ratio(x, latents)
            weight, power = flattened_weights(log_above, log_ratio, config.effective_share)
            fit_vae(self._model, x, self._training(config.updates), generator, row_weight=weight)
            self._after_round(generator)
            shown = {
                "gamma": gamma,
                "mean": mean.mean(),
                "above": log_above.exp().mean(),
                "error": self._error,
            }
            numbers = {name: float(value) for name, value in shown.items()}
            progress.metrics(
                "cbas", step, **numbers, effective_size=effective_size(weight), power=power
            )

    def _after_round(self, generator: torch.Generator) -> None:
        """Do what comes after q was trained in a round; here nothing."""

    def _draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return latents (n, latent) from the prior and designs (n, *) that q draws at them."""
        latents = torch.randn(n, self.config.latent, generator=generator, device=self._device)
        with torch.no_grad():
            return latents, self._model.likelihood.sample(self._model.decode(latents), generator)

    def _belief(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (n,) of the scores that designs (n, *) may have."""
        members = predict_in_pieces(
            lambda z: self._ensemble.predict_members(z).T, self._features(x)
        )  # (n, M)
        return members.mean(dim=1), (members.var(dim=1, correction=0) + self._error.square()).sqrt()

    def _log_ratio(self, x: Tensor, latents: Tensor) -> Tensor:
        """Return log q(x | z) - log p(x | z) for designs (n, *) at latents (n, latent); (n,)
        float64."""
        pairs = zip(torch.split(x, _PIECE), torch.split(latents, _PIECE), strict=True)
        with torch.no_grad():
            return torch.cat(
                [
                    _log_density(self._model, *pair) - _log_density(self._prior, *pair)
                    for pair in pairs
                ]
            )

    def _features(self, x: Tensor) -> Tensor:
        """Return the features (n, d) of designs (n, *) as they would be proposed."""
        return self._encoder.encode_tensor(
            x if self._categorical else self._encoder.decode_tensor(x)
        )

    def propose(self, k: int) -> np.ndarray:
        """Draw `k` designs from the search model; return them, the highest prediction first."""
        _, x = self._draw(k, torch.Generator(self._device).manual_seed(self._seed))
        prediction, _ = self._belief(x)
        order = prediction.argsort(descending=True, stable=True)
        x, prediction = x[order], prediction[order]
        watch = SearchWatch(
            self._problem, self._encoder, "search", self.config.rounds, self._progress
        )
        watch(self.config.rounds, self._features(x[:_SHOWN]), prediction[:_SHOWN])
        self.criterion = prediction.cpu().numpy()
        native = x if self._categorical else self._encoder.decode_tensor(x)
        return np.asarray(native.cpu().numpy(), dtype=self._problem.space.dtype)

    def save(self, folder: Path) -> None:
        """Write the settings, the ensemble, the prior and the search model."""
        save_config(folder, self.config)
        self._ensemble.save(folder / "surrogate.safetensors")
        save_weights(folder / "prior.safetensors", self._prior.state_dict())
        save_weights(folder / "search_model.safetensors", self._model.state_dict())


@dataclass(frozen=True)
class AutofocusedCbASConfig(CbASConfig):
    """Settings of autofocused CbAS; the others are in `CbASConfig`.

    Args:
        refine_steps: Gradient updates of the ensemble after each round.
    """

    refine_steps: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 0, "refine_steps")


class AutofocusedCbAS(CbAS):
    """CbAS whose ensemble follows the search; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = AutofocusedCbASConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": AutofocusedCbASConfig(refine_steps=2960, **_PAPER)
    }

    def _after_round(self, generator: torch.Generator) -> None:
        """Train the ensemble on, with more of the visible designs that q favours, and judge it
        there."""
        latents = torch.randn(
            len(self._x), self.config.latent, generator=generator, device=self._device
        )
        log_ratio = self._log_ratio(self._x, latents)
        weight, _ = flattened_weights(
            torch.zeros_like(log_ratio), log_ratio, self.config.effective_share
        )
        rows = self._trained
        self._ensemble.refine(
            self._z[rows], self._y[rows], weight[rows], self.config.refine_steps, generator
        )
        self._error = self._held_out_error(weight)


def flattened_weights(log_weight: Tensor, log_ratio: Tensor, least: float) -> tuple[Tensor, float]:
    """Return weights proportional to exp(log_weight + t log_ratio), of mean 1, and the power t.

    t is the highest power in [0, 1], by bisection, that leaves at least a share of the effective
    sample size at t = 0.

    Args:
        log_weight: (n,) logarithms.
        log_ratio: (n,) logarithms of the ratio to flatten.
        least: The share, in [0, 1]; 0 for t = 1 whatever is left.
    """
    log_weight, log_ratio = log_weight.double(), log_ratio.double()

    def weights(power: float) -> Tensor:
        return (log_weight + power * log_ratio).softmax(dim=0) * len(log_weight)

    enough = least * effective_size(weights(0.0))
    low, high = (1.0, 1.0) if effective_size(weights(1.0)) >= enough else (0.0, 1.0)
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if effective_size(weights(middle)) >= enough else (low, middle)
    return weights(low).float(), low


def effective_size(weight: Tensor) -> float:
    """Return the effective sample size (sum w)^2 / sum w^2 of weights (n,), in [1, n] (Kish)."""
    return float(weight.sum().square() / weight.square().sum())


def _log_density(vae: MLPVAE, x: Tensor, latents: Tensor) -> Tensor:
    return vae.likelihood.log_probability(vae.decode(latents), x).double()
