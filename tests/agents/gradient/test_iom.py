"""IOM: the moving set step by step, the discriminator's loss by hand, what invariance does, its
surrogate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mbo_gym
from agents.gradient.iom import (
    IOM,
    IOMConfig,
    IOMSurrogate,
    IOMSurrogateConfig,
    discriminator_loss,
)
from helpers import assert_reads_what_it_saved, with_leaves
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.methods.ascent import ascend, best_rows
from mbo_gym.methods.base import Context
from mbo_gym.progress.protocol import NullProgress

SMALL = {
    "hidden": 16,
    "train_steps": 40,
    "batch_size": 64,
    "representation": 8,
    "discriminator": 16,
    "designs": 12,
}


def data(n: int = 300, d: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(0))
    return z, 2 + 3 * z[:, 0] - z[:, 1].square()


def fitted(seed: int = 0, **settings) -> IOMSurrogate:
    surrogate = IOMSurrogate(IOMSurrogateConfig(**{**SMALL, **settings}))
    surrogate.fit(*data(), seed=seed)
    return surrogate


def z_of_the_best(n: int) -> torch.Tensor:
    z, y = data()
    return z[y.argsort(descending=True)[:n]]


@pytest.mark.parametrize("updates", [1, 2, 15])
def test_the_moving_set_climbs_by_one_step_an_update_through_the_representation(updates):
    still = fitted(
        train_steps=updates, learning_rate=0.0, step_size=0.2
    )  # the network stands still: plain ascent
    ends = ascend(
        still, z_of_the_best(12), "plain", updates, 0.2, box=None, progress=NullProgress()
    )
    torch.testing.assert_close(still.designs, ends)
    assert float(still.predict(ends).mean()) > float(still.predict(z_of_the_best(12)).mean())


def test_its_prediction_is_the_predictor_of_the_normalised_representation():
    surrogate = fitted(layers=1)
    state = {key: value.double().numpy() for key, value in surrogate.state().items()}
    z, y = data()
    h = z[:7].double().numpy()
    h = (
        np.maximum(h @ state["weight.0"][0] + state["bias.0"][0], 0) @ state["weight.1"][0]
        + state["bias.1"][0]
    )
    h /= np.linalg.norm(h, axis=1, keepdims=True)
    assert h.shape == (7, 8)
    np.testing.assert_allclose(surrogate.represent(z[:7]), h, atol=1e-5)
    last = np.maximum(h @ state["weight.2"][0] + state["bias.2"][0], 0)
    np.testing.assert_allclose(surrogate.hidden(z[:7]), last, atol=1e-5)
    f = (last @ state["weight.3"][0] + state["bias.3"][0])[:, 0]
    np.testing.assert_allclose(
        surrogate.predict(z[:7]), float(y.mean()) + float(y.std(correction=0)) * f, rtol=1e-4
    )


def test_the_discriminators_loss_by_hand():
    got = discriminator_loss(torch.tensor([1.0, 0.5]), torch.tensor([0.0, 0.5, 0.1]))
    assert float(got) == pytest.approx(0.5 * (0 + 0.25) / 2 + 0.5 * (0 + 0.25 + 0.01) / 3)
    assert float(discriminator_loss(torch.ones(3), torch.zeros(2))) == 0  # told apart


def gap_between_representations(surrogate: IOMSurrogate) -> float:
    data_mean, moved_mean = (
        surrogate.represent(z).mean(dim=0) for z in (data()[0], surrogate.designs)
    )
    return float((data_mean - moved_mean).norm())


def test_invariance_brings_the_moving_sets_representation_to_the_datas():
    settings = {"train_steps": 200, "learning_rate": 2e-3}
    gaps = [
        gap_between_representations(fitted(invariance=weight, **settings)) for weight in (0.0, 5.0)
    ]
    assert gaps[1] < gaps[0] / 2


def test_the_discriminator_matters_only_through_the_invariance():
    z = data()[0]
    with_none = [fitted(invariance=0.0, discriminator_rate=rate).predict(z) for rate in (0.0, 1e-2)]
    assert torch.equal(*with_none)
    with_some = [fitted(invariance=1.0, discriminator_rate=rate).predict(z) for rate in (0.0, 1e-2)]
    assert not torch.allclose(*with_some)


def test_it_predicts_held_out_rows():
    assert fitted(train_steps=200, learning_rate=2e-3).report.rank_correlation > 0.9


def test_the_data_box_holds_the_moving_set():
    z = data()[0]
    free, boxed = fitted(step_size=20.0), fitted(step_size=20.0, bounds="data")
    assert float(free.designs.abs().max()) > float(z.abs().max())
    assert (boxed.designs <= z.amax(dim=0)).all()
    assert (boxed.designs >= z.amin(dim=0)).all()


def test_the_moving_set_is_shown_before_each_update_and_at_the_end():
    seen = []
    surrogate = IOMSurrogate(
        IOMSurrogateConfig(**SMALL), lambda step, z, value: seen.append((step, z.clone(), value))
    )
    surrogate.fit(*data(), seed=0)
    assert [step for step, _, _ in seen] == [*range(41)]
    torch.testing.assert_close(seen[0][1], z_of_the_best(12))
    assert torch.equal(seen[-1][1], surrogate.designs)
    torch.testing.assert_close(seen[-1][2], surrogate.predict(surrogate.designs))


def test_the_best_distinct_rows_come_first_and_equal_scores_keep_their_order():
    z = torch.tensor([[0.0], [1.0], [2.0], [1.0], [3.0]])
    y = torch.tensor([1.0, 5.0, 3.0, 4.0, 3.0])
    assert best_rows(z, y, 3).tolist() == [1, 2, 4]
    assert best_rows(z, y, 9).tolist() == [1, 2, 4, 0]


def test_saved_and_read_it_predicts_the_same(tmp_path):
    assert_reads_what_it_saved("iom", IOMSurrogate, SMALL, *data(), tmp_path / "model.safetensors")


@pytest.fixture(scope="module")
def branin():
    return mbo_gym.make_task("Branin-Exact-v0", max_rows=200).problem()


def test_it_proposes_the_moving_set_and_climbs_more_where_more_are_asked_for(branin):
    method = IOM(IOMConfig(IOMSurrogateConfig(**SMALL)))
    method.fit(branin, Context(0))
    encoder = make_encoder(branin)
    moved = encoder.decode(method.surrogate.designs.numpy())
    x = method.propose(12).x
    assert {tuple(row) for row in x} == {tuple(row) for row in moved}
    np.testing.assert_array_equal(method.propose(3).x, x[:3])
    proposals = method.propose(30)
    many = proposals.x
    assert {tuple(row) for row in moved} < {tuple(row) for row in many}
    assert proposals.criterion.shape == (30,)
    assert (np.diff(proposals.criterion) <= 0).all()
    starts = torch.from_numpy(encoder.encode(branin.dataset.top(30).x))[12:]
    ends = ascend(
        method.surrogate, starts, "plain", 40, 0.05 * 2**0.5, box=None, progress=NullProgress()
    )
    rest = {tuple(row) for row in many} - {tuple(row) for row in moved}
    assert rest == {tuple(row) for row in encoder.decode(ends.numpy())}


def test_a_loaded_method_proposes_the_moving_set_and_climbs_on_as_before(branin, tmp_path):
    method = IOM(IOMConfig(IOMSurrogateConfig(**SMALL)))
    method.fit(branin, Context(0))
    method.save(tmp_path)
    again = mbo_gym.load_method(tmp_path)
    assert torch.equal(again.surrogate.designs, method.surrogate.designs)
    for k in (3, 12, 30):
        np.testing.assert_array_equal(again.propose(k).x, method.propose(k).x)


def test_the_step_of_the_moving_set():
    assert IOMSurrogateConfig().step(16) == pytest.approx(0.2)
    assert IOMSurrogateConfig(step_size=0.5).step(16) == 0.5


@pytest.mark.parametrize(
    "settings",
    [
        {"representation": 0},
        {"discriminator": 1},
        {"designs": 0},
        {"invariance": -1.0},
        {"hidden": 0},
    ],
)
def test_settings_without_meaning_are_refused(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be"):
        with_leaves(IOMConfig(), **settings)
