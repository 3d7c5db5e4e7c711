"""Sphinx extension: writes pages of tasks, methods, results, API and notebooks before the build.

The pages are not under version control. A page whose text has not changed is not written again, so
that Sphinx does not read it again.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pages_api
import pages_methods
import pages_results
import pages_tasks
import rooms
from sphinx.application import Sphinx

__all__ = ["setup", "write_pages"]


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the generator to Sphinx."""
    write_pages(
        Path(app.srcdir)
    )  # before autosummary looks for pages, which it does at builder-inited
    app.connect("autodoc-process-docstring", _escape_shapes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_pages(docs: Path) -> None:
    """Write all generated pages below the documentation's folder."""
    pages = {docs / "methods" / "index.md": pages_methods.index_page()}
    pages |= {
        docs / "methods" / f"{name}.md": pages_methods.method_page(name)
        for name in pages_methods.method_names()
    }
    pages[docs / "tasks" / "index.md"] = pages_tasks.index_page()
    for page, ids in pages_tasks.page_names().items():
        pages[docs / "tasks" / f"{page}.md"] = pages_tasks.task_page(page, ids)
    pages[docs / "results" / "index.md"] = pages_results.index_page()
    pages[docs / "api" / "index.md"] = pages_api.api_page()
    pages[docs / "concepts" / "rooms.svg"] = rooms.draw(
        (docs / "concepts" / "rooms.txt").read_text(encoding="utf-8")
    )
    for notebook in (docs.parent / "examples" / "notebooks").glob("*.ipynb"):
        pages[docs / "notebooks" / notebook.name] = notebook.read_text(encoding="utf-8")
    for path, text in pages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for folder in ("methods", "tasks", "notebooks"):
        for path in (docs / folder).iterdir():
            if path not in pages:  # of a name that is gone
                path.unlink()
    listed = pages[docs / "api" / "index.md"].split()
    for path in (docs / "api" / "generated").glob("*.rst"):
        if path.stem not in listed:
            path.unlink()
    for suite in pages_results.SUITES:
        pages_results.write_suite(suite, docs / "results" / f"{suite.name}.md")


def _escape_shapes(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Escape the star of shapes such as (N, *shape), which reStructuredText takes for emphasis."""
    lines[:] = [re.sub(r"(?<=[ (,])\*(?=\w+\))", r"\\*", line) for line in lines]
