"""Time to sample and to project designs of 20 parameters with a simplex and two inequalities."""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np

from experiments.benchmarks.common import seconds_per_call, show, where
from mbo_gym.problem.constraints import FixedSum, LinearLimit
from mbo_gym.problem.mixed import MixedSpace
from mbo_gym.problem.parameters import Real

NAMES = tuple(f"x{j}" for j in range(20))
CONSTRAINTS = (
    FixedSum(NAMES[:8], 1.0),
    LinearLimit(dict.fromkeys(NAMES[4:12], 1.0), high=2.0),
    LinearLimit({NAMES[0]: 2.0, NAMES[13]: 1.0, NAMES[19]: 1.0}, high=1.5),
)


def main(n: int) -> None:
    points = np.random.default_rng(1).normal(0.5, 0.5, size=(n, len(NAMES)))
    rows = []
    for step in (None, 0.01):
        space = MixedSpace(tuple(Real(name, 0, 1, step=step) for name in NAMES), CONSTRAINTS)
        rng = np.random.default_rng(0)
        sampling = seconds_per_call(partial(space.sample, n, rng))
        projecting = seconds_per_call(partial(space.project, points))
        kind = f"in steps of {step}" if step else "real numbers"
        rows.append((kind, f"{sampling:.3f}", f"{projecting:.3f}"))
    show(f"{n:,} designs", ("20 parameters", "sample s", "project s"), rows, where())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000)
    main(parser.parse_args().n)
