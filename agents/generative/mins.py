"""MINs: a generative adversarial network that turns a score into designs, asked for the best score
seen.

Algorithm (model inversion networks; Kumar and Levine, NeurIPS 2020, arXiv 1912.13464):
    1. Weigh the visible designs: those with high scores more, those in crowded score bins less.
    2. Train a generator G(noise, y) of designs against a critic C(x, y) on them, as a Wasserstein
       GAN with gradient penalty (arXiv 1704.00028): C rises on visible designs and falls on
       generated ones of the same scores, with a slope of 1 between them, and G makes designs on
       which C is high.
    3. Return K designs G(noise, y*), y* the best visible score.

Categorical designs are relaxed for the critic (Gumbel-softmax, arXiv 1611.01144), the visible ones
just like the generated ones, at a temperature that falls from 5 to 1; a proposal takes the largest
number of each site, which is a draw from the generator's letters.

`paper` has the settings of design-baselines (arXiv 2202.08450), whose runs leave out the paper's
rounds of Thompson sampling, as an offline method must.

Differs from the papers: rows are drawn in proportion to the weights, where the paper multiplies
losses by them (the same in expectation, but most weights are close to 0). By default narrower and
shallower networks and fewer updates.
Nothing orders the proposals: they come as drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mbo_gym.encoders.registry import make_encoder
from mbo_gym.files.weights import save_weights
from mbo_gym.methods.ascent import SearchWatch
from mbo_gym.methods.base import save_config
from mbo_gym.methods.score_weights import score_weights
from mbo_gym.nn.weights import draw_weights
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import require_at_least

__all__ = ["MINs", "MINsConfig", "gradient_penalty", "relaxed"]

_SHOWN = 256


@dataclass(frozen=True)
class MINsConfig:
    """Settings of MINs.

    Args:
        latent: Numbers of noise that the generator reads; the score is embedded in as many.
        hidden: Width of each hidden layer of generator and critic.
        layers: Number of hidden layers.
        train_steps: Updates of the generator.
        critic_steps: Updates of the critic before each of the generator's.
        batch_size: Rows an update.
        learning_rate: Adam's, with decays of 0 and .9.
        penalty: Weight of the gradient penalty.
        score_temperature: Of the weights by score, in standard deviations of the visible scores;
            None for DDOM's rule.
        keep: Share of its own letter in a visible site before it is relaxed, in (0, 1); the rest is
            spread evenly.
        start_temperature: Of the relaxation, in the first update.
        end_temperature: In the last.
    """

    latent: int = 32
    hidden: int = 256
    layers: int = 2
    train_steps: int = 500
    critic_steps: int = 10
    batch_size: int = 128
    learning_rate: float = 2e-4
    penalty: float = 10.0
    score_temperature: float | None = 0.1
    keep: float = 0.99
    start_temperature: float = 5.0
    end_temperature: float = 1.0

    def __post_init__(self) -> None:
        require_at_least(
            self, 1, "latent", "hidden", "layers", "train_steps", "critic_steps", "batch_size"
        )
        require_at_least(self, 0, "learning_rate", "penalty")
        for name in ("score_temperature", "start_temperature", "end_temperature"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value!r}")
        if not 0 < self.keep < 1:
            raise ValueError(f"keep must lie strictly between 0 and 1, got {self.keep!r}")


class _Conditional(nn.Module):
    """A perceptron of a vector and a score: LayerNorm and LeakyReLU after each hidden layer, the
    score embedded."""

    def __init__(self, n_in: int, n_out: int, config: MINsConfig) -> None:
        super().__init__()
        self.embedding = nn.Sequential(nn.Linear(1, config.latent), nn.LeakyReLU(0.2))
        sizes = [n_in + config.latent, *[config.hidden] * config.layers]
        layers: list[nn.Module] = []
        for i in range(config.layers):
            layers += [
                nn.Linear(sizes[i], sizes[i + 1]),
                nn.LayerNorm(sizes[i + 1]),
                nn.LeakyReLU(0.2),
            ]
        self.body = nn.Sequential(*layers, nn.Linear(sizes[-1], n_out))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # (B, n_in), (B,)
        out: Tensor = self.body(torch.cat([x, self.embedding(y.unsqueeze(1))], dim=1))
        return out


class MINs:
    """Model inversion networks; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = MINsConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": MINsConfig(
            hidden=1024, layers=3, train_steps=5140
        )  # 200 epochs of TFBind8's 32,898 visible rows
    }
    SETTINGS: ClassVar[Mapping[str, Any]] = {}
    criterion: np.ndarray

    def __init__(self, config: MINsConfig | None = None) -> None:
        self.config = config or MINsConfig()

    def fit(self, problem: OfflineProblem, *, seed: int, device: str, progress: Progress) -> None:
        """Train the generator against its critic."""
        self._problem, self._seed, self._device, self._progress = problem, seed, device, progress
        space = problem.space
        self._sites = (
            (space.length, space.n_categories) if isinstance(space, CategoricalSpace) else None
        )
        self._encoder = make_encoder(problem, "one_hot" if self._sites else "z_score")
        z = torch.from_numpy(self._encoder.encode(problem.dataset.x)).to(device)
        y = torch.from_numpy(problem.dataset.score_scale.standardise(problem.dataset.y)).to(device)
        self._best = y.max()
        generator = torch.Generator(device).manual_seed(seed)
        with torch.random.fork_rng(
            devices=[]
        ):  # torch's layers draw their first weights from the global state
            self._generator = _Conditional(self.config.latent, z.shape[1], self.config).to(device)
            self._critic = _Conditional(z.shape[1], 1, self.config).to(device)
        draw_weights(self._generator, generator)
        draw_weights(self._critic, generator)
        self._train(z, y, generator)

    def _train(self, z: Tensor, y: Tensor, generator: torch.Generator) -> None:
        config, progress = self.config, self._progress
        makes = _adam(self._generator, config)
        judges = _adam(self._critic, config)
        weight = score_weights(y, temperature=config.score_temperature)
        watch = SearchWatch(self._problem, self._encoder, "generator", config.train_steps, progress)
        every = max(1, config.train_steps // 50)
        for step in progress.track(range(config.train_steps), "training mins"):
            temperature = self._temperature(step)
            self._show(watch, step)
            shape = config.critic_steps + 1, config.batch_size
            batches = weight.multinomial(
                shape[0] * shape[1], replacement=True, generator=generator
            ).view(shape)
            for rows in batches[1:]:
                with torch.no_grad():
                    real = self._real(z[rows], temperature, generator)
                    fake = self._fake(y[rows], temperature, generator)
                gap, penalty = self._critic_terms(real, fake, y[rows], generator)
                _update(judges, config.penalty * penalty - gap)
            fake = self._fake(y[batches[0]], temperature, generator)
            _update(makes, -self._critic(fake, y[batches[0]]).mean())
            if step % every == 0 or step == config.train_steps - 1:
                progress.metrics(
                    "mins", step, distance=float(gap.detach()), penalty=float(penalty.detach())
                )
        self._generator.requires_grad_(False)
        self._critic.requires_grad_(False)

    def _critic_terms(
        self, real: Tensor, fake: Tensor, y: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return how much higher the critic is on real than on fake designs (B, d) of scores (B,),
        and its penalty."""
        mixed = torch.lerp(fake, real, torch.rand(len(y), 1, generator=generator, device=y.device))
        of_real, of_fake = self._critic(torch.cat([real, fake]), y.repeat(2)).chunk(2)
        return (of_real - of_fake).mean(), gradient_penalty(self._critic, mixed, y)

    def _temperature(self, step: int) -> float:
        """Return the relaxation's temperature in an update, on the line from the first to the
        last."""
        config = self.config
        done = step / max(1, config.train_steps - 1)
        return config.start_temperature + done * (config.end_temperature - config.start_temperature)

    def _fake(self, y: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        """Return designs (B, d) of scores (B,), as the critic sees them."""
        noise = torch.randn(len(y), self.config.latent, generator=generator, device=y.device)
        return self._seen(self._generator(noise, y), temperature, generator)

    def _real(self, z: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        """Return visible designs (B, d), as the critic sees them."""
        if self._sites is not None:
            z = (self.config.keep * z + (1 - self.config.keep) / self._sites[1]).log()
        return self._seen(z, temperature, generator)

    def _seen(self, z: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        """Relax letters' logits (B, d); features stay as they are."""
        if self._sites is None:
            return z
        return relaxed(z.view(len(z), *self._sites), temperature, generator).flatten(1)

    def _show(self, watch: SearchWatch, step: int) -> None:
        """Show what the generator would propose; the score asked for stands in the place of a
        prediction."""
        asked = self._best.expand(_SHOWN)
        with torch.no_grad():
            watch(
                step,
                self._fake(asked, 1.0, torch.Generator(self._device).manual_seed(self._seed)),
                asked,
            )

    def propose(self, k: int) -> np.ndarray:
        """Generate `k` designs under the best visible score."""
        asked, generator = (
            self._best.expand(k),
            torch.Generator(self._device).manual_seed(self._seed),
        )
        with torch.no_grad():
            z = self._fake(asked, self.config.end_temperature, generator)
        watch = SearchWatch(
            self._problem, self._encoder, "generator", self.config.train_steps, self._progress
        )
        watch(self.config.train_steps, z[:_SHOWN], asked[:_SHOWN])
        self.criterion = np.zeros(k)
        return self._encoder.decode(z.cpu().numpy())

    def save(self, folder: Path) -> None:
        """Write the settings, the generator and the critic."""
        save_config(folder, self.config)
        save_weights(folder / "generator.safetensors", self._generator.state_dict())
        save_weights(folder / "critic.safetensors", self._critic.state_dict())


def relaxed(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw from the Gumbel-softmax distribution of logits (..., A): points of the simplex, corners
    as it cools.

    The largest number of a point is at letter a with a's probability under the logits, whatever the
    temperature.
    """
    gumbel = -torch.empty_like(logits).exponential_(generator=generator).log()
    points: Tensor = ((logits + gumbel) / temperature).softmax(dim=-1)
    return points


def gradient_penalty(critic: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the mean of (|dC(x, y)/dx| - 1)^2 over x (B, d) and y (B,); ()."""
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x, y).sum(), x, create_graph=True)
    penalty: Tensor = (slope.norm(dim=1) - 1).square().mean()
    return penalty


def _adam(network: nn.Module, config: MINsConfig) -> torch.optim.Adam:
    return torch.optim.Adam(
        network.parameters(), lr=config.learning_rate, betas=(0.0, 0.9), fused=True
    )


def _update(adam: torch.optim.Adam, loss: Tensor) -> None:
    adam.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    adam.step()
