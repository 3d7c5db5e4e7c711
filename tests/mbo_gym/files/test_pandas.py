"""Data frames of pandas, with all that their columns, names and index can be."""

from __future__ import annotations

import numpy as np
import pytest

import mbo_gym
from mbo_gym.errors import InvalidData
from mbo_gym.problem.parameters import Category, Integer, Levels, Real

pd = pytest.importorskip("pandas")
N = 30


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MBO_GYM_DATA", str(tmp_path / "data"))


def frame(**columns):
    rng = np.random.default_rng(0)
    made = pd.DataFrame({"temp": rng.integers(20, 90, N), "time": rng.uniform(1, 5, N).round(2)})
    return made.assign(y=made.temp * 0.1 - made.time, **columns)


def parameter_of(made, name: str, **options):
    task = mbo_gym.make_task("table", frame=made, score_column="y", **options)
    return next(p for p in task.space.parameters if p.name == name)


def drawn(values, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).choice(values, N)


def with_missing(array, row: int = 3):
    array[row] = pd.NA
    return array


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (lambda: pd.Categorical(drawn(["water", "DMF"])), Category("s", ("DMF", "water"))),
        (lambda: pd.Categorical(drawn([1, 5, 7])), Category("s", ("1", "5", "7"))),
        (lambda: pd.Categorical(drawn([True, False])), Category("s", ("False", "True"))),
        (
            lambda: pd.array(drawn(["water", "DMF"]), dtype="string"),
            Category("s", ("DMF", "water")),
        ),
        (lambda: pd.array(drawn([0, 1, 2, 3]), dtype="Int64"), Integer("s", 0, 3)),
        (lambda: pd.array(drawn([True, False]), dtype="boolean"), Category("s", ("False", "True"))),
        (lambda: drawn([True, False]), Category("s", ("False", "True"))),
    ],
)
def test_types_of_pandas(column, expected):
    assert parameter_of(frame(s=column()), "s") == expected


def test_ordered_categories_are_levels_in_their_order_and_unused_ones_are_left_out():
    words = ["never", "low", "mid", "high"]
    made = frame(s=pd.Categorical(drawn(words[1:]), categories=words, ordered=True))
    assert parameter_of(made, "s") == Levels("s", ("low", "mid", "high"))
    batch = mbo_gym.propose(made, "y", "grad", 4, preset="light", progress=False)
    assert set(batch.columns["s"]) <= set(words[1:])
    assert parameter_of(made, "s", kinds={"s": "category"}).kind == "category"
    made = frame(s=pd.Categorical(drawn([1, 5, 7]), categories=[1, 5, 7], ordered=True))
    assert parameter_of(made, "s") == Levels("s", (1, 5, 7))


@pytest.mark.parametrize(
    "column",
    [
        lambda: with_missing(pd.array(drawn([0, 1, 2, 3]), dtype="Int64")),
        lambda: with_missing(pd.array(drawn([True, False]), dtype="boolean")),
        lambda: with_missing(pd.array(drawn(["a", "b"]), dtype="string")),
        lambda: pd.Series(pd.Categorical(drawn(["a", "b"]))).where(np.arange(N) != 3),
        lambda: pd.Series(drawn([0.5, 1.5])).where(np.arange(N) != 3),
    ],
)
def test_missing_values_name_the_row_and_can_be_dropped(column):
    made = frame(s=column())
    with pytest.raises(InvalidData, match=r"frame, row 4, column 's'.*on_missing='drop'"):
        mbo_gym.make_task("table", frame=made, score_column="y")
    task = mbo_gym.make_task("table", frame=made, score_column="y", on_missing="drop")
    assert len(task.dataset) == N - 1


def test_rows_without_a_score_have_failed():
    made = frame()
    made["y"] = pd.array([pd.NA, *range(N - 1)], dtype="Int64")
    task = mbo_gym.make_task("table", frame=made, score_column="y")
    assert (len(task.dataset), len(task.dataset.failed)) == (N - 1, 1)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_dates_of_every_unit(unit, zone):
    days = pd.Series(pd.date_range("2024-01-01", periods=N, freq="D")).astype(f"datetime64[{unit}]")
    made = frame(day=days if zone is None else days.dt.tz_localize(zone))
    task = mbo_gym.make_task("table", frame=made, score_column="y")
    assert "day" not in task.space.names
    date = parameter_of(made, "day", kinds={"day": "date"})
    assert (date.first, date.last, date.step) == ("2024-01-01", "2024-01-30", 1)
    counted = parameter_of(made, "day", kinds={"day": "days"})
    assert (counted.low, counted.high) == (0, 29)
    made["day"] = made["day"].where(np.arange(N) > 2)
    options = {"kinds": {"day": "date"}, "on_missing": "drop"}
    assert parameter_of(made, "day", **options).first == "2024-01-04"


def test_durations_are_seconds():
    made = frame(wait=pd.to_timedelta(drawn([1.5, 2, 7]), unit="h"))
    wait = parameter_of(made, "wait")
    assert wait.values == (5400, 7200, 25200)
    task = mbo_gym.make_task("table", frame=made, score_column="y")
    assert "'wait' holds durations; they count as seconds." in task.info.notes


def test_an_index_with_names_is_columns_and_labels_without_are_none():
    made = frame()
    one = mbo_gym.make_task("table", frame=made.set_index("temp"), score_column="y")
    assert one.space.names == ("temp", "time")
    two = made.assign(z=drawn([0.5, 0.75])).set_index(["temp", "time"])
    task = mbo_gym.make_task("table", frame=two, score_column="y")
    assert task.space.names == ("temp", "time", "z")
    kept = mbo_gym.make_task("table", frame=made.set_index("temp", drop=False), score_column="y")
    assert kept.space.names == ("temp", "time")
    labels = made.set_axis([f"run {i}" for i in range(N)])
    assert mbo_gym.make_task("table", frame=labels, score_column="y").space.names == (
        "temp",
        "time",
    )
    numbered = made.rename_axis("id")
    task = mbo_gym.make_task("table", frame=numbered, score_column="y")
    assert task.space.names == ("temp", "time")
    assert dict(task.info.columns)["id"] == "left out: row numbers"


def test_names_that_cannot_be_used_are_refused_with_a_remedy():
    made = frame()
    doubled = pd.concat([made, made[["temp"]]], axis=1)
    with pytest.raises(InvalidData, match="several columns of the frame are called 'temp'"):
        mbo_gym.make_task("table", frame=doubled, score_column="y")
    levels = made.copy()
    levels.columns = pd.MultiIndex.from_tuples([("x", "temp"), ("x", "time"), ("m", "y")])
    with pytest.raises(InvalidData, match=r"names of 2 levels, such as \('x', 'temp'\).*' '.join"):
        mbo_gym.make_task("table", frame=levels, score_column="y")
    levels.columns = [" ".join(map(str, name)) for name in levels.columns]
    flat = mbo_gym.make_task("table", frame=levels, score_column="m y")
    assert flat.space.names == ("x temp", "x time")
    unnamed = made.set_axis([None, "time", "y"], axis=1)
    with pytest.raises(InvalidData, match="column 1 has no name"):
        mbo_gym.make_task("table", frame=unnamed, score_column="y")


def test_a_frame_of_excel_and_the_workbook_propose_the_same(tmp_path):
    pytest.importorskip("openpyxl")
    pytest.importorskip("fastexcel")
    made = frame(s=drawn(["water", "DMF"]))
    path = tmp_path / "book.xlsx"
    made.to_excel(path, index=False)
    arguments = {"score": "y", "method": "grad", "k": 4, "preset": "light", "progress": False}
    ours = mbo_gym.propose(pd.read_excel(path), **arguments)
    book = mbo_gym.propose(path, **arguments)
    assert np.array_equal(ours.x, book.x)
    assert isinstance(ours.space.parameters[0], (Integer, Real))
