"""CbAS and autofocused CbAS: a generative model, moved towards designs with high predictions."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoded, encoded
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.files.weights import load_weights, save_weights
from mbo_gym.methods.ascent import SearchWatch
from mbo_gym.methods.base import Context, Difference, Method, MethodInfo, Proposals
from mbo_gym.methods.distinct import distinct_proposals
from mbo_gym.nn.vae import MLPVAE, Categorical, Gaussian, VAETraining, fit_vae
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import hold_out, predict_in_pieces
from mbo_gym.surrogates.fitting import row_weights
from mbo_gym.surrogates.mlp import EnsembleConfig, EnsembleSurrogate
from mbo_gym.surrogates.registry import load_surrogate

__all__ = [
    "AutofocusedCbAS",
    "AutofocusedCbASConfig",
    "CbAS",
    "CbASConfig",
    "DesignModels",
    "DesignVAEConfig",
    "SamplingConfig",
    "ScoreModel",
    "effective_size",
    "flattened_weights",
]

SURROGATE_FILE = "surrogate.safetensors"
PRIOR_FILE = "prior.safetensors"
MODEL_FILE = "search_model.safetensors"

_SHOWN = 256
_PIECE = 1 << 13


@dataclass(frozen=True)
class DesignVAEConfig:
    """Settings of the two VAEs: the prior p and the search model q.

    Args:
        latent: Number of latents.
        width: Width of the hidden layer of the encoder and of the decoder.
        prior_steps: Gradient updates of the prior.
        updates: Gradient updates of the search model in a round.
        batch_size: Designs of an update.
        learning_rate: Learning rate of Adam, decayed to 0 along a cosine in each training.
        kl_weight: Weight of the divergence in the loss; 1 is the bound on the likelihood.
    """

    latent: int = 32
    width: int = 256
    prior_steps: int = 3000
    updates: int = 100
    batch_size: int = 256
    learning_rate: float = 1e-3
    kl_weight: float = 1.0

    def __post_init__(self) -> None:
        require_at_least(self, 1, "latent", "width", "prior_steps", "updates", "batch_size")
        require_at_least(self, 0, "learning_rate", "kl_weight")

    def training(self, steps: int) -> VAETraining:
        """Return the settings of a training of a number of updates."""
        return VAETraining(steps, self.batch_size, self.learning_rate, self.kl_weight)


@dataclass(frozen=True)
class SamplingConfig:
    """Settings of the adaptive sampling.

    Args:
        rounds: Number of rounds; in each, designs are drawn and q is trained on them.
        samples: Designs drawn in a round.
        percentile: Percentile of the predictions of these designs that gamma is; in [0, 100].
        effective_share: Share of the effective sample size, in [0, 1], that the ratio of densities
            must leave; the ratio is flattened until it does. 0: never flattened.
    """

    rounds: int = 20
    samples: int = 1000
    percentile: float = 80.0
    effective_share: float = 0.5

    def __post_init__(self) -> None:
        require_at_least(self, 1, "samples")
        require_at_least(self, 0, "rounds", "percentile", "effective_share")
        if self.percentile > 100 or self.effective_share > 1:
            raise ValueError(
                "percentile is at most 100 and effective_share at most 1, "
                f"got {self.percentile} and {self.effective_share}"
            )


_SURROGATE = EnsembleConfig(layers=1)


@dataclass(frozen=True)
class CbASConfig:
    """Settings of `CbAS`.

    Args:
        surrogate: Settings of the ensemble.
        vae: Settings of the prior and the search model.
        sampling: Settings of the rounds.
        encoder: Name of the encoder of the ensemble, and of the VAEs for continuous designs.
    """

    surrogate: EnsembleConfig = _SURROGATE
    vae: DesignVAEConfig = DesignVAEConfig()
    sampling: SamplingConfig = SamplingConfig()
    encoder: str = "z_score"


@dataclass(frozen=True)
class AutofocusedCbASConfig:
    """Settings of `AutofocusedCbAS`.

    Args:
        surrogate: Settings of the ensemble.
        vae: Settings of the prior and the search model.
        sampling: Settings of the rounds.
        refine_steps: Gradient updates of the ensemble after each round.
        encoder: Name of the encoder of the ensemble, and of the VAEs for continuous designs.
    """

    surrogate: EnsembleConfig = _SURROGATE
    vae: DesignVAEConfig = DesignVAEConfig()
    sampling: SamplingConfig = SamplingConfig()
    refine_steps: int = 200
    encoder: str = "z_score"

    def __post_init__(self) -> None:
        require_at_least(self, 0, "refine_steps")


# Epochs of the paper's runs are counted in updates of the 32,898 visible rows of TFBind8.
_PAPER_SURROGATE = EnsembleConfig(layers=1, learning_rate=3e-4, batch_size=100, train_steps=29_600)
_PAPER_VAE = DesignVAEConfig(learning_rate=3e-4, batch_size=100, prior_steps=65_800)
_PAPER_SAMPLING = SamplingConfig(effective_share=0.0)
_LIGHT_SURROGATE = EnsembleConfig(layers=1, hidden=16, train_steps=20, batch_size=32)
_LIGHT_VAE = DesignVAEConfig(width=8, prior_steps=20, updates=4, batch_size=32)
_LIGHT_SAMPLING = SamplingConfig(rounds=2, samples=40)

_PAPER = (
    "Brookes, Park and Listgarten 2019, Conditioning by Adaptive Sampling for Robust Design, "
    "ICML, arXiv 1901.10060"
)
_DIFFERENCES = (
    Difference(
        "the ratio p / q weighs designs as it is",
        "the ratio is flattened: raised to the highest power of at most 1 that keeps half of the "
        "effective sample size (`sampling.effective_share`; 0 in preset `paper`)",
        "over dozens of sites or features the ratio gives a handful of designs all of the weight",
    ),
    Difference(
        "29,600 updates of the ensemble and 65,800 of the prior, in batches of 100 (TFBind8)",
        "3,000 updates of each, in batches of 256",
        "to save time; preset `paper` has the settings of design-baselines",
    ),
    Difference(
        "each network predicts its own variance and is trained on a bootstrap (design-baselines)",
        "the variance is that of the networks plus that of their errors on held-out rows, or of "
        "all scores where no rows are held out; networks differ in initial weights and batches",
        "the errors include the disagreement of the networks, so this is slightly wide",
    ),
    Difference(
        "weights are used as computed",
        "weights are computed from their logarithms and have mean 1 in each round",
        "no overflow, and the size of an update does not depend on the round",
    ),
    Difference(
        "Adam goes on from round to round",
        "Adam starts anew in each round, with a rate that falls to 0",
        "the schedule of every training of a VAE here",
    ),
    Difference(
        "continuous designs have one spread for each latent and feature",
        "continuous designs are Gaussian with one spread for each feature",
        "one likelihood for every continuous VAE here",
    ),
    Difference(
        "the surrogate sees continuous designs as they are drawn",
        "it sees them clipped to the space",
        "as they are proposed",
    ),
)
_METRICS = {
    "surrogate/loss": "squared error of the ensemble in training",
    "prior/loss": "loss of the prior: reconstruction plus `kl_weight` times divergence",
    "prior/reconstruction": "negative log-likelihood of a design, in nats",
    "prior/kl": "divergence of the posterior from the prior of the latents, in nats",
    "search/prediction": "mean prediction of the designs shown, in standard deviations",
    "cbas/gamma": "threshold of a round, in standard deviations of the visible scores",
    "cbas/mean": "mean prediction of the designs of a round",
    "cbas/above": "mean probability that a design of a round scores at least gamma",
    "cbas/error": "root mean squared error of the ensemble on held-out rows",
    "cbas/effective_size": "effective sample size of the weights of a round",
    "cbas/power": "power to which the ratio of densities is raised",
}
_EQUATIONS = (
    r"w(x, z) = \frac{p(x \mid z)}{q(x \mid z)} \, P(Y \ge \gamma \mid x)",
    r"q \leftarrow \arg\max_q \sum_{(x, z)} w(x, z) \log q(x)",
)


class CbAS(Method):
    """CbAS: conditioning by adaptive sampling (Brookes, Park and Listgarten, ICML 2019).

    Algorithm:
        1. fit an ensemble of networks on the visible designs: p(Y | x), Gaussian
        2. train a VAE p on the visible designs, whatever their scores; the search model q starts
           as its copy
        3. repeat `rounds` times:
           a. draw latents z from N(0, 1) and designs x from q(x | z)
           b. gamma <- the 80th percentile of their predictions, unless it was higher before
           c. train q on them, weighed by p(x | z) / q(x | z) * P(Y >= gamma | x)
        4. propose K designs drawn from q, the highest prediction first

    Args:
        config: Settings; preset `paper` has those of design-baselines.

    Attributes:
        scores: Ensemble p(Y | x).
        models: Prior p and search model q.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("cbas", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Brookes, Park and Listgarten 2019, Conditioning by Adaptive Sampling for Robust Design,
        arXiv 1901.10060. Settings of `paper`: Trabucco et al. 2022, Design-Bench, arXiv 2202.08450.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="CbAS: conditioning by adaptive sampling",
        paper=_PAPER,
        differences=_DIFFERENCES,
        metrics=_METRICS,
        equations=_EQUATIONS,
    )
    Config: ClassVar[type[Any]] = CbASConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": CbASConfig(_PAPER_SURROGATE, _PAPER_VAE, _PAPER_SAMPLING),
        "light": CbASConfig(_LIGHT_SURROGATE, _LIGHT_VAE, _LIGHT_SAMPLING),
    }

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the ensemble, train the prior, and move the search model."""
        self.start(problem, context)
        config = self.config
        self.models = DesignModels(problem, config.vae, config.encoder, context)
        data = encoded(problem, self.models.encoder, context.device)
        measured = row_weights(problem, context.device)
        self.scores = ScoreModel.fit(data, config.surrogate, context, measured)
        generator = torch.Generator(context.device).manual_seed(context.seed)
        self.models.fit_prior(generator)
        watch = _watch(self.models, config.sampling.rounds)
        gamma = data.y.new_tensor(-torch.inf)
        for step in context.progress.track(range(config.sampling.rounds), "adaptive sampling"):
            gamma, shown = sampling_round(
                self.models, self.scores, gamma, config.sampling, generator, watch, step
            )
            context.progress.metrics("cbas", step, **shown, error=float(self.scores.error))

    def propose(self, k: int) -> Proposals:
        """Draw `k` designs from the search model; the criterion is the prediction."""
        return drawn_proposals(self.models, self.scores, self.config.sampling.rounds, k)

    def write_state(self, folder: Path) -> None:
        """Write the ensemble, the prior and the search model."""
        self.scores.save(folder)
        self.models.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the ensemble, the prior and the search model."""
        config = self.config
        self.scores = ScoreModel.load(folder, self.context.device)
        self.models = DesignModels(self.problem, config.vae, config.encoder, self.context)
        self.models.load(folder)


class AutofocusedCbAS(Method):
    """Autofocused CbAS: CbAS whose ensemble follows the search (Fannjiang and Listgarten, NeurIPS
    2020).

    Algorithm:
        1. fit an ensemble of networks on the visible designs: p(Y | x), Gaussian
        2. train a VAE p on the visible designs, whatever their scores; the search model q starts
           as its copy
        3. repeat `rounds` times:
           a. draw latents z from N(0, 1) and designs x from q(x | z)
           b. gamma <- the 80th percentile of their predictions, unless it was higher before
           c. train q on them, weighed by p(x | z) / q(x | z) * P(Y >= gamma | x)
           d. train the ensemble on, with the visible designs weighed by q(x | z) / p(x | z), each
              with a latent z of its own, drawn from N(0, 1)
        4. propose K designs drawn from q, the highest prediction first

    Args:
        config: Settings; preset `paper` has those of design-baselines.

    Attributes:
        scores: Ensemble p(Y | x).
        models: Prior p and search model q.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("autofocused_cbas", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Fannjiang and Listgarten 2020, Autofocused Oracles for Model-based Design, arXiv
        2006.08052. Settings of `paper`: Trabucco et al. 2022, Design-Bench, arXiv 2202.08450.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="Autofocused CbAS: adaptive sampling whose ensemble follows the search",
        paper=(
            "Fannjiang and Listgarten 2020, Autofocused Oracles for Model-based Design, NeurIPS, "
            "arXiv 2006.08052"
        ),
        differences=(
            *_DIFFERENCES,
            Difference(
                "the loss of a row is multiplied by its weight",
                "the weight is how often the row is drawn",
                "the same in expectation, and rows of weight near 0 cost no time",
            ),
        ),
        metrics=_METRICS,
        equations=(
            *_EQUATIONS,
            r"\beta \leftarrow \arg\min_\beta \sum_{(x, y)} \frac{q(x \mid z)}{p(x \mid z)}"
            r" \, (f_\beta(x) - y)^2",
        ),
    )
    Config: ClassVar[type[Any]] = AutofocusedCbASConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": AutofocusedCbASConfig(
            _PAPER_SURROGATE, _PAPER_VAE, _PAPER_SAMPLING, refine_steps=2960
        ),
        "light": AutofocusedCbASConfig(
            _LIGHT_SURROGATE, _LIGHT_VAE, _LIGHT_SAMPLING, refine_steps=4
        ),
    }

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the ensemble, train the prior, and move search model and ensemble in turn."""
        self.start(problem, context)
        config = self.config
        share = config.sampling.effective_share
        self.models = DesignModels(problem, config.vae, config.encoder, context)
        data = encoded(problem, self.models.encoder, context.device)
        measured = row_weights(problem, context.device)
        self.scores = ScoreModel.fit(data, config.surrogate, context, measured)
        generator = torch.Generator(context.device).manual_seed(context.seed)
        self.models.fit_prior(generator)
        watch = _watch(self.models, config.sampling.rounds)
        gamma = data.y.new_tensor(-torch.inf)
        for step in context.progress.track(range(config.sampling.rounds), "adaptive sampling"):
            gamma, shown = sampling_round(
                self.models, self.scores, gamma, config.sampling, generator, watch, step
            )
            log_ratio = self.models.log_ratio_of_visible(generator)
            weight, _ = flattened_weights(torch.zeros_like(log_ratio), log_ratio, share)
            if measured is not None:
                weight = weight * measured
            self.scores = self.scores.refined(data, weight, config.refine_steps, generator)
            context.progress.metrics("cbas", step, **shown, error=float(self.scores.error))

    def propose(self, k: int) -> Proposals:
        """Draw `k` designs from the search model; the criterion is the prediction."""
        return drawn_proposals(self.models, self.scores, self.config.sampling.rounds, k)

    def write_state(self, folder: Path) -> None:
        """Write the ensemble, the prior and the search model."""
        self.scores.save(folder)
        self.models.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the ensemble, the prior and the search model."""
        config = self.config
        self.scores = ScoreModel.load(folder, self.context.device)
        self.models = DesignModels(self.problem, config.vae, config.encoder, self.context)
        self.models.load(folder)


def sampling_round(
    models: DesignModels,
    scores: ScoreModel,
    gamma: Tensor,
    config: SamplingConfig,
    generator: torch.Generator,
    watch: SearchWatch,
    step: int,
) -> tuple[Tensor, dict[str, float]]:
    """Make steps a to c of a round; return the new threshold () and the metrics of the round.

    Args:
        models: Prior and search model; the search model is trained.
        scores: Ensemble.
        gamma: () threshold of the round before.
        config: Settings.
        generator: Source of randomness.
        watch: Called with features and predictions of the first designs.
        step: Number of the round.
    """
    latents, x = models.draw(config.samples, generator)
    mean, spread = scores.belief(models.features(x))
    watch(step, models.features(x[:_SHOWN]), mean[:_SHOWN])
    gamma = torch.maximum(gamma, mean.quantile(config.percentile / 100))
    log_above = torch.special.log_ndtr((mean - gamma) / spread)  # log P(Y >= gamma | x)
    log_ratio = -models.log_ratio(x, latents)  # log p(x | z) / q(x | z)
    weight, power = flattened_weights(log_above, log_ratio, config.effective_share)
    models.train_on(x, weight, generator)
    shown = {
        "gamma": float(gamma),
        "mean": float(mean.mean()),
        "above": float(log_above.exp().mean()),
        "effective_size": effective_size(weight),
        "power": power,
    }
    return gamma, shown


def drawn_proposals(models: DesignModels, scores: ScoreModel, rounds: int, k: int) -> Proposals:
    """Draw `k` designs from the search model, the highest prediction first."""
    generator = torch.Generator(models.device).manual_seed(models.context.seed)
    _, x = models.draw(k, generator)
    prediction = scores.members(models.features(x)).mean(dim=1)
    order = prediction.argsort(descending=True, stable=True)
    x = x[order]
    prediction = prediction[order]
    _watch(models, rounds)(rounds, models.features(x[:_SHOWN]), prediction[:_SHOWN])
    designs = models.designs(x)
    if not isinstance(models.problem.space, MixedSpace):
        return Proposals(designs, prediction.cpu().numpy(), unit="deviations")

    def predict(found: np.ndarray) -> np.ndarray:
        z = models.encoder.features(found, models.device)
        return np.asarray(scores.members(z).mean(dim=1).cpu().numpy())

    seed = models.context.seed
    return distinct_proposals(
        models.problem, designs, k, seed=seed, predict=predict, unit="deviations"
    )


def _watch(models: DesignModels, rounds: int) -> SearchWatch:
    return SearchWatch(models.problem, models.encoder, "search", rounds, models.context.progress)


@dataclass(frozen=True, eq=False)
class ScoreModel:
    """p(Y | x): an ensemble, and its error on rows held out.

    Args:
        ensemble: Fitted ensemble.
        error: () its root mean squared error on rows held out; 1 where there are none.
        held: Rows held out.
        trained: Rows that it was fitted on.
    """

    ensemble: EnsembleSurrogate
    error: Tensor
    held: Tensor
    trained: Tensor

    @classmethod
    def fit(
        cls,
        data: Encoded,
        config: EnsembleConfig,
        context: Context,
        row_weight: Tensor | None = None,
    ) -> ScoreModel:
        """Fit the ensemble on features and standardised scores.

        Args:
            data: Features and standardised scores.
            config: Settings of the ensemble.
            context: Seed, device and progress.
            row_weight: (N,) weights of the rows in the loss and in the held-out error, mean 1; None
                where all count alike.
        """
        ensemble = EnsembleSurrogate(config)
        ensemble.row_weight = row_weight
        ensemble.fit(data.z, data.y, seed=context.seed, progress=context.progress)
        order = torch.Generator(context.device).manual_seed(context.seed)  # as `Surrogate.fit`
        held, trained = hold_out(len(data.z), config.held_out, order)
        model = cls(ensemble, data.y.new_ones(()), held, trained)
        counted = torch.ones_like(data.y) if row_weight is None else row_weight
        return replace(model, error=model.held_out_error(data, counted))

    def members(self, z: Tensor) -> Tensor:
        """Predict with each member: features (n, d) -> (n, M)."""
        return predict_in_pieces(lambda part: self.ensemble.predict_members(part).T, z)

    def belief(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (n,) of Y at features (n, d)."""
        members = self.members(z)
        variance = members.var(dim=1, correction=0) + self.error.square()
        return members.mean(dim=1), variance.sqrt()

    def held_out_error(self, data: Encoded, row_weight: Tensor) -> Tensor:
        """Return the root mean squared error () on rows held out, weighed by (N,)."""
        held = self.held
        if not len(held):
            return data.y.new_ones(())
        mean = predict_in_pieces(self.ensemble.predict, data.z[held])
        weight = row_weight[held] / row_weight[held].sum()
        return (weight * (mean - data.y[held]).square()).sum().sqrt()

    def refined(
        self, data: Encoded, row_weight: Tensor, steps: int, generator: torch.Generator
    ) -> ScoreModel:
        """Train the ensemble on, on rows drawn by weight (N,), and weigh its error alike."""
        rows = self.trained
        self.ensemble.refine(data.z[rows], data.y[rows], row_weight[rows], steps, generator)
        return replace(self, error=self.held_out_error(data, row_weight))

    def save(self, folder: Path) -> None:
        """Write the ensemble and what is known of its error."""
        self.ensemble.save(folder / SURROGATE_FILE)
        rows = {"error": self.error, "held": self.held, "trained": self.trained}
        save_weights(folder / "error.safetensors", rows)

    @classmethod
    def load(cls, folder: Path, device: str) -> ScoreModel:
        """Read what `save` wrote."""
        ensemble = load_surrogate(folder / SURROGATE_FILE).to(device)
        assert isinstance(ensemble, EnsembleSurrogate)
        return cls(ensemble, **load_weights(folder / "error.safetensors", device))


class DesignModels:
    """The prior p and the search model q: two VAEs of designs.

    The VAEs see categorical designs as letters, continuous ones as features.

    Args:
        problem: Problem whose visible designs they are trained on.
        config: Settings.
        encoder: Name of the encoder.
        context: Seed, device and progress.

    Attributes:
        prior: VAE p.
        model: VAE q.
        encoder: Encoder of the features.
    """

    def __init__(
        self, problem: OfflineProblem, config: DesignVAEConfig, encoder: str, context: Context
    ) -> None:
        self.problem = problem
        self.config = config
        self.context = context
        self.device = context.device
        self.encoder = make_encoder(problem, encoder)
        space = problem.space
        self.categorical = isinstance(space, CategoricalSpace)
        likelihood = (
            Categorical(space.length, space.n_categories)
            if isinstance(space, CategoricalSpace)
            else Gaussian(self.encoder.n_features)
        )
        # torch's layers draw initial weights from the global state; `fit_prior` draws them anew.
        with torch.random.fork_rng(devices=[]):
            prior = MLPVAE(likelihood, latent=config.latent, width=config.width)
        self.prior = prior.to(self.device)
        self.model = copy.deepcopy(self.prior)

    def visible(self) -> Tensor:
        """Return the visible designs as the VAEs see them, (N, *)."""
        x = torch.tensor(self.problem.dataset.x).to(self.device)
        return x if self.categorical else self.encoder.encode_tensor(x)

    def fit_prior(self, generator: torch.Generator) -> None:
        """Train the prior on the visible designs; the search model becomes its copy."""
        self.prior.initialise(generator)
        training = self.config.training(self.config.prior_steps)
        progress = self.context.progress
        fit_vae(self.prior, self.visible(), training, generator, progress=progress, stage="prior")
        self.model = copy.deepcopy(self.prior)

    def train_on(self, x: Tensor, weight: Tensor, generator: torch.Generator) -> None:
        """Train the search model on designs (n, *) of weights (n,)."""
        training = self.config.training(self.config.updates)
        fit_vae(self.model, x, training, generator, row_weight=weight)

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw latents (n, latent) from N(0, 1) and designs (n, *) from q at these latents."""
        latents = torch.randn(n, self.config.latent, generator=generator, device=self.device)
        with torch.no_grad():
            return latents, self.model.likelihood.sample(self.model.decode(latents), generator)

    def log_ratio(self, x: Tensor, latents: Tensor) -> Tensor:
        """Return log q(x | z) - log p(x | z) for designs (n, *) at latents (n, latent); (n,)
        float64."""
        pairs = zip(torch.split(x, _PIECE), torch.split(latents, _PIECE), strict=True)
        with torch.no_grad():
            return torch.cat(
                [
                    _log_density(self.model, *pair) - _log_density(self.prior, *pair)
                    for pair in pairs
                ]
            )

    def log_ratio_of_visible(self, generator: torch.Generator) -> Tensor:
        """Return `log_ratio` (N,) of the visible designs, each at a latent drawn from N(0, 1)."""
        x = self.visible()
        latents = torch.randn(len(x), self.config.latent, generator=generator, device=self.device)
        return self.log_ratio(x, latents)

    def features(self, x: Tensor) -> Tensor:
        """Return the features (n, d) of designs (n, *), clipped to the space."""
        return self.encoder.encode_tensor(x if self.categorical else self.encoder.decode_tensor(x))

    def designs(self, x: Tensor) -> np.ndarray:
        """Return the native designs (n, *shape) of designs (n, *)."""
        native = x if self.categorical else self.encoder.decode_tensor(x)
        return np.asarray(native.cpu().numpy(), dtype=self.problem.space.dtype)

    def save(self, folder: Path) -> None:
        """Write the weights of both."""
        save_weights(folder / PRIOR_FILE, self.prior.state_dict())
        save_weights(folder / MODEL_FILE, self.model.state_dict())

    def load(self, folder: Path) -> None:
        """Read the weights of both."""
        self.prior.load_state_dict(load_weights(folder / PRIOR_FILE))
        self.model.load_state_dict(load_weights(folder / MODEL_FILE))
        self.prior.requires_grad_(False)
        self.model.requires_grad_(False)


def flattened_weights(log_weight: Tensor, log_ratio: Tensor, least: float) -> tuple[Tensor, float]:
    """Return weights proportional to exp(log_weight + t log_ratio), of mean 1, and the power t.

    t is the highest power in [0, 1], by bisection, that leaves at least a share of the effective
    sample size at t = 0.

    Args:
        log_weight: (n,) logarithms.
        log_ratio: (n,) logarithms of the ratio to flatten.
        least: Share, in [0, 1]; 0 for t = 1 in any case.
    """
    log_weight = log_weight.double()
    log_ratio = log_ratio.double()

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
