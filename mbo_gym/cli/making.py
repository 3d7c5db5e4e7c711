"""The command `mbo-gym data make`: simulate the rows of a task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mbo_gym.cli import completion
from mbo_gym.cli.chatter import say

__all__ = ["make"]

_SECONDS = {"torch": 0.1, "numba": 0.01}
"""Time to simulate 80 frames of a design, on one quiet core."""


def make(
    task: Annotated[
        str,
        typer.Argument(help="task id, e.g. FluidContain-MPM-v0", autocompletion=completion.task),
    ],
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="n_angles=.., links of the chain")
    ] = None,
    seed: Annotated[int, typer.Option(help="seed of the searches; 0 is that of what ships")] = 0,
    engine: Annotated[
        str, typer.Option(help="torch, numba, or auto: numba where it is installed")
    ] = "auto",
    output: Annotated[Path | None, typer.Option(help="folder; default: the data folder")] = None,
) -> None:
    """Simulate the rows of a fluid task; after Ctrl-C, the same command goes on where it was.

    Examples:
        mbo-gym data make FluidContain-MPM-v0
        mbo-gym data make FluidRamp-MPM-v0 --option n_angles=8 --engine numba
    """
    from mbo_gym.data.fluid_making import RECIPES, make_rows, n_designs
    from mbo_gym.data.manifest import ENTRIES
    from mbo_gym.files import store
    from mbo_gym.progress.bars import RichProgress
    from mbo_gym.simulators.fluid.physics import Physics
    from mbo_gym.simulators.fluid.rollout import ENGINES, fastest_engine
    from mbo_gym.simulators.fluid.scenes import SCENES
    from mbo_gym.tasks.fluid import fluid_scene, rows_file, task_id_of
    from mbo_gym.tasks.registry import read_task_options

    scenes = {task_id_of(name): name for name in SCENES}
    if task not in scenes:
        raise ValueError(f"data are made for {', '.join(scenes)}; got {task!r}")
    options = read_task_options(task, option or [])
    if others := set(options) - {"n_angles"}:
        raise ValueError(
            f"the rows of a task do not depend on {', '.join(sorted(others))}. Leave it out."
        )
    chosen = fastest_engine() if engine == "auto" else engine
    known = next((name for name in ENGINES if name == chosen), None)
    if known is None:
        raise ValueError(f"--engine must be auto or one of {', '.join(ENGINES)}, got {engine!r}")
    scene = fluid_scene(scenes[task], **options)
    recipe = RECIPES[scene.name]
    count = n_designs(scene, recipe)
    seconds = count * _SECONDS[known] * scene.n_frames(Physics()) / 80
    say(_estimate(count, known, seconds), err=True)
    folder = output or store.write_folder()
    target = folder / rows_file(scene)
    partial = folder / f"{target.name}.seed{seed}.partial"
    try:
        with RichProgress() as bars:
            rows = make_rows(scene, recipe, seed=seed, engine=known, partial=partial, progress=bars)
    except KeyboardInterrupt:
        if partial.exists():
            typer.echo(f"{partial} keeps what is done; the same command goes on there", err=True)
        raise
    content = rows.to_bytes()
    store.write_atomic(target, content)
    partial.unlink(missing_ok=True)
    typer.echo(f"{target}: {len(rows):,} rows, {len(content):,} bytes")
    entry = ENTRIES.get(f"fluid_{scene.name}")
    if entry is not None and entry.file == target.name and seed == 0:
        same = store.sha256(content) == entry.sha256
        typer.echo(
            "the same bytes as the file that ships"
            if same
            else "other bytes than the file that ships: another version of numpy, torch or xz"
        )


def _estimate(count: int, engine: str, seconds: float) -> str:
    """Return how long the work takes, and how it would be faster."""
    minutes = max(1, round(seconds / 60))
    text = f"{count:,} designs by the {engine} engine: about {minutes} min on one quiet core."
    if engine == "torch":
        text += " Ten times as fast: pip install 'mbo-gym[fluid]'"
    return text
