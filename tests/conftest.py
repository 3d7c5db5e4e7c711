"""What all tests share: where data and fitted models lie while they run, and where random numbers
start."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).parents[1]
# what MBO_GYM_DATA was before the tests changed it; workers inherit it
_BEFORE = "MBO_GYM_TESTS_USER_DATA"
_FOLDER = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Point MBO_GYM_DATA to one new folder for this run, before anything is imported or started.

    Surrogates and forests are then fitted once for all xdist workers and for every program that a
    test starts, and nothing is written to the user's own folders.
    """
    if hasattr(config, "workerinput"):
        return  # a worker inherits the environment of the process that started it
    os.environ[_BEFORE] = os.environ.get("MBO_GYM_DATA", "")
    os.environ["MBO_GYM_DATA"] = config.stash[_FOLDER] = tempfile.mkdtemp(prefix="mbo_gym-tests-")
    os.environ.pop("MBO_GYM_DESIGN_BENCH", None)
    os.environ.setdefault(
        "OMP_NUM_THREADS", "1"
    )  # small networks on a shared machine: ten times as fast as with two


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove that folder."""
    if _FOLDER in config.stash:
        shutil.rmtree(config.stash[_FOLDER], ignore_errors=True)


def development_files() -> Path | None:
    """Return the folder with the development files: the user's MBO_GYM_DATA, else ../shared/data,
    or None."""
    named = os.environ.get(_BEFORE)
    for folder in ([Path(named).expanduser()] if named else []) + [
        REPOSITORY.parent / "shared" / "data"
    ]:
        if (folder / "tfbind10_pho4.npz").exists() or (
            folder / "superconductor_uci464_given.npz"
        ).exists():
            return folder
    return None


@pytest.fixture(scope="session", autouse=True)
def names_before_any_test() -> None:
    """Look for plugins before a test puts a package of its own on the path.

    Registries look once and remember; names found while such a package was there would stay.
    """
    from mbo_gym.encoders.registry import ENCODERS
    from mbo_gym.methods.registry import METHODS
    from mbo_gym.surrogates.registry import SURROGATES
    from mbo_gym.tasks.registry import TASKS

    for registry in (METHODS, TASKS, SURROGATES, ENCODERS):
        list(registry)


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Seed torch's global generator: what a test draws from it does not hang on the tests
    before."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def cache_folder() -> Path:
    """Return the folder that MBO_GYM_DATA names: fitted models, no data."""
    return Path(os.environ["MBO_GYM_DATA"])


@pytest.fixture(scope="session")
def development_folder(cache_folder: Path) -> Path | None:
    """Return a writable folder, one for all workers, with links to the development files; None
    where there are none."""
    source, folder = development_files(), cache_folder / "with-development-files"
    if source is None:
        return None
    folder.mkdir(exist_ok=True)
    for file in source.iterdir():
        link = folder / file.name
        if file.is_file() and not link.exists():
            try:
                link.symlink_to(file.resolve())
            except FileExistsError:
                continue  # another worker was faster
    return folder


@pytest.fixture
def shared_data(development_folder: Path | None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a test use the development files; skip it where they are missing."""
    if development_folder is None:
        pytest.skip("needs the development files in MBO_GYM_DATA or ../shared/data")
    monkeypatch.setenv("MBO_GYM_DATA", str(development_folder))
    return development_folder


@pytest.fixture
def all_data(development_folder: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test use the development files where they are, and go on without them where not."""
    if development_folder is not None:
        monkeypatch.setenv("MBO_GYM_DATA", str(development_folder))
