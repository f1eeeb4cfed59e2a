"""Shared texts of docstrings: filled in where they are named, with the indentation of the line."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import shoal
from shoal import _docs
from shoal._docs import COMMON, PLACE, shared


def test_a_text_takes_the_indentation_of_its_line():
    @shared({"cells": "(n, d) cells.\nNot counts."})
    def spread(cells, *, rng=None):
        """Spread of {cells}, which stays as it is within a line.

        Parameters
        ----------
        cells
            {cells}
            Two at least.
        rng
            {rng}
        """

    assert inspect.getdoc(spread).splitlines()[2:] == [
        "Parameters",
        "----------",
        "cells",
        "    (n, d) cells.",
        "    Not counts.",
        "    Two at least.",
        "rng",
        f"    {COMMON['rng']}",
    ]
    assert "Spread of {cells}, which" in spread.__doc__
    assert inspect.signature(spread).parameters.keys() == {"cells", "rng"}


def test_own_texts_come_before_common_ones_and_classes_have_them_too():
    @shared({"rng": "The generator."})
    class Drawn:
        """A draw.

        {rng}
        """

    assert inspect.getdoc(Drawn) == "A draw.\n\nThe generator."


def test_a_text_that_does_not_exist_is_named():
    with pytest.raises(KeyError, match="no shared text is called 'gene'; there are block_bytes"):

        @shared()
        def spread():
            """Spread.

            {gene}
            """


def test_without_docstrings_nothing_happens():
    """The file is run by its path: anndata, which shoal imports, needs docstrings itself."""
    code = (
        f"import runpy\nshared = runpy.run_path({_docs.__file__!r})['shared']\n"
        "@shared()\ndef f():\n    '{nothing}'\nprint(f.__doc__)"
    )
    done = subprocess.run(
        [sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["None"]


def test_no_docstring_shows_a_place_that_was_not_filled():
    unfilled = []
    for info in pkgutil.walk_packages(shoal.__path__, "shoal."):
        if info.name.startswith("shoal.cli"):
            continue
        for name, value in vars(importlib.import_module(info.name)).items():
            if getattr(value, "__module__", None) == info.name and PLACE.search(
                getattr(value, "__doc__", None) or ""
            ):
                unfilled.append(f"{info.name}.{name}: decorate it with shared(...)")
    assert not unfilled
