"""The results folder: appended, mended after a kill, locked."""

from __future__ import annotations

import json
import os
import re

import pytest

from mbo_gym.benchmark.execute.results import ResultStore, write_record
from mbo_gym.benchmark.record import CellRecord
from mbo_gym.errors import DamagedFile
from tests.mbo_gym.benchmark.records import failed, record


def dated(seed=0, finished="2026-11-21T13:00:00+00:00", **changes):
    return record("grad", "Toy-v0", seed, finished=finished, **changes)


@pytest.fixture
def store(tmp_path) -> ResultStore:
    """Return a store with the records of seeds 0 and 1."""
    store = ResultStore(tmp_path / "results")
    with store.writing():
        store.add(dated(0))
        store.add(dated(1))
    return store


def test_what_was_added_is_read_back_in_order(store):
    assert store.records() == [dated(0), dated(1)]
    lines = store.lines.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [dated(0).to_json(), dated(1).to_json()]
    with store.writing() as known:
        assert known == {r.key: r for r in (dated(0), dated(1))}


def test_the_last_line_of_a_key_counts(store):
    bad = failed("grad", "Toy-v0", 0, finished="2026-11-21T14:00:00+00:00")
    with store.writing():
        store.add(bad)
    assert store.records() == [bad, dated(1)]


def test_reading_creates_nothing(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"none holds no results\.jsonl and no results\.jsonl\.xz\. Run `mbo-gym benchmark",
    ):
        ResultStore(tmp_path / "none").records()
    assert os.listdir(tmp_path) == []


def test_a_number_that_json_does_not_know_is_refused(store):
    before = store.lines.read_bytes()
    with store.writing(), pytest.raises(ValueError, match="JSON compliant"):
        store.add(dated(2, seconds=float("nan")))
    assert store.lines.read_bytes() == before


@pytest.mark.parametrize("length", [1, 40, -2, -1])
def test_a_torn_last_line_is_passed_over_and_cut_off(store, length):
    whole = store.lines.read_bytes()
    torn = dated(2).line().encode() + b"\n"
    store.lines.write_bytes(whole + torn[:length])
    complete = length == -1  # everything but the line end
    assert store.records() == [dated(0), dated(1), *([dated(2)] if complete else [])]
    with store.writing():
        store.add(dated(3))
    assert [r.request.seed for r in store.records()][:2] == [0, 1]
    assert store.records()[-1] == dated(3)
    for line in store.lines.read_text().splitlines():
        assert json.loads(line)["key"]


def test_a_torn_line_may_end_within_a_letter(store):
    whole = store.lines.read_bytes()
    store.lines.write_bytes(whole + '{"key": "é'.encode()[:-1])
    assert store.records() == [dated(0), dated(1)]
    with store.writing():
        pass
    assert store.lines.read_bytes() == whole


@pytest.mark.parametrize(
    "garbage", ["no JSON", '{"key": "0f', "[1, 2]", "17", '"text"', '{"status": "done"}']
)
@pytest.mark.parametrize("line", [1, 2, 3])
def test_any_other_line_that_is_no_record_is_named_and_set_aside(store, garbage, line):
    lines = store.lines.read_text().splitlines()
    lines.insert(line - 1, garbage)
    store.lines.write_text("".join(f"{text}\n" for text in lines))
    with pytest.warns(UserWarning, match=rf"results\.jsonl: line {line} is damaged and left out"):
        assert store.records() == [dated(0), dated(1)]
    with pytest.warns(UserWarning, match=f"line {line} is damaged and set aside"), store.writing():
        pass
    aside = store.lines.with_name("results.jsonl.damaged")
    assert aside.read_text() == garbage + "\n"  # nothing was thrown away
    assert store.records() == [dated(0), dated(1)]


@pytest.mark.parametrize(
    ("old", "new"),
    [('"p100": 0.9', '"p100": 0.99'), ('"seed": 1', '"seed": 7'), ('"sha256"', '"sha255"')],
)
def test_a_line_that_was_changed_is_not_believed(store, old, new):
    text = store.lines.read_text()
    first, second = text.splitlines(keepends=True)
    assert old in second
    store.lines.write_text(first + second.replace(old, new, 1))
    with pytest.warns(UserWarning, match="line 2 is damaged and left out"):
        assert store.records() == [dated(0)]


def test_a_line_of_an_older_program_has_no_checksum(store):
    values = dated(2).to_json()
    del values["sha256"]
    with store.lines.open("a") as file:
        file.write(json.dumps(values) + "\n")
    assert store.records() == [dated(0), dated(1), dated(2)]


@pytest.mark.parametrize("content", ["", "{", "null", "[]", '{"key": "x"}', "\x00", "é"])
def test_a_damaged_record_of_a_cell_is_set_aside_and_never_stops_the_folder(store, content):
    write_record(store.cells / "2", dated(2))
    write_record(store.cells / "3", dated(3))
    path = store.cells / "2" / "record.json"
    path.write_bytes(content.encode("latin-1"))
    with (
        pytest.warns(UserWarning, match=r"record\.json is damaged"),
        store.writing() as known,
    ):
        found = set(known)
    assert dated(3).key in found
    assert dated(2).key not in found
    assert not path.exists()
    assert path.with_name("record.json.damaged").exists()


def test_a_damaged_packed_file_is_named(store):
    store.pack()
    content = bytearray(store.packed.read_bytes())
    content[len(content) // 2] ^= 255
    store.packed.write_bytes(bytes(content))
    with pytest.raises(DamagedFile, match=r"results\.jsonl\.xz is damaged"):
        store.records()


def test_empty_lines_do_no_harm(store):
    store.lines.write_text("\n\n" + store.lines.read_text() + "\n")
    assert store.records() == [dated(0), dated(1)]


def test_a_finished_folder_without_its_line_is_recovered(store):
    write_record(store.cells / "grad-Toy-v0-2", dated(2))
    with store.writing() as known:
        assert known[dated(2).key] == dated(2)
    assert store.records() == [dated(0), dated(1), dated(2)]
    before = store.lines.read_bytes()
    with store.writing():
        pass
    assert store.lines.read_bytes() == before  # once is enough


def test_a_folder_that_is_newer_than_its_line_counts_and_an_older_one_does_not(store):
    newer, older = dated(0, "2026-11-21T14:00:00+00:00"), dated(1, "2026-11-21T12:00:00+00:00")
    write_record(store.cells / "0", newer)
    write_record(store.cells / "1", older)
    with store.writing() as known:
        assert known == {r.key: r for r in (newer, dated(1))}
    assert store.records() == [newer, dated(1)]


def test_half_written_folders_go_and_others_stay(store):
    for name in (".grad-Toy-v0-3.x7f", "grad-Toy-v0-4"):
        (store.cells / name / "model").mkdir(parents=True)
        (store.cells / name / "model" / "weights").write_text("half")
    with store.writing() as known:
        assert len(known) == 2  # a folder without a record has not ended
    assert os.listdir(store.cells) == ["grad-Toy-v0-4"]


def test_a_second_writer_is_told_so_and_the_first_goes_on(store):
    with store.writing():
        with (
            pytest.raises(
                ValueError, match=rf"{re.escape(str(store.folder))}.*choose another --output"
            ),
            ResultStore(store.folder).writing(),
        ):
            pass
        store.add(dated(2))
    assert len(ResultStore(store.folder).records()) == 3
    with ResultStore(store.folder).writing():
        pass  # free again


def test_a_report_may_read_while_a_benchmark_writes(store):
    with store.writing():
        store.add(dated(2))
        assert len(ResultStore(store.folder).records()) == 3


def test_an_error_while_writing_lets_go_of_the_folder(store):
    with pytest.raises(ValueError, match="JSON compliant"), store.writing():
        store.add(dated(2, seconds=float("inf")))
    with store.writing() as known:
        assert len(known) == 2


def test_a_record_lies_in_its_folder_whole(tmp_path):
    write_record(tmp_path / "cell", dated(0))
    write_record(tmp_path / "cell", dated(1))
    assert os.listdir(tmp_path / "cell") == ["record.json"]
    text = (tmp_path / "cell" / "record.json").read_text()
    assert CellRecord.from_json(json.loads(text)) == dated(1)


def test_packed_records_are_read_and_counted_once(store):
    before = store.records()
    size = store.lines.stat().st_size
    assert store.pack() == [store.packed, store.summary]
    assert store.records() == before
    assert not store.lines.exists()
    assert store.packed.stat().st_size < size
    assert len(store.summary.read_text().splitlines()) == 3


def test_a_benchmark_goes_on_beside_packed_records(store):
    store.pack()
    newer = dated(0, "2026-11-21T14:00:00+00:00", seconds=1.0)
    with store.writing() as known:
        assert len(known) == 2
        store.add(newer)
        store.add(dated(2))
    assert len(store.lines.read_text().splitlines()) == 2
    assert store.records() == [newer, dated(1), dated(2)]
    store.pack()
    assert store.records() == [newer, dated(1), dated(2)]
    assert not store.lines.exists()


def test_packing_twice_gives_the_same_bytes(store):
    store.pack()
    first = store.packed.read_bytes()
    store.pack()
    assert store.packed.read_bytes() == first


def test_there_must_be_records_to_pack(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none holds no results\.jsonl"):
        ResultStore(tmp_path / "none").pack()
    assert os.listdir(tmp_path) == []
