"""Learned encoder: the latent means of a sequence VAE, trained once and cached."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder, require_categorical
from mbo_gym.errors import DamagedFile
from mbo_gym.files import store
from mbo_gym.files.weights import read_weights, save_weights
from mbo_gym.nn.sequence_vae import SequenceVAE, VAEConfig, new_network, train_vae
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress

__all__ = ["VAEEncoder", "VAEReport", "cached_vae_encoder", "fit_vae_encoder"]

_HEADER = ("length", "letters", "config", "report")
_CACHE_VERSION = 1  # raise it when a change of the code changes what a training returns
_PIECE = 1 << 11  # designs in the network at once
_MOST_REPORT_ROWS = 1 << 14
_ACTIVE_STD = 0.1
_ROUNDING = 1e-9  # a latent's mean that varies less never varies but for rounding


@dataclass(frozen=True)
class VAEReport:
    """Reconstruction accuracy of an encoder: decode(encode(x)) against x.

    It is measured on at most 16,384 rows of each part.

    Args:
        site_accuracy: Share of the held-out rows' sites that come back; NaN with no such rows.
        design_accuracy: Share of the held-out rows that come back whole; NaN with none.
        train_site_accuracy: Share of sites, on rows trained on.
        train_design_accuracy: Share of whole designs, on rows trained on.
        active_latents: Latents whose posterior mean varies by more than 0.1 over the designs
            (standard deviation; arXiv 1509.00519). The others hold next to nothing of a design, but
            are features of the same size after z-scoring. Of no meaning for ``latents="mean"``,
            which leaves the unit of the latents open.
        n_train: Rows trained on.
        n_held_out: Rows held out. A design that stands several times in the data may be on both
            sides.
        steps: Gradient updates.
        seconds: Wall-clock time.
    """

    site_accuracy: float
    design_accuracy: float
    train_site_accuracy: float
    train_design_accuracy: float
    active_latents: int
    n_train: int
    n_held_out: int
    steps: int
    seconds: float


class VAEEncoder(Encoder):
    """Latent means of a trained VAE, z-scored; decoding takes the likeliest letters.

    One unit of a feature is one standard deviation over the designs it was fitted on, as with
    `z_score`. Unlike the
    other encoders it need not give every design back: `report` says how often it does. NaN in
    features counts as 0, infinities as the largest float. Both maps run in double precision, so
    that a design's features do not depend on what else is in the batch.

    Args:
        space: A categorical space.
        network: A trained VAE of that space.
        shift: (latent,) mean of each latent's posterior means.
        scale: (latent,) their standard deviations; zero for a latent that never varies, whose
            feature is 0.
        config: Settings of its training.
        device: Device of `encode` and `decode`; the tensor methods follow their tensors.

    Attributes:
        report: Reconstruction accuracy, where it comes from `fit_vae_encoder`.
    """

    space: CategoricalSpace

    def __init__(
        self,
        space: CategoricalSpace,
        network: SequenceVAE,
        shift: Tensor,
        scale: Tensor,
        *,
        config: VAEConfig,
        device: str = "cpu",
    ) -> None:
        self.space, self.network, self.config, self.device = space, network, config, device
        self.n_features = len(shift)
        self.shift, self.scale = shift, scale
        self.report: VAEReport | None = None
        self._copies: dict[torch.device, tuple[SequenceVAE, Tensor, Tensor]] = {}

    @property
    def fingerprint(self) -> str:
        """The kind and a sha256 of all weights."""
        digest = hashlib.sha256()
        for key, value in sorted(self._tensors().items()):
            digest.update(f"{key} {tuple(value.shape)}".encode())
            digest.update(value.numpy().tobytes())
        return f"sequence_vae-{digest.hexdigest()}"

    def encode_tensor(self, x: Tensor) -> Tensor:
        """Map designs (N, L) to z-scored posterior means (N, latent)."""
        network, shift, scale = self._on(x.device)
        return ((_means(network, x) - shift) / torch.where(scale > 0, scale, 1.0)).float()

    def decode_tensor(self, z: Tensor) -> Tensor:
        """Map features (N, latent) to designs (N, L) int64, the likeliest letters."""
        network, shift, scale = self._on(z.device)
        latents = torch.nan_to_num(z.float()).double() * scale + shift
        with torch.no_grad():
            return torch.cat(
                [network.decode(part).argmax(dim=2) for part in torch.split(latents, _PIECE)]
            )

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Map designs (N, L) to features (N, latent) float32, computed on `device`."""
        return np.asarray(
            self.encode_tensor(torch.tensor(np.asarray(x)).to(self.device)).cpu().numpy()
        )

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Map features (N, latent) to designs (N, L) int32, computed on `device`."""
        x = self.decode_tensor(torch.tensor(np.asarray(z, dtype=np.float32)).to(self.device))
        return np.asarray(x.cpu().numpy(), dtype=self.space.dtype)

    def save(self, path: Path | str) -> None:
        """Write the encoder as one safetensors file, atomically."""
        about = {
            "length": self.space.length,
            "letters": self.space.letters,
            "config": asdict(self.config),
            "report": asdict(self.report) if self.report else None,
        }
        header = {key: json.dumps(value) for key, value in about.items()}
        save_weights(Path(path), self._tensors(), header)

    @classmethod
    def load(cls, path: Path | str, *, device: str = "cpu") -> VAEEncoder:
        """Read an encoder that `save` wrote; features and designs are equal bit for bit.

        Raises:
            MissingData: There is no such file.
            DamagedFile: It is not what was written, or no encoder.
        """
        tensors, header = read_weights(path)
        try:
            about = {key: json.loads(header[key]) for key in _HEADER}
        except (KeyError, ValueError) as error:
            raise DamagedFile(
                f"{path} is no saved encoder. Pass a file that save() wrote."
            ) from error
        config, letters = VAEConfig(**about["config"]), tuple(about["letters"])
        space = CategoricalSpace(about["length"], len(letters), letters)
        shift, scale = tensors.pop("shift"), tensors.pop("scale")
        network = new_network(space, config)
        network.load_state_dict(
            {key.removeprefix("network."): value for key, value in tensors.items()}
        )
        encoder = cls(
            space, network.requires_grad_(False), shift, scale, config=config, device=device
        )
        encoder.report = VAEReport(**about["report"]) if about["report"] else None
        return encoder

    def _tensors(self) -> dict[str, Tensor]:
        weights = {f"network.{key}": value for key, value in self.network.state_dict().items()}
        return {
            key: t.cpu().contiguous()
            for key, t in {**weights, "shift": self.shift, "scale": self.scale}.items()
        }

    def _on(self, device: torch.device) -> tuple[SequenceVAE, Tensor, Tensor]:
        if device not in self._copies:
            network = copy.deepcopy(self.network).to(device, torch.float64)
            self._copies[device] = (
                network,
                self.shift.to(device).double(),
                self.scale.to(device).double(),
            )
        return self._copies[device]


def fit_vae_encoder(
    space: CategoricalSpace,
    x: Tensor,
    config: VAEConfig,
    *,
    seed: int,
    progress: Progress | None = None,
) -> VAEEncoder:
    """Train a VAE encoder and report its reconstruction accuracy.

    The VAE is trained on a share of the designs; the z-scores are fitted on all of them.

    Args:
        space: Space of the designs.
        x: (N, L) visible designs, on the device to train on.
        config: The settings.
        seed: Seed of the split and the training.
        progress: Observer of the training.
    """
    started = time.perf_counter()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    held, train = order[: int(len(x) * config.held_out)], order[int(len(x) * config.held_out) :]
    network = train_vae(space, x[train], config, seed=seed, progress=progress)
    means = _means(copy.deepcopy(network).double(), x)
    scale = means.std(dim=0, correction=0)
    scale = torch.where(scale > _ROUNDING, scale, 0.0)
    encoder = VAEEncoder(space, network.cpu(), means.mean(dim=0).cpu(), scale.cpu(), config=config)
    site, design = _accuracies(encoder, x[held])
    train_site, train_design = _accuracies(encoder, x[train])
    encoder.report = VAEReport(
        site_accuracy=site,
        design_accuracy=design,
        train_site_accuracy=train_site,
        train_design_accuracy=train_design,
        active_latents=int((scale > _ACTIVE_STD).sum()),
        n_train=len(train),
        n_held_out=len(held),
        steps=config.steps,
        seconds=time.perf_counter() - started,
    )
    return encoder


def cached_vae_encoder(
    problem: OfflineProblem,
    config: VAEConfig | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> VAEEncoder:
    """Return a VAE encoder of the visible designs, from the cache where there is one.

    It is trained on the CPU, so that every machine's cache holds the same encoder. The name of the
    cached file hashes the data, the letters, the settings, the seed and torch's version.

    Args:
        problem: With a categorical space.
        config: The settings; None for the defaults, which environments use.
        seed: Seed of the split and the training.
        device: Device of the encoder, see `VAEEncoder`.
        progress: Observer of the training and the report.

    Raises:
        ValueError: The space is continuous.
    """
    space, config = require_categorical(problem), config or VAEConfig()
    facts = [
        problem.dataset.content_hash(),
        space.letters,
        asdict(config),
        seed,
        torch.__version__,
        _CACHE_VERSION,
    ]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def build(path: Path) -> None:
        fit_vae_encoder(
            space, torch.tensor(problem.dataset.x), config, seed=seed, progress=progress
        ).save(path)

    encoder = VAEEncoder.load(
        store.cached_file(f"vae-{digest[:32]}.safetensors", build), device=device
    )
    if progress and encoder.report:
        progress.metrics("vae_report", config.steps, **asdict(encoder.report))
    return encoder


def _means(network: SequenceVAE, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([network.posterior(part)[0] for part in torch.split(x, _PIECE)])


def _accuracies(encoder: Encoder, x: Tensor) -> tuple[float, float]:
    """Return the shares of sites and of whole designs (N, L) that are reconstructed.

    NaN where there are no designs.
    """
    x = x[:_MOST_REPORT_ROWS]
    right = encoder.decode_tensor(encoder.encode_tensor(x)) == x
    return float(right.double().mean()), float(right.all(dim=1).double().mean())
