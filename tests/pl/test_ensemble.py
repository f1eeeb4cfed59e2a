from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import shoal as sh
from shoal.models.ensemble._carrier import COLUMNS as CARRIERS
from shoal.models.ensemble._weights import COLUMNS


@pytest.fixture
def weights():
    rows = [
        ("measured", "own_shift", 1.0, np.nan, 0, 0, "rule"),
        ("measured", "all members", 1.0, np.nan, 0, 0, "rule"),
        ("not measured", "kernel_ridge", 0.1, 0.8, 12, 12, ""),
        ("not measured", "mean_shift", 0.7, 0.9, 12, 12, ""),
        ("not measured", "all members", 0.8, 0.75, 12, 12, ""),
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_the_heaviest_member_is_on_top(weights):
    (only,) = sh.pl.ensemble(weights)
    assert [label.get_text() for label in only.get_yticklabels()] == ["kernel_ridge", "mean_shift"]
    assert [bar.get_width() for bar in only.patches[-2:]] == [0.1, 0.7]
    assert only.get_title(loc="left") == "not measured: 12 conditions, error 0.75"
    assert [text.get_text() for text in only.texts] == ["0.80", "0.90", "error"]
    plt.close("all")


def test_the_title_says_whose_cells_they_are(weights):
    rows = [
        ("measured", "control cells", "", np.nan, np.nan, np.nan, True),
        ("not measured", "control cells", "", 0.5, 0.0, 0.0, False),
        ("not measured", "kernel_ridge", "recentred", 0.4, 0.1, 0.01, True),
    ]
    carriers = pd.DataFrame(rows, columns=list(CARRIERS))
    first, second = sh.pl.ensemble(
        SimpleNamespace(weights=weights, carriers=carriers), kinds=["measured", "not measured"]
    )
    assert "\n" not in first.get_title(loc="left")
    _, said = second.get_title(loc="left").split("\n")
    assert said == "recentred cells of kernel_ridge: energy 0.400, of control cells 0.500"
    plt.close("all")


def test_kinds_that_were_not_tried_are_shown_on_demand(weights):
    first, second = sh.pl.ensemble(weights, kinds=["measured", "not measured"])
    assert first.get_title(loc="left") == "measured: 0 conditions (rule)"
    assert not first.texts
    assert len(second.texts) == 3
    assert len(sh.pl.ensemble(weights.iloc[:2])) == 1
    plt.close("all")


def test_what_it_cannot_show(weights):
    with pytest.raises(KeyError, match="'mesured' is not in the kinds of question.*'measured'"):
        sh.pl.ensemble(weights, kinds=["mesured"])
    with pytest.raises(TypeError, match="not NoneType"):
        sh.pl.ensemble(None)
    with pytest.raises(ValueError, match="there are no weights"):
        sh.pl.ensemble(pd.DataFrame())
