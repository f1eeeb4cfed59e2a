"""Kinds of question, by what training measured."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.models.base._kinds import KINDS, Measured
from shoal.models.ensemble._rules import RULES

NAN = float("nan")


@pytest.fixture(scope="module")
def cells():
    """A at two doses in c0 and one in c1, B in c0 alone, A+B in c0; c2 has controls alone."""
    rows = [
        ("control", "c0", NAN), ("control", "c1", NAN), ("control", "c2", NAN),
        ("A", "c0", 1.0), ("A", "c0", 10.0), ("A", "c1", 1.0), ("B", "c0", 1.0), ("A+B", "c0", 1.0),
    ]  # fmt: skip
    obs = pd.DataFrame(rows * 3, columns=["perturbation", "context", "dose"]).rename(index=str)
    adata = ad.AnnData(np.random.default_rng(0).normal(size=(len(obs), 4)), obs=obs)
    columns = {"context_key": "context", "dose_key": "dose"}
    sh.pp.annotate(adata, "perturbation", control="control", **columns)
    return population(adata, resolve(adata))


@pytest.mark.parametrize(
    ("condition", "kind"),
    [
        (("A", "c0", 10.0), "measured"),
        (("A", "c0", NAN), "measured"),
        (("A", "", 1.0), "measured"),
        (("A", "c0", 3.0), "measured at other doses"),
        (("B", "c1", 1.0), "measured in other contexts"),
        (("A", "c2", 1.0), "in a new context"),
        (("A+B", "c1", 1.0), "measured in other contexts"),
        (("B+A+A", "c0", 1.0), "combination of measured parts"),
        (("A+C", "c0", 1.0), "combination with an unmeasured part"),
        (("C+D", "c0", 1.0), "combination of unmeasured parts"),
        (("C", "c0", 1.0), "not measured"),
    ],
)
def test_the_kind_of_a_condition(cells, condition, kind):
    screen = cells.screen.having(cells.screen.names.knowing(["C", "D"]))
    assert Measured.of(cells).kind(*condition, screen) == kind
    assert kind in KINDS


def test_conditions_of_the_test_are_not_measured(cells):
    measured = Measured.of(cells)
    assert len(measured) == 5
    test = cells.with_split(np.where(cells.labels.code == cells.names.index("B"), 2, 0))
    assert Measured.of(test).kind("B", "c0", 1.0, cells.screen) == "not measured"


def test_a_screen_is_asked_what_its_columns_allow(cells):
    assert Measured.of(cells).kinds(cells.screen) == list(KINDS)


def test_each_kind_has_a_rule():
    assert list(RULES) == list(KINDS)
