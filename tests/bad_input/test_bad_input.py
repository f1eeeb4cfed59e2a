"""No function gives a wrong number in silence: the table of the docs, made anew."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import shoal as sh

pytest.importorskip("mudata")

HERE = Path(__file__).parent


def _recipe():
    spec = importlib.util.spec_from_file_location("bad_input_table", HERE / "make_table.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RECIPE = _recipe()


@pytest.fixture(scope="module")
def found():
    """What every function did with every input."""
    return RECIPE.outcomes()


@pytest.mark.slow
def test_no_silent_number_and_no_error_of_another_library(found):
    assert not RECIPE.faults(found), "\n".join(RECIPE.faults(found))


@pytest.mark.slow
def test_what_is_meant_still_happens(found):
    other = {
        (call, what)
        for call, row in found.items()
        for what, one in row.items()
        if one.kind == "other"
    }
    assert set(RECIPE.MEANT) == other


@pytest.mark.slow
def test_the_page_shows_this_table(found):
    page = RECIPE.PAGE.read_text()
    shown = page.split(RECIPE.BEGIN)[1].split(RECIPE.END)[0].strip()
    assert shown == RECIPE.as_markdown(found), "run python tests/bad_input/make_table.py --write"


@pytest.mark.slow
def test_errors_say_what_is_wrong(found):
    short = [
        f"{call} x {what}: {one.text}"
        for call, row in found.items()
        for what, one in row.items()
        if one.kind == "refused" and len(one.text) < 30
    ]
    assert not short


def test_every_public_function_is_in_the_table():
    named = {name.split("(")[0] for name in RECIPE.calls(model=None)}
    named |= set(RECIPE.READS_RESULTS) | RECIPE.NO_CELLS | RECIPE.IMAGES
    spaces = ("pp", "tl", "pl", "io")
    public = {f"{space}.{name}" for space in spaces for name in getattr(sh, space).__all__}
    assert named == public - {"io.read", "pp.link"}  # which read no values


@pytest.mark.slow
def test_functions_that_read_results_read_no_cell(tmp_path):
    clean = RECIPE.clean(tmp_path)
    damaged = clean.copy()
    damaged.X = np.full(clean.shape, np.nan)
    for name, call in RECIPE.READS_RESULTS.items():
        draw = RECIPE._axes(call)
        assert RECIPE.equal(draw(damaged, None), draw(clean, None)), name
