"""Finds out what a table file is by its first bytes, and decompresses it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from pathlib import Path

from mbo_gym.errors import InvalidData
from mbo_gym.optional import optional_import

__all__ = ["is_parquet", "is_workbook", "refuse_other_kinds", "unpack"]

ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second: an archive without files

OTHER_KINDS = {
    b"\x93NUMPY": "a NumPy array",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls)",
    b"%PDF": "a PDF document",
    b"<!DOCTYPE": "a web page",
    b"<HTML": "a web page",
    b"ARROW1": "an Arrow or Feather file",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3": "an SQLite data base",
}
"""First bytes of files that hold tables of another kind, or none."""


def unpack(path: Path, content: bytes) -> bytes:
    """Return the decompressed content of a .gz, .bz2, .xz, .zst or .zip file, any other as it is.

    The first bytes count, not the suffix. A workbook (.xlsx), which is a zip archive, stays whole.

    Raises:
        InvalidData: The file is damaged, or a zip archive that does not hold exactly one file.
        MissingDependency: The file is a .zst and zstandard is not installed.
    """
    try:
        if content.startswith(b"\x1f\x8b"):
            return gzip.decompress(content)
        if content.startswith(b"BZh") and content[4:10] == b"1AY&SY":
            return bz2.decompress(content)
        if content.startswith(b"\xfd7zXZ\0"):
            return lzma.decompress(content)
        if content.startswith(b"\x28\xb5\x2f\xfd"):
            return _unpack_zstandard(content)
        if content.startswith(ZIP):
            return _unpack_zip(path, content)
    except (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        if isinstance(error, InvalidData):
            raise
        raise InvalidData(
            f"{path} is a damaged compressed file ({error}). Copy or compress it again."
        ) from error
    return content


def is_workbook(content: bytes) -> bool:
    """Say whether the content is an Excel workbook (.xlsx)."""
    return content.startswith(ZIP)  # `unpack` leaves no other zip archive


def is_parquet(content: bytes) -> bool:
    """Say whether the content is a Parquet file."""
    return content.startswith(b"PAR1")


def refuse_other_kinds(path: Path, content: bytes) -> None:
    """Raise InvalidData that names the kind if the content is a known kind other than text."""
    start = content[:100].lstrip(b"\xef\xbb\xbf \r\n\t")
    for magic, kind in OTHER_KINDS.items():
        if start.startswith(magic) or (magic[:1] == b"<" and start.upper().startswith(magic)):
            raise InvalidData(_refusal(path, kind))


def _refusal(path: Path, kind: str) -> str:
    return f"{path} is {kind}, which is not read. Save the table as CSV, TSV, Parquet or .xlsx."


def _unpack_zip(path: Path, content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [
            entry.filename
            for entry in archive.infolist()
            if not entry.is_dir() and not entry.filename.startswith("__MACOSX/")
        ]
        if "xl/workbook.xml" in names:
            return content
        if "xl/workbook.bin" in names:
            raise InvalidData(_refusal(path, "a binary Excel workbook (.xlsb)"))
        if "mimetype" in names:
            raise InvalidData(_refusal(path, "an OpenDocument file"))
        if names and all(name.endswith(".npy") for name in names):
            raise InvalidData(_refusal(path, "an archive of NumPy arrays (.npz)"))
        if len(names) != 1:
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            raise InvalidData(
                f"{path} holds {len(names)} files ({shown or 'none'}), a zipped table is exactly "
                "one. Unpack it and pass path= of the table."
            )
        try:
            return archive.read(names[0])
        except (RuntimeError, NotImplementedError) as error:
            raise InvalidData(
                f"{path}: {names[0]} cannot be unpacked ({error}). Unpack it yourself and pass "
                "path= of the table."
            ) from error


def _unpack_zstandard(content: bytes) -> bytes:
    zstandard = optional_import("zstandard", "tables")
    try:
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content)) as stream:
            return bytes(stream.read())
    except zstandard.ZstdError as error:
        raise EOFError(str(error)) from error
