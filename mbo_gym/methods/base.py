"""The method base class, its context, proposals and facts."""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np

from mbo_gym.errors import InvalidData, MissingData, UnsupportedSpace
from mbo_gym.files import store
from mbo_gym.progress.protocol import NullProgress, Progress
from mbo_gym.settings import from_plain

if TYPE_CHECKING:
    from typing_extensions import Self

    from mbo_gym.problem.dataset import ScoreScale
    from mbo_gym.problem.task import OfflineProblem

__all__ = [
    "Context",
    "CriterionUnit",
    "Difference",
    "Method",
    "MethodInfo",
    "Proposals",
    "Resources",
    "read_config",
    "save_config",
]

CONFIG_FILE = "config.json"
METHOD_FILE = "method.json"

CriterionUnit: TypeAlias = Literal["deviations", "score", "own"]
"""Unit of a criterion: standard deviations above the mean of the visible scores; the score itself,
higher is better; or a unit of the method's own, which says nothing about the score."""


@dataclass(frozen=True)
class Resources:
    """CPU cores, GPU share and memory of one run of a method.

    Args:
        cpus: CPU cores, which is also the number of threads: the same on every machine, so that
            results are too.
        gpu_share: Share of a GPU, in (0, 1], where the run is on one.
        memory_gb: Main memory, GiB.
    """

    cpus: int = 1
    gpu_share: float = 0.25
    memory_gb: float = 2.0


@dataclass(frozen=True)
class Difference:
    """One difference between a method here and in its paper.

    Args:
        paper: The paper's way, or that of its released program.
        here: The way of this implementation.
        why: The reason, or the measured effect.
    """

    paper: str
    here: str
    why: str


@dataclass(frozen=True)
class MethodInfo:
    """Facts of a method; `mbo-gym show`, documentation and reports are made from them.

    Args:
        title: Short name and full name, e.g. ``"COMs: conservative objective models"``.
        paper: Reference; empty for a method without one.
        kind: ``reproduction`` of a paper, ``adaptation`` of a known algorithm to this problem,
            ``control`` (learns nothing, uses a surrogate only as a filter, or takes the optimum of
            a model in closed form) or ``own``.
        differences: Differences from the paper.
        metrics: Meaning of each logged metric, ``stage/name``.
        equations: LaTeX of the main equations, one a line, for the documentation.
        spaces: Kinds of design spaces that it works on; others are refused before the fit.
    """

    title: str
    paper: str = ""
    kind: Literal["reproduction", "adaptation", "control", "own"] = "reproduction"
    differences: tuple[Difference, ...] = ()
    metrics: Mapping[str, str] = field(default_factory=dict)
    equations: tuple[str, ...] = ()
    spaces: tuple[str, ...] = ("continuous", "categorical", "mixed")


@dataclass(frozen=True)
class Context:
    """Circumstances of a fit.

    Args:
        seed: Seed of every random number; the same seed gives the same proposals on a CPU.
        device: Device of the tensors: ``cpu``, ``cuda``, ...
        progress: Observer of the fit and of the search.
    """

    seed: int = 0
    device: str = "cpu"
    progress: Progress = field(default_factory=NullProgress)


@dataclass(frozen=True, eq=False)
class Proposals:
    """Designs that a method proposes, best first.

    Args:
        x: (k, *shape) native designs inside the space.
        criterion: (k,) the method's own offline score of each design; all equal where it has none.
        unit: Unit of the criterion.
    """

    x: np.ndarray
    criterion: np.ndarray
    unit: CriterionUnit = field(default="own", kw_only=True)

    def scores(self, scale: ScoreScale) -> np.ndarray | None:
        """Return the criterion as raw scores (k,) float64, higher is better; None if it is none.

        Args:
            scale: Mean and standard deviation of the visible scores.
        """
        if self.unit == "own":
            return None
        if self.unit == "deviations":
            return scale.restore(self.criterion)
        return np.asarray(self.criterion, dtype=np.float64)

    def __len__(self) -> int:
        return len(self.x)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.x, dtype=dtype) if copy else np.asarray(self.x, dtype=dtype)


class Method(ABC):
    """A way to propose designs from offline data alone.

    A subclass has a `Config`, `info`, and writes `fit` and `propose`. It keeps what `fit` is given
    by `start`. What it learned it writes and reads in `write_state` and `read_state`; `save` and
    `load` do the rest.

    Args:
        config: Settings; None for the defaults.

    Attributes:
        info: Facts of the method.
        Config: Settings, a frozen dataclass, which may hold others.
        PRESETS: Named settings: ``paper``, and ``light``, which ends within seconds.
        SETTINGS: Settings for a task id, where a task needs its own.
        CONTROL: Whether it is a control, see `MethodInfo.kind`.
        RESOURCES: Resources of a run.
        config: Settings it was built from.
        problem: Problem it was fitted on.
        context: Seed, device and progress of that fit.

    Example:
        >>> import mbo_gym
        >>> method = mbo_gym.make_method("top_k")
        >>> method.fit(mbo_gym.make_task("Branin-Exact-v0").problem())
        >>> method.propose(4).x.shape
        (4, 2)
    """

    info: ClassVar[MethodInfo]
    Config: ClassVar[type[Any]]
    PRESETS: ClassVar[Mapping[str, Any]] = {}
    SETTINGS: ClassVar[Mapping[str, Any]] = {}
    CONTROL: ClassVar[bool] = False
    RESOURCES: ClassVar[Resources] = Resources()

    config: Any
    problem: OfflineProblem
    context: Context

    def __init__(self, config: Any = None) -> None:
        self.config = self.Config() if config is None else config

    @abstractmethod
    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Learn from the visible data.

        Args:
            problem: All that a method may know.
            context: Seed, device and progress.
        """

    @abstractmethod
    def propose(self, k: int) -> Proposals:
        """Return `k` designs, best first by the method's own criterion.

        On mixed spaces all are distinct, unless the space holds fewer (`top_k`: unless the visible
        data do); see `mbo_gym.methods.distinct` for the way there.

        Args:
            k: Budget K, at least 1.
        """

    @property
    def asks_oracle(self) -> bool:
        """Whether its settings let it ask the oracle, as an upper bound on what it could learn."""
        return False

    def start(self, problem: OfflineProblem, context: Context) -> None:
        """Keep the problem and the context; the first line of every `fit`.

        Raises:
            UnsupportedSpace: The method's `info.spaces` does not name the kind of the space.
        """
        info = getattr(self, "info", None)  # a plugin may have none
        kind = problem.space.kind
        if isinstance(info, MethodInfo) and kind not in info.spaces:
            raise UnsupportedSpace(
                f"{info.title} works on {' and '.join(info.spaces)} spaces, but "
                f"{problem.task_id} has a {kind} one. Choose a method whose page names {kind} "
                "spaces: `mbo-gym show METHOD`."
            )
        self.problem = problem
        self.context = context

    def write_state(self, folder: Path) -> None:  # noqa: B027 (a method that learns nothing writes nothing)
        """Write what `fit` learned: JSON and safetensors or npz, never pickle."""

    def read_state(self, folder: Path) -> None:  # noqa: B027
        """Read what `write_state` wrote; settings, problem and context are there already."""

    def save(self, folder: Path) -> None:
        """Write settings, visible data and fitted state into a folder for `load`.

        Raises:
            RuntimeError: The method is not fitted.
        """
        from mbo_gym.methods import saved  # imports torch, which reading a config does without

        if not hasattr(self, "problem"):
            raise RuntimeError(
                f"{type(self).__name__} is not fitted. Call fit(problem) before save()."
            )
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        kind = type(self)
        facts = {
            "class": f"{kind.__module__}:{kind.__qualname__}",
            "seed": self.context.seed,
            "device": self.context.device,
        }
        store.write_atomic(folder / METHOD_FILE, json.dumps(facts, indent=2).encode())
        save_config(folder, self.config)
        saved.write_problem(folder, self.problem)
        self.write_state(folder)
        store.seal(folder)

    @classmethod
    def load(cls, folder: Path, *, device: str | None = None) -> Self:
        """Return the method that `save` wrote; it proposes the same designs.

        Args:
            folder: Folder that `save` wrote.
            device: Device to go on with; None for the one it was fitted on.

        Raises:
            MissingData: The folder holds no method, or a file of it is missing.
            InvalidData: The folder holds another method.
            DamagedFile: A file of it is missing or was changed.
        """
        from mbo_gym.methods import saved

        folder = Path(folder)
        facts = read_facts(folder)
        own = f"{cls.__module__}:{cls.__qualname__}"
        if facts["class"] != own:
            raise InvalidData(
                f"{folder} holds a {facts['class']}, not a {own}. Load it with "
                f"mbo_gym.load_method({str(folder)!r})."
            )
        method = cls(read_config(folder, cls.Config))
        method.start(saved.read_problem(folder), Context(facts["seed"], device or facts["device"]))
        method.read_state(folder)
        return method


def read_facts(folder: Path) -> dict[str, Any]:
    """Check the files of a saved method, and return its class, seed and device.

    Raises:
        MissingData: The folder holds no method.
        DamagedFile: A file of it is missing or was changed.
    """
    store.check_sealed(folder)
    try:
        facts: dict[str, Any] = json.loads((folder / METHOD_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingData(
            f"{folder} holds no saved method: there is no {METHOD_FILE}. "
            "Pass the folder that method.save() wrote, e.g. the folder model of a run."
        ) from None
    return facts


def save_config(folder: Path, config: Any) -> None:
    """Write a config dataclass as ``config.json`` into a method's folder."""
    text = json.dumps(dataclasses.asdict(config), indent=2, default=str)
    store.write_atomic(folder / CONFIG_FILE, text.encode())


def read_config(folder: Path, kind: type[Any]) -> Any:
    """Read the config dataclass that `save_config` wrote."""
    return from_plain(kind, json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")))
