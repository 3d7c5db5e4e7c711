"""Networks of a denoiser: MLPs for designs, a temporal U-Net for trajectories.

Each is called as ``network(z, noise, condition, extra)`` and returns a tensor of z's shape:

    z          (B, d) or (B, H, C)   features, scaled to about unit variance by the caller
    noise      (B,)                  function of the noise level, about -2 to 2
    condition  (B, c) or (B, H, c)   None, or numbers of about unit size, e.g. a standardised score
    extra      (B, H, E)             None, or more channels beside z, e.g. known steps and a mask

Initial weights come from torch's global random state; build a network inside
`mbo_gym.nn.weights.seeded` to fix them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ConcatMLP", "ScoreMLP", "TemporalUNet"]

_FREQUENCIES = 32


class ConcatMLP(nn.Module):
    """An MLP over z, noise and condition side by side, with SiLU between layers.

    With ``hidden=1024, layers=3, n_conditions=1, dropout=0.15`` and the time as noise it is the
    score network of DDOM's released program (Krishnamoorthy et al. 2023): 2.2 million weights at 60
    features.

    Args:
        n_features: d.
        hidden: Units of a hidden layer.
        layers: Hidden layers.
        n_conditions: c.
        dropout: Share of hidden units that are left out in training, in [0, 1).
    """

    def __init__(
        self,
        n_features: int,
        *,
        hidden: int = 1024,
        layers: int = 3,
        n_conditions: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check_sizes(n_features=n_features, hidden=hidden, layers=layers)
        self.n_conditions = n_conditions
        inner: list[nn.Module] = []
        for n_in, n_out in pairwise([n_features + 1 + n_conditions, *[hidden] * layers]):
            inner += [nn.Linear(n_in, n_out), nn.SiLU(), nn.Dropout(dropout)]
        self.network = nn.Sequential(*inner, nn.Linear(hidden, n_features))

    def forward(
        self, z: Tensor, noise: Tensor, condition: Tensor | None, extra: Tensor | None
    ) -> Tensor:
        """Return the output (B, d); `extra` must be None."""
        _check_inputs(z, condition, self.n_conditions, extra, 0)
        seen = [z, noise[:, None]] if condition is None else [z, noise[:, None], condition]
        output: Tensor = self.network(torch.cat(seen, dim=1))
        return output


class ScoreMLP(nn.Module):
    """A residual MLP whose units are scaled and shifted by noise and condition.

    h <- h + W dropout(SiLU((1 + scale) LayerNorm(h) + shift)), with scale and shift linear in an
    embedding of noise and condition. The output layer starts at 0.

    Args:
        n_features: d.
        hidden: Units of a layer.
        layers: Residual layers, each with one matrix of hidden x hidden.
        n_conditions: c.
        embedding: Units of the embedding of noise and condition.
        dropout: Share of units that are left out in training, in [0, 1).
    """

    def __init__(
        self,
        n_features: int,
        *,
        hidden: int = 512,
        layers: int = 3,
        n_conditions: int = 0,
        embedding: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check_sizes(n_features=n_features, hidden=hidden, layers=layers, embedding=embedding)
        self.n_conditions = n_conditions
        self.embedding = _Embedding(n_conditions, embedding)
        self.first = nn.Linear(n_features, hidden)
        self.blocks = nn.ModuleList(_MLPBlock(hidden, embedding, dropout) for _ in range(layers))
        self.last = nn.Sequential(
            nn.LayerNorm(hidden), nn.SiLU(), _zero(nn.Linear(hidden, n_features))
        )

    def forward(
        self, z: Tensor, noise: Tensor, condition: Tensor | None, extra: Tensor | None
    ) -> Tensor:
        """Return the output (B, d); `extra` must be None."""
        _check_inputs(z, condition, self.n_conditions, extra, 0)
        embedding, h = self.embedding(noise, condition), self.first(z)
        for block in self.blocks:
            h = block(h, embedding)
        output: Tensor = self.last(h)
        return output


class TemporalUNet(nn.Module):
    """A U-Net of convolutions over the steps of trajectories.

    Each level has two residual blocks on the way down and two on the way up, with two more at the
    coarsest; the finest has one convolution on the way up. Any horizon will do: steps are halved
    with rounding up, and what the way up has too many is cut off. Nothing is padded but the
    convolutions' own zeros at both ends.

    Source: the temporal U-Net of Diffuser (Janner et al. 2022), as in the released program of GTG
    (Yun et al. 2024), which has ``multipliers=(1, 4, 8)`` and a width of 128 for continuous, 32 for
    categorical designs. Differs from it: SiLU in place of Mish, whose gradient takes thirty times
    as long on a CPU; the finest level has a skip as well; the embedding is that of `ScoreMLP`, 2
    `width` units, and scales units beside shifting them; a condition may differ from step to step;
    groups of at least 4 channels; the output layer starts at 0.

    Args:
        n_channels: C.
        width: Channels of a level, times its multiplier.
        multipliers: Multiplier of each level, from the finest to the coarsest.
        n_conditions: c.
        n_extra: E.
        kernel: Steps that a convolution sees, odd.
    """

    def __init__(
        self,
        n_channels: int,
        *,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 4),
        n_conditions: int = 0,
        n_extra: int = 0,
        kernel: int = 5,
    ) -> None:
        super().__init__()
        _check_sizes(n_channels=n_channels, width=width, levels=len(multipliers), kernel=kernel)
        if kernel % 2 == 0:
            raise ValueError(
                f"kernel must be odd, so that a step lies in the middle of it, got {kernel}"
            )
        self.n_conditions, self.n_extra = n_conditions, n_extra
        widths = [width * multiplier for multiplier in multipliers]
        n_embedded = 2 * width
        self.embedding = _Embedding(n_conditions, n_embedded)

        def two_blocks(n_in: int, n_out: int) -> nn.ModuleList:
            return nn.ModuleList(_ConvBlock(n, n_out, kernel, n_embedded) for n in (n_in, n_out))

        self.down = nn.ModuleList(
            two_blocks(*pair) for pair in pairwise([n_channels + n_extra, *widths])
        )
        self.coarser = nn.ModuleList(nn.Conv1d(n, n, 3, stride=2, padding=1) for n in widths[:-1])
        self.middle = two_blocks(widths[-1], widths[-1])
        coarse_to_fine = list(pairwise(reversed(widths)))
        self.up = nn.ModuleList(two_blocks(2 * n_in, n_out) for n_in, n_out in coarse_to_fine)
        self.finer = nn.ModuleList(
            nn.ConvTranspose1d(n, n, 4, stride=2, padding=1) for _, n in coarse_to_fine
        )
        self.last = nn.Sequential(
            *_convolution(2 * widths[0], widths[0], kernel),
            _zero(nn.Conv1d(widths[0], n_channels, 1)),
        )

    def forward(
        self, z: Tensor, noise: Tensor, condition: Tensor | None, extra: Tensor | None
    ) -> Tensor:
        """Return the output (B, H, C)."""
        _check_inputs(z, condition, self.n_conditions, extra, self.n_extra)
        embeddings = [functional.silu(self.embedding(noise, condition))]  # of each level
        h = z if extra is None else torch.cat([z, extra], dim=2)
        h, skips = h.transpose(1, 2).contiguous(), []  # (B, C, H)
        for level, blocks in enumerate(self.down):
            if level:
                h = self.coarser[level - 1](h)
                embeddings.append(_coarser(embeddings[-1]))
            h = _through(blocks, h, embeddings[-1])
            skips.append(h)
        h = _through(self.middle, h, embeddings[-1])
        for blocks, finer in zip(self.up, self.finer, strict=True):
            h = _through(blocks, torch.cat([h, skips.pop()], dim=1), embeddings.pop())
            h = finer(h)[:, :, : skips[-1].shape[2]]
        output: Tensor = self.last(torch.cat([h, skips.pop()], dim=1))
        return output.transpose(1, 2)


class _Embedding(nn.Module):
    """An embedding of noise (as sines) and condition through two layers, (B, width).

    The condition has no sines: guidance asks for scores above all that were seen, where those would
        repeat themselves.
    """

    frequencies: Tensor

    def __init__(self, n_conditions: int, width: int) -> None:
        super().__init__()
        self.register_buffer(
            "frequencies", torch.logspace(-1, 6, _FREQUENCIES, base=2.0), persistent=False
        )
        n_inputs = 2 * _FREQUENCIES + n_conditions
        self.layers = nn.Sequential(nn.Linear(n_inputs, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, noise: Tensor, condition: Tensor | None) -> Tensor:
        angle = noise[:, None] * self.frequencies
        seen = torch.cat([angle.sin(), angle.cos()], dim=1)
        if condition is not None:
            if condition.ndim == 3:  # (B, H, c)
                seen = seen[:, None].expand(-1, condition.shape[1], -1)
            seen = torch.cat([seen, condition], dim=-1)
        embedded: Tensor = self.layers(seen)
        return embedded


class _MLPBlock(nn.Module):
    def __init__(self, hidden: int, n_embedded: int, dropout: float) -> None:
        super().__init__()
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(n_embedded, 2 * hidden))
        self.norm, self.dropout = (
            nn.LayerNorm(hidden, elementwise_affine=False),
            nn.Dropout(dropout),
        )
        self.linear = nn.Linear(hidden, hidden)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding).chunk(2, dim=1)
        change: Tensor = self.linear(
            self.dropout(functional.silu(torch.addcmul(shift, 1 + scale, self.norm(h))))
        )
        return h + change


class _ConvBlock(nn.Module):
    """Two convolutions with a skip; the embedding scales and shifts the first."""

    def __init__(self, n_in: int, n_out: int, kernel: int, n_embedded: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(n_in, n_out, kernel, padding=kernel // 2)
        self.norm = nn.GroupNorm(_groups(n_out), n_out, affine=False)
        self.modulation = nn.Linear(n_embedded, 2 * n_out)
        self.second = _convolution(n_out, n_out, kernel)
        self.skip = nn.Identity() if n_in == n_out else nn.Conv1d(n_in, n_out, 1)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:  # (B, C, H), (B, E) or (B, H, E)
        modulation: Tensor = self.modulation(embedding)
        modulation = modulation[:, :, None] if modulation.ndim == 2 else modulation.transpose(1, 2)
        scale, shift = modulation.chunk(2, dim=1)
        inner: Tensor = self.second(
            functional.silu(torch.addcmul(shift, 1 + scale, self.norm(self.first(h))))
        )
        around: Tensor = self.skip(h)
        return inner + around


def _convolution(n_in: int, n_out: int, kernel: int) -> nn.Sequential:
    """Convolution, normalisation and SiLU."""
    norm = nn.GroupNorm(_groups(n_out), n_out)
    return nn.Sequential(nn.Conv1d(n_in, n_out, kernel, padding=kernel // 2), norm, nn.SiLU())


def _groups(n: int) -> int:
    """Return the number of groups of channels that are normalised.

    It is at most 8, each of at least 4 channels, and divides n.
    """
    return max(g for g in range(1, 9) if n % g == 0 and (g == 1 or n // g >= 4))


def _coarser(embedding: Tensor) -> Tensor:
    """Average the embeddings of neighbouring steps, (B, H, E) to (B, ceil(H / 2), E).

    One embedding for all steps stays as it is.
    """
    if embedding.ndim == 2:
        return embedding
    return functional.avg_pool1d(embedding.transpose(1, 2), 2, ceil_mode=True).transpose(1, 2)


def _through(blocks: nn.Module, h: Tensor, embedding: Tensor) -> Tensor:
    for block in blocks.children():
        h = block(h, embedding)
    return h


def _zero(layer: nn.Linear | nn.Conv1d) -> nn.Module:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


def _check_inputs(
    z: Tensor, condition: Tensor | None, n_conditions: int, extra: Tensor | None, n_extra: int
) -> None:
    for name, given, n in (("condition", condition, n_conditions), ("extra", extra, n_extra)):
        if (0 if given is None else given.shape[-1]) != n:
            got = "None" if given is None else f"shape {tuple(given.shape)}"
            lead = (len(z),) if name == "condition" else tuple(z.shape[:-1])
            wanted = (
                f"of shape {(*lead, n)}" if n else "left out (None): the network was built for none"
            )
            raise ValueError(f"{name} must be {wanted}, got {got}")
