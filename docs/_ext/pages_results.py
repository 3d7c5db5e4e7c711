"""Pages of the results, made from the records of the benchmark suites."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from summary_table import table as summary_table

from mbo_gym.benchmark.analysis.build import analyse
from mbo_gym.benchmark.analysis.model import Analysis
from mbo_gym.benchmark.analysis.remarks import read_remarks
from mbo_gym.benchmark.execute.results import ResultStore
from mbo_gym.benchmark.record import CellRecord
from mbo_gym.benchmark.report.text import to_markdown

__all__ = ["SUITES", "Suite", "index_page", "write_suite"]

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"

FIVE = (
    "TFBind8-Exact-v0",
    "Levy-Exact-v0",
    "Levy-Exact-v1",
    "Superconductor-RandomForest-v0",
    "Superconductor-RandomForest-v1",
)
THREE = ("TFBind8-Exact-v0", "Levy-Exact-v1", "Superconductor-RandomForest-v1")
_LEGEND = (
    "Normalised scores of 256 designs: 100th percentile / 50th percentile over distinct designs ± "
    "its standard error, means over 8 seeds. Controls are in italics. \\* marks a method that is "
    "no better than a control: the 95 % interval of its skill is not above 0. Skill and rank are "
    "means over the tasks by the 50th percentile over distinct designs, with 95 % intervals over "
    "seeds. [How scores are counted](../concepts/scoring.md) defines them."
)


@dataclass(frozen=True)
class Suite:
    """A page of results.

    Args:
        name: Name of the page and of the folder with the records.
        title: Heading of the page.
        tasks: Tasks of the summary table; empty for all.
        further: Folders whose tables follow at the end of the page, with their headings.
    """

    name: str
    title: str
    tasks: tuple[str, ...] = ()
    further: tuple[tuple[str, str], ...] = ()


SUITES = (
    Suite("core", "Core: controls, plain ascent and policy-guided search"),
    Suite("baselines", "Baselines: all methods", FIVE, (("baselines_data", "TFBind10"),)),
    Suite("pgs", "PGS: policy-guided search and its parts", THREE),
    Suite(
        "diffusion",
        "Diffusion: DDOM, DEMO and GTG, and their parts",
        THREE,
        (("diffusion_data", "Sparse and noisy data, and TFBind10"),),
    ),
)


def index_page() -> str:
    """Return the overview of the suites."""
    intro = (ROOT / "docs" / "results" / "index.intro.md").read_text(encoding="utf-8")
    listing = "\n".join(suite.name for suite in SUITES)
    return f"# Results\n\n{intro}\n```{{toctree}}\n:maxdepth: 1\n\n{listing}\n```\n"


def write_suite(suite: Suite, path: Path) -> None:
    """Write the page of a suite, unless it is there and was made from the same records and code."""
    mark = f"% made from {_digest(suite)}\n"
    if not path.exists() or not path.read_text(encoding="utf-8").startswith(mark):
        path.write_text(mark + _page(suite), encoding="utf-8")


def _page(suite: Suite) -> str:
    intro = (ROOT / "docs" / "results" / f"{suite.name}.intro.md").read_text(encoding="utf-8")
    before, _, after = intro.partition("<!-- table -->")
    records = _records(suite.name)
    chosen = (
        [r for r in records if r.request.task_id in suite.tasks and not r.request.options]
        if suite.tasks
        else records
    )
    summary = _unbroken("\n".join(summary_table(analyse(chosen))))
    parts = [
        f"# {suite.title}",
        before.strip(),
        f":::{{div}} results\n{summary}\n:::",
        _LEGEND,
        after.strip(),
    ]
    parts += [
        "## All numbers",
        *_sections(analyse(records, remarks=read_remarks(RESULTS / suite.name))),
    ]
    for folder, heading in suite.further:
        parts += [
            f"## {heading}",
            *_sections(analyse(_records(folder), remarks=read_remarks(RESULTS / folder))),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sections(analysis: Analysis) -> list[str]:
    """Return the report's sections, each folded."""
    report = to_markdown(analysis)
    folded = []
    for section in re.split(r"^## ", report, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        body = re.sub(r"\A```\n", "```text\n", body.strip())
        folded.append(f"::::{{dropdown}} {title}\n{body}\n::::")
    return folded


def _unbroken(text: str) -> str:
    """Keep a number and its standard error, and the ends of an interval, on one line."""
    joined = text.replace(" ± ", "\u00a0±\u00a0")
    return re.sub(r"(?<=\d), (?=-?\d+\.\d+\])", ",\u00a0", joined)


def _records(name: str) -> list[CellRecord]:
    return ResultStore(RESULTS / name).records()


def _digest(suite: Suite) -> str:
    digest = hashlib.sha256()
    sources = [Path(__file__), ROOT / "docs" / "results" / f"{suite.name}.intro.md", *_package()]
    for name in (suite.name, *(folder for folder, _ in suite.further)):
        sources += sorted(
            p
            for p in (RESULTS / name).iterdir()
            if p.name.startswith(("results.jsonl", "remarks.toml"))
        )
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _package() -> list[Path]:
    return sorted((ROOT / "mbo_gym" / "benchmark").rglob("*.py"))
