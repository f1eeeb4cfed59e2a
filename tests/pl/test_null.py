from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from scipy import stats

import shoal as sh


def line(ax, label):
    (found,) = [x for x in ax.lines if x.get_label() == label]
    return found


def test_sorted_pvalues_lie_against_uniform_quantiles(tested):
    left, _ = sh.pl.coherence_null(tested)
    table = tested.uns["coherence_null"]["table"]
    x, y = line(left, "30 cells").get_data()
    np.testing.assert_allclose(x, -np.log10(np.arange(1, 51) / 51))
    np.testing.assert_allclose(y, -np.log10(np.sort(table["pvalue"][:50])))
    x, y = line(left, "labels: 2 left out in turn").get_data()  # the third has no p-value
    np.testing.assert_allclose(x, -np.log10([1 / 3, 2 / 3]))
    np.testing.assert_allclose(y, -np.log10([0.2, 0.5]))


def test_envelope_is_that_of_order_statistics(tested):
    left, _ = sh.pl.coherence_null(tested)
    (band,) = left.collections
    edge = band.get_paths()[0].vertices
    smallest = edge[np.isclose(edge[:, 0], np.log10(51))][:, 1]
    assert smallest.max() == pytest.approx(-np.log10(stats.beta(1, 50).ppf(0.025)))
    assert smallest.min() == pytest.approx(-np.log10(stats.beta(1, 50).ppf(0.975)))


def test_the_other_test_can_be_shown(tested):
    left, _ = sh.pl.coherence_null(tested, pvalue="residual_pvalue")
    table = tested.uns["coherence_null"]["table"]
    np.testing.assert_allclose(
        line(left, "100 cells").get_ydata(), -np.log10(np.sort(table["pvalue"][50:100] ** 2))
    )


def test_rates_have_their_intervals_and_levels(tested):
    _, right = sh.pl.coherence_null(tested)
    rates = tested.uns["coherence_null"]["rates"]
    assert {container.get_label() for container in right.containers} == {"level 0.05", "level 0.01"}
    for bars, alpha in zip(right.containers, (0.05, 0.01), strict=True):
        at = rates[rates["alpha"] == alpha]
        np.testing.assert_allclose(bars.lines[0].get_ydata(), at["rate"])
        spans = np.array([segment[:, 1] for segment in bars.lines[2][0].get_segments()])
        np.testing.assert_allclose(spans, at[["ci_low", "ci_high"]], atol=1e-12)
    levels = [x.get_ydata()[0] for x in right.lines if x.get_linestyle() == "--"]
    assert sorted(levels) == [0.01, 0.05]
    assert [t.get_text() for t in right.get_xticklabels()] == ["30", "100"]


def test_axes_are_used_and_errors_are_kind(tested):
    _, pair = plt.subplots(1, 2)
    assert sh.pl.coherence_null(tested, ax=pair) == (pair[0], pair[1])
    with pytest.raises(ValueError, match="must be two axes"):
        sh.pl.coherence_null(tested, ax=pair[:1])
    with pytest.raises(KeyError, match="Did you mean 'pvalue'"):
        sh.pl.coherence_null(tested, pvalue="pvalu")
    with pytest.raises(KeyError, match=r"sh\.tl\.coherence_null\(adata\)"):
        sh.pl.coherence_null(ad.AnnData(np.zeros((2, 2))))


def test_groups_beyond_the_axis_stay_in_the_picture(tested):
    table = tested.uns["coherence_null"]["table"]
    table.loc[table["held_out"] == "g1", "pvalue"] = 0.0
    left, _ = sh.pl.coherence_null(tested)
    assert len(line(left, "labels: 1 left out in turn").get_xdata()) == 1
    (at,) = line(left, "labels: 1 beyond the axis").get_ydata()
    assert 2 < at < left.get_ylim()[1] < 10
    assert [t.get_text() for t in left.texts] == ["g1"]


def test_labels_that_reject_are_named_and_their_column_is_said(tested):
    result = tested.uns["coherence_null"]
    result["params"]["by"] = "gu$ide"
    result["table"].loc[result["table"]["held_out"] == "g2", "pvalue"] = 0.04
    left, _ = sh.pl.coherence_null(tested)
    assert [t.get_text() for t in left.texts] == ["g2"]
    assert line(left, r"gu\$ide: 2 left out in turn")


def test_rates_of_groups_need_many_of_them(tested):
    rates = tested.uns["coherence_null"]["rates"]
    few = rates.iloc[:2].assign(held_out="left-out labels", n_cells=0, n_draws=5)
    tested.uns["coherence_null"]["rates"] = pd.concat([rates, few])
    assert len(sh.pl.coherence_null(tested)[1].get_xticklabels()) == 2
    tested.uns["coherence_null"]["rates"] = pd.concat([rates, few.assign(n_draws=40)])
    ticks = sh.pl.coherence_null(tested)[1].get_xticklabels()
    assert [t.get_text() for t in ticks] == ["30", "100", "left-out\nlabels"]


def test_only_groups(tested):
    result = tested.uns["coherence_null"]
    result["table"] = result["table"][result["table"]["held_out"] != "random split"]
    result["rates"] = result["rates"].iloc[:0]
    left, right = sh.pl.coherence_null(tested)
    left.figure.canvas.draw()
    np.testing.assert_allclose(
        line(left, "labels: 2 left out in turn").get_ydata(), -np.log10([0.2, 0.5])
    )
    assert [t.get_text() for t in right.texts] == ["no random splits"]
