"""Old names still import, and say where they are now."""

from __future__ import annotations

from importlib import import_module

import pytest

from mbo_gym._moved import MODULES, NAMES, REMOVED


@pytest.mark.parametrize("old", NAMES)
def test_an_old_name_is_the_new_one(old):
    module, _, name = old.rpartition(".")
    target, _, renamed = NAMES[old].partition(":")
    new = getattr(import_module(target), renamed or name)
    if name in vars(import_module(module)):  # the old module uses it itself
        assert vars(import_module(module))[name] is new
        return
    with pytest.warns(DeprecationWarning, match=rf"from {target} import {renamed or name}$"):
        assert getattr(import_module(module), name) is new


@pytest.mark.parametrize("old", sorted(set(MODULES) - {"mbo_gym.benchmark.analysis"}))
def test_an_old_module_has_every_name_it_lists(old):
    module = import_module(old)
    assert module.__doc__ == f"Moved to {MODULES[old]}."
    for name in module.__all__:
        with pytest.warns(DeprecationWarning, match=rf"{old}\.{name} "):
            getattr(module, name)
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        _ = module.no_such_name


@pytest.mark.parametrize("old", REMOVED)
def test_a_name_that_is_gone_says_what_to_use(old):
    module, _, name = old.rpartition(".")
    with pytest.warns(DeprecationWarning, match=f"is gone. Use {REMOVED[old]}"):
        found = getattr(import_module(module), name)
    with pytest.raises(NotImplementedError, match="is gone"):
        found()


def test_an_old_name_is_imported_from_its_old_module():
    with pytest.warns(DeprecationWarning, match=r"mbo_gym\.files\.delimited import DELIMITERS"):
        from mbo_gym.data.table import DELIMITERS
    from mbo_gym.files import delimited

    assert DELIMITERS == delimited.DELIMITERS
