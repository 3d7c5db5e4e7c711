"""Choose PGS's settings without the oracle: a referee judges the proposals.

The referee is fitted on a third of the visible data, the method on the other two thirds. So a design
that only deceives the method's surrogates does not deceive the referee. Seeds start at 100; the
results use none of them.

    python -m experiments.studies choose_pgs TFBind8-Exact-v0 \\
        "learner.algorithm=td3bc" "learner.algorithm=cql,env.action_scale=0.2"
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import torch

import mbo_gym
from mbo_gym.encoders.registry import make_encoder
from mbo_gym.methods.base import Context
from mbo_gym.methods.registry import make_method
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.settings import parse_options
from mbo_gym.surrogates.base import predict_in_pieces
from mbo_gym.surrogates.registry import make_surrogate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task")
    parser.add_argument(
        "settings", nargs="+", help="comma-separated settings of pgs, one text a candidate"
    )
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--output", type=Path, help="JSON lines are appended to this file")
    arguments = parser.parse_args()
    problem = mbo_gym.make_task(arguments.task).problem()
    encoder, data = make_encoder(problem), problem.dataset
    for seed in range(100, 100 + arguments.seeds):
        order = np.random.default_rng(seed).permutation(len(data))
        held, seen = np.sort(order[: len(data) // 3]), np.sort(order[len(data) // 3 :])
        referee = make_surrogate("ensemble", hidden=128, members=10, train_steps=1500)
        y = data.score_scale.standardise(data.y)
        referee.fit(
            torch.from_numpy(encoder.encode(data.x[held])), torch.from_numpy(y[held]), seed=seed
        )
        part = dataclasses.replace(problem, dataset=OfflineDataset(data.x[seen], data.y[seen]))
        for text in arguments.settings:
            method = make_method(
                "pgs", task_id=arguments.task, **parse_options(text.split(","), "settings")
            )
            method.fit(part, Context(seed))
            z = torch.from_numpy(encoder.encode(np.unique(method.propose(256).x, axis=0)))
            value = predict_in_pieces(referee.predict, z).numpy()
            facts = {"task": arguments.task, "seed": seed, "settings": text, "distinct": len(z)}
            line = json.dumps(
                {**facts, "mean": float(value.mean()), "median": float(np.median(value))}
            )
            print(line, flush=True)
            if arguments.output:
                with arguments.output.open("a") as file:
                    file.write(line + "\n")


if __name__ == "__main__":
    main()
