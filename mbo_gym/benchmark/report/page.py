"""A page that needs no network: template, styles and script in one file."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

__all__ = ["read", "render"]


def render(template: str, *, css: str = "", script: str, **values: Any) -> str:
    """Fill in a page, with the styles and the script that all pages share before its own.

    Values are escaped, so that none can act as markup. The shared script sorts the tables of
    class `sortable` and turns the theme with the button `theme`. A template may include and import
    those of this folder.

    Args:
        template: Jinja template, which places `css`, `script` and `script_hash`.
        css: Styles of this page alone.
        script: Script of this page alone.
        values: Values of the template.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: read(__package__, name)),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    script = read(__package__, "page.js") + script
    return environment.from_string(template).render(
        css=read(__package__, "page.css") + css,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **values,
    )


def read(package: str, name: str) -> str:
    """Return the text of a file that a package ships."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
