"""The manifest of data sources, and the functions that fetch them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbo_gym.data import manifest
from mbo_gym.data.design_bench import ENVIRONMENT_VARIABLE
from mbo_gym.data.fetch import FETCHERS, fetch
from mbo_gym.errors import UnknownId


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MBO_GYM_DATA", str(tmp_path))
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    return tmp_path


def test_what_is_fetchable_can_be_fetched_and_nothing_else() -> None:
    fetchable = {name for name, facts in manifest.ENTRIES.items() if facts.fetchable}
    assert fetchable == set(FETCHERS)
    assert not any(manifest.entry(name).ships for name in fetchable)


def test_what_does_not_ship_says_how_to_place_it() -> None:
    for facts in manifest.ENTRIES.values():
        assert facts.ships or facts.by_hand, facts.name


def test_sources_are_found_where_they_lie(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = manifest.find("tfbind8_six6_ref_r1")
    assert shipped is not None
    assert shipped.is_file()
    assert manifest.find("superconductor") is None
    (empty_folder / "unique_m.csv").write_text("")
    assert manifest.find("superconductor") == empty_folder / "unique_m.csv"
    (empty_folder / "design_bench_data").mkdir()
    assert manifest.find("design_bench") == empty_folder / "design_bench_data"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(empty_folder / "kept"))
    assert manifest.find("design_bench") == empty_folder / "kept"
    with pytest.raises(UnknownId, match="Did you mean design_bench"):
        manifest.find("desing_bench")


def test_what_is_here_is_not_fetched_again(empty_folder: Path) -> None:
    (empty_folder / "unique_m.csv").write_text("")
    assert fetch("superconductor") == f"is here already: {empty_folder / 'unique_m.csv'}"
    (empty_folder / "design_bench_data").mkdir()
    assert fetch("design_bench").startswith("is here already")
