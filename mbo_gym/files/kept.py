"""Files that a data set, an environment or a run was made of: found again, and the same."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mbo_gym.errors import InvalidData, MissingData
from mbo_gym.files import store
from mbo_gym.files.changes import file_sum
from mbo_gym.settings import absolute_path

__all__ = ["kept_files"]


def kept_files(
    paths: Mapping[str, str | os.PathLike[str] | None], sums: Mapping[str, str]
) -> dict[str, str]:
    """Return where the files of a task lie, each checked against its sha256 if that is known.

    A file that is no longer in its place is looked for by its name in the working folder and the
    data folders. It is taken only where its content is the same.

    Args:
        paths: Path of each file by the name of its option; None for a file that is not given.
        sums: Known sha256 by the name of the option.

    Raises:
        MissingData: A file is not there, and no copy of it.
        InvalidData: A file has another content, or a sha256 belongs to no file.
    """
    given = {name: absolute_path(path) for name, path in paths.items() if path is not None}
    if others := set(sums) - set(given):
        raise InvalidData(
            f"sha256 has the options {', '.join(sorted(others))}, which name no file here. It may "
            f"have {', '.join(given) or 'none'}. Leave the others out."
        )
    return {
        name: _checked(name, path, sums[name]) if name in sums else path
        for name, path in given.items()
    }


def _checked(name: str, path: str, known: str) -> str:
    if Path(path).is_file():
        if (found := file_sum(Path(path))) != known:
            raise InvalidData(
                f"{path} has changed: its sha256 is {found[:16]}.., and was {known[:16]}.. when "
                "the data set, environment or run was made of it. Put the old content back, pass "
                f"{_new_place(name)} of a copy of it, or leave sha256= out to take the file as "
                "it is now: features and scores then differ from what is recorded."
            )
        return path
    folders = [Path.cwd(), *store.folders()]
    for folder in folders:
        copy = folder / Path(path).name
        if copy.is_file() and file_sum(copy) == known:
            return str(copy)
    raise MissingData(
        f"{path} is missing; the data set, environment or run was made of it (sha256 "
        f"{known[:16]}..). Put it back, put a copy of that name into one of "
        f"{', '.join(map(str, folders))}, or pass {_new_place(name)}."
    )


def _new_place(name: str) -> str:
    return (
        f"the new place, of an environment as task_options={{**options, {name!r}: NEW}} with the "
        "options of its spec"
    )
