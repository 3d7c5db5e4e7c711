"""Reports as Markdown, as LaTeX tables and as tables for a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich import box
from rich.markup import escape
from rich.table import Table

from mbo_gym.benchmark.analysis.model import Analysis
from mbo_gym.benchmark.analysis.notes import short_commit
from mbo_gym.benchmark.report.sheets import (
    Sheet,
    failures_sheet,
    offline_sheet,
    overall_sheet,
    reproduced_sheet,
    task_sheet,
)

__all__ = [
    "LEADERBOARD_LEFT_OUT_FIRST",
    "finding_lines",
    "leaderboard_tables",
    "to_latex",
    "to_markdown",
]

LEADERBOARD_LEFT_OUT_FIRST = (
    "seconds",
    "first 128\n50th",
    "first 128\n100th",
    "100th\nmean rank",
    "100th\nIQM",
    "50th",
    "50th distinct\nmean rank",
)
"""Columns of the leaderboards that a narrow terminal leaves out first."""

_LEGEND = "Means over seeds; +- is the standard error of the mean."
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "+-": r"$\pm$",
    **{character: rf"\{character}" for character in "&%$#_{}"},
}
_LATEX_SPECIAL = re.compile("|".join(re.escape(text) for text in _LATEX))
_MINUS = re.compile(r"(?<![\w.])-(?=\d)")


def to_markdown(analysis: Analysis) -> str:
    """Return the report as GitHub-flavoured Markdown.

    Args:
        analysis: Analysis to show.

    Returns:
        The finding and what to trust, notes, the leaderboard over tasks where there are several, a
        table a task (the best method of a column bold, controls in italics), published numbers
        beside ours, what was known without an oracle, failed cells, environments and commands.
    """
    finding = analysis.finding
    parts = [
        f"# {_md(analysis.title)}",
        "## Finding",
        f"**{_md(finding.headline)}**",
        *([_md(" ".join(finding.sentences))] if finding.sentences else []),
    ]
    if finding.trust:
        parts += ["What to trust:", "\n".join(f"- {_md(line)}" for line in finding.trust)]
    parts.append(f"{_LEGEND} Bold: the best of a column, controls (in italics) left out.")
    if analysis.notes:
        parts += ["## Notes", "\n".join(f"- {_md(note)}" for note in analysis.notes)]
    failed = failures_sheet(analysis)
    for sheet in [*_sheets(analysis), *_known_offline(analysis), *([failed] if failed else [])]:
        parts += [f"## {_md(sheet.title)}", _md(sheet.caption), _markdown_table(sheet)]
    parts += ["## Environment", "\n".join(f"- {_md(line)}" for line in _environments(analysis))]
    commands = "\n".join(
        dict.fromkeys(entry.command for entry in analysis.entries if entry.command)
    )
    longest = max((len(run) for run in re.findall("`+", commands)), default=0)
    fence = "`" * max(3, longest + 1)  # so that no command ends the block
    parts += ["## Commands", f"{fence}\n{commands}\n{fence}"]
    return "\n\n".join(parts) + "\n"


def to_latex(analysis: Analysis) -> str:
    """Return the tables as LaTeX, to be read with \\input.

    Args:
        analysis: Analysis to show.

    Returns:
        Tables with captions and labels: over tasks where there are several, one a task,
        published numbers beside ours. The best of a column is bold, controls are in italics. The
        finding and the notes stand above them as comments.
    """
    lines = [
        r"Needs \usepackage{booktabs}.",
        "",
        analysis.title,
        *finding_lines(analysis),
        *analysis.notes,
    ]
    comments = "\n".join(f"% {' '.join(line.split())}".rstrip() for line in lines)
    tables = [
        _latex_table(sheet.brief(), number) for number, sheet in enumerate(_sheets(analysis), 1)
    ]
    return "\n\n".join([comments, *tables]) + "\n"


def finding_lines(analysis: Analysis) -> list[str]:
    """Return the finding as plain lines: the result first, then what to trust.

    Args:
        analysis: Analysis to show.
    """
    finding = analysis.finding
    return [finding.headline, *finding.sentences, *(f"- {line}" for line in finding.trust)]


def leaderboard_tables(analysis: Analysis) -> list[Table]:
    """Return the leaderboards for a terminal: over tasks where there are several, and one a
    task.

    The best of a column is bold, controls are dim. `mbo_gym.cli.terminal.show` prints them, with
    LEADERBOARD_LEFT_OUT_FIRST.

    Args:
        analysis: Analysis to show.
    """
    return [_rich_table(sheet.brief()) for sheet in _leaderboards(analysis)]


def _leaderboards(analysis: Analysis) -> list[Sheet]:
    overall = overall_sheet(analysis)
    return [
        *([overall] if overall else []),
        *(task_sheet(analysis, task) for task in analysis.tasks),
    ]


def _sheets(analysis: Analysis) -> list[Sheet]:
    reproduced = reproduced_sheet(analysis)
    return [*_leaderboards(analysis), *([reproduced] if reproduced else [])]


def _known_offline(analysis: Analysis) -> list[Sheet]:
    sheets = (offline_sheet(analysis, task) for task in analysis.tasks)
    return [sheet for sheet in sheets if sheet]


def _environments(analysis: Analysis) -> Iterator[str]:
    for environment in analysis.environments:
        versions = ", ".join(f"{name} {v}" for name, v in environment.versions.items())
        machine = ", ".join(f"{name} {value}" for name, value in environment.machine.items())
        yield f"{versions}; git {short_commit(environment.git)}; {machine}"


def _markdown_table(sheet: Sheet) -> str:
    headers = [_md(column.header) for column in sheet.columns]
    rules = ["---" if i == 0 or c.prose else "---:" for i, c in enumerate(sheet.columns)]
    lines = [headers, rules]
    best = [sheet.best_rows(column) for column in range(len(headers))]
    for i, row in enumerate(sheet.rows):
        values = [_md(value.text) for value in row.values]
        if row.control:
            values[0] = f"*{values[0]}*"
        lines.append(
            [f"**{value}**" if i in best[column] else value for column, value in enumerate(values)]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _md(text: str) -> str:
    """Escape the markup characters of Markdown, and put the text on one line."""
    return re.sub(r"([\\`*<>|&])", r"\\\1", " ".join(text.split()))


def _latex_table(sheet: Sheet, number: int) -> str:
    columns = "".join(
        "p{4cm}" if c.prose else "l" if i == 0 else "r" for i, c in enumerate(sheet.columns)
    )
    best = [sheet.best_rows(column) for column in range(len(sheet.columns))]
    lines = [" & ".join(_tex(column.header) for column in sheet.columns) + r" \\", r"\midrule"]
    for i, row in enumerate(sheet.rows):
        values = [_tex(value.text) for value in row.values]
        if row.control:
            values = [rf"\textit{{{value}}}" for value in values]
        lines.append(
            " & ".join(rf"\textbf{{{v}}}" if i in best[j] else v for j, v in enumerate(values))
            + r" \\"
        )
    body = "\n".join(lines)
    return rf"""\begin{{table*}}
\centering\scriptsize\setlength{{\tabcolsep}}{{3pt}}
\caption{{{_tex(f"{sheet.title}. {sheet.caption} {_LEGEND}")}}}
\label{{tab:mbo-gym-{number}}}
\begin{{tabular}}{{{columns}}}
\toprule
{body}
\bottomrule
\end{{tabular}}
\end{{table*}}"""


def _tex(text: str) -> str:
    """Escape the special characters of LaTeX, and put the text on one line."""
    escaped = _LATEX_SPECIAL.sub(lambda match: _LATEX[match[0]], " ".join(text.split()))
    escaped = _MINUS.sub("$-$", escaped)
    # After \\ a [ or * would be read as its argument
    return "{}" + escaped if escaped.startswith(("[", "*")) else escaped


def _rich_table(sheet: Sheet) -> Table:
    table = Table(title=escape(sheet.title), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for i, column in enumerate(sheet.columns):
        table.add_column(column.header, justify="left" if i == 0 else "right", overflow="fold")
    best = [sheet.best_rows(column) for column in range(len(sheet.columns))]
    for i, row in enumerate(sheet.rows):
        values = [escape(value.text) for value in row.values]
        values = [
            f"[bold]{value}[/]" if i in best[column] else value
            for column, value in enumerate(values)
        ]
        table.add_row(*values, style="dim" if row.control else None)
    table.caption, table.caption_justify = escape(f"{sheet.caption} {_LEGEND}"), "left"
    return table
