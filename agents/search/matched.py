"""Matched: a model family that fits the task, and a search that fits the space."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mbo_gym.methods.base import Context, Method, MethodInfo, Proposals, Resources
from mbo_gym.methods.fitted import Fitted
from mbo_gym.methods.search import SearchConfig, search
from mbo_gym.problem.task import OfflineProblem
from mbo_gym.surrogates.auto import AutoConfig, AutoSurrogate

__all__ = ["Matched", "MatchedConfig"]


@dataclass(frozen=True)
class MatchedConfig:
    """Settings of `Matched`.

    Args:
        race: Families that race for the task, and the rules by which one is taken.
        search: Settings of the search.
        encoder: Name of the encoder.
    """

    race: AutoConfig = AutoConfig()
    search: SearchConfig = SearchConfig()
    encoder: str = "z_score"


class Matched(Method):
    """Matched: a race of model families on held-out rows, then the search that the space allows.

    The literature's methods fix the model (perceptrons) and the search (gradient steps). Where the
    score is a parabola, a sum of motifs or a step, no search mends the wrong model, and where all
    designs can be listed, no gradient is needed.

    Algorithm:
        1. race the families on rows that they were not fitted on (`AutoSurrogate`): a trend that
           predicts best leads; else unlike kinds are averaged. Where no family predicts better than
           the mean score, warn that nothing was learned
        2. search (`search`): all designs, where they can be listed; Adam up the trend inside the
           data's box, where one leads; else crossover of the best visible designs, ten generations
        3. propose the K best designs that are new

    Args:
        config: Settings.

    Attributes:
        fitted: Encoder and surrogate; ``fitted.surrogate.table`` tells of the race.
        how: How the last proposals were found.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("matched", preset="light")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        title="Matched: a model family that fits the task, a search that fits the space",
        kind="own",
        metrics={
            "race/r2": "share of the variance of held-out scores that a family predicts, in the "
            "order of the race",
            "ascent/prediction": "mean prediction along the ascent, in standard deviations",
            "crossover/prediction": "mean prediction of a generation, in standard deviations",
        },
    )
    Config: ClassVar[type[Any]] = MatchedConfig
    PRESETS: ClassVar[Mapping[str, Any]] = {
        "light": MatchedConfig(
            AutoConfig(
                bounded=("light_kernel",),
                committee=("trend", "light_kernel"),
                letters=("sequence_ridge",),
            ),
            SearchConfig(generations=2, children=128, population=32, ascent_steps=20),
        )
    }
    RESOURCES: ClassVar[Resources] = Resources(cpus=1, memory_gb=3)

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Race the families, and fit what is taken on all visible rows."""
        self.start(problem, context)
        surrogate = AutoSurrogate(self.config.race)
        self.fitted = Fitted.fit(problem, surrogate, self.config.encoder, context)
        for place, entrant in enumerate(surrogate.table):
            if entrant.judged:
                context.progress.metrics("race", place, r2=entrant.r2)
        if not surrogate.learned:
            best = max(entrant.r2 for entrant in surrogate.table if entrant.judged)
            warnings.warn(
                "No model predicts rows it has not seen better than their mean (best R2 "
                f"{best:.3f}, where 1 is exact): nothing was learned from these scores. The "
                "proposals are no better than a guess. Measure more designs, or measure them "
                "again.",
                stacklevel=2,
            )

    def propose(self, k: int) -> Proposals:
        """Search; the criterion is the prediction."""
        surrogate = self.fitted.surrogate
        assert isinstance(surrogate, AutoSurrogate)
        proposals, self.how = search(self.fitted, k, self.config.search, climb=surrogate.leads)
        return proposals

    def write_state(self, folder: Path) -> None:
        """Write the surrogate."""
        self.fitted.save(folder)

    def read_state(self, folder: Path) -> None:
        """Read the surrogate."""
        surrogate = AutoSurrogate(self.config.race)
        self.fitted = Fitted.load(
            folder, self.problem, self.config.encoder, self.context, surrogate
        )
