"""Configuration of the documentation site; `make docs` builds it offline into docs/_build/html."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE / "_ext")]

import mbo_gym  # noqa: E402

project = "mbo_gym"
author = "the mbo_gym developers"
project_copyright = author
version = release = mbo_gym.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
    "mathml",
    "generate",
]
exclude_patterns = ["_build", "_ext", "**/*.intro.md"]
templates_path = ["_templates"]
default_role = "py:obj"
smartquotes = False

# MyST: snippets are run by tests/docs, notebooks carry their outputs; the build runs neither.
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_merge_streams = True

# API pages.
autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = [("Algorithm", "notes")]
suppress_warnings = ["ref.python"]  # one name in two modules: the link goes to the first

# HTML: the theme's fonts are the system's; nothing is loaded from elsewhere.
html_theme = "furo"
html_title = f"mbo_gym {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
