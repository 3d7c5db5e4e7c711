"""DGID on the fluid tasks: its forms, its data and its rivals, by evaluations of the simulator.

    python -m experiments.studies dgid --tasks FluidContain-MPM-v0 --seeds 2-9 --questions forms rows
    python -m experiments.studies dgid --summary

Questions:
    forms      CEM and Adam from the flat tool and from random tools, and all forms of DGID
    rows       mixed, matching, non-matching and re-scored rows
    goals      a goal that no stored search had
    particles  N and K at an equal budget
    strength   lambda of the energy
    priors     a VAE and a GAN in the place of the diffusion model
    learned    the learned simulator in the place of the simulator

Optimisers ask the simulator (`MeteredOracle`) for every design. DGID learns from the visible rows,
and asks it for samples only, in some forms also while it samples. Outcomes are kept in a file, a
line each: a stopped study goes on from there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import mbo_gym
from diffusion.core.particles import particle_search
from diffusion.dgid import ParticleConfig
from experiments.studies.fluid.outcomes import Outcome, append, draw, kept, markdown, read
from experiments.studies.fluid.priors import GANPrior, Prior, VAEPrior
from experiments.studies.fluid.samples import N_SAMPLES, Form, Trial
from experiments.studies.fluid.searches import (
    LearnedSimulator,
    search,
    searched,
    simulator,
)
from mbo_gym.files import store
from mbo_gym.optimisers.searches import follow
from mbo_gym.progress.bars import RichProgress
from mbo_gym.settings import parse_seeds
from mbo_gym.simulators.fluid.score import energy
from mbo_gym.surrogates.gns.network import load_network

OUTPUT = Path(__file__).parents[1] / "results" / "fluid" / "dgid.jsonl"
PAGE = OUTPUT.with_suffix(".md")
"""The recorded tables, which the documentation shows."""
TASKS = tuple(f"Fluid{scene}-MPM-v0" for scene in ("Contain", "Ramp", "Maze"))

BUDGET = 320
"""Evaluations of an optimiser."""
PARTICLE_BUDGET = 64
"""Evaluations N * K of a particle search."""
N_SEARCHED = 16
"""Particles N of a search, unless N is what is asked."""
SEARCH = ParticleConfig()
LEARNED_BUDGET = 160
"""Episodes of the learned simulator that a search may compute."""
LEARNED_GRADIENTS = 20
"""Gradients of the learned simulator that Adam may compute."""
N_FINAL = 8
"""Best designs of a search on the learned simulator that the simulator scores."""
UNSEEN = {
    "FluidContain-MPM-v0": ((0.46, 0.45), (0.34, 0.40)),
    "FluidRamp-MPM-v0": ((0.36, 0.17),),
    "FluidMaze-MPM-v0": ((0.62, 0.14),),
}
"""Goals that no stored search had: between two of theirs, or beyond all."""

DRAWN = (
    *("CEM, random tool", "CEM, flat tool", "Adam, flat tool", "DGID, unguided"),
    *(
        "DGID, conditional",
        "DGID, energy of the surrogate",
        "DGID, particles, energy of the simulator",
    ),
)
"""What the picture shows."""
SEARCHED = Form(energy="simulator", particles=(N_SEARCHED, 4), n=N_SEARCHED)
SIMULATED = Form("energy", "simulator", scale=1.0, n=8, steps=12)
"""Guidance by the simulator costs 8 evaluations a step and sample, so there are few of both."""


def forms(trial: Trial) -> Iterator[Outcome]:
    """Yield optimisers and the forms of DGID on mixed rows."""
    for optimiser in ("CEM", "Adam"):
        for start in ("random", "flat"):
            yield _optimiser(trial, "forms", optimiser, start)
    asked = {
        "unguided": Form(),
        "conditional": Form("conditional"),
        "energy of the surrogate": Form("energy", "surrogate"),
        "conditional and energy of the surrogate": Form("both", "surrogate"),
        "particles, energy of the surrogate": Form(energy="surrogate", particles=(64, 4)),
        "energy of the simulator": SIMULATED,
        "particles, energy of the simulator": SEARCHED,
        "conditional, particles, energy of the simulator": replace(
            SEARCHED, guidance="conditional"
        ),
    }
    for name, form in asked.items():
        yield trial.sampled("mixed", form, "forms", f"DGID, {name}")


def rows(trial: Trial) -> Iterator[Outcome]:
    """Yield DGID on each kind of rows, conditional and unguided."""
    for kind in ("mixed", "matching", "non_matching", "relabelled"):
        name = kind.replace("_", "-")
        yield trial.sampled(kind, Form("conditional"), "rows", f"{name}, conditional")
        yield trial.sampled(kind, Form(), "rows", f"{name}, unguided")


def goals(trial: Trial) -> Iterator[Outcome]:
    """Yield DGID and CEM for goals that no stored search had."""
    for goal in UNSEEN[trial.mixed.info.task_id]:
        unseen = Trial(trial.mixed.info.task_id, trial.seed, goal)
        where = f"goal {goal[0]:g}, {goal[1]:g}"
        yield _best_stored(unseen, "goals", f"{where}: best visible row, re-scored")
        yield _optimiser(unseen, "goals", "CEM", "flat", f"{where}: CEM, flat tool")
        for kind in ("mixed", "relabelled"):
            name = f"{where}: DGID, {kind} rows, conditional"
            yield unseen.sampled(kind, Form("conditional"), "goals", name)


def particles(trial: Trial) -> Iterator[Outcome]:
    """Yield particle searches of the same budget, on the unguided and the conditional prior."""
    for guidance in ("none", "conditional"):
        prior = "unguided" if guidance == "none" else guidance
        plain = Form(guidance, n=PARTICLE_BUDGET)
        yield trial.sampled("mixed", plain, "particles", f"{prior}, {PARTICLE_BUDGET} samples")
        for k in (1, 2, 4, 8):
            n = PARTICLE_BUDGET // k
            form = Form(guidance, "simulator", particles=(n, k), n=n)
            yield trial.sampled("mixed", form, "particles", f"{prior}, N = {n}, K = {k}")


def strength(trial: Trial) -> Iterator[Outcome]:
    """Yield energy guidance of several strengths."""
    for scale in (0.0, 1.0, 3.0, 10.0, 30.0, 100.0):
        form = Form("energy", "surrogate", scale=scale)
        yield trial.sampled("mixed", form, "strength", f"surrogate, lambda = {scale:g}")
    for scale in (0.3, 1.0, 3.0, 10.0):
        form = Form("energy", "simulator", scale=scale, n=SIMULATED.n, steps=SIMULATED.steps)
        yield trial.sampled("mixed", form, "strength", f"simulator, lambda = {scale:g}")


def priors(trial: Trial) -> Iterator[Outcome]:
    """Yield diffusion, VAE and GAN on re-scored rows: unguided, conditional, and searched."""
    task, kind = trial.relabelled, "relabelled"
    asked = trial.prior(kind).target
    for name, form in (
        ("unguided", Form()),
        ("conditional", Form("conditional")),
        ("particles, simulator", SEARCHED),
    ):
        yield trial.sampled(kind, form, "priors", f"diffusion, {name}")
    made: dict[str, Callable[..., Prior]] = {"VAE": VAEPrior, "GAN": GANPrior}
    for model, make in made.items():
        prior = make(task.problem(), trial.seed)
        for form in ("unguided", "conditional", "particles, simulator"):
            yield _of_prior(trial, prior, model, form, asked)


def learned(trial: Trial) -> Iterator[Outcome]:
    """Yield searches and samples that ask the learned simulator, which no score taught."""
    network = load_network()
    model = LearnedSimulator(network, trial.mixed)
    question = "learned"
    for optimiser, budget in (("CEM", LEARNED_BUDGET), ("Adam", LEARNED_BUDGET)):
        yield _on_learned(trial, model, optimiser, budget)
    yield _on_learned(trial, model, "Adam", LEARNED_GRADIENTS, by_gradient=True)
    few = Form("energy", "learned", scale=1.0, n=4, steps=8)
    yield trial.sampled("mixed", few, question, "DGID, energy by its gradient", model)
    few = Form("energy", "simulator", scale=1.0, n=4, steps=8)
    yield trial.sampled("mixed", few, question, "DGID, energy of the simulator", model)
    for source in ("learned", "simulator"):
        form = replace(SEARCHED, energy=source)
        yield trial.sampled("mixed", form, question, f"DGID, particles, {source}", model)
    yield _chosen(trial, model)


QUESTIONS: Mapping[str, Callable[[Trial], Iterator[Outcome]]] = {
    f.__name__: f for f in (forms, rows, goals, particles, strength, priors, learned)
}


def _optimiser(trial: Trial, question: str, optimiser: str, start: str, name: str = "") -> Outcome:
    """Spend the budget of an optimiser on the simulator."""
    started = time.process_time()
    curve = searched(trial.mixed, optimiser, start, trial.seed, BUDGET)
    return Outcome(
        trial.mixed.info.task_id,
        question,
        name or f"{optimiser}, {start} tool",
        trial.seed,
        kept(curve),
        seconds=round(time.process_time() - started, 1),
    )


def _best_stored(trial: Trial, question: str, name: str) -> Outcome:
    """Look up the best visible row: its evaluation was made before, under whatever goal."""
    y = trial.relabelled.dataset.y
    best = round(float(y.max()), 4)
    return Outcome(
        trial.mixed.info.task_id, question, name, trial.seed, (best,), mean=best, rows=len(y)
    )


def _of_prior(trial: Trial, prior: Prior, model: str, form: str, asked: float) -> Outcome:
    """Sample a VAE or a GAN in a form."""
    ask = simulator(trial.relabelled)
    seen = trial.relabelled.dataset.score_scale.standardise(trial.relabelled.dataset.y)

    def make() -> np.ndarray:
        generator = torch.Generator().manual_seed(trial.seed)
        n = N_SEARCHED if form.startswith("particles") else N_SAMPLES
        noise = torch.randn((n, prior.latent), generator=generator)
        y = torch.full((n,), asked)
        if form != "conditional":  # scores as they are in the data
            y = torch.from_numpy(seen)[torch.randint(len(seen), (n,), generator=generator)]
        if form.startswith("particles"):
            noise = particle_search(
                lambda base: prior.designs(base, y),
                lambda z: torch.from_numpy(energy(ask(prior.encoder.decode(z.numpy())))),
                noise,
                rounds=PARTICLE_BUDGET // N_SEARCHED,
                temperature=SEARCH.temperature,
                perturbation=SEARCH.perturbation,
                width=1.0,
                generator=generator,
            )
        return prior.encoder.designs(prior.designs(noise, y))

    return trial.scored("priors", f"{model}, {form}", make, ask, trial.n_rows("relabelled"))


def _on_learned(
    trial: Trial,
    model: LearnedSimulator,
    optimiser: str,
    budget: int,
    by_gradient: bool = False,
) -> Outcome:
    """Search on the learned simulator from the flat tool, and score its best designs."""
    task = trial.mixed
    gradient = model.energy_gradient if by_gradient else None

    def make() -> np.ndarray:
        found = search(task, optimiser, "flat", trial.seed, gradient)
        return follow(found, model.scores, budget, keep=N_FINAL).designs[0]

    how = " by its gradient" if by_gradient else ""
    return trial.scored("learned", f"{optimiser}{how}, flat tool", make, simulator(task))


def _chosen(trial: Trial, model: LearnedSimulator) -> Outcome:
    """Sample DGID, and score the samples that the learned simulator likes best."""
    method = trial.prior("mixed")

    def make() -> np.ndarray:
        x = method.encoder.designs(method.sample(N_SAMPLES))
        return x[np.argsort(-model.scores(x), kind="stable")[:N_FINAL]]

    name = f"DGID, conditional, best {N_FINAL} of {N_SAMPLES}"
    return trial.scored("learned", name, make, simulator(trial.mixed), trial.n_rows("mixed"))


def summary(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield the study in Markdown: a table for each task and question."""
    yield (
        "Best score after so many new evaluations of the simulator: mean over seeds and 95 % "
        "interval. `rows` were evaluated before, and learned from; `before` is what sampling asked "
        "of the simulator; `learned` what it asked of the learned one. Optimisers: best so far. "
        "Samples: expected best of so many."
    )
    for task_id in dict.fromkeys(o.task for o in outcomes):
        task = mbo_gym.make_task(task_id)
        controls = ", ".join(f"{k} {float(v.max()):.3f}" for k, v in task.controls.items())
        yield f"\n## {task_id}\n\nBest of the controls: {controls}."
        for question in QUESTIONS:
            own = [o for o in outcomes if (o.task, o.question) == (task_id, question)]
            if own:
                yield f"\n### {question}\n"
                yield from markdown(own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", default="2-9")
    parser.add_argument("--questions", nargs="+", choices=QUESTIONS, default=list(QUESTIONS))
    parser.add_argument("--output", type=Path, default=OUTPUT, help="file of the outcomes")
    parser.add_argument("--summary", action="store_true", help="only show the tables")
    parser.add_argument("--picture", type=Path, help="PNG of the question forms")
    args = parser.parse_args()
    if not args.summary:
        torch.set_num_threads(1)
        cells = [(seed, task_id) for seed in parse_seeds(args.seeds) for task_id in args.tasks]
        with RichProgress([]) as progress:
            for seed, task_id in progress.track(cells, "seeds and tasks"):
                run(task_id, seed, args.questions, args.output)
    outcomes = read(args.output)
    text = "\n".join(summary(outcomes))
    print(text)
    if args.output == OUTPUT:
        store.write_atomic(PAGE, (text + "\n").encode())
    if args.picture:
        draw([o for o in outcomes if o.question == "forms"], DRAWN, args.picture)


def run(task_id: str, seed: int, questions: Sequence[str], output: Path) -> None:
    """Answer the questions that a file does not answer for a task and seed."""
    known = {(o.task, o.seed, o.question) for o in read(output)}
    trial = Trial(task_id, seed)
    for question in questions:
        if (task_id, seed, question) not in known:
            append(output, list(QUESTIONS[question](trial)))


if __name__ == "__main__":
    main()
