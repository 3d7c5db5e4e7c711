"""Updates by Adam on a schedule, in a loop of the caller's."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from mbo_gym.nn.rows import RowPool, permuted
from mbo_gym.nn.trainer import Trainer, TrainingConfig
from mbo_gym.nn.training import train
from mbo_gym.nn.weights import build, draw_weights
from mbo_gym.progress.protocol import NullProgress


class Recorder(NullProgress):
    def __init__(self) -> None:
        self.seen: list[tuple[str, int, dict[str, float]]] = []
        self.bars: list[str] = []

    def track(self, items, description, total=None):
        self.bars.append(description)
        return iter(items)

    def metrics(self, stage, step, **values):
        self.seen.append((stage, step, values))


def one_number() -> nn.Module:
    module = nn.Module()
    module.p = nn.Parameter(torch.zeros(1))
    return module


@pytest.mark.parametrize("steps", [1, 2, 7, 300])
def test_the_annealed_rate_is_torchs_to_the_last_bit(steps):
    parameter = torch.zeros(1, requires_grad=True)
    adam = torch.optim.Adam([parameter], lr=3e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    config = TrainingConfig.plain(steps, 8, 3e-4)
    rates = config.rates()
    for step in range(steps):
        expected = adam.param_groups[0]["lr"]
        assert next(rates) == config.rate(step) == expected
        assert next(config.rates(step)) == expected
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # no update was made before
            schedule.step()


@pytest.mark.parametrize("decay", ["cosine", "none", "annealed"])
def test_all_rates_in_order_equal_each_on_its_own(decay):
    config = TrainingConfig(steps=30, warm_up=5, decay=decay)
    for start in (0, 3, 5, 17):
        rates = config.rates(start)
        assert [next(rates) for _ in range(start, 30)] == [config.rate(i) for i in range(start, 30)]


def test_a_loop_of_ones_own_makes_the_updates_of_train():
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    config = TrainingConfig(steps=25, batch_size=8, warm_up=3, ema=0.9, clip=0.5)
    networks = []
    for own in (False, True):
        network = build(lambda: nn.Linear(3, 1), torch.Generator().manual_seed(1))
        generator = torch.Generator().manual_seed(2)
        pool = RowPool(permuted(40), 8)
        if own:
            trainer = Trainer(network, config, stage="own")
            for _ in trainer.steps():
                trainer.update(network(x[pool.draw(generator)]).square().mean())
            trainer.finish()
        else:
            train(
                network,
                lambda rows, _, network=network: network(x[rows]).square().mean(),
                pool,
                config,
                seed=generator,
                device="cpu",
                progress=None,
            )
        networks.append(network)
    for ours, theirs in zip(*(n.parameters() for n in networks), strict=True):
        assert torch.equal(ours, theirs)
        assert not ours.requires_grad


def test_what_is_given_to_show_is_shown_about_fifty_times():
    module, recorder = one_number(), Recorder()
    trainer = Trainer(
        module,
        TrainingConfig.plain(101, 1, 0.1),
        stage="a",
        description="fitting a",
        progress=recorder,
    )
    for step in trainer.steps():
        trainer.update(module.p.sum(), gap=torch.tensor(float(step)), loss=module.p.sum())
    assert recorder.bars == ["fitting a"]
    assert [step for _, step, _ in recorder.seen] == list(range(0, 101, 2))
    assert all(values["gap"] == step for _, step, values in recorder.seen)
    assert {tuple(values) for _, _, values in recorder.seen} == {("gap", "loss")}


def test_two_networks_are_trained_in_turn_with_rates_and_moments_of_their_own():
    critic, maker = one_number(), one_number()
    config = TrainingConfig.plain(3, 1, 0.5, decay="none")
    judges = Trainer(critic, config, stage="critic", betas=(0.0, 0.9))
    makes = Trainer(maker, config, stage="maker")
    for _ in makes.steps():
        for _ in range(4):
            judges.update(-critic.p.sum(), gap=critic.p.sum())
        makes.update((maker.p * critic.p.detach()).sum(), gap=critic.p.sum())
    assert (judges.n_updates, makes.n_updates) == (12, 3)
    assert float(critic.p.detach()) == pytest.approx(12 * 0.5, rel=1e-4)
    assert judges.adam.param_groups[0]["betas"] == (0.0, 0.9)


def test_a_loss_with_metrics_of_its_own_may_become_nan():
    module = one_number()
    config = TrainingConfig.plain(2, 1, 0.1)
    trainer = Trainer(module, config, stage="a")
    nan = module.p.sum() * torch.nan
    trainer.update(nan, loss=nan)
    with pytest.raises(FloatingPointError, match="training a failed"):
        trainer.update(module.p.sum() * torch.nan)


def test_a_training_with_checkpoints_needs_a_number_of_rows_and_a_seed(tmp_path):
    with pytest.raises(ValueError, match="Pass rows and seed as whole numbers, got RowPool"):
        train(
            one_number(),
            lambda rows, _: torch.zeros(()),
            RowPool(permuted(4), 2),
            TrainingConfig(steps=1),
            seed=0,
            device="cpu",
            progress=None,
            checkpoints=tmp_path,
        )


def test_a_network_is_built_from_a_generator_alone():
    before = torch.get_rng_state()
    built = build(lambda: nn.Linear(3, 2), torch.Generator().manual_seed(4))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    other = nn.Linear(3, 2)
    draw_weights(other, torch.Generator().manual_seed(4))
    assert torch.equal(built.weight, other.weight)
    assert torch.equal(built.bias, other.bias)
