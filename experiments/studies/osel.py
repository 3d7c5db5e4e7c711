"""OSEL against hindsight: how well its score ranks the (p, checkpoint) pairs of PGS, judged by the
oracle afterwards.

python -m experiments.studies osel --tasks TFBind8-Exact-v0,Levy-Exact-v1 --seeds 0-7 --output
osel.jsonl
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scipy.stats import spearmanr

import mbo_gym
from agents.rl.pgs import PolicyGuidedSearch
from mbo_gym.methods.base import Context
from mbo_gym.methods.registry import make_method
from mbo_gym.progress.bars import RichProgress
from mbo_gym.settings import parse_options, parse_seeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default="TFBind8-Exact-v0")
    parser.add_argument("--seeds", default="0-7")
    parser.add_argument(
        "--set", action="append", default=[], dest="settings", help="a setting of pgs, key=value"
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="JSON lines are appended; finished ones are left"
    )
    args = parser.parse_args()
    lines = args.output.read_text().splitlines() if args.output.exists() else []
    done = {(d["task"], d["seed"], d["settings"]) for d in map(json.loads, lines)}
    text = ",".join(args.settings)
    for task_id in args.tasks.split(","):
        task = mbo_gym.make_task(task_id)
        problem = task.problem()
        for seed in parse_seeds(args.seeds):
            if (task_id, seed, text) in done:
                continue
            method = make_method(
                "pgs", task_id=task_id, select="osel", **parse_options(args.settings, "--set")
            )
            assert isinstance(method, PolicyGuidedSearch)
            with RichProgress([], f"{task_id}, seed {seed}: ") as progress:
                method.fit(problem, Context(seed, progress=progress))
            encoder = method.process.encoder
            rows = []
            for candidate, score in method.ranking:  # the choice is made: now the oracle may speak
                median = mbo_gym.evaluate(
                    task, encoder.decode(candidate.z.cpu().numpy())
                ).distinct.p50
                rows.append(
                    {
                        "p": candidate.p,
                        "step": candidate.step,
                        "score": score,
                        "median": float(median),
                    }
                )
            scores, medians = [r["score"] for r in rows], [r["median"] for r in rows]
            rank = float(spearmanr(scores, medians).statistic)
            facts = {"task": task_id, "seed": seed, "settings": text, "rank_correlation": rank}
            facts |= {
                "chosen": medians[0],
                "best": max(medians),
                "mean": sum(medians) / len(medians),
            }
            print(json.dumps(facts), flush=True)
            args.output.parent.mkdir(parents=True, exist_ok=True)
            with args.output.open("a") as file:
                file.write(json.dumps({**facts, "candidates": rows}) + "\n")
    lines = [json.loads(line) for line in args.output.read_text().splitlines()]
    for task_id in args.tasks.split(","):
        rows = [line for line in lines if line["task"] == task_id and line["settings"] == text]
        means = {
            key: sum(r[key] for r in rows) / len(rows)
            for key in ("rank_correlation", "chosen", "mean", "best")
        }
        print(
            f"{task_id}, {len(rows)} seeds:",
            ", ".join(f"{key} {value:.3f}" for key, value in means.items()),
        )


if __name__ == "__main__":
    main()
