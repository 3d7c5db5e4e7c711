"""Makes the contents of table files of several formats."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest


def zipped(files: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def zst(content: bytes) -> bytes:
    return pytest.importorskip("zstandard").ZstdCompressor().compress(content)


def workbook(rows: list[list[Any]]) -> bytes:
    book = pytest.importorskip("openpyxl").Workbook()
    for row in rows:
        book.active.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def parquet(columns: dict[str, Any]) -> bytes:
    import polars as pl

    content = io.BytesIO()
    pl.DataFrame(columns).write_parquet(content)
    return content.getvalue()
