"""Who may import whom, and what `import mbo_gym` costs.

Every import counts: those in functions, and those for type checkers only, since a type of a higher
room is knowledge of that room too.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from imports import PACKAGES, ROOMS, Import, circles, floors, imports, modules, room_of

FILES = modules()
IMPORTS = imports(FILES)
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

ABOVE_ALL = {"", "__main__"}
"""The public face of mbo_gym: imports from every room, and no room imports it."""
BELOW_ALL = {"_version", "_moved"}
"""The version, and the table of old names, which imports from rooms when a name is used."""

LAZY_LIBRARIES = {
    "gym_notices": "optional",
    "jinja2": "only reports need it",
    "markupsafe": "only reports need it",
    "matplotlib": "optional",
    "openpyxl": "optional",
    "fastexcel": "optional",
    "polars": "heavy",
    "ray": "optional",
    "resource": "not on Windows",
    "rich": "only terminals need it",
    "scipy": "heavy",
    "sklearn": "heavy",
    "threadpoolctl": "only worker processes need it",
    "torch": "heavy",
}
"""Libraries that a function may import, and why."""
LAZY_ROOMS = {
    "mbo_gym._moved": "old names are looked up on use",
    "mbo_gym.cli.": "`mbo-gym --help` waits for no torch",
    "mbo_gym.benchmark.execute.local": "the process that starts workers waits for no torch",
    "mbo_gym.benchmark.execute.slurm": "the process that submits waits for no torch",
    "mbo_gym.benchmark.execute.runner": "the process that starts workers waits for no torch",
    "mbo_gym.benchmark.execute.worker": "the process that starts workers waits for no torch",
    "mbo_gym.envs.design_env": "only pictures need it",
    "mbo_gym.methods.base": "reading a config waits for no torch",
    "mbo_gym.methods.registry": "looking at settings waits for no torch",
    "mbo_gym.simulators.fluid.rollout": "numba is optional",
    "mbo_gym.surrogates.registry": "names of surrogates wait for no torch",
    "mbo_gym.tasks.registry": "ids of tasks wait for no torch",
    "agents.online.agents": "stable-baselines3 is optional",
}
"""Modules, or starts of their names, that may import ours in a function, and why."""


def test_packages_import_only_what_they_may():
    for package, forbidden in FORBIDDEN.items():
        wrong = [
            str(i)
            for i in IMPORTS
            if i.source.split(".")[0] == package and i.target.split(".")[0] in forbidden
        ]
        assert wrong == []


def test_every_room_stands_in_the_table_once():
    rooms = [room for floor in floors(ROOMS.read_text(encoding="utf-8")) for room in floor]
    assert len(set(rooms)) == len(rooms)
    assert {room_of(name) for name in FILES} == set(rooms) | ABOVE_ALL | BELOW_ALL


def test_rooms_import_from_floors_below_only():
    floor = {
        room: height
        for height, rooms in enumerate(reversed(floors(ROOMS.read_text(encoding="utf-8"))))
        for room in rooms
    }
    assert [str(i) for i in IMPORTS if i.target in FILES and not _goes_down(i, floor)] == []


def _goes_down(found: Import, floor: dict[str, int]) -> bool:
    source, target = room_of(found.source), room_of(found.target)
    if source == target or source in ABOVE_ALL or target in BELOW_ALL:
        return target not in ABOVE_ALL or source in ABOVE_ALL
    if source in BELOW_ALL:
        return target == "optional" or found.inside
    return target not in ABOVE_ALL and floor[target] < floor[source]


def test_no_file_imports_another_in_a_circle():
    edges: dict[str, set[str]] = {name: set() for name in FILES}
    for found in IMPORTS:
        if found.target in FILES:
            edges[found.source].add(found.target)
    assert circles(edges) == []


def test_functions_import_for_known_reasons_only():
    wrong = []
    for found in IMPORTS:
        library = found.target.split(".")[0]
        if not found.inside:
            continue
        if library in PACKAGES:
            known = any(found.source.startswith(start) for start in LAZY_ROOMS)
        else:
            known = library in LAZY_LIBRARIES or _is_optional(found)
        if not known:
            wrong.append(str(found))
    assert wrong == []


def _is_optional(found: Import) -> bool:
    """Whether an import is a call of `optional_import` or `import_module`."""
    line = FILES[found.source].read_text(encoding="utf-8").splitlines()[found.line - 1]
    return "import_module(" in line or "optional_import(" in line


def test_mbo_gym_has_few_modules_of_its_own():
    flat = [path.name for path in FILES["mbo_gym"].parent.glob("*.py")]
    assert len(flat) <= 9


def test_every_room_says_its_subject():
    for name, path in FILES.items():
        if path.name == "__init__.py":
            text = path.read_text(encoding="utf-8").lstrip()
            assert text.startswith('"""'), name


def test_the_reader_of_imports_sees_every_kind(tmp_path: Path):
    source = (
        "import a.b, c\nfrom d.e import f\nif TYPE_CHECKING:\n    from p.q import R\n"
        "def h():\n    import i\n    optional_import('m', 'rl')\n"
        "import_module('j.k')\nx.import_module('l')\nclass C:\n    from p import q, s\n"
    )
    (tmp_path / "p").mkdir()
    for name, text in (("__init__", ""), ("q", "R = 1\n"), ("own", source)):
        (tmp_path / "p" / f"{name}.py").write_text(text)
    files = modules(tmp_path, ("p",))
    assert list(files) == ["p", "p.own", "p.q"]
    found = imports(files)
    assert {i.target for i in found if not i.inside} == {
        *("a.b", "c", "d.e.f", "p.q", "j.k", "l", "p")
    }
    assert {i.target for i in found if i.inside} == {"i", "m"}
    assert [i.line for i in found if i.target == "p.q"] == [4, 11]


def test_circles_are_found():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"f"}, "f": {"e"}}
    assert circles(edges) == [["a", "b", "c"], ["e", "f"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/"
    )


def test_importing_is_light_and_silent():
    done = run(
        "import mbo_gym, sys\n"
        f"heavy = [m for m in {HEAVY} if m in sys.modules]\n"
        "assert not heavy, heavy"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_importing_registers_environments_and_tasks_without_loading_them():
    done = run(
        "import sys, gymnasium, mbo_gym\n"
        "print('mbo_gym/TFBind8-Exact-v0' in gymnasium.registry)\n"
        "print('Levy-Exact-v1' in mbo_gym.list_tasks())\n"
        "print('torch' in sys.modules)"
    )
    assert done.stdout.split() == ["True", "True", "False"], done.stderr


def test_every_public_name_can_be_had():
    done = run(
        "import mbo_gym\nfor names in (dir(mbo_gym), mbo_gym.__all__, mbo_gym._LAZY):\n"
        "    for name in names:\n        getattr(mbo_gym, name)\n"
        "    print(len(names) > 20, 'mbo_gym.export' == mbo_gym.export.__name__)"
    )
    assert done.stdout.split() == ["True"] * 6, done.stderr


def test_a_name_that_does_not_exist_is_an_attribute_error():
    done = run("import mbo_gym; mbo_gym.no_such_name")
    assert done.stderr.strip().endswith("has no attribute 'no_such_name'")
