"""REINFORCE: a search distribution over designs, moved by policy gradients towards high predictions
of a surrogate.

Algorithm (Williams, 1992; as a baseline: design-baselines, Trabucco et al., 2022):
    1. Fit an ensemble on the visible designs' features; f is its mean.
    2. p <- a Gaussian with independent features around the mean of the 128 best visible designs,
       standard deviation 0.1 (continuous), or independent letters at each site with these designs'
       frequencies (categorical).
    3. Repeat 200 times: draw a batch from p, a <- the batch's predictions at mean 0 and variance 1,
       and take a step of Adam (0.01) down the gradient of -mean(a log p).
    4. Return K designs, the highest f first.

The K designs are by default the best distinct ones of all that were drawn on the way. The released
program draws K once more from the last p (`proposals="drawn"`, in `paper`); on short sequences p
has then collapsed, and most of the K are the same few designs. The metric `distinct` shows it.

Differs from the released program otherwise: a letter that none of the best designs has at a site
starts with the frequency of one more design, not with zero; the ensemble is `light_ensemble`, 2 x
128 with members that differ in their first weights and the order of batches, which predicts
held-out rows of TFBind8 no worse than the larger ones (`paper`: 1 x 256 on bootstraps, as there).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from mbo_gym.encoders.base import Encoder
from mbo_gym.methods.ascent import SearchWatch, best_distinct, best_rows
from mbo_gym.methods.surrogate_search import SurrogateSearch
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import predict_in_pieces

__all__ = [
    "GaussianDesigns",
    "IndependentLetters",
    "Reinforce",
    "ReinforceConfig",
    "SearchDistribution",
]


@dataclass(frozen=True)
class ReinforceConfig:
    """Settings of REINFORCE.

    Args:
        surrogate: Name of the surrogate.
        steps: Updates of the distribution.
        batch_size: Designs drawn for an update; None for 2048 on continuous spaces and 256 on
            categorical ones.
        learning_rate: Adam's.
        n_best: Best visible designs that the first distribution is made from.
        sigma0: First standard deviation, in features; continuous spaces only.
        proposals: ``visited``: the K best distinct designs of all that were drawn; ``drawn``: K
            draws from the last distribution.
        encoder: Name of the encoder.
    """

    surrogate: str = "light_ensemble"
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
                "without steps no designs are visited; give steps of at least 1, or "
                "proposals='drawn'"
            )


class SearchDistribution(Protocol):
    """A distribution over designs with parameters that policy gradients move.

    Attributes:
        parameters: Of the distribution, leaves that require gradients.
    """

    parameters: list[Tensor]

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw `n` designs in the distribution's own terms (n, w), without gradients."""
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
        sigma: The first standard deviation.
        encoder: Turns features into designs.
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
        return self._encoder.decode(drawn.cpu().numpy())


class IndependentLetters:
    """Letters drawn for each site on its own; draws are designs (n, L).

    Args:
        best: (n, L) designs. Their letters' frequencies, with one more of each letter, are the
            first probabilities.
        n_letters: A.
        encoder: Turns designs into features.
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


class Reinforce(SurrogateSearch):
    """Policy gradients on a distribution over designs; see the module's docstring.

    Args:
        config: Its settings.
    """

    Config: ClassVar[type[Any]] = ReinforceConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "paper": ReinforceConfig(surrogate="bootstrap_ensemble_paper", proposals="drawn"),
    }

    def propose(self, k: int) -> np.ndarray:
        """Move the distribution; return `k` designs, the highest prediction first."""
        steps, distribution = self.config.steps, self.new_distribution()
        generator = torch.Generator(self._device).manual_seed(self._seed)
        watch = SearchWatch(self._problem, self._encoder, "reinforce", steps, self._progress)
        drawn, value = self._search(distribution, k, generator, watch)
        if self.config.proposals == "drawn":
            drawn = distribution.draw(k, generator)
            value, order = self._predict(distribution, drawn).sort(descending=True, stable=True)
            drawn = drawn[order]
        watch(steps, distribution.features(drawn), value)
        x, self.criterion = distribution.designs(drawn), value.cpu().numpy()
        if self.config.proposals == "visited":
            x, self.criterion = best_distinct(x, self.criterion, k)
        return x

    def new_distribution(self) -> SearchDistribution:
        """Return the distribution that the search begins with."""
        space, data = self._problem.space, self._problem.dataset
        best = data.x[data.top_rows(self.config.n_best)]
        if isinstance(space, CategoricalSpace):
            return IndependentLetters(
                torch.tensor(best).to(self._device), space.n_categories, self._encoder
            )
        features = torch.from_numpy(self._encoder.encode(best)).to(self._device)
        return GaussianDesigns(features, self.config.sigma0, self._encoder)

    def _search(
        self,
        distribution: SearchDistribution,
        k: int,
        generator: torch.Generator,
        watch: SearchWatch,
    ) -> tuple[Tensor, Tensor]:
        """Take all steps; return the `k` or fewer best distinct draws (k, w) and their predictions
        (k,), best first."""
        config, progress = self.config, self._progress
        n = config.batch_size or (
            256 if isinstance(self._problem.space, CategoricalSpace) else 2048
        )
        adam = torch.optim.Adam(distribution.parameters, lr=config.learning_rate)
        best, best_value = (
            distribution.draw(1, generator)[:0],
            torch.empty(0, device=generator.device),
        )
        for step in progress.track(range(config.steps), "REINFORCE"):
            drawn = distribution.draw(n, generator)
            value = self._predict(distribution, drawn)
            watch(step, distribution.features(drawn[:k]), value[:k])
            advantage = (value - value.mean()) / value.std(correction=0).clamp_min(1e-6)
            loss = -(advantage * distribution.log_probability(drawn)).mean()
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            once = best_rows(drawn, value, n)
            progress.metrics("reinforce", step, distinct=len(once))
            rows, values = torch.cat([best, drawn[once]]), torch.cat([best_value, value[once]])
            kept = best_rows(rows, values, k)
            best, best_value = rows[kept], values[kept]
        return best, best_value

    def _predict(self, distribution: SearchDistribution, drawn: Tensor) -> Tensor:
        return predict_in_pieces(self._surrogate.predict, distribution.features(drawn))
