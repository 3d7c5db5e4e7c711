"""The command mbo-gym propose: from a table to a batch and its card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mbo_gym.cli import completion
from mbo_gym.cli.chatter import working

if TYPE_CHECKING:
    from rich.table import Table

    from mbo_gym.batch.health import Health
    from mbo_gym.batch.result import Batch

__all__ = ["propose"]

N_SHOWN = 20
"""Designs that are printed."""


def propose(
    data: Annotated[str, typer.Argument(help="table of measurements, or a task id")],
    score: Annotated[str | None, typer.Option(help="column of the score")] = None,
    batch: Annotated[int, typer.Option("--batch", "--k", help="designs to propose")] = 96,
    method: Annotated[
        str | None,
        typer.Option(
            help="method that proposes candidates; default: matched",
            autocompletion=completion.method,
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="named settings of the method")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="key=value, a setting, e.g. surrogate.hidden=128"),
    ] = None,
    include: Annotated[
        Path | None, typer.Option(help="file of wanted designs: they take places in the batch")
    ] = None,
    exclude: Annotated[
        Path | None, typer.Option(help="file of excluded or pending designs: never proposed")
    ] = None,
    diverse: Annotated[
        bool, typer.Option("--diverse", help="spread wider, at the cost of predicted score")
    ] = False,
    group: Annotated[
        str | None, typer.Option(help="parameter that is equal within a plate, e.g. temperature")
    ] = None,
    plate_size: Annotated[
        int | None, typer.Option(help="designs of a plate; default: the whole batch")
    ] = None,
    space: Annotated[
        Path | None, typer.Option(help="space.toml with parameters and constraints")
    ] = None,
    minimise: Annotated[bool, typer.Option("--minimise", help="a lower score is better")] = False,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="key=value, an option of the task or the table"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="CSV file to write; default: batch.csv, or the next free batch-2.csv"),
    ] = None,
    card: Annotated[
        Path | None, typer.Option(help="HTML card to write; default: beside the CSV file")
    ] = None,
    seed: Annotated[int, typer.Option(help="seed of models and method")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..")] = "cpu",
) -> None:
    """Propose the next designs to measure: health of the data, designs, a file and a card.

    Examples:
        mbo-gym propose my.csv --score yield
        mbo-gym propose my.csv --score yield --batch 24 --exclude pending.csv
        mbo-gym propose my.csv --space space.toml --minimise --output next.csv
    """
    from mbo_gym.batch.card import write_card
    from mbo_gym.batch.earlier import earlier_batch
    from mbo_gym.batch.propose import is_table_of_measurements, prepare
    from mbo_gym.cli.terminal import show
    from mbo_gym.progress.bars import RichProgress
    from mbo_gym.settings import parse_options
    from mbo_gym.tasks.registry import read_task_options

    options = read_task_options("table" if is_table_of_measurements(data) else data, option or [])
    if space is not None:
        options["space"] = str(space)
    prepared = prepare(
        data,
        score,
        method,
        batch,
        minimise=minimise,
        include=include,
        exclude=exclude,
        diverse=diverse,
        group=group,
        plate_size=plate_size,
        seed=seed,
        device=device,
        preset=preset,
        settings=parse_options(settings or [], "--set"),
        **options,
    )
    table_file, card_file, earlier = _files(output, card)
    if earlier is not None:
        typer.echo(earlier_batch(earlier, prepared.problem), err=True)
    with RichProgress() as bars:
        health = prepared.health(bars)
    # Said before the batch is made: it tells whether to wait for one.
    if health.models:
        show(_health_table(health))
    typer.echo(f"{health.finding}\n")
    with RichProgress(prefix=f"{prepared.name}: ") as bars:
        made = prepared.make(bars, health)
    written = made.to_csv(table_file)
    show(_batch_table(made), left_out_first=_left_out_first(made), where=str(table_file))
    if len(made) > N_SHOWN:
        typer.echo(f"... and {len(made) - N_SHOWN} more\n")
    if made.trades:
        show(_trade_table(made))
    for note in _notes(made):
        typer.echo(f"- {note}")
    typer.echo(f"\nbatch: {written}")
    with working("making the card"):
        page = write_card(made, card_file)
    typer.echo(f"card:  {page}")


def _files(output: Path | None, card: Path | None) -> tuple[Path, Path, Path | None]:
    """Return the files to write, and the batch before.

    Without names, those of an earlier batch are kept.
    """
    earlier = None
    if output is None:
        output = Path("batch.csv")
        number = 2
        while output.exists() or output.with_suffix(".html").exists():
            earlier = output if output.exists() else earlier
            output = Path(f"batch-{number}.csv")
            number += 1
    for path in (output, output if card is None else card):
        folder = path.expanduser().resolve().parent
        if not folder.is_dir():
            raise ValueError(f"{path}: there is no folder {folder}. Make it, or name another file.")
    return output, output.with_suffix(".html") if card is None else card, earlier


def _health_table(health: Health) -> Table:
    from rich.table import Table

    table = Table("model", title="How well held-out rows are predicted")
    for name in ("rank correlation", "R2", f"error, {health.unit}", "share in the committee"):
        table.add_column(name, justify="right")
    table.caption, table.caption_justify = health.sample, "left"
    for model in health.models:
        rank = (
            ""
            if model.rank_correlation != model.rank_correlation
            else (f"{model.rank_correlation:.3f}")
        )
        share = f"{model.share:.0%}" if model.share else ""
        table.add_row(model.title, rank, f"{model.r2:.3f}", f"{model.error:.4g}", share)
    return table


def _batch_table(batch: Batch) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"The first {min(len(batch), N_SHOWN)} of {len(batch)} designs")
    for name in batch.header():
        table.add_column(escape(name), justify="left" if name in _words(batch) else "right")
    for row in batch.cells()[:N_SHOWN]:
        table.add_row(*map(escape, row))
    best = f"{batch.best_measured:.6g}"
    table.caption = f"Best measured {batch.score.name}: {best}."
    table.caption_justify = "left"
    return table


def _words(batch: Batch) -> set[str]:
    """Return the columns of words, which are aligned left."""
    return {
        name for name, values in batch.columns.items() if len(values) and isinstance(values[0], str)
    }


def _left_out_first(batch: Batch) -> list[str]:
    """Return the columns of facts that a narrow terminal goes without, the first one first."""
    order = ("slack", "support", "distance", "nearest_line", "nearest_row", "agree", "low", "high")
    facts = list(batch.fact_columns())
    return [name for wanted in order for name in facts if name.removeprefix("batch_") == wanted]


def _trade_table(batch: Batch) -> Table:
    from rich.table import Table

    table = Table("choice", title="Score against diversity")
    table.add_column(f"mean predicted {batch.score.name}", justify="right")
    table.add_column("mean distance to the nearest other design", justify="right")
    for trade in batch.trades:
        style = "bold" if trade.chosen else ""
        name = f"{trade.name} (this batch)" if trade.chosen else trade.name
        table.add_row(name, f"{trade.predicted:.5g}", f"{trade.distance:.3g}", style=style)
    return table


def _notes(batch: Batch) -> list[str]:
    found = [batch.intervals.in_words]
    if batch.feasibility is not None:
        found.append(batch.feasibility.finding)
    return [*found, *batch.notes]
