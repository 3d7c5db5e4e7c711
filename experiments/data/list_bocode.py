"""Write mbo_gym/data/bocode.toml: the problems of BOCoDe that are tasks.

A function becomes a task if it runs without further downloads, in at most 10 ms of processor time a design, gives one
score whatever the batch, and if at least 100 of 50,000 random designs are feasible.

python -m experiments.data.list_bocode
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import bocode
import numpy as np

from mbo_gym.data.bocode import Problem, ProblemFacts, is_enumerable, read_list
from mbo_gym.tasks.bocode import LEAST_FEASIBLE, sample_feasible

TARGET = Path("mbo_gym/data/bocode.toml")
MOST_SECONDS = 0.01
SLOW_SECONDS = 0.001
N_FEW = 1_000
LEFT_OUT = {
    "TSP_51Cities": "the package says that it is no travelling salesman",
    "TSP_100Cities": "the package says that it is no travelling salesman",
    "MOPTA08Car": "downloads a program",
}
MATERIALS = "opt_problems/materials/data"
CSV = {
    "AgNP": {
        "file": f"{MATERIALS}/AgNP_dataset.csv",
        "columns": ["QAgNO3(%)", "Qpva(%)", "Qtsc(%)", "Qseed(%)", "Qtot(uL/min)"],
        "score": "loss",
        "minimise": True,
    },
    "AutoAM": {
        "file": f"{MATERIALS}/AutoAM_dataset.csv",
        "columns": [
            "Prime Delay",
            "Print Speed",
            "X Offset Correction",
            "Y Offset Correction",
        ],
        "score": "Score",
    },
    "CrossedBarrel": {
        "file": f"{MATERIALS}/Crossed barrel_dataset.csv",
        "columns": ["n", "theta", "r", "t"],
        "score": "toughness",
    },
    "HOIP": {
        "file": f"{MATERIALS}/HOIP_dataset.csv",
        "columns": ["site_A", "site_B", "site_X"],
        "score": "binding_energy",
        "minimise": True,
        "words": True,
    },
    "P3HT": {
        "file": f"{MATERIALS}/P3HT_dataset.csv",
        "columns": [
            "P3HT content (%)",
            "D1 content (%)",
            "D2 content (%)",
            "D6 content (%)",
            "D8 content (%)",
        ],
        "score": "Conductivity (measured) (S/cm)",
    },
    "Perovskite": {
        "file": f"{MATERIALS}/Perovskite_dataset.csv",
        "columns": ["CsPbI", "FAPbI", "MAPbI"],
        "score": "Instability index",
        "minimise": True,
    },
}
LCBENCH = [
    "batch_size",
    "learning_rate",
    "max_dropout",
    "max_units",
    "momentum",
    "num_layers",
    "weight_decay",
]


def main() -> None:
    lines = [
        "# Problems of BOCoDe 1.0.1 that are tasks: facts only, made by",
        "# `python -m experiments.data.list_bocode`. Fields: mbo_gym.data.bocode.ProblemFacts.",
        "",
        "[problems]",
    ]
    for name in sorted(bocode.PROBLEM_REGISTRY):
        extra = bocode.PROBLEM_REGISTRY[name][1]
        about = bocode.get_metadata(name)
        if about["num_objectives"] != 1 or extra is not None or name in LEFT_OUT:
            print(f"{name}: left out, {about['num_objectives']} objectives, needs {extra}")
            continue
        base = name.removesuffix("_PS")
        if base != name and bocode.PROBLEM_REGISTRY[base][1] is not None:
            print(f"{name}: left out, needs {bocode.PROBLEM_REGISTRY[base][1]}")
            continue
        try:
            lines += [f"{json.dumps(f.pop('name'))} = {toml(f)}" for f in described(name, about)]
        except (ValueError, ImportError, RuntimeError) as error:
            print(f"{name}: left out, {error}")
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines) - 4} problems in {TARGET}")


def described(name: str, about: dict) -> list[dict]:
    """Return the facts of the tasks of a problem; raise ValueError where it is none."""
    title = about["real_name"]
    if name in CSV:
        facts = {"kind": "csv", "title": title, **CSV[name]}
        return [_listed({"name": name, "parameters": len(CSV[name]["columns"]), **facts})]
    if name.startswith(("HPOB_", "LCBench")):
        facts = {"name": name, "kind": "list", "title": title, "parameters": about["dim"]}
        if name.startswith("LCBench"):
            facts["columns"] = LCBENCH
        return [_listed(facts)]
    facts = {"name": name, "kind": "function", "title": title, "parameters": about["dim"]}
    if name == "NASBench201":
        return [
            {**facts, "kind": "letters", "designs": 5**6, "name": new, "problem": name}
            | {"arguments": {"dataset": dataset}, "title": f"{title}, {dataset}"}
            for new, dataset in (
                ("NASBench201", "cifar10"),
                ("NASBench201_CIFAR100", "cifar100"),
                ("NASBench201_ImageNet16", "imagenet16"),
            )
        ]
    if about["num_constraints"]:
        facts["constraints"] = about["num_constraints"]
    problem = Problem(ProblemFacts(**facts))
    if is_enumerable(problem.space):
        facts |= {"kind": "letters", "designs": problem.space.n_categories**problem.space.length}
    rng = np.random.default_rng(1)
    x = problem.space.sample(64, rng)
    start = time.process_time()
    y = problem.evaluate(x)[0]
    seconds = (time.process_time() - start) / len(x)
    if seconds > MOST_SECONDS:
        raise ValueError(f"{1000 * seconds:.0f} ms a design")
    parts = [problem.evaluate(x[i : i + 7]) for i in range(0, len(x), 7)]
    again = np.concatenate([part[0] for part in parts])
    if not np.allclose(y, again, rtol=1e-9, equal_nan=True):
        raise ValueError("the score of a design depends on its batch, or changes")
    if problem.facts.constraints:
        few = problem.space.sample(N_FEW, rng)
        if seconds > SLOW_SECONDS and not np.isfinite(problem.score(few)).any():
            raise ValueError(f"slow, and none of {N_FEW} random designs is feasible")
        _, y, failed = sample_feasible(problem)
        if len(y) < LEAST_FEASIBLE:
            raise ValueError(f"{len(y)} feasible designs were found by sampling")
        print(f"{name}: {len(y)} feasible, {len(failed)} not, {len(problem.linear)} linear limits")
    if not np.ptp(y.astype(np.float32)) > 0:
        raise ValueError("all scores are equal")
    print(f"{name}: best {y.max():.6g}, stated {problem.optimum}", flush=True)
    return [facts]


def _listed(facts: dict) -> dict:
    return {**facts, "designs": len(read_list(ProblemFacts(**facts, designs=-1))[1])}


def toml(facts: dict) -> str:
    """Return facts as an inline table."""
    cells = []
    for key, value in facts.items():
        if isinstance(value, dict):
            text = toml(value)
        elif isinstance(value, bool):
            text = str(value).lower()
        else:
            text = json.dumps(value, ensure_ascii=False)
        cells.append(f"{key} = {text}")
    return f"{{ {', '.join(cells)} }}"


if __name__ == "__main__":
    main()
