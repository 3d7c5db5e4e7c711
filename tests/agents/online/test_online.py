"""The online agents and the VecEnv below them, at a size that trains in a second. Skipped without
stable-baselines3."""

from __future__ import annotations

import pickle
import random
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import safetensors.torch
import torch

import mbo_gym
from agents.online import agents as online
from agents.online.agents import TrainedPolicy
from helpers import small_default_surrogate
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.dynamics import feature_bounds, unit_gradient
from mbo_gym.errors import MissingData, MissingDependency
from mbo_gym.methods.base import Context, Method
from mbo_gym.methods.registry import method_class
from mbo_gym.optional import optional_import
from mbo_gym.problem.oracle import count_oracle_calls
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.runs.one_run import RunRequest, run
from mbo_gym.settings import leaf_settings
from mbo_gym.surrogates.fitting import fit_surrogate
from mbo_gym.surrogates.mlp import MLPConfig, MLPSurrogate
from mbo_gym.surrogates.registry import SURROGATES

try:
    from agents.online.env import DesignVecEnv
except MissingDependency as error:
    pytest.skip(str(error), allow_module_level=True)

sb3 = optional_import("stable_baselines3", "rl")

NAMES = ("sb3_ppo", "sb3_sac", "sb3_td3")
SURROGATE = "surrogate_of_the_online_tests"
TINY = {
    "surrogate": SURROGATE,
    "train_steps": 80,
    "n_envs": 4,
    "horizon": 5,
    "batch_size": 20,
    "hidden": 16,
}
EACH = pytest.mark.parametrize("name", NAMES)


class Notes(NullProgress):
    """Keeps the metrics, the designs along the search and how far the bars went."""

    def __init__(self):
        self.seen, self.shown, self.bars = [], [], {}

    def bar(self, description: str, total: int) -> Callable[[int], None]:
        steps = self.bars.setdefault((description, total), [])
        return steps.append

    def metrics(self, stage, step, **values):
        self.seen.append((stage, step, values))

    def designs(self, stage, step, x, prediction):
        self.shown.append((stage, step))


@pytest.fixture(scope="module", autouse=True)
def small_surrogate() -> Iterator[None]:
    with SURROGATES.temporarily(
        SURROGATE,
        lambda **c: MLPSurrogate(MLPConfig(**{"hidden": 16, "train_steps": 100, **c})),
    ):
        yield


@pytest.fixture(scope="module")
def task():
    return mbo_gym.make_task("Branin-Exact-v0")


@pytest.fixture(scope="module")
def settings(task):
    """What makes the environment: a surrogate and short episodes."""
    problem = task.problem()
    surrogate = fit_surrogate(
        problem, make_encoder(problem), MLPSurrogate(MLPConfig(hidden=16, train_steps=100)), seed=0
    )
    return {"task": problem, "surrogate": surrogate, "horizon": 3}


@pytest.fixture(scope="module")
def plain_weights(task) -> Callable[[str], torch.Tensor]:
    """Return the weights of a method at its tiny settings, fitted once."""
    return cache(lambda name: weights(fitted(name, task.problem())))


def batched(settings, num_envs: int = 4) -> DesignVecEnv:
    return DesignVecEnv(gym.make_vec("mbo_gym/Branin-Exact-v0", num_envs=num_envs, **settings))


def actions_of(steps: int, num_envs: int = 4) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (steps, num_envs, 2)).astype(np.float32)


def placed(name: str, settings: dict) -> dict:
    """Return settings by their dotted names."""
    places = {path.rpartition(".")[2]: path for path in leaf_settings(method_class(name).Config())}
    return {places[key]: value for key, value in settings.items()}


def fitted(name: str, problem, *, seed: int = 0, progress=None, **changed) -> Method:
    method = mbo_gym.make_method(name, **placed(name, {**TINY, **changed}))
    method.fit(problem, Context(seed, progress=progress or NullProgress()))
    return method


def weights(method: Method) -> torch.Tensor:
    state = method.policy.policy.state_dict()
    return torch.cat([value.detach().flatten() for value in state.values()])


def visible(task, k: int) -> torch.Tensor:
    """Return the features of the best visible designs."""
    return make_encoder(task.problem()).features(task.dataset.top(k).x)


def random_states() -> tuple[bytes, bytes, bytes]:
    numpy_state = np.random.get_state()  # noqa: NPY002 (the state that must stay)
    return (
        pickle.dumps(random.getstate()),
        pickle.dumps(numpy_state),
        torch.get_rng_state().numpy().tobytes(),
    )


# The VecEnv


def test_its_steps_are_those_of_the_scalar_environment(settings, task):
    x = task.dataset.top(4).x
    many, one = batched(settings), gym.make("mbo_gym/Branin-Exact-v0", **settings)
    many.set_options([{"design": row} for row in x])
    start, actions = many.reset(), actions_of(3)
    steps = [many.step(a) for a in actions]
    for row in range(4):
        observation, _ = one.reset(options={"design": x[row]})
        np.testing.assert_allclose(start[row], observation, rtol=1e-5, atol=1e-5)
        for t, (observations, rewards, dones, infos) in enumerate(steps):
            observation, reward, _, truncated, _ = one.step(actions[t, row])
            reached = infos[row]["terminal_observation"] if truncated else observations[row]
            np.testing.assert_allclose(reached, observation, rtol=1e-5, atol=1e-5)
            assert rewards[row] == pytest.approx(reward, rel=1e-5, abs=1e-5)
            assert (
                bool(dones[row])
                == infos[row].get("TimeLimit.truncated", False)
                == truncated
                == (t == 2)
            )
    np.testing.assert_array_equal(many.step(actions[0])[2], [False] * 4)  # a new episode


def test_the_end_of_an_episode_is_the_batched_environments_final_observation(settings):
    many = batched(settings)
    twin = gym.make_vec("mbo_gym/Branin-Exact-v0", num_envs=4, device="cpu", **settings)
    many.seed(3)
    np.testing.assert_array_equal(many.reset(), twin.reset(seed=3)[0].numpy())
    for action in actions_of(7):
        observations, rewards, dones, infos = many.step(action)
        expected, reward, _, truncated, info = twin.step(action)
        np.testing.assert_array_equal(observations, expected.numpy())
        np.testing.assert_array_equal(rewards, reward.numpy())
        np.testing.assert_array_equal(dones, truncated.numpy())
        assert (observations.dtype, rewards.dtype, dones.dtype) == (np.float32, np.float32, bool)
        if "final_obs" in info:
            np.testing.assert_array_equal(
                [i["terminal_observation"] for i in infos], info["final_obs"].numpy()
            )
            assert all(set(i) == {"terminal_observation", "TimeLimit.truncated"} for i in infos)
        else:
            assert infos == [{}] * 4


def test_a_seed_holds_for_one_reset(settings):
    many, again = batched(settings), batched(settings)
    many.seed(5), again.seed(5)
    first = many.reset()
    np.testing.assert_array_equal(first, again.reset())
    assert not np.array_equal(first, many.reset())
    many.seed(6)
    assert not np.array_equal(first, many.reset())
    many.seed(5)
    np.testing.assert_array_equal(first, many.reset())


def test_what_it_returns_belongs_to_the_caller(settings):
    many, twin = batched(settings), batched(settings)
    many.seed(0), twin.seed(0)
    observations = many.reset()
    twin.reset()
    for action in actions_of(7):
        observations += 100
        observations, rewards, dones, infos = many.step(action)
        expected = twin.step(action)
        for got, same in zip((observations, rewards, dones), expected, strict=False):
            np.testing.assert_array_equal(got, same)
        rewards += 1  # as PPO does at a time limit
        for info in infos:
            info.get("terminal_observation", rewards)[:] = 7


def test_options_hold_for_one_reset_and_must_name_every_start(settings, task):
    many, x = batched(settings), task.dataset.x[7]
    many.set_options({"design": x})
    z = make_encoder(task.problem()).encode(x[None])
    np.testing.assert_allclose(many.reset(), np.repeat(z, 4, axis=0), atol=1e-6)
    assert not np.allclose(many.reset(), z)
    many.set_options([{"design": x}, {}, {}, {}])
    with pytest.raises(mbo_gym.InvalidDesign, match="need 4 designs"):
        many.reset()


def test_single_environments_can_be_asked_but_not_changed(settings):
    many = batched(settings)
    assert many.get_attr("oracle_calls", [0, 2]) == [0, 0]
    assert many.get_attr("render_mode") == [None] * 4
    assert many.env_is_wrapped(sb3.common.monitor.Monitor) == [False] * 4
    with pytest.raises(
        NotImplementedError, match="horizon cannot be set for single designs of a batch"
    ):
        many.set_attr("horizon", 3)
    with pytest.raises(
        NotImplementedError, match=r"designs\(\) cannot be called for single designs of a batch"
    ):
        many.env_method("designs")


def test_the_library_is_imported_late_and_without_a_word():
    code = "import sys, agents.online.agents\nlate = 'stable_baselines3' not in sys.modules\n"
    code += "import agents.online.env\nprint(late, 'stable_baselines3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("True True", "")


# The methods


@EACH
def test_it_proposes_designs_and_the_seed_decides_them(task, name):
    torch.manual_seed(12), np.random.seed(12), random.seed(12)  # noqa: NPY002 (must neither matter nor move)
    before = random_states()
    first, again, other = (fitted(name, task.problem(), seed=seed) for seed in (1, 1, 2**33))
    proposals = first.propose(9)
    x = proposals.x
    assert (x.shape, x.dtype) == ((9, 2), np.float32)
    assert task.space.contains(x).all()
    np.testing.assert_array_equal(x, again.propose(9).x)
    np.testing.assert_array_equal(proposals.criterion, again.propose(9).criterion)
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))
    assert random_states() == before


@EACH
@pytest.mark.parametrize("action_mode", ["step_vector", "displacement"])
def test_training_changes_the_policy(task, name, action_mode):
    fresh, trained = (
        fitted(name, task.problem(), train_steps=n, action_mode=action_mode) for n in (0, 80)
    )
    assert not torch.equal(weights(fresh), weights(trained))


def test_training_leads_the_search_to_higher_predictions(task):
    settings = {
        "action_mode": "displacement",
        "action_scale": 0.3,
        "n_envs": 16,
        "horizon": 10,
        "batch_size": 160,
    }
    method = fitted("sb3_ppo", task.problem(), train_steps=1600, learning_rate=1e-2, **settings)
    criterion = method.propose(32).criterion
    low, high = method.policy.fitted.box("data")
    anywhere = low + (high - low) * torch.rand(
        10_000, 2, generator=torch.Generator().manual_seed(0)
    )
    start, best = (
        method.policy.fitted.surrogate.predict(visible(task, 32)),
        method.policy.fitted.surrogate.predict(anywhere),
    )
    gained = criterion.mean() - float(start.mean())
    assert gained > 0.5 * (float(best.max()) - float(start.mean()))


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        *(
            (name, {field: value})
            for name in NAMES
            for field, value in (("discount", 0.1), ("learning_rate", 1e-2))
        ),
        *((name, {"hidden": 8}) for name in NAMES),
        *((name, {"action_scale": 3.0}) for name in NAMES),
        ("sb3_ppo", {"epochs": 1}),
        ("sb3_ppo", {"clip_range": 0.01}),
        ("sb3_ppo", {"entropy_weight": 1.0}),
        ("sb3_ppo", {"horizon": 10}),
        ("sb3_ppo", {"n_starts": 2}),
        ("sb3_sac", {"updates": 3}),
        ("sb3_sac", {"entropy_weight": 1.0}),
        ("sb3_td3", {"tau": 0.5}),
        ("sb3_td3", {"exploration_noise": 0.5}),
    ],
    ids=str,
)
def test_every_setting_reaches_the_learner(task, plain_weights, name, changed):
    plain, other = plain_weights(name), weights(fitted(name, task.problem(), **changed))
    assert plain.shape != other.shape or not torch.equal(plain, other)


@pytest.mark.parametrize("bounds", ["data", "none"])
@pytest.mark.parametrize("action_mode", ["step_vector", "displacement"])
def test_the_search_follows_the_policy(task, monkeypatch, action_mode, bounds):
    monkeypatch.setattr(TrainedPolicy, "actions", lambda self, z: torch.full_like(z, 0.8))
    chosen = {"action_mode": action_mode, "bounds": bounds, "action_scale": 20.0, "search_steps": 1}
    method = fitted("sb3_ppo", task.problem(), train_steps=0, **chosen)
    proposals, encoder = method.propose(30), make_encoder(task.problem())
    surrogate = method.policy.fitted.surrogate
    z = torch.from_numpy(encoder.encode(task.dataset.top(30).x))
    along = unit_gradient(surrogate.gradient(z)) if action_mode == "step_vector" else 1.0
    free = z + 20.0 * 0.8 * along
    low, high = map(torch.from_numpy, feature_bounds(task.problem(), encoder))
    assert not torch.equal(free, free.clamp(low, high))  # the box matters
    expected = free.clamp(low, high) if bounds == "data" else free
    prediction = surrogate.predict(expected).detach()
    order = prediction.argsort(descending=True, stable=True)
    best = encoder.decode(expected[order].numpy())
    np.testing.assert_allclose(proposals.x, best, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(proposals.criterion, prediction[order], rtol=1e-4, atol=1e-5)


@EACH
def test_the_actions_are_the_policys_own_without_noise(task, name):
    method = fitted(name, task.problem())
    z = visible(task, 6)
    actions = method.policy.actions(z)
    assert torch.equal(actions, method.policy.actions(z))
    assert float(actions.abs().max()) <= 1
    with torch.no_grad():
        expected = method.policy.policy._predict(z, deterministic=True).clamp(-1, 1)
    torch.testing.assert_close(actions, expected)


@EACH
def test_progress_shows_training_and_search_and_nothing_is_written(
    task, name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    notes = Notes()
    method = fitted(name, task.problem(), progress=notes, train_steps=100)
    ((description, total),) = notes.bars
    steps = notes.bars[description, total]
    assert (description, total) == (f"training {method.policy.algorithm}", 100)
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (4, 100)
    metrics = [(step, values) for stage, step, values in notes.seen if stage == "online_rl"]
    assert [step for step, _ in metrics] == [20, 40, 60, 80, 100]  # every episode
    assert {"rollout/ep_rew_mean", "train/learning_rate"} <= set(metrics[-1][1])
    assert metrics[-1][1]["rollout/ep_len_mean"] == 5
    assert not any(key.startswith("time/") for _, values in metrics for key in values)
    assert all(
        type(value) is float and np.isfinite(value)
        for _, values in metrics
        for value in values.values()
    )
    method.propose(3)
    learning = [step for stage, step in notes.shown if stage == "learning"]
    assert learning[0] == 0  # untrained
    assert learning == sorted(set(learning))
    assert 100 - 20 <= learning[-1] <= 100
    assert notes.shown[len(learning) :] == [("search", step) for step in range(6)]
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_training_leaves_the_random_states_alone(task):
    class Interrupted(NullProgress):
        def metrics(self, stage, step, **values):
            if stage == "online_rl":
                raise KeyboardInterrupt

    before = random_states()
    with pytest.raises(KeyboardInterrupt):
        fitted("sb3_sac", task.problem(), progress=Interrupted())
    assert random_states() == before


@EACH
def test_the_surrogates_reward_asks_no_oracle(task, name):
    with count_oracle_calls() as calls:
        fitted(name, task.problem()).propose(5)
    assert calls.count == 0


@EACH
def test_the_oracles_reward_is_counted_in_the_record(tmp_path, name):
    settings = placed(name, {**TINY, "train_steps": 40, "reward": "oracle"})
    request = RunRequest(name, "Branin-Exact-v0", k=6, settings=settings, options={"max_rows": 200})
    done = run(request, tmp_path / "run", quiet=True)
    assert (
        done.search_oracle_calls == 4 + 40 + 2 * 4
    )  # first starts, steps, the starts of two more episodes
    assert done.evaluation.oracle_calls == 6


def test_the_oracles_reward_needs_a_task_with_an_oracle(tmp_path):
    path = tmp_path / "small.csv"
    path.write_text("a,b,score\n" + "\n".join(f"{i},{i % 7},{i * 2}" for i in range(50)))
    problem = mbo_gym.make_task("csv", path=path, score_column="score").problem()
    with pytest.raises(MissingData, match="has no oracle"):
        fitted("sb3_ppo", problem, reward="oracle")


@pytest.mark.parametrize(
    ("name", "kind"), [("sb3_ppo", sb3.PPO), ("sb3_sac", sb3.SAC), ("sb3_td3", sb3.TD3)]
)
def test_the_saved_weights_are_those_of_the_librarys_own_policy(
    task, settings, tmp_path, name, kind
):
    method = fitted(name, task.problem())
    method.save(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "checksums.json",
        "config.json",
        "method.json",
        "policy.safetensors",
        "problem.json",
        "problem.npz",
        "surrogate.safetensors",
    ]
    policy = kind(
        "MlpPolicy", batched(settings), policy_kwargs={"net_arch": [16, 16]}, device="cpu"
    ).policy
    policy.load_state_dict(safetensors.torch.load_file(tmp_path / "policy.safetensors"))
    z = visible(task, 5)
    actions, _ = policy.predict(z.numpy(), deterministic=True)
    np.testing.assert_array_equal(actions, method.policy.actions(z).numpy())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_envs": 0}, "n_envs must be at least 1"),
        ({"train_steps": -1}, "train_steps must be at least 0"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"n_envs": 1, "horizon": 1}, "rounds of 2 steps or more"),
        ({"action_mode": "jump"}, "action_mode must be"),
        ({"reward": "true"}, "reward must be"),
    ],
)
def test_wrong_settings_are_named(changed, message):
    with pytest.raises(ValueError, match=message):
        mbo_gym.make_method("sb3_ppo", **placed("sb3_ppo", changed))


def test_a_missing_library_is_named_before_any_fitting(task, monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    monkeypatch.setattr(online.Fitted, "fit", lambda *a, **k: pytest.fail("fitted for nothing"))
    with pytest.raises(
        MissingDependency, match=r"needs stable_baselines3.*pip install 'mbo-gym\[rl\]'"
    ):
        fitted("sb3_ppo", task.problem())


def test_the_script_of_its_users_is_short_and_runs(task, monkeypatch, capsys):
    script = Path(__file__).parents[3] / "examples" / "sb3.py"
    assert len(script.read_text().splitlines()) < 60
    monkeypatch.setattr(
        sys, "argv", [str(script), "Branin-Exact-v0", "--steps", "640", "--horizon", "10"]
    )
    with small_default_surrogate(), pytest.raises(SystemExit) as done:
        runpy.run_path(str(script), run_name="__main__")
    assert done.value.code == 0
    before, after = capsys.readouterr().out.splitlines()[-2:]
    assert before == f"Before: {mbo_gym.evaluate(task, task.dataset.top(256).x)}"
    assert after.startswith("After:  Branin-Exact-v0: 256 designs")
    assert after[8:] != before[8:]
