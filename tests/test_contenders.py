"""Names that every table of scores shares."""

from __future__ import annotations

import pandas as pd

from shoal._contenders import CONTROLS, PREDICTION, TRANSDUCTIVE, transductive_marks


def test_rows_that_have_seen_held_out_cells_are_marked():
    rows = [PREDICTION, *CONTROLS]
    table = pd.DataFrame({"score": 0.0, "transductive": [True, False, False, False]}, index=rows)
    assert transductive_marks(table) == {PREDICTION: PREDICTION + TRANSDUCTIVE}
    assert transductive_marks(table.drop(columns="transductive")) == {}
