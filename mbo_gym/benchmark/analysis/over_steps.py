"""What agents gain over a constant step in the same environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mbo_gym.benchmark.analysis.model import Entry
from mbo_gym.benchmark.analysis.statistics import Description, describe

__all__ = ["CONSTANT_STEP", "AgentGain", "gains"]

CONSTANT_STEP = "constant_step"
"""Method that agents are compared with, see `agents.rl.steps.ConstantStep`."""


@dataclass(frozen=True)
class AgentGain:
    """An agent beside a constant step on one task, by the median over distinct proposals.

    Args:
        label: Name of the agent.
        control: Whether it is a control.
        score: Its scores over the seeds.
        difference: Its score minus that of the constant step, seed by seed.
        verdict: ``helps``, ``hurts``, ``not told apart`` or ``one seed``: by twice the standard
            error.
    """

    label: str
    control: bool
    score: Description
    difference: Description
    verdict: str


def gains(entries: Sequence[Entry]) -> list[AgentGain]:
    """Return the gain of each agent that has a learning curve, the largest first.

    Args:
        entries: Methods on one task; without a constant step among them there are no gains.
    """
    constant = next((e for e in entries if e.label == CONSTANT_STEP), None)
    if constant is None or "p50_distinct" not in constant.values:
        return []
    steps = dict(zip(constant.seeds, constant.values["p50_distinct"], strict=True))
    found = []
    for entry in entries:
        if not entry.learning or "p50_distinct" not in entry.values:
            continue
        own = dict(zip(entry.seeds, entry.values["p50_distinct"], strict=True))
        shared = [seed for seed in own if seed in steps]
        if not shared:
            continue
        difference = describe([own[seed] - steps[seed] for seed in shared])
        found.append(
            AgentGain(
                entry.label,
                entry.control,
                entry.scores["p50_distinct"],
                difference,
                _verdict(difference),
            )
        )
    return sorted(found, key=lambda gain: -gain.difference.mean)


def _verdict(difference: Description) -> str:
    if difference.n < 2:
        return "one seed"
    if abs(difference.mean) <= 2 * difference.standard_error:
        return "not told apart"
    return "helps" if difference.mean > 0 else "hurts"
