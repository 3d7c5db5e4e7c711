"""Speed of the fluid simulator and of the learned one: episodes and gradients, on a CPU or a GPU.

    OMP_NUM_THREADS=1 python -m experiments.benchmarks fluid
    python -m experiments.benchmarks fluid --device cuda --batch 64 1024

On a CPU it is the least CPU time of one core, on a GPU the least time by the clock. numba stays on the
CPU.
"""

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
from mbo_gym.surrogates.gns.network import load_network
from mbo_gym.surrogates.gns.surrogate import learned_scores

DIFFERENCES = 8
"""Episodes of a smoothed gradient: four antithetic pairs."""


class Stopwatch:
    """Times calls, the least of some repeats, which others on the machine disturb least.

    Args:
        device: Device of the work: CPU time on ``cpu``, else the clock's.
        repeats: Calls.
    """

    def __init__(self, device: str, repeats: int) -> None:
        self.repeats = repeats
        self._on_gpu = torch.device(device).type == "cuda"

    def __call__(self, function: Callable[[], Any], repeats: int | None = None) -> float:
        """Return the seconds of a call."""
        if self._on_gpu:
            function()  # what is compiled or allocated once does not count
        return min(self._once(function) for _ in range(repeats or self.repeats))

    def _once(self, function: Callable[[], Any]) -> float:
        started = self._now()
        function()
        return self._now() - started

    def _now(self) -> float:
        if not self._on_gpu:
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


def designs_of(scene: Scene, n: int) -> np.ndarray:
    """Return tools of every kind, from nearly flat to curled up."""
    spread = np.linspace(0.1, 1.0, n)[:, None]
    return np.random.default_rng(0).uniform(-1, 1, (n, scene.tool.n_angles)) * spread


def episode(scene: Scene, engine: Any, batch: int, device: str) -> Callable[[], Any]:
    """Return a call that simulates a batch."""
    x, physics = designs_of(scene, batch), Physics()
    return lambda: rollout(scene, x, physics, engine=engine, last=SCORED_FRAMES, device=device)


def autograd(scene: Scene, batch: int, device: str) -> Callable[[], Any]:
    """Return a call that takes the gradients of a batch through the torch engine."""
    engine = TorchEngine(Physics())
    particles = torch.from_numpy(scene.particles(engine.physics)).to(device)
    x = torch.from_numpy(designs_of(scene, batch).astype(np.float32))
    angles = x.to(device).requires_grad_()

    def gradient() -> None:
        frames = engine.rollout(
            scene.segments(angles), particles, scene.n_frames(engine.physics), last=SCORED_FRAMES
        )
        torch.autograd.grad(share_at_goal(frames, scene.goal_m, scene.sigma_m).sum(), angles)

    return gradient


def learned(scene: Scene, batch: int, device: str, *, gradient: bool) -> Callable[[], Any]:
    """Return a call that rolls a batch out in the learned simulator, with gradients or without."""
    network = load_network().to(device)
    angles = torch.from_numpy(designs_of(scene, batch).astype(np.float32)).to(device)

    def run() -> None:
        with torch.set_grad_enabled(gradient):
            wanted = angles.clone().requires_grad_(gradient)
            scores = learned_scores(network, scene, wanted, chunk=batch)
            if gradient:
                torch.autograd.grad(scores.sum(), wanted)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scene", default="contain", choices=SCENES)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--learned-batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3, help="the least time counts")
    parser.add_argument("--device", default="cpu", help="of torch, e.g. cuda")
    args = parser.parse_args()
    torch.set_num_threads(1)
    scene, device, few = SCENES[args.scene], args.device, args.learned_batch
    seconds = Stopwatch(device, args.repeats)
    engines = ["torch", *(["numba"] if find_spec("numba") else [])]
    if "numba" in engines:
        rollout(scene, designs_of(scene, 1), Physics(), engine="numba")  # compiles

    def ms(call: Callable[[], Any], batch: int, repeats: int | None = None) -> float:
        return 1e3 / batch * seconds(call, repeats)

    found = {
        f"episode, {engine}, batch {batch}": ms(
            episode(scene, engine, batch, device if engine == "torch" else "cpu"), batch
        )
        for engine in engines
        for batch in args.batch
    }
    reference = found[f"episode, torch, batch {args.batch[-1]}"]
    found["gradient, autograd through torch, batch 8"] = ms(autograd(scene, 8, device), 8, 1)
    fast = engines[-1]
    found[f"gradient, smoothed differences, {fast}"] = DIFFERENCES * ms(
        episode(scene, fast, DIFFERENCES, device if fast == "torch" else "cpu"), DIFFERENCES
    )
    rolled = learned(scene, few, device, gradient=False)
    found[f"learned episode, batch {few}"] = ms(rolled, few)
    sloped = learned(scene, few, device, gradient=True)
    found[f"learned gradient, batch {few}"] = ms(sloped, few, 1)
    rows = [
        [what, f"{one:,.1f}", f"{1e3 / one:,.1f}", f"{reference / one:.2g}"]
        for what, one in found.items()
    ]
    clock = "Time" if torch.device(device).type == "cuda" else "CPU time"
    note = f"{clock} on {where(device)}. Ratio: to an episode in torch, batch {args.batch[-1]}."
    if len(engines) == 2:
        off = np.abs(np.subtract(*(scores(scene, engine) for engine in engines))).max()
        note += f" Largest difference of scores: {off:.1e}."
    steps = scene.n_frames(Physics()) * Physics().substeps_per_frame
    show(
        f"{scene.name}: {len(scene.particles(Physics()))} particles, {steps} substeps",
        ["what", "ms a design", "designs/s", "ratio"],
        rows,
        note,
    )


def scores(scene: Scene, engine: Any) -> np.ndarray:
    """Return the scores (32,) of some designs by an engine."""
    frames_m = rollout(scene, designs_of(scene, 32), Physics(), engine=engine, last=SCORED_FRAMES)
    return goal_scores(frames_m, scene.goal_m, scene.sigma_m)


if __name__ == "__main__":
    main()
