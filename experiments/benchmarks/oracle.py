"""Oracle speed: designs scored a second, in batches, against a Python loop over a dictionary."""

from __future__ import annotations

import argparse

import numpy as np
import torch

import mbo_gym
from experiments.benchmarks.common import rate, seconds_per_call, show, where

LOOP = 20_000  # designs that the loop looks up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--batch", type=int, default=1_000_000, help="designs a call (default: %(default)s)"
    )
    parser.add_argument(
        "--forest-batch", type=int, default=20_000, help="designs a call to the forest"
    )
    parser.add_argument("--device", default="cpu", help="where the tensors live")
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each row")
    args = parser.parse_args()
    timing = {"budget_s": args.seconds, "device": args.device}

    task = mbo_gym.make_task("TFBind8-Exact-v0")
    x = task.space.sample(args.batch, np.random.default_rng(0))
    oracle = task.oracle()
    designs = task.space.sample(4**8 * 16, np.random.default_rng(1))
    dictionary = dict(zip(map(tuple, designs.tolist()), oracle(designs).tolist(), strict=True))
    few = x[:LOOP]

    def loop() -> np.ndarray:
        return np.array([dictionary.get(tuple(row), 0.0) for row in few])

    loop_rate = LOOP / seconds_per_call(loop, budget_s=args.seconds)
    tensor = torch.from_numpy(x).to(args.device)
    measured = [
        (
            "TFBind8 table, numpy, each design checked",
            args.batch / seconds_per_call(lambda: oracle(x), **timing),
        ),
        (
            "TFBind8 table, tensors",
            args.batch / seconds_per_call(lambda: oracle.score_tensor(tensor), **timing),
        ),
    ]
    rows = [("TFBind8, dictionary in a Python loop", rate(loop_rate), "1")]
    rows += [(name, rate(speed), f"{speed / loop_rate:,.0f}") for name, speed in measured]
    try:
        forest_task = mbo_gym.make_task("Superconductor-RandomForest-v0")
    except mbo_gym.MissingData:
        rows.append(("Superconductor forest: its data are not on this machine", "-", "-"))
    else:
        pick = np.random.default_rng(0).integers(len(forest_task.dataset), size=args.forest_batch)
        z, forest = forest_task.dataset.x[pick], forest_task.oracle()
        speed = args.forest_batch / seconds_per_call(lambda: forest(z), budget_s=args.seconds)
        rows.append(("Superconductor forest (100 trees), numpy", rate(speed), "-"))
        on_device = torch.tensor(z, device=args.device)
        speed = args.forest_batch / seconds_per_call(
            lambda: forest.score_tensor(on_device), **timing
        )
        rows.append(("Superconductor forest (100 trees), tensors", rate(speed), "-"))
    note = f"{args.batch:,} designs a call (forest {args.forest_batch:,}, loop {LOOP:,}); {where(args.device)}"
    show("Oracles", ("oracle", "designs/s", "times the loop"), rows, note)


if __name__ == "__main__":
    main()
