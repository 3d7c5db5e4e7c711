"""The offline-RL learner: its mini-batches by hand, its eight algorithms, its checkpoints and its
log."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.rl import learner as offline
from agents.rl.data import Episodes
from agents.rl.learner import policy_actions, policy_network, third_party_seed, train_offline
from agents.rl.learner_config import Algorithm, OfflineConfig
from helpers import d3rlpy_or_skip
from mbo_gym.errors import DamagedFile, MissingDependency
from mbo_gym.files import store
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.trajectories.batch import TrajectoryBatch

SMALL = {"train_steps": 10, "batch_size": 32, "hidden": 16}
ALGORITHMS = get_args(Algorithm)
each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


@pytest.fixture(scope="module", autouse=True)
def d3rlpy():
    return d3rlpy_or_skip()


@pytest.fixture(scope="module")
def episodes() -> Episodes:
    """Return 5 episodes of 4 steps, 3 observed numbers and 2 actions each; every observed number is
    different."""
    observations = torch.arange(5 * 5 * 3, dtype=torch.float32).view(5, 5, 3) / 40 - 1
    actions = torch.linspace(-0.9, 0.9, 40)[torch.randperm(40, generator=seeded())].view(5, 4, 2)
    return Episodes(observations, actions, torch.randn(5, 4, generator=seeded(1)))


@pytest.fixture(scope="module")
def counting() -> Episodes:
    """Return 3 episodes of 4 steps; row b is rewarded (b + 1) times 1, 10, 100, 1000."""
    rewards = torch.tensor([1.0, 10.0, 100.0, 1000.0]) * torch.arange(1.0, 4.0).unsqueeze(1)
    observations = torch.arange(3 * 5 * 2, dtype=torch.float32).view(3, 5, 2)
    return Episodes(observations, torch.linspace(-1, 1, 12).view(3, 4, 1), rewards)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Notes(NullProgress):
    """Keeps the metrics; interrupts the training after so many updates."""

    def __init__(self, stop_after: int | None = None):
        self.seen, self.stop_after = [], stop_after

    def track(self, items, description, total=None):
        for done, item in enumerate(items):
            if done == self.stop_after:
                raise KeyboardInterrupt
            yield item

    def metrics(self, stage, step, **values):
        self.seen.append((stage, step, values))

    @property
    def steps(self) -> list[int]:
        return [step for _, step, _ in self.seen]


class Drawn:
    """Stands in for numpy's generator: hands out the rows, then the steps it was given."""

    def __init__(self, rows: Sequence[int], steps: Sequence[int]):
        self.left, self.limits = [rows, steps], []

    def integers(self, limit: int, size: int) -> np.ndarray:
        self.limits.append(limit)
        drawn = np.asarray(self.left.pop(0))
        assert len(drawn) == size
        return drawn


def train(episodes, *, seed=0, progress=None, snapshots=None, **settings):
    config = OfflineConfig(**{**SMALL, **settings})
    progress = progress or NullProgress()
    return train_offline(
        episodes, config, seed=seed, device="cpu", progress=progress, snapshots=snapshots
    )


def weights(algo) -> Tensor:
    return torch.cat([p.detach().flatten() for p in policy_network(algo).parameters()])


def everything(algo) -> Tensor:
    """Return all that was learned: policy, critics, their slow copies, temperatures, optimisers'
    moments."""
    states = [module.state_dict() for module in algo.impl._checkpointer.modules.values()]
    return torch.cat([tensor.double().flatten() for tensor in tensors_in(states)])


def tensors_in(found) -> list[Tensor]:
    if isinstance(found, Tensor):
        return [found]
    inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else []
    return [tensor for part in inner for tensor in tensors_in(part)]


def mini_batch(d3rlpy, episodes, rows, steps, **settings):
    config = OfflineConfig(batch_size=len(rows), **settings)
    return offline._mini_batch(d3rlpy, episodes, config, Drawn(rows, steps))


@each_algorithm
def test_it_trains_and_reports_its_losses(episodes, algorithm):
    notes = Notes()
    algo = train(episodes, algorithm=algorithm, progress=notes)
    assert [(stage, step) for stage, step, _ in notes.seen] == [
        ("offline_rl", step) for step in range(1, 11)
    ]
    names = set().union(*(values for _, _, values in notes.seen))
    alone = algorithm in ("bc", "dt")  # one network learns
    assert names >= ({"loss"} if alone else {"critic_loss", "actor_loss"})
    assert all(np.isfinite(value) for _, _, values in notes.seen for value in values.values())
    if algorithm == "dt":
        return  # acts on whole episodes, see test_transformer.py
    actions = policy_actions(algo, 100 * episodes.observations[:, 0])
    assert actions.shape == (5, 2)
    assert float(actions.abs().max()) <= 1
    assert not actions.requires_grad
    assert torch.equal(actions, policy_actions(algo, 100 * episodes.observations[:, 0]))


@each_algorithm
def test_the_seed_decides_the_policy_and_training_changes_it(episodes, algorithm):
    first, again, other = (train(episodes, algorithm=algorithm, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(everything(first), everything(again))
    assert not torch.equal(weights(first), weights(other))
    untrained = train(episodes, algorithm=algorithm, seed=1, train_steps=0)
    assert not torch.equal(weights(untrained), weights(first))


@each_algorithm
def test_behaviour_cloning_alone_ignores_the_rewards(episodes, algorithm):
    worse = replace(episodes, rewards=-3 * episodes.rewards)
    same = torch.equal(
        weights(train(episodes, algorithm=algorithm)), weights(train(worse, algorithm=algorithm))
    )
    assert same == (algorithm == "bc")


@pytest.mark.parametrize(
    ("algorithm", "field", "value"),
    [
        ("cql", "discount", 0.1),
        ("cql", "learning_rate", 1e-2),
        ("cql", "conservative_weight", 50.0),
        ("cql", "n_action_samples", 1),
        ("cql", "hidden", 8),
        ("cql", "batch_size", 8),
        ("iql", "n_step", 3),
        ("iql", "average_rewards", True),
        ("td3bc", "greed", 20.0),
        ("bc", "learning_rate", 1e-2),
    ],
)
def test_every_setting_reaches_the_learner(episodes, algorithm, field, value):
    plain = weights(train(episodes, algorithm=algorithm))
    changed = weights(train(episodes, algorithm=algorithm, **{field: value}))
    assert plain.shape != changed.shape or not torch.equal(plain, changed)


def test_the_learners_own_config_is_d3rlpys(d3rlpy):
    config = OfflineConfig(
        discount=0.9, conservative_weight=3.0, n_action_samples=6, learning_rate=2e-3, greed=7.0
    )
    made = {
        name: offline._create(d3rlpy, replace(config, algorithm=name), "cpu", 4).config
        for name in ALGORITHMS
    }
    assert {name: type(settings).__name__ for name, settings in made.items()} == {
        "cql": "CQLConfig", "iql": "IQLConfig", "td3bc": "TD3PlusBCConfig",
        "rebrac": "ReBRACConfig", "bc": "BCConfig", "sac": "SACConfig", "awac": "AWACConfig",
        "dt": "DecisionTransformerConfig",
    }  # fmt: skip
    assert made.pop("bc").learning_rate == made.pop("dt").learning_rate == 2e-3
    for settings in made.values():
        assert (settings.gamma, settings.batch_size) == (0.9, 256)
        assert settings.actor_learning_rate == settings.critic_learning_rate == 2e-3
    assert (made["cql"].conservative_weight, made["cql"].n_action_samples) == (3.0, 6)
    assert made["cql"].alpha_learning_rate == 0  # the conservative weight stays what it is
    assert made["td3bc"].alpha == 7.0


def test_settings_that_cannot_be_are_refused():
    for wrong in (
        {"batch_size": 0},
        {"n_step": 0},
        {"hidden": 0},
        {"train_steps": -1},
        {"discount": -0.1},
    ):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least"):
            OfflineConfig(**wrong)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_mini_batch_holds_the_transitions_of_the_episodes(d3rlpy, counting, terminal):
    rows, steps = [0, 1, 2, 1], [0, 3, 3, 1]
    mini = mini_batch(d3rlpy, replace(counting, terminal=terminal), rows, steps)
    for i, (b, t) in enumerate(zip(rows, steps, strict=True)):
        np.testing.assert_array_equal(mini.observations[i], counting.observations[b, t])
        np.testing.assert_array_equal(mini.next_observations[i], counting.observations[b, t + 1])
        np.testing.assert_array_equal(mini.actions[i], counting.actions[b, t])
        np.testing.assert_array_equal(mini.rewards[i], [counting.rewards[b, t]])
        if t < 3:
            np.testing.assert_array_equal(mini.next_actions[i], counting.actions[b, t + 1])
    assert mini.terminals.tolist() == ([[0], [1], [1], [0]] if terminal else [[0]] * 4)
    assert mini.intervals.tolist() == [[1]] * 4
    arrays = (
        mini.observations,
        mini.actions,
        mini.rewards,
        mini.next_observations,
        mini.next_actions,
    )
    assert {array.dtype for array in (*arrays, mini.terminals, mini.intervals)} == {
        np.dtype(np.float32)
    }


@pytest.mark.parametrize("terminal", [False, True])
def test_rewards_of_several_steps_by_hand(d3rlpy, counting, terminal):
    # gamma = 1/2, three steps: 1 + 10/2 + 100/4 = 31; from the next step 10 + 50 + 250 = 310, which
    # ends the episode;
    # then two rewards are left, 100 + 500, and one, 1000. Row 1 earns twice as much.
    episodes = replace(counting, terminal=terminal)
    mini = mini_batch(d3rlpy, episodes, [0, 0, 0, 0, 1], [0, 1, 2, 3, 0], n_step=3, discount=0.5)
    assert mini.rewards.tolist() == [[31], [310], [600], [1000], [62]]
    assert mini.intervals.tolist() == [[3], [3], [2], [1], [3]]
    assert mini.terminals.tolist() == ([[0], [1], [1], [1], [0]] if terminal else [[0]] * 5)
    np.testing.assert_array_equal(
        mini.next_observations, counting.observations[[0, 0, 0, 0, 1], [3, 4, 4, 4, 3]]
    )
    np.testing.assert_array_equal(mini.next_actions[[0, 4]], counting.actions[[0, 1], [3, 3]])
    longer = mini_batch(
        d3rlpy, episodes, [0, 0], [0, 3], n_step=9, discount=0.5
    )  # longer than the episode
    assert longer.rewards.tolist() == [[156], [1000]]  # 1 + 5 + 25 + 125
    assert longer.intervals.tolist() == [[4], [1]]


def test_rewards_and_end_flags_are_averaged_over_the_mini_batch(d3rlpy, counting):
    episodes, rows, steps = replace(counting, terminal=True), [0, 1, 2, 0], [0, 1, 3, 3]
    plain = mini_batch(d3rlpy, episodes, rows, steps)
    mean = mini_batch(d3rlpy, episodes, rows, steps, average_rewards=True)
    assert plain.rewards.tolist() == [[1], [20], [3000], [1000]]
    assert mean.rewards.tolist() == [[1005.25]] * 4
    assert mean.terminals.tolist() == [[0.5]] * 4
    for name in ("observations", "actions", "next_observations", "next_actions", "intervals"):
        np.testing.assert_array_equal(getattr(mean, name), getattr(plain, name))


def test_averaged_rewards_have_the_gradient_of_the_broadcast_that_they_stand_for(d3rlpy, counting):
    # The broadcast: rewards and end flags (N, 1) against values (N,) give targets (N, N), and the
    # loss is the mean of
    # (Q_j - target_ij)^2. Here Q is a table with one number for each state of the mini-batch.
    episodes, rows, steps, discount = (
        replace(counting, terminal=True),
        [0, 1, 2, 0, 0],
        [0, 1, 3, 3, 2],
        0.9,
    )
    plain = mini_batch(d3rlpy, episodes, rows, steps)
    mean = mini_batch(d3rlpy, episodes, rows, steps, average_rewards=True)
    table, next_value = torch.randn(2, 5, generator=seeded(), dtype=torch.float64)
    table.requires_grad_()

    def loss(rewards: np.ndarray, terminals: np.ndarray) -> tuple[Tensor, Tensor]:
        going_on = 1 - torch.from_numpy(terminals).double()
        target = torch.from_numpy(rewards).double() + discount * going_on * next_value
        value = (table - target).square().mean()
        return value.detach(), torch.autograd.grad(value, table)[0]

    broadcast, its_gradient = loss(
        plain.rewards, plain.terminals
    )  # (5, 1) against (5,): 25 targets
    averaged, gradient = loss(mean.rewards[:, 0], mean.terminals[:, 0])
    _, proper = loss(plain.rewards[:, 0], plain.terminals[:, 0])
    torch.testing.assert_close(gradient, its_gradient)
    assert not torch.allclose(gradient, proper)  # what a critic that sees each reward would get
    assert averaged < broadcast  # by the variance of the targets, which no table can change


def test_mini_batches_cover_every_transition(d3rlpy, episodes, monkeypatch):
    drawn, original = [], offline._mini_batch

    def note(*arguments):
        drawn.append(original(*arguments))
        return drawn[-1]

    monkeypatch.setattr(offline, "_mini_batch", note)
    train(episodes, algorithm="bc", train_steps=30)
    seen = np.concatenate([mini.observations for mini in drawn])
    states, counts = np.unique(seen, axis=0, return_counts=True)
    np.testing.assert_array_equal(
        states, episodes.observations[:, :-1].reshape(20, 3)
    )  # all but the last ones
    assert counts.sum() == 30 * 32
    assert counts.min() > 15  # 48 each on average


def test_episodes_of_trajectories_are_their_designs_actions_and_rewards():
    z, y = torch.randn(2, 4, 3, generator=seeded()), torch.zeros(2, 4)
    batch = TrajectoryBatch(z, y, actions=torch.ones(2, 3, 3), rewards=torch.arange(6.0).view(2, 3))
    episodes = Episodes.of(batch, terminal=True)
    assert episodes.observations is batch.z
    assert episodes.actions is batch.actions
    assert episodes.rewards is batch.rewards
    assert (episodes.terminal, Episodes.of(batch).terminal) == (True, False)
    with pytest.raises(ValueError, match="no actions yet"):
        Episodes.of(TrajectoryBatch(z, y))


@pytest.mark.parametrize("algorithm", ["cql", "td3bc"])
def test_snapshots_hold_the_policy_after_the_steps_asked_for(episodes, algorithm):
    snapshots = dict.fromkeys((3, 7, 10))
    algo = train(episodes, algorithm=algorithm, snapshots=snapshots)
    for step, kept in snapshots.items():
        shorter = train(episodes, algorithm=algorithm, train_steps=step)
        expected = shorter.impl.policy.state_dict()
        assert kept.keys() == expected.keys()
        assert all(torch.equal(kept[key], expected[key]) for key in kept)
    assert not torch.equal(torch.cat([v.flatten() for v in snapshots[3].values()]), weights(algo))


# --------------------------------------------------------------------------------------------------
# checkpoints


@pytest.mark.parametrize("algorithm", ["cql", "td3bc", "iql"])
def test_a_training_taken_up_again_ends_in_the_same_weights(episodes, algorithm, tmp_path):
    whole = train(episodes, algorithm=algorithm)
    settings = {"algorithm": algorithm, "checkpoints": str(tmp_path)}
    with pytest.raises(KeyboardInterrupt):
        train(
            episodes, progress=Notes(stop_after=5), **settings
        )  # five: TD3's actor waits for every other update
    torch.manual_seed(99)
    notes = Notes()
    resumed = train(episodes, progress=notes, **settings)
    assert notes.steps == [6, 7, 8, 9, 10]
    assert torch.equal(everything(resumed), everything(whole))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step_10.d3",
        "step_10.json",
        "step_10.pt",
    ]


def test_training_is_saved_ten_times_on_its_way_and_at_the_end(episodes, tmp_path, monkeypatch):
    saved, original = [], store.write_atomic
    monkeypatch.setattr(
        store,
        "write_atomic",
        lambda path, content: saved.append(path.name) or original(path, content),
    )
    train(episodes, algorithm="bc", train_steps=31, checkpoints=str(tmp_path))
    kept = [int(name[5:-5]) for name in saved if name.endswith(".json")]
    assert kept == [3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 31]


def test_a_finished_training_is_not_trained_any_further_but_can_be_made_longer(episodes, tmp_path):
    settings = {"algorithm": "iql", "checkpoints": str(tmp_path)}
    first = train(episodes, train_steps=6, **settings)
    again, notes = Notes(), Notes()
    assert torch.equal(
        everything(train(episodes, train_steps=6, progress=again, **settings)), everything(first)
    )
    assert again.steps == []
    longer = train(episodes, train_steps=10, progress=notes, **settings)
    assert notes.steps == [7, 8, 9, 10]
    assert torch.equal(
        everything(longer), everything(train(episodes, algorithm="iql", train_steps=10))
    )


def test_a_checkpoint_of_another_training_is_refused(episodes, tmp_path):
    settings = {"algorithm": "bc", "train_steps": 2, "checkpoints": str(tmp_path)}
    train(episodes, **settings)
    others = {
        "seed": {"seed": 1},
        "rewards": {"episodes": replace(episodes, rewards=episodes.rewards + 1)},
        "actions": {"episodes": replace(episodes, actions=episodes.actions / 2)},
        "observations": {"episodes": replace(episodes, observations=-episodes.observations)},
        "end": {"episodes": replace(episodes, terminal=True)},
        "algorithm": {"algorithm": "iql"},
        "learning rate": {"learning_rate": 1e-2},
    }
    for other in others.values():
        with pytest.raises(
            ValueError,
            match="checkpoint of a training with other data, settings or seed; choose ano",
        ):
            train(**{"episodes": episodes, **settings, **other})
    train(
        episodes, **{**settings, "tensorboard": None, "train_steps": 3}
    )  # where it is logged and how long it is


def test_a_checkpoint_with_more_updates_than_are_asked_for_is_refused(episodes, tmp_path):
    settings = {"algorithm": "bc", "checkpoints": str(tmp_path)}
    train(episodes, train_steps=4, **settings)
    with pytest.raises(
        ValueError, match="of 4 updates, more than train_steps=3; choose another folder"
    ):
        train(episodes, train_steps=3, **settings)


def test_a_half_written_checkpoint_does_not_count(episodes, tmp_path, monkeypatch):
    settings = {"algorithm": "iql", "checkpoints": str(tmp_path)}
    original = store.write_atomic

    def full_disk(path, content):
        if path.name == "step_7.json":
            raise OSError("No space left on device")
        return original(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_atomic", full_disk)
        with pytest.raises(OSError, match="No space"):
            train(episodes, **settings)
    (tmp_path / ".step_8.json.abc.partial").write_text("{")  # what a killed process leaves
    assert {path.name for path in tmp_path.glob("step_7*")} == {"step_7.pt", "step_7.d3"}
    notes = Notes()
    resumed = train(episodes, progress=notes, **settings)
    assert notes.steps == [7, 8, 9, 10]
    assert torch.equal(everything(resumed), everything(train(episodes, algorithm="iql")))
    assert sorted(path.name for path in tmp_path.glob("step_*")) == [
        "step_10.d3",
        "step_10.json",
        "step_10.pt",
    ]


def test_snapshots_from_before_an_interruption_are_there_again(episodes, tmp_path):
    settings = {"algorithm": "td3bc", "checkpoints": str(tmp_path)}
    whole, first, again = (dict.fromkeys((3, 6, 10)) for _ in range(3))
    train(episodes, algorithm="td3bc", snapshots=whole)
    with pytest.raises(KeyboardInterrupt):
        train(episodes, progress=Notes(stop_after=5), snapshots=first, **settings)
    train(episodes, snapshots=again, **settings)
    for step, kept in whole.items():
        assert kept.keys() == again[step].keys()
        assert all(torch.equal(kept[key], again[step][key]) for key in kept)
    with pytest.raises(
        ValueError, match=r"no snapshot of the policy after 4 updates.*step_10; remove the folder"
    ):
        train(episodes, snapshots=dict.fromkeys((4, 10)), **settings)


def test_a_checkpoint_loads_with_d3rlpy_alone(d3rlpy, episodes, tmp_path):
    algo = train(episodes, checkpoints=str(tmp_path))
    loaded = d3rlpy.load_learnable(str(tmp_path / "step_10.d3"))
    observations = episodes.observations[:, 0]
    np.testing.assert_array_equal(
        loaded.predict(observations.numpy()), policy_actions(algo, observations).numpy()
    )


def test_the_losses_can_be_read_from_tensorboards_file(episodes, tmp_path):
    pytest.importorskip("tensorboardX")
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    notes = Notes()
    logged = train(
        episodes, algorithm="iql", train_steps=5, tensorboard=str(tmp_path), progress=notes
    )
    assert torch.equal(
        everything(logged), everything(train(episodes, algorithm="iql", train_steps=5))
    )
    (file,) = tmp_path.rglob("events.out.tfevents*")
    events = accumulators.EventAccumulator(str(file)).Reload()
    names = set(notes.seen[0][2])
    assert set(events.Tags()["scalars"]) == {f"metrics/{name}" for name in names}
    for name in names:
        scalars = events.Scalars(f"metrics/{name}")
        assert [scalar.step for scalar in scalars] == [1, 2, 3, 4, 5]
        expected = [values[name] for _, _, values in notes.seen]
        np.testing.assert_array_equal([scalar.value for scalar in scalars], np.float32(expected))


# --------------------------------------------------------------------------------------------------
# random states


def draws() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: NPY002 (the states in question)


def test_third_party_libraries_get_a_seed_and_leave_no_trace():
    draws()
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    expected = draws()
    random.setstate(states[0]), np.random.set_state(states[1]), torch.set_rng_state(states[2])  # noqa: NPY002
    with third_party_seed(3):
        inside = draws()
    assert draws() == expected
    with third_party_seed(3):
        assert draws() == inside
    with third_party_seed(4):
        assert all(a != b for a, b in zip(draws(), inside, strict=True))


def test_the_states_come_back_after_an_interruption_too(episodes, tmp_path):
    settings = {"algorithm": "iql", "checkpoints": str(tmp_path)}
    random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002
    expected = draws()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002
    big = 2**40  # numpy's own seeds end at 2**32
    with pytest.raises(KeyboardInterrupt):
        train(episodes, seed=big, progress=Notes(stop_after=4), **settings)
    train(episodes, seed=big, **settings)  # a checkpoint sets torch's state
    assert draws() == expected


def test_a_missing_library_is_named(episodes, monkeypatch):
    monkeypatch.setitem(sys.modules, "d3rlpy", None)
    with pytest.raises(MissingDependency, match=r"pip install 'mbo-gym\[rl\]'"):
        train(episodes)


@pytest.mark.parametrize("suffix", [".pt", ".d3", ".json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "flip", "page"])
def test_a_damaged_checkpoint_is_named_before_it_is_read(episodes, tmp_path, suffix, damage):
    settings = {"algorithm": "bc", "train_steps": 2, "checkpoints": str(tmp_path)}
    train(episodes, **settings)
    path = tmp_path / f"step_2{suffix}"
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "cut": content[:middle],
            "empty": b"",
            "flip": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "page": b"<!DOCTYPE html>",
        }[damage]
    )
    with pytest.raises(DamagedFile, match=rf"step_2\{suffix} is damaged: .*to train anew"):
        train(episodes, **settings)
    path.write_bytes(content)
    train(episodes, **settings)


def test_a_checkpoint_of_an_older_program_is_read_with_a_warning(episodes, tmp_path):
    settings = {"algorithm": "bc", "train_steps": 2, "checkpoints": str(tmp_path)}
    whole = train(episodes, **settings)
    path = tmp_path / "step_2.json"
    facts = json.loads(path.read_text())
    del facts["sha256"], facts["files"]
    path.write_text(json.dumps(facts))
    with pytest.warns(UserWarning, match="has no checksum"):
        resumed = train(episodes, **settings)
    assert torch.equal(everything(resumed), everything(whole))
    (tmp_path / "step_2.pt").write_bytes(b"PK")
    with (
        pytest.warns(UserWarning, match="has no checksum"),
        pytest.raises(DamagedFile, match=r"step_2\.pt is damaged"),
    ):
        train(episodes, **settings)
