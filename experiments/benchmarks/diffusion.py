"""Speed of the diffusion core: sampling against a plain loop of the same network, and steps of training."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from common import seconds_per_call, show, where
from torch import Tensor

del sys.path[0]  # this folder, in which this file stands in the package's place

import mbo_gym  # noqa: E402
from diffusion.ddom import DDOMConfig  # noqa: E402
from diffusion.design_model import DesignModel  # noqa: E402
from diffusion.gtg import GTGConfig  # noqa: E402
from diffusion.proposals import design_encoder  # noqa: E402
from diffusion.trajectory_model import TrajectoryModel  # noqa: E402
from mbo_gym.progress import NullProgress  # noqa: E402


def plain_sampler(denoiser: Any, n: int, d: int, target: float, weight: float, generator: torch.Generator) -> Tensor:
    """Sample as the released programs do: 1,000 steps, two calls for guidance, and a second slope that goes unused."""
    rungs = torch.linspace(1, 0, 1001)
    level = torch.sqrt(torch.expm1(0.1 * rungs + 0.5 * 19.9 * rungs.square()))
    z = float((1 + level[0] ** 2).sqrt()) * torch.randn(n, d, generator=generator)
    condition = torch.full((n, 1), target)
    with torch.no_grad():
        for s, s_next in pairwise(level):
            for _ in range(2):  # the second is the unused one
                guided = (1 + weight) * denoiser(z, s, condition) - weight * denoiser(z, s)
            variance = s**2 - s_next**2
            z = z + variance / s**2 * (guided - z)
            if s_next > 0:
                z = z + variance.sqrt() * torch.randn(n, d, generator=generator)
    return z


def energy_distance(a: Tensor, b: Tensor) -> float:
    """Return 2 E|a - b| - E|a - a'| - E|b - b'| of two samples (n, d), (m, d)."""
    return float(2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean())


def sampling(task: str, n: int, steps: int) -> list[list[str]]:
    """Time both samplers on one trained network, and measure how far their samples are from the visible designs."""
    problem = mbo_gym.make_task(task).problem()
    encoder = design_encoder(problem, None)
    z = torch.from_numpy(encoder.encode(problem.dataset.x))
    y = torch.from_numpy(problem.dataset.score_scale.standardise(problem.dataset.y))
    config = DDOMConfig(train_steps=steps, bounds="none", guidance=0.0)
    model = DesignModel(config, z.shape[1], seed=0, device="cpu")
    started = time.perf_counter()
    model.fit(z, y, data=task, progress=NullProgress())
    print(f"{task}: {steps / (time.perf_counter() - started):.0f} training steps a second, batch {config.batch_size}")
    near = z[(y - y.median()).abs() < 0.1]
    target = float(y.median())
    rows = []
    model._config = replace(config, guidance=2.0)
    plain = model._denoiser
    seconds = [
        seconds_per_call(lambda: plain_sampler(plain, n, z.shape[1], target, 2.0, torch.Generator()), repeats=3),
        seconds_per_call(lambda: model.generate(n, target, torch.Generator()), repeats=3),
    ]
    model._config = config  # quality without guidance, which has a closed answer: the designs of that score
    samples = [
        plain_sampler(plain, n, z.shape[1], target, 0.0, torch.Generator().manual_seed(0)),
        model.generate(n, target, torch.Generator().manual_seed(0)),
    ]
    for name, second, sample in zip(
        ("plain loop, 1,000 steps", "Heun, 18 steps, fused"), seconds, samples, strict=True
    ):
        distance = energy_distance(sample, near[:4000])
        rows.append([task, name, f"{n / second:,.0f}", f"{seconds[0] / second:.0f}", f"{distance:.4f}"])
    return rows


def training_rate(task: str, batch: int) -> float:
    """Return updates a second of the model of trajectories, on noise of the task's shape."""
    d = design_encoder(mbo_gym.make_task(task).problem(), None).n_features
    config = GTGConfig(train_steps=20, batch_size=batch)
    trajectories = torch.randn(200, config.horizon, d + 1, generator=torch.Generator().manual_seed(0))
    box = -torch.ones(d), torch.ones(d)
    model = TrajectoryModel(config, d, seed=0, device="cpu")
    seconds = seconds_per_call(lambda: model.fit(trajectories, box, data=task, progress=NullProgress()), repeats=3)
    return config.train_steps / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="TFBind8-Exact-v0,Levy-Exact-v1")
    parser.add_argument("--n", type=int, default=256, help="designs sampled at once (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1000, help="training steps before (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = [row for task in args.tasks.split(",") for row in sampling(task, args.n, args.steps)]
    columns = ["task", "sampler", "designs/s", "ratio", "energy distance"]
    show("Sampling with guidance, one network", columns, rows, where())
    rows = [[task, str(n), f"{training_rate(task, n):.1f}"] for task in args.tasks.split(",") for n in (32, 64)]
    show("Training of trajectories, 64 designs each", ["task", "batch", "steps/s"], rows, where())


if __name__ == "__main__":
    main()
