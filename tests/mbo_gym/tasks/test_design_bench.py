"""Tasks from Design-Bench's own folder: little folders written here, whole and broken ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

import mbo_gym
from mbo_gym.data import manifest
from mbo_gym.data.design_bench import ENVIRONMENT_VARIABLE
from mbo_gym.errors import InvalidData, MissingData, UnknownId
from mbo_gym.files import store
from mbo_gym.oracles.table import TableOracle
from mbo_gym.problem.space import CategoricalSpace, ContinuousSpace
from mbo_gym.tasks import synthetic
from mbo_gym.tasks.design_bench import TASKS, make_design_bench_task, read_arrays

CONSTANTS = Path(__file__).parents[4] / "shared" / "data" / "norm_constants.json"
LOST = [task_id for task_id, facts in TASKS.items() if facts.lost]


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MBO_GYM_DATA", str(tmp_path / "data"))
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    return tmp_path / "data"


def write(folder: Path, stem: str, x: np.ndarray, y: np.ndarray, cuts: Sequence[int] = ()) -> None:
    """Write designs and scores in pieces that end before the rows `cuts`, scores as (N, 1) as
    Design-Bench had them."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, (a, b) in enumerate(zip([0, *cuts], [*cuts, len(y)], strict=True)):
        np.save(folder / f"{stem}-x-{k}.npy", x[a:b])
        np.save(folder / f"{stem}-y-{k}.npy", y[a:b, None])


def random_rows(task_id: str, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    layout, info = TASKS[task_id].layout, TASKS[task_id].info
    rng = np.random.default_rng(seed)
    y = rng.uniform(info.y_min, info.y_max, size=n).astype(np.float32)
    if layout.discrete:
        return rng.integers(0, layout.n_categories or 5, size=(n, layout.width)), y
    return rng.normal(size=(n, layout.width)).astype(np.float32), y


def tfbind8_rows() -> tuple[np.ndarray, np.ndarray]:
    """Return TFBind8 as Design-Bench's files hold it: each 8-mer, then its reverse complement,
    (65792, 8)."""
    shipped = store.load_npz(manifest.shipped("tfbind8_six6_ref_r1"))
    forward = np.stack(np.unravel_index(shipped["octamer"].astype(int), (4,) * 8), axis=1)
    e = shipped["e_score_1e5"] / 1e5
    y = ((e - e.min()) / (e.max() - e.min())).astype(np.float32)
    return np.concatenate([forward, 3 - forward[:, ::-1]]), np.concatenate([y, y])


def test_pieces_are_joined_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    x, y = random_rows("DKittyMorphology-Exact-v0", 23)
    write(tmp_path / "dkitty_morphology", "dkitty_morphology", x, y, cuts=range(2, 22, 2))
    assert (tmp_path / "dkitty_morphology" / "dkitty_morphology-x-10.npy").exists()
    got_x, got_y = read_arrays("DKittyMorphology-Exact-v0", tmp_path)
    np.testing.assert_array_equal(got_x, x)
    np.testing.assert_array_equal(got_y, y)
    assert got_y.shape == (23,)
    assert got_x.dtype == got_y.dtype == np.float32


def test_tfbind8_from_the_folder_equals_the_shipped_task(tmp_path: Path) -> None:
    write(tmp_path / "tf_bind_8-SIX6_REF_R1", "tf_bind_8", *tfbind8_rows(), cuts=[30_000, 60_000])
    ours, theirs = (
        mbo_gym.make_task("TFBind8-Exact-v0"),
        make_design_bench_task("TFBind8-Exact-v0", tmp_path),
    )
    assert theirs.dataset.content_hash() == ours.dataset.content_hash()
    assert isinstance(theirs.hidden_oracle, TableOracle)
    assert isinstance(ours.hidden_oracle, TableOracle)
    np.testing.assert_array_equal(theirs.hidden_oracle.table, ours.hidden_oracle.table)
    assert theirs.space.letters == ours.space.letters  # type: ignore[union-attr]
    for field in (
        "task_id",
        "y_min",
        "y_max",
        "n_full",
        "n_visible",
        "d_best",
        "percentile",
        "score_name",
    ):
        assert getattr(theirs.info, field) == getattr(ours.info, field), field
    assert theirs.info.n_visible == 32_898


def test_tfbind8_oracle_takes_the_last_row_written(tmp_path: Path) -> None:
    x, y = tfbind8_rows()
    x, y = np.concatenate([x, x[:1]]), np.concatenate([y, np.array([0.125], dtype=np.float32)])
    write(tmp_path / "tf_bind_8", "tf_bind_8", x, y)
    task = make_design_bench_task("TFBind8-Exact-v0", tmp_path)
    assert task.oracle()(x[:1]).tolist() == [0.125]


def test_tfbind8_with_holes_is_refused(tmp_path: Path) -> None:
    x, y = tfbind8_rows()
    write(tmp_path / "tf_bind_8", "tf_bind_8", x[:1000], y[:1000])
    with pytest.raises(MissingData, match="64536 of 65536 sequences without a score"):
        make_design_bench_task("TFBind8-Exact-v0", tmp_path)


@pytest.mark.parametrize("task_id", LOST)
def test_tasks_whose_oracle_is_lost_have_data_but_no_oracle(tmp_path: Path, task_id: str) -> None:
    facts = TASKS[task_id]
    layout, info = facts.layout, facts.info
    x, y = random_rows(task_id, 40)
    write(tmp_path / layout.stem, layout.stem, x, y, cuts=[13])
    task = mbo_gym.make_task(task_id, folder=str(tmp_path))
    low, high = np.percentile(y, [facts.min_percentile, info.percentile])
    seen = (y >= low) & (y <= high)
    np.testing.assert_array_equal(task.dataset.x, x[seen])
    np.testing.assert_array_equal(task.dataset.y, y[seen])
    assert task.space.contains(task.dataset.x).all()
    assert task.info.d_best == pytest.approx(
        (y[seen].max() - info.y_min) / (info.y_max - info.y_min)
    )
    assert not task.has_oracle
    with pytest.raises(MissingData, match="cannot be had, so there is none"):
        task.oracle()
    if layout.discrete:
        assert isinstance(task.space, CategoricalSpace)
        assert task.space.n_categories == (layout.n_categories or 5)
    else:
        assert isinstance(task.space, ContinuousSpace)
        assert not np.isfinite(task.space.low).any()
        assert "no bounds" in task.info.space


def test_gfp_shows_the_rows_between_two_percentiles(tmp_path: Path) -> None:
    x, _ = random_rows("GFP-Transformer-v0", 101)
    y = np.linspace(2, 3, 101, dtype=np.float32)
    write(tmp_path / "gfp", "gfp", x, y)
    task = make_design_bench_task("GFP-Transformer-v0", tmp_path)
    np.testing.assert_array_equal(task.dataset.y, y[50:61])
    assert "between the 50th and the 60th percentile" in task.info.split


def test_a_forest_or_a_function_can_stand_in(tmp_path: Path) -> None:
    x, y = random_rows("UTR-ResNet-v0", 60)
    write(tmp_path / "utr", "utr", x, y)
    forest = make_design_bench_task("UTR-ResNet-v0", tmp_path, oracle="random_forest")
    assert "stand-in" in forest.info.oracle
    assert np.corrcoef(forest.oracle()(x), y)[0, 1] > 0.5
    own = make_design_bench_task(
        "UTR-ResNet-v0", tmp_path, oracle=lambda designs: designs.sum(axis=1)
    )
    np.testing.assert_array_equal(own.oracle()(x), x.sum(axis=1))
    with pytest.raises(UnknownId, match="random_forest"):
        make_design_bench_task("UTR-ResNet-v0", tmp_path, oracle="forest")


@pytest.mark.parametrize("function", ["Levy", "Rastrigin", "Rosenbrock"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_functions_keep_their_own_oracle_whatever_sign_the_file_has(
    tmp_path: Path, function: str, sign: int
) -> None:
    facts = synthetic.FUNCTIONS[function]
    x = (
        np.random.default_rng(0)
        .uniform(-facts.half_width, facts.half_width, size=(50, 60))
        .astype(np.float32)
    )
    f = facts.f(x.astype(np.float64))
    write(tmp_path / function.lower(), function.lower(), x, sign * f)
    task = make_design_bench_task(f"{function}-Exact-v0", tmp_path)
    y = (-f).astype(np.float32)
    np.testing.assert_array_equal(task.dataset.y, y[y <= np.percentile(y, 50)])
    np.testing.assert_allclose(task.oracle()(task.dataset.x), task.dataset.y, rtol=1e-6)
    assert (task.info.y_min, task.info.y_max) == facts.range_60d
    with pytest.raises(InvalidData, match="oracle of its own"):
        make_design_bench_task(f"{function}-Exact-v0", tmp_path, oracle="random_forest")


def test_a_design_outside_the_functions_box_is_refused(tmp_path: Path) -> None:
    x = np.zeros((3, 60), dtype=np.float32)
    x[1, 7] = 11
    write(tmp_path / "levy", "levy", x, np.arange(3.0))
    with pytest.raises(MissingData, match=r"row 1 .* x7=11"):
        make_design_bench_task("Levy-Exact-v0", tmp_path)


def test_tfbind10_comes_through_its_own_maker(tmp_path: Path) -> None:
    code = np.arange(4**10)
    x = np.stack(np.unravel_index(code, (4,) * 10), axis=1).astype(np.int8)
    y = np.random.default_rng(0).normal(size=len(code)).astype(np.float32)
    write(tmp_path / "tf_bind_10-pho4", "tf_bind_10", x, y, cuts=[500_000])
    task = make_design_bench_task("TFBind10-Exact-v0", tmp_path)
    np.testing.assert_array_equal(task.oracle()(x[[0, 5, -1]]), y[[0, 5, -1]])
    assert task.info.n_visible == 4**10 // 2


def test_superconductor_comes_through_its_own_maker(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = (
        rng.uniform(size=(60, 86)).astype(np.float32),
        rng.uniform(0, 185, size=60).astype(np.float32),
    )
    write(tmp_path / "superconductor", "superconductor", x, y)
    task = make_design_bench_task("Superconductor-RandomForest-v0", tmp_path)
    assert task.info.n_visible == 48
    assert "60 rows of Design-Bench's folder" in task.info.oracle
    assert np.corrcoef(task.oracle()(x), y)[0, 1] > 0.5


def test_the_folder_is_looked_for_by_argument_variable_and_data_folder(
    tmp_path: Path, own_data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k, place in enumerate(["argument", "variable", "data/design_bench_data"]):
        x, y = random_rows("UTR-ResNet-v0", 5, seed=k)
        write(tmp_path / place / "utr", "utr", x, y)
    read = [read_arrays("UTR-ResNet-v0")[1]]
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "variable"))
    read.append(read_arrays("UTR-ResNet-v0")[1])
    read.append(read_arrays("UTR-ResNet-v0", tmp_path / "argument")[1])
    for k, y in enumerate(reversed(read)):
        np.testing.assert_array_equal(y, random_rows("UTR-ResNet-v0", 5, seed=k)[1])


def test_without_a_folder_the_way_out_is_named() -> None:
    with pytest.raises(
        MissingData, match=rf"not on this machine.*{ENVIRONMENT_VARIABLE}.*no longer be downloaded"
    ):
        mbo_gym.make_task("GFP-Transformer-v0")


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="nowhere is no folder"):
        read_arrays("GFP-Transformer-v0", tmp_path / "nowhere")


def test_a_missing_sub_folder_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "utr").mkdir()
    with pytest.raises(
        MissingData, match=r"no sub-folder tf_bind_8-SIX6_REF_R1 or tf_bind_8, .*It has: utr"
    ):
        read_arrays("TFBind8-Exact-v0", tmp_path)


def test_a_sub_folder_of_another_name_is_known_by_its_files(tmp_path: Path) -> None:
    x, y = random_rows("UTR-ResNet-v0", 5)
    write(tmp_path / "my_utr_copy", "utr", x, y)
    (tmp_path / "utrecht").mkdir()
    np.save(tmp_path / "utrecht" / "utrecht-x-0.npy", x)  # another stem that only begins alike
    np.testing.assert_array_equal(read_arrays("UTR-ResNet-v0", tmp_path)[1], y)
    write(tmp_path / "second_copy", "utr", x, y)
    with pytest.raises(
        MissingData, match=r"several sub-folders of utr \(my_utr_copy, second_copy\)"
    ):
        read_arrays("UTR-ResNet-v0", tmp_path)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no pieces": (_empty, "holds no such files"),
    "x piece lost": (lambda f: (f / "utr-x-1.npy").unlink(), "lacks utr-x-1.npy"),
    "y piece lost": (lambda f: (f / "utr-y-2.npy").unlink(), "lacks utr-y-2.npy"),
    "web page": (
        lambda f: (f / "utr-x-1.npy").write_text("<!DOCTYPE html><title>404</title>"),
        "utr-x-1.npy is a web page",
    ),
    "truncated": (
        lambda f: (f / "utr-x-1.npy").write_bytes((f / "utr-x-1.npy").read_bytes()[:-8]),
        r"utr-x-1.npy is truncated or no numpy array \(\d+ bytes\)",
    ),
    "empty": (lambda f: (f / "utr-y-0.npy").write_bytes(b""), "utr-y-0.npy is truncated"),
    "a zip": (
        lambda f: (f / "utr-y-0.npy").write_bytes(b"PK\x03\x04rubbish"),
        "utr-y-0.npy is truncated",
    ),
    "pickle": (
        lambda f: np.save(f / "utr-y-0.npy", np.array([{}] * 2), allow_pickle=True),
        "utr-y-0.npy is truncated or no",
    ),
    "texts": (lambda f: np.save(f / "utr-y-0.npy", np.array(["a", "b"])), "no array of numbers"),
    "unequal rows": (
        lambda f: np.save(f / "utr-y-1.npy", np.zeros((3, 1))),
        "do not belong together: .*(2, 50).*(3, 1)",
    ),
    "two scores": (
        lambda f: np.save(f / "utr-y-1.npy", np.zeros((2, 2))),
        "do not belong together",
    ),
    "other width": (
        lambda f: np.save(f / "utr-x-1.npy", np.zeros((2, 49), int)),
        r"x.shape=\(2, 49\), utr-x-0.npy has",
    ),
    "fifth letter": (
        lambda f: np.save(f / "utr-x-0.npy", np.full((2, 50), 4)),
        "whole numbers from 0 below 4",
    ),
    "half letter": (lambda f: np.save(f / "utr-x-0.npy", np.full((2, 50), 0.5)), "whole numbers"),
    "score not finite": (
        lambda f: np.save(f / "utr-y-0.npy", np.full((2, 1), np.nan)),
        "not finite",
    ),
    "second data set": (lambda f: write(f, "gfp", np.zeros((2, 3)), np.zeros(2)), ""),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_folders_are_refused_with_the_file_and_the_remedy(tmp_path: Path, case: str) -> None:
    x, y = random_rows("UTR-ResNet-v0", 6)
    write(tmp_path / "utr", "utr", x, y, cuts=[2, 4])
    breaks, message = BROKEN[case]
    breaks(tmp_path / "utr")
    if not message:
        np.testing.assert_array_equal(read_arrays("UTR-ResNet-v0", tmp_path)[1], y)
        return
    with pytest.raises(MissingData, match=message) as caught:
        read_arrays("UTR-ResNet-v0", tmp_path)
    assert "Copy the sub-folder again" in str(caught.value)


def test_arrays_of_another_task_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "utr", "utr", *random_rows("TFBind8-Exact-v0", 6))
    with pytest.raises(
        MissingData, match=r"not those of UTR-ResNet-v0: designs must have shape \(N, 50\)"
    ):
        read_arrays("UTR-ResNet-v0", tmp_path)


def test_a_damaged_superconductor_folder_is_named_not_hidden(tmp_path: Path) -> None:
    write(
        tmp_path / "superconductor",
        "superconductor",
        *random_rows("Superconductor-RandomForest-v0", 6),
    )
    (tmp_path / "superconductor" / "superconductor-y-0.npy").write_text("<html>")
    with pytest.raises(MissingData, match=r"superconductor-y-0\.npy is a web page"):
        mbo_gym.make_task("Superconductor-RandomForest-v0", folder=str(tmp_path))


def test_an_unknown_task_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownId, match="UTR-ResNet-v0"):
        read_arrays("UTR-ResNet-v1")


def test_the_table_has_the_published_constants() -> None:
    if not CONSTANTS.exists():
        pytest.skip(f"{CONSTANTS} is not on this machine")
    published = json.loads(CONSTANTS.read_text())
    for task_id, facts in TASKS.items():
        low, high = published[task_id]
        if task_id.startswith(("Rastrigin", "Rosenbrock")):  # published for plus the function
            low, high = -high, -low
        assert (facts.info.y_min, facts.info.y_max) == (low, high), task_id
