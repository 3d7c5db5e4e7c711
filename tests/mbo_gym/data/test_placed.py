"""Placed data files without a published checksum are compared with their first reading."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import mbo_gym
from mbo_gym.cli import main
from mbo_gym.data.design_bench import read_arrays
from mbo_gym.data.placed import BOOK, check_placed, hash_of, review
from mbo_gym.errors import DamagedFile, MissingData, UnknownId

NAME, STEM = "DKittyMorphology-Exact-v0", "dkitty_morphology"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a Design-Bench folder in the data folder, with one data set."""
    monkeypatch.setenv("MBO_GYM_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("MBO_GYM_DESIGN_BENCH", raising=False)
    root = tmp_path / "data" / "design_bench_data"
    (root / STEM).mkdir(parents=True)
    rng = np.random.default_rng(0)
    np.save(root / STEM / f"{STEM}-x-0.npy", rng.normal(size=(9, 56)).astype(np.float32))
    np.save(root / STEM / f"{STEM}-y-0.npy", rng.normal(size=(9, 1)).astype(np.float32))
    return root


@pytest.fixture
def mbo(capsys, monkeypatch):
    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["mbo-gym", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_changed_bit_is_refused_and_a_replaced_file_can_be_accepted(bench, mbo):
    before, _ = read_arrays(NAME)
    np.testing.assert_array_equal(read_arrays(NAME)[0], before)
    path = bench / STEM / f"{STEM}-x-0.npy"
    flip(path)
    with pytest.raises(DamagedFile) as caught:
        mbo_gym.make_task(NAME)
    said = str(caught.value)
    assert said.startswith(f"{path} is damaged: its sha256 is ")
    assert f"mbo-gym data check {path.parent} --accept" in said
    code, out, err = mbo("data", "check", "design_bench")
    assert code == 2
    assert f"damaged  {path}" in out
    assert "1 of 2 files differ from their first reading" in err
    assert "Traceback" not in err
    assert mbo("data", "check", path.parent, "--accept")[0] == 0
    assert not np.array_equal(read_arrays(NAME)[0], before)


def test_swapped_pieces_are_refused(bench):
    for k in (1, 2):
        for axis in "xy":
            content = (bench / STEM / f"{STEM}-{axis}-0.npy").read_bytes()
            (bench / STEM / f"{STEM}-{axis}-{k}.npy").write_bytes(content)
    np.save(bench / STEM / f"{STEM}-x-1.npy", np.ones((9, 56), dtype=np.float32))
    read_arrays(NAME)
    one, two = (bench / STEM / f"{STEM}-x-{k}.npy" for k in (1, 2))
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    with pytest.raises(DamagedFile, match="is damaged"):
        read_arrays(NAME)


def test_the_list_of_data_shows_the_hash(bench, mbo):
    assert hash_of(bench) == ""
    read_arrays(NAME)
    assert f"{hash_of(bench)}.. of the files read so far" in mbo("data", "list")[1]
    task = mbo_gym.make_task(NAME)
    assert task.data_hash in mbo("show", NAME)[1]


def test_a_damaged_list_of_checksums_is_named(bench):
    read_arrays(NAME)
    book = bench.parent / BOOK
    assert set(json.loads(book.read_text())) == {str(path) for path in (bench / STEM).glob("*.npy")}
    book.write_text("[")
    with pytest.raises(DamagedFile, match=r"placed\.json is damaged: .*Remove it"):
        read_arrays(NAME)
    book.unlink()
    read_arrays(NAME)


def test_where_nothing_can_be_written_nothing_is_remembered(bench, monkeypatch):
    def refuse() -> Path:
        raise MissingData("read-only")

    monkeypatch.setattr("mbo_gym.files.store.write_folder", refuse)
    path = bench / STEM / f"{STEM}-x-0.npy"
    check_placed([path])
    flip(path)
    check_placed([path])


def test_what_is_not_there_is_said(bench):
    with pytest.raises(MissingData, match="ships with the package"):
        review("tfbind8_six6_ref_r1")
    with pytest.raises(MissingData, match="is not on this machine"):
        review("superconductor")
    with pytest.raises(UnknownId, match="Did you mean design_bench"):
        review("design_benc")
