"""Samples of DGID in its forms, with the energy of a surrogate, the simulator or a learned one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import mbo_gym
from diffusion.dgid import DGID, Energy
from experiments.studies.fluid.outcomes import Outcome, expected_best, kept
from experiments.studies.fluid.searches import REACH_RAD, LearnedSimulator, Scores, simulator
from mbo_gym.methods.base import Context
from mbo_gym.methods.registry import make_method
from mbo_gym.optimisers.searches import smoothed_gradient
from mbo_gym.problem.oracle import MeteredOracle
from mbo_gym.problem.task import Task
from mbo_gym.settings import with_settings
from mbo_gym.simulators.fluid.score import energy
from mbo_gym.surrogates.calls import count_learned_calls

__all__ = ["N_SAMPLES", "Form", "Trial", "energy_of", "learned_energy"]

N_SAMPLES = 32


@dataclass(frozen=True)
class Form:
    """How designs are sampled.

    Args:
        guidance: Guidance of `DGIDConfig`.
        energy: ``surrogate``, ``simulator`` (smoothed differences), ``learned`` (the learned
            simulator and its gradient), or empty for none.
        particles: N and K of the particle search, or None.
        scale: Scale lambda of the energy; None for the method's own.
        n: Samples.
        steps: Steps of the sampler; None for the method's own.
    """

    guidance: str = "none"
    energy: str = ""
    particles: tuple[int, int] | None = None
    scale: float | None = None
    n: int = N_SAMPLES
    steps: int | None = None

    def settings(self) -> Mapping[str, object]:
        """Return the settings of `DGIDConfig`."""
        found: dict[str, object] = {"guidance": self.guidance, "particles": bool(self.particles)}
        if self.scale is not None:
            found["energy.scale"] = self.scale
        if self.steps is not None:
            found["sampling.sample_steps"] = self.steps
        if self.particles:
            n, rounds = self.particles
            found |= {"particle_search.n": n, "particle_search.rounds": rounds}
        return found


class Trial:
    """One task and one seed, with the priors that were trained for it so far.

    Args:
        task_id: Fluid task.
        seed: Seed of every training and sampling.
        goal: Another goal than the task's own.
    """

    def __init__(self, task_id: str, seed: int, goal: tuple[float, float] | None = None) -> None:
        options = {} if goal is None else {"goal": list(goal)}
        self.seed = seed
        self.mixed = mbo_gym.make_task(task_id, relabel=False, **options)
        self.relabelled = mbo_gym.make_task(task_id, **options)
        self._priors: dict[tuple[str, bool], DGID] = {}

    def task(self, rows: str) -> Task:
        """Return the task whose rows a prior is trained on."""
        return self.relabelled if rows == "relabelled" else self.mixed

    def prior(self, rows: str, surrogate: bool = False) -> DGID:
        """Return DGID trained on rows of a kind, once.

        Args:
            rows: ``mixed``, ``matching``, ``non_matching`` or ``relabelled``.
            surrogate: Whether a surrogate is fitted for the energy.
        """
        for key in ((rows, True), (rows, surrogate)):
            if key in self._priors:
                return self._priors[key]
        kind = "mixed" if rows == "relabelled" else rows
        guidance = "both" if surrogate else "conditional"
        method = make_method("dgid", preset="conditional", rows=kind, guidance=guidance)
        assert isinstance(method, DGID)
        method.fit(self.task(rows).problem(), Context(self.seed))
        self._priors[rows, surrogate] = method
        return method

    def n_rows(self, rows: str) -> int:
        """Return the number of rows of a kind."""
        data = self.task(rows).dataset
        wanted = self.task(rows).context
        assert data.context is not None
        matching = int((data.context == wanted).all(axis=1).sum())
        return {"matching": matching, "non_matching": len(data) - matching}.get(rows, len(data))

    def sampled(
        self,
        rows: str,
        form: Form,
        question: str,
        name: str,
        learned: LearnedSimulator | None = None,
    ) -> Outcome:
        """Sample a prior in a form and score the samples by the simulator.

        Args:
            rows: Rows of the prior, see `prior`.
            form: Form.
            question: Question that the outcome answers.
            name: Name of the form in tables.
            learned: Learned simulator, for a form with its energy.
        """
        method = self.prior(rows, form.energy == "surrogate")
        ask = simulator(self.task(rows))
        own = None
        if form.energy == "simulator":
            own = energy_of(method, ask, np.random.default_rng([self.seed, 2]))
        elif form.energy == "learned":
            assert learned is not None
            own = learned_energy(method, learned)

        def sample() -> np.ndarray:
            before = method.config
            method.config = with_settings(before, form.settings())
            x = method.encoder.designs(method.sample(form.n, own))
            method.config = before
            return x

        return self.scored(question, name, sample, ask, self.n_rows(rows))

    def scored(
        self,
        question: str,
        name: str,
        make: Callable[[], np.ndarray],
        ask: MeteredOracle,
        rows: int = 0,
    ) -> Outcome:
        """Make designs, score them by the simulator, and return what came of it.

        Args:
            question: Question that the outcome answers.
            name: Name in tables.
            make: Makes the designs (n, d); it may ask the simulator.
            ask: Simulator.
            rows: Rows learned from.
        """
        started = time.process_time()
        with count_learned_calls() as calls:
            x = make()
        seconds = time.process_time() - started
        before = ask.calls
        scores = ask(x.astype(np.float32))
        return Outcome(
            task=self.mixed.info.task_id,
            question=question,
            name=name,
            seed=self.seed,
            best=kept(expected_best(scores)),
            mean=round(float(scores.mean()), 4),
            rows=rows,
            before=before,
            rollouts=calls.rollouts,
            gradients=calls.gradients,
            seconds=round(seconds, 1),
        )


def energy_of(method: DGID, score: Scores, rng: np.random.Generator, n_pairs: int = 4) -> Energy:
    """Return the energy of features by a simulator, with smoothed differences as its gradient.

    Args:
        method: DGID whose features are scored.
        score: Simulator.
        rng: Source of the differences' directions.
        n_pairs: Pairs of a difference.
    """

    def value(z: np.ndarray) -> np.ndarray:
        return energy(score(method.encoder.decode(z)).astype(np.float64))

    def gradient(z: Tensor) -> Tensor:
        # features are in standard deviations of the visible angles, about 0.5 rad
        found = smoothed_gradient(value, z.numpy(), rng, n_pairs=n_pairs, reach=2 * REACH_RAD)
        return torch.from_numpy(found.astype(np.float32))

    return Energy(lambda z: torch.from_numpy(value(z.numpy())), gradient)


def learned_energy(method: DGID, learned: LearnedSimulator) -> Energy:
    """Return the energy of features by the learned simulator, with its own gradient."""

    def value(z: Tensor) -> Tensor:
        return torch.from_numpy(energy(learned.scores(method.encoder.decode(z.numpy()))))

    def gradient(z: Tensor) -> Tensor:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            x = method.encoder.decode_tensor(z)
            slope = torch.from_numpy(learned.energy_gradient(x.detach().numpy()))
            (found,) = torch.autograd.grad((x * slope).sum(), z)
        return found

    return Energy(value, gradient)
