"""Policy-guided search stage by stage: seconds and peak memory of surrogates, episodes, training
and search."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

import mbo_gym
from agents.rl.collect import make_episodes
from agents.rl.learner import train_offline
from agents.rl.pgs import PolicyGuidedSearch
from experiments.benchmarks.common import show, where
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.envs.process import EnvConfig, Process
from mbo_gym.machine import peak_memory_mb, reset_peak_memory
from mbo_gym.methods.registry import make_method
from mbo_gym.optional import optional_import
from mbo_gym.progress.protocol import NullProgress
from mbo_gym.settings import parse_options
from mbo_gym.surrogates.fitting import fit_guide_and_judge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="TFBind8-Exact-v0", help="task id (default: %(default)s)")
    parser.add_argument(
        "--set", action="append", default=[], help="a setting of pgs, key=value", dest="settings"
    )
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    optional_import("d3rlpy", "rl")
    problem, progress = mbo_gym.make_task(args.task).problem(), NullProgress()
    method = make_method("pgs", task_id=args.task, **parse_options(args.settings, "--set"))
    assert isinstance(method, PolicyGuidedSearch)
    config, encoder, rows = method.config, make_encoder(problem), []

    def stage(name: str, function: Callable[[], Any]) -> Any:
        reset_peak_memory()
        started = time.process_time()
        result = function()
        rows.append(
            [
                name,
                f"{time.process_time() - started:.1f}",
                f"{peak_memory_mb() or float('nan'):.0f}",
            ]
        )
        return result

    guide, judge = stage(
        "surrogates",
        lambda: fit_guide_and_judge(
            problem, encoder, config.env.surrogate, config.env.judge, seed=0, progress=progress
        ),
    )
    fitted = {"task": problem, "surrogate": guide, "judge": judge}
    process = Process(EnvConfig(**{**config.env_arguments(), **fitted}))
    generator = torch.Generator().manual_seed(0)
    episodes = stage("episodes", lambda: make_episodes(process, config.episodes, generator))
    stage(
        "training",
        lambda: train_offline(episodes, config.learner, seed=0, device="cpu", progress=progress),
    )
    method.fit(problem)
    stage("search, K=256", lambda: method.propose(256))
    note = f"{args.task}, {' '.join(args.settings) or 'default'}, CPU seconds; {where()}"
    show("Policy-guided search by stage", ["stage", "s", "peak MiB"], rows, note)


if __name__ == "__main__":
    main()
