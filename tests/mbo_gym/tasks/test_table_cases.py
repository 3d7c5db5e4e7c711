"""Tables as people have them, from public reports: into which task each is made."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mbo_gym
from mbo_gym.errors import InvalidData
from mbo_gym.problem.constraints import FixedSum
from mbo_gym.problem.letters import Letters
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.parameters import Category, Constant, Integer, Levels, Real
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import Task
from mbo_gym.tasks.table_space import write_space


@pytest.fixture
def make(tmp_path: Path) -> Any:
    def made(content: str | bytes, score: str = "yield", **options: Any) -> Task:
        path = tmp_path / "table.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return mbo_gym.make_task("table", path=path, score_column=score, **options)

    return made


def parameters(task: Task) -> dict[str, Any]:
    assert isinstance(task.space, MixedSpace), task.space
    return {parameter.name: parameter for parameter in task.space.parameters}


def says(task: Task, *pieces: str) -> None:
    """Require that one sentence about what was done holds all pieces."""
    assert any(all(piece in note for piece in pieces) for note in task.info.notes), task.info.notes


def own_rows_are_inside(task: Task) -> bool:
    return bool(task.space.contains(task.dataset.x).all())


PLAIN = "temp,conc,yield\n20,0.1,1\n40,0.5,5\n60,0.9,12\n80,0.3,9\n90,0.7,20\n"
BOOLEAN = "temp,stirred,yield\n20,TRUE,5\n30,FALSE,7\n40,TRUE,6\n50,FALSE,9\n"
SALTS = """salt A,salt B,salt C,lifetime
0,1,0,10
1,0,0,14
0,0,1,4
0.5,0.5,0,22
0.5,0,0.5,12
0,0.5,0.5,9
0.25,0.25,0.5,15
0.75,0.25,0,26
0.6,0.2,0.2,20
"""
FILLERS = """polymer (%),filler 1 (%),filler 2 (%),conductivity
95,5,0,20
60,40,0,90
60,0,40,70
50,50,0,120
30,70,0,160
40,30,30,110
20,10,70,60
90,0,10,15
"""
CONSERVED = """mutated_sequence,fitness
MKTAYIAKQR,1.0
MKTWYIAKQR,2.1
MKTAYIGKQR,0.4
MKTWYIGKQR,1.6
MKTSYIAKQR,1.3
MKTAYILKQR,0.9
"""
FAILED = """N (fingers #),"a, width (um)",Resistance (kohm),Failed,Energy
4,1.5,10,0,2.1
6,2.0,11,0,2.9
8,2.5,9,1,
10,3.0,12,0,3.3
12,2.2,8,0,1.7
"""
STRUTS = """struts,angle,gap,strength
6,0,0.7,1.1
6,25,1.05,1.4
8,50,1.4,2.9
8,75,0.7,3.3
10,100,1.05,4.8
10,125,1.4,4.1
12,150,0.7,5.9
12,25,1.05,6.2
12,75,1.4,5.1
"""
LIGANDS = """ligand,base,temp,yield
L1,"potassium acetate, dry",60,12.1
L2,"potassium acetate, dry",90,33.0
L3,caesium carbonate,60,41.5
L1,caesium carbonate,90,20.2
L2,triethylamine,60,8.8
L3,triethylamine,90,15.0
L3,"potassium acetate, dry",90,55.1
"""


def test_plain_numbers(make):
    task = make(PLAIN)
    assert parameters(task)["temp"] == Integer("temp", 20, 90)
    assert own_rows_are_inside(task)
    x = task.dataset.x.astype(np.float64)
    assert task.space.contains(x).all()
    packed = make(gzip.compress(PLAIN.encode()))
    assert packed.dataset.content_hash() == task.dataset.content_hash()


def test_a_flag_is_two_words_of_the_file(make):
    task = make(BOOLEAN)
    assert parameters(task)["stirred"] == Category("stirred", ("FALSE", "TRUE"))
    assert [row["stirred"] for row in task.space.values(task.dataset.x)] == [
        *("TRUE", "FALSE", "TRUE", "FALSE")
    ]


@pytest.mark.parametrize("words", ["yes no", "ja nein", "on off", "Wahr Falsch", "oui non"])
def test_flags_of_other_languages(make, words):
    yes, no = words.split()
    task = make(f"temp,stirred,yield\n20.5,{yes},5\n30.5,{no},7\n40.5,{yes},6\n")
    assert parameters(task)["stirred"].values == (no, yes)


def test_comment_lines_are_skipped(make):
    task = make("# robot 3, batch 7\ntemp,conc,yield\n20,0.1,1\n40,0.5,5\n60,0.9,12\n80,0.3,9\n")
    assert task.space.names == ("temp", "conc")
    assert len(task.dataset) == 4
    says(task, "a comment line")
    with pytest.raises(InvalidData, match="line 4, column 'temp'"):
        make("# robot 3\ntemp,yield\n1,2\nhot,5\n3,4\n")


def test_fractions_of_one(make):
    task = make(SALTS, "lifetime")
    names = ("salt A", "salt B", "salt C")
    assert task.space.constraints == (FixedSum(names, 1.0),)
    assert own_rows_are_inside(task)
    assert not task.space.contains(np.float32([[1, 1, 1], [0, 0, 0]])).any()
    drawn = task.space.sample(100, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.sum(axis=1), 1, atol=1e-6)
    says(task, "add up to 1", "sums=False")
    assert isinstance(make(SALTS, "lifetime", sums=False, kinds="real").space, ContinuousSpace)


def test_contents_in_percent(make):
    task = make(FILLERS, "conductivity")
    assert task.space.constraints[0].total == 100
    assert parameters(task)["polymer (%)"].unit == "%"
    drawn = task.space.sample(100, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn.sum(axis=1), 100)


def test_rounded_fractions_keep_the_tolerance_seen(make):
    rng = np.random.default_rng(0)
    x = rng.dirichlet(np.ones(4), 60).round(2)
    x[0] = [0.33, 0.33, 0.33, 0.0]
    lines = ["a,heat,b,c,d,yield"]
    lines += [f"{a},{rng.normal():.6f},{b},{c},{d},{a * b:.5f}" for a, b, c, d in x]
    task = make("\n".join(lines))
    (constraint,) = task.space.constraints
    assert constraint.names == ("a", "b", "c", "d")
    assert 0.0099 < constraint.tolerance < 0.03
    assert own_rows_are_inside(task)


def test_positions_that_never_vary_are_kept(make):
    task = make(CONSERVED, "fitness")
    (letters,) = task.space.parameters
    assert isinstance(letters, Letters)
    assert sorted(letters.fixed) == [0, 1, 2, 4, 5, 7, 8, 9]
    says(task, "places 1-3, 5-6, 8-10", "conserved='free'")
    drawn = task.space.format(task.space.sample(20, np.random.default_rng(0)))
    assert all(cell.startswith("MKT") and cell.endswith("KQR") for ((cell),) in drawn)
    free = make(CONSERVED, "fitness", conserved="free")
    assert isinstance(free.space, CategoricalSpace)
    assert free.space.names == ("mutated_sequence",)


def test_a_german_table(make):
    task = make("temp;conc;yield\n20,5;0,1;1,25\n40,0;0,5;5,5\n60,25;0,9;12,0\n80,0;0,3;9,75\n")
    assert (
        task.dataset.x.tolist()
        == np.float32([[20.5, 0.1], [40, 0.5], [60.25, 0.9], [80, 0.3]]).tolist()
    )
    assert task.dataset.y.tolist() == [1.25, 5.5, 12, 9.75]
    says(task, "decimal comma")


def test_failed_runs_are_knowledge(make):
    task = make(FAILED, "Energy", ignore="Resistance (kohm)", on_missing="drop")
    assert task.space.names == ("N (fingers #)", "a, width (um)")
    assert len(task.dataset) == 4
    assert task.space.values(task.dataset.failed) == [{"N (fingers #)": 8, "a, width (um)": 2.5}]
    says(task, "1 of 5 rows failed", "'Failed' says")
    roles = dict(task.info.columns)
    assert roles["Failed"] == "failed rows: 1"
    assert roles["Resistance (kohm)"] == "left out: you left it out"
    assert roles["Energy"] == "score"
    assert dict(make(FAILED, "Energy").info.columns)["Resistance (kohm)"].startswith("design: ")


def test_whole_numbers_steps_and_levels(make):
    found = parameters(make(STRUTS, "strength"))
    assert found["struts"] == Real("struts", 6, 12, step=2.0)
    assert found["angle"] == Real("angle", 0, 150, step=25.0)
    assert found["gap"] == Levels("gap", (0.7, 1.05, 1.4))
    assert own_rows_are_inside(make(STRUTS, "strength"))
    wider = parameters(make(STRUTS, "strength", bounds={"angle": (0, 200)}))
    assert wider["angle"] == Real("angle", 0, 200, step=25.0)
    assert isinstance(make(STRUTS, "strength", kinds="real").space, ContinuousSpace)


MISSING = """temp,conc,yield
20,0.1,5
30,0.2,#N/A
40,<NA>,6
50,0.3,n.d.
60,?,7
70,0.2,8
80,0.6,#DIV/0!
90,0.5,9
"""


def test_words_for_missing_values(make):
    with pytest.raises(InvalidData, match=r"line 4, column 'conc'.*'<NA>'.*on_missing='drop'"):
        make(MISSING)
    task = make(MISSING, on_missing="drop")
    assert (task.dataset.y.tolist(), task.dataset.failed) == ([5, 8, 9], None)
    assert "5 more lack a value" in task.info.description
    says(make(MISSING.replace("<NA>", "1").replace("?", "2")), "3 of 8 rows have no score")
    own = MISSING.replace("<NA>", "lost").replace("?", "lost")
    with pytest.raises(InvalidData, match="missing_words="):
        make(own)
    assert len(make(own, on_missing="drop", missing_words="lost").dataset) == 3


def test_words_beside_numbers(make):
    found = parameters(make(LIGANDS))
    assert found["ligand"] == Category("ligand", ("L1", "L2", "L3"))
    assert found["base"].values[1] == "potassium acetate, dry"
    assert found["temp"] == Levels("temp", (60, 90))


def test_lists_of_mutations_need_the_wild_type(make):
    content = "mutant,score\nA1P:K2R,1\nA1P,2\nK2R,3\nWT,2.5\n"
    with pytest.raises(InvalidData, match="wild_type="):
        make(content, "score")
    task = make(content, "score", wild_type="AKT")
    assert task.space.format(task.dataset.x) == [["PRT"], ["PKT"], ["ART"], ["AKT"]]
    assert task.space.names == ("mutant",)
    assert task.space.parameters[0].fixed == {2: "T"}
    with pytest.raises(InvalidData, match=r"line 2.*'K' at place 2, where the wild type has 'A'"):
        make(content, "score", wild_type="AAT")


def test_columns_may_be_called_by_numbers(make):
    task = make("1,2,3\n5,0.1,1\n6,0.5,5\n7,0.9,12\n8,0.3,9\n", "3", design_columns="1")
    assert task.space.names == ("1",)


REPLICATES = "temp,conc,yield\n20,0.1,5\n20,0.1,9\n20,0.1,7\n40,0.3,6\n40,0.3,6\n60,0.2,8\n"


def test_replicates_become_one_design(make):
    task = make(REPLICATES)
    assert task.dataset.y.tolist() == [7, 6, 8]
    pooled = (8 / 3) ** 0.5
    np.testing.assert_allclose(task.dataset.error, [2 / 3**0.5, pooled / 2**0.5, pooled], rtol=1e-6)
    assert task.dataset.weights() is not None
    says(task, "2 designs were measured several times (5 rows)", "replicates='keep'")
    kept = make(REPLICATES, replicates="keep")
    assert (len(kept.dataset), kept.dataset.error) == (6, None)


def test_trailing_delimiters(make):
    task = make("temp,conc,yield,\n20,0.1,1,\n40,0.5,5,\n60,0.9,12,\n80,0.3,9,\n")
    assert task.space.names == ("temp", "conc")
    rows_only = "temp,conc,yield\n20,0.1,1,\n40,0.5,5,\n60,0.9,12,\n"
    assert make(rows_only).dataset.y.tolist() == [1, 5, 12]
    with pytest.raises(InvalidData, match="line 3: 4 cells are too many"):
        make("temp,conc,yield\n20,0.1,1,\n40,0.5,5,7\n60,0.9,12,\n")


def test_sequences_of_unequal_lengths(make):
    content = "seq,score\nACGT,1\nACGTT,2\nACG,3\nACGGT,2.2\nAGG,1.1\n"
    task = make(content, "score")
    (letters,) = task.space.parameters
    assert (letters.shortest, letters.length, letters.fixed) == (3, 5, {0: "A", 2: "G"})
    assert task.space.format(task.dataset.x)[0] == ["ACGT"]
    says(task, "3 to 5 letters")
    padded = make(content.replace("ACG,", "ACG--,").replace("ACGT,", "ACGT-,"), "score")
    assert padded.space.format(padded.dataset.x)[2] == ["ACG"]


def test_a_row_of_units(make):
    task = make("temp,conc,yield\nK,mol/l,%\n20,0.1,1\n40,0.5,5\n60,0.9,12\n80,0.3,9\n")
    assert parameters(task)["conc"].unit == "mol/l"
    assert len(task.dataset) == 4
    says(task, "units")
    with pytest.raises(InvalidData, match="line 4, column 'temp'"):
        make("temp,yield\nK,%\n20,1\nhot,5\n30,2\n")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a;yield\n1,234.5;1\n2,500;2\n3;3\n", "separated thousands"),
        ("a;yield\n1.234,5;1\n2.500;2\n3;3\n", "decimal comma"),
        ("a;yield\n1 234.5;1\n2 500;2\n3;3\n", "separated thousands"),
        ("a;yield\n1'234.5;1\n2'500;2\n3;3\n", "separated thousands"),
        ('a,yield\n"1,234.5",1\n"2,500",2\n3,3\n', "separated thousands"),
        ("a;yield\n1\u00a0234,5;1\n2\u00a0500;2\n3;3\n", "decimal comma"),
    ],
)
def test_thousands(make, content, words):
    task = make(content)
    assert task.dataset.x[:, 0].tolist() == [1234.5, 2500, 3]
    says(task, words)


def test_a_comma_of_either_kind_is_asked_about(make):
    content = "a;yield\n1,200;1\n2,500;2\n3;3\n"
    with pytest.raises(InvalidData, match=r"'1,200'.*1200 or 1\.200: pass decimal="):
        make(content)
    assert make(content, decimal=".").dataset.x[:, 0].tolist() == [1200, 2500, 3]
    assert make(content, decimal=",").dataset.x[:, 0].tolist() == [np.float32(1.2), 2.5, 3]


DIALECTS = {
    "sep": ("sep=;\ntemp;yield\n20.5;1\n30.25;2\n", {}, "Excel's sep="),
    "json": ('{"robot": 3}\ntemp,yield\n20.5,1\n30.25,2\n', {}, "a JSON line"),
    "title": ("My table\ntemp,yield\n20.5,1\n30.25,2\n", {}, "a title line"),
    "two titles": (";\nMy table\nof today;\ntemp;yield\n20.5;1\n30.25;2\n", {}, "(2 in all)"),
    "comments below": ("temp,yield\n20.5,1\n# pause\n30.25,2\n# the end\n", {}, ""),
    "pipe": ("temp|yield\n20.5|1\n30.25|2\n", {}, ""),
    "percent": ("temp,yield\n20.5 %,1%\n30.25 %,2%\n", {}, ""),
    "commented header": ("# temp,yield\n20.5,1\n30.25,2\n", {}, ""),
    "utf-16": ("temp,yield\n20.5,1\n30.25,2\n".encode("utf-16"), {}, "UTF-16"),
    "latin-1": (
        "temp,yield\n20.5,1\n30.25,2\nä,\n".encode("latin-1"),
        {"encoding": "latin-1", "on_missing": "drop", "missing_words": "ä"},
        "",
    ),
}


@pytest.mark.parametrize("kind", DIALECTS)
def test_other_dialects(make, kind):
    content, options, words = DIALECTS[kind]
    task = make(content, **options)
    assert task.space.names == ("temp",)
    assert task.dataset.x[:, 0].tolist() == [20.5, 30.25]
    assert task.dataset.y.tolist() == [1, 2]
    if words:
        says(task, words)


def test_without_a_header(make):
    task = make("20.5,1\n30.25,2\n", "2", header=False)
    assert (task.space.names, len(task.dataset)) == (("1",), 2)
    with pytest.raises(InvalidData, match="header=False"):
        make("20.5,1\n30.25,2\n")


def test_latin_1_is_refused_with_the_way_out(make):
    with pytest.raises(InvalidData, match="encoding="):
        make("T (°C),yield\n20.5,1\n30,2\n".encode("latin-1"))
    task = make("T (°C),yield\n20.5,1\n30,2\n".encode("latin-1"), encoding="latin-1")
    assert task.space.names == ("T (°C)",)
    with pytest.raises(InvalidData, match="no encoding"):
        make("a,yield\n1,2\n", encoding="latin-99")


def test_row_numbers_identifiers_dates_and_comments_are_left_out(make):
    rows = [f"r{i},{i},2024-01-{i + 1:02},fine,{i % 4 + 0.5},{i % 5}" for i in range(10)]
    task = make("\n".join(["id,nr,when,note,heat,yield", *rows]))
    assert task.space.names == ("heat",)
    roles = dict(task.info.columns)
    assert "identifiers" in roles["id"]
    assert "row numbers" in roles["nr"]
    assert "dates" in roles["when"]
    assert "comments" in roles["note"]
    named = make("\n".join(["id,nr,when,note,heat,yield", *rows]), design_columns=["when", "heat"])
    assert named.dataset.x[3, 0] == 3
    says(named, "days since 2024-01-01")


def test_row_numbers_of_pandas_have_no_name(make):
    task = make(",a,yield\n0,1.5,2\n1,2.5,3\n2,3.25,4\n")
    assert task.space.names == ("a",)
    assert dict(task.info.columns)[""] == "left out: row numbers"


def test_a_status_that_is_not_clear_is_asked_about(make):
    content = "a,status,yield\n1.5,7,2\n2.5,8,3\n3.5,9,4\n"
    with pytest.raises(InvalidData, match=r"'status'.*failed=\{'status'"):
        make(content)
    task = make(content, failed={"status": ["9"]})
    assert task.dataset.failed.tolist() == [[3.5]]
    assert make(content, failed="none").space.names == ("a", "status")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [("success", "1", "0"), ("ok", "yes", "no"), ("Status", "COMPLETED", "FAILED")],
)
def test_flags_of_success(make, name, good, bad):
    task = make(f"a,{name},yield\n1.5,{good},2\n2.5,{bad},3\n3.25,{good},4\n")
    assert task.dataset.failed.tolist() == [[2.5]]
    assert task.dataset.y.tolist() == [2, 4]


def test_standard_errors_and_weights(make):
    content = "a,yield,yield_sem\n1.5,2,0.1\n2.5,3,0.4\n3.25,5,0.2\n"
    task = make(content)
    assert task.dataset.error.tolist() == np.float32([0.1, 0.4, 0.2]).tolist()
    assert task.space.names == ("a",)
    weighted = make(content.replace("yield_sem", "w"), weights="w")
    np.testing.assert_allclose(
        weighted.dataset.weights(), np.float32([0.1, 0.4, 0.2]) * 3 / 0.7, rtol=1e-5
    )
    with pytest.raises(InvalidData, match=r"line 3, column 'w'.*above 0"):
        make(content.replace("yield_sem", "w").replace("0.4", "0"), weights="w")


def test_numbers_that_float32_makes_equal_are_warned_about(make):
    rows = [f"{1_700_000_000 + i},{i / 7:.5f},{i % 3}" for i in range(20)]
    task = make("\n".join(["time,a,yield", *rows]))
    says(task, "Warning", "'time'", "float32")
    assert not any("'a'" in note for note in task.info.notes if note.startswith("Warning"))


def test_sequences_beside_numbers(make):
    rows = ["ACDEFG,MKT-AY,20.5,1", "ACDEFH,MKTVAY,30,2", "ACDEGG,MKTVWY,25,3"]
    task = make("\n".join(["heavy,light,temp,yield", *rows]))
    found = parameters(task)
    assert [type(found[name]) for name in ("heavy", "light", "temp")] == [Letters, Letters, Real]
    assert found["light"].letters[0] == "-"
    assert task.space.values(task.dataset.x)[0]["light"] == "MKT-AY"


def test_dates_as_days_on_request(make):
    content = "when,a,yield\n01.02.2024,1.5,1\n05.02.2024,2.5,2\n03.02.2024 12:00,2,2\n"
    task = make(content, kinds={"when": "days"})
    assert task.dataset.x[:, 0].tolist() == [0, 4, 2.5]
    with pytest.raises(InvalidData, match="in one way only"):
        make(content.replace("01.02.2024", "01/02/2024"), kinds={"when": "days"})


def test_small_letters_of_bases_are_capitals(make):
    task = make("dna,yield\nACGT,1\nacga,2\nAcGG,3\n")
    assert "".join(task.space.letters) == "ACGT"
    says(task, "small letters of 2 sequences")
    kept = make("dna,yield\nACGT,1\nacga,2\nAcGG,3\n", case="keep")
    assert len(kept.space.letters) > 4


def test_a_constant_beside_other_kinds(make):
    task = make("batch,n,lot,yield\nB7,1,5.5,2\nB7,2,5.5,3\nB7,3,5.5,5\nB7,5,5.5,1\n")
    found = parameters(task)
    assert found["batch"] == Constant("batch", "B7")
    assert found["lot"] == Constant("lot", 5.5)
    assert own_rows_are_inside(task)


def test_log_scale_on_request(make):
    task = make("conc,yield\n0.001,1\n0.1,2\n10,3\n", kinds={"conc": "log"})
    assert parameters(task)["conc"].log
    with pytest.raises(InvalidData, match="above 0"):
        make("conc,yield\n0,1\n0.1,2\n10,3\n", kinds={"conc": "log"})
    with pytest.raises(InvalidData, match="one of real, log"):
        make("conc,yield\n0,1\n0.1,2\n10,3\n", kinds={"conc": "loog"})


def test_wine_with_two_rows_of_types(make):
    task = make(
        "pH,acid,yield\ncontinuous,continuous,d\n,,class\n3.1,0.25,1\n3.4,0.75,2\n3,0.5,3\n"
    )
    assert (task.space.names, len(task.dataset)) == (("pH", "acid"), 3)


CASES = {
    "plain": (PLAIN, None),
    "boolean": (BOOLEAN, None),
    "salts": (SALTS, "lifetime"),
    "fillers": (FILLERS, "conductivity"),
    "conserved": (CONSERVED, "fitness"),
    "failed": (FAILED, "Energy"),
    "struts": (STRUTS, "strength"),
    "ligands": (LIGANDS, None),
    "replicates": (REPLICATES, None),
    "errors": ("a,yield,yield_sem\n1.5,2,0.1\n2.5,3,0.4\n3.25,5,0.2\n", None),
    "bases": ("dna,yield\nACGT,1\nacga,2\nAcGG,3\n", None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_space_file_of_a_table_gives_the_same_task(tmp_path, case):
    content, score = CASES[case]
    path = tmp_path / "my.csv"
    path.write_text(content)
    file = tmp_path / "space.toml"
    file.write_text(write_space(path, score)[0])
    told = mbo_gym.make_task("table", path=path, space=file)
    inferred = mbo_gym.make_task("table", path=path, score_column=score or "yield")
    assert told.dataset.content_hash() == inferred.dataset.content_hash()
    assert told.space.names == inferred.space.names
    assert type(told.space) is type(inferred.space)
    if isinstance(told.space, MixedSpace):
        for ours, theirs in zip(told.space.parameters, inferred.space.parameters, strict=True):
            assert replace(ours, unit="") == replace(theirs, unit="")
        assert told.space.constraints == inferred.space.constraints


def test_a_corrected_space_file_counts(tmp_path):
    path = tmp_path / "my.csv"
    path.write_text(LIGANDS)
    file = tmp_path / "space.toml"
    text, _ = write_space(path, "yield", minimise=True)
    text = text.replace(
        'kind = "levels"  # 60, 90\nvalues = [60, 90]', 'kind = "real"\nlow = 50.0\nhigh = 100.0'
    )
    file.write_text(text)
    task = mbo_gym.make_task("table", path=path, space=file)
    assert parameters(task)["temp"] == Real("temp", 50, 100)
    assert task.dataset.y.max() == np.float32(-8.8)
    with pytest.raises(InvalidData, match="kinds= would be said twice"):
        mbo_gym.make_task("table", path=path, space=file, kinds="real")
    file.write_text(text.replace("low = 50.0", "low = 70.0"))
    with pytest.raises(InvalidData, match=r"my\.csv, line 2: temp=60 .*3 such rows"):
        mbo_gym.make_task("table", path=path, space=file)
    file.write_text(text.replace('"L3"', '"L4"'))
    with pytest.raises(InvalidData, match=r"line 4, column 'ligand': ligand='L3' is not allowed"):
        mbo_gym.make_task("table", path=path, space=file)


def test_frames_and_arrays_are_tables(tmp_path):
    import polars as pl

    path = tmp_path / "my.csv"
    path.write_text(LIGANDS)
    read = mbo_gym.make_task("table", path=path, score_column="yield")
    frame = pl.read_csv(path)
    made = mbo_gym.make_task("table", frame=frame, score_column="yield")
    assert made.dataset.content_hash() == read.dataset.content_hash()
    assert "frame" not in made.problem().options
    x = np.random.default_rng(0).normal(size=(20, 3))
    arrays = mbo_gym.make_task("table", x=x, y=x[:, 0])
    assert isinstance(arrays.space, ContinuousSpace)
    np.testing.assert_array_equal(arrays.dataset.x, x.astype(np.float32))
    with pytest.raises(InvalidData, match="only one"):
        mbo_gym.make_task("table", x=x)


def test_propose_takes_frames(tmp_path):
    import polars as pl

    frame = pl.DataFrame({"heat": [20.5, 30.25, 41.0, 52.5], "yield": [1.0, 3.0, 2.0, 0.5]})
    table = mbo_gym.propose(frame, score="yield", method="top_k", k=2, progress=False)
    heat = table.columns["heat"]
    assert len(set(heat.tolist())) == 2
    assert ((heat >= 20.5) & (heat <= 52.5)).all()
    assert not set(heat.tolist()) & set(frame["heat"])  # nothing is measured twice


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["low", "medium", "high", "low"], Levels),
        (["DMF", "THF", "water", "DMF"], Category),
        (["DMF", "THF", "DMSO", "DMF", "THF", "DMF"], Category),
        (["CCO", "c1ccccc1", "CC(=O)O", "CCCl"], Letters),
        (["MKTAYIG", "MKTAYI", "MKSAYIG", "MKTAYIG"], Letters),
        (["acgt", "acg", "ACGTT", "acg"], Letters),
    ],
)
def test_one_column_of_words_or_of_sequences(make, cells, kind):
    task = make("\n".join(["what,yield", *(f"{cell},{i}" for i, cell in enumerate(cells))]))
    assert isinstance(parameters(task)["what"], kind)


def test_some_percent_signs_are_refused(make):
    with pytest.raises(InvalidData, match="'a' have a percent sign, others have none"):
        make("a,b,yield\n10%,1.5,1\n20,2.5,2\n30%,2,3\n")


def test_mutations_may_be_numbered_from_another_place(make):
    content = "m,yield\nD40G,1\nD40A:K41R,2\nK41R,3\nWT,0\n"
    task = make(content, wild_type="DKA")
    assert task.space.format(task.dataset.x) == [["GKA"], ["ARA"], ["DRA"], ["DKA"]]


def test_a_column_that_float32_makes_constant_says_why(make):
    with pytest.raises(InvalidData, match="subtract an offset"):
        make("n,yield\n100000000,1\n100000001,2\n100000002,3\n")


def test_spread_of_the_score_is_no_design(make):
    task = make("yield_std,a,yield\n1.5,1.5,1\n2.5,2,2\n")
    assert task.space.names == ("a",)
    assert "error=" in dict(task.info.columns)["yield_std"]


def test_steps_without_bounds(make):
    task = make(STRUTS, "strength", bounds="none")
    found = parameters(task)["angle"]
    assert (found.step, found.low, found.high) == (25, -np.inf, np.inf)
    assert own_rows_are_inside(task)
    assert found.nearest(np.array([[-30.0], [1e6]])).tolist() == [[-25], [1e6]]


def test_a_typographic_minus_is_a_minus(make):
    task = make("a,yield\n\u22121.5,2\n2.5,3\n")
    assert task.dataset.x.tolist() == [[-1.5], [2.5]]


def test_words_of_a_known_scale_are_levels_in_its_order(make):
    rows = "high,10 min,a1\nlow,5 min,b2\nmedium,1 min,c3\nlow,10 min,a1\nhigh,1 min,b2\n"
    cells = [f"{row},{y}" for y, row in enumerate(rows.splitlines())]
    task = make("power,time,kind,yield\n" + "\n".join(cells))
    assert list(parameters(task).values()) == [
        Levels("power", ("low", "medium", "high")),
        Levels("time", ("1 min", "5 min", "10 min")),
        Category("kind", ("a1", "b2", "c3")),
    ]
    says(task, "'power'", "in order", "kinds={'power': 'category'}")
    found = make("power,x,yield\nlow,1,2\nhigh,2,3\nmedium,3,5\n", kinds={"power": "category"})
    assert parameters(found)["power"] == Category("power", ("high", "low", "medium"))


def test_a_column_of_many_decades_names_the_log_scale(make):
    x = [10.0**-k for k in np.linspace(3, 9, 20)]
    content = "conc,temp,yield\n" + "\n".join(f"{v:.3e},{i % 7},{i}" for i, v in enumerate(x))
    says(make(content), "'conc' spans 6.0 decades", "kinds={'conc': 'log'}")
    task = make(content, kinds={"conc": "log"})
    assert parameters(task)["conc"].log
    assert not any("decades" in note for note in task.info.notes)


def test_numbers_of_replicates_are_no_setting(make):
    rows = [f"{t},{r},{t + 0.1 * r}" for t in (20, 30, 45, 47) for r in (1, 2, 3)]
    task = make("temp,replicate,yield\n" + "\n".join(rows))
    assert task.space.names == ("temp",)
    assert len(task.dataset) == 4
    assert "numbers of the replicates" in dict(task.info.columns)["replicate"]


@pytest.mark.parametrize(
    "before",
    ["Run 12\n# by LIMS\n", "Run 12;x\n\n", "Run\nDate,2025-01-01\n\n", "Run,,\nUser,ann,\n,,\n"],
)
def test_titles_and_their_values_stand_before_a_table(make, before):
    task = make(f"{before}{PLAIN}")
    assert task.space.names == ("temp", "conc")
    assert len(task.dataset) == 5
    says(task, "Skipped before the table", "title")
