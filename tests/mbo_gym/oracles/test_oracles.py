"""Oracles: what they answer, what they refuse, what they count; and that a method cannot reach
one."""

from __future__ import annotations

import types
from dataclasses import replace

import numpy as np
import pytest
import torch

import mbo_gym
from mbo_gym.errors import BudgetExceeded, InvalidDesign, MissingData
from mbo_gym.oracles.function import FunctionOracle
from mbo_gym.oracles.table import TableOracle, design_codes
from mbo_gym.problem.oracle import MeteredOracle, Oracle, count_oracle_calls
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.problem.task import Task

PAIRS = CategoricalSpace(2, 3)
LINE = ContinuousSpace(np.array([-1.0]), np.array([1.0]))


def table() -> TableOracle:
    return TableOracle(PAIRS, np.arange(9) / 10)


def test_a_table_is_read_in_base_a_first_site_highest():
    assert design_codes(np.array([[1, 2], [2, 0]]), 3).tolist() == [5, 6]
    np.testing.assert_array_equal(table()(np.array([[1, 2], [2, 0]])), np.float32([0.5, 0.6]))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_a_table_scores_tensors_of_any_integer_type_alike(dtype):
    x = np.stack(np.meshgrid(range(3), range(3), indexing="ij"), axis=-1).reshape(-1, 2)
    scores = table().score_tensor(torch.as_tensor(x, dtype=dtype))
    assert scores.dtype == torch.float32
    np.testing.assert_array_equal(scores.numpy(), table()(x))


def test_a_large_table_does_not_overflow_small_integers():
    space = CategoricalSpace(10, 4)
    oracle = TableOracle(space, np.arange(4**10))
    last = np.full((1, 10), 3, dtype=np.uint8)
    assert oracle(last) == 4**10 - 1
    assert oracle.score_tensor(torch.from_numpy(last)) == 4**10 - 1


def test_a_table_must_be_complete():
    with pytest.raises(ValueError, match="9 entries"):
        TableOracle(PAIRS, np.zeros(8))


def test_the_best_of_a_table_come_highest_first():
    np.testing.assert_array_equal(table().best(3), np.float32([0.8, 0.7, 0.6]))
    assert len(table().best(100)) == 9


def test_the_first_bad_row_is_named_and_nothing_is_scored():
    seen = []
    oracle = FunctionOracle(LINE, lambda x: seen.append(len(x)) or x[:, 0])
    with count_oracle_calls() as calls, pytest.raises(InvalidDesign) as caught:
        oracle(np.array([[0.0], [1.0], [1.5], [np.nan]]))
    assert "row 2 of 4: x0=1.5 is outside [-1.0, 1.0] (2 bad rows in all)" in str(caught.value)
    assert (seen, calls.count) == ([], 0)
    with pytest.raises(InvalidDesign, match="row 1 of 2: site 0 holds 3"):
        table()(np.array([[0, 0], [3, 0]]))


def test_large_requests_are_split():
    seen = []
    oracle = FunctionOracle(LINE, lambda x: seen.append(len(x)) or x[:, 0])
    x = np.linspace(-1, 1, 40_000, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(oracle(x), x[:, 0])
    assert seen == [16_384, 16_384, 7_232]


def test_no_designs_get_no_scores():
    empty = table()(np.empty((0, 2), dtype=np.int32))
    assert (empty.shape, empty.dtype) == ((0,), np.float32)


def test_a_function_must_return_one_score_a_design():
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        FunctionOracle(LINE, lambda x: x)(np.zeros((2, 1)))


def test_the_default_tensor_path_agrees_with_numpy():
    oracle = FunctionOracle(LINE, lambda x: 3 * x[:, 0])
    x = np.linspace(-1, 1, 7, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(oracle.score_tensor(torch.from_numpy(x)).numpy(), oracle(x))


def test_a_subclass_without_a_score_says_so():
    with pytest.raises(TypeError, match="Oracle must define _score"):
        Oracle(LINE)(np.zeros((1, 1)))


def test_a_budget_is_kept_to_the_last_design():
    scored = []
    metered = MeteredOracle(
        FunctionOracle(LINE, lambda x: scored.append(len(x)) or x[:, 0]), budget=5
    )
    metered(np.zeros((3, 1)))
    with pytest.raises(
        BudgetExceeded,
        match=r"3 more designs would make 6 oracle calls, the budget is 5 \(2 left\)",
    ):
        metered(np.zeros((3, 1)))
    assert (metered.calls, scored) == (3, [3])
    metered.score_tensor(torch.zeros(2, 1))
    assert metered.calls == 5
    with pytest.raises(BudgetExceeded):
        metered.score_tensor(torch.zeros(1, 1))
    with pytest.raises(ValueError, match="at least 0"):
        MeteredOracle(table(), budget=-1)


def test_refused_designs_do_not_count():
    metered = MeteredOracle(table(), budget=2)
    with pytest.raises(InvalidDesign):
        metered(np.array([[0, 9], [0, 0]]))
    assert metered.calls == 0
    metered(np.array([[0, 1], [0, 0]]))
    assert metered.calls == 2


def test_every_oracle_of_the_process_is_counted_inside_the_block_only():
    one, two = table(), MeteredOracle(table())
    with count_oracle_calls() as outer:
        one(np.zeros((2, 2), dtype=int))
        with count_oracle_calls() as inner:
            two(np.zeros((3, 2), dtype=int))
            two.score_tensor(torch.zeros(4, 2, dtype=torch.int64))
    one(np.zeros((9, 2), dtype=int))
    assert (outer.count, inner.count, two.calls) == (9, 7, 7)
    with pytest.raises(RuntimeError, match="boom"), count_oracle_calls() as interrupted:
        raise RuntimeError("boom")
    one(np.zeros((9, 2), dtype=int))
    assert interrupted.count == 0


def reachable(start: object) -> list[object]:
    """Everything that can be reached from an object through attributes, containers, closures and
    bound methods."""
    seen: dict[int, object] = {}
    stack = [start]
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, (type, types.ModuleType, str, bytes, int, float)):
            continue
        seen[id(item)] = item
        if isinstance(item, dict):
            stack += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple, set, frozenset, types.MappingProxyType)):
            stack += list(item.values() if isinstance(item, types.MappingProxyType) else item)
        stack += list(getattr(item, "__dict__", {}).values())
        for kind in type(item).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            stack += [
                getattr(item, name)
                for name in ([slots] if isinstance(slots, str) else slots)
                if hasattr(item, name)
            ]
        if isinstance(item, types.FunctionType):
            stack += [cell.cell_contents for cell in item.__closure__ or ()] + list(
                item.__defaults__ or ()
            )
        stack += [
            getattr(item, name)
            for name in ("__self__", "func", "args", "keywords", "base")
            if hasattr(item, name)
        ]
    return list(seen.values())


@pytest.mark.parametrize("task_id", ["TFBind8-Exact-v0", "Branin-Exact-v0", "Levy-Exact-v1"])
def test_a_method_cannot_reach_the_oracle(task_id):
    task = mbo_gym.make_task(task_id, fraction=0.5, noise=0.1)
    task = replace(
        task, options={**task.options, "oracle": task.hidden_oracle}
    )  # what the csv task may be given
    problem = task.problem()
    assert "oracle" not in problem.options
    assert not [
        item for item in reachable(problem) if isinstance(item, (Oracle, MeteredOracle, Task))
    ]
    assert [
        item for item in reachable(task) if isinstance(item, Oracle)
    ]  # the walk does find one where it is
    assert task.problem() is problem


def test_a_task_without_an_oracle_says_what_to_do():
    task = replace(mbo_gym.make_task("Branin-Exact-v0"), hidden_oracle=None)
    assert not task.has_oracle
    with pytest.raises(MissingData, match="has no oracle"):
        task.oracle()


def test_each_request_for_the_oracle_starts_its_own_count():
    task = mbo_gym.make_task("Branin-Exact-v0")
    first, second = task.oracle(), task.oracle(budget=1)
    first(task.dataset.x[:3])
    assert (first.calls, second.calls, second.budget) == (3, 0, 1)
