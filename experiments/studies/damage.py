"""What happens to damaged files: scripted mutations of every kind of file that mbo_gym saves.

A file is cut, emptied, overwritten, doubled, replaced by a web page, or has a bit flipped. Then it
is read as a user's command reads it. Outcomes:

    refused     an error that names the file or its folder
    left out    read on without it, with a warning; what is read is a part of what was written
    harmless    what is read is what was written
    unnamed     an error that does not say where
    silent      other values than were written, and no word
    traceback   an error that no command catches

The last three are faults: exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import mbo_gym
from mbo_gym.batch.card import write_card
from mbo_gym.batch.earlier import earlier_batch
from mbo_gym.benchmark.execute.results import ResultStore
from mbo_gym.benchmark.execute.runner import run_grid
from mbo_gym.benchmark.execute.verify import verify
from mbo_gym.benchmark.plan.configs import ConfigIndex
from mbo_gym.benchmark.plan.grid import Grid, MethodChoice, TaskChoice
from mbo_gym.data.design_bench import read_arrays
from mbo_gym.encoders.vae import VAEEncoder, fit_vae_encoder
from mbo_gym.errors import DamagedFile, MboGymError
from mbo_gym.export import export, load_npz
from mbo_gym.export.d3rlpy import read_meta
from mbo_gym.files import store
from mbo_gym.nn.sequence_vae import VAEConfig
from mbo_gym.nn.trainer import TrainingConfig
from mbo_gym.nn.training import train
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.runs.data_files import place_of
from mbo_gym.runs.one_run import RunRequest, run
from mbo_gym.surrogates.registry import load_surrogate, make_surrogate

__all__ = ["KINDS", "OUTCOMES", "SLOW", "Kind", "mutate", "study"]

OUTCOMES = ("refused", "left out", "harmless", "unnamed", "silent", "traceback")
FAULTS = OUTCOMES[3:]
TASK = "Branin-Exact-v0"


@dataclass(frozen=True)
class Kind:
    """A kind of files.

    Args:
        files: Names of the files that are damaged, below the folder; patterns.
        load: Reads the folder as a command does, and returns plain values.
        parts: Whether these are a mapping, of which a part may be left out with a warning.
    """

    files: tuple[str, ...]
    load: Callable[[], Any]
    parts: bool = False


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Return bytes that are damaged as files are: cut, flipped, overwritten, or of another file."""
    kind = int(rng.integers(7))
    at = int(rng.integers(max(1, len(content))))
    if kind == 0:
        return content[:at]
    if kind == 1:
        return b""
    if kind == 2:
        return b"<!DOCTYPE html><title>404</title>"
    if kind == 3:
        return content[:at] + bytes(min(64, len(content) - at)) + content[at + 64 :]
    if kind == 4:
        return content + content[:at]
    if not content:
        return b"\0"
    flipped = bytearray(content)
    flipped[at] ^= 1 << int(rng.integers(8))
    return bytes(flipped)


def surrogate(folder: Path) -> Kind:
    z = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    made = make_surrogate("mlp", hidden=8, train_steps=5)
    made.fit(z, z[:, 0], seed=0)
    path = folder / "surrogate.safetensors"
    made.save(path)
    return Kind((path.name,), lambda: load_surrogate(path).predict(z).tolist())


def encoder(folder: Path) -> Kind:
    problem = mbo_gym.make_task("TFBind8-Exact-v0", max_rows=60).problem()
    config = VAEConfig(latent=4, width=8, blocks=2, steps=5, batch_size=16)
    x = torch.from_numpy(np.array(problem.dataset.x))
    path = folder / "vae.safetensors"
    fit_vae_encoder(problem.space, x, config, seed=0).save(path)
    asked = problem.dataset.x[:4]
    return Kind((path.name,), lambda: VAEEncoder.load(path).encode(asked).tolist())


def fitted_method(folder: Path) -> Kind:
    method = mbo_gym.make_method("grad", preset="light")
    method.fit(mbo_gym.make_task(TASK, max_rows=40).problem())
    method.save(folder / "model")
    return Kind(("model/*",), lambda: mbo_gym.load_method(folder / "model").propose(3).x.tolist())


def policy(folder: Path) -> Kind:
    method = mbo_gym.make_method("pgs", preset="light")
    method.fit(mbo_gym.make_task(TASK, max_rows=60).problem())
    method.save(folder / "model")
    return Kind(("model/*",), lambda: mbo_gym.load_method(folder / "model").propose(2).x.tolist())


def training_checkpoint(folder: Path) -> Kind:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))

    def trained() -> list[Any]:
        torch.manual_seed(0)
        net = torch.nn.Linear(3, 1)
        train(
            net,
            lambda rows, generator: (net(x[rows]) ** 2).mean(),
            len(x),
            TrainingConfig(steps=6, batch_size=8),
            seed=0,
            device="cpu",
            progress=None,
            checkpoints=folder,
            checkpoint_every=3,
        )
        return [value.tolist() for value in net.state_dict().values()]

    trained()
    return Kind(("training.safetensors",), trained)


def policy_checkpoint(folder: Path) -> Kind:
    from agents.rl.data import Episodes
    from agents.rl.learner import train_offline
    from agents.rl.learner_config import OfflineConfig

    draw = torch.Generator().manual_seed(0)
    episodes = Episodes(
        torch.randn(5, 5, 3, generator=draw),
        torch.rand(5, 4, 2, generator=draw) - 0.5,
        torch.randn(5, 4, generator=draw),
    )
    config = OfflineConfig(
        algorithm="bc", train_steps=4, batch_size=8, hidden=8, checkpoints=str(folder)
    )

    def resumed() -> list[Any]:
        algo = train_offline(episodes, config, seed=0, device="cpu", progress=NullProgress())
        return [value.tolist() for value in algo.impl.policy.state_dict().values()]

    resumed()
    return Kind(("step_*",), resumed)


def _results(folder: Path) -> Path:
    results = folder / "results"
    if not results.exists():
        tasks = [TaskChoice(TASK, {"max_rows": 30})]
        grid = Grid([MethodChoice("top_k"), MethodChoice("random")], tasks, range(2), [4])
        run_grid(grid, results, executor="serial")
    return results


def record_lines(folder: Path) -> Kind:
    results = _results(folder)

    def read() -> dict[str, str]:
        kept = ResultStore(results)
        found = {record.key: record.line() for record in kept.records()}
        if lost := kept.unlisted():  # as `mbo-gym report` says
            warnings.warn(f"{results}: {len(lost)} finished cells have no line", stacklevel=1)
        return found

    return Kind(("results/results.jsonl",), read, parts=True)


def packed_records(folder: Path) -> Kind:
    results = _results(folder)
    ResultStore(results).pack()
    shutil.rmtree(results / "cells")
    return Kind(
        ("results/results.jsonl.xz",),
        lambda: {record.key: record.line() for record in ResultStore(results).records()},
        parts=True,
    )


def cell_records(folder: Path) -> Kind:
    results = _results(folder)
    (results / "results.jsonl").write_bytes(b"")  # the cells' own records alone

    def resumed() -> dict[str, str]:
        with ResultStore(results).writing() as known:
            return {key: record.line() for key, record in known.items()}

    return Kind(("results/cells/*/record.json",), resumed, parts=True)


def cell_folders(folder: Path) -> Kind:
    results = _results(folder)

    def verified() -> list[str]:
        found = list(verify(ResultStore(results)))
        wrong = [f"{results}: {one.problem or one.unchecked}" for one in found]
        if any(one.problem or one.unchecked for one in found):
            raise DamagedFile("; ".join(wrong))
        return [one.record.line() for one in found]

    names = (
        "designs.npz",
        "designs.csv",
        "result.json",
        "config.json",
        "checksums.json",
        "model/*",
    )
    return Kind(tuple(f"results/cells/*/{name}" for name in names), verified)


def configs(folder: Path) -> Kind:
    path = folder / "configs.json"
    grid = Grid([MethodChoice("grad", settings={"ascent": {"steps": 7}})], [TaskChoice(TASK)])
    index = ConfigIndex(path)
    grid.cells(index)
    index.save()
    return Kind(
        (path.name,), lambda: [json.dumps(dict(c.config)) for c in grid.cells(ConfigIndex(path))]
    )


def _table(folder: Path) -> Path:
    path = folder / "my.csv"
    rng = np.random.default_rng(0)
    x = rng.uniform(20, 90, size=(40, 2)).round(1)
    y = (100 - ((x - 55) ** 2).sum(axis=1) / 50).round(2)
    rows = np.column_stack([x, y])
    np.savetxt(path, rows, "%g", ",", header="heat,time,yield", comments="")
    return path


def run_folder(folder: Path) -> Kind:
    path = _table(folder)
    options = {"path": str(path), "score_column": "yield"}
    run(RunRequest("top_k", "csv", k=3, options=options), folder / "run", quiet=True)
    with path.open("a") as file:
        file.write("50,50,99\n")

    def grown() -> list[str]:
        note = place_of(folder / "run", options, overwrite=False).note
        store.check_sealed(folder / "run")
        return [note, (folder / "run" / "result.json").read_text()]

    return Kind(("run/*", "run/model/*"), grown)


def proposed(folder: Path) -> Kind:
    path = _table(folder)
    batch = mbo_gym.propose(path, "yield", "top_k", 4, progress=False)
    batch.to_csv(folder / "batch.csv")
    write_card(batch, folder / "batch.html")

    def read() -> str:
        said = earlier_batch(folder / "batch.csv", batch.problem)
        if "was changed" in said or "no designs of this table" in said:
            raise DamagedFile(said)
        return said

    return Kind(("batch.csv", "batch.html"), read)


def design_bench(folder: Path) -> Kind:
    rng = np.random.default_rng(0)
    name, stem = "DKittyMorphology-Exact-v0", "dkitty_morphology"
    place = folder / "bench" / stem
    place.mkdir(parents=True)
    for k in range(3):
        np.save(place / f"{stem}-x-{k}.npy", rng.normal(size=(9, 56)).astype(np.float32))
        np.save(place / f"{stem}-y-{k}.npy", rng.normal(size=(9, 1)).astype(np.float32))

    def read() -> list[Any]:
        return [array.tolist() for array in read_arrays(name, folder / "bench")]

    read()
    return Kind((f"bench/{stem}/*.npy",), read)


def placed_sums(folder: Path) -> Kind:
    whole = design_bench(folder)
    return Kind(("data/placed.json",), whole.load)


def _batch() -> Any:
    problem = mbo_gym.make_task(TASK, max_rows=60).problem()
    return mbo_gym.make_trajectories(problem, mbo_gym.TrajectoryRecipe(n=4, horizon=3))


def exported_npz(folder: Path) -> Kind:
    export(_batch(), to="npz", path=folder / "t.npz")

    def read() -> list[Any]:
        batch = load_npz(folder / "t.npz")
        return [batch.z.tolist(), batch.rewards.tolist(), json.dumps(batch.meta)]

    return Kind(("t.npz",), read)


def exported_d3rlpy(folder: Path) -> Kind:
    export(_batch(), to="d3rlpy", path=folder / "t.h5")
    return Kind(("t.h5",), lambda: list(read_meta(folder / "t.h5")))


KINDS: Mapping[str, Callable[[Path], Kind]] = {
    "saved surrogate": surrogate,
    "saved encoder": encoder,
    "fitted method": fitted_method,
    "fitted policy": policy,
    "training checkpoint": training_checkpoint,
    "policy checkpoint": policy_checkpoint,
    "results.jsonl": record_lines,
    "results.jsonl.xz": packed_records,
    "record.json": cell_records,
    "cell folder": cell_folders,
    "configs.json": configs,
    "run folder": run_folder,
    "batch and card": proposed,
    "Design-Bench folder": design_bench,
    "placed.json": placed_sums,
    "export npz": exported_npz,
    "export d3rlpy": exported_d3rlpy,
}
"""Function that writes files of a kind into a folder, by the name of the kind."""
SLOW = ("fitted policy",)
"""Kinds that take seconds to make."""
_NEED_D3RLPY = ("fitted policy", "policy checkpoint", "export d3rlpy")


def study(names: list[str], n: int, seed: int = 0) -> tuple[dict[str, Counter[str]], list[str]]:
    """Damage files `n` times in all, each kind as often.

    Args:
        names: Kinds, see `KINDS`.
        n: Number of mutations.
        seed: Seed of the mutations.

    Returns:
        Number of each outcome by kind; a line for each fault.
    """
    counts: dict[str, Counter[str]] = {}
    faults: list[str] = []
    for i, name in enumerate(names):
        share = n * (i + 1) // len(names) - n * i // len(names)
        counts[name] = Counter()
        with _own_folders() as folder:
            kind = KINDS[name](folder)
            for what, told in _tried(folder, kind, share, np.random.default_rng([seed, i])):
                counts[name][what] += 1
                if what in FAULTS:
                    faults.append(f"{name}: {what}: {told}")
    return counts, faults


def _tried(folder: Path, kind: Kind, n: int, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Yield the outcome of each mutation, and what was damaged and said."""
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        shutil.copytree(folder, whole)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = kind.load()
        files = sorted(path for pattern in kind.files for path in whole.glob(pattern))
        files = [path for path in files if path.is_file()]
        for k in range(n):
            _restored(whole, folder)
            path = files[k % len(files)].relative_to(whole)
            (folder / path).write_bytes(mutate((folder / path).read_bytes(), rng))
            what, said = _outcome(kind, value, folder)
            yield what, f"{path}: {said}"
        _restored(whole, folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind.load() != value:
                raise AssertionError(f"the undamaged {kind.files} read otherwise than before")


def _outcome(kind: Kind, whole: Any, folder: Path) -> tuple[str, str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = kind.load()
        except (MboGymError, ValueError, OSError) as error:  # what a command catches
            return ("refused" if str(folder) in str(error) else "unnamed"), str(error)
        except Exception as error:
            return "traceback", f"{type(error).__name__}: {error}"
    said = [str(w.message) for w in caught if str(folder) in str(w.message)]
    if found == whole:
        return "harmless", ""
    if kind.parts and said and found.items() <= whole.items():
        return "left out", said[0]
    if said:
        return "refused", said[0]
    return "silent", f"{str(found)[:200]}"


def _restored(whole: Path, folder: Path) -> None:
    """Make a folder the copy of another."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(whole, folder, dirs_exist_ok=True)


@contextmanager
def _own_folders() -> Iterator[Path]:
    """Yield a new folder, which holds the data folder too while it is used."""
    before = os.environ.get(store.ENVIRONMENT_VARIABLE)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "files"
        (folder / "data").mkdir(parents=True)
        os.environ[store.ENVIRONMENT_VARIABLE] = str(folder / "data")
        try:
            yield folder
        finally:
            if before is None:
                del os.environ[store.ENVIRONMENT_VARIABLE]
            else:
                os.environ[store.ENVIRONMENT_VARIABLE] = before


def main() -> None:
    """Damage files and print kinds x outcomes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mutations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS))
    arguments = parser.parse_args()
    names = arguments.kinds.split(",")
    if find_spec("d3rlpy") is None:
        print("d3rlpy is not installed, so its files are left out: pip install 'mbo-gym[rl]'")
        names = [name for name in names if name not in _NEED_D3RLPY]
    counts, faults = study(names, arguments.mutations, arguments.seed)
    table = Table("kind", title=f"{arguments.mutations:,} damaged files, seed {arguments.seed}")
    for outcome in OUTCOMES:
        table.add_column(outcome, justify="right")
    for name, found in counts.items():
        table.add_row(name, *(str(found[outcome]) for outcome in OUTCOMES))
    total = sum(counts.values(), Counter())
    table.add_section()
    table.add_row("all", *(str(total[outcome]) for outcome in OUTCOMES))
    Console(width=100).print(table)
    for line in faults:
        print(line)
    if faults:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
