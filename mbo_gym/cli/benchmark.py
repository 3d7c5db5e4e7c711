"""Commands on benchmarks: mbo-gym benchmark | report | evaluate | results pack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mbo_gym.cli import completion
from mbo_gym.cli.chatter import say
from mbo_gym.methods.registry import METHODS
from mbo_gym.tasks.registry import TASKS

if TYPE_CHECKING:
    from mbo_gym.benchmark.execute.arrays import JobArray
    from mbo_gym.benchmark.execute.runner import Plan
    from mbo_gym.benchmark.plan.grid import Cell, Grid
    from mbo_gym.benchmark.plan.slurm import SlurmOptions
    from mbo_gym.benchmark.record import CellRecord

__all__ = ["benchmark", "evaluate", "merge", "pack", "report", "status"]

CELLS_FAILED = 3
"""Exit code of a benchmark in which cells failed."""

BenchmarkOptionPairs = Annotated[
    list[str] | None, typer.Option("--option", "-o", help="key=value, an option of every task")
]
ResultsFolders = Annotated[
    list[Path],
    typer.Argument(help="results folders", autocompletion=completion.results_folder),
]


def benchmark(
    file: Annotated[
        Path | None, typer.Argument(help="TOML file with methods, tasks, seeds, k")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="names with commas; `controls` stands for those that learn nothing",
            autocompletion=completion.several(METHODS, ("controls",)),
        ),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="task ids with commas", autocompletion=completion.several(TASKS)),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="e.g. 0, 0-7 or 0,3,5")] = None,
    k: Annotated[str | None, typer.Option(help="designs to propose; several with commas")] = None,
    option: BenchmarkOptionPairs = None,
    output: Annotated[
        Path, typer.Option(help="results folder; what it holds already is not run again")
    ] = Path("benchmark"),
    executor: Annotated[str, typer.Option(help="process, ray, serial or slurm")] = "process",
    workers: Annotated[int | None, typer.Option(help="CPU cores to use; default: all")] = None,
    address: Annotated[str | None, typer.Option(help="of a running Ray cluster, or auto")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..")] = "cpu",
    retry: Annotated[
        bool, typer.Option("--retry", "--retry-failed", help="run failed cells again")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="list the cells and the time they will take")
    ] = False,
    log: Annotated[str, typer.Option(help="tensorboard, wandb, or both with a comma")] = "",
    shard: Annotated[
        str | None,
        typer.Option(help="run one part of the cells, e.g. 3/20; the parts may share the folder"),
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(help="key=value of the job array, before the file's [slurm]; see the guide"),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="slurm: wait for the cells, or submit only")
    ] = True,
) -> None:
    """Run methods x tasks x seeds, going on where an earlier run of the same folder stopped.

    The grid comes from a TOML file or from --methods and --tasks; --seeds and --k override the
    file's. Exit code 3: all cells ended, and some of them failed.

    Examples:
        mbo-gym benchmark --methods controls,grad --tasks Branin-Exact-v0 --seeds 0-3
        mbo-gym benchmark grid.toml --output results --dry-run
        mbo-gym benchmark grid.toml --output results --shard 3/20
    """
    from mbo_gym.benchmark.execute.results import ResultStore
    from mbo_gym.benchmark.execute.runner import check_execution, make_plan
    from mbo_gym.benchmark.plan.grid import cells_of
    from mbo_gym.progress.loggers import check_loggers

    grids = _grids(file, methods, tasks, seeds, k, option)
    loggers = tuple(name.strip() for name in log.split(",") if name.strip())
    check_loggers(loggers)
    part = _shard(shard)
    if executor == "slurm":
        _refuse_with_slurm(workers=workers, address=address, shard=shard)
    else:
        check_execution(executor, workers=workers, address=address, device=device)
        if slurm or not wait:
            raise ValueError(f"--slurm and --no-wait are for --executor slurm, got {executor!r}")
    if dry_run:
        store = ResultStore(output)
        records = store.records() if store.exists else []
        cells = cells_of(grids, store.configs)
        cells = cells if part is None else cells[part[0] - 1 :: part[1]]
        plan = make_plan(cells, {r.key: r for r in records}, retry=retry)
        _show_plan(plan, records, workers)
        return
    if executor == "slurm":
        options = _slurm_options(file, slurm or [])
        records = _run_on_slurm(
            grids, output, options, device=device, retry=retry, loggers=loggers, wait=wait
        )
        if not wait:
            return
    else:
        records = _run_here(
            grids,
            output,
            executor=executor,
            workers=workers,
            address=address,
            device=device,
            retry=retry,
            loggers=loggers,
            shard=part,
        )
    _show_results(records)
    say(f"Results in {output}. A page of them: mbo-gym report {output} --html report.html")
    failed = sum(record.status == "failed" for record in records)
    if failed:
        typer.echo(
            f"{failed} of {len(records)} cells failed; the report has their errors, and --retry "
            "runs them again.",
            err=True,
        )
        raise typer.Exit(CELLS_FAILED)


def _run_here(grids: list[Grid], output: Path, **options: Any) -> list[CellRecord]:
    from mbo_gym.benchmark.execute.live import Live
    from mbo_gym.benchmark.execute.runner import run_grid

    with Live() as live:
        return run_grid(grids, output, show=live, **options)


def _run_on_slurm(
    grids: list[Grid], output: Path, options: SlurmOptions, **more: Any
) -> list[CellRecord]:
    """Submit, wait, and on Ctrl-C say how to go on."""
    from mbo_gym.benchmark.execute.live import Live
    from mbo_gym.benchmark.execute.slurm import run_on_slurm

    arrays: list[JobArray] = []
    waited = False

    def submitted(array: JobArray) -> None:
        arrays.append(array)
        n = sum(map(len, array.keys))
        typer.echo(f"job {array.job}: {n} cells in {len(array.keys)} tasks", err=True)

    try:
        with Live() as live:
            records = run_on_slurm(grids, output, options, show=live, submitted=submitted, **more)
        waited = more["wait"]
        return records
    finally:
        going_on = [] if waited else [array for array in arrays if array.states(output)]
        for array in going_on:
            typer.echo(f"job {array.job} goes on; `{array.cancel}` ends it", err=True)
        if going_on:
            typer.echo(
                f"`mbo-gym status {output}` shows how far it is; this command watches it again",
                err=True,
            )


def _refuse_with_slurm(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            remedy = "Set cpus with --slurm" if name == "workers" else f"Leave out --{name}"
            raise ValueError(
                f"--{name} does not go with --executor slurm, got {value!r}. {remedy}."
            )


def _slurm_options(file: Path | None, pairs: list[str]) -> SlurmOptions:
    """Return the options of the file's table and of the command line, which counts first."""
    from mbo_gym.benchmark.plan.grid import read_slurm
    from mbo_gym.benchmark.plan.slurm import slurm_options
    from mbo_gym.settings import parse_options

    table = {} if file is None else read_slurm(file)
    return slurm_options(table, parse_options(pairs, "--slurm"))


def report(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="results folders; the cells of all are put together",
            autocompletion=completion.results_folder,
        ),
    ],
    html: Annotated[Path | None, typer.Option(help="write one self-contained page")] = None,
    markdown: Annotated[Path | None, typer.Option(help="write tables in Markdown")] = None,
    latex: Annotated[Path | None, typer.Option(help="write tables in LaTeX")] = None,
    title: Annotated[str, typer.Option(help="of the report")] = "Benchmark",
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="compare the records with their cells, and score the designs again"
        ),
    ] = False,
) -> None:
    """Turn results into a report: tables here, or a page, Markdown or LaTeX in a file.

    With --verify, check the records first; exit code 2 where one of them is wrong.

    Examples:
        mbo-gym report benchmark
        mbo-gym report benchmark --html report.html --title "My methods"
        mbo-gym report results mine --verify --latex tables.tex
    """
    from mbo_gym.benchmark.analysis.build import analyse
    from mbo_gym.benchmark.analysis.remarks import read_remarks
    from mbo_gym.benchmark.execute.results import ResultStore
    from mbo_gym.files.store import write_atomic

    if verify:
        _verify(results)
    records: dict[str, CellRecord] = {}
    for folder in results:
        store = ResultStore(folder)
        records |= {record.key: record for record in store.records()}
        if lost := store.unlisted():
            typer.echo(
                f"{folder}: {len(lost)} finished cells have no line in {store.lines.name}, e.g. "
                f"{lost[0]}. `mbo-gym merge {folder}` adds them.",
                err=True,
            )
    if not records:
        raise ValueError(f"{', '.join(map(str, results))}: no cell has ended yet")
    if html is markdown is latex is None:
        _show_results(list(records.values()))
        return
    remarks = [remark for folder in results for remark in read_remarks(folder)]
    analysis = analyse(list(records.values()), title=title, remarks=remarks)
    if html is not None:
        from mbo_gym.benchmark.report.html import to_html

        typer.echo(write_atomic(html, to_html(analysis).encode()))
    if markdown is not None or latex is not None:
        from mbo_gym.benchmark.report import text

        for path, render in ((markdown, text.to_markdown), (latex, text.to_latex)):
            if path is not None:
                typer.echo(write_atomic(path, render(analysis).encode()))


def merge(
    results: ResultsFolders,
    output: Annotated[
        Path | None, typer.Option(help="folder for all of them; default: each by itself")
    ] = None,
) -> None:
    """Put the records of several writers into one file: of --shard, or of several folders.

    Without --output, the parts that --shard wrote into a folder become its results.jsonl. With it,
    records and cells of all folders are copied into one.

    Examples:
        mbo-gym merge benchmark
        mbo-gym merge monday tuesday --output both
    """
    from mbo_gym.benchmark.execute.results import ResultStore

    if output is None:
        for folder in results:
            n = ResultStore(folder).join()
            typer.echo(f"{folder}: {n} parts put into results.jsonl")
        return
    brought = ResultStore(output).take_over([ResultStore(folder) for folder in results])
    for folder, n in zip(results, brought, strict=True):
        typer.echo(f"{folder}: {n} records copied to {output}")


def status(
    results: Annotated[
        Path, typer.Argument(help="results folder", autocompletion=completion.results_folder)
    ],
    file: Annotated[
        Path | None, typer.Argument(help="TOML file of the grid, to count what is left")
    ] = None,
) -> None:
    """Show how far a benchmark is: cells that are done, failed, running, lost and left.

    Lost are cells that a process left half-way, and those of Slurm tasks that are gone.

    Examples:
        mbo-gym status benchmark
        mbo-gym status benchmark grid.toml
    """
    from mbo_gym.benchmark.execute.arrays import read_arrays
    from mbo_gym.benchmark.execute.live import duration
    from mbo_gym.benchmark.execute.results import ResultStore
    from mbo_gym.benchmark.execute.runner import estimate_seconds
    from mbo_gym.benchmark.plan.grid import cells_of

    store = ResultStore(results)
    records = {r.key: r for r in store.records()} if store.exists else {}
    running, lost = store.at_work()
    arrays = read_arrays(results)
    cells = cells_of(_grids(file, None, None, None, None, None), store.configs) if file else []
    kept = [records[cell.key] for cell in cells if cell.key in records] or list(records.values())
    done = sum(record.status == "done" for record in kept)
    counts = [f"{done} done", f"{len(kept) - done} failed", f"{running} running", f"{lost} lost"]
    if cells:
        left = [cell for cell in cells if cell.key not in records]
        counts.append(f"{len(left)} of {len(cells)} left")
        known = [s for s in estimate_seconds(left, list(records.values())) if s is not None]
        if known:
            counts.append(f"about {duration(sum(known))} of work for {len(known)} of these")
    typer.echo(", ".join(counts))
    for array in arrays:
        line = _array_line(array, results, set(records))
        if line:
            typer.echo(line)


def _array_line(array: JobArray, results: Path, ended: set[str]) -> str:
    """Return how far a job array is; empty for one whose cells have all ended."""
    from mbo_gym.benchmark.execute.live import duration

    states = array.states(results)
    keys = {key for task in array.keys for key in task}
    open_ = keys - ended
    if not open_:
        return ""
    at_work = {key for task in states for key in array.keys[task]}
    counts = [f"{len(keys) - len(open_)} of {len(keys)} cells ended"]
    tasks = Counter(states.values())
    counts += [f"{n} tasks {state.lower()}" for state, n in sorted(tasks.items())]
    if gone := open_ - at_work:
        counts.append(f"{len(gone)} cells lost with their tasks (the same command runs them again)")
    if states:
        left = array.seconds_left(ended, list(states))
        counts.append(f"about {duration(left)} left")
        counts.append(f"`{array.cancel}` ends it")
    return f"job {array.job}: {', '.join(counts)}"


def _shard(text: str | None) -> tuple[int, int] | None:
    """Return (i, n) of ``i/n``."""
    if text is None:
        return None
    first, _, second = text.partition("/")
    if not (first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
        raise ValueError(f"--shard takes the part and the number of parts, e.g. 3/20, got {text!r}")
    return int(first), int(second)


def _verify(results: Sequence[Path]) -> None:
    """Check the records of folders.

    Raises:
        DamagedFile: A record is wrong.
    """
    from mbo_gym.benchmark.execute.results import ResultStore
    from mbo_gym.benchmark.execute.verify import Checked, verify
    from mbo_gym.errors import DamagedFile
    from mbo_gym.progress.bars import RichProgress

    checked: list[Checked] = []
    with RichProgress() as progress:
        for folder in results:
            checked += verify(ResultStore(folder), progress)
    unchecked = [one for one in checked if one.unchecked]
    wrong = [one for one in checked if one.problem]
    for reason in dict.fromkeys(one.unchecked for one in unchecked):
        n = sum(one.unchecked == reason for one in unchecked)
        typer.echo(f"{n} of {len(checked)} records not checked: {reason}", err=True)
    for one in wrong:
        request = one.record.request
        place = f"{one.record.label} on {request.task_id}, seed {request.seed}"
        typer.echo(f"{place}: {one.problem}", err=True)
    if wrong:
        raise DamagedFile(f"{len(wrong)} of {len(checked)} records are wrong, see above.")
    typer.echo(
        f"{len(checked) - len(unchecked)} of {len(checked)} records checked, none is wrong.",
        err=True,
    )


def pack(
    results: ResultsFolders,
) -> None:
    """Compress the records of results folders for version control, with a summary.csv each.

    results.jsonl becomes results.jsonl.xz; reports read it, and a benchmark goes on beside it.

    Examples:
        mbo-gym results pack benchmark
        mbo-gym results pack results/core results/mine
    """
    from mbo_gym.benchmark.execute.results import ResultStore

    for folder in results:
        for path in ResultStore(folder).pack():
            typer.echo(path)


def evaluate(
    task: Annotated[str, typer.Argument(help="task id", autocompletion=completion.task)],
    files: Annotated[
        list[Path],
        typer.Argument(
            help="designs, best first: npz, npy or a table (csv, tsv, parquet, xlsx, also "
            "compressed); one file a seed"
        ),
    ],
    name: Annotated[str, typer.Option(help="of what made them; its row in the tables")] = "mine",
    seed: Annotated[int, typer.Option(help="of the first file; the others count on")] = 0,
    option: BenchmarkOptionPairs = None,
    output: Annotated[Path | None, typer.Option(help="results folder to add them to")] = None,
) -> None:
    """Score designs that another program made, and add them to a benchmark's results.

    Examples:
        mbo-gym evaluate TFBind8-Exact-v0 designs.csv
        mbo-gym evaluate TFBind8-Exact-v0 0.npz 1.npz --name mine --output mine
    """
    from mbo_gym.benchmark.execute.external import check_name, score_file
    from mbo_gym.benchmark.execute.results import ResultStore
    from mbo_gym.tasks.registry import make_task, read_task_options

    check_name(name)
    made = make_task(task, **read_task_options(task, option or []))
    scored = [score_file(path, made, name, seed + i) for i, path in enumerate(files)]
    for path, (evaluation, _) in zip(files, scored, strict=True):
        typer.echo(f"{path}: {evaluation}")
    if output is not None:
        store = ResultStore(output)
        with store.writing():
            for _, record in scored:
                store.add(record)
        say(
            f"Added to {output} as {name!r}. "
            f"A page of it: mbo-gym report {output} --html report.html"
        )


def _grids(
    file: Path | None,
    methods: str | None,
    tasks: str | None,
    seeds: str | None,
    k: str | None,
    option: list[str] | None,
) -> list[Grid]:
    from mbo_gym.benchmark.plan.grid import Grid, TaskChoice, method_choices, read_grids
    from mbo_gym.settings import parse_seeds
    from mbo_gym.tasks.registry import read_task_options

    if file is not None:
        if methods or tasks or option:
            raise ValueError(
                "a grid comes from a file or from --methods and --tasks, not from both"
            )
        grids = read_grids(file)
    elif methods and tasks:
        chosen = [TaskChoice(task, read_task_options(task, option or [])) for task in _words(tasks)]
        grids = [Grid(method_choices(_words(methods)), chosen)]
    else:
        raise ValueError("a benchmark needs a TOML file, or --methods and --tasks")
    if seeds is not None:
        grids = [replace(grid, seeds=parse_seeds(seeds)) for grid in grids]
    if k is not None:
        if not all(word.isdecimal() for word in _words(k)):
            raise ValueError(f"--k takes whole numbers, got {k!r}")
        ks = [int(word) for word in _words(k)]
        grids = [replace(grid, ks=ks) for grid in grids]
    return grids


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _show_plan(plan: Plan, records: Sequence[CellRecord], workers: int | None) -> None:
    """Print every cell with its state and estimated time, and how long all will take."""
    from rich.table import Table

    from mbo_gym.benchmark.execute.executor import available_cpus
    from mbo_gym.benchmark.execute.live import duration
    from mbo_gym.benchmark.execute.runner import estimate_seconds
    from mbo_gym.cli.terminal import show

    table = Table("key", "method", "task", "k", "seed", "state", "takes about", title="Cells")
    seconds = dict(
        zip((c.key for c in plan.to_run), estimate_seconds(plan.to_run, records), strict=True)
    )

    def row(cell: Cell, state: str) -> None:
        guess = seconds.get(cell.key)
        takes = "" if state != "to run" else duration(guess) if guess is not None else "not known"
        request = cell.request
        options = ", ".join(f"{name}={value}" for name, value in request.options.items())
        task = f"{request.task_id} ({options})" if options else request.task_id
        table.add_row(cell.key, cell.label, task, str(request.k), str(request.seed), state, takes)

    for cells, state in ((plan.done, "done"), (plan.failed, "failed"), (plan.to_run, "to run")):
        for cell in cells:
            row(cell, state)
    show(table)
    known = [guess for guess in seconds.values() if guess is not None]
    cores = workers or available_cpus()
    typer.echo(f"{len(plan.done)} done, {len(plan.failed)} failed, {len(plan.to_run)} to run")
    if known:
        unknown = (
            f", and {len(seconds) - len(known)} cells whose time is not known"
            if len(known) < len(seconds)
            else ""
        )
        typer.echo(f"about {duration(sum(known) / cores)} on {cores} cores{unknown}")
    elif plan.to_run:
        typer.echo("how long they take is not known: none of these methods has run in this folder")


def _show_results(records: Sequence[CellRecord]) -> None:
    """Print the finding, the tables of a report, what a reader must know, and the failed cells."""
    from mbo_gym.benchmark.analysis.build import analyse
    from mbo_gym.benchmark.report import text
    from mbo_gym.cli.terminal import show

    analysis = analyse(records)
    for line in text.finding_lines(analysis):
        typer.echo(line)
    for table in text.leaderboard_tables(analysis):
        show(table, left_out_first=text.LEADERBOARD_LEFT_OUT_FIRST, where="--markdown")
    for note in analysis.notes:
        typer.echo(f"- {note}")
    for failed in analysis.failures:
        typer.secho(
            f"failed: {failed.label} on {failed.task}, seed {failed.seed}: {failed.error}",
            fg="red",
        )
    if analysis.failures:
        typer.echo(
            "The tracebacks are in the report and in record.json; --retry runs failed cells again."
        )
