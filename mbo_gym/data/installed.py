"""Files of installed packages, found without importing the packages."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

__all__ = ["installed_file"]


def installed_file(package: str, path: str) -> Path | None:
    """Return a file or folder of an installed package, or None where it is not there.

    The package is looked up and not imported: some releases with useful data do not import today.

    Args:
        package: Import name, without dots.
        path: Path inside the package.
    """
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        found = Path(folder) / path
        if found.exists():
            return found
    return None
