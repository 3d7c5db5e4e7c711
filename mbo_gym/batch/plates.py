"""Batches of plates: one parameter is equal within each plate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mbo_gym.batch.candidates import Pool, Taken, Value
from mbo_gym.batch.select import Chooser
from mbo_gym.errors import UnknownId
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.space import CategoricalSpace, DesignSpace

__all__ = ["Plates", "choose_plates", "group_slot"]

MOST_TRIED = 12
"""Values of the parameter that are tried for a plate."""


@dataclass(frozen=True, eq=False)
class Plates:
    """A batch in plates.

    Args:
        x: (k, *shape) designs, plate by plate.
        plate: (k,) number of the plate of each design, from 1.
    """

    x: np.ndarray
    plate: np.ndarray


def group_slot(space: DesignSpace, name: str) -> int:
    """Return the slot of the parameter that is equal within a plate.

    Raises:
        UnknownId: There is no such parameter.
        ValueError: It is a sequence.
    """
    if name not in space.names:
        raise UnknownId("parameter for group", name, space.names)
    if isinstance(space, MixedSpace) and space.slots.parameters[name].size == 1:
        return int(space.slots.start[name])
    if isinstance(space, (MixedSpace, CategoricalSpace)):
        raise ValueError(f"group={name!r} is a sequence; name a number or a category.")
    return space.names.index(name)


def choose_plates(
    pool: Pool,
    k: int,
    slot: int,
    plate_size: int,
    chooser: Chooser,
    taken: Taken,
    value: Value,
    given: np.ndarray,
) -> Plates:
    """Return a batch of plates, in each of which one slot is equal.

    For each plate, up to twelve values of the parameter are tried, those of the best candidates:
    all candidates get the value, and the value with the best mean over a plate is taken. Where all
    candidates have the same value (nothing was learned), plates get different values.

    Args:
        pool: Candidates, best first.
        k: Number of designs.
        slot: Slot of the parameter.
        plate_size: Designs of a plate.
        chooser: Chooses designs among candidates.
        taken: Designs to leave out.
        value: What designs are ranked by.
        given: (G, *shape) wanted designs; they take places on plates of their value.

    Raises:
        ValueError: The wanted designs need more plates than there are.
    """
    sizes = [min(plate_size, k - start) for start in range(0, k, plate_size)]
    wanted = _wanted_by_plate(given, slot, sizes, plate_size, k)
    values = list(dict.fromkeys(pool.x[:, slot].tolist()))
    flat = len(pool.value) == 0 or float(np.ptp(pool.value)) == 0
    batch = pool.x[:0]
    plates: list[int] = []
    for number, (size, own) in enumerate(zip(sizes, wanted, strict=True), start=1):
        options = [float(own[0, slot])] if len(own) else values[:MOST_TRIED]
        others = np.concatenate([batch, given])
        tried = [
            _plate(pool, slot, v, size - len(own), chooser, taken, value, others) for v in options
        ]
        if not tried:
            break
        # A full plate first, then the best mean.
        best = max(range(len(tried)), key=lambda i: (len(tried[i][0]), tried[i][1]))
        found = np.concatenate([own, tried[best][0]])
        batch = np.concatenate([batch, found])
        plates += [number] * len(found)
        if flat and len(values) > 1:
            values = [v for v in values if v != options[best]]
    return Plates(batch, np.array(plates, dtype=np.int64))


def _wanted_by_plate(
    given: np.ndarray, slot: int, sizes: list[int], plate_size: int, k: int
) -> list[np.ndarray]:
    """Return the wanted designs of each plate, those of one value together."""
    parts = [given[given[:, slot] == v] for v in dict.fromkeys(given[:, slot].tolist())]
    wanted = [p[i : i + plate_size] for p in parts for i in range(0, len(p), plate_size)]
    wanted.sort(key=len, reverse=True)
    fit = all(len(w) <= size for w, size in zip(wanted, sizes, strict=False))
    if len(wanted) > len(sizes) or not fit:
        raise ValueError(
            f"the wanted designs need {len(wanted)} plates, and a batch of {k} has {len(sizes)} "
            f"of {plate_size}. Pass a larger batch, or another plate_size."
        )
    return wanted + [given[:0]] * (len(sizes) - len(wanted))


def _plate(
    pool: Pool,
    slot: int,
    v: float,
    size: int,
    chooser: Chooser,
    taken: Taken,
    value: Value,
    others: np.ndarray,
) -> tuple[np.ndarray, float]:
    """Return the designs of a plate of one value, and the mean value of the best of them."""
    x = pool.x.copy()
    x[:, slot] = v
    x = taken.free(taken.writing.write(x))
    x = x[x[:, slot] == np.asarray(v, dtype=x.dtype)]
    if len(x) == 0 or size == 0:
        return x[:0], -np.inf
    worth = value(x)
    order = np.argsort(-worth, kind="stable")
    x, worth = x[order], worth[order]
    rows = chooser(x, worth, size, others)
    return x[rows], float(worth[:size].mean())
