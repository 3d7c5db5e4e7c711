"""MINs: a generative adversarial network from scores to designs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mbo_gym.encoders.base import Encoded, encoded
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.files.weights import load_weights, save_weights
from mbo_gym.methods.ascent import SearchWatch
from mbo_gym.methods.base import Context, Difference, Method, MethodInfo, Proposals
from mbo_gym.methods.distinct import as_they_come
from mbo_gym.methods.score_weights import score_weights
from mbo_gym.nn.trainer import Trainer, TrainingConfig
from mbo_gym.nn.weights import draw_weights
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import Progress
from mbo_gym.settings import require_at_least

__all__ = [
    "AdversarialTraining",
    "MINs",
    "MINsConfig",
    "NetworkConfig",
    "Relaxation",
    "gradient_penalty",
    "relaxed",
]

GENERATOR_FILE = "generator.safetensors"
CRITIC_FILE = "critic.safetensors"

_SHOWN = 256


@dataclass(frozen=True)
class NetworkConfig:
    """Settings of the generator and the critic.

    Args:
        latent: Length of the noise that the generator gets, and of the embedding of the score.
        hidden: Width of each hidden layer.
        layers: Number of hidden layers.
    """

    latent: int = 32
    hidden: int = 256
    layers: int = 2

    def __post_init__(self) -> None:
        require_at_least(self, 1, "latent", "hidden", "layers")


@dataclass(frozen=True)
class AdversarialTraining:
    """Settings of the training.

    Args:
        train_steps: Updates of the generator.
        critic_steps: Updates of the critic before each update of the generator.
        batch_size: Rows of an update.
        learning_rate: Learning rate of Adam, whose decays are 0 and 0.9.
        penalty: Weight of the gradient penalty.
        score_temperature: Temperature of the weights by score, in standard deviations of the
            visible scores; None for the rule of DDOM.
    """

    train_steps: int = 500
    critic_steps: int = 10
    batch_size: int = 128
    learning_rate: float = 2e-4
    penalty: float = 10.0
    score_temperature: float | None = 0.1

    def __post_init__(self) -> None:
        require_at_least(self, 1, "train_steps", "critic_steps", "batch_size")
        require_at_least(self, 0, "learning_rate", "penalty")
        _require_positive(self, "score_temperature")


@dataclass(frozen=True)
class Relaxation:
    """Settings of the relaxation of categorical designs.

    Args:
        keep: Share of its own letter in a visible site before it is relaxed, in (0, 1); the rest is
            spread evenly.
        start_temperature: Temperature in the first update.
        end_temperature: Temperature in the last update.
    """

    keep: float = 0.99
    start_temperature: float = 5.0
    end_temperature: float = 1.0

    def __post_init__(self) -> None:
        _require_positive(self, "start_temperature", "end_temperature")
        if not 0 < self.keep < 1:
            raise ValueError(f"keep must lie strictly between 0 and 1, got {self.keep!r}")

    def temperature(self, done: float) -> float:
        """Return the temperature after a share of the training, on a line."""
        return self.start_temperature + done * (self.end_temperature - self.start_temperature)


def _require_positive(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be above 0, got {value!r}")


@dataclass(frozen=True)
class MINsConfig:
    """Settings of `MINs`.

    Args:
        network: Settings of generator and critic.
        training: Settings of the training.
        relaxation: Settings of the relaxation of categorical designs.
    """

    network: NetworkConfig = NetworkConfig()
    training: AdversarialTraining = AdversarialTraining()
    relaxation: Relaxation = Relaxation()


class _Conditional(nn.Module):
    """A perceptron of a vector and a score: LayerNorm and LeakyReLU after each hidden layer, the
    score embedded."""

    def __init__(self, n_in: int, n_out: int, config: NetworkConfig) -> None:
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


class MINs(Method):
    """MINs: model inversion networks (Kumar and Levine, NeurIPS 2020).

    Categorical designs are relaxed for the critic (Gumbel-softmax), visible and generated ones
    alike. A proposal takes the largest number of each site, which is a draw from the letters of the
    generator. Proposals are in no order.

    Algorithm:
        1. weigh the visible designs: higher scores more, crowded score bins less
        2. train a generator G(noise, y) of designs against a critic C(x, y), as a Wasserstein GAN
           with gradient penalty: C rises on visible designs and falls on generated ones of the same
           scores, with a slope of 1 between them; G makes designs on which C is high
        3. propose K designs G(noise, y*), with y* the best visible score

    Args:
        config: Settings; preset `paper` has those of design-baselines.

    Attributes:
        generator: Network G.
        critic: Network C.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("mins", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Kumar and Levine 2020, Model Inversion Networks for Model-Based Optimization, arXiv
        1912.13464. GAN: Gulrajani et al. 2017, arXiv 1704.00028. Relaxation: Jang, Gu and Poole
        2017, arXiv 1611.01144. Settings of `paper`: Trabucco et al. 2022, arXiv 2202.08450.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="MINs: model inversion networks",
        paper=(
            "Kumar and Levine 2020, Model Inversion Networks for Model-Based Optimization, "
            "NeurIPS, arXiv 1912.13464"
        ),
        differences=(
            Difference(
                "rounds of Thompson sampling ask for new scores",
                "there are no such rounds",
                "an offline method asks for no scores; design-baselines leaves them out too",
            ),
            Difference(
                "losses are multiplied by the weights of the rows",
                "rows are drawn in proportion to their weights",
                "the same in expectation, but most weights are close to 0",
            ),
            Difference(
                "3 x 1024 units and 5,140 updates (design-baselines, TFBind8)",
                "2 x 256 units and 500 updates",
                "to save time; preset `paper` has the settings of design-baselines",
            ),
        ),
        metrics={
            "mins/distance": "difference of the critic between visible and generated designs",
            "mins/penalty": "gradient penalty of the critic",
            "generator/prediction": "score that the designs shown are asked to have, in standard "
            "deviations of the visible scores",
        },
        equations=(
            r"\max_C \; \mathbb{E}_{x, y}\left[C(x, y)\right] - \mathbb{E}_{z, y}"
            r"\left[C(G(z, y), y)\right] - \lambda \, \mathbb{E}_{\hat{x}, y}"
            r"\left[(\lVert \nabla_{\hat{x}} C(\hat{x}, y) \rVert - 1)^2\right]",
            r"\max_G \; \mathbb{E}_{z, y}\left[C(G(z, y), y)\right]",
        ),
    )
    Config: ClassVar[type[Any]] = MINsConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": MINsConfig(  # 200 epochs of the 32,898 visible rows of TFBind8
            network=NetworkConfig(hidden=1024, layers=3),
            training=AdversarialTraining(train_steps=5140),
        ),
        "light": MINsConfig(
            network=NetworkConfig(hidden=16),
            training=AdversarialTraining(train_steps=20, critic_steps=2, batch_size=32),
        ),
    }

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Train the generator against its critic."""
        self.start(problem, context)
        self._build()
        random = torch.Generator(context.device).manual_seed(context.seed)
        draw_weights(self.generator, random)
        draw_weights(self.critic, random)
        self._train(encoded(problem, self.encoder, context.device), random)

    def _build(self) -> None:
        """Make encoder and networks; their weights are drawn or read afterwards."""
        space = self.problem.space
        device = self.context.device
        categorical = isinstance(space, CategoricalSpace)
        self.encoder = make_encoder(self.problem, "one_hot" if categorical else "z_score")
        self.sites = (
            (space.length, space.n_categories) if isinstance(space, CategoricalSpace) else None
        )
        d = self.encoder.n_features
        config = self.config.network
        with torch.random.fork_rng(devices=[]):  # torch's layers draw from the global state
            self.generator = _Conditional(config.latent, d, config).to(device)
            self.critic = _Conditional(d, 1, config).to(device)
        best = self.problem.dataset.y.max(keepdims=True)
        self.best = torch.from_numpy(self.problem.dataset.score_scale.standardise(best)).to(device)

    def _train(self, data: Encoded, random: torch.Generator) -> None:
        """Train generator and critic in turn, on rows drawn by the weights of their scores."""
        config = self.config.training
        makes = _trainer(self.generator, config, config.train_steps, self.context.progress)
        judges = _trainer(self.critic, config, config.train_steps * config.critic_steps)
        weight = score_weights(data.y, temperature=config.score_temperature)
        watch = self._watch()
        shape = config.critic_steps + 1, config.batch_size
        for step in makes.steps():
            temperature = self._temperature(step)
            self._show(watch, step)
            rows = weight.multinomial(shape[0] * shape[1], replacement=True, generator=random)
            batches = rows.view(shape)
            for batch in batches[1:]:
                z, y = data.z[batch], data.y[batch]  # (B, d), (B,)
                with torch.no_grad():
                    real = self._real(z, temperature, random)
                    fake = self._fake(y, temperature, random)
                gap, penalty = self._critic_terms(real, fake, y, random)
                judges.update(config.penalty * penalty - gap, distance=gap)
            y = data.y[batches[0]]
            loss = -self.critic(self._fake(y, temperature, random), y).mean()
            makes.update(loss, distance=gap, penalty=penalty)
        makes.finish()
        judges.finish()

    def _critic_terms(
        self, real: Tensor, fake: Tensor, y: Tensor, random: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return how much higher the critic is on real than on fake designs (B, d) of scores (B,),
        and its penalty."""
        mixed = torch.lerp(fake, real, torch.rand(len(y), 1, generator=random, device=y.device))
        of_real, of_fake = self.critic(torch.cat([real, fake]), y.repeat(2)).chunk(2)
        return (of_real - of_fake).mean(), gradient_penalty(self.critic, mixed, y)

    def _temperature(self, step: int) -> float:
        """Return the temperature of the relaxation in an update."""
        done = step / max(1, self.config.training.train_steps - 1)
        return float(self.config.relaxation.temperature(done))

    def _fake(self, y: Tensor, temperature: float, random: torch.Generator) -> Tensor:
        """Generate designs (B, d) of scores (B,), as the critic sees them."""
        noise = torch.randn(
            len(y), self.config.network.latent, generator=random, device=self.context.device
        )
        return self._seen(self.generator(noise, y), temperature, random)

    def _real(self, z: Tensor, temperature: float, random: torch.Generator) -> Tensor:
        """Return visible designs (B, d), as the critic sees them."""
        if self.sites is not None:
            keep = self.config.relaxation.keep
            z = (keep * z + (1 - keep) / self.sites[1]).log()
        return self._seen(z, temperature, random)

    def _seen(self, z: Tensor, temperature: float, random: torch.Generator) -> Tensor:
        """Relax letters' logits (B, d); features stay as they are."""
        if self.sites is None:
            return z
        return relaxed(z.view(len(z), *self.sites), temperature, random).flatten(1)

    def _watch(self) -> SearchWatch:
        steps = self.config.training.train_steps
        return SearchWatch(self.problem, self.encoder, "generator", steps, self.context.progress)

    def _show(self, watch: SearchWatch, step: int) -> None:
        """Show what the generator would propose, with the score asked for as prediction."""
        asked = self.best.expand(_SHOWN)
        random = torch.Generator(self.context.device).manual_seed(self.context.seed)
        with torch.no_grad():
            watch(step, self._fake(asked, 1.0, random), asked)

    def propose(self, k: int) -> Proposals:
        """Generate `k` designs under the best visible score."""
        asked = self.best.expand(k)
        random = torch.Generator(self.context.device).manual_seed(self.context.seed)
        with torch.no_grad():
            z = self._fake(asked, self.config.relaxation.end_temperature, random)
        self._watch()(self.config.training.train_steps, z[:_SHOWN], asked[:_SHOWN])
        x = self.encoder.designs(z)
        return as_they_come(self.problem, x, np.zeros(k), k, self.context.seed)

    def write_state(self, folder: Path) -> None:
        """Write the generator and the critic."""
        save_weights(folder / GENERATOR_FILE, self.generator.state_dict())
        save_weights(folder / CRITIC_FILE, self.critic.state_dict())

    def read_state(self, folder: Path) -> None:
        """Read the generator and the critic."""
        self._build()
        self.generator.load_state_dict(load_weights(folder / GENERATOR_FILE))
        self.critic.load_state_dict(load_weights(folder / CRITIC_FILE))
        self.generator.requires_grad_(False)
        self.critic.requires_grad_(False)


def relaxed(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw points of the simplex from the Gumbel-softmax distribution of logits (..., A).

    The largest number of a point is at letter a with the probability of a under the logits,
    whatever the temperature. Points lie near the corners at a low temperature.
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


def _trainer(
    network: nn.Module, config: AdversarialTraining, steps: int, progress: Progress | None = None
) -> Trainer:
    training = TrainingConfig.plain(steps, config.batch_size, config.learning_rate, decay="none")
    return Trainer(network, training, stage="mins", progress=progress, betas=(0.0, 0.9))
