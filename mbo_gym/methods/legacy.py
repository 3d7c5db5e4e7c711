"""Methods written against the protocol before `Method` was a base class."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mbo_gym.errors import MboGymError
from mbo_gym.methods.base import Context, Method, MethodInfo, Proposals, Resources
from mbo_gym.methods.distinct import as_they_come

if TYPE_CHECKING:
    from typing_extensions import Self

    from mbo_gym.problem.task import OfflineProblem

__all__ = ["LegacyMethod"]


class LegacyMethod(Method):
    """A method of the old protocol as a `Method`.

    The old protocol: ``fit(problem, *, seed, device, progress)``, ``propose(k)`` that returns an
    array and leaves its order in ``criterion``, and ``save(folder)`` where there is one. It can be
    saved, but not loaded.

    Args:
        method: The method.
        name: Registered name, for the warning.
    """

    info = MethodInfo(title="A method of the old protocol", kind="own")

    def __init__(self, method: Any, name: str) -> None:
        warnings.warn(
            f"the method {name!r} ({type(method).__qualname__}) follows the old method protocol. "
            "Derive it from mbo_gym.Method: fit(problem, context), propose(k) -> Proposals.",
            DeprecationWarning,
            stacklevel=3,
        )
        super().__init__(method.config)
        self.method = method
        self.CONTROL = getattr(method, "CONTROL", False)  # type: ignore[misc]
        self.RESOURCES = getattr(method, "RESOURCES", Resources())  # type: ignore[misc]

    def fit(self, problem: OfflineProblem, context: Context = Context()) -> None:
        """Learn from the visible data."""
        self.start(problem, context)
        self.method.fit(
            problem, seed=context.seed, device=context.device, progress=context.progress
        )

    def propose(self, k: int) -> Proposals:
        """Return `k` designs and the method's criterion, 0 where it has none.

        On mixed spaces they are distinct, see `mbo_gym.methods.distinct.as_they_come`.
        """
        x = np.asarray(self.method.propose(k))
        criterion = getattr(self.method, "criterion", None)
        value = np.zeros(len(x)) if criterion is None else np.asarray(criterion)
        return as_they_come(self.problem, x, value, k, self.context.seed)

    def save(self, folder: Path) -> None:
        """Let the method write its folder, where it can."""
        if hasattr(self.method, "save"):
            self.method.save(folder)

    @classmethod
    def load(cls, folder: Path, *, device: str | None = None) -> Self:
        """Refuse: the old protocol has no way back from a folder."""
        raise MboGymError(
            f"{folder} was saved by a method of the old protocol, which cannot be loaded. "
            "Derive the method from mbo_gym.Method and save it again."
        )
