"""Surrogates by name: registered as strings, built and loaded on use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbo_gym.registry import Registry
from mbo_gym.settings import Choice, leaf_settings, with_settings

if TYPE_CHECKING:
    from mbo_gym.surrogates.base import Surrogate

__all__ = [
    "SURROGATES",
    "check_chosen",
    "list_surrogates",
    "load_surrogate",
    "make_surrogate",
    "register_surrogate",
    "settings_of_surrogate",
]

SURROGATES = Registry("surrogate", table="SURROGATES", group="mbo_gym.surrogates")
"""Every surrogate by name: a `Surrogate` class with a `Config`, or a function of its config's
fields. The arguments of a name are fields of its config."""


def list_surrogates() -> list[str]:
    """Return the names of all surrogates, those of other packages too, sorted."""
    return list(SURROGATES)


def register_surrogate(
    name: str, entry_point: str | Callable[..., Surrogate], **settings: Any
) -> None:
    """Add a surrogate in this process.

    Args:
        name: Name of the surrogate.
        entry_point: `Surrogate` class with a `Config`, a function of its settings, or
            ``"module:attribute"`` to import either on use.
        **settings: Settings that belong to this name.

    Raises:
        ValueError: The name is taken.
    """
    SURROGATES.register(name, entry_point, **settings)


def make_surrogate(name: str | Choice = "mlp", **config: Any) -> Surrogate:
    """Build an unfitted surrogate.

    Args:
        name: ``mlp`` (2 x 256), ``mlp_paper`` (2 x 2048, the papers' size; minutes on two cores),
            ``mean_ensemble``, ``min_ensemble`` (both also with ``_paper``),
            ``bootstrap_ensemble_paper`` (design-baselines': five 1 x 256 on bootstraps),
            ``light_ensemble`` and ``light_min_ensemble`` (five 2 x 128, half as long trained),
            ``gtg_proxy`` (GTG's ten, which see good rows more often; ``light_gtg_proxy`` of 2 x
            128), ``quadratic`` (all squares and products by ridge regression), ``least_error``
            (of ``light_ensemble`` and ``quadratic`` the one with the lower error on held-out rows),
            ``auto`` (a race of model families: the one, or the mean, that fits the task),
            ``trend`` (the best polynomial of few terms), ``kernel`` (Gaussian kernel ridge;
            ``light_kernel`` on 300 rows),
            ``trees`` and ``extra_trees`` (boosted and random ones, without a gradient),
            ``sequence_ridge`` (pairs and gapped triples of letters), ``sequence_cnn``,
            ``committee`` (the mean of ``trees``, ``light_ensemble`` and ``kernel``), ``residual``
            (``trend``, and ``light_ensemble`` on what it leaves over), ``gns`` (a learned simulator
            of water, on the fluid tasks only), one that belongs to a method (``coms``, ``roma``,
            ``nemo``, ``iom``, ``ram_listnet``,
            ``ram_rankcosine``), or a name that another package registered; or a `Choice` of one
            with settings.
        **config: Fields of its config dataclass.

    Raises:
        UnknownId: No surrogate has that name.
    """
    if isinstance(name, Choice):
        config = {**name.settings, **config}
        name = name.name
    spec = SURROGATES.spec(name)
    kind = spec.load()
    settings = {**spec.kwargs, **config}
    surrogate: Surrogate
    if isinstance(kind, type) and hasattr(kind, "Config"):
        surrogate = kind(with_settings(kind.Config(), settings))
    else:  # a function of the settings
        surrogate = kind(**settings)
    surrogate.name = "" if config else name
    return surrogate


def settings_of_surrogate(choice: Choice) -> list[str]:
    """Return the names of a surrogate's settings; of a function, those that its name sets.

    Raises:
        UnknownId: No surrogate has that name.
    """
    spec = SURROGATES.spec(choice.name)
    kind = spec.load()
    if isinstance(kind, type) and hasattr(kind, "Config"):
        return list(leaf_settings(kind.Config()))
    return list(spec.kwargs)


def check_chosen(base: Any, config: Any) -> None:
    """Raise what is wrong with the surrogates that a config chooses, and its base does not.

    Args:
        base: Config of a method as it was.
        config: The same with other settings.

    Raises:
        UnknownId: No surrogate, or no setting of it, has that name.
        ValueError: A setting is of the wrong type.
    """
    before = leaf_settings(base)
    for name, choice in leaf_settings(config).items():
        known = before.get(name)
        if not isinstance(choice, Choice) or choice == known:
            continue
        if choice.name not in SURROGATES and isinstance(known, Choice) and known.name in SURROGATES:
            SURROGATES.spec(choice.name)  # raises and names the nearest
        if choice.name in SURROGATES:
            try:
                make_surrogate(choice)
            except TypeError as error:  # of a function that takes no such setting
                raise ValueError(f"{name}: {error}") from error


def load_surrogate(path: Path | str) -> Surrogate:
    """Read a surrogate that `Surrogate.save` wrote; of a `LeastErrorSurrogate`, the one that it
    kept."""
    from mbo_gym.surrogates.base import FitReport, read_saved

    tensors, facts = read_saved(path)
    surrogate = make_surrogate(facts["kind"], **facts["config"])
    surrogate.name = facts["name"]
    surrogate.load_state(tensors)
    surrogate.report = FitReport(**facts["report"]) if facts["report"] else None
    return surrogate


_PAPER = {
    "hidden": 2048,
    "train_steps": 11_600,
    "batch_size": 128,
    "learning_rate": 3e-4,
}  # 50 epochs of TFBind8

SURROGATES.register("mlp", "mbo_gym.surrogates.mlp:MLPSurrogate")
SURROGATES.register("mlp_paper", "mbo_gym.surrogates.mlp:MLPSurrogate", **_PAPER)
SURROGATES.register("ensemble", "mbo_gym.surrogates.mlp:EnsembleSurrogate")
SURROGATES.register("mean_ensemble", "mbo_gym.surrogates.mlp:EnsembleSurrogate", aggregate="mean")
SURROGATES.register("min_ensemble", "mbo_gym.surrogates.mlp:EnsembleSurrogate", aggregate="min")
SURROGATES.register(
    "mean_ensemble_paper", "mbo_gym.surrogates.mlp:EnsembleSurrogate", aggregate="mean", **_PAPER
)
SURROGATES.register(
    "min_ensemble_paper", "mbo_gym.surrogates.mlp:EnsembleSurrogate", aggregate="min", **_PAPER
)
SURROGATES.register(  # 100 epochs of TFBind8
    "bootstrap_ensemble_paper",
    "mbo_gym.surrogates.mlp:EnsembleSurrogate",
    bootstrap=True,
    layers=1,
    train_steps=32_900,
    batch_size=100,
)
SURROGATES.register(
    "light_ensemble", "mbo_gym.surrogates.mlp:EnsembleSurrogate", hidden=128, train_steps=1500
)  # a quarter of the time, for two at once
SURROGATES.register(
    "light_min_ensemble",
    "mbo_gym.surrogates.mlp:EnsembleSurrogate",
    hidden=128,
    train_steps=1500,
    aggregate="min",
)
SURROGATES.register(
    "gtg_proxy",
    "mbo_gym.surrogates.mlp:EnsembleSurrogate",
    members=10,
    hidden=1024,
    train_steps=5000,
    batch_size=128,
    rank_weight=0.01,
)
SURROGATES.register(
    "light_gtg_proxy",
    "mbo_gym.surrogates.mlp:EnsembleSurrogate",
    members=10,
    hidden=128,
    train_steps=1500,
    batch_size=128,
    rank_weight=0.01,
)
SURROGATES.register("quadratic", "mbo_gym.surrogates.quadratic:QuadraticSurrogate")
SURROGATES.register("kernel", "mbo_gym.surrogates.kernel:KernelSurrogate")
SURROGATES.register(
    "light_kernel", "mbo_gym.surrogates.kernel:KernelSurrogate", max_rows=300, chosen_on=300
)
SURROGATES.register("trees", "mbo_gym.surrogates.trees:TreesSurrogate")
SURROGATES.register("extra_trees", "mbo_gym.surrogates.trees:TreesSurrogate", model="extra")
SURROGATES.register("sequence_ridge", "mbo_gym.surrogates.sequence:SequenceRidgeSurrogate")
SURROGATES.register("sequence_cnn", "mbo_gym.surrogates.sequence:SequenceCNNSurrogate")
SURROGATES.register("committee", "mbo_gym.surrogates.committee:CommitteeSurrogate")
SURROGATES.register("residual", "mbo_gym.surrogates.committee:ResidualSurrogate")
SURROGATES.register("trend", "mbo_gym.surrogates.trend:TrendSurrogate")
SURROGATES.register("least_error", "mbo_gym.surrogates.least_error:LeastErrorSurrogate")
SURROGATES.register("auto", "mbo_gym.surrogates.auto:AutoSurrogate")
SURROGATES.register("gns", "mbo_gym.surrogates.gns.surrogate:GNSSurrogate")
