"""The convolutional variational autoencoder (VAE) of categorical designs: the network and its
training.

The encoder of designs made of it is in `mbo_gym.encoders.vae`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mbo_gym.nn.vae import VAE, Categorical, VAETraining, fit_vae
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import require_at_least

__all__ = ["SequenceVAE", "VAEConfig", "new_network", "train_vae"]


@dataclass(frozen=True)
class VAEConfig(VAETraining):
    """Settings of a sequence VAE; the defaults train in about a minute on one core for designs of 8
    sites.

    The time of a step grows with the number of sites. The training's settings are in `VAETraining`.
    On TFBind8-Exact-v0 with samples, a `kl_weight` of 1 leaves every latent unused, 0.1 half of
    them, and 0.01 gives all held-out designs back.

    Args:
        latent: Number of latents, the encoder's features d.
        width: Channels of the embedding and the convolutions.
        blocks: Residual blocks of each half; between two of them the sites are halved.
        held_out: Share of the rows that `fit_vae_encoder` keeps back for the report, in [0, 1).
    """

    kl_weight: float = 0.01
    latent: int = 32
    width: int = 64
    blocks: int = 4
    held_out: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "latent", "width", "blocks")
        require_at_least(self, 0, "held_out")
        if self.held_out >= 1:
            raise ValueError(f"held_out is a share in [0, 1), got {self.held_out}")


class _Block(nn.Module):
    """h + convolution of kernel 3 of relu(LayerNorm(h)), as one matrix product over three shifted
    copies."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(3 * width, width)

    def forward(self, h: Tensor) -> Tensor:  # (B, l, C)
        inner = functional.pad(self.norm(h).relu(), (0, 0, 1, 1))
        change: Tensor = self.linear(
            torch.cat([inner[:, :-2], inner[:, 1:-1], inner[:, 2:]], dim=2)
        )
        return h + change


class SequenceVAE(VAE):
    """Designs of L sites and A letters to a Gaussian over latents, and latents to letters' logits.

    The encoder: letters' embedding, sinusoidal positions, LayerNorm, then residual convolutions
    with average pooling by 2 between them (8 -> 4 -> 2 -> 1 sites), and a linear layer over what is
    left. The decoder is its mirror image, with repeated in place of averaged sites. An odd number
    of sites is rounded up by repeating the last one, and cut back on the way out, so any length
    will do.

    Source: the VAE of policy-guided search's released program (PGS, arXiv 2405.05349), which has
    the same embedding, positions, number and width of blocks, pooling and latents. The inside of a
    block, positions in the decoder and what becomes of sites that pooling leaves over are our own
    choice.

    Args:
        length: L.
        n_categories: A.
        latent: Number of latents.
        width: Channels.
        blocks: Residual blocks of each half.
    """

    positions: Tensor

    def __init__(
        self, length: int, n_categories: int, *, latent: int = 32, width: int = 64, blocks: int = 4
    ) -> None:
        super().__init__(Categorical(length, n_categories), latent)
        self.sizes = [-(-length // 2**i) for i in range(blocks)]  # sites that each block sees
        self.embedding, self.norm = nn.Embedding(n_categories, width), nn.LayerNorm(width)
        self.register_buffer("positions", _sinusoids(length, width), persistent=False)
        self.encoder = nn.ModuleList(_Block(width) for _ in self.sizes)
        self.to_posterior = nn.Linear(self.sizes[-1] * width, 2 * latent)
        self.from_latents = nn.Linear(latent, self.sizes[-1] * width)
        self.decoder = nn.ModuleList(_Block(width) for _ in self.sizes)
        self.to_logits = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_categories))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance (B, latent) of the latents of designs (B, L)."""
        h = self.norm(self.embedding(x.long()) + self.positions)  # (B, L, C)
        for i, block in enumerate(self.encoder):
            h = block(h if i == 0 else _halved(h))
        mean, log_variance = self.to_posterior(h.flatten(1)).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latents: Tensor) -> Tensor:
        """Return the letters' logits (B, L, A) at latents (B, latent)."""
        h = self.from_latents(latents).unflatten(1, (self.sizes[-1], -1))
        for i, (block, size) in enumerate(zip(self.decoder, reversed(self.sizes), strict=True)):
            h = h if i == 0 else h.repeat_interleave(2, dim=1)[:, :size]
            h = block(h + self.positions[:size])
        logits: Tensor = self.to_logits(h)
        return logits


def train_vae(
    space: CategoricalSpace,
    x: Tensor,
    config: VAEConfig,
    *,
    seed: int,
    progress: Progress | None = None,
) -> SequenceVAE:
    """Train a new VAE on designs; the same seed gives the same network on a CPU, and no global
    random state changes.

    Differs from the paper: PGS trains 50 epochs with batches of 32 and a constant rate of 3e-4, on
    the posterior's means with a KL weight of 1; `VAEConfig` says what the defaults here are for.

    Args:
        space: Where the designs live.
        x: (N, L) designs, on the device to train on.
        config: The settings; `held_out` plays no part.
        seed: Seed of weights, batches and latents.
        progress: Gets the losses.
    """
    generator = torch.Generator(x.device).manual_seed(seed)
    network = new_network(space, config).to(x.device)
    network.initialise(generator)
    fit_vae(network, x, config, generator, progress=progress)
    return network


def new_network(space: CategoricalSpace, config: VAEConfig) -> SequenceVAE:
    """Build an untrained VAE for a space; torch's global random state stays as it was."""
    shape = {"latent": config.latent, "width": config.width, "blocks": config.blocks}
    with torch.random.fork_rng(
        devices=[]
    ):  # torch's layers draw their first weights from the global state
        return SequenceVAE(space.length, space.n_categories, **shape)


def _halved(h: Tensor) -> Tensor:
    """Average neighbouring sites: (B, l, C) to (B, ceil(l / 2), C); a last one without a neighbour
    stays as it is."""
    if h.shape[1] % 2:
        h = torch.cat([h, h[:, -1:]], dim=1)
    return h.view(len(h), h.shape[1] // 2, 2, h.shape[2]).mean(dim=2)


def _sinusoids(length: int, width: int) -> Tensor:
    """Return the positions' sines and cosines, (length, width)."""
    angle = torch.arange(length).unsqueeze(1) / 10_000 ** (torch.arange(0, width, 2) / width)
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :width]
