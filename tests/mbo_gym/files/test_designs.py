"""Designs from files of any program, and what is said of files that hold none."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import sys

import numpy as np
import pytest
from table_files import parquet, workbook, zipped, zst

import mbo_gym
from mbo_gym.errors import InvalidData, MissingData, MissingDependency
from mbo_gym.files.designs import read_designs
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.runs.one_run import RunRequest, run

PLANE = ContinuousSpace(np.zeros(3), np.ones(3), ("a", "b", "c"))
DNA = CategoricalSpace(4, 4, tuple("ACGT"))
DIGITS = CategoricalSpace(3, 4)
WORDS = CategoricalSpace(2, 3, ("ala", "gly", "ser"))
ACGT = [[0, 1, 2, 3], [0, 0, 3, 1]]  # ACGT, AATC
ABC = [[0.5, 0.25, 1.0], [0.0, 2.0, np.nan]]


@pytest.fixture
def read(tmp_path):
    """Write a file and read it as designs."""

    def write_and_read(content, space, name="designs.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_designs(path, space)

    return write_and_read


TABLES = {
    "named columns": ("a,b,c\n.5,.25,1\n0,2,nan\n", PLANE, ABC),
    "columns in any order, others beside them": (
        "c,oracle_score,a,id,b,criterion\n1,9,.5,x,.25,8\nnan,,0,y,2,7\n",
        PLANE,
        ABC,
    ),
    "no header": ("0.5,0.25,1\n0,2,nan", PLANE, ABC),
    "a semicolon and spaces": ("a; b; c\r\n0.5; 0.25; 1\r\n0; 2; nan\r\n", PLANE, ABC),
    "an empty cell is NaN, as pandas writes it": ("a,b,c\n.5,.25,1\n0,2,\n", PLANE, ABC),
    "infinite and too large stay": ("a,b,c\ninf,-1,1e39\n", PLANE, [[np.inf, -1, np.inf]]),
    "a column of sequences": ("sequence,score\nACGT,1\nAATC,2\n", DNA, ACGT),
    "the only column of sequences": ("id,dna,score\n1,ACGT,1\n2,AATC,2\n", DNA, ACGT),
    "the named column among several": ("other,sequence\nTTTT,ACGT\nTTTT,AATC\n", DNA, ACGT),
    "sequences alone": ("ACGT\nAATC\n", DNA, ACGT),
    "sequences under another name": ("molecule\nACGT\nAATC\n", DNA, ACGT),
    "sequences without a header beside numbers": ("1,ACGT\n2,AATC\n", DNA, ACGT),
    "sequences called as what stands beside them": (
        "score,criterion,oracle_score\nACGT,1,2\nAATC,2,3\n",
        DNA,
        ACGT,
    ),
    "a criterion that gave way to sequences of that name": (
        "criterion,method_criterion\n012,111\n330,222\n",
        DIGITS,
        [[0, 1, 2], [3, 3, 0]],
    ),
    "digits a site beside a score that could be a sequence": (
        "p,q,r,score\n0,1,2,111\n3,3,0,222\n",
        DIGITS,
        [[0, 1, 2], [3, 3, 0]],
    ),
    "a letter a site": ("p,q,r,s,criterion\nA,C,G,T,9\nA,A,T,C,8\n", DNA, ACGT),
    "a letter a site, no header": ("A,C,G,T\nA,A,T,C\n", DNA, ACGT),
    "a number a site": ("p,q,r,s\n0,1,2,3\n0,0,3,1\n", DNA, ACGT),
    "a number a site, no header": ("0,0,3,1\n0,1,2,3\n", DNA, ACGT[::-1]),
    "numbers outside the letters stay": ("p,q,r,s\n0,-1,0.5,7\n", DNA, [[0, -1, 0.5, 7]]),
    "digits as letters": ("sequence\n012\n330\n", DIGITS, [[0, 1, 2], [3, 3, 0]]),
    "digits as letters, no header": ("012\n330\n", DIGITS, [[0, 1, 2], [3, 3, 0]]),
    "digits a site under names with digits": (
        "x0,x1,x2\n0,1,2\n3,3,7\n",
        DIGITS,
        [[0, 1, 2], [3, 3, 7]],
    ),
    "letters of several characters": ("sequence\nala ser\ngly gly\n", WORDS, [[0, 2], [1, 1]]),
    "letters of several characters, no header": ("ala ser\ngly gly\n", WORDS, [[0, 2], [1, 1]]),
}


@pytest.mark.parametrize(("text", "space", "expected"), TABLES.values(), ids=TABLES)
def test_tables_are_read(read, text, space, expected):
    x = read(text, space)
    np.testing.assert_array_equal(x, np.array(expected, dtype=np.float32))
    assert x.dtype == space.dtype or not space.contains(x).all()


FORMATS = {
    "x.parquet": lambda columns: parquet(columns),
    "x.xlsx": lambda columns: workbook(rows_of(columns)),
    "x.csv.gz": lambda columns: gzip.compress(text_of(columns)),
    "x.csv.bz2": lambda columns: bz2.compress(text_of(columns)),
    "x.csv.xz": lambda columns: lzma.compress(text_of(columns)),
    "x.csv.zst": lambda columns: zst(text_of(columns)),
    "x.TSV.GZ": lambda columns: gzip.compress(text_of(columns, "\t")),
    "x.zip": lambda columns: zipped({"x.csv": text_of(columns).decode()}),
}


def rows_of(columns):
    return [list(columns), *(list(row) for row in zip(*columns.values(), strict=True))]


def text_of(columns, delimiter=","):
    lines = (delimiter.join(map(str, row)) for row in rows_of(columns))
    return "".join(f"{line}\n" for line in lines).encode()


@pytest.mark.parametrize("name", FORMATS)
def test_tables_of_other_formats_are_read(read, name):
    numbers = {"c": [1.0, 3e38], "id": ["p", "q"], "a": [0.5, 0.1], "b": [0.25, -7.0]}
    expected = np.float32([[0.5, 0.25, 1.0], [0.1, -7.0, 3e38]])
    np.testing.assert_array_equal(read(FORMATS[name](numbers), PLANE, name), expected)
    sequences = {"id": [1, 2], "dna": ["ACGT", "AATC"], "criterion": [2.5, 0.5]}
    np.testing.assert_array_equal(read(FORMATS[name](sequences), DNA, name), ACGT)
    sites = dict(zip("pqrs", np.array(ACGT).T.tolist(), strict=True))
    np.testing.assert_array_equal(read(FORMATS[name](sites), DNA, name), ACGT)
    with pytest.raises(InvalidData, match=rf"{name}, (line|row) \d, column 'dna': letter 4"):
        read(FORMATS[name]({"dna": ["ACGT", "ACGX"]}), DNA, name)


def test_the_columns_of_parquet_have_names_of_their_own(read):
    """Other names are no features in their order, and the first row is no header."""
    with pytest.raises(InvalidData, match="lacks the columns 'a', 'b'; it has 3: 'c', 'd', 'e'"):
        read(parquet({"c": [1.0], "d": [2.0], "e": [3.0]}), PLANE, "x.parquet")
    table = {"c": [None, 1.0], "a": [None, 0.5], "b": [None, 0.25]}
    found = read(parquet(table), PLANE, "x.parquet")
    np.testing.assert_array_equal(found, np.float32([[np.nan] * 3, [0.5, 0.25, 1.0]]))
    counted = {"0": [0, 1], "1": [1, 1], "2": [2, 3]}
    np.testing.assert_array_equal(
        read(parquet(counted), DIGITS, "x.parquet"), [[0, 1, 2], [1, 1, 3]]
    )


def test_a_workbook_may_have_no_header(read):
    found = read(workbook([[0.5, 0.25, 1], [0, 2, None]]), PLANE, "x.xlsx")
    np.testing.assert_array_equal(found, np.float32(ABC))


@pytest.mark.parametrize(("name", "library"), [("x.xlsx", "openpyxl"), ("x.csv.zst", "zstandard")])
def test_a_missing_library_is_named(read, monkeypatch, name, library):
    content = FORMATS[name]({"a": [1.0]})
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingDependency, match=rf"{library}.*mbo-gym\[tables\]"):
        read(content, PLANE, name)


def test_files_that_their_suffix_does_not_describe_are_named(read):
    for name in ("x.csv.gz", "x.parquet", "x.xlsx"):
        np.testing.assert_array_equal(read("a,b,c\n.5,.25,1\n0,2,\n", PLANE, name), np.float32(ABC))
    content = io.BytesIO()
    np.savez(content, x=np.zeros((2, 3)))
    with pytest.raises(InvalidData, match=r"x\.zip is an archive of NumPy arrays \(\.npz\)"):
        read(content.getvalue(), PLANE, "x.zip")
    with pytest.raises(InvalidData, match=r"x\.csv\.gz is a damaged compressed file"):
        read(gzip.compress(b"a,b,c\n1,2,3\n")[:-9], PLANE, "x.csv.gz")


def test_tabs_are_read(read):
    np.testing.assert_array_equal(
        read("a\tb\tc\n.5\t.25\t1\n0\t2\tnan\n", PLANE, "x.tsv"), np.float32(ABC)
    )
    np.testing.assert_array_equal(read("ACGT\nAATC\n", DNA, "x.TSV"), ACGT)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_arrays_are_read(tmp_path, dtype):
    x = np.array(ABC, dtype=dtype)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "only.npz", designs=x)
    np.savez(tmp_path / "several.npz", criterion=np.zeros(2), x=x)
    for name in ("x.npy", "only.npz", "several.npz"):
        found = read_designs(tmp_path / name, PLANE)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, x)


def test_arrays_of_letters_are_read(tmp_path):
    np.save(tmp_path / "x.npy", np.array(["ACGT", "AATC"]))
    np.testing.assert_array_equal(read_designs(tmp_path / "x.npy", DNA), ACGT)
    for x in (np.int64(ACGT), np.uint8(ACGT), np.float64(ACGT)):
        np.save(tmp_path / "x.npy", x)
        found = read_designs(str(tmp_path / "x.npy"), DNA)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, ACGT)


def test_values_outside_the_space_keep_their_meaning(tmp_path):
    for x in (
        np.array([[0, 0, 0, 0.5]]),
        np.array([[0, 0, 0, 2**32]]),
        np.array([[0, 0, np.nan, -1]]),
    ):
        np.save(tmp_path / "x.npy", x)
        found = read_designs(tmp_path / "x.npy", DNA)
        np.testing.assert_array_equal(found, x)
        assert not DNA.contains(found).any()


@pytest.mark.parametrize("name", ["designs.csv", "designs.npz"])
@pytest.mark.parametrize(
    ("method", "task_id", "options"),
    [("random", "TFBind8-Exact-v0", {"max_rows": 100}), ("random", "Branin-Exact-v0", {})],
)
def test_what_a_run_writes_reads_back_exactly(tmp_path, method, task_id, options, name):
    folder = run(RunRequest(method, task_id, k=40, options=options), tmp_path / "run").folder
    x = read_designs(folder / name, mbo_gym.make_task(task_id, **options).space)
    with np.load(folder / "designs.npz") as arrays:
        np.testing.assert_array_equal(x, arrays["x"])
        assert x.dtype == arrays["x"].dtype


BAD_TABLES = {
    "a word": (
        "a,b,c\n1,2,3\n1,two,3\n",
        PLANE,
        ["line 3, column 'b'", "'two' is not a number", "Fix the cell"],
    ),
    "a word, no header": (
        "1,2,3\n1,two,3\n",
        PLANE,
        ["line 2, column 'b'", "'two' is not a number"],
    ),
    "a word in the first line": (
        "1,two,3\n1,2,3\n",
        PLANE,
        ["line 1, column 'b'", "'two' is not a number"],
    ),
    "a decimal comma": ("a;b;c\n1.5;2,5;3\n", PLANE, ["line 2, column 'b'", "decimal point"]),
    "missing columns": (
        "a,x\n1,2\n",
        PLANE,
        ["lacks the columns 'b', 'c'; it has 2: 'a', 'x'", "'a', 'b', 'c', in any"],
    ),
    "too few columns, no header": (
        "1,2\n",
        PLANE,
        ["lacks the columns 'a', 'b', 'c'", "exactly so many columns"],
    ),
    "the numbers of columns": (
        "0,1,2\n.5,.5,.5\n",
        PLANE,
        ["line 1", "as pandas writes", "'a', 'b', 'c'"],
    ),
    "rows of unequal length": (
        "a,b,c\n1,2\n",
        PLANE,
        ["line 2: 2 cells are too few", "names 3 columns"],
    ),
    "only a header": ("a,b,c\n", PLANE, ["no rows"]),
    "empty": ("", PLANE, ["is empty"]),
    "a short sequence": (
        "sequence\nACGT\nACG\n",
        DNA,
        ["line 3, column 'sequence'", "3 letters, this space has 4"],
    ),
    "an unknown letter": (
        "sequence\nACGT\nACGX\n",
        DNA,
        ["line 3", "letter 4 of 'ACGX' is 'X'", "'A', 'C', 'G', 'T'"],
    ),
    "small letters": (
        "sequence\nacgt\n",
        DNA,
        ["line 2", "letter 1 of 'acgt' is 'a'", "capital and small"],
    ),
    "a typing error first, no header": (
        "ACGX\nACGT\n",
        DNA,
        ["line 1", "'X'", "call the column 'sequence'"],
    ),
    "a letter too few first, no header": (
        "ACG\nACGT\n",
        DNA,
        ["line 1", "3 letters", "call the column 'sequence'"],
    ),
    "one bad cell of the only column that fits": (
        "id,dna\n1,ACGT\n2,AC\n",
        DNA,
        ["line 3, column 'dna'", "2 letters"],
    ),
    "two columns of sequences": (
        "p,q\nACGT,AATC\n",
        DNA,
        ["'p', 'q'", "not clear", "Call it 'sequence'"],
    ),
    "no column of sequences": (
        "p,q\n1,2\n",
        DNA,
        ["one column of sequences", "or 4 columns", "'p', 'q'"],
    ),
    "only scores": ("score\n1\n", DNA, ["one column of sequences", "'score'"]),
    "no letter of a site": (
        "p,q,r,s\nA,C,G,T\nA,C,5,T\n",
        DNA,
        ["line 3, column 'r'", "'5' is no letter", "0 .. 3"],
    ),
    "neither letter nor number": (
        "p,q,r,s\n0,1,2,?\n",
        DNA,
        ["line 2, column 's'", "'?' is no letter"],
    ),
    "an empty site": ("p,q,r,s\n0,1,2,\n", DNA, ["line 2, column 's'", "''"]),
    "the numbers of sites": ("0,1,2,3\n3,3,3,3\n", DNA, ["line 1", "as pandas writes"]),
    "an unknown word": (
        "sequence\nala ser\nala pro\n",
        WORDS,
        ["line 3", "letter 2 of 'ala pro' is 'pro'"],
    ),
}


@pytest.mark.parametrize(("text", "space", "words"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_table_that_holds_no_designs_is_named_with_the_place(read, text, space, words):
    with pytest.raises(InvalidData) as error:
        read(text, space)
    for word in ["designs.csv", *words]:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("x", "space", "words"),
    [
        (np.zeros((2, 4)), PLANE, [r"shape (2, 4)", "(K, 3)"]),
        (np.zeros(3), PLANE, ["shape (3,)", "reshape"]),
        (np.zeros(()), PLANE, ["shape ()"]),
        (np.zeros((0, 3)), PLANE, ["shape (0, 3)", "K >= 1"]),
        (np.zeros((2, 3), dtype=bool), PLANE, ["array of bool", "Designs are numbers;"]),
        (np.array(["ACGT"]), PLANE, ["array of <U4", "Designs are numbers;"]),
        (np.zeros((2, 4), dtype=complex), DNA, ["array of complex128", "or one text a sequence"]),
        (np.array(["ACGT", "ACG"]), DNA, ["row 1", "3 letters, this space has 4"]),
    ],
)
def test_an_array_that_holds_no_designs_is_refused(tmp_path, x, space, words):
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(InvalidData) as error:
        read_designs(tmp_path / "x.npy", space)
    for word in ["x.npy", *words]:
        assert word in str(error.value)


def test_several_arrays_need_one_called_x(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros((1, 3)), b=np.zeros((1, 3)))
    with pytest.raises(
        InvalidData, match=r"holds the arrays 'a', 'b'. Call the one with the designs 'x'"
    ):
        read_designs(tmp_path / "x.npz", PLANE)


class Trap:
    """Its pickle makes a folder when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (__import__("os").mkdir, (str(self.path),))


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "pickle.npy", "pickle.npz"])
def test_pickles_are_refused_and_not_run(tmp_path, name):
    trap = Trap(tmp_path / "sprung")
    x = np.array([[trap, trap, trap]], dtype=object)
    if name.startswith("pickle"):
        (tmp_path / name).write_bytes(pickle.dumps(trap))
    elif name == "x.npy":
        np.save(tmp_path / name, x, allow_pickle=True)
    else:
        np.savez(tmp_path / name, x=x)
    with pytest.raises(
        InvalidData, match=r"Pickled Python objects are refused.*np.savez\(path, x=designs\)"
    ):
        read_designs(tmp_path / name, PLANE)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
@pytest.mark.parametrize("keep", [0, 3, 40, 140, -30])
def test_damaged_arrays_are_refused(tmp_path, name, keep):
    path = tmp_path / name
    (np.save if name == "x.npy" else np.savez_compressed)(path, np.full((50, 3), 0.25))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InvalidData, match="is damaged or holds more than plain arrays"):
        read_designs(path, PLANE)


@pytest.mark.parametrize("name", ["designs.json", "designs", "designs.pkl", "designs.csv.7z"])
def test_other_suffixes_are_refused(read, name):
    with pytest.raises(
        InvalidData,
        match=r"which says nothing about how to read it.*\.csv, .*\.npy; a table may be",
    ):
        read("a,b,c\n1,2,3\n", PLANE, name)


@pytest.mark.parametrize("name", ["no.csv", "no.npz", "folder.npy"])
def test_a_file_that_is_not_there_is_named(tmp_path, name):
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(
        MissingData, match=f"{name}.*there is no such file. Name an existing file of designs"
    ):
        read_designs(tmp_path / name, PLANE)
