"""What has changed in a table: rows added, rows gone."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from mbo_gym.errors import MissingData
from mbo_gym.files.changes import Change, row_sums


@pytest.mark.parametrize(
    ("after", "added", "gone", "words"),
    [
        ("y,a\n3,4\n1,2\n", 0, 0, "was written anew with the same rows, in another order or form"),
        ("y,a\r\n3,4\r\n\r\n1,2\r\n", 0, 0, "was written anew with the same rows"),
        ("y,a\n1,2\n3,4\n5,6", 1, 0, "has grown by 1 row"),
        ("y,a\n0,0\n1,2\n3,4\n3,4\n", 2, 0, "has grown by 2 rows"),
        ("y,a\n1,2\n3,5\n", 1, 1, "was changed: 1 row is gone or changed, 1 is new"),
        ("y,a\n", 0, 2, "was changed: 2 rows are gone or changed, 0 are new"),
    ],
)
def test_rows_are_compared_as_they_are_whatever_their_order(tmp_path, after, added, gone, words):
    before = tmp_path / "before.csv"
    before.write_text("y,a\n1,2\n3,4\n")
    path = tmp_path / "after.csv"
    path.write_bytes(after.encode())
    change = Change.between(row_sums(before), row_sums(path))
    assert (change.before, change.added, change.gone) == (3, added, gone)
    assert change.in_words.startswith(words)


def test_a_compressed_file_counts_by_its_content(tmp_path):
    text = b"a,y\n1,2\n"
    (tmp_path / "plain.csv").write_bytes(text)
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(text))
    plain, packed = (row_sums(tmp_path / name) for name in ("plain.csv", "packed.csv.gz"))
    np.testing.assert_array_equal(plain, packed)


def test_a_parquet_file_counts_by_its_cells(tmp_path):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": [1.5, 2.5], "y": [1, 2]})
    frame.write_parquet(tmp_path / "before.parquet")
    more = polars.concat([frame, polars.DataFrame({"a": [3.5], "y": [3]})])
    more.write_parquet(tmp_path / "after.parquet")
    before, after = (row_sums(tmp_path / f"{name}.parquet") for name in ("before", "after"))
    change = Change.between(before, after)
    assert (change.added, change.gone) == (1, 0)


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(MissingData, match=r"none\.csv: No such file"):
        row_sums(tmp_path / "none.csv")
