"""Names that every table of scores shares."""

from __future__ import annotations

import pandas as pd

from shoal._contenders import (
    CONTROLS,
    PREDICTION,
    SAME,
    TRANSDUCTIVE,
    full_names,
    same_rows,
    transductive_marks,
)


def test_rows_that_have_seen_held_out_cells_are_marked():
    rows = [PREDICTION, *CONTROLS]
    table = pd.DataFrame({"score": 0.0, "transductive": [True, False, False, False]}, index=rows)
    assert transductive_marks(table) == {PREDICTION: PREDICTION + TRANSDUCTIVE}
    assert transductive_marks(table.drop(columns="transductive")) == {}


def test_rows_of_several_names_have_them_all():
    rows = [PREDICTION, "mean_shift", "nearest"]
    table = pd.DataFrame(
        {"transductive": [False, False, True], SAME: ["", "own_shift, additive", ""]}, index=rows
    )
    assert same_rows(table) == {"mean_shift": ["own_shift", "additive"]}
    assert full_names(table) == {
        "mean_shift": "mean_shift (= own_shift, additive)",
        "nearest": "nearest" + TRANSDUCTIVE,
    }
    assert same_rows(table.drop(columns=SAME)) == {}
