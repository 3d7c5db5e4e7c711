"""Tables from data frames (polars, pandas), NumPy arrays and Parquet files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mbo_gym.errors import InvalidData
from mbo_gym.files.cells import Table, listed
from mbo_gym.files.numbers import MISSING_WORDS, find_style

if TYPE_CHECKING:
    import polars as pl

__all__ = ["array_table", "frame_table", "is_frame", "parquet_table"]

N_SEEN = 2000
"""Rows from which the style of numbers is found out."""


def is_frame(value: Any) -> bool:
    """Whether a value is a polars or pandas data frame, without importing either."""
    return type(value).__name__ in ("DataFrame", "LazyFrame") and (
        type(value).__module__.split(".")[0] in ("polars", "pandas")
    )


def frame_table(frame: Any, name: str = "frame") -> Table:
    """Make a table of a polars or pandas data frame, or of a mapping from names to columns.

    Args:
        frame: The frame; row numbers and labels of pandas are a column where they have a name.
        name: What messages call it.

    Raises:
        InvalidData: It is no frame, has no rows, two columns of one name, or names of several
            levels.

    Example:
        >>> frame_table({"temp": [20, 30], "yield": [1.5, 2.0]}).names
        ('temp', 'yield')
    """
    import polars as pl

    categories: dict[str, tuple[str, ...]] = {}
    if is_frame(frame) and type(frame).__module__.startswith("polars"):
        made = frame.lazy()
    elif is_frame(frame) or isinstance(frame, Mapping):
        columns = _columns_of_pandas(frame) if is_frame(frame) else list(frame.items())
        made = _polars_frame(columns).lazy()
        categories = _categories(columns)
    else:
        raise InvalidData(
            f"frame must be a polars or pandas data frame, got {type(frame).__name__}. Pass x= and "
            "y= for NumPy arrays, path= for a file."
        )
    assert isinstance(made, pl.LazyFrame)
    return replace(_table(Path(name), made, None, MISSING_WORDS), categories=categories)


def array_table(x: Any, y: Any, score: str) -> Table:
    """Make a table of NumPy arrays.

    Args:
        x: (N, d) numbers, columns ``x0 .. x{d-1}``; or (N,) texts, one column ``sequence``.
        y: (N,) scores; NaN where a measurement failed.
        score: Name of the column of scores.

    Raises:
        InvalidData: The arrays have other shapes.
    """
    x = np.asarray(x)
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    texts = x.ndim == 1 and x.dtype.kind in "UO"
    if not (texts or x.ndim == 2) or y.ndim != 1 or len(x) != len(y) or len(y) == 0:
        raise InvalidData(
            "x must hold one design a row, (N, d) numbers or (N,) texts, and y its scores, (N,); "
            f"got {x.shape=} and {y.shape=}. Reshape them."
        )
    columns: dict[str, Any] = {"sequence": x.astype(str)} if texts else {}
    if not texts:
        columns = {f"x{j}": x[:, j] for j in range(x.shape[1])}
    return frame_table(columns | {score: y}, "arrays")


def parquet_table(
    path: Path, content: bytes, decimal: Literal[".", ","] | None, missing: frozenset[str]
) -> Table:
    """Make a table of the content of a Parquet file.

    Raises:
        InvalidData: The file is damaged or holds no rows.
    """
    import polars as pl

    try:
        return _table(path, pl.scan_parquet(content), decimal, missing)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidData(f"{path} is a damaged Parquet file ({error}). Save it again.") from error


def _table(
    path: Path,
    frame: pl.LazyFrame,
    decimal: Literal[".", ","] | None,
    missing: frozenset[str],
) -> Table:
    import polars as pl

    schema = frame.collect_schema()
    durations = [name for name, dtype in schema.items() if dtype == pl.Duration]
    if durations:
        seconds = [pl.col(name).dt.total_microseconds() / 1e6 for name in durations]
        frame = frame.with_columns(seconds)
        schema = frame.collect_schema()
    n_rows = frame.select(pl.len()).collect().item()
    # pandas writes its row numbers as such a column; in its CSV files the name is empty.
    names = tuple("" if re.fullmatch(r"__index_level_\d+__", name) else name for name in schema)
    if n_rows == 0:
        raise InvalidData(
            f"{path} holds only the header {listed(names)} and no rows. Designs and scores must "
            "follow it."
        )
    texts = [_text(pl.col(name), dtype) for name, dtype in schema.items()]
    cells = frame.select([column.alias(str(j)) for j, column in enumerate(texts)])
    spelled = [j for j, dtype in enumerate(schema.values()) if dtype == pl.String]
    head = cells.select([pl.col(str(j)) for j in spelled]).head(N_SEEN).collect()
    style, notes = find_style(
        [names[j] for j in spelled],
        [column.fill_null("").to_list() for column in head.get_columns()],
        None,
        decimal,
        missing,
    )
    numbers = [
        pl.col(name).cast(pl.Float64, strict=False) if dtype.is_numeric() else style.numbers(text)
        for (name, dtype), text in zip(schema.items(), texts, strict=True)
    ]
    values = frame.select([column.alias(str(j)) for j, column in enumerate(numbers)])
    rows = np.arange(1, n_rows + 1)
    units = dict.fromkeys(durations, "s")
    notes = [*notes, *(f"{name!r} holds durations; they count as seconds." for name in durations)]
    return Table(
        path, names, cells, values, rows, "row", style=style, units=units, notes=tuple(notes)
    )


def _text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return a column as texts; lists and bytes are replaced by the name of their type."""
    import polars as pl

    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        return pl.when(column.is_not_null()).then(pl.lit(f"<{dtype}>"))
    return column.cast(pl.String)


def _columns_of_pandas(frame: Any) -> list[tuple[str, Any]]:
    """Return names and columns of a pandas frame, levels of the index with a name first."""
    if frame.columns.nlevels > 1:
        raise InvalidData(
            f"the columns of the frame have names of {frame.columns.nlevels} levels, such as "
            f"{frame.columns[0]}. Give each one name: frame.columns = "
            "[' '.join(map(str, name)) for name in frame.columns]."
        )
    names = ["" if name is None or name != name else str(name) for name in frame.columns]
    levels = [
        (str(name), frame.index.get_level_values(level))
        for level, name in enumerate(frame.index.names)
        if name is not None and str(name) not in names
    ]
    columns = [frame.iloc[:, j] for j in range(len(names))]
    return [*levels, *zip(names, columns, strict=True)]


def _categories(columns: Sequence[tuple[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Return the columns of pandas' categories, with the words of those that have an order."""
    found: dict[str, tuple[str, ...]] = {}
    for name, column in columns:
        dtype = getattr(column, "dtype", None)
        if type(dtype).__name__ != "CategoricalDtype":
            continue
        assert dtype is not None
        words = dtype.categories
        if not dtype.ordered:
            found[name] = ()
        elif words.dtype.kind not in "fiu":  # numbers have their order already
            found[name] = tuple(str(_cell(word)).strip() for word in words)
    return found


def _polars_frame(given: Sequence[tuple[str, Any]]) -> pl.DataFrame:
    """Return columns by name as a polars frame."""
    import polars as pl

    names = [str(name) for name, _ in given]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InvalidData(
            f"several columns of the frame are called {listed(doubled)}. Give each its own name."
        )
    made = {name: _series(column) for name, (_, column) in zip(names, given, strict=True)}
    lengths = {name: len(column) for name, column in made.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidData(f"columns must be equally long, got {lengths}. Fill them up.")
    return pl.DataFrame(made)


def _series(column: Any) -> pl.Series:
    """Return a column of numbers or durations as it is, any other as texts."""
    import polars as pl

    values = _as_array(column)
    if values.dtype.kind in "fiu":
        return pl.Series(values)
    if values.dtype.kind == "m":
        return pl.Series(values.astype("timedelta64[us]"))
    if values.dtype.kind == "M":  # finer ones would be numbers of nanoseconds
        values = values.astype("datetime64[us]")
    return pl.Series([_cell(value) for value in values.tolist()], dtype=pl.String)


def _as_array(column: Any) -> np.ndarray:
    kind = str(getattr(column, "dtype", ""))
    if kind.startswith(("Int", "UInt", "Float")) or kind == "boolean":  # pandas' own, with NA
        if not column.isna().any():
            return np.asarray(column.to_numpy(kind.lower().replace("boolean", "bool")))
        if kind != "boolean":
            return np.asarray(column.to_numpy("float64", na_value=float("nan")))
    return np.asarray(column)


def _cell(value: Any) -> str | None:
    """Return a value as text, None where it is missing."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    return None if isinstance(value, float) and np.isnan(value) else str(value)
