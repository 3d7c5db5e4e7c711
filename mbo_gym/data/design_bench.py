"""Reader of Design-Bench's folder: arrays in pieces ``<prefix>-x-K.npy``, ``<prefix>-y-K.npy``.

By hand: numpy reads each piece; Design-Bench's own reader needs its package, which downloads from
dead links.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mbo_gym.data import manifest, tfbind
from mbo_gym.data.placed import check_placed
from mbo_gym.errors import MissingData, UnknownId
from mbo_gym.files import store

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "LAYOUTS",
    "REMEDY",
    "Layout",
    "design_bench_folder",
    "layout_of",
    "read_arrays",
    "read_shards",
]

ENVIRONMENT_VARIABLE = manifest.entry("design_bench").environment
"""Variable that names Design-Bench's data folder."""

REMEDY = (
    "Copy the sub-folder again from where it was kept; "
    "the links that it was once downloaded from are dead."
)
"""What to do about a damaged folder."""

_NAME = re.compile(r"(.+)-([xy])-(\d+)\.npy")


@dataclass(frozen=True)
class Layout:
    """How the files of one data set look.

    Args:
        stem: Start of the file names and of the sub-folder's name.
        width: L sites or d features.
        discrete: Whether designs are letters; else reals.
        n_categories: A; 0 where only the data tell.
        letters: The A letters, where known.
        folders: Names that the sub-folder may have, besides the stem.
    """

    stem: str
    width: int
    discrete: bool = False
    n_categories: int = 0
    letters: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


def _dna(stem: str, width: int, *folders: str) -> Layout:
    return Layout(stem, width, discrete=True, n_categories=4, letters=tfbind.BASES, folders=folders)


LAYOUTS: Mapping[str, Layout] = {
    "TFBind8-Exact-v0": _dna("tf_bind_8", 8, "tf_bind_8-SIX6_REF_R1"),
    "TFBind10-Exact-v0": _dna("tf_bind_10", 10, "tf_bind_10-pho4"),
    "Superconductor-RandomForest-v0": Layout("superconductor", 86),
    "AntMorphology-Exact-v0": Layout("ant_morphology", 60),
    "DKittyMorphology-Exact-v0": Layout("dkitty_morphology", 56),
    "HopperController-Exact-v0": Layout("hopper_controller", 5126),
    "Levy-Exact-v0": Layout("levy", 60),
    "Rastrigin-Exact-v0": Layout("rastrigin", 60),
    "Rosenbrock-Exact-v0": Layout("rosenbrock", 60),
    "CIFARNAS-Exact-v0": Layout("cifar_nas", 64, discrete=True),
    "UTR-ResNet-v0": _dna("utr", 50),
    "GFP-Transformer-v0": Layout("gfp", 237, discrete=True, n_categories=20),
}
"""Data sets of Design-Bench's folder, and DEMO's functions, by task id."""


def layout_of(task_id: str) -> Layout:
    """Return how the files of a task look.

    Raises:
        UnknownId: `LAYOUTS` has no such id.
    """
    if task_id not in LAYOUTS:
        raise UnknownId("Design-Bench task", task_id, LAYOUTS)
    return LAYOUTS[task_id]


def read_shards(
    root: Path, stem: str, folders: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Read all pieces of one data set, in the order of their numbers.

    Args:
        root: The folder that holds one sub-folder a data set.
        stem: Usual start of the file names, and usual name of the sub-folder.
        folders: Other names that the sub-folder may have; where it has none of them, the one
            sub-folder whose files start with `stem` is taken.

    Returns:
        x: (N, *shape) of the files' own type.
        y: (N,) of the files' own type.

    Raises:
        MissingData: The sub-folder or a piece is missing, is no array of numbers, or does not fit
            the others.
        DamagedFile: A piece has another content than when it was first read.
    """
    folder = _sub_folder(root, stem, folders)
    pieces = _pieces(folder, stem)
    xs: list[np.ndarray] = []
    ys: list[np.ndarray] = []
    for x_path, y_path in pieces:
        x, y = _load(x_path), _load(y_path)
        if len(x) != len(y) or y.size != len(y):
            raise MissingData(
                f"{x_path} and {y_path.name} do not belong together: {x.shape=}, {y.shape=}. "
                f"{REMEDY}"
            )
        if xs and x.shape[1:] != xs[0].shape[1:]:
            raise MissingData(
                f"{x_path} has {x.shape=}, {pieces[0][0].name} has {xs[0].shape}. {REMEDY}"
            )
        xs.append(x)
        ys.append(y.reshape(-1))
    check_placed(path for piece in pieces for path in piece)
    return np.concatenate(xs), np.concatenate(ys)


def _sub_folder(root: Path, stem: str, folders: Sequence[str]) -> Path:
    for name in (*folders, stem):
        if (root / name).is_dir():
            return root / name
    others = [path for path in sorted(root.iterdir()) if path.is_dir()]
    fitting = [
        path for path in others if any(_starts(file.name, stem) for file in path.glob("*-x-*.npy"))
    ]
    if len(fitting) == 1:
        return fitting[0]
    expected = " or ".join(dict.fromkeys((*folders, stem)))
    if fitting:
        raise MissingData(
            f"{root} has several sub-folders of {stem} ({_names(fitting)}). "
            f"Rename the right one to {expected}."
        )
    raise MissingData(
        f"{root} has no sub-folder {expected}, nor another with files {stem}-x-K.npy. "
        f"It has: {_names(others)}."
    )


def _starts(name: str, stem: str) -> bool:
    return re.match(rf"{re.escape(stem)}(?![0-9A-Za-z])", name) is not None


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths[:20]) or "no sub-folders"


def _pieces(folder: Path, stem: str) -> list[tuple[Path, Path]]:
    """Return the paths of the x and y pieces 0 .. K-1, all of them there."""
    found: dict[str, dict[str, dict[int, Path]]] = {}  # prefix -> x or y -> number -> path
    for path in sorted(folder.iterdir()):
        if match := _NAME.fullmatch(path.name):
            found.setdefault(match[1], {"x": {}, "y": {}})[match[2]][int(match[3])] = path
    chosen = (
        [prefix for prefix in found if prefix == stem]
        or [p for p in found if _starts(p, stem)]
        or list(found)
    )
    if len(chosen) != 1:
        got = f"files of several data sets ({', '.join(chosen)})" if chosen else "no such files"
        raise MissingData(
            f"{folder} should hold {stem}-x-0.npy, {stem}-y-0.npy, ..., but holds {got}. {REMEDY}"
        )
    x, y = found[chosen[0]]["x"], found[chosen[0]]["y"]
    for k in range(max(*x, *y, 0) + 1):
        for axis, paths in (("x", x), ("y", y)):
            if k not in paths:
                raise MissingData(f"{folder} lacks {chosen[0]}-{axis}-{k}.npy. {REMEDY}")
    return [(x[k], y[k]) for k in sorted(x)]


def _load(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except store.ARRAY_DAMAGE as error:
        with path.open("rb") as file:
            page = file.read(64).lstrip()[:1] == b"<"
        what = "is a web page stored under this name" if page else "is truncated or no numpy array"
        raise MissingData(f"{path} {what} ({path.stat().st_size} bytes). {REMEDY}") from error
    if not isinstance(array, np.ndarray) or array.ndim == 0 or array.dtype.kind not in "fiu":
        raise MissingData(f"{path} holds no array of numbers. {REMEDY}")
    return array


def read_arrays(
    task_id: str, folder: str | os.PathLike[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read all rows of a data set, visible and hidden, in file order.

    Args:
        task_id: Id of `LAYOUTS`.
        folder: Design-Bench's data folder, see `design_bench_folder`.

    Returns:
        x: (N, L) int32 letters, or (N, d) float32.
        y: (N,) float32 raw scores as the files have them.

    Raises:
        UnknownId: `LAYOUTS` has no such id.
        MissingData: The folder or a file of it is missing, damaged or not of this task.
    """
    layout = layout_of(task_id)
    root = design_bench_folder(folder)
    x, y = read_shards(root, layout.stem, layout.folders)
    if problem := _misfit(layout, x, y):
        raise MissingData(
            f"the files of {layout.stem} in {root} are not those of {task_id}: {problem}. {REMEDY}"
        )
    x = x.astype(np.int32 if layout.discrete else np.float32, copy=False)
    return x, y.astype(np.float32, copy=False)


def _misfit(layout: Layout, x: np.ndarray, y: np.ndarray) -> str:
    """Return why arrays do not fit a layout, or an empty text."""
    if x.ndim != 2 or x.shape[1] != layout.width:
        return f"designs must have shape (N, {layout.width}), these have {x.shape}"
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return "some numbers are not finite"
    largest = layout.n_categories or np.inf
    if layout.discrete and (x.min() < 0 or (x != np.floor(x)).any() or x.max() >= largest):
        letters = f" below {layout.n_categories}" if layout.n_categories else ""
        return f"letters must be whole numbers from 0{letters}"
    return ""


def design_bench_folder(folder: str | os.PathLike[str] | None) -> Path:
    """Return Design-Bench's data folder.

    Args:
        folder: The folder that holds ``gfp``, ``utr``, ...; None takes ``$MBO_GYM_DESIGN_BENCH``,
            else ``design_bench_data`` in the data folders.

    Raises:
        MissingData: There is no such folder.
    """
    entry = manifest.entry("design_bench")
    root = Path(folder).expanduser() if folder else manifest.find(entry.name)
    if root is None or not root.is_dir():
        got = (
            f"{root} is no folder" if root else "Design-Bench's data folder is not on this machine"
        )
        raise MissingData(
            f"{got}. If you kept it, pass folder=, or {entry.by_hand} "
            f"(one of {[str(f) for f in store.folders()]}). It can no longer be downloaded."
        )
    return root
