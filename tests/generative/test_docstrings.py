"""The examples in the docstrings run, and show what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import shoal.generative

MODULES = [module.name for module in pkgutil.iter_modules(shoal.generative.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(f"shoal.generative.{name}")).failed == 0


def test_all_is_sorted_and_there():
    capitals_first = sorted(
        shoal.generative.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )
    assert shoal.generative.__all__ == capitals_first
    assert all(hasattr(shoal.generative, name) for name in shoal.generative.__all__)
