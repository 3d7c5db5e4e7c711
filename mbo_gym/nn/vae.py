"""Variational autoencoders (VAEs) of designs: what all share, one of perceptrons, and their
training.

A VAE (Kingma and Welling, arXiv 1312.6114) is a decoder p(x | latents) under the prior N(0, 1) of
the latents, trained with an encoder q(latents | x) by a bound on the likelihood. `VAE.losses` gives
the bound's two terms for each design, so that a caller may weigh designs or terms. What the
decoder's outputs mean is the `Likelihood`'s: letters' logits for categorical designs, means for
continuous ones. The convolutional network is in `mbo_gym.nn.sequence_vae`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import log, pi, prod
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from mbo_gym.nn.rows import RowPool, permuted
from mbo_gym.nn.training import TrainingConfig, train
from mbo_gym.nn.weights import draw_weights
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import require_at_least

__all__ = ["MLPVAE", "VAE", "Categorical", "Gaussian", "Likelihood", "VAETraining", "fit_vae"]

Latents: TypeAlias = Literal["sample", "mean"]

_LEAST_SPREAD = 0.01  # a feature that never varies would have none, and an infinite density


class Likelihood(nn.Module, ABC):
    """The distribution of a design, given the decoder's outputs.

    Attributes:
        shape: Shape of the outputs for one design.
        n_inputs: Length of the vector that encodes one design.
    """

    shape: tuple[int, ...]
    n_inputs: int

    @abstractmethod
    def inputs(self, x: Tensor) -> Tensor:
        """Return designs as a perceptron reads them, (B, n_inputs)."""

    @abstractmethod
    def log_probability(self, outputs: Tensor, x: Tensor) -> Tensor:
        """Return the logarithm of each design's probability or density under outputs (B, *shape),
        in nats; (B,)."""

    @abstractmethod
    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one design for each row of outputs (B, *shape)."""


class Categorical(Likelihood):
    """L independent sites of A letters; the outputs are logits (B, L, A), the designs letters (B,
    L).

    Args:
        length: L.
        n_categories: A.
    """

    def __init__(self, length: int, n_categories: int) -> None:
        super().__init__()
        self.shape, self.n_inputs = (length, n_categories), length * n_categories

    def inputs(self, x: Tensor) -> Tensor:
        """Return indicators of the letters, (B, L A)."""
        return functional.one_hot(x.long(), self.shape[1]).flatten(1).float()

    def log_probability(self, outputs: Tensor, x: Tensor) -> Tensor:
        """Return the logarithm of the letters' probability, summed over the sites; (B,)."""
        of_sites = functional.cross_entropy(
            outputs.flatten(0, 1), x.long().flatten(), reduction="none"
        )
        return -of_sites.view(x.shape).sum(dim=1)

    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw letters (B, L) int64."""
        of_sites = outputs.flatten(0, 1).softmax(dim=1).multinomial(1, generator=generator)
        return of_sites.view(outputs.shape[:2])


class Gaussian(Likelihood):
    """d independent features; the outputs are their means (B, d), and each feature has one learned
    spread.

    The spread is at least 0.01.

    Args:
        n_features: d.
    """

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.shape, self.n_inputs = (n_features,), n_features
        self.log_spread = nn.Parameter(torch.zeros(n_features))

    def reset_parameters(self) -> None:
        """Set the spreads to 1, as at the start."""
        nn.init.zeros_(self.log_spread)

    @property
    def spread(self) -> Tensor:
        """The features' standard deviations, (d,)."""
        return _LEAST_SPREAD + self.log_spread.exp()

    def inputs(self, x: Tensor) -> Tensor:
        """Return the features as they are, (B, d)."""
        return x

    def log_probability(self, outputs: Tensor, x: Tensor) -> Tensor:
        """Return the logarithm of the density, summed over the features; (B,)."""
        spread = self.spread
        return -(0.5 * ((x - outputs) / spread).square() + spread.log() + 0.5 * log(2 * pi)).sum(
            dim=1
        )

    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw features (B, d)."""
        return outputs + self.spread * torch.randn(
            outputs.shape, generator=generator, device=outputs.device
        )


class VAE(nn.Module, ABC):
    """What every VAE has; a subclass writes `posterior` and `decode`.

    Args:
        likelihood: What the decoder's outputs mean.
        latent: Number of latents.
    """

    def __init__(self, likelihood: Likelihood, latent: int) -> None:
        super().__init__()
        self.likelihood, self.latent = likelihood, latent

    @abstractmethod
    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance (B, latent) of the latents of B designs."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Return the likelihood's outputs (B, *shape) at latents (B, latent)."""

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights anew from a generator on the network's device."""
        draw_weights(self, generator)

    def losses(self, x: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Return the two terms of the negative bound for each design, in nats; (B,), (B,).

        Args:
            x: B designs.
            generator: Draws the latents from the posterior; None for the posterior's mean.

        Returns:
            The negative log-likelihood of the designs, summed over sites or features, and the
            posterior's divergence from N(0, 1), summed over the latents.
        """
        mean, log_variance = self.posterior(x)
        latents = mean
        if generator is not None:
            noise = torch.randn(
                mean.shape, generator=generator, device=mean.device, dtype=mean.dtype
            )
            latents = mean + noise * (0.5 * log_variance).exp()
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)
        return -self.likelihood.log_probability(self.decode(latents), x), divergence


class MLPVAE(VAE):
    """A VAE whose encoder and decoder are perceptrons of one hidden layer, ReLU, for designs of
    either kind.

    Args:
        likelihood: What the decoder's outputs mean.
        latent: Number of latents.
        width: Width of the hidden layers.
    """

    def __init__(self, likelihood: Likelihood, *, latent: int = 32, width: int = 256) -> None:
        super().__init__(likelihood, latent)
        self.encoder = nn.Sequential(
            nn.Linear(likelihood.n_inputs, width), nn.ReLU(), nn.Linear(width, 2 * latent)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, prod(likelihood.shape))
        )

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance (B, latent) of the latents of B designs."""
        mean, log_variance = self.encoder(self.likelihood.inputs(x)).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latents: Tensor) -> Tensor:
        """Return the likelihood's outputs (B, *shape) at latents (B, latent)."""
        outputs: Tensor = self.decoder(latents)
        return outputs.view(len(latents), *self.likelihood.shape)


@dataclass(frozen=True)
class VAETraining:
    """Settings of a VAE's training.

    Args:
        steps: Gradient updates. Counted in steps, not epochs, so that the time does not grow with
            the data.
        batch_size: Rows an update.
        learning_rate: Adam's, decayed to 0 along a cosine.
        kl_weight: Weight of the divergence from the prior beside the reconstruction, which is
            summed over the sites or features; 1 is the bound on the likelihood.
        latents: What the decoder reads in training: a ``sample`` of the posterior (a VAE), or its
            ``mean``, which leaves an autoencoder with small weights for the latents: nothing can be
            sampled from it.
    """

    steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 1e-3
    kl_weight: float = 1.0
    latents: Latents = "sample"

    def __post_init__(self) -> None:
        require_at_least(self, 1, "steps", "batch_size")
        require_at_least(self, 0, "learning_rate", "kl_weight")
        if self.latents not in get_args(Latents):
            raise ValueError(f"latents must be one of {get_args(Latents)}, got {self.latents!r}")


def fit_vae(
    vae: VAE,
    x: Tensor,
    config: VAETraining,
    generator: torch.Generator,
    *,
    row_weight: Tensor | None = None,
    progress: Progress | None = None,
    stage: str = "vae",
) -> None:
    """Train a VAE on, from the weights it has; it comes back without gradients.

    Args:
        vae: Network on the device of x.
        x: N designs.
        config: Settings.
        generator: Source of batches and latents, on the same device.
        row_weight: (N,) weight of each design's loss, not negative; None for 1.
        progress: Gets the losses.
        stage: Name of this training.
    """

    def loss(rows: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        noise = generator if config.latents == "sample" else None
        terms = vae.losses(x[rows], noise)
        if row_weight is not None:
            terms = terms[0] * row_weight[rows], terms[1] * row_weight[rows]
        reconstruction, divergence = (term.mean() for term in terms)
        bound = reconstruction + config.kl_weight * divergence
        return bound, {"reconstruction": reconstruction, "kl": divergence, "loss": bound}

    train(
        vae,
        loss,
        RowPool(permuted(len(x)), config.batch_size),
        TrainingConfig.plain(config.steps, config.batch_size, config.learning_rate),
        seed=generator,
        device=x.device,
        progress=progress,
        stage=stage,
    )
