"""REINFORCE: policy gradients on a distribution over designs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder
from mbo_gym.methods.ascent import SearchWatch, best_rows
from mbo_gym.methods.base import Context, Difference, Method, MethodInfo, Proposals
from mbo_gym.methods.fitted import LIGHT_SURROGATE, Fitted
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.settings import Choice, require_at_least
from mbo_gym.surrogates.base import predict_in_pieces
from mbo_gym.surrogates.registry import make_surrogate

__all__ = [
    "GaussianDesigns",
    "IndependentLetters",
    "Reinforce",
    "ReinforceConfig",
    "SearchDistribution",
    "first_distribution",
]


@dataclass(frozen=True)
class ReinforceConfig:
    """Settings of `Reinforce`.

    Args:
        surrogate: Surrogate that is maximised.
        steps: Updates of the distribution.
        batch_size: Designs drawn for an update; None for 2048 on continuous spaces and 256 on
            categorical ones.
        learning_rate: Learning rate of Adam.
        n_best: Number of best visible designs that the first distribution is fitted to.
        sigma0: First standard deviation, in features; continuous spaces only.
        proposals: ``visited``: the K best distinct designs of all that were drawn; ``drawn``: K
            draws from the last distribution.
        encoder: Name of the encoder.
    """

    surrogate: Choice = Choice("light_ensemble")
    steps: int = 200
    batch_size: int | None = None
    learning_rate: float = 0.01
    n_best: int = 128
    sigma0: float = 0.1
    proposals: Literal["visited", "drawn"] = "visited"
    encoder: str = "z_score"

    def __post_init__(self) -> None:
        require_at_least(self, 0, "steps", "learning_rate")
        require_at_least(self, 1, "n_best")
        require_at_least(self, 2, "batch_size")  # one design has no variance
        if not self.sigma0 > 0:
            raise ValueError(f"sigma0 must be above 0, got {self.sigma0!r}")
        if self.steps == 0 and self.proposals == "visited":
            raise ValueError(
                "without steps no designs are visited; "
                "set steps to at least 1, or proposals to 'drawn'"
            )


class SearchDistribution(Protocol):
    """A distribution over designs whose parameters are learned by policy gradients.

    Attributes:
        parameters: Parameters, leaves that require gradients.
    """

    parameters: list[Tensor]

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `n` designs in the form of the distribution (n, w), without gradients."""
        ...

    def log_probability(self, drawn: Tensor) -> Tensor:
        """Return the log probability (density) of draws (n, w); (n,)."""
        ...

    def features(self, drawn: Tensor) -> Tensor:
        """Return the features (n, d) of draws (n, w)."""
        ...

    def designs(self, drawn: Tensor) -> np.ndarray:
        """Return the native designs (n, *shape) of draws (n, w)."""
        ...


class GaussianDesigns:
    """Independent normal features; draws are features.

    Args:
        best: (n, d) features whose mean is the first mean.
        sigma: First standard deviation.
        encoder: Encoder that decodes features.
    """

    def __init__(self, best: Tensor, sigma: float, encoder: Encoder) -> None:
        self._mean = best.mean(dim=0).requires_grad_()
        self._log_std = torch.full_like(best[0], sigma).log_().requires_grad_()
        self._encoder = encoder
        self.parameters = [self._mean, self._log_std]

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw features (n, d)."""
        noise = torch.randn(n, len(self._mean), generator=generator, device=generator.device)
        return torch.addcmul(self._mean.detach(), self._log_std.detach().exp(), noise)

    def log_probability(self, drawn: Tensor) -> Tensor:
        """Return the log density of features (n, d); (n,)."""
        scaled = (drawn - self._mean) * (-self._log_std).exp()
        return (-0.5 * scaled.square() - self._log_std - 0.5 * math.log(2 * math.pi)).sum(dim=1)

    def features(self, drawn: Tensor) -> Tensor:
        """Return the draws."""
        return drawn

    def designs(self, drawn: Tensor) -> np.ndarray:
        """Decode features (n, d)."""
        return self._encoder.designs(drawn)


class IndependentLetters:
    """Letters drawn independently at each site; draws are designs (n, L).

    Args:
        best: (n, L) designs. The frequencies of their letters, with one more of each letter, are
            the first probabilities.
        n_letters: Number of letters A.
        encoder: Encoder of the designs.
    """

    def __init__(self, best: Tensor, n_letters: int, encoder: Encoder) -> None:
        counts = torch.nn.functional.one_hot(best.long(), n_letters).sum(dim=0) + 1  # (L, A)
        self._logits = counts.float().log().requires_grad_()
        self._encoder = encoder
        self.parameters = [self._logits]

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw designs (n, L)."""
        return (
            self._logits.detach()
            .softmax(dim=1)
            .multinomial(n, replacement=True, generator=generator)
            .T
        )

    def log_probability(self, drawn: Tensor) -> Tensor:
        """Return the log probability of designs (n, L); (n,)."""
        return self._logits.log_softmax(dim=1).gather(1, drawn.T).sum(dim=0)

    def features(self, drawn: Tensor) -> Tensor:
        """Encode designs (n, L)."""
        return self._encoder.encode_tensor(drawn)

    def designs(self, drawn: Tensor) -> np.ndarray:
        """Return the draws as int32."""
        return drawn.cpu().numpy().astype(np.int32)


class Reinforce(Method):
    """REINFORCE: policy gradients on a distribution over designs (Williams, 1992).

    Algorithm:
        1. fit an ensemble on the features of the visible designs; f is its mean
        2. p <- a Gaussian with independent features around the mean of the 128 best visible
           designs, standard deviation 0.1 (continuous), or independent letters at each site with
           the frequencies of these designs (categorical)
        3. repeat 200 times: draw a batch from p; a <- its predictions f, standardised; take a step
           of Adam (0.01) down the gradient of -mean(a log p)
        4. propose K designs, the highest f first

    Args:
        config: Settings; preset `paper` has those of the released program.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("reinforce", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)

    References:
        Williams 1992, Simple Statistical Gradient-Following Algorithms for Connectionist
        Reinforcement Learning, Machine Learning 8. As a baseline: Trabucco et al. 2022,
        Design-Bench, arXiv 2202.08450.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="REINFORCE: policy gradients on a distribution over designs",
        paper=(
            "Williams 1992, Simple Statistical Gradient-Following Algorithms for Connectionist "
            "Reinforcement Learning, Machine Learning 8; as a baseline of Trabucco et al. 2022, "
            "Design-Bench, arXiv 2202.08450"
        ),
        kind="adaptation",
        differences=(
            Difference(
                "K designs are drawn once more from the last p",
                "the K best distinct designs of all draws are proposed",
                "on short sequences p has collapsed by then, and most of the K are the same few "
                "designs (metric `distinct`); preset `paper` draws them",
            ),
            Difference(
                "a letter that none of the best designs has at a site starts with frequency 0",
                "it starts with the frequency of one more design",
                "a letter of frequency 0 is never drawn",
            ),
            Difference(
                "five networks of 1 x 256 units, trained on bootstraps",
                "five networks of 2 x 128 units that differ in initial weights and batches",
                "as good on held-out rows of TFBind8 as the larger ones; preset `paper` has the "
                "released ensemble",
            ),
        ),
        metrics={
            "reinforce/prediction": "mean prediction of the draws shown, in standard deviations of "
            "the visible scores",
            "reinforce/distinct": "distinct designs among the draws of an update",
        },
        equations=(
            r"\nabla_\theta J = \mathbb{E}_{x \sim p_\theta}"
            r"\left[ a(x) \nabla_\theta \log p_\theta(x) \right]",
            r"a(x) = \frac{f(x) - \operatorname{mean} f}{\operatorname{std} f}",
        ),
    )
    Config: ClassVar[type[Any]] = ReinforceConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": ReinforceConfig(
            surrogate=Choice("bootstrap_ensemble_paper"),
            proposals="drawn",
        ),
        "light": ReinforceConfig(surrogate=LIGHT_SURROGATE, steps=20, batch_size=32, n_best=30),
    }

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Fit the surrogate."""
        self.start(problem, context)
        surrogate = make_surrogate(self.config.surrogate)
        self.fitted = Fitted.fit(problem, surrogate, self.config.encoder, context)

    def propose(self, k: int) -> Proposals:
        """Move the distribution; the criterion is the prediction."""
        steps = self.config.steps
        distribution = first_distribution(self.fitted, self.config)
        generator = torch.Generator(self.context.device).manual_seed(self.context.seed)
        watch = self.fitted.watch("reinforce", steps)
        drawn, value = self._search(distribution, k, generator, watch)
        if self.config.proposals == "drawn":
            drawn = distribution.draw(k, generator)
            value, order = self._predict(distribution, drawn).sort(descending=True, stable=True)
            drawn = drawn[order]
        watch(steps, distribution.features(drawn), value)
        x = distribution.designs(drawn)
        mixed = isinstance(self.problem.space, MixedSpace)
        if self.config.proposals == "drawn" and not mixed:
            return Proposals(x, value.cpu().numpy(), unit=self.fitted.unit)
        return self.fitted.distinct(x, k, value.cpu().numpy())

    def _search(
        self,
        distribution: SearchDistribution,
        k: int,
        generator: torch.Generator,
        watch: SearchWatch,
    ) -> tuple[Tensor, Tensor]:
        """Take all steps; return the `k` or fewer best distinct draws (k, w) and their predictions
        (k,), best first."""
        config = self.config
        progress = self.context.progress
        categorical = isinstance(self.problem.space, CategoricalSpace)
        n = config.batch_size or (256 if categorical else 2048)
        adam = torch.optim.Adam(distribution.parameters, lr=config.learning_rate)
        best = distribution.draw(1, generator)[:0]
        best_value = torch.empty(0, device=generator.device)
        for step in progress.track(range(config.steps), "REINFORCE"):
            drawn = distribution.draw(n, generator)  # (n, w)
            value = self._predict(distribution, drawn)  # (n,)
            watch(step, distribution.features(drawn[:k]), value[:k])
            advantage = (value - value.mean()) / value.std(correction=0).clamp_min(1e-6)
            loss = -(advantage * distribution.log_probability(drawn)).mean()
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            once = best_rows(drawn, value, n)
            progress.metrics("reinforce", step, distinct=len(once))
            rows = torch.cat([best, drawn[once]])
            values = torch.cat([best_value, value[once]])
            kept = best_rows(rows, values, k)
            best, best_value = rows[kept], values[kept]
        return best, best_value

    def _predict(self, distribution: SearchDistribution, drawn: Tensor) -> Tensor:
        return predict_in_pieces(self.fitted.surrogate.predict, distribution.features(drawn))

    def write_state(self, folder: Path) -> None:
        """Write the surrogate."""
        self.fitted.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the surrogate."""
        self.fitted = Fitted.load(folder, self.problem, self.config.encoder, self.context)


def first_distribution(fitted: Fitted, config: ReinforceConfig) -> SearchDistribution:
    """Return the distribution that the search begins with."""
    space = fitted.problem.space
    data = fitted.problem.dataset
    device = fitted.context.device
    best = data.x[data.top_rows(config.n_best)]
    if isinstance(space, CategoricalSpace):
        letters = torch.tensor(best).to(device)
        return IndependentLetters(letters, space.n_categories, fitted.encoder)
    features = fitted.encoder.features(best, device)
    return GaussianDesigns(features, config.sigma0, fitted.encoder)
