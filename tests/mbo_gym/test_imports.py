"""Who may import whom, and what `import mbo_gym` costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
FORBIDDEN = {
    "mbo_gym": {"agents", "diffusion", "experiments", "tests"},
    "agents": {"diffusion", "experiments", "tests"},
    "diffusion": {"agents", "experiments", "tests"},
}
HEAVY = (
    "torch",
    "d3rlpy",
    "sklearn",
    "stable_baselines3",
    "scipy",
    "matplotlib",
    "minari",
    "gym",
    "pandas",
    "polars",
)


def imported(source: str) -> set[str]:
    """Return the top-level packages that a source text imports, anywhere in it, also by
    `import_module("...")`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = (
                node.func.attr
                if isinstance(node.func, ast.Attribute)
                else getattr(node.func, "id", "")
            )
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                found.add(node.args[0].value.split(".")[0])
    return found


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_packages_import_only_what_they_may(package):
    files = sorted((REPOSITORY / package).rglob("*.py"))
    assert files
    wrong = {
        str(f): bad
        for f in files
        if (bad := imported(f.read_text(encoding="utf-8")) & FORBIDDEN[package])
    }
    assert wrong == {}


def test_the_reader_of_imports_sees_every_kind():
    source = "import a.b, c\nfrom d.e import f\nfrom . import g\ndef h():\n    import i\n"
    source += "import_module('j.k')\nx.import_module('l')"
    assert imported(source) == {"a", "c", "d", "i", "j", "l"}


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/"
    )


def test_importing_is_light_and_silent():
    done = run(
        f"import mbo_gym, sys; heavy = [m for m in {HEAVY} if m in sys.modules]; assert not heavy, heavy"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_importing_registers_environments_and_tasks_without_loading_them():
    done = run(
        "import sys, gymnasium, mbo_gym\n"
        "print('mbo_gym/TFBind8-Exact-v0' in gymnasium.registry, 'Levy-Exact-v1' in mbo_gym.list_tasks())\n"
        "print('torch' in sys.modules)"
    )
    assert done.stdout.split() == ["True", "True", "False"], done.stderr


def test_every_public_name_can_be_had():
    done = run(
        "import mbo_gym\nfor name in dir(mbo_gym):\n    getattr(mbo_gym, name)\nprint(len(dir(mbo_gym)) > 20)"
    )
    assert done.stdout.strip() == "True", done.stderr
    assert (
        run("import mbo_gym; mbo_gym.no_such_name")
        .stderr.strip()
        .endswith("has no attribute 'no_such_name'")
    )
