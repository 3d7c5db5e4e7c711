"""Surrogates of sequences of letters: ridge regression on pairs and gapped triples, and a
convolutional network."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mbo_gym.encoders.base import Encoder
from mbo_gym.nn.training import TrainingConfig, train
from mbo_gym.nn.weights import seeded
from mbo_gym.problem.space import CategoricalSpace
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.settings import require_at_least
from mbo_gym.surrogates.base import (
    CannotFit,
    FitReport,
    Surrogate,
    held_out_report,
    hold_out,
    require_fitted,
)
from mbo_gym.surrogates.ridge import best_terms, spread_over

__all__ = [
    "KINDS",
    "SequenceCNNConfig",
    "SequenceCNNSurrogate",
    "SequenceRidgeConfig",
    "SequenceRidgeSurrogate",
]

KINDS = ("sites", "pairs", "sites_triples", "pairs_triples")
"""Terms of a sequence: letters at sites, pairs of them, and counts of gapped triples anywhere."""


class _OfLetters:
    """What surrogates of sequences share: features are read as soft indicators of letters.

    Every encoder of letters but the learned one writes a site as a vector that is its own for each
    letter. The affine map from features to indicators that is exact there makes predictions
    differentiable in the features; between the letters they are an extension.
    """

    kind: ClassVar[str]
    config: Any
    _to_indicators: Tensor | None = None  # (L, w + 1, A)

    def for_problem(self, problem: OfflineProblem, encoder: Encoder) -> None:
        """Take over how the encoder writes letters, before `fit`.

        Raises:
            CannotFit: The designs are no sequences of letters, or the encoder is a learned one.
        """
        space = problem.space
        if not isinstance(space, CategoricalSpace):
            raise CannotFit(
                f"a {self.kind!r} surrogate reads sequences of letters, and {problem.task_id} is "
                f"{space.kind}. Take another one, such as 'trend', 'trees' or 'light_ensemble'."
            )
        letters = torch.arange(space.n_categories)[:, None].expand(-1, space.length)
        codes = encoder.encode_tensor(letters).double()  # (A, L w)
        width = codes.shape[1] // space.length
        probe = torch.arange(space.length)[None] % space.n_categories
        if width * space.length != codes.shape[1] or not torch.allclose(
            encoder.encode_tensor(probe).double().view(space.length, width),
            codes.view(len(letters), space.length, width)[probe[0], torch.arange(space.length)],
        ):
            raise CannotFit(
                f"a {self.kind!r} surrogate needs features that stand for sites, got encoder "
                f"{encoder.name!r}. Pass encoder='z_score'."
            )
        codes = codes.view(len(letters), space.length, width).transpose(0, 1)  # (L, A, w)
        whole = torch.cat([codes, torch.ones_like(codes[..., :1])], dim=2)
        self._to_indicators = torch.linalg.pinv(whole)  # (L, w + 1, A): exact at the codes

    def indicators(self, z: Tensor) -> Tensor:
        """Return the soft indicators (B, L, A) of features (B, d); exact ones at designs."""
        if self._to_indicators is None:
            raise CannotFit(
                f"a {self.kind!r} surrogate needs to know the sites of its features. Fit it by "
                "mbo_gym.surrogates.fit_surrogate(problem, encoder, surrogate, seed=...)."
            )
        inverse = self._to_indicators.to(z)
        length, width = inverse.shape[0], inverse.shape[1] - 1
        sites = z.view(len(z), length, width)
        whole = torch.cat([sites, torch.ones_like(sites[..., :1])], dim=2)  # (B, L, w + 1)
        return torch.einsum("blw,lwa->bla", whole, inverse)

    def facts(self) -> dict[str, Any]:
        """Return the settings and the size of the space."""
        shape = None if self._to_indicators is None else list(self._to_indicators.shape)
        return {**asdict(self.config), "sites": shape}


@dataclass(frozen=True)
class SequenceRidgeConfig:
    """Settings of ridge regression on sequences.

    Args:
        kinds: Kinds of terms to choose from: ``sites`` (letters at sites), ``pairs`` (and pairs of
            sites), both also with ``_triples`` (and how often each gapped triple of letters occurs,
            wherever it is).
        span: Sites that a gapped triple reaches over, at most.
        max_terms: Most terms; kinds with more are left out. Time grows with its square.
        held_out: Share of the rows kept back for the report, in [0, 1).
    """

    kinds: tuple[str, ...] = KINDS
    span: int = 5
    max_terms: int = 4000
    held_out: float = 0.1

    def __post_init__(self) -> None:
        require_at_least(self, 3, "span")
        require_at_least(self, 1, "max_terms")
        require_at_least(self, 0, "held_out")
        if self.held_out >= 1:
            raise ValueError(f"held_out is a share in [0, 1), got {self.held_out}")
        if not self.kinds or any(kind not in KINDS for kind in self.kinds):
            raise ValueError(f"kinds must be of {', '.join(KINDS)}, got {list(self.kinds)}")


class SequenceRidgeSurrogate(_OfLetters, Surrogate):
    """Ridge regression on what letters stand where, in pairs, and in gapped triples anywhere.

    A transcription factor binds a motif wherever it stands, so the triples, which do not depend on
    the site, predict binding with few weights. Kind and ridge weight have the least leave-one-out
    error. Differentiable.

    Args:
        config: Settings.

    Attributes:
        chosen: Kind of the last fit; empty before.
        r2: Share of the scores' variance that each kind predicts by leave-one-out.
        left_out: (N,) error of each row of the last fit by a fit without it; NaN for the rows held
            out for the report.
    """

    kind: ClassVar[str] = "sequence_ridge"
    weighs_rows: ClassVar[bool] = True
    Config: ClassVar[type[SequenceRidgeConfig]] = SequenceRidgeConfig

    def __init__(self, config: SequenceRidgeConfig | None = None) -> None:
        self.config = config or SequenceRidgeConfig()
        self.chosen = ""
        self.r2: dict[str, float] = {}
        self.left_out = torch.empty(0)
        self._state: dict[str, Tensor] = {}

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Fit on features (N, d) and scores (N,); see `Surrogate.fit`.

        Raises:
            CannotFit: Every kind has more than `max_terms` terms, or `for_problem` was not called.
        """
        started, config = time.perf_counter(), self.config
        generator = torch.Generator(z.device).manual_seed(seed)
        held, train = hold_out(len(z), config.held_out, generator)
        rows = self.indicators(z[train].double())
        _, length, n_letters = rows.shape
        sizes = {k: _n_terms(k, length, n_letters, config.span) for k in config.kinds}
        kinds = [kind for kind, size in sizes.items() if size <= config.max_terms]
        if not kinds:
            raise CannotFit(
                f"a sequence of {length} sites and {n_letters} letters has {min(sizes.values())} "
                f"terms at least, and max_terms={config.max_terms}. Take another surrogate, such "
                "as 'light_ensemble', or raise max_terms."
            )
        weight = None if self.row_weight is None else self.row_weight[train]
        terms = {kind: (partial(_terms, kind, config.span), sizes[kind]) for kind in kinds}
        best = best_terms(rows, terms, y[train], weight, progress or NullProgress())
        self.r2, self.chosen = best.r2, best.kind
        self.left_out = spread_over(len(z), train, best.left_out)
        self._state = {
            "slopes": best.slopes.to(z.dtype),
            "intercept": best.intercept.to(z.dtype),
            "kind": torch.tensor(KINDS.index(best.kind)),
        }
        seconds = time.perf_counter() - started
        self.report = held_out_report(
            self, z[held], y[held], n_train=len(train), steps=0, seconds=seconds
        )
        return self.report

    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of features (B, d); (B,), differentiable in `z`."""
        state = require_fitted(self._state or None, self.kind)
        terms = _terms(self.chosen, self.config.span, self.indicators(z))
        return state["intercept"] + terms @ state["slopes"]

    def state(self) -> dict[str, Tensor]:
        """Return slopes (p,), intercept (), kind (), and the map to indicators (L, w + 1, A)."""
        require_fitted(self._state or None, self.kind)
        assert self._to_indicators is not None
        return {**self._state, "to_indicators": self._to_indicators}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        self._state = dict(state)
        self._to_indicators = self._state.pop("to_indicators")
        self.chosen = KINDS[int(state["kind"])]


def _gaps(length: int, span: int) -> Sequence[tuple[int, int]]:
    """Return the distances between the sites of the gapped triples that fit."""
    reach = min(span, length)
    return [
        (first, second)
        for first, second in itertools.product(range(1, reach), repeat=2)
        if first + second < reach
    ]


def _n_terms(kind: str, length: int, n_letters: int, span: int) -> int:
    """Return the number of terms of a kind."""
    free = n_letters - 1
    n = length * free
    if kind.startswith("pairs"):
        n += length * (length - 1) // 2 * free**2
    if kind.endswith("triples"):
        n += len(_gaps(length, span)) * n_letters**3
    return n


def _terms(kind: str, span: int, indicators: Tensor) -> Tensor:
    """Return the terms (B, p) of indicators (B, L, A); the first letter has none of its own."""
    n, length, _ = indicators.shape
    free = indicators[:, :, 1:]
    found = [free.flatten(1)]
    if kind.startswith("pairs"):
        i, j = torch.triu_indices(length, length, 1, device=indicators.device)
        found.append(torch.einsum("bpa,bpc->bpac", free[:, i], free[:, j]).flatten(1))
    if kind.endswith("triples"):
        for first, second in _gaps(length, span):
            last = length - first - second
            pairs = torch.einsum(
                "bla,blc->blac", indicators[:, :last], indicators[:, first : first + last]
            )
            third = indicators[:, first + second :]
            found.append(torch.einsum("blac,bld->bacd", pairs, third).reshape(n, -1))
    return torch.cat(found, dim=1)


_TRAINING = TrainingConfig(
    steps=2500,
    batch_size=128,
    learning_rate=4e-3,
    warm_up=750,
    ema=0.0,
    precision="float32",
    compile="off",
)


@dataclass(frozen=True)
class SequenceCNNConfig:
    """Settings of a convolutional network of sequences.

    Args:
        members: Networks whose mean predicts.
        channels: Channels of the two convolutions, and width of the layer after them.
        reach: Sites that a convolution sees, an odd number.
        training: Settings of each network's training.
        passes: Most passes over the rows, where these end the training earlier: networks of few
            rows learn them by heart.
        held_out: Share of the rows kept back for the report, in [0, 1).
    """

    members: int = 2
    channels: int = 64
    reach: int = 5
    training: TrainingConfig = _TRAINING
    passes: int = 10
    held_out: float = 0.1

    def __post_init__(self) -> None:
        require_at_least(self, 1, "members", "channels", "reach", "passes")
        require_at_least(self, 0, "held_out")
        if self.held_out >= 1 or self.reach % 2 == 0:
            raise ValueError(
                "held_out is a share in [0, 1) and reach an odd number, "
                f"got {self.held_out} and {self.reach}"
            )


class SequenceCNNSurrogate(_OfLetters, Surrogate):
    """The mean of small convolutional networks of a sequence: what stands near what, and where.

    Differentiable.

    Args:
        config: Settings.
    """

    kind: ClassVar[str] = "sequence_cnn"
    weighs_rows: ClassVar[bool] = True
    Config: ClassVar[type[SequenceCNNConfig]] = SequenceCNNConfig

    def __init__(self, config: SequenceCNNConfig | None = None) -> None:
        self.config = config or SequenceCNNConfig()
        self._networks: nn.ModuleList | None = None

    def fit(
        self, z: Tensor, y: Tensor, *, seed: int, progress: Progress | None = None
    ) -> FitReport:
        """Fit on features (N, d) and scores (N,); see `Surrogate.fit`.

        Raises:
            CannotFit: `for_problem` was not called.
        """
        started, config = time.perf_counter(), self.config
        generator = torch.Generator(z.device).manual_seed(seed)
        held, train_rows = hold_out(len(z), config.held_out, generator)
        rows, scores = self.indicators(z[train_rows]).float(), y[train_rows].float()
        weight = None if self.row_weight is None else self.row_weight[train_rows].float()
        _, length, n_letters = rows.shape
        training = self._training(len(rows))
        networks = []
        for member in range(config.members):
            with seeded(seed * config.members + member):
                network = _network(length, n_letters, config).to(z.device)

            def loss(batch: Tensor, _: torch.Generator, network: nn.Module = network) -> Tensor:
                error: Tensor = (network(rows[batch])[:, 0] - scores[batch]).square()
                return (error if weight is None else weight[batch] * error).mean()

            train(
                network,
                loss,
                len(rows),
                training,
                seed=seed * config.members + member,
                device=z.device,
                progress=progress,
                stage="sequence_cnn",
            )
            networks.append(network)
        self._networks = nn.ModuleList(networks).eval().requires_grad_(False)
        self.report = held_out_report(
            self,
            z[held],
            y[held],
            n_train=len(rows),
            steps=config.members * training.steps,
            seconds=time.perf_counter() - started,
        )
        return self.report

    def _training(self, n: int) -> TrainingConfig:
        """Return the settings of the training on `n` rows."""
        training = self.config.training
        steps = min(training.steps, self.config.passes * -(-n // training.batch_size))
        warm_up = training.warm_up * steps // training.steps
        made: TrainingConfig = replace(training, steps=steps, warm_up=warm_up)
        return made

    def predict(self, z: Tensor) -> Tensor:
        """Predict the scores of features (B, d); (B,), differentiable in `z`."""
        networks = require_fitted(self._networks, self.kind)
        rows = self.indicators(z).float()
        found: Tensor = torch.stack([network(rows)[:, 0] for network in networks]).mean(dim=0)
        return found.to(z.dtype)

    def state(self) -> dict[str, Tensor]:
        """Return the networks' weights and the map to indicators (L, w + 1, A)."""
        networks = require_fitted(self._networks, self.kind)
        assert self._to_indicators is not None
        return {**networks.state_dict(), "to_indicators": self._to_indicators}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""
        own = dict(state)
        self._to_indicators = own.pop("to_indicators")
        length, _, n_letters = self._to_indicators.shape
        made = [_network(length, n_letters, self.config) for _ in range(self.config.members)]
        self._networks = nn.ModuleList(made).to(self._to_indicators.device)
        self._networks.load_state_dict(own)
        self._networks.eval().requires_grad_(False)


class _Transposed(nn.Module):
    """Sites to the end, where convolutions look for them: (B, L, A) -> (B, A, L)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def _network(length: int, n_letters: int, config: SequenceCNNConfig) -> nn.Sequential:
    """Return the untrained network (B, L, A) -> (B, 1)."""
    width, pad = config.channels, config.reach // 2
    return nn.Sequential(
        _Transposed(),
        nn.Conv1d(n_letters, width, config.reach, padding=pad),
        nn.ReLU(),
        nn.Conv1d(width, width, config.reach, padding=pad),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(width * length, width),
        nn.ReLU(),
        nn.Linear(width, 1),
    )
