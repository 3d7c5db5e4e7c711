"""Surrogate training: seconds of a default fit, an ensemble in one network against a loop, and the
papers' size."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

import mbo_gym
from experiments.benchmarks.common import show, where
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.surrogates.base import FitReport
from mbo_gym.surrogates.mlp import EnsembleConfig, EnsembleSurrogate, MLPConfig, MLPSurrogate
from mbo_gym.surrogates.registry import make_surrogate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="TFBind8-Exact-v0", help="task id (default: %(default)s)")
    parser.add_argument("--members", type=int, default=5, help="of the ensemble")
    parser.add_argument(
        "--steps",
        type=int,
        default=MLPConfig().train_steps,
        help="of the small networks (default: %(default)s)",
    )
    parser.add_argument(
        "--paper-steps", type=int, default=300, help="of the papers' network, then scaled"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu, cuda")
    args = parser.parse_args()
    problem = mbo_gym.make_task(args.task).problem()
    encoder = make_encoder(problem)
    z = torch.from_numpy(encoder.encode(problem.dataset.x)).to(args.device)
    y = torch.from_numpy(problem.dataset.score_scale.standardise(problem.dataset.y)).to(args.device)
    config = MLPConfig(train_steps=args.steps)

    def single(seed: int = 0) -> FitReport:
        return MLPSurrogate(config).fit(z, y, seed=seed)

    def ensemble() -> FitReport:
        settings = EnsembleConfig(train_steps=args.steps, members=args.members)
        return EnsembleSurrogate(settings).fit(z, y, seed=0)

    def loop() -> FitReport:
        for seed in range(1, args.members):
            single(seed)
        return single()

    def timed(fit: Callable[[], FitReport]) -> tuple[float, FitReport]:
        seconds = []
        for _ in range(args.repeats):
            started = time.perf_counter()
            report = fit()
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds), report

    MLPSurrogate(replace(config, train_steps=5)).fit(z, y, seed=0)  # the first fit loads libraries
    paper = make_surrogate("mlp_paper")
    full = paper.config.train_steps
    part = MLPSurrogate(replace(paper.config, train_steps=args.paper_steps))
    one, report = timed(single)
    rows = [
        (f"mlp, 2 x 256, {args.steps} steps", f"{one:.2f}", f"{report.rank_correlation:.3f}", "1")
    ]
    for name, fit in (
        (f"ensemble of {args.members}, one batched network", ensemble),
        (f"loop of {args.members} fits", loop),
    ):
        seconds, report = timed(fit)
        rows.append(
            (name, f"{seconds:.2f}", f"{report.rank_correlation:.3f}", f"{seconds / one:.2f}")
        )
    seconds, _ = timed(lambda: part.fit(z, y, seed=0))
    scaled = seconds * full / args.paper_steps
    rows.append(
        (f"mlp_paper, 2 x 2048, {full} steps (scaled)", f"{scaled:.0f}", "-", f"{scaled / one:.1f}")
    )
    note = f"median of {args.repeats}; the papers' size measured on {args.paper_steps} steps; {where(args.device)}"
    show(
        f"Surrogates of {args.task}",
        ("surrogate", "seconds", "rank correlation", "times the first"),
        rows,
        note,
    )


if __name__ == "__main__":
    main()
