"""A VAE and a GAN in the place of the diffusion model: same rows, same score asked for.

The GAN is the generator of `mins`, trained as there. The VAE has the layers of `cbas`; the score is
a further input of its encoder and its decoder.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from agents.generative.mins import MINs
from mbo_gym.encoders.base import Encoder, encoded
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.methods.base import Context
from mbo_gym.methods.registry import make_method
from mbo_gym.nn.vae import VAE, Gaussian, VAETraining, fit_vae
from mbo_gym.problem.task import OfflineProblem

__all__ = ["GANPrior", "Prior", "ScoreVAE", "VAEPrior"]


class Prior(Protocol):
    """A generative model of features, given a score."""

    encoder: Encoder
    """Between designs and features."""

    latent: int
    """Length of its base noise, which is N(0, 1)."""

    def designs(self, noise: Tensor, y: Tensor) -> Tensor:
        """Return features (B, d) for base noise (B, latent) and standardised scores (B,)."""
        ...


class ScoreVAE(VAE):
    """A VAE of features under a score, p(z | latents, y); its rows are (B, d + 1), the score last.

    Args:
        n_features: Number of features d.
        latent: Number of latents.
        width: Width of the hidden layers.
    """

    def __init__(self, n_features: int, latent: int = 32, width: int = 256) -> None:
        super().__init__(Gaussian(n_features), latent)
        self.encoder = nn.Sequential(
            nn.Linear(n_features + 1, width), nn.ReLU(), nn.Linear(width, 2 * latent)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent + 1, width), nn.ReLU(), nn.Linear(width, n_features)
        )

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance (B, latent) for features and scores (B, d + 1)."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latents: Tensor) -> Tensor:
        """Return the means (B, d) for latents and scores (B, latent + 1)."""
        means: Tensor = self.decoder(latents)
        return means

    def losses(self, x: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Return reconstruction and divergence (B,), (B,) of rows (B, d + 1)."""
        z, y = x[:, :-1], x[:, -1:]
        mean, log_variance = self.posterior(x)
        noise = torch.randn(mean.shape, generator=generator, device=x.device)
        latents = mean + noise * (0.5 * log_variance).exp()
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)
        means = self.decode(torch.cat([latents, y], 1))
        return -self.likelihood.log_probability(means, z), divergence


class VAEPrior:
    """The VAE, trained on all rows of a problem as the prior of `cbas` is.

    Args:
        problem: Problem whose rows have scores under one goal.
        seed: Seed of the training.
    """

    latent = 32

    def __init__(self, problem: OfflineProblem, seed: int) -> None:
        self.encoder = make_encoder(problem, "z_score")
        data = encoded(problem, self.encoder, "cpu")
        generator = torch.Generator().manual_seed(seed)
        self.vae = ScoreVAE(self.encoder.n_features, self.latent)
        self.vae.initialise(generator)
        rows = torch.cat([data.z, data.y[:, None]], 1)
        fit_vae(self.vae, rows, VAETraining(3000, 256), generator)

    def designs(self, noise: Tensor, y: Tensor) -> Tensor:
        """Return the means of features (B, d)."""
        with torch.no_grad():
            return self.vae.decode(torch.cat([noise, y[:, None]], 1))


class GANPrior:
    """The generator of `mins` with its default settings.

    Args:
        problem: Problem whose rows have scores under one goal.
        seed: Seed of the training.
    """

    def __init__(self, problem: OfflineProblem, seed: int) -> None:
        method = make_method("mins")
        assert isinstance(method, MINs)
        method.fit(problem, Context(seed))
        self.method = method
        self.encoder = method.encoder
        self.latent = method.config.network.latent

    def designs(self, noise: Tensor, y: Tensor) -> Tensor:
        """Return the features (B, d) that the generator makes."""
        with torch.no_grad():
            found: Tensor = self.method.generator(noise, y)
        return found
