from __future__ import annotations

import numpy as np
import pytest
from matplotlib.text import Text

import shoal as sh

from .evaluated import consistent


@pytest.fixture
def judged():
    return consistent(20, contexts=("day 1", "day 2"))


def values(adata, contender, metric):
    scores = adata.uns["evaluation"]["scores"]
    mine = scores[(scores["contender"] == contender) & (scores["metric"] == metric)]
    return mine.set_index("condition")["value"]


def drawn(ax):
    """Return the points of the better, worse and equal conditions."""
    return [np.asarray(c.get_offsets()) for c in ax.collections[-3:]]


@pytest.mark.parametrize("metric", ["pearson_delta", "energy"])
def test_points_are_conditions_and_sides_respect_the_direction(judged, metric):
    ax = sh.pl.scatter_baseline(judged, metric, against="nearest", n_labels=0)
    x, y = values(judged, "nearest", metric), values(judged, "prediction", metric)
    better, worse, _ = drawn(ax)
    wins = (y > x) if metric == "pearson_delta" else (y < x)
    expected = np.column_stack([x, y])
    np.testing.assert_allclose(np.sort(better, axis=0), np.sort(expected[wins.to_numpy()], axis=0))
    assert len(better) + len(worse) == 40
    told = {t.get_text().splitlines()[0]: t for t in ax.texts}
    assert f"{wins.sum()} of 40" in told["flow better:"].get_text()
    high = told["flow better:"].get_position()[1] > 0.5
    assert high == (metric == "pearson_delta")
    assert ax.get_xlim() == ax.get_ylim()
    assert ax.get_aspect() == 1
    assert ax.get_ylabel() == "flow"


def test_a_target_is_drawn_as_its_loss(judged):
    ax = sh.pl.scatter_baseline(judged, "variance_ratio", against="nearest", n_labels=0)
    y = values(judged, "prediction", "variance_ratio").to_numpy()
    points = np.concatenate(drawn(ax))
    np.testing.assert_allclose(np.sort(points[:, 1]), np.sort(np.abs(y - 1) / (y + 1)))
    assert ax.get_title(loc="left") == "variance_ratio, loss against 1 (lower is better)"


def test_the_reference_and_the_largest_differences(judged):
    best = judged.uns["evaluation"]["summary"].loc["mmd", "reference"]
    ax = sh.pl.scatter_baseline(judged, "mmd", n_labels=3)
    assert ax.get_xlabel() == best
    gap = (values(judged, "prediction", "mmd") - values(judged, best, "mmd")).abs()
    named = [t.get_text() for t in ax.texts if "better" not in t.get_text()]
    assert set(named) == set(gap.nlargest(3).index)
    assert named[0].endswith((" | day 1", " | day 2"))


def test_missing_values_are_left_out_and_ties_are_told(judged):
    scores = judged.uns["evaluation"]["scores"]
    mine = scores.index[(scores["contender"] == "prediction") & (scores["metric"] == "mae")]
    scores.loc[mine[0], "value"] = np.nan
    scores.loc[mine[1], "value"] = values(judged, "nearest", "mae").iloc[1]
    ax = sh.pl.scatter_baseline(judged, "mae", against="nearest")
    assert [len(part) for part in drawn(ax)][2] == 1
    assert "of 39\n1 the same" in "".join(t.get_text() for t in ax.texts)
    scores.loc[mine, "value"] = np.nan
    with pytest.raises(ValueError, match="no condition has a value of 'mae'"):
        sh.pl.scatter_baseline(judged, "mae")


def test_errors(judged):
    with pytest.raises(KeyError, match="one number for the whole screen"):
        sh.pl.scatter_baseline(judged, "collapse_index")
    with pytest.raises(KeyError, match="Did you mean 'nearest'"):
        sh.pl.scatter_baseline(judged, "mae", against="nearst")
    table = judged.uns["evaluation"]["summary"]
    table.loc["mae", "reference"] = ""  # as of the suites of other packages
    assert sh.pl.scatter_baseline(judged, "mae").get_xlabel() == table.loc["mae", "best_baseline"]
    table.loc["mae", "best_baseline"] = ""
    with pytest.raises(ValueError, match="neither reference nor best baseline"):
        sh.pl.scatter_baseline(judged, "mae")


@pytest.mark.parametrize("n", [1, 2, 20])
def test_no_text_covers_a_point(n):
    ax = sh.pl.scatter_baseline(consistent(n), "energy", against="nearest")
    ax.figure.canvas.draw()
    spots = ax.transData.transform(np.concatenate(drawn(ax)))
    assert len(spots) == n
    for one in ax.texts:
        box = Text.get_window_extent(one)
        assert not ((spots > box.min) & (spots < box.max)).all(axis=1).any(), one.get_text()
