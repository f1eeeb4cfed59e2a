from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection

import shoal as sh


def rows(ax):
    return [t.get_text() for t in ax.get_yticklabels()]


def test_best_on_top_with_cell_numbers(measured, table):
    ax = sh.pl.ranking(measured, n_top=4)
    assert rows(ax) == ["HLA/x", "A+B", "g009", "g008"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    beside = [t.get_text() for t in ax.texts]
    assert beside == ["1,011", "1,010", "1,009", "1,008", "cells"]
    (points,) = [c for c in ax.collections if c.get_label().startswith("q < 0.05")]
    np.testing.assert_allclose(points.get_offsets()[:, 0], table["coherence"].iloc[::-1][:4])


def test_intervals_belong_to_coherence_only(measured):
    spans = [c for c in sh.pl.ranking(measured).collections if isinstance(c, LineCollection)]
    assert sum(len(c.get_segments()) for c in spans) == 12
    ax = sh.pl.ranking(measured, by="residual_z", ascending=True, color="cause")
    assert not [c for c in ax.collections if isinstance(c, LineCollection)]
    assert rows(ax)[0] == "g000"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["none (11)", "dispersion (1)"]


def test_missing_values_and_all(measured):
    measured.uns["coherence"]["table"].loc["A+B", ["coherence", "ci_low", "ci_high"]] = np.nan
    ax = sh.pl.ranking(measured, n_top=None)
    assert len(rows(ax)) == 11
    assert "A+B" not in rows(ax)


def test_long_names_are_cut_and_nothing_is_clipped(measured):
    table = measured.uns["coherence"]["table"]
    measured.uns["coherence"]["table"] = table.rename(
        index={"A+B": "AVERYLONGGENENAME1+ANOTHERVERYLONGGENE2"}
    )
    ax = sh.pl.ranking(measured)
    ax.figure.canvas.draw()
    assert "AVERYLONGGENENA…ERVERYLONGGENE2" in rows(ax)
    page = ax.figure.bbox
    for text in [*ax.get_yticklabels(), *ax.texts, *ax.get_legend().get_texts()]:
        box = text.get_window_extent()
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
        assert box.y1 <= page.y1


def test_the_figure_grows_with_the_list(measured):
    short, long = sh.pl.ranking(measured, n_top=3), sh.pl.ranking(measured, n_top=12)
    assert long.figure.get_figheight() > short.figure.get_figheight()
    _, ax = plt.subplots()
    assert sh.pl.ranking(measured, ax=ax) is ax


def test_errors(measured):
    with pytest.raises(KeyError, match="Did you mean 'coherence'"):
        sh.pl.ranking(measured, by="coherense")
    with pytest.raises(ValueError, match="n_top must be a whole number"):
        sh.pl.ranking(measured, n_top=0)
