"""The study of damaged files: no damage goes unseen or ends in a traceback."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from experiments.studies.damage import FAULTS, KINDS, SLOW, study

FAST = [name for name in KINDS if name not in SLOW]
NEED = {"policy checkpoint": "d3rlpy", "export d3rlpy": "d3rlpy"}


@pytest.mark.parametrize("name", FAST)
def test_damage_is_seen(name):
    library = NEED.get(name)
    if library is not None and find_spec(library) is None:
        pytest.skip(f"needs {library}: pip install 'mbo-gym[rl]'")
    n = -(-100 // len(FAST))  # 100 in all
    counts, faults = study([name], n, seed=1)
    assert faults == []
    assert sum(counts[name].values()) == n
    assert sum(counts[name][what] for what in FAULTS) == 0
    assert counts[name]["refused"] + counts[name]["left out"] > 0 or name == "configs.json"
