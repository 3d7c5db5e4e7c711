"""Speed of the diffusion core: sampling and training against plain loops of the same network."""

from __future__ import annotations

import argparse
import copy
import time
from dataclasses import replace
from itertools import chain, islice, pairwise, repeat
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import mbo_gym
from diffusion.ddom import DDOMConfig
from diffusion.gtg import GTGConfig
from diffusion.models import trajectories
from diffusion.models.config import SamplingConfig
from diffusion.models.designs import TRAINING, DesignModel
from diffusion.models.trajectories import TrajectoryModel
from diffusion.proposals import design_encoder
from experiments.benchmarks.common import seconds_per_call, show, where
from mbo_gym.methods.base import Context


def plain_sampler(
    denoiser: Any, n: int, d: int, target: float, weight: float, generator: torch.Generator
) -> Tensor:
    """Sample as the released programs do: 1,000 steps, two calls for guidance, and a second slope
    that goes unused."""
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


def plain_training(denoiser: Any, z: Tensor, y: Tensor, config: DDOMConfig, steps: int) -> float:
    """Train as the released programs do, with a data loader and an average of the weights by hand;
    updates a second."""
    trained = copy.deepcopy(denoiser).train().requires_grad_(True)
    adam = torch.optim.Adam(trained.parameters(), lr=config.training.learning_rate)
    average = {name: value.clone() for name, value in trained.state_dict().items()}
    rows = DataLoader(
        TensorDataset(z, y[:, None]), config.training.batch_size, shuffle=True, drop_last=True
    )
    started = time.perf_counter()
    for x, condition in islice(chain.from_iterable(repeat(rows)), steps):
        level = torch.exp(config.noise.level_mean + config.noise.level_std * torch.randn(len(x)))
        condition = condition * (torch.rand(len(x), 1) >= config.model.drop_condition)
        estimate = trained(x + level[:, None] * torch.randn(x.shape), level, condition)
        loss = ((estimate - x) / trained.coefficients(level)[1][:, None]).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        for name, value in trained.state_dict().items():
            average[name] = 0.999 * average[name] + 0.001 * value
    return steps / (time.perf_counter() - started)


def energy_distance(a: Tensor, b: Tensor) -> float:
    """Return 2 E|a - b| - E|a - a'| - E|b - b'| of two samples (n, d), (m, d)."""
    return float(2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean())


def compare(task: str, n: int, steps: int) -> tuple[list[list[str]], list[list[str]]]:
    """Time both ways to sample and to train one network; returns the rows of the two tables.

    The distance of samples is to the visible designs whose score is within .1 standard deviations
    of the one asked for.
    """
    problem = mbo_gym.make_task(task).problem()
    encoder = design_encoder(problem, None)
    z = torch.from_numpy(encoder.encode(problem.dataset.x))
    y = torch.from_numpy(problem.dataset.score_scale.standardise(problem.dataset.y))
    config = DDOMConfig(
        training=replace(TRAINING, steps=steps), sampling=SamplingConfig(0.0, bounds="none")
    )
    model = DesignModel(config.model, config.noise, config.sampling, z.shape[1], Context())
    plain_rate = plain_training(model.denoiser, z, y, config, steps)
    started = time.perf_counter()
    model.fit(z, y, config.training)
    rate = steps / (time.perf_counter() - started)
    training = [
        [task, "designs, plain loop", f"{plain_rate:.0f}", "1.0"],
        [task, "designs", f"{rate:.0f}", f"{rate / plain_rate:.1f}"],
    ]
    near = z[(y - y.median()).abs() < 0.1]
    target = float(y.median())
    rows = []
    model.sampling = replace(config.sampling, guidance=2.0)
    plain = model.denoiser
    seconds = [
        seconds_per_call(
            lambda: plain_sampler(plain, n, z.shape[1], target, 2.0, torch.Generator()), repeats=3
        ),
        seconds_per_call(lambda: model.generate(n, target, torch.Generator()), repeats=3),
    ]
    # Quality without guidance, which has a closed answer: the designs of that score.
    model.sampling = config.sampling
    samples = [
        plain_sampler(plain, n, z.shape[1], target, 0.0, torch.Generator().manual_seed(0)),
        model.generate(n, target, torch.Generator().manual_seed(0)),
    ]
    for name, second, sample in zip(
        ("plain loop, 1,000 steps", "Heun, 18 steps, fused"), seconds, samples, strict=True
    ):
        distance = energy_distance(sample, near[:4000])
        rows.append(
            [task, name, f"{n / second:,.0f}", f"{seconds[0] / second:.0f}", f"{distance:.4f}"]
        )
    return rows, training


def training_rate(task: str, config: GTGConfig) -> float:
    """Return updates a second of the model of trajectories, on noise of the task's shape."""
    d = design_encoder(mbo_gym.make_task(task).problem(), None).n_features
    steps = torch.randn(
        200, config.model.horizon, d + 1, generator=torch.Generator().manual_seed(0)
    )
    box = -torch.ones(d), torch.ones(d)
    model = TrajectoryModel(config.model, config.noise, config.sampling, d, Context())
    seconds = seconds_per_call(lambda: model.fit(steps, box, config.training), repeats=3)
    return config.training.steps / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="TFBind8-Exact-v0,Levy-Exact-v1")
    parser.add_argument(
        "--n", type=int, default=256, help="designs sampled at once (default: %(default)s)"
    )
    parser.add_argument(
        "--steps", type=int, default=1000, help="training steps before (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sampled, trained = [], []
    for task in args.tasks.split(","):
        rows, training = compare(task, args.n, args.steps)
        sampled += rows
        config = GTGConfig(training=replace(trajectories.TRAINING, steps=20))
        what = f"trajectories of {config.model.horizon}, batch {config.training.batch_size}"
        trained += [*training, [task, what, f"{training_rate(task, config):.1f}", "-"]]
    columns = ["task", "sampler", "designs/s", "ratio", "energy distance"]
    note = (
        f"{args.n} designs at once, guidance 2 (the distance: without); "
        f"{args.steps} updates before; {where()}"
    )
    show("Sampling with guidance, one network", columns, sampled, note)
    note = (
        f"designs: batch {DDOMConfig().training.batch_size}; "
        f"ours with clipping and a schedule of the rate too; {where()}"
    )
    show("Training", ["task", "what", "updates/s", "ratio"], trained, note)


if __name__ == "__main__":
    main()
