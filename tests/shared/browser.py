"""Pages of ours: their elements, and what a real browser finds in them."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

__all__ = ["HOSTILE", "Page", "open_in_browser"]

HOSTILE = '<script>parent.hacked = 1</script><img src=x onerror="parent.hacked = 1">\'"&'
"""Text that, taken as markup, sets `hacked` in the window around a page."""
VOID = {"meta", "link", "input", "img", "br", "hr"}

LOOK = """
const frames = [...document.querySelectorAll("iframe")];
const report = { errors: [] };
function visible(doc, selector) { return [...doc.querySelectorAll(selector)].filter((e) => e.getClientRects().length); }
addEventListener("load", () => {
  report.overflow = frames.map((f) => f.contentDocument.documentElement.scrollWidth - f.clientWidth);
  report.ready = frames.map((f) => !f.contentDocument.getElementById("tools").hidden);
  const heights = (doc) => visible(doc, "svg.chart text").map((text) => text.getBoundingClientRect().height);
  report.text = frames.map((f) => Math.min(...heights(f.contentDocument)));
  frames.forEach((f) => { f.contentWindow.onerror = (message) => { report.errors.push(String(message)); }; });
  try { report.checks = check(frames[0].contentWindow); } catch (error) { report.errors.push(String(error.stack)); }
  report.hacked = window.hacked === 1;
  document.getElementById("report").textContent = JSON.stringify(report);
});
"""


class Page(HTMLParser):
    """The page's elements, text and links; fails where tags are not balanced."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def open_in_browser(pages: Sequence[tuple[int, str]], check: str, folder: Path) -> dict:
    """Open pages side by side in a headless browser, and use the first; skip without a browser.

    Args:
        pages: Width in pixels and text of each page.
        check: JavaScript function `check(win)`, which clicks and types in the first page's window
            and returns what it saw.
        folder: New folder for the browser's files.

    Returns:
        `checks`, what `check` saw; `errors` and `console`, what went wrong; `hacked`, whether text
        acted as markup; and for each page its `overflow` to the side, whether it is `ready`, and
        the height of its smallest `text` in a chart.
    """
    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    browser = next(found, None)
    if browser is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on the path")
    frames = "".join(
        f'<iframe style="border:0;width:{width}px;height:900px" srcdoc="{html.escape(page)}"></iframe>'
        for width, page in pages
    )
    wrapper = folder / "wrapper.html"
    wrapper.write_text(
        '<!DOCTYPE html><meta charset="utf-8"><pre id="report"></pre>'
        f'{frames}<script>"use strict";{LOOK}{check}</script>'
    )
    done = subprocess.run(
        [browser, *_flags(folder), "--dump-dom", wrapper.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    written = re.search(r'<pre id="report">(.*?)</pre>', done.stdout, re.DOTALL)
    assert written, done.stderr[-2000:]
    report = json.loads(html.unescape(written[1]))
    return {**report, "console": re.findall(r"CONSOLE.*", done.stderr)}


def _flags(folder: Path) -> list[str]:
    quiet = (
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
    )
    return [
        "--headless",
        "--no-sandbox",
        f"--user-data-dir={folder / 'profile'}",
        "--window-size=1280,900",
        *(f"--{flag}" for flag in quiet),
        "--enable-logging=stderr",
        "--virtual-time-budget=5000",
    ]
