"""Memory that a cell asks for grows with its data, and is what earlier runs needed."""

from __future__ import annotations

import gzip
from dataclasses import replace

import numpy as np
import pytest

from mbo_gym.benchmark.execute.memory import (
    DATA_BYTES_PER_CELL,
    cells_of_data,
    measured_mb,
    memory_for,
)
from mbo_gym.benchmark.execute.results import ResultStore
from mbo_gym.benchmark.execute.runner import run_cells
from mbo_gym.benchmark.plan.grid import Grid, MethodChoice, TaskChoice
from mbo_gym.runs.request import RunRequest
from tests.mbo_gym.benchmark.records import record

ROWS = "a,b,y\n" + "1,2,3\n" * 9


def test_cells_of_tables_are_counted_without_reading_them(tmp_path):
    (tmp_path / "t.csv").write_text(ROWS)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(ROWS.encode()))
    for name in ("t.csv", "t.csv.gz"):
        n = cells_of_data({"path": str(tmp_path / name), "score_column": "y"})
        assert 30 <= n <= 33  # the header, and the line that a last line end begins
    assert cells_of_data({"score_column": "y", "max_rows": 4, "path": "none.csv"}) == 0


def test_cells_of_a_parquet_file_are_counted(tmp_path):
    polars = pytest.importorskip("polars")
    polars.DataFrame({"a": range(50), "y": range(50)}).write_parquet(tmp_path / "t.parquet")
    assert cells_of_data({"path": str(tmp_path / "t.parquet")}) == 100


def test_a_folder_of_arrays_counts_by_its_numbers(tmp_path):
    np.save(tmp_path / "a-x-0.npy", np.zeros((1000, 6), dtype=np.float32))
    assert cells_of_data({"folder": str(tmp_path)}) == pytest.approx(6000, abs=40)


def test_memory_grows_with_the_data(tmp_path):
    asked = []
    for n_rows in (10, 100_000):
        path = tmp_path / f"{n_rows}.csv"
        path.write_text("a,b,y\n" + "1,2,3\n" * n_rows)
        request = RunRequest("top_k", "csv", options={"path": str(path), "score_column": "y"})
        asked.append(memory_for(request, 2.0, {}))
    assert asked[0] == pytest.approx(2.0, abs=1e-4)
    assert asked[1] == pytest.approx(2.0 + 300_000 * DATA_BYTES_PER_CELL / 2**30, rel=1e-3)
    assert memory_for(RunRequest("top_k", "Branin-Exact-v0"), 3.0, {}) == 3.0


def test_what_earlier_runs_needed_counts_where_it_is_more():
    done = record("grad")
    result = replace(done.result, peak_memory_mb=8192.0)
    peaks = measured_mb([done, replace(done, result=result), replace(done, result=None)])
    assert memory_for(done.request, 2.0, peaks) == 1.25 * 8
    other = replace(done.request, options={"max_rows": 7})
    assert memory_for(other, 2.0, peaks) == 2.0


def test_the_cells_of_a_benchmark_ask_for_it(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n" + "".join(f"{i},{i % 7},{i % 5}\n" for i in range(20_000)))
    grid = Grid(
        [MethodChoice("top_k")], [TaskChoice("csv", {"path": str(path), "score_column": "y"})]
    )
    seen = []

    class Asked:
        busy = False

        def has_room(self, job):
            return True

        def submit(self, job):
            seen.append(job.resources)
            raise KeyboardInterrupt

        def close(self, *, now):
            pass

    store = ResultStore(tmp_path / "results")
    with store.writing(), pytest.raises(KeyboardInterrupt):
        run_cells(grid.cells(), store, Asked())
    (resources,) = seen
    assert resources.memory_gb == pytest.approx(2 + 60_000 * DATA_BYTES_PER_CELL / 2**30, rel=1e-3)
