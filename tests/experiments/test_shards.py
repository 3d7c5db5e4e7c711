"""Shards that are killed at random lose and double nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="shards are forks of one process")
def test_killed_shards_end_with_the_records_of_a_serial_run():
    command = [sys.executable, "-m", "experiments.benchmarks", "shards"]
    command += ["--shards", "6", "--kills", "15", "--seeds", "4"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    cells = [line.split("│") for line in done.stdout.splitlines() if line.startswith("│")]
    numbers = {what.strip(): int(number) for _, what, number, _ in cells}
    assert numbers.pop("kills in the middle of a cell", -1) >= 0, done.stderr
    assert numbers == {
        "shards": 6,
        "shards that ended by an error": 0,
        "kills": 15,
        "cells": 16,
        "cells lost": 0,
        "lines doubled": 0,
        "records that differ": 0,
        "half-written folders left": 0,
    }
