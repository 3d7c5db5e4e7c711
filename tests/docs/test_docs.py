"""Every snippet of the documentation runs, and the pages that are made from code are sound."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import gymnasium as gym
import pytest

import mbo_gym
from mbo_gym.cli import main
from mbo_gym.methods.registry import METHODS
from mbo_gym.tasks.registry import TASKS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GENERATED = ("_build", "api", "methods", "notebooks", "tasks", "results")
PAGES = [
    page for page in sorted(DOCS.rglob("*.md")) if page.relative_to(DOCS).parts[0] not in GENERATED
] + [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
OUTPUT = ("text", "console-output")
BLOCK = re.compile(r"^```(?P<language>\S*)[^\n]*\n(?P<text>.*?)^```$", re.M | re.S)
EXTRAS = {"d3rlpy": "d3rlpy", "stable_baselines3": "stable_baselines3"}
FORMS = (
    r"pip install .+",
    r"make \w+.*",
    r"(PYTHON=\S+ )?experiments/reproduce\.sh \w+",
    r"\S*pytest .+",
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and its text."""

    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(b["language"], b["text"]) for b in BLOCK.finditer(text)]


def is_known(block: Block) -> bool:
    return block.language in (*OUTPUT, "python", "bash", "console") or block.language[:1] == "{"


def commands(text: str) -> Iterator[str]:
    """Give the commands of a console block: lines that begin with a prompt."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            yield line.removeprefix("$ ")


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def kept_environments() -> Iterator[None]:
    """Take environments out of Gymnasium's registry that a snippet put into it."""
    before = set(gym.registry)
    try:
        yield
    finally:
        for name in set(gym.registry) - before:
            del gym.registry[name]


def run_command(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *arguments = shlex.split(command)
    assert program == "mbo-gym", f"only mbo-gym may stand behind a prompt, got {command!r}"
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    with contextlib.redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as end:
        main()
    assert end.value.code in (0, None), command


RUN = [page for page in PAGES if any(b.language in ("python", "console") for b in blocks(page))]


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_snippets_of_a_page_run_in_order(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = page.read_text(encoding="utf-8")
    for word, module in EXTRAS.items():
        if f"import {word}" in text or f"from {word}" in text:
            pytest.importorskip(module)
    namespace = ModuleType("snippet")
    monkeypatch.setitem(sys.modules, "snippet", namespace)  # dataclasses look there
    with TASKS.restored(), METHODS.restored(), working_in(tmp_path), kept_environments():
        for number, block in enumerate(blocks(page), 1):
            if block.language == "python":
                name = f"{page.name}, block {number}"
                source = compile(block.text, name, "exec", dont_inherit=True)
                with contextlib.redirect_stdout(io.StringIO()):
                    exec(source, vars(namespace))
            elif block.language == "console":
                for command in commands(block.text):
                    run_command(command, monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_is_run_or_marked_as_output(page: Path) -> None:
    wrong = [block.language for block in blocks(page) if not is_known(block)]
    assert wrong == []
    for block in blocks(page):
        if block.language == "bash":
            for line in block.text.splitlines():
                assert any(re.fullmatch(form, line.removeprefix(".venv/bin/")) for form in FORMS), (
                    line
                )


def test_files_that_a_page_names_exist() -> None:
    named = re.compile(r"`(?:python )?((?:agents|diffusion|docs|examples|experiments)/[\w./-]+)")
    pages = [*PAGES, *DOCS.glob("results/*.intro.md"), ROOT / "README.md"]
    found = {name for page in pages for name in named.findall(page.read_text(encoding="utf-8"))}
    made = {"docs/_build/", "docs/_build/html"}
    assert len(found) > 10
    assert [name for name in sorted(found - made) if not (ROOT / name.rstrip(".")).exists()] == []


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the modules of docs/_ext importable."""
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))


@pytest.mark.usefixtures("extension")
def test_text_is_made_safe_for_markdown() -> None:
    import markup

    assert markup.prose("x_neg * [0, 1) ``a_b``") == r"x\_neg \* \[0, 1) `a_b`"
    assert markup.prose("see arXiv 2107.06882.") == (
        "see [arXiv 2107.06882](https://arxiv.org/abs/2107.06882)."
    )
    assert markup.prose("1. first") == r"1\. first"


@pytest.mark.usefixtures("extension")
def test_there_is_a_page_for_every_method_with_all_its_settings() -> None:
    import pages_methods

    names = pages_methods.method_names()
    assert set(names) == set(mbo_gym.list_methods())
    pages = {name: pages_methods.method_page(name) for name in names}
    assert [name for name, page in pages.items() if "## Algorithm" not in page] == []
    page = pages["coms"]
    for part in (
        "# COMs: ",
        "## Algorithm",
        "## Settings",
        "## Presets",
        "## Published numbers",
    ):
        assert part in page
    assert "negative_steps" in page
    page = pages["grad"]
    assert "| `ascent.optimiser` |" in page  # a nested setting
    assert "`surrogate.hidden=16`" in page  # a preset's setting of the chosen surrogate


@pytest.mark.usefixtures("extension")
def test_there_is_a_page_for_every_task() -> None:
    import pages_tasks

    pages = pages_tasks.page_names()
    assert sorted(sum(pages.values(), ["csv", "table"])) == mbo_gym.list_tasks()
    assert len(pages["TFBind8_FACTOR-Exact"]) == 200
    page = pages_tasks.task_page("Branin-Exact", pages["Branin-Exact"])
    assert "2,500 of 5,000" in page


@pytest.mark.usefixtures("extension")
def test_the_diagram_names_every_room() -> None:
    import rooms

    named = {
        name
        for floor in rooms.floors((DOCS / "concepts" / "rooms.txt").read_text(encoding="utf-8"))
        for name, _ in floor
    }
    folders = {path.name for path in (ROOT / "mbo_gym").glob("*/") if any(path.glob("*.py"))}
    modules = {path.stem for path in (ROOT / "mbo_gym").glob("[!_]*.py")}
    assert named == folders | modules | {"agents", "diffusion"}
