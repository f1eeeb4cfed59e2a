from __future__ import annotations

import anndata as ad
import mudata as md
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.text import Text

import shoal as sh

from .conftest import TRACE, coherence_table, with_table


def points(ax):
    return [c for c in ax.collections if isinstance(c, PathCollection)]


def offsets(ax):
    return np.vstack([np.asarray(c.get_offsets()) for c in points(ax) if len(c.get_offsets())])


def names(ax):
    return {t.get_text() for t in ax.texts}


def test_every_perturbation_is_a_point_in_its_class(measured, table):
    ax = sh.pl.coherence(measured, label=())
    grey, blue = points(ax)
    assert len(grey.get_offsets()) == (table["qvalue"] >= 0.05).sum()
    assert len(blue.get_offsets()) == (table["qvalue"] < 0.05).sum()
    np.testing.assert_allclose(np.sort(offsets(ax)[:, 0]), np.sort(table["magnitude"]))
    assert [t.get_text() for t in ax.get_legend().get_texts()][-1] == "q < 0.05 (6)"


def test_curve_is_the_translation_formula(measured):
    ax = sh.pl.coherence(measured, label=())
    (curve,) = [
        line for line in ax.lines if line.get_label() == "expected from signal-to-noise alone"
    ]
    m, r = curve.get_data()
    np.testing.assert_allclose(r, m / np.sqrt(m**2 + TRACE), atol=1e-12)
    assert np.interp(3.0, m, r) == pytest.approx(1 / np.sqrt(2), abs=1e-3)  # M = sqrt(T_c)
    assert m.min() == 0


@pytest.mark.parametrize("intervals", [True, False])
@pytest.mark.parametrize("n", [1, 3])
def test_curve_reaches_the_farthest_point(measured, intervals, n):
    result = measured.uns["coherence"]
    result["table"] = result["table"].iloc[:n].assign(magnitude=np.linspace(4, 6, n))
    ax = sh.pl.coherence(measured, intervals=intervals)
    (curve,) = [x for x in ax.lines if x.get_label().startswith("expected")]
    assert curve.get_xdata().max() > result["table"]["magnitude"].max()
    assert curve.get_xdata().max() <= ax.get_xlim()[1]


def test_curve_and_intervals_can_be_left_out(measured):
    with_both = sh.pl.coherence(measured, label=())
    (bars,) = [c for c in with_both.collections if isinstance(c, LineCollection)]
    assert len(bars.get_segments()) == 12
    np.testing.assert_allclose(np.ptp(bars.get_segments()[3][:, 1]), 0.2)
    bare = sh.pl.coherence(measured, label=(), intervals=False, noise_curve=False)
    assert not [c for c in bare.collections if isinstance(c, LineCollection)]
    assert len(bare.lines) == 1  # the line at 0
    assert (
        len(sh.pl.coherence(measured, x="n_cells", label=()).lines) == 1
    )  # the curve needs a magnitude


def test_labels_are_the_extremes_of_the_residual(measured):
    both = ("discordant", "concordant")
    two = names(sh.pl.coherence(measured, label=both, n_labels=2))
    assert two == {"g000", "g001", "A+B", "HLA/x"}
    assert names(sh.pl.coherence(measured, label="discordant", n_labels=3)) == {
        "g000",
        "g001",
        "g002",
    }
    assert names(sh.pl.coherence(measured, label=["HLA/x"])) == {"HLA/x"}
    far = measured.uns["coherence"]["table"].query("abs(residual_z) > 1").index
    assert len(far) == 10
    assert names(sh.pl.coherence(measured, label=both, n_labels=100)) == set(far)


def test_every_name_is_there_where_there_is_room(measured, table):
    assert names(sh.pl.coherence(measured)) == set(table.index)
    assert names(sh.pl.coherence(measured, n_labels=0)) == set()
    assert names(sh.pl.coherence(measured, label="strong", n_labels=3)) == {"g009", "A+B", "HLA/x"}


def test_a_name_that_was_asked_for_is_written_without_room_too(measured):
    table = measured.uns["coherence"]["table"]
    table["magnitude"], table["coherence"] = 1.0, 0.5
    table[["ci_low", "ci_high"]] = [0.4, 0.6]
    names_of_all = names(sh.pl.coherence(measured))
    assert 1 <= len(names_of_all) <= len(table)
    small = sh.pl.coherence(measured, label=list(table.index), figsize=(2.8, 2.4))
    assert names(small) == set(table.index)
    assert len(names(sh.pl.coherence(measured, figsize=(2.8, 2.4)))) < len(table)


def test_labels_stay_inside_and_apart(rng):
    ax = sh.pl.coherence(
        with_table(ad.AnnData(np.zeros((3, 2))), coherence_table(100, rng)), n_labels=6
    )
    ax.figure.canvas.draw()
    frame = ax.get_window_extent()
    boxes = [Text.get_window_extent(t) for t in ax.texts]  # without the line to the point
    assert 12 <= len(boxes) <= 18
    for i, box in enumerate(boxes):
        assert frame.x0 - 2 <= box.x0
        assert box.x1 <= frame.x1 + 2
        assert not any(box.shrunk(0.9, 0.8).overlaps(other.shrunk(0.9, 0.8)) for other in boxes[:i])


def test_labels_do_not_depend_on_the_run(measured):
    first, second = sh.pl.coherence(measured), sh.pl.coherence(measured)
    assert [t.get_position() for t in first.texts] == [t.get_position() for t in second.texts]


def test_color_by_cause_number_and_text(measured, table):
    by_cause = [
        t.get_text()
        for t in sh.pl.coherence(measured, color="cause", label=()).get_legend().get_texts()
    ]
    assert by_cause[1:] == ["none (11)", "dispersion (1)"]
    ax = sh.pl.coherence(measured, color="n_cells", label=())
    np.testing.assert_array_equal(points(ax)[-1].get_array(), table["n_cells"])
    assert len(ax.figure.axes) == 2  # with a colour bar
    measured.uns["coherence"]["table"]["arm"] = ["p"] * 5 + ["q"] * 6 + [None]
    text = [
        t.get_text()
        for t in sh.pl.coherence(measured, color="arm", label=()).get_legend().get_texts()
    ]
    assert text[1:] == ["p (5)", "q (6)", "unknown (1)"]


@pytest.mark.parametrize("color", [None, "cause", "dispersion"])
def test_missing_values_are_left_out(measured, color):
    table = measured.uns["coherence"]["table"]
    numbers = table.columns.drop(["n_cells", "cause", "flags"])
    table.loc["g003", numbers] = np.nan
    table.loc["g004", ["ci_low", "ci_high", "qvalue", "residual_z", "dispersion"]] = np.nan
    ax = sh.pl.coherence(measured, color=color, label=("discordant", "g003"))
    ax.figure.canvas.draw()
    assert len(offsets(ax)) == 11
    assert "g003" not in names(ax)


def test_a_table_without_any_value(measured):
    table = measured.uns["coherence"]["table"]
    table[table.columns.drop(["n_cells", "cause", "flags"])] = np.nan
    ax = sh.pl.coherence(measured)
    ax.figure.canvas.draw()
    assert not names(ax)


@pytest.mark.parametrize(("low", "scale"), [(1.0, "linear"), (1e-3, "log"), (-0.5, "symlog")])
def test_the_scale_follows_the_span(measured, low, scale):
    table = measured.uns["coherence"]["table"]
    table["magnitude"] = np.geomspace(abs(low), 20, len(table))
    if low < 0:
        table["magnitude"] = np.geomspace(0.01, 20, len(table))
        table.loc["g000", "magnitude"] = low
    ax = sh.pl.coherence(measured, label=())
    ax.figure.canvas.draw()
    assert ax.get_xscale() == scale
    left, right = ax.get_xlim()
    assert left <= table["magnitude"].min() <= table["magnitude"].max() <= right


@pytest.mark.filterwarnings("ignore:From 0.4:FutureWarning")  # mudata's own
def test_axes_and_modality(measured):
    _, ax = plt.subplots()
    assert sh.pl.coherence(measured, ax=ax, label=()) is ax
    measured.var_names = ["gene0", "gene1"]
    mdata = md.MuData({"rna": measured, "adt": ad.AnnData(np.zeros((3, 1)))})
    assert len(offsets(sh.pl.coherence(mdata, mod="rna", label=()))) == 12


def test_errors_say_what_to_do(measured):
    with pytest.raises(KeyError, match=r"sh\.tl\.coherence\(adata\)"):
        sh.pl.coherence(ad.AnnData(np.zeros((2, 2))))
    with pytest.raises(KeyError, match="Did you mean 'magnitude'"):
        sh.pl.coherence(measured, x="magnitud")
    with pytest.raises(KeyError, match="Did you mean 'cause'"):
        sh.pl.coherence(measured, color="causes")
    with pytest.raises(KeyError, match="Did you mean 'discordant'"):
        sh.pl.coherence(measured, label=["discordnt"])
    assert not plt.get_fignums()  # refused before a figure was made


def test_labels_find_their_place_in_a_subfigure(measured):
    upper, _ = plt.figure(figsize=(6, 8)).subfigures(2, 1)
    ax = sh.pl.coherence(
        measured, ax=upper.subplots(), label=("discordant", "concordant"), n_labels=2
    )
    assert names(ax) == {"g000", "g001", "A+B", "HLA/x"}


def legend(ax):
    return [t.get_text() for t in ax.get_legend().get_texts()]


@pytest.mark.parametrize("draw", [sh.pl.coherence, sh.pl.ranking])
def test_significance_is_that_of_replicates(measured, draw):
    """Coloured is what replicates share; what cells alone call significant is grey and named."""
    result = measured.uns["coherence"]
    table, hits = result["table"], result["table"].index[result["table"]["qvalue"] < 0.05]
    table["qvalue_replicate"] = 0.5
    table.loc[hits[0], "qvalue_replicate"] = np.nan
    table.loc[hits[1:4], "qvalue_replicate"] = 0.01
    table.loc[hits[1], "ci_low"] = -0.1
    result["params"]["replicate_key"] = "grna"
    ax = draw(measured)
    said = [text for text in legend(ax) if not text.startswith("expected")]
    assert said == [
        "not significant (6)",
        "q < 0.05 by cells alone (2)",
        "q < 0.05 by cells, too few replicates (1)",
        "q < 0.05 by grna (2)",
        "q < 0.05 by grna; the interval, two-sided, includes 0 (1)",
    ]
    tints = {
        c.get_label(): tuple(c.get_facecolor()[0][:3]) for c in points(ax) if len(c.get_offsets())
    }
    grey = tints["not significant (6)"]
    assert tints["q < 0.05 by cells alone (2)"] == grey
    assert tints["q < 0.05 by cells, too few replicates (1)"] == grey
    assert len(set(tints.values())) == 3


def test_cells_count_where_no_replicate_was_tested(measured):
    table = measured.uns["coherence"]["table"]
    table["qvalue_replicate"] = np.nan
    assert legend(sh.pl.coherence(measured, label=()))[-1] == "q < 0.05 (6)"


@pytest.mark.parametrize("draw", [sh.pl.coherence, sh.pl.ranking])
def test_an_interval_that_includes_0_is_said(measured, draw):
    table = measured.uns["coherence"]["table"]
    hits = table.index[table["qvalue"] < 0.05]
    table.loc[hits[:2], "ci_low"] = -0.01
    assert "q < 0.05; the interval, two-sided, includes 0 (2)" in legend(draw(measured))
