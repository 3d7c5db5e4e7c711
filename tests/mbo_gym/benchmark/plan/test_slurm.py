"""What a job array is asked for, and how cells are packed into its tasks."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbo_gym.benchmark.plan.grid import read_grids, read_slurm
from mbo_gym.benchmark.plan.slurm import SlurmOptions, minutes, packed, slurm_options
from mbo_gym.errors import UnknownId

HEAD = 'methods = ["random"]\ntasks = ["Branin-Exact-v0"]\n'


@given(
    st.lists(st.floats(0.01, 1e4), min_size=1, max_size=60),
    st.floats(0.01, 1e4),
    st.integers(1, 30),
)
def test_every_cell_is_packed_once_evenly_and_below_the_target(seconds, target, most):
    tasks = packed(seconds, target, most)
    assert sorted(i for task in tasks for i in task) == list(range(len(seconds)))
    assert len(tasks) <= most
    assert all(task == sorted(task) and task for task in tasks)
    loads = [sum(seconds[i] for i in task) for task in tasks]
    if len(tasks) < min(most, len(seconds)):
        assert max(loads) <= max(target, *seconds) * (1 + 1e-6)
    assert max(loads) - min(loads) <= max(seconds) * (1 + 1e-6)


def test_there_are_no_more_tasks_than_the_target_asks_for():
    assert packed([10.0] * 12, 30.0, 100) == [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]
    assert len(packed([10.0] * 12, 1000.0, 100)) == 1
    assert len(packed([10.0] * 12, 0.0, 100)) == 12
    assert len(packed([10.0] * 12, 0.0, 5)) == 5
    assert packed([100.0, 1.0, 1.0], 5.0, 10) == [[0], [1, 2]]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (90, 90),
        ("90", 90),
        ("90:01", 91),
        ("4:00:00", 240),
        ("0:00:30", 1),
        ("1-12", 2160),
        ("1-12:30", 2190),
        ("2-0:0:1", 2881),
    ],
)
def test_time_limits_read_as_sbatch_reads_them(limit, expected):
    assert minutes(limit) == expected
    assert SlurmOptions(time_limit=limit).limit(1e9) == expected


@pytest.mark.parametrize("limit", [0, "", "-1", "1:2:3:4", "soon", "4h", "1-", "0:00"])
def test_other_time_limits_are_refused(limit):
    with pytest.raises(ValueError, match="time_limit takes minutes above 0 or a text such as"):
        SlurmOptions(time_limit=limit)


def test_the_default_limit_is_three_times_the_longest_task_and_at_least_an_hour():
    assert SlurmOptions().limit(60.0) == 60
    assert SlurmOptions().limit(7200.0) == 360


def test_later_tables_count_before_earlier_ones():
    options = slurm_options({"partition": "a", "cpus": 4, "setup": ["x"]}, {"partition": "b"})
    assert options == SlurmOptions(partition="b", cpus=4, setup=("x",))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cpus": 0}, "cpus must be at least 1, got 0"),
        ({"timeouts": -1}, "timeouts must be at least 0, got -1"),
        ({"target_minutes": 0}, "target_minutes must be above 0, got 0"),
        ({"cluster": "pbs"}, "cluster must be 'slurm' | 'local' | 'debug', got 'pbs'"),
        ({"partition": 3}, "partition must be str or None, got 3"),
    ],
)
def test_values_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        slurm_options(values)


def test_a_grids_file_has_a_table_for_slurm(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(HEAD)
    assert read_slurm(path) == {}
    path.write_text(HEAD + '[slurm]\npartition = "gpu"\nmax_parallel = 20\n')
    assert len(read_grids(path)) == 1
    assert read_slurm(path) == {"partition": "gpu", "max_parallel": 20}
    path.write_text(HEAD + "[slurm]\nmax_paralel = 20\n")
    for read in (read_grids, read_slurm):
        with pytest.raises(UnknownId, match=r"grid\.toml.*Did you mean max_parallel"):
            read(path)
    path.write_text("slurm = 3\n" + HEAD)
    with pytest.raises(ValueError, match=r"write slurm as a table \[slurm\], got slurm = 3"):
        read_grids(path)
