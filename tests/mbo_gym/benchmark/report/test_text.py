"""The same numbers as Markdown, as LaTeX and in a terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from mbo_gym.benchmark.analysis.build import analyse
from mbo_gym.benchmark.report.text import (
    LEADERBOARD_LEFT_OUT_FIRST,
    finding_lines,
    leaderboard_tables,
    to_latex,
    to_markdown,
)
from tests.mbo_gym.benchmark.records import failed, make_records, record

TFBIND, LEVY = "TFBind8-Exact-v0", "Levy-Exact-v0 [dim=30]"
NASTY = r"a|b *c* <i> & 50% $x_1$ #~^{\}"


@pytest.fixture(scope="module")
def analysis():
    return analyse(make_records())


def sections(markdown):
    """Return the text below each heading of second level."""
    parts = re.split(r"^## (.*)\n", markdown, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def rows_of(section):
    """Return the rows of a Markdown table as {header: cell}, without escapes and emphasis."""
    lines = [line for line in section.splitlines() if line.startswith("|")]
    table = [[plain(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert all(re.fullmatch(r"---:?", rule) for rule in table[1])
    return [dict(zip(table[0], row, strict=True)) for row in table[2:]]


def plain(cell):
    return re.sub(r"\\(.)", r"\1", re.sub(r"(?<!\\)\*", "", cell.strip()))


def tabulars(latex):
    """Return for each LaTeX table its column types and the cells of its rows, the header first."""
    tables = re.findall(
        r"\\begin\{tabular\}\{([^\n]*)\}\n\\toprule\n(.*?)\n\\bottomrule", latex, flags=re.DOTALL
    )
    return [
        (
            columns,
            [
                re.split(r" (?<!\\)& ", line.removesuffix(r" \\"))
                for line in body.splitlines()
                if "rule" not in line
            ],
        )
        for columns, body in tables
    ]


def shown(table, width):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_markdown_has_every_section(analysis):
    text = to_markdown(analysis)
    assert text.startswith("# Benchmark\n\n## Finding\n\n**")
    assert "\n\nMeans over seeds; +- is the standard error of the mean." in text
    assert [plain(title) for title in sections(text)] == [
        "Finding",
        "Notes",
        "Over all tasks",
        *(task.name for task in analysis.tasks),
        "Published numbers beside ours",
        f"Known without an oracle: {TFBIND}",
        f"Known without an oracle: {LEVY}",
        "Failed cells",
        "Environment",
        "Commands",
    ]


def test_a_markdown_table_holds_the_numbers_of_the_analysis(analysis):
    section = sections(to_markdown(analysis))[LEVY]
    rows, entries = rows_of(section), [e for e in analysis.entries if e.task == LEVY]
    assert [row["method"] for row in rows] == ["grad", "top_k", "pgs*", "random"]
    for row, entry in zip(rows, entries, strict=True):
        for header, measure in (
            ("100th", "p100"),
            ("50th distinct", "p50_distinct"),
            ("first 128 50th", "first_p50"),
        ):
            scores = entry.scores[measure]
            assert row[header] == f"{scores.mean:.3f} +- {scores.standard_error:.3f}"
        skill = entry.skill["p50_distinct"]
        assert row["skill"] == f"{skill.value:.3f} [{skill.low:.3f}, {skill.high:.3f}]"
        assert (row["seeds"], row["seconds"]) == (
            str(len(entry.seeds)),
            f"{entry.diagnostics['seconds']:.1f}",
        )
        assert row["above D(best)"] == f"{entry.scores['share_above_best'].mean:.0%}"
        assert row["memory MiB"] == f"{entry.diagnostics['peak_memory_mb']:.0f}"
    assert (
        "D(best) 0.613. Ceiling (exact): 100th 1.354, 50th 1.354. Best control: 100th 0.613 (top_k)"
        in section
    )
    assert r"\* no better than a control: the 95 % interval of its skill is not above 0." in section


def test_exact_controls_and_single_seeds_have_no_spread(analysis):
    rows = {row["method"]: row for row in rows_of(sections(to_markdown(analysis))[TFBIND])}
    exact = rows["random (exact)"]
    assert (exact["100th"], exact["50th"], exact["skill"]) == ("0.959", "0.440", "0.000")
    assert (exact["seeds"], exact["first 128 100th"], exact["seconds"]) == ("exact", "-", "-")
    assert re.fullmatch(r"\d\.\d{3}", rows["my_method"]["skill"])
    assert rows["my_method"]["memory MiB"] == "-"


def test_a_problem_without_an_oracle_has_counts(analysis):
    section = next(
        text for title, text in sections(to_markdown(analysis)).items() if title.startswith("csv")
    )
    assert "256 designs; not scored, as this task has no oracle." in section
    assert rows_of(section)[0] == {
        "method": "random",
        "seeds": "3",
        "distinct": "256",
        "in data": "0",
        "infeasible": "0",
        "diversity": "0.710",
        "novelty": "0.550",
        "seconds": "12.5",
        "memory MiB": "512",
    }


def test_the_overall_table_says_who_is_compared(analysis):
    rows = {
        row["method"]: row for row in rows_of(sections(to_markdown(analysis))["Over all tasks"])
    }
    grad = next(s for s in analysis.standings if s.label == "grad")
    rank, skill = grad.mean_rank["p50_distinct"], grad.skill
    assert rows["grad"]["tasks"] == "2 of 2"
    assert (
        rows["grad"]["50th distinct mean rank"]
        == f"{rank.value:.2f} [{rank.low:.2f}, {rank.high:.2f}]"
    )
    assert rows["grad"]["skill"] == f"{skill.value:.3f} [{skill.low:.3f}, {skill.high:.3f}]"
    assert set(rows["random"].values()) == {"random", "1 of 2", "-"}


def test_skill_and_chance_come_first_and_ranks_last(analysis):
    section = sections(to_markdown(analysis))["Over all tasks"]
    headers = list(rows_of(section)[0])
    assert headers[:4] == ["method", "skill", "beats the best control", "tasks beaten"]
    assert not any("rank" in header for header in headers[:6])
    assert all("rank" in header for header in headers[6:11])
    brief, _ = tabulars(to_latex(analysis))[0][1][:2]
    assert brief[:4] == headers[:4]
    assert [c.header.replace("\n", " ") for c in leaderboard_tables(analysis)[0].columns] == brief
    assert {"skill", "beats the\nbest control", "tasks\nbeaten"}.isdisjoint(
        LEADERBOARD_LEFT_OUT_FIRST
    )
    rows = {row["method"]: row for row in rows_of(section)}
    assert rows["pgs"]["tasks beaten"] == "1 of 2"
    assert rows["random"]["tasks beaten"] == "-"


def test_the_finding_stands_first_in_every_text(analysis):
    finding = analysis.finding
    part = sections(to_markdown(analysis))["Finding"]
    assert finding.trust
    assert f"**{finding.headline}**" in plain_text(part)
    assert " ".join(finding.sentences) in plain_text(part)
    assert [line[2:] for line in plain_text(part).splitlines() if line.startswith("- ")] == list(
        finding.trust
    )
    assert finding_lines(analysis)[0] == finding.headline
    latex = to_latex(analysis)
    assert latex.index(f"% {finding.headline}\n") < latex.index(f"% {analysis.notes[0]}\n")


def plain_text(section):
    return re.sub(r"\\(.)", r"\1", section)


def test_one_problem_needs_no_overall_table():
    analysis = analyse([record("grad", TFBIND, seed) for seed in range(2)])
    assert "Over all tasks" not in sections(to_markdown(analysis))
    assert len(leaderboard_tables(analysis)) == 1


def test_published_numbers_stand_beside_ours(analysis):
    rows = rows_of(sections(to_markdown(analysis))["Published numbers beside ours"])
    assert len(rows) == len(analysis.reproduced) > 0
    for row, known in zip(rows, analysis.reproduced, strict=True):
        assert row["ours"] == f"{known.ours.mean:.3f} +- {known.ours.standard_error:.3f}"
        assert row["theirs"].startswith(f"{known.published.mean:.3f}")
        assert row["in standard errors"] == f"{known.standard_errors:+.1f}"
        assert row["reproduced?"] == known.verdict
        assert row["notes"] == "; ".join(known.notes)


def test_failed_cells_and_commands_are_listed(analysis):
    parts = sections(to_markdown(analysis))
    assert rows_of(parts["Failed cells"]) == [
        {"method": "pgs", "task": LEVY, "seed": "5", "error": "ValueError: loss is <nan>"}
    ]
    assert (
        "mbo-gym run pgs Levy-Exact-v0 --option dim=30 --seeds 0-5 --k 256\n" in parts["Commands"]
    )
    assert len(parts["Environment"].strip().splitlines()) == 2
    assert (
        "torch 2.5.1, numpy 1.26.4; git 0123456789+changes; platform Linux" in parts["Environment"]
    )


def test_a_problem_whose_cells_all_failed_is_shown():
    section = sections(to_markdown(analyse([failed("a", "Toy-v0")])))["Toy-v0"]
    assert "256 designs; no cell is done." in section
    assert rows_of(section)[0]["seeds"] == "0"


def test_a_long_error_stays_on_its_line():
    error = {"type": "E", "message": "x\n" * 300, "traceback": ""}
    (row,) = rows_of(
        sections(to_markdown(analyse([failed("a", "Toy-v0", error=error)])))["Failed cells"]
    )
    assert row["error"] == ("E: " + "x " * 300)[:200] + ".."


def test_the_best_of_a_column_is_bold_and_never_a_control(analysis):
    lines = sections(to_markdown(analysis))[LEVY].splitlines()
    grad, top_k, *_ = [line for line in lines if line.startswith("| ")][2:]
    assert grad.startswith("| grad | 8 | **")
    assert grad.count("**") == 2 * 7
    assert top_k.startswith("| *top_k* |")
    low = analyse([record("random", "A-v0", p100=0.9), record("grad", "A-v0", p100=0.2)])
    assert "| *random* | 1 | 0.900 |" in to_markdown(low)
    assert "| grad | 1 | **0.200** |" in to_markdown(low)


def test_names_may_hold_any_character():
    records = [record(label, "Toy-v0") for label in (NASTY, "[x]", "*c")]
    analysis = analyse(records, title=NASTY)
    (row, *_) = rows_of(sections(to_markdown(analysis))["Toy-v0"])
    assert row["method"] == NASTY
    latex = to_latex(analysis)
    escaped = r"a\textbar{}b *c* \textless{}i\textgreater{} \& 50\% \$x\_1\$ \#\textasciitilde{}\textasciicircum{}\{"
    assert escaped + r"\textbackslash{}\}" in latex
    starts = [row[0] for row in tabulars(latex)[0][1]]
    assert starts[2:] == ["{}[x]", "{}*c"]  # [ and * after \\ would be its arguments
    (table,) = leaderboard_tables(analysis)
    assert NASTY in shown(table, 200)
    assert "[x]" in shown(table, 200)


def test_latex_tables_are_whole(analysis):
    latex = to_latex(analysis)
    assert latex.startswith("% Needs \\usepackage{booktabs}.\n")
    body = "\n".join(line for line in latex.splitlines() if not line.startswith("%"))
    bare = re.sub(r"\\[\\{}&%$#_]", "", body)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    for forbidden in "%#~^_<>|":
        assert forbidden not in bare
    begun, ended = re.findall(r"\\begin\{(.*?)\}", body), re.findall(r"\\end\{(.*?)\}", body)
    assert begun == ["table*", "tabular"] * 5
    assert ended == ["tabular", "table*"] * 5
    assert len(set(re.findall(r"\\label\{(.*?)\}", body))) == 5
    for columns, rows in tabulars(latex):
        count = len(columns.replace("p{4cm}", "p"))
        assert {len(row) for row in rows} == {count}


def test_latex_has_the_same_rows_as_markdown_with_fewer_columns(analysis):
    _, rows = tabulars(to_latex(analysis))[2]
    header, grad, top_k, pgs, random = rows
    assert "memory MiB" not in header
    assert (grad[0], top_k[0], pgs[0], random[0]) == (
        "grad",
        r"\textit{top\_k}",
        "pgs*",
        r"\textit{random}",
    )
    assert header[2] == "skill"
    assert re.fullmatch(r"\\textbf\{0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]\}", grad[2])
    assert re.fullmatch(r"\\textbf\{0\.\d{3} \$\\pm\$ 0\.\d{3}\}", grad[3])
    assert re.fullmatch(r"\\textit\{\$-\$0\.\d{3} \$\\pm\$ 0\.\d{3}\}", random[3])
    assert not any("textbf" in cell for row in (top_k, random) for cell in row)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_a_terminal_table_loses_no_number(analysis, width):
    overall, tfbind, levy, _ = leaderboard_tables(analysis)
    for table in (overall, tfbind, levy):
        text = shown(table, width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
    pgs = next(e for e in analysis.entries if (e.label, e.task) == ("pgs", LEVY))
    for measure in ("p100", "p50_distinct"):
        assert f"{pgs.scores[measure].mean:.3f}" in shown(levy, width)


def test_a_wide_terminal_shows_a_method_on_one_line(analysis):
    lines = [line.rstrip() for line in shown(leaderboard_tables(analysis)[2], 160).splitlines()]
    rows = rows_of(sections(to_markdown(analysis))[LEVY])
    for row in rows:
        del row["memory MiB"]
        assert sum(re.split(r" {2,}", line.strip()) == list(row.values()) for line in lines) == 1


def test_a_narrow_terminal_goes_without_columns_that_there_are(analysis):
    overall, tfbind, *_ = leaderboard_tables(analysis)
    headers = {column.header for table in (overall, tfbind) for column in table.columns}
    assert set(LEADERBOARD_LEFT_OUT_FIRST) <= headers


def test_each_note_stands_in_markdown_and_above_the_latex_tables(analysis):
    notes = sections(to_markdown(analysis))["Notes"].strip().splitlines()
    assert [plain(note.removeprefix("- ")) for note in notes] == list(analysis.notes)
    assert all(f"% {note}\n" in to_latex(analysis) for note in analysis.notes)


def test_no_command_ends_its_block_in_markdown():
    command = "mbo-gym run x\n```\n<script>alert(1)</script>"
    text = to_markdown(analyse([record("grad", command=command), record("random")]))
    assert f"````\n{command}" in text
    assert text.rstrip().endswith("````")
