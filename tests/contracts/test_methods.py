"""What every registered method promises, on light tasks. A method whose library is missing is
skipped."""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import pickle
import pickletools
import random
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import mbo_gym
from mbo_gym.cli.method_page import method_page
from mbo_gym.errors import MissingDependency, UnknownId, UnsupportedSpace
from mbo_gym.methods.base import Context, Method, MethodInfo
from mbo_gym.methods.legacy import LegacyMethod
from mbo_gym.methods.registry import METHODS, method_class
from mbo_gym.optional import optional_import
from mbo_gym.oracles.function import FunctionOracle
from mbo_gym.problem.constraints import FixedSum, Forbidden
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.oracle import count_oracle_calls
from mbo_gym.problem.parameters import Category, Real
from mbo_gym.problem.task import Task
from mbo_gym.progress.bars import RichProgress
from mbo_gym.runs.apart import CAN_ISOLATE, learn_apart
from mbo_gym.surrogates.mlp import MLPConfig, MLPSurrogate
from mbo_gym.surrogates.registry import SURROGATES

METHOD_NAMES = mbo_gym.list_methods()
TASK_NAMES = ("branin", "tfbind8", "csv", "formulation")
K = {"branin": 20, "tfbind8": 20, "csv": 64, "formulation": 16, "coarse": 16}  # 40 rows of csv
N_COARSE = 29
NO_SCORE = {"ram_listnet", "ram_rankcosine", "top_k_noise"}  # of the design proposed
DRAW_NOTHING = {"top_k", "mean_design"}  # the same designs whatever the seed
D3RLPY = ("cql", "iql", "td3bc", "rebrac", "bc", "awac", "dt")
LIBRARIES = {
    "pgs": "d3rlpy",
    **{f"d3rlpy_{name}": "d3rlpy" for name in D3RLPY},
    **dict.fromkeys(("sb3_ppo", "sb3_sac", "sb3_td3"), "stable_baselines3"),
}
OTHER_LIBRARIES = {"bo_qei": "botorch", "cma_es": "cma"}
SURROGATE = "surrogate_of_the_method_tests"
SMALL = {  # what makes any method quick, for the settings that it has
    "surrogate": SURROGATE,
    "train_steps": 20,
    "steps": 20,
    "batch_size": 32,
    "hidden": 16,
    "n_trajectories": 30,
    "n_envs": 4,
    "horizon": 5,
    "p": 50.0,
    "n_candidates": 100,
    "filter": SURROGATE,
    "sample_steps": 3,
    "context_length": 2,
    "context": 3,
    "n_samples": 10,
    "width": 8,
    "negative_steps": 3,
    "perturbation_steps": 2,
    "adaptation_steps": 2,
    "designs": 20,
    "max_rows": 100,
    "bins": 5,
    "representation": 8,
    "discriminator": 16,
    "rounds": 2,
    "samples": 40,
    "updates": 4,
    "prior_steps": 20,
    "refine_steps": 4,
    "critic_steps": 2,
    "n_best": 30,
    "mc_samples": 16,
    "raw_samples": 8,
    "restarts": 2,
    "fit_steps": 3,
    "acquisition_steps": 3,
}


@dataclass(frozen=True)
class Run:
    """One method on one task: the proposals, and what happened to everything around it."""

    method: Method
    designs: np.ndarray
    criterion: np.ndarray
    oracle_calls: int
    moved: list[str]  # global random states that are not as they were
    left_alone: bool  # whether the task is as it was


def small_mlp() -> MLPSurrogate:
    return MLPSurrogate(MLPConfig(hidden=16, train_steps=40, batch_size=64))


@pytest.fixture(scope="module", autouse=True)
def small_surrogate() -> Iterator[None]:
    with SURROGATES.temporarily(SURROGATE, small_mlp):
        yield


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> dict[str, Task]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)).round(3)
    lines = [",".join(map(str, [*row, round(float(-(row**2).sum()), 4)])) for row in x]
    path = tmp_path_factory.mktemp("methods") / "small.csv"
    path.write_text("\n".join(["a,b,c,score", *lines]))
    return {
        "branin": mbo_gym.make_task("Branin-Exact-v0"),
        "tfbind8": mbo_gym.make_task("TFBind8-Exact-v0", max_rows=2000),
        "csv": mbo_gym.make_task(
            "csv", path=path, score_column="score", bounds="none", oracle="random_forest"
        ),
        "formulation": mbo_gym.make_task("Formulation-Exact-v0", max_rows=300),
        "coarse": coarse_task(),
    }


def coarse_task() -> Task:
    """A mixed space of 29 designs, 20 of them visible: most features decode to equal designs."""
    space = MixedSpace(
        (
            Category("solvent", ("water", "ethanol")),
            *(Real(part, 0, 1, step=0.25) for part in ("acid", "base", "salt")),
        ),
        (FixedSum(("acid", "base", "salt"), 1.0), Forbidden({"solvent": "water", "salt": 1.0})),
    )
    x = np.unique(space.sample(1000, np.random.default_rng(0)), axis=0)

    def score(x: np.ndarray) -> np.ndarray:
        return np.asarray(x[:, 1] * x[:, 2] - x[:, 3] + 0.1 * x[:, 0], dtype=np.float64)

    info = dataclasses.replace(mbo_gym.task_info("Branin-Exact-v0"), task_id="Coarse-Exact-v0")
    y = score(x)
    info = dataclasses.replace(info, y_min=float(y.min()), y_max=float(y.max()))
    assert len(x) == N_COARSE
    worst = np.argsort(y, kind="stable")[:20]
    return Task(info, space, OfflineDataset(x[worst], y[worst]), FunctionOracle(space, score))


def small(name: str, **settings: Any) -> Any:
    """Build a method with its preset `light`; skip where its library is missing."""
    if name in OTHER_LIBRARIES:
        pytest.importorskip(OTHER_LIBRARIES[name])
    if name in LIBRARIES:
        try:
            optional_import(LIBRARIES[name], "rl")
        except MissingDependency as error:
            pytest.skip(str(error))
    kind = method_class(name)
    if not issubclass(kind, Method):  # not converted yet
        fields = {f.name for f in dataclasses.fields(kind.Config)}
        return mbo_gym.make_method(
            name, **{**{key: v for key, v in SMALL.items() if key in fields}, **settings}
        )
    return mbo_gym.make_method(name, preset="light", **settings)


def random_states() -> dict[str, bytes]:
    return {
        "random": pickle.dumps(random.getstate()),
        "numpy": pickle.dumps(np.random.get_state()),  # noqa: NPY002 (the state that methods must leave alone)
        "torch": torch.get_rng_state().numpy().tobytes(),
    }


def propose(name: str, task: Task, k: int, seed: int) -> Run:
    method, before = small(name), random_states()
    held = task.dataset.content_hash(), task.info
    with count_oracle_calls() as calls:
        method.fit(task.problem(), Context(seed))
        proposals = method.propose(k)
    after = random_states()
    moved = [s for s in before if before[s] != after[s]]
    left_alone = (task.dataset.content_hash(), task.info) == held
    return Run(method, proposals.x, proposals.criterion, calls.count, moved, left_alone)


@pytest.fixture(scope="module")
def run(tasks):
    return cache(lambda name, task, seed=0: propose(name, tasks[task], K[task], seed))


each_method = pytest.mark.parametrize("name", METHOD_NAMES)
each_task = pytest.mark.parametrize("task", TASK_NAMES)
each_kind = pytest.mark.parametrize("task", ["branin", "tfbind8", "formulation"])  # of space


@each_task
@each_method
def test_it_proposes_k_designs_inside_the_space(run, tasks, name, task):
    designs, space = run(name, task).designs, tasks[task].space
    assert isinstance(designs, np.ndarray)
    assert (designs.shape, designs.dtype) == ((K[task], *space.shape), space.dtype)
    assert space.contains(designs).all()


@each_task
@each_method
def test_the_best_by_its_own_criterion_comes_first(run, name, task):
    criterion = np.asarray(run(name, task).criterion)
    assert criterion.shape == (K[task],)
    assert np.isfinite(criterion).all()
    assert (np.diff(criterion) <= 0).all()


@pytest.mark.parametrize("task", ["formulation", "coarse"])
@each_method
def test_designs_of_mixed_spaces_are_distinct_allowed_and_in_the_users_terms(
    run, tasks, name, task
):
    designs, space = run(name, task).designs, tasks[task].space
    assert len(np.unique(designs, axis=0)) == K[task]
    assert space.contains(designs).all()
    assert np.array_equal(space.parse(space.values(designs)), designs)


@pytest.mark.parametrize("task", ["formulation", "coarse"])
@each_method
def test_the_criterion_on_a_mixed_space_is_the_prediction_of_the_design_written(run, name, task):
    first = run(name, task)
    fitted = getattr(first.method, "fitted", None)
    if fitted is None:
        pytest.skip("another kind of criterion")
    np.testing.assert_allclose(first.criterion, fitted.predict(first.designs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("task", ["branin", "tfbind8", "formulation"])
@each_method
def test_it_says_whether_its_criterion_is_a_score(run, tasks, name, task):
    proposals = run(name, task).method.propose(K[task])
    scores = proposals.scores(tasks[task].dataset.score_scale)
    none = name in NO_SCORE or not np.any(proposals.criterion)
    assert (scores is None) == none
    if scores is not None and proposals.unit == "deviations":  # the mean of a search is 0 +- some
        assert np.abs(proposals.criterion).max() < 1e3


@pytest.mark.parametrize("name", ["grad", "mean_design", "mins", "random", "top_k"])
def test_on_a_space_of_fewer_designs_all_are_proposed_before_any_repeats(run, tasks, name):
    proposals = run(name, "coarse").method.propose(50)
    held = len(tasks["coarse"].dataset) if name == "top_k" else N_COARSE
    assert len(proposals.x) == 50
    assert len(np.unique(proposals.x, axis=0)) == held


def test_a_method_that_names_its_spaces_refuses_others_before_the_fit(tasks):
    class Sequences(Method):
        info = MethodInfo(
            title="Sequences: a method of letters", kind="own", spaces=("categorical",)
        )

        def fit(self, problem, context=Context()):
            self.start(problem, context)
            raise AssertionError("it was not refused")

        def propose(self, k):
            raise AssertionError("it was not fitted")

    Sequences.Config = method_class("top_k").Config
    reason = r"letters works on categorical spaces, but Coarse-Exact-v0 has a mixed one"
    with pytest.raises(UnsupportedSpace, match=reason):
        Sequences().fit(tasks["coarse"].problem())


class OldProtocol:
    """A method of the old protocol, whose designs are all the same."""

    def __init__(self, config: Any = None) -> None:
        self.config = method_class("top_k").Config() if config is None else config

    def fit(self, problem, *, seed, device, progress):
        self.problem = problem

    def propose(self, k):
        self.criterion = np.linspace(1, 0, k)
        return np.repeat(self.problem.dataset.x[:1], k, axis=0)


@pytest.mark.parametrize("task", ["branin", "formulation", "coarse"])
def test_a_method_of_the_old_protocol_proposes_distinct_designs_on_mixed_spaces(tasks, task):
    with pytest.warns(DeprecationWarning, match="old method protocol"):
        method = LegacyMethod(OldProtocol(), "old")
    problem = tasks[task].problem()
    method.fit(problem, Context(seed=2))
    for k, held in ((16, 16), (50, N_COARSE if task == "coarse" else 50)):
        proposals = method.propose(k)
        x = proposals.x
        assert x.shape == (k, *problem.space.shape)
        assert problem.space.contains(x).all()
        assert np.array_equal(x[0], problem.dataset.x[0])
        assert len(np.unique(x, axis=0)) == (1 if task == "branin" else held)
        assert (np.diff(proposals.criterion) <= 0).all()
        assert np.array_equal(method.propose(k).x, x)


def test_hardly_any_method_refuses_mixed_spaces():
    refusing = [name for name in METHOD_NAMES if "mixed" not in method_class(name).info.spaces]
    assert len(refusing) <= 2


@each_task
@each_method
def test_it_asks_no_oracle(run, name, task):
    assert run(name, task).oracle_calls == 0


@pytest.mark.skipif(not CAN_ISOLATE, reason="this system cannot fork")
@each_method
def test_apart_it_proposes_the_same_and_touches_nothing(run, tasks, tmp_path, name):
    problem = tasks["branin"].problem().opaque()
    with RichProgress() as progress:
        learned = learn_apart(small(name), problem, 0, "cpu", K["branin"], tmp_path, progress)
    assert (learned.touched, learned.oracle_calls) == ((), 0)
    assert learned.isolated
    here = run(name, "branin")
    assert np.array_equal(learned.proposals.x, here.designs)
    assert np.array_equal(learned.proposals.criterion, here.criterion)


@each_kind
@each_method
def test_the_same_seed_gives_the_same_designs_and_nothing_global_moves(run, tasks, name, task):
    first = run(name, task)
    torch.manual_seed(99), np.random.seed(99), random.seed(99)  # noqa: NPY002 (must not matter)
    second = propose(name, tasks[task], K[task], 0)
    assert np.array_equal(first.designs, second.designs)
    assert np.array_equal(first.criterion, second.criterion)
    assert first.moved == second.moved == []


@each_method
def test_another_seed_gives_other_designs_where_it_draws_any(run, name):
    same = np.array_equal(run(name, "branin", 0).designs, run(name, "branin", 1).designs)
    assert same == (name in DRAW_NOTHING)


@each_method
def test_proposing_again_gives_the_same_and_any_number_will_do(run, name):
    first = run(name, "tfbind8")
    assert np.array_equal(first.method.propose(K["tfbind8"]).x, first.designs)
    one = first.method.propose(1)
    assert one.x.shape == (1, 8)
    assert one.criterion.shape == (1,)
    assert first.method.propose(101).x.shape == (101, 8)  # more than `light` has candidates


@each_kind
@each_method
def test_a_loaded_method_proposes_the_same(run, tmp_path, name, task):
    first = run(name, task)
    if isinstance(first.method, LegacyMethod):
        pytest.skip("not converted yet")
    first.method.save(tmp_path / "model")
    again = mbo_gym.load_method(tmp_path / "model").propose(K[task])
    assert np.array_equal(again.x, first.designs)
    assert again.x.dtype == first.designs.dtype
    assert np.array_equal(again.criterion, first.criterion)


@each_method
def test_it_has_facts(name):
    kind = method_class(name)
    if not issubclass(kind, Method):
        pytest.skip("not converted yet")
    info = kind.info
    assert info.title
    assert info.kind in ("reproduction", "adaptation", "control", "own")
    assert (info.kind == "control") == kind.CONTROL
    assert info.paper or info.kind in ("control", "own")
    for difference in info.differences:
        assert difference.paper
        assert difference.here
        assert difference.why


@each_method
def test_fitting_leaves_the_task_alone(run, name):
    assert [task for task in TASK_NAMES if not run(name, task).left_alone] == []


# What d3rlpy and TorchScript read is made by them; the same weights lie beside it as safetensors.
FOR_OTHERS = {
    name: {"policy.d3", "policy.pt"} for name in ("pgs", *(f"d3rlpy_{name}" for name in D3RLPY))
}


@each_method
def test_it_saves_its_settings_and_no_pickle(run, tmp_path, name):
    method = run(name, "branin").method
    method.save(tmp_path / "model")
    saved = json.loads((tmp_path / "model" / "config.json").read_text())
    assert saved == json.loads(json.dumps(dataclasses.asdict(method.config)))
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert {path.name for path in files if is_pickle(path)} <= FOR_OTHERS.get(name, set())


def is_pickle(path: Path) -> bool:
    """Say whether any part of a file is a pickle: the file itself, a member of a zip (torch.save),
    an object array."""
    content = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(is_pickled_bytes(archive.read(name)) for name in archive.namelist())
    return is_pickled_bytes(content)


def is_pickled_bytes(content: bytes) -> bool:
    if content.startswith(b"\x93NUMPY"):
        try:
            np.load(io.BytesIO(content), allow_pickle=False)
        except ValueError:
            return True
        return False
    try:
        return any(
            opcode.name == "STOP" for opcode, _, _ in pickletools.genops(content)
        )  # reads, runs nothing
    except Exception:
        return False


def test_pickles_are_recognised(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "zip")
    torch.save({"a": torch.ones(2)}, tmp_path / "old", _use_new_zipfile_serialization=False)
    (tmp_path / "bare").write_bytes(pickle.dumps({"a": 1}))
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object), allow_pickle=True)
    assert all(is_pickle(tmp_path / name) for name in ("zip", "old", "bare", "objects.npz"))
    np.savez(tmp_path / "numbers.npz", a=np.ones(3))
    (tmp_path / "config.json").write_text('{"a": 1}')
    assert not any(is_pickle(tmp_path / name) for name in ("numbers.npz", "config.json"))


@each_method
def test_an_unknown_setting_is_answered_with_the_nearest(name):
    fields = [f.name for f in dataclasses.fields(method_class(name).Config)]
    with pytest.raises(UnknownId, match=r"There is no setting of .* 'no_such_thing_at_all'"):
        mbo_gym.make_method(name, no_such_thing_at_all=1)
    for field in fields:
        with pytest.raises(UnknownId, match=rf"Did you mean .*\b{field}\b"):
            mbo_gym.make_method(name, **{f"{field}z": 1})


@each_method
def test_an_unknown_preset_is_answered_with_the_nearest(name):
    presets = method_class(name).PRESETS
    with pytest.raises(
        UnknownId, match=f"There is no preset of {name} 'no_such_thing_at_all'"
    ) as error:
        mbo_gym.make_method(name, preset="no_such_thing_at_all")
    assert presets or str(error.value).endswith("None exist.")
    for preset in presets:
        with pytest.raises(UnknownId, match=rf"Did you mean .*\b{preset}\b"):
            mbo_gym.make_method(name, preset=f"{preset}z")


@each_method
def test_every_preset_and_every_task_setting_builds(name):
    kind = method_class(name)
    assert mbo_gym.make_method(name).config == kind.Config()
    for preset, config in kind.PRESETS.items():
        assert isinstance(config, kind.Config)
        assert mbo_gym.make_method(name, preset=preset).config == config
    for task_id, config in kind.SETTINGS.items():
        assert task_id in mbo_gym.list_tasks()
        assert mbo_gym.make_method(name, task_id=task_id).config == config


@each_method
def test_every_method_of_a_paper_has_the_papers_settings(name):
    kind = method_class(name)
    if kind.CONTROL or name.startswith("sb3_") or kind.info.kind == "own":
        pytest.skip("no paper proposes it for offline optimization")
    assert "paper" in method_class(name).PRESETS


@each_method
def test_settings_are_a_frozen_dataclass_with_a_word_on_each(name):
    config = method_class(name).Config
    assert dataclasses.is_dataclass(config)
    assert config.__dataclass_params__.frozen
    page = "\n".join(inspect.getdoc(base) or "" for base in config.__mro__[:-1])
    undocumented = [
        f.name
        for f in dataclasses.fields(config)
        if not re.search(rf"^ {{4}}{f.name}: \S", page, re.M)
    ]
    assert undocumented == []


@each_method
def test_it_is_named_by_a_string_and_explained(name):
    assert isinstance(METHODS.spec(name).entry_point, str)
    assert (method_class(name).__doc__ or "").strip()


@each_method
def test_its_page_has_an_algorithm_in_numbered_lines(name):
    console = Console(file=io.StringIO(), width=100)
    console.print(method_page(name))
    page = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert "Algorithm" in page
    algorithm = "\n".join(page[page.index("Algorithm") + 1 :])
    algorithm = re.split(r"^\S", algorithm, maxsplit=1, flags=re.M)[0]  # up to the next heading
    assert re.search(r"^ +1\. \S", algorithm, re.M)
    assert re.search(r"^ +2\. \S", algorithm, re.M)


def test_settings_win_over_the_preset_and_the_preset_over_the_task(monkeypatch):
    kind = method_class("grad")
    ascent = type(kind.Config().ascent)
    own = kind.Config(ascent=ascent(steps=7, step_size=0.5))
    branin = "Branin-Exact-v0"
    monkeypatch.setattr(kind, "SETTINGS", {branin: own})
    assert mbo_gym.make_method("grad", task_id=branin).config.ascent.steps == 7
    nine = mbo_gym.make_method("grad", task_id=branin, ascent={"steps": 9}).config
    assert nine == kind.Config(ascent=ascent(steps=9, step_size=0.5))
    assert mbo_gym.make_method("grad", task_id="Levy-Exact-v0").config == kind.Config()
    settings = {"ascent.bounds": "data"}
    chosen = mbo_gym.make_method("grad", task_id=branin, preset="adam", **settings).config
    assert chosen == kind.Config(ascent=ascent(optimiser="adam", bounds="data"))
    assert kind.SETTINGS[branin].ascent.steps == 7  # building changes no table


def test_an_unknown_method_is_answered_with_the_nearest():
    with pytest.raises(UnknownId, match=r"There is no method 'gradd'\. Did you mean grad"):
        mbo_gym.make_method("gradd")


def test_a_setting_of_the_wrong_type_is_refused():
    with pytest.raises(ValueError, match="steps must be int or None, got 'many'"):
        mbo_gym.make_method("grad", **{"ascent.steps": "many"})
    with pytest.raises(ValueError, match=r"optimiser must be 'plain' \| 'adam', got 'sgd'"):
        mbo_gym.make_method("grad", **{"ascent.optimiser": "sgd"})
