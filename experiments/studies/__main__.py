"""Run a module of this package by its name."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

NAMES = sorted(
    path.stem for path in Path(__file__).parent.glob("[!_]*.py") if path.stem != "common"
)

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        raise SystemExit(f"name one of: {', '.join(NAMES)}")
    name = sys.argv.pop(1)
    runpy.run_module(f"experiments.studies.{name}", run_name="__main__", alter_sys=True)
