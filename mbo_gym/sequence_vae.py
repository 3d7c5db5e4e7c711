"""A variational autoencoder (VAE) of categorical designs: the network and its training.

`SequenceVAE.losses` gives the two terms of the bound for each design, so that a caller may weigh designs or terms;
`SequenceVAE.decode` gives the letters' logits at any latents. The encoder made of it is in `mbo_gym.vae_encoder`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from mbo_gym.progress import NullProgress, Progress
from mbo_gym.settings import require_at_least
from mbo_gym.space import CategoricalSpace

__all__ = ["SequenceVAE", "VAEConfig", "new_network", "train_vae"]

Latents: TypeAlias = Literal["sample", "mean"]


@dataclass(frozen=True)
class VAEConfig:
    """Settings of a sequence VAE; the defaults train in about a minute on one core for designs of 8 sites.

    The time of a step grows with the number of sites.

    Args:
        latent: Number of latents, the encoder's features d.
        width: Channels of the embedding and the convolutions.
        blocks: Residual blocks of each half; between two of them the sites are halved.
        steps: Gradient updates. Counted in steps, not epochs, so that the time does not grow with the data.
        batch_size: Rows an update.
        learning_rate: Adam's, decayed to 0 along a cosine.
        kl_weight: Weight of the divergence from the prior beside the reconstruction, which is summed over the sites; 1
            is the bound on the likelihood. On TFBind8-Exact-v0 with samples, 1 leaves every latent unused, 0.1 half of
            them, and 0.01 gives all held-out designs back.
        latents: What the decoder reads in training: a ``sample`` of the posterior (a VAE), or its ``mean``, which
            leaves an autoencoder with small weights for the latents: nothing can be sampled from it.
        held_out: Share of the rows that `fit_vae_encoder` keeps back for the report, in [0, 1).
    """

    latent: int = 32
    width: int = 64
    blocks: int = 4
    steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 1e-3
    kl_weight: float = 0.01
    latents: Latents = "sample"
    held_out: float = 0.1

    def __post_init__(self) -> None:
        require_at_least(self, 1, "latent", "width", "blocks", "steps", "batch_size")
        require_at_least(self, 0, "learning_rate", "kl_weight", "held_out")
        if self.held_out >= 1:
            raise ValueError(f"held_out is a share in [0, 1), got {self.held_out}")
        if self.latents not in get_args(Latents):
            raise ValueError(f"latents must be one of {get_args(Latents)}, got {self.latents!r}")


class _Block(nn.Module):
    """h + convolution of kernel 3 of relu(LayerNorm(h)), as one matrix product over three shifted copies."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(3 * width, width)

    def forward(self, h: Tensor) -> Tensor:  # (B, l, C)
        inner = functional.pad(self.norm(h).relu(), (0, 0, 1, 1))
        change: Tensor = self.linear(torch.cat([inner[:, :-2], inner[:, 1:-1], inner[:, 2:]], dim=2))
        return h + change


class SequenceVAE(nn.Module):
    """Designs of L sites and A letters to a Gaussian over latents, and latents to letters' logits.

    The encoder: letters' embedding, sinusoidal positions, LayerNorm, then residual convolutions with average pooling by
    2 between them (8 -> 4 -> 2 -> 1 sites), and a linear layer over what is left. The decoder is its mirror image, with
    repeated in place of averaged sites. An odd number of sites is rounded up by repeating the last one, and cut back on
    the way out, so any length will do.

    Source: the VAE of policy-guided search's released program (PGS, arXiv 2405.05349), which has the same embedding,
    positions, number and width of blocks, pooling and latents. The inside of a block, positions in the decoder and
    what becomes of sites that pooling leaves over are our own choice.

    Args:
        length: L.
        n_categories: A.
        latent: Number of latents.
        width: Channels.
        blocks: Residual blocks of each half.
    """

    positions: Tensor

    def __init__(self, length: int, n_categories: int, *, latent: int = 32, width: int = 64, blocks: int = 4) -> None:
        super().__init__()
        self.sizes = [-(-length // 2**i) for i in range(blocks)]  # sites that each block sees
        self.embedding, self.norm = nn.Embedding(n_categories, width), nn.LayerNorm(width)
        self.register_buffer("positions", _sinusoids(length, width), persistent=False)
        self.encoder = nn.ModuleList(_Block(width) for _ in self.sizes)
        self.to_posterior = nn.Linear(self.sizes[-1] * width, 2 * latent)
        self.from_latents = nn.Linear(latent, self.sizes[-1] * width)
        self.decoder = nn.ModuleList(_Block(width) for _ in self.sizes)
        self.to_logits = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_categories))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights anew from a generator on the network's device."""
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Linear):
                    bound = module.in_features**-0.5
                    module.weight.uniform_(-bound, bound, generator=generator)
                    module.bias.uniform_(-bound, bound, generator=generator)
                elif isinstance(module, nn.Embedding):
                    module.weight.normal_(generator=generator)
                elif isinstance(module, nn.LayerNorm):
                    module.reset_parameters()

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

    def losses(self, x: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Return the two terms of the negative bound for each design, in nats; (B,), (B,).

        Args:
            x: (B, L) designs.
            generator: Draws the latents from the posterior; None for the posterior's mean.

        Returns:
            The cross-entropy of the letters, summed over the sites, and the posterior's divergence from N(0, 1), summed
            over the latents.
        """
        mean, log_variance = self.posterior(x)
        latents = mean
        if generator is not None:
            noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
            latents = mean + noise * (0.5 * log_variance).exp()
        logits = self.decode(latents)
        reconstruction = functional.cross_entropy(logits.flatten(0, 1), x.long().flatten(), reduction="none")
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)
        return reconstruction.view(x.shape).sum(dim=1), divergence


def train_vae(
    space: CategoricalSpace, x: Tensor, config: VAEConfig, *, seed: int, progress: Progress | None = None
) -> SequenceVAE:
    """Train a new VAE on designs; the same seed gives the same network on a CPU, and no global random state changes.

    Differs from the paper: PGS trains 50 epochs with batches of 32 and a constant rate of 3e-4, on the posterior's
    means with a KL weight of 1; `VAEConfig` says what the defaults here are for.

    Args:
        space: Where the designs live.
        x: (N, L) designs, on the device to train on.
        config: The settings; `held_out` plays no part.
        seed: Of weights, batches and latents.
        progress: Gets the losses.
    """
    progress, device = progress or NullProgress(), x.device
    generator = torch.Generator(device).manual_seed(seed)
    network = new_network(space, config).to(device)
    network.initialise(generator)
    adam = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, config.steps)
    batch, every = min(config.batch_size, len(x)), max(1, config.steps // 50)
    pool = torch.empty(0, dtype=torch.int64, device=device)
    for step in progress.track(range(config.steps), "training vae"):
        if len(pool) < batch:
            pool = torch.randperm(len(x), generator=generator, device=device)
        rows, pool = pool[:batch], pool[batch:]
        terms = network.losses(x[rows], generator if config.latents == "sample" else None)
        reconstruction, divergence = (term.mean() for term in terms)
        loss = reconstruction + config.kl_weight * divergence
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        decay.step()
        if step % every == 0 or step == config.steps - 1:
            shown = {"reconstruction": reconstruction, "kl": divergence, "loss": loss}
            progress.metrics("vae", step, **{name: float(value.detach()) for name, value in shown.items()})
    return network.requires_grad_(False)


def new_network(space: CategoricalSpace, config: VAEConfig) -> SequenceVAE:
    """Build an untrained VAE for a space; torch's global random state stays as it was."""
    shape = {"latent": config.latent, "width": config.width, "blocks": config.blocks}
    with torch.random.fork_rng(devices=[]):  # torch's layers draw their first weights from the global state
        return SequenceVAE(space.length, space.n_categories, **shape)


def _halved(h: Tensor) -> Tensor:
    """Average neighbouring sites: (B, l, C) to (B, ceil(l / 2), C); a last one without a neighbour stays as it is."""
    if h.shape[1] % 2:
        h = torch.cat([h, h[:, -1:]], dim=1)
    return h.view(len(h), h.shape[1] // 2, 2, h.shape[2]).mean(dim=2)


def _sinusoids(length: int, width: int) -> Tensor:
    """Return the positions' sines and cosines, (length, width)."""
    angle = torch.arange(length).unsqueeze(1) / 10_000 ** (torch.arange(0, width, 2) / width)
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :width]
