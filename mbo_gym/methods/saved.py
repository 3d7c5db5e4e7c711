"""Problems on disk: the visible data that a saved method goes on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mbo_gym.errors import InvalidData
from mbo_gym.files import store
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.plain import space_from_dict, space_to_dict
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace, DesignSpace
from mbo_gym.problem.task import OfflineProblem

__all__ = ["name_problem", "read_problem", "write_problem"]

FACTS_FILE = "problem.json"
DATA_FILE = "problem.npz"


def write_problem(folder: Path, problem: OfflineProblem) -> None:
    """Write a problem into a folder: facts as JSON, data as compressed npz.

    Letters are kept as the smallest whole numbers that hold them.
    """
    facts = {
        "task_id": problem.task_id,
        "score_range": list(problem.score_range),
        "options": dict(problem.options),
    }
    arrays = {"x": problem.dataset.x, "y": problem.dataset.y}
    more = {
        "error": problem.dataset.error,
        "failed": problem.dataset.failed,
        "contexts": problem.dataset.context,
        "context": problem.context,
    }
    arrays |= {name: values for name, values in more.items() if values is not None}
    space = problem.space
    if isinstance(space, CategoricalSpace):
        facts["space"] = {
            "kind": "categorical",
            "length": space.length,
            "n_categories": space.n_categories,
            "letters": list(space.letters),
            "name": space.name,
        }
        arrays["x"] = arrays["x"].astype(np.min_scalar_type(space.n_categories))
    elif isinstance(space, MixedSpace):
        facts["space"] = space_to_dict(space) | {"kind": "mixed"}
    else:
        assert isinstance(space, ContinuousSpace)
        facts["space"] = {"kind": "continuous", "names": list(space.names)}
        arrays |= {"low": space.low, "high": space.high}

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    store.write_atomic(folder / FACTS_FILE, json.dumps(facts, indent=2, default=str).encode())
    store.write_atomic(folder / DATA_FILE, write)


def name_problem(folder: Path, problem: OfflineProblem) -> None:
    """Write id and options of a problem into a folder that `write_problem` wrote, if it did."""
    path = folder / FACTS_FILE
    if path.exists():
        facts = json.loads(path.read_text(encoding="utf-8"))
        facts |= {"task_id": problem.task_id, "options": dict(problem.options)}
        store.write_atomic(path, json.dumps(facts, indent=2, default=str).encode())
        store.seal(folder)


def read_problem(folder: Path) -> OfflineProblem:
    """Read the problem that `write_problem` wrote.

    Raises:
        InvalidData: The space is of an unknown kind.
    """
    facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    arrays = store.load_npz((folder / DATA_FILE).read_bytes())
    space = _read_space(facts["space"], arrays)
    dataset = OfflineDataset(
        arrays["x"].astype(space.dtype),
        arrays["y"],
        arrays.get("error"),
        arrays.get("failed"),
        context=arrays.get("contexts"),
    )
    low, high = facts["score_range"]
    return OfflineProblem(
        facts["task_id"], space, dataset, (low, high), facts["options"], arrays.get("context")
    )


def _read_space(facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> DesignSpace:
    if facts["kind"] == "categorical":
        return CategoricalSpace(
            facts["length"],
            facts["n_categories"],
            tuple(facts["letters"]),
            facts.get("name", "sequence"),
        )
    if facts["kind"] == "mixed":
        return space_from_dict(facts)
    if facts["kind"] == "continuous":
        return ContinuousSpace(arrays["low"], arrays["high"], tuple(facts["names"]))
    raise InvalidData(
        f"a saved problem has a design space of kind {facts['kind']!r}; known: categorical, "
        "continuous, mixed. "
        "It was written by a newer mbo-gym: install that version to read it."
    )
