"""Trends: each kind is recovered and chosen where it holds, by leave-one-out."""

from __future__ import annotations

import pytest
import torch

from mbo_gym.surrogates.registry import load_surrogate, make_surrogate
from mbo_gym.surrogates.trend import KINDS, TrendConfig, TrendSurrogate

D = 5


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows(n: int, seed: int = 1) -> torch.Tensor:
    """Features with means and scales of their own."""
    scale = torch.linspace(0.01, 30, D, dtype=torch.float64)
    return normal(n, D, seed=seed) * scale + torch.arange(D) * 10


SLOPES, BEND, MATRIX = normal(D, seed=2), normal(D, seed=3), normal(D, D, seed=4)


def truth(kind: str, z: torch.Tensor) -> torch.Tensor:
    u = (z - torch.arange(D) * 10) / torch.linspace(0.01, 30, D, dtype=torch.float64)
    curved = {
        "linear": 0.0,
        "isotropic": 0.7 * u.square().sum(dim=1),
        "diagonal": u.square() @ BEND,
        "full": -(u @ MATRIX).square().sum(dim=1),
    }[kind]
    return 7 + u @ SLOPES + curved


@pytest.mark.parametrize("kind", ["linear", "diagonal", "full"])
def test_a_kind_is_chosen_where_it_holds_and_is_right_beyond_the_data(kind):
    z, far = rows(400), 2 * rows(50, seed=9)
    noise = 0.05 * normal(400, seed=5)
    trend = TrendSurrogate()
    trend.fit(z, truth(kind, z) + noise, seed=0)
    assert trend.chosen == kind
    assert trend.r2[kind] == max(trend.r2.values()) > 0.99
    wanted = truth(kind, far)
    assert float((trend.predict(far) - wanted).abs().max()) < 0.02 * float(wanted.std()) + 0.2
    assert trend.report.rank_correlation > 0.99


def test_an_isotropic_bowl_takes_one_curvature():
    z = normal(60, 20, seed=6)
    y = -z.square().sum(dim=1) + 3 * normal(60, seed=7)
    trend = TrendSurrogate()
    trend.fit(z, y, seed=0)
    assert trend.chosen == "isotropic"
    curvature = trend.state()["matrix"] / trend.state()["scale"].square()
    assert curvature.max() < -0.5
    gradient = trend.gradient(z[:5])
    assert torch.nn.functional.cosine_similarity(gradient, -z[:5]).min() > 0.9


def test_a_saddle_is_left_out_unless_it_is_asked_for():
    z = normal(300, 3, seed=6)
    y = -z.square().sum(dim=1) + 3 * z[:, 0] * z[:, 1] + 0.1 * normal(300, seed=7)
    trend = TrendSurrogate()
    trend.fit(z, y, seed=0)
    assert trend.chosen in ("isotropic", "diagonal")
    assert trend.r2["full"] > trend.r2[trend.chosen]
    saddle = TrendSurrogate(TrendConfig(concave=False))
    saddle.fit(z, y, seed=0)
    assert saddle.chosen == "full"
    assert float(torch.linalg.eigvalsh(saddle.state()["matrix"]).max()) > 0


def test_leave_one_out_is_exact():
    z = normal(30, 3, seed=8)
    y = z[:, 0] + normal(30, seed=9)
    trend = TrendSurrogate(TrendConfig(kinds=("linear",), held_out=0.0))
    trend.fit(z, y, seed=0)
    mean, scale = z.mean(0), z.std(0, correction=0)
    u = torch.cat([torch.ones(30, 1), (z - mean) / scale], dim=1)
    errors, each = [], []
    for ridge in torch.logspace(-8, 3, 23, dtype=torch.float64):
        penalty = 30 * ridge * torch.diag(torch.tensor([0.0, 1, 1, 1]).double())
        hat = u @ torch.linalg.solve(u.T @ u + penalty, u.T)
        left_out = (y - hat @ y) / (1 - hat.diagonal())
        errors.append(float(left_out.square().mean()))
        each.append(left_out)
    assert trend.r2["linear"] == pytest.approx(1 - min(errors) / float(y.var(correction=0)))
    best = each[errors.index(min(errors))]
    torch.testing.assert_close(trend.left_out.double(), best, atol=1e-5, rtol=1e-4)


def test_rows_count_by_their_weight():
    z = torch.linspace(-1, 1, 40, dtype=torch.float64)[:, None]
    y = torch.where(torch.arange(40) % 2 == 0, z[:, 0], -z[:, 0])
    trend = TrendSurrogate(TrendConfig(kinds=("linear",), held_out=0.0))
    trend.row_weight = torch.where(torch.arange(40) % 2 == 0, 1.95, 0.05)
    trend.fit(z, y, seed=0)
    assert float(trend.gradient(z[:1])) > 0.8


def test_a_constant_feature_has_no_slope():
    z = torch.cat([normal(50, 2, seed=1), torch.full((50, 1), 3.0)], dim=1)
    trend = TrendSurrogate()
    trend.fit(z, z[:, 0], seed=0)
    gradient = trend.gradient(z[:4])
    assert torch.isfinite(gradient).all()
    assert gradient[:, 2].abs().max() == 0


def test_a_full_quadratic_is_left_out_beyond_its_limit():
    trend = TrendSurrogate(TrendConfig(max_features=4))
    trend.fit(rows(100), truth("full", rows(100)), seed=0)
    assert list(trend.r2) == list(KINDS[:3])


def test_it_comes_back_from_a_file(tmp_path):
    trend = make_surrogate("trend")
    trend.fit(rows(80), truth("diagonal", rows(80)), seed=0)
    trend.save(tmp_path / "t.safetensors")
    again = load_surrogate(tmp_path / "t.safetensors")
    assert (again.chosen, again.kind) == (trend.chosen, "trend")
    assert torch.equal(again.predict(rows(9)), trend.predict(rows(9)))


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="cubic"):
        TrendConfig(kinds=("linear", "cubic"))
    with pytest.raises(ValueError, match="another beside full"):
        TrendConfig(kinds=("full",))


def test_r2_counts_rows_by_their_weight():
    z = normal(200, 1, seed=1)
    noise = torch.where(torch.arange(200) % 2 == 0, 0.0, 20.0)
    y = z[:, 0] + noise * normal(200, seed=2)
    trend = TrendSurrogate(TrendConfig(kinds=("linear",), held_out=0.0))
    trend.row_weight = torch.where(noise > 0, 1e-4, 2.0)
    trend.fit(z, y, seed=0)
    assert 0.9 < trend.r2["linear"] < 1
    trend.row_weight = None
    trend.fit(z, y, seed=0)
    assert trend.r2["linear"] < 0.1
