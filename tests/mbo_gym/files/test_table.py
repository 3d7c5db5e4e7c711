"""The table reader: which files are read, into which cells, and where it says an error is."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_files import parquet, workbook, zipped, zst

from mbo_gym.errors import InvalidData, MissingDependency
from mbo_gym.files import delimited
from mbo_gym.files.measurements import read_measurements
from mbo_gym.files.roles import assign_roles
from mbo_gym.files.table import Table, read_table

TEXT = "a,b,word\n1,0.1,x\n-2.5e-3,,y z\n"
A = [1.0, -0.0025]
B = [0.1, np.nan]
WORDS = ["x", "y z"]


FORMATS = {
    "csv": lambda: TEXT.encode(),
    "tsv": lambda: TEXT.replace(",", "\t").encode(),
    "semicolons": lambda: TEXT.replace(",", ";").encode(),
    "two byte order marks": lambda: b"\xef\xbb\xbf" * 2 + TEXT.encode(),
    "spaces": lambda: TEXT.replace(",", " , ").encode(),
    "quotes": lambda: TEXT.replace("y z", '"y z"').encode(),
    "quoted header": lambda: TEXT.replace("a,b,word", '"a","b","word"').encode(),
    "blank lines": lambda: TEXT.replace("\n", "\n\n").encode(),
    "blank end": lambda: (TEXT + "\n \n").encode(),
    "old Mac": lambda: TEXT.replace("\n", "\r").encode(),
    "Windows": lambda: TEXT.replace("\n", "\r\n").encode(),
    "mixed line ends": lambda: TEXT.replace("\n", "\r\n", 1).encode(),
    "gz": lambda: gzip.compress(TEXT.encode()),
    "bz2": lambda: bz2.compress(TEXT.encode()),
    "xz": lambda: lzma.compress(TEXT.encode()),
    "zip": lambda: zipped({"inner/table.csv": TEXT, "__MACOSX/._table.csv": "?"}),
    "zst": lambda: zst(TEXT.encode()),
    "parquet": lambda: parquet({"a": A, "b": [0.1, None], "word": WORDS}),
    "parquet of texts": lambda: parquet(
        {"a": ["1", "-2.5e-3 "], "b": ["0.1", "NA"], "word": WORDS}
    ),
    "zipped parquet": lambda: gzip.compress(parquet({"a": A, "b": [0.1, None], "word": WORDS})),
    "xlsx": lambda: workbook([["a", "b", "word"], [1, 0.1, "x"], [-0.0025, None, "y z"]]),
    "xlsx with a title": lambda: workbook(
        [["My table"], [], ["a", "b", "word"], [1, 0.1, "x"], [-0.0025, None, "y z"]]
    ),
    "xlsx with empty rows": lambda: workbook(
        [[], ["a", "b", "word", None], [1, "0.1", "x"], [None], [-0.0025, " ", "y z"]]
    ),
}


def read(folder: Path, content: bytes, name: str = "table.dat", **options: Any) -> Table:
    path = folder / name
    path.write_bytes(content)
    return read_table(path, **options)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_cells(tmp_path, kind):
    table = read(tmp_path, FORMATS[kind]())
    assert table.names == ("a", "b", "word")
    np.testing.assert_array_equal(table.numbers(["b", "a"]), np.stack([B, A], axis=1))
    np.testing.assert_array_equal(table.float32(["a"])[:, 0], np.float32(A))
    assert table.column("word") == WORDS
    assert len(table) == 2


PLACES = {
    "csv": (lambda: b"a,b\n1,2\n3,four\n", "line 3, column 'b': 'four' is not a number"),
    "tsv": (lambda: b"a\tb\n1\t2\n3\tfour\n", "line 3, column 'b': 'four'"),
    "semicolons": (lambda: b"a;b\n1;2\n3;four\n", "line 3, column 'b': 'four'"),
    "decimal comma": (
        lambda: b'a,b\n1,2.5\n3,"4,5"\n',
        "line 3, column 'b': '4,5'.*decimal point",
    ),
    "a comma of either kind": (
        lambda: b"a;b\n1;2\n3;4,500\n",
        "line 3, column 'b': '4,500'.*4500 or 4.500: pass decimal=",
    ),
    "blank lines": (lambda: b"a,b\n\n1,2\n\n\n3,four\n", "line 6, column 'b': 'four'"),
    "blank lines before": (lambda: b"\n\na,b\n1,2\n3,four\n", "line 5, column 'b': 'four'"),
    "a quoted line end": (lambda: b'a,b\n"1\n",2\n3,four\n', "line 4, column 'b': 'four'"),
    "a quoted line end in a name": (
        lambda: b'"a\n(K)",b\n1,2\n3,four\n',
        "line 4, column 'b': 'four'",
    ),
    "Windows": (lambda: b"a,b\r\n1,2\r\n3,four\r\n", "line 3, column 'b': 'four'"),
    "gz": (lambda: gzip.compress(b"a,b\n1,2\n3,four\n"), "line 3, column 'b': 'four'"),
    "parquet": (lambda: parquet({"a": [1, 3], "b": ["2", "four"]}), "row 2, column 'b': 'four'"),
    "parquet of flags": (lambda: parquet({"b": [True, False]}), "row 1, column 'b': 'true'"),
    "parquet of lists": (lambda: parquet({"b": [[1.0]]}), "row 1, column 'b': '<List"),
    "xlsx": (lambda: workbook([["a", "b"], [1, 2], [], [3, "four"]]), "row 4, column 'b': 'four'"),
}


@pytest.mark.parametrize("kind", PLACES)
def test_a_bad_cell_is_named_with_its_place(tmp_path, kind):
    content, message = PLACES[kind]
    table = read(tmp_path, content())
    with pytest.raises(InvalidData, match=rf"table\.dat, {message}"):
        table.numbers(["b"])


def test_places_hold_after_rows_are_dropped(tmp_path):
    table = read(tmp_path, b"a,b\n1,x\n2,y\n3,z\n4,w\n")
    kept = table.where(np.array([True, False, True, True])).where(np.array([False, True, True]))
    assert (kept.column("b"), kept.numbers(["a"])[:, 0].tolist()) == (["z", "w"], [3, 4])
    assert kept.place(1, "b").endswith("line 5, column 'b'")


REFUSED = {
    "short row": (lambda: b"a,b\n1,2\n3\n", "line 3: 1 cells are too few.*names 2 columns"),
    "short row before blank lines": (lambda: b"a,b\n1,2\n3\n\n\n", "line 3: 1 cells are too few"),
    "short row without a line end": (lambda: b"a,b\n1,2\n3", "line 3: 1 cells are too few"),
    "short rows that make up for long ones": (
        lambda: b"a,b\n1\n2,3,4\n",
        "line 2: 1 cells are too few",
    ),
    "long row": (lambda: b"a,b\n1,2\n3,4,5\n", "line 3: 3 cells are too many"),
    "long row of a sheet": (lambda: workbook([["a"], [1], [2, 3]]), "row 3: 2 cells are too many"),
    "one name twice": (lambda: workbook([[], ["a", "a"], [1, 2]]), "row 2: .*called 'a'"),
    "empty sheet": (lambda: workbook([]), "is empty. Its first row"),
    "header of a sheet": (lambda: workbook([["a", "b"]]), "only the header 'a', 'b'"),
    "parquet without rows": (lambda: parquet({"a": []}), "only the header 'a'"),
    "damaged gz": (lambda: gzip.compress(TEXT.encode())[:-9], "damaged compressed file"),
    "damaged xz": (lambda: lzma.compress(TEXT.encode())[:-9], "damaged compressed file"),
    "damaged zst": (lambda: zst(TEXT.encode())[:7] + b"?????????", "damaged compressed file"),
    "damaged zip": (lambda: zipped({"a.csv": TEXT})[:-30], "damaged compressed file"),
    "damaged parquet": (lambda: parquet({"a": A})[:-9], "damaged Parquet file"),
    "two files": (lambda: zipped({"a.csv": TEXT, "b.csv": TEXT}), "2 files .a.csv, b.csv."),
    "no files": (lambda: zipped({}), "0 files"),
    "damaged workbook": (lambda: zipped({"xl/workbook.xml": "<"}), "damaged workbook"),
    "numpy": (lambda: b"\x93NUMPY\x01\0", "a NumPy array.*Save the table as"),
    "npz": (lambda: zipped({"x.npy": ""}), "archive of NumPy arrays"),
    "old Excel": (lambda: b"\xd0\xcf\x11\xe0\xa1", r"old Excel workbook \(\.xls\)"),
    "OpenDocument": (lambda: zipped({"mimetype": "", "content.xml": ""}), "an OpenDocument file"),
    "web page": (lambda: b"\n<!doctype html><html>", "a web page"),
    "control characters": (lambda: b'a,b\n1,"2"\n3,4\x1f\n', r"line 3 holds a control character"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_files_are_refused_with_the_true_cause(tmp_path, kind):
    content, message = REFUSED[kind]
    with pytest.raises(InvalidData, match=rf"table\.dat.*{message}"):
        read(tmp_path, content())


@pytest.mark.parametrize(
    ("content", "library"), [(workbook, "openpyxl"), (zst, "zstandard")], ids=["xlsx", "zst"]
)
def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch, content, library):
    made = content([["a"], [1]]) if content is workbook else content(b"a\n1\n")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingDependency, match=rf"{library}.*mbo-gym\[tables\]"):
        read(tmp_path, made)


def test_row_numbers_that_pandas_wrote_to_parquet_have_no_name(tmp_path):
    table = read(tmp_path, parquet({"a": A, "y": B, "__index_level_0__": [0, 1]}))
    assert assign_roles(table, None, "y").left_out == {"": "row numbers"}
    table = read(tmp_path, parquet({"a": A, "y": B, "__index_level_0__": [7, 1]}))
    with pytest.raises(InvalidData, match="column 3 has no name"):
        assign_roles(table, None, "y")


def test_digits_of_a_sheet_are_whole_numbers(tmp_path):
    table = read(tmp_path, workbook([["s", "y"], [120.0, 1.5], [201, 2]]))
    assert (table.column("s"), table.column("y")) == (["120", "201"], ["1.5", "2"])


def test_without_a_header_the_columns_are_numbered(tmp_path):
    for content in (b"\xef\xbb\xbf1,2\n3,4\n", b"\n\n1,2\n3,4\n", b'"1",2\n\n3,4'):
        table = read(tmp_path, content, header=False)
        assert table.names == ("1", "2")
        assert table.first_row() == ["1", "2"]
        assert table.numbers(["1"])[:, 0].tolist() == [1, 3]


def test_fifty_thousand_rows_are_exact(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50_000, 6)) * 10.0 ** rng.integers(-30, 30, size=(50_000, 6))
    lines = [",".join(map(repr, row)) for row in values.tolist()]
    text = "\n".join([",".join("abcdef"), *lines]).encode()
    for content in (text, text.replace(b"\n", b"\n\n", 1)):  # polars; csv
        table = read(tmp_path, content)
        np.testing.assert_array_equal(table.numbers("abcdef"), values)
        np.testing.assert_array_equal(table.float32("abcdef"), values.astype(np.float32))
    lines[40_000] = lines[40_000].replace(",", ",x", 1)
    table = read(tmp_path, "\n".join(["a,b,c,d,e,f", *lines]).encode())
    with pytest.raises(InvalidData, match="line 40002, column 'b': 'x"):
        read_measurements(table, assign_roles(table, None, "f"))


NUMBER = st.text("0123456789+-.eEinfaINFA_x٣", max_size=8)


@settings(deadline=None, max_examples=300)
@given(cells=st.lists(NUMBER.map(str.strip), min_size=1, max_size=6))
def test_numbers_are_those_of_python(tmp_path_factory, cells):
    content = "\n".join(["a,b", *(f"{cell},1" for cell in cells)]).encode()
    table = read(tmp_path_factory.getbasetemp(), content)
    try:
        missing = ("", "na", "n.a.", "-", "--")
        expected = [np.nan if cell.casefold() in missing else float(cell) for cell in cells]
        expected = None if "_" in "".join(cells) else expected
    except ValueError:
        expected = None
    if expected is None:
        with pytest.raises(InvalidData, match="is not a number"):
            table.numbers(["a"])
    else:
        np.testing.assert_array_equal(table.numbers(["a"])[:, 0], expected)


@settings(deadline=None, max_examples=500)
@given(
    body=st.text('a1,"\n\r \té', max_size=30),
    line_end=st.sampled_from(["\n", "\r\n"]),
    header=st.booleans(),
)
def test_polars_and_csv_see_the_same_table(body, line_end, header):
    """Text that goes to polars directly has the rows, cells and line numbers that csv finds."""
    content = f"a,b{line_end}{body}{line_end}1,2".encode()
    path = Path("table.csv")
    n_skipped = 1 if header else 0
    n_rows = delimited.count_regular(content, ",", n_skipped, 2)
    if n_rows is not None:
        rows = list(delimited.csv_rows(path, content, ","))[n_skipped:]
        found = delimited.read_rows(path, content, ",", header=header)
        frame = found.cells.collect()
        expected = [tuple(cell.strip() for cell in row.cells) for row in rows]
        assert [tuple((cell or "").strip() for cell in row) for row in frame.rows()] == expected
        assert found.numbers.tolist() == [row.number for row in rows]
