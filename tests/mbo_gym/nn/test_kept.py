"""Trainings that a block keeps: stopped anywhere, they end with the same bits, and nothing else is
taken for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mbo_gym.files import store
from mbo_gym.nn.checkpoints import CHECKPOINT, Pace, next_folder, trainings_kept
from mbo_gym.nn.rows import RowPool, permuted
from mbo_gym.nn.training import TrainingConfig, train
from mbo_gym.progress.protocol import NullProgress

STEPS = 40


class Stopped(Exception):
    pass


class Shown(NullProgress):
    def __init__(self) -> None:
        self.values: list[tuple[str, int, dict[str, float]]] = []

    def metrics(self, stage: str, step: int, **values: float) -> None:
        self.values.append((stage, step, values))


def fit(
    config: TrainingConfig,
    *,
    own: bool = False,
    scale: float = 1.0,
    dropout: float = 0.0,
    named: bool = False,
    stop: int | None = None,
) -> tuple[dict[str, Tensor], list[Any], int]:
    """Train on 50 rows; return weights, what was shown, and how often the loss was asked for.

    Args:
        config: Settings of the training.
        own: Whether rows and generator are the caller's, who goes on with the generator.
        scale: Scale of the targets.
        dropout: Share of hidden numbers that are dropped.
        named: Whether the loss names its metrics.
        stop: Number of the loss at which the process ends, from 1.
    """
    torch.manual_seed(0)
    x = torch.randn(50, 3)
    y = scale * x.sum(dim=1)
    module = nn.Sequential(nn.Linear(3, 8), nn.Dropout(dropout), nn.Tanh(), nn.Linear(8, 1))
    calls, shown = 0, Shown()

    def loss(rows: Tensor, generator: torch.Generator) -> Any:
        nonlocal calls
        calls += 1
        if calls == stop:
            raise Stopped
        noise = torch.randn(len(rows), generator=generator)
        value = (module(x[rows])[:, 0] - y[rows] - 0.1 * noise).square().mean()
        return (value, {"loss": value}) if named else value

    generator = torch.Generator().manual_seed(1)
    rows = RowPool(permuted(50), config.batch_size) if own else 50
    train(module, loss, rows, config, seed=generator if own else 1, device="cpu", progress=shown)
    weights = dict(module.state_dict())
    if own:
        weights["after"] = torch.rand(3, generator=generator)
    return weights, shown.values, calls


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


CONFIGS = {
    "averaged": TrainingConfig(STEPS, 16, warm_up=5, ema=0.9),
    "annealed": TrainingConfig.plain(STEPS, 16, 1e-2),
    "constant": TrainingConfig.plain(STEPS, 16, 1e-2, decay="none", clip=1.0),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("settings", [{"own": True}, {"dropout": 0.5}, {"named": True}], ids=str)
@pytest.mark.parametrize("stop", [2, 17, STEPS])
def test_a_stopped_training_goes_on_and_ends_with_the_same_bits(tmp_path, config, settings, stop):
    whole, shown, _ = fit(config, **settings)
    with trainings_kept(tmp_path, seconds=0.0), pytest.raises(Stopped):
        fit(config, **settings, stop=stop)
    with trainings_kept(tmp_path, seconds=0.0):
        weights, shown_again, calls = fit(config, **settings)
    assert same(weights, whole)
    assert shown_again == shown
    assert calls == 1 + STEPS - (stop - 1)  # the first loss once more, then the rest
    with trainings_kept(tmp_path, seconds=0.0):
        weights, shown_again, calls = fit(config, **settings)
    assert same(weights, whole)
    assert (shown_again, calls) == (shown, 1)


def test_keeping_changes_nothing(tmp_path):
    for config in CONFIGS.values():
        with trainings_kept(tmp_path / "kept", seconds=0.0):
            assert next_folder() is not None
            kept = fit(config, own=True)
        plain = fit(config, own=True)
        assert same(kept[0], plain[0])
        assert kept[1:] == plain[1:]


@pytest.mark.parametrize(
    "other", [{"scale": 2.0}, {"dropout": 0.3, "named": True}], ids=["data", "loss"]
)
def test_another_training_in_its_place_begins_anew(tmp_path, other):
    config = CONFIGS["averaged"]
    with trainings_kept(tmp_path, seconds=0.0), pytest.raises(Stopped):
        fit(config, stop=20)
    with trainings_kept(tmp_path, seconds=0.0):
        weights, shown, calls = fit(config, **other)
    expected, expected_shown, _ = fit(config, **other)
    assert same(weights, expected)
    assert shown == expected_shown
    assert calls == STEPS + 1


def test_other_weights_or_settings_are_not_even_tried(tmp_path):
    with trainings_kept(tmp_path, seconds=0.0), pytest.raises(Stopped):
        fit(CONFIGS["averaged"], stop=20)
    with trainings_kept(tmp_path, seconds=0.0):
        assert fit(CONFIGS["annealed"])[2] == STEPS


def test_a_damaged_checkpoint_does_not_count(tmp_path):
    config = CONFIGS["averaged"]
    with trainings_kept(tmp_path, seconds=0.0), pytest.raises(Stopped):
        fit(config, stop=20)
    (path,) = tmp_path.rglob(CHECKPOINT)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with trainings_kept(tmp_path, seconds=0.0):
        weights, _, calls = fit(config)
    assert same(weights, fit(config)[0])
    assert calls == STEPS


def test_trainings_are_told_apart_also_where_the_cache_spares_some(tmp_path, monkeypatch):
    monkeypatch.setenv(store.ENVIRONMENT_VARIABLE, str(tmp_path / "data"))
    config, scales = CONFIGS["annealed"], (1.0, 2.0, 3.0)

    def build(path: Path) -> None:
        fit(config, scale=1.0)
        path.write_text("fitted")

    def whole(stop: int | None = None) -> list[tuple[dict[str, Tensor], list[Any], int]]:
        store.cached_file("surrogate-test", build)
        return [fit(config, scale=s, stop=stop if s == 3.0 else None) for s in scales]

    expected = [fit(config, scale=scale) for scale in scales]
    with trainings_kept(tmp_path / "kept", seconds=0.0), pytest.raises(Stopped):
        whole(stop=20)
    with trainings_kept(tmp_path / "kept", seconds=0.0):
        found = whole()
    assert all(same(one[0], other[0]) for one, other in zip(found, expected, strict=True))
    assert [calls for _, _, calls in found] == [1, 1, 1 + STEPS - 19]


def test_short_trainings_write_nothing_and_long_ones_at_their_pace(monkeypatch):
    now = 0.0
    monkeypatch.setattr("mbo_gym.nn.checkpoints.time.monotonic", lambda: now)
    pace = Pace(30.0)
    now = 0.5
    assert not pace.due()
    assert not pace.due(end=True)
    now = 29.0
    assert not pace.due()
    now = 31.0
    assert pace.due()
    assert not pace.due()
    assert pace.due(end=True)


def test_nothing_is_kept_outside_a_block_nor_without_a_folder(tmp_path):
    assert next_folder() is None
    with trainings_kept(None):
        assert next_folder() is None
    with trainings_kept(tmp_path):
        folder, _ = next_folder()
        assert folder.parent == tmp_path
    assert next_folder() is None
