"""Damaged files are refused by name: scripted mutations of what mbo_gym saves."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import mbo_gym
from experiments.studies.damage import mutate
from mbo_gym.benchmark.execute.results import ResultStore
from mbo_gym.encoders.vae import VAEEncoder, fit_vae_encoder
from mbo_gym.errors import DamagedFile, MissingData
from mbo_gym.files import store
from mbo_gym.files.weights import read_weights, save_weights
from mbo_gym.nn.sequence_vae import VAEConfig
from mbo_gym.surrogates.mlp import MLPConfig, MLPSurrogate
from mbo_gym.surrogates.registry import load_surrogate
from tests.mbo_gym.benchmark.records import record

N = 25
"""Mutations of each kind of file; `-k` and a larger number try more."""


def hold(path: Path, load: Callable[[], object], whole: object, seed: int) -> None:
    """Damage a file N times: each time it is refused by name, or what is loaded is the same."""
    content, rng = path.read_bytes(), np.random.default_rng(seed)
    refused = 0
    for _ in range(N):
        damaged = mutate(content, rng)
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a file without a checksum is told by a warning
            try:
                found, said = load(), ""
            except (DamagedFile, MissingData, UserWarning) as error:
                found, said = None, str(error)
        if found is None:
            assert re.search("is damaged|is missing|has no checksum|holds no saved", said)
            assert str(path.parent) in said
            refused += 1
        else:
            assert found == whole
    path.write_bytes(content)
    assert load() == whole
    assert refused > N // 2


def test_a_saved_surrogate(tmp_path):
    z = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    surrogate = MLPSurrogate(MLPConfig(hidden=8, train_steps=5))
    surrogate.fit(z, z[:, 0], seed=0)
    path = tmp_path / "surrogate.safetensors"
    surrogate.save(path)
    hold(path, lambda: load_surrogate(path).predict(z).tolist(), surrogate.predict(z).tolist(), 1)


def test_a_saved_encoder(tmp_path):
    problem = mbo_gym.make_task("TFBind8-Exact-v0", max_rows=60).problem()
    config = VAEConfig(latent=4, width=8, blocks=2, steps=5, batch_size=16)
    x = torch.from_numpy(np.array(problem.dataset.x))
    encoder = fit_vae_encoder(problem.space, x, config, seed=0)
    path = tmp_path / "vae.safetensors"
    encoder.save(path)
    asked = problem.dataset.x[:4]
    whole = encoder.encode(asked).tolist()
    hold(path, lambda: VAEEncoder.load(path).encode(asked).tolist(), whole, 2)


@pytest.mark.parametrize("name", ["method.json", "config.json", "problem.json", "problem.npz"])
def test_a_saved_method(tmp_path, name):
    method = mbo_gym.make_method("top_k_noise")
    method.fit(mbo_gym.make_task("Branin-Exact-v0", max_rows=40).problem())
    method.save(tmp_path / "model")
    path = tmp_path / "model" / name
    load = lambda: mbo_gym.load_method(tmp_path / "model").propose(5).x.tolist()  # noqa: E731
    hold(path, load, method.propose(5).x.tolist(), 3)


def test_the_checksums_of_a_method(tmp_path):
    method = mbo_gym.make_method("top_k")
    method.fit(mbo_gym.make_task("Branin-Exact-v0", max_rows=40).problem())
    folder = tmp_path / "model"
    method.save(folder)
    path = folder / store.SEAL
    hold(
        path,
        lambda: mbo_gym.load_method(folder).propose(3).x.tolist(),
        method.propose(3).x.tolist(),
        4,
    )
    (folder / "notes.txt").write_text("mine")  # what was added is not looked at
    mbo_gym.load_method(folder)
    shutil.move(folder / "config.json", tmp_path)
    with pytest.raises(DamagedFile, match=r"config\.json is missing"):
        mbo_gym.load_method(folder)


def test_lines_of_results(tmp_path):
    results = ResultStore(tmp_path)
    records = [record("grad", seed=seed) for seed in range(3)]
    results.lines.write_text("".join(f"{r.line()}\n" for r in records))
    first = results.lines.read_text().index("\n") + 1
    content = results.lines.read_bytes()
    rng, known = np.random.default_rng(5), {r.key: r for r in records}
    for _ in range(N):
        results.lines.write_bytes(content[:first] + mutate(content[first:-1], rng) + b"\n")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = results.records()
        assert found[0] == records[0]
        assert all(known[r.key] == r for r in found)  # left out, never changed


def test_a_file_of_an_older_program_is_read_with_a_warning(tmp_path):
    import safetensors.torch

    path = tmp_path / "old.safetensors"
    safetensors.torch.save_file({"a": torch.ones(2)}, path, {"kind": "x"})
    with pytest.warns(UserWarning, match="has no checksum"):
        tensors, about = read_weights(path)
    assert tensors["a"].tolist() == [1, 1]
    assert about == {"kind": "x"}
    save_weights(path, tensors, about)
    assert read_weights(path)[1] == about
    with pytest.raises(MissingData):
        read_weights(tmp_path / "none")


def test_a_pickle_for_another_program_can_be_taken_away(tmp_path):
    for name in ("policy.d3", "policy.pt", "config.json"):
        (tmp_path / name).write_text("1")
    store.seal(tmp_path)
    (tmp_path / "policy.d3").unlink()
    store.check_sealed(tmp_path)


def test_a_seal_names_what_differs(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"a": 1}))
    store.check_sealed(tmp_path)  # of an older program
    store.seal(tmp_path)
    store.check_sealed(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps({"a": 2}))
    with pytest.raises(DamagedFile, match=r"a\.json is damaged: its content differs"):
        store.check_sealed(tmp_path)
