"""Rows of updates: each drawn once before any again, by weight, for each member."""

from __future__ import annotations

import pytest
import torch

from mbo_gym.nn.rows import RowPool, among, permuted, permuted_by_member, shared, weighted


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("batch", "n"), [(8, 20), (5, 20), (20, 20), (50, 20), (7, 3)])
def test_a_pool_that_keeps_the_rest_draws_every_row_once_before_any_again(batch, n):
    pool, draws = RowPool(permuted(n), batch, keep_rest=True), generator()
    rows = torch.cat([pool.draw(draws) for _ in range(30)])
    assert len(rows) == 30 * batch
    epochs = rows[: len(rows) // n * n].view(-1, n)
    assert (epochs.sort(dim=1).values == torch.arange(n)).all()


def test_a_pool_that_drops_the_rest_shuffles_anew():
    pool, draws = RowPool(permuted(10), 4), generator()
    batches = [pool.draw(draws) for _ in range(6)]
    again = generator()
    epochs = [torch.randperm(10, generator=again) for _ in range(3)]
    for i, epoch in enumerate(epochs):  # two batches of 4 and a rest of 2
        assert torch.equal(torch.cat(batches[2 * i : 2 * i + 2]), epoch[:8])


def test_a_batch_larger_than_the_rows_is_all_of_them():
    pool, draws = RowPool(permuted(3), 8), generator()
    for _ in range(4):
        assert sorted(pool.draw(draws).tolist()) == [0, 1, 2]


def test_members_have_orders_of_their_own():
    rows = permuted_by_member(50, 3)(generator())
    assert (rows.sort(dim=1).values == torch.arange(50)).all()
    assert len(rows.unique(dim=0)) == 3


def test_rows_are_drawn_in_proportion_to_their_weights():
    weight = torch.tensor([0.0, 1.0, 3.0])
    rows = weighted(weight, 4000)(generator())
    share = torch.bincount(rows, minlength=3) / 4000
    torch.testing.assert_close(share, weight / 4, atol=0.03, rtol=0)  # 4 standard deviations
    assert weighted(weight.expand(2, -1))(generator()).shape == (2, 3)


def test_members_may_share_rows_or_have_some_of_their_own():
    rows = shared(permuted(5), 3)(generator())
    assert torch.equal(rows, torch.randperm(5, generator=generator()).expand(3, 5))
    own = torch.tensor([[10, 10, 12], [20, 21, 22]])
    rows = among(own, permuted_by_member(3, 2))(generator())
    assert torch.equal(rows.sort(dim=1).values, own)
