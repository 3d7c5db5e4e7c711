"""Speed of the fluid simulator: designs a second by both engines, and what a gradient costs."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from experiments.benchmarks.common import show, where
from mbo_gym.simulators.fluid.mpm import TorchEngine
from mbo_gym.simulators.fluid.physics import Physics
from mbo_gym.simulators.fluid.rollout import rollout
from mbo_gym.simulators.fluid.scene import Scene
from mbo_gym.simulators.fluid.scenes import SCENES
from mbo_gym.simulators.fluid.score import SCORED_FRAMES, goal_scores, share_at_goal


def cpu_seconds(function: Callable[[], Any], repeats: int) -> float:
    """Return the least CPU time of a call, which others on the machine disturb least."""
    best = float("inf")
    for _ in range(repeats):
        started = time.process_time()
        function()
        best = min(best, time.process_time() - started)
    return best


def designs_of(scene: Scene, n: int) -> np.ndarray:
    """Return tools of every kind, from nearly flat to curled up."""
    spread = np.linspace(0.1, 1.0, n)[:, None]
    return np.random.default_rng(0).uniform(-1, 1, (n, scene.tool.n_angles)) * spread


def episode_ms(scene: Scene, engine: Any, batch: int, repeats: int) -> float:
    """Return the CPU time of one design's episode in a batch, in milliseconds."""
    x = designs_of(scene, batch)
    return (
        1e3
        / batch
        * cpu_seconds(
            lambda: rollout(scene, x, Physics(), engine=engine, last=SCORED_FRAMES), repeats
        )
    )


def autograd_ms(scene: Scene, batch: int) -> float:
    """Return the CPU time of one design's gradient through the torch engine."""
    engine = TorchEngine(Physics())
    particles = torch.from_numpy(scene.particles(engine.physics))
    angles = torch.from_numpy(designs_of(scene, batch).astype(np.float32)).requires_grad_()

    def gradient() -> None:
        frames = engine.rollout(
            scene.segments(angles), particles, scene.n_frames(engine.physics), last=SCORED_FRAMES
        )
        torch.autograd.grad(share_at_goal(frames, scene.goal_m, scene.sigma_m).sum(), angles)

    return 1e3 / batch * cpu_seconds(gradient, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scene", default="contain", choices=SCENES)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--repeats", type=int, default=3, help="the least CPU time counts")
    args = parser.parse_args()
    torch.set_num_threads(1)
    scene, physics = SCENES[args.scene], Physics()
    engines = ["torch", *(["numba"] if find_spec("numba") else [])]
    if "numba" in engines:
        rollout(scene, designs_of(scene, 1), physics, engine="numba")  # compiles
    reference = episode_ms(scene, "torch", args.batch[-1], args.repeats)

    def row(what: str, ms: float) -> list[str]:
        return [what, f"{ms:,.1f}", f"{1e3 / ms:,.1f}", f"{reference / ms:.2g}"]

    rows = []
    for engine in engines:
        for batch in args.batch:
            ms = episode_ms(scene, engine, batch, args.repeats)
            rows.append(row(f"episode, {engine}, batch {batch}", ms))
    rows.append(row("gradient, autograd through torch, batch 8", autograd_ms(scene, 8)))
    differences = 8  # four antithetic pairs
    ms = differences * episode_ms(scene, engines[-1], differences, args.repeats)
    rows.append(row(f"gradient, smoothed differences, {engines[-1]}", ms))
    note = f"CPU time on {where()}. Ratio: to an episode in torch at batch {args.batch[-1]}."
    if len(engines) == 2:
        x = designs_of(scene, 32)
        scores = [
            goal_scores(
                rollout(scene, x, physics, engine=e, last=SCORED_FRAMES),
                scene.goal_m,
                scene.sigma_m,
            )
            for e in ("torch", "numba")
        ]
        note += f" Largest difference of scores: {np.abs(scores[0] - scores[1]).max():.1e}."
    steps = scene.n_frames(physics) * physics.substeps_per_frame
    show(
        f"{scene.name}: {len(scene.particles(physics))} particles, {steps} substeps",
        ["what", "ms a design", "designs/s", "ratio"],
        rows,
        note,
    )


if __name__ == "__main__":
    main()
