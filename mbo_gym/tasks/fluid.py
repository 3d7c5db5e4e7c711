"""Fluid tasks: shape a rigid tool, so that falling water ends at a goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np

from mbo_gym.data import manifest
from mbo_gym.data.fluid import CONTROLS, FluidRows
from mbo_gym.errors import InvalidData, MissingData, UnknownId
from mbo_gym.files import store
from mbo_gym.oracles.fluid import FluidOracle
from mbo_gym.problem.dataset import OfflineDataset
from mbo_gym.problem.space import ContinuousSpace
from mbo_gym.problem.task import Ceiling, Task, TaskInfo
from mbo_gym.settings import Limits
from mbo_gym.simulators.fluid.physics import Physics
from mbo_gym.simulators.fluid.scene import Scene
from mbo_gym.simulators.fluid.scenes import LIMIT_RAD, SCENES
from mbo_gym.tasks.fluid_drawing import FluidDrawing
from mbo_gym.tasks.registry import described_by

__all__ = ["fluid_info", "fluid_scene", "make_fluid", "rows_file", "task_id_of"]

NOISE_FLOOR = 0.01
"""Change of a score when all angles move by 0.001 rad (standard deviation, measured)."""

_PERCENTILE = 80.0

_DESCRIPTIONS = {
    "contain": "The angles of a chain of 16 links that catches a falling block of water and holds "
    "it at a goal in mid-air.",
    "ramp": "The angles of a chain of 16 links that leads falling water over a wall into a bin.",
    "maze": "The angles of 24 paddles that turn falling water round a ledge and back to a goal "
    "below it.",
}
_SPACES = {
    "contain": "16 real numbers in [-pi/2, pi/2], the angle (rad) of each link against the last.",
    "ramp": "16 real numbers in [-pi/2, pi/2], the angle (rad) of each link against the last.",
    "maze": "24 real numbers in [-pi/2, pi/2], the angle (rad) of each paddle.",
}


def task_id_of(scene: str) -> str:
    """Return the id of the task of a scene."""
    return f"Fluid{scene.capitalize()}-MPM-v0"


def fluid_info(scene: str) -> TaskInfo:
    """Return the facts of a fluid task.

    Args:
        scene: ``contain``, ``ramp`` or ``maze``.
    """
    seconds = SCENES[scene].seconds
    return TaskInfo(
        task_id=task_id_of(scene),
        description=_DESCRIPTIONS[scene],
        space=_SPACES[scene],
        y_min=float("nan"),
        y_max=float("nan"),
        score_name="smooth share of the water at the goal (0 to 1)",
        split="Rows with scores at or below the 80th percentile: whole trajectories of CEM and "
        "Adam (on smoothed differences) from the flat tool for several goals, every row scored "
        "under the task's goal.",
        oracle=f"MLS-MPM simulation of {seconds:g} s in torch, deterministic; extra fluid (numba) "
        "gives the same scores faster. The papers' energy is -log(score + 0.001). All constants "
        "are our own design: the papers publish none.",
        licence=manifest.entry(f"fluid_{scene}").licence,
        references=(
            "Fluid tasks of DGID, arXiv:2309.02040",
            "Allen et al., Physical Design using Differentiable Learned Simulators, "
            "arXiv:2202.00728",
            "Hu et al., A Moving Least Squares Material Point Method, SIGGRAPH 2018",
        ),
        version_history=("v0: geometry, goals and physics of mbo_gym",),
        percentile=_PERCENTILE,
        sources=(f"fluid_{scene}",),
        noise_floor=NOISE_FLOOR,
    )


def fluid_scene(
    scene: str,
    goal: Sequence[float] | None = None,
    sigma: float | None = None,
    n_angles: int | None = None,
) -> Scene:
    """Return the scene of a task with its options.

    Args:
        scene: Name of the scene.
        goal: x and y of the goal in metres; None for the scene's own.
        sigma: Standard deviation of the goal in metres; None for the scene's own.
        n_angles: Links of the chain; None for the scene's own.

    Raises:
        UnknownId: There is no such scene.
        InvalidData: The goal is no point inside the container, or the scene has no chain.
    """
    if scene not in SCENES:
        raise UnknownId("fluid scene", scene, SCENES)
    made = SCENES[scene]
    goal = made.goal_m if goal is None else goal
    physics = Physics()
    low, high = physics.low_m, physics.high_m
    if len(goal) != 2 or not all(low <= place <= high for place in goal):
        raise InvalidData(
            f"goal must be two numbers in [{low:g}, {high:g}], the inside of the container (m), "
            f"got {list(goal)}. Pass e.g. goal=[{made.goal_m[0]}, {made.goal_m[1]}]."
        )
    made = made.with_goal((goal[0], goal[1]), made.sigma_m if sigma is None else sigma)
    if n_angles is None or n_angles == made.tool.n_angles:
        return made
    return made.with_links(n_angles)


def rows_file(scene: Scene) -> str:
    """Return the name of the file with the rows of a scene."""
    own = SCENES[scene.name].tool.n_angles
    links = "" if scene.tool.n_angles == own else f"_{scene.tool.n_angles}_links"
    return f"fluid_{scene.name}{links}.npz.xz"


def _check(
    scene: str,
    goal: Sequence[float] | None = None,
    sigma: float | None = None,
    n_angles: int | None = None,
    relabel: bool = True,
) -> None:
    """Raise what the maker raises for its options."""
    fluid_scene(scene, goal, sigma, n_angles)


@described_by(fluid_info, _check)
def make_fluid(
    scene: str,
    goal: Sequence[float] | None = None,
    sigma: Annotated[float, Limits(0.02, 0.5)] | None = None,
    n_angles: Annotated[int, Limits(2, 64)] | None = None,
    relabel: bool = True,
) -> Task:
    """Make a fluid task.

    The visible designs are those that score at or below the 80th percentile under the task's goal.
    The rows of the file were searched for several goals; the water's places at the end are stored,
    so that every row has a score under any goal.

    Args:
        scene: ``contain``, ``ramp`` or ``maze``.
        goal: x and y of the goal in metres, inside the container; None for the task's own. Scores
            of visible rows under another goal are within about 0.001 of the simulator's.
        sigma: Standard deviation of the goal's Gaussian in metres; None for 0.1.
        n_angles: Links of the chain, whose length stays the same; None for 16. Another number needs
            `mbo-gym data make` first.
        relabel: Whether each visible row has its score under the task's goal. False leaves it the
            score under the goal that it was searched for; `dataset.context` tells that goal.

    Raises:
        InvalidData: The goal lies outside of the container, or a maze is asked for other paddles.
        MissingData: The rows for `n_angles` links were not made yet.
    """
    made = fluid_scene(scene, goal, sigma, n_angles)
    rows = _read_rows(made)
    searched = np.flatnonzero(rows.searched)
    wanted = rows.scores(made.goal_m, made.sigma_m)
    y = wanted[searched]
    own = y if relabel else _own_scores(rows, made.sigma_m)[searched]
    context = np.asarray(made.goal_m, dtype=np.float32)
    contexts = rows.contexts[searched] if not relabel else np.tile(context, (len(y), 1))
    visible = np.flatnonzero(y <= np.percentile(y, _PERCENTILE))
    dataset = OfflineDataset(rows.designs[searched], own, context=contexts).take(visible)
    n = made.tool.n_angles
    names = tuple(f"angle_{i + 1}" for i in range(n))
    space = ContinuousSpace(np.full(n, -LIMIT_RAD), np.full(n, LIMIT_RAD), names)
    info = replace(fluid_info(scene), y_min=0.0, y_max=float(y.max()), n_full=len(y))
    if made.tool.n_angles != SCENES[scene].tool.n_angles:
        info = replace(info, space="")  # filled in from the space
    ceiling = Ceiling(
        np.unique(y)[::-1],
        exact=False,
        note="the best stored rows under this goal, hidden ones included",
    )
    controls = {name: wanted[rows.of_control(name)] for name in CONTROLS}
    controls["best_stored"] = y[visible]
    oracle = FluidOracle(space, made)
    return Task(
        info,
        space,
        dataset,
        oracle,
        ceiling,
        context=context,
        controls=controls,
        drawing=FluidDrawing(oracle),
    )


def _read_rows(scene: Scene) -> FluidRows:
    """Return the rows that ship, or those that were made for another number of links."""
    name = rows_file(scene)
    if scene.tool.n_angles == SCENES[scene.name].tool.n_angles:
        return FluidRows.from_bytes(manifest.shipped(f"fluid_{scene.name}"), name)
    path = store.find(name)
    if path is None:
        raise MissingData(
            f"no rows were made for a chain of {scene.tool.n_angles} links. Make them with "
            f"`mbo-gym data make {task_id_of(scene.name)} -o n_angles={scene.tool.n_angles}`, "
            f"or leave n_angles out for {SCENES[scene.name].tool.n_angles}."
        )
    return FluidRows.from_bytes(path.read_bytes(), str(path))


def _own_scores(rows: FluidRows, sigma_m: float) -> np.ndarray:
    """Return each row's score under the goal of its own run, (N,) float32."""
    if sigma_m == float(rows.sigma_m):
        return rows.own
    scores = np.empty(len(rows), dtype=np.float32)
    for run, goal_m in enumerate(rows.goals_m):
        mine = rows.run == run
        scores[mine] = rows.scores((float(goal_m[0]), float(goal_m[1])), sigma_m)[mine]
    return scores
