"""The imports of the source tree as a graph, and the rooms that the files lie in."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("mbo_gym", "agents", "diffusion")
ROOMS = REPOSITORY / "docs" / "concepts" / "rooms.txt"
"""Table of rooms and their order, which the documentation draws."""


@dataclass(frozen=True)
class Import:
    """One import statement of one name.

    Args:
        source: Module that imports.
        target: Imported module, in its own package as far as it is known; else as it is written.
        line: Line of the statement.
        inside: Whether it stands in a function.
    """

    source: str
    target: str
    line: int
    inside: bool

    def __str__(self) -> str:
        return f"{self.source}:{self.line} -> {self.target}"


def modules(root: Path = REPOSITORY, packages: tuple[str, ...] = PACKAGES) -> dict[str, Path]:
    """Return every module of the packages by its dotted name."""
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(files: Mapping[str, Path]) -> list[Import]:
    """Return all imports of some modules: in functions and under TYPE_CHECKING, too."""
    found = []
    for name, path in files.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for target, line, inside in _statements(tree, inside=False):
            known = _in_its_package(target, files)
            if known != name:
                found.append(Import(name, known, line, inside))
    return found


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, by Tarjan's algorithm."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for other in sorted(edges.get(name, ())):
            if other not in number:
                visit(other)
            if other in stack:
                lowest[name] = min(lowest[name], lowest[other])
        if lowest[name] == number[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in sorted(edges):
        if name not in number:
            visit(name)
    return found


def floors(table: str) -> list[list[str]]:
    """Return the rooms of a table, the highest floor first."""
    lines = [line.strip() for line in table.splitlines()]
    return [
        [entry.partition(":")[0].strip() for entry in line.split("|")]
        for line in lines
        if line and not line.startswith("#")
    ]


def room_of(module: str) -> str:
    """Return the room of a module: a folder or file of mbo_gym, or another package."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "mbo_gym" else package


def _statements(node: ast.AST, *, inside: bool) -> Iterator[tuple[str, int, bool]]:
    """Yield imported names, line numbers and whether they stand in a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield alias.name, child.lineno, inside
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            for alias in child.names:
                yield f"{child.module}.{alias.name}", child.lineno, inside
        elif isinstance(child, ast.Call) and (name := _imported_by_call(child)):
            yield name, child.lineno, inside
        function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield from _statements(child, inside=inside or function)


def _imported_by_call(call: ast.Call) -> str:
    """Return the name in ``import_module("...")``, or an empty text."""
    named = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if named in ("import_module", "__import__", "optional_import") and call.args:
        first = call.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            return first.value
    return ""


def _in_its_package(target: str, files: Mapping[str, Path]) -> str:
    """Return the module that an imported name is in, where it is one of the files."""
    if target in files:
        return target
    parent = target.rpartition(".")[0]
    return parent if parent in files else target
