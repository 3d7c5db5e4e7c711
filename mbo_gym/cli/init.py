"""The command `init`: from a table to a `space.toml` that a user corrects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mbo_gym.cli.chatter import say
from mbo_gym.errors import InvalidData

__all__ = ["init"]


def init(
    table: Annotated[Path | None, typer.Argument(help="your table")] = None,
    score: Annotated[str | None, typer.Option(help="column of the score")] = None,
    minimise: Annotated[bool, typer.Option("--minimise", help="lower is better")] = False,
    output: Annotated[Path, typer.Option(help="file to write; - prints it")] = Path("space.toml"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the file")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="print the JSON schema of the file, for editors")
    ] = False,
    failed: Annotated[str | None, typer.Option(help="column that flags failed rows")] = None,
    wild_type: Annotated[
        str | None, typer.Option(help="sequence that a column of mutations refers to")
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="character between cells")] = None,
    encoding: Annotated[str | None, typer.Option(help="encoding of the text")] = None,
    decimal: Annotated[str | None, typer.Option(help=". or , before a fraction")] = None,
    header: Annotated[bool, typer.Option(help="whether the first line names columns")] = True,
) -> None:
    """Infer the design space of your table and write it down for you to correct.

    Examples:
        mbo-gym init my.csv --score yield
        mbo-gym init my.csv --score cost --minimise --output -
        mbo-gym init --schema
    """
    from mbo_gym.files import store
    from mbo_gym.files.space_schema import schema_text
    from mbo_gym.tasks.table_space import write_space

    if schema:
        typer.echo(schema_text(), nl=False)
        return
    if table is None:
        raise InvalidData("Which table? Pass its path: mbo-gym init my.csv --score yield.")
    to_screen = str(output) == "-"
    if not to_screen and output.exists() and not overwrite:
        raise InvalidData(
            f"{output} exists already. Pass --overwrite to replace it, or another --output."
        )
    reading: dict[str, Any] = {
        "delimiter": delimiter,
        "encoding": encoding,
        "decimal": decimal,
        "header": header,
    }
    text, notes = write_space(
        table, score, minimise=minimise, failed=failed, wild_type=wild_type, **reading
    )
    for note in notes:
        typer.echo(note, err=True)
    if to_screen:
        typer.echo(text, nl=False)
        return
    store.write_atomic(output, text.encode())
    say(f"{output} says what each column is. Correct it, then pass --space {output}.")
