from __future__ import annotations

import anndata as ad
import matplotlib as mpl
import mudata as md
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection

import shoal as sh

from .evaluated import consistent


@pytest.fixture
def judged():
    return consistent()


def summary(adata):
    return adata.uns["evaluation"]["summary"]


def rows(ax):
    return [t.get_text() for t in ax.get_yticklabels()]


def points(ax, label):
    (found,) = [c for c in ax.collections if c.get_label().startswith(label)]
    return found.get_offsets()


def test_every_metric_has_its_skill_and_interval(judged):
    ax = sh.pl.evaluate(judged)
    table = summary(judged)
    assert rows(ax) == table.index.tolist()
    good = table["discriminates"].to_numpy(bool)
    np.testing.assert_allclose(points(ax, "discriminates")[:, 0], table["skill"][good])
    np.testing.assert_allclose(points(ax, "does not")[:, 0], table["skill"][~good])
    ends = [
        s[:, 0]
        for c in ax.collections
        if isinstance(c, LineCollection)
        for s in c.get_segments()
        if len(s) == 2
    ]
    drawn = {tuple(np.round(pair, 9)) for pair in ends if np.isfinite(pair).all()}
    assert drawn == set(
        table[["skill_low", "skill_high"]].dropna().round(9).itertuples(index=False, name=None)
    )
    title = ax.get_title(loc="left")
    assert title == (
        "flow   40 conditions   5 draws of halves and controls\n"
        "flow wins on 9, loses on 4 and ties on 16 of 29 metrics against mean\nshift; score −0.27"
    )
    assert {"0:\nmean shift", "1: second\nexperiment"} <= {t.get_text() for t in ax.texts}


def test_where_nothing_responds_the_title_says_so(judged):
    params = judged.uns["evaluation"]["params"]
    said = "nothing to predict here: unchanged controls are the right answer"
    params |= {"responds": False, "verdict": f"{said}; my-model_$1 invents a response (-0.2)"}
    title = " ".join(sh.pl.evaluate(judged).get_title(loc="left").split())
    assert title.endswith(f"{said}; my-model_\\$1 invents a response (−0.2)")
    (note,) = [t.get_text() for t in sh.pl.leaderboard(judged).texts if "predict" in t.get_text()]
    assert " ".join(note.split()).startswith(said)


def test_a_suite_without_a_reference_has_a_score_alone(judged):
    params = judged.uns["evaluation"]["params"]
    for name in ("reference", "verdict", "responds", "n_draws", "score_low", "score_high"):
        del params[name]
    ax = sh.pl.evaluate(judged)
    assert ax.get_title(loc="left") == "flow   40 conditions\nscore −0.27"


def test_metrics_that_do_not_discriminate_are_grey_and_hollow(judged):
    ax = sh.pl.evaluate(judged)
    colour = {t.get_text(): t.get_color() for t in ax.get_yticklabels()}
    greyed = {name for name, tint in colour.items() if tint != colour["pearson_delta"]}
    assert greyed == set(summary(judged).index[~summary(judged)["discriminates"].astype(bool)])
    (hollow,) = [c for c in ax.collections if c.get_label().startswith("does not")]
    assert mpl.colors.to_hex(hollow.get_facecolor()[0]) == "#ffffff"


def test_families_head_their_metrics_and_baselines_are_named(judged):
    shuffled = ["mmd", "pds_l1", "energy", "nir"]
    ax = sh.pl.evaluate(judged, metrics=shuffled)
    assert rows(ax) == ["mmd", "energy", "pds_l1", "nir"]
    height = {t.get_text(): t.xy[1] for t in ax.texts}
    at = ax.get_yticks()
    assert height["population"] < at[0] < at[1] < height["discrimination"] < at[2]
    named = [t.get_text() for t in ax.texts if t.xy[0] == 1 and t.xy[1] in at]
    assert named == summary(judged).loc[rows(ax), "best_baseline"].tolist()


def test_a_metric_without_a_skill_keeps_its_row(judged):
    summary(judged).loc["mmd", ["skill", "skill_low", "skill_high"]] = np.nan
    judged.uns["evaluation"]["params"] |= {"score": np.nan, "verdict": ""}
    ax = sh.pl.evaluate(judged, metrics=["energy", "mmd"])
    assert rows(ax) == ["energy", "mmd"]
    assert "not defined" in [t.get_text() for t in ax.texts]
    assert len(points(ax, "discriminates")) == 1
    assert "no score" in ax.get_title(loc="left")


def test_nothing_is_clipped_and_long_names_are_cut(judged):
    table = judged.uns["evaluation"]["summary"]
    judged.uns["evaluation"]["summary"] = table.rename(
        index={"mmd": "a_metric_with_a_name_that_is_far_too_long"}
    )
    ax = sh.pl.evaluate(judged)
    ax.figure.canvas.draw()
    assert max(map(len, rows(ax))) <= 32
    page = ax.figure.bbox
    for text in [*ax.get_yticklabels(), *ax.texts, *ax.get_legend().get_texts()]:
        box = text.get_window_extent()
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
        assert page.y0 <= box.y0
        assert box.y1 <= page.y1


@pytest.mark.parametrize(
    "plot", ["evaluate", "leaderboard", "calibration", "scatter_baseline", "strata"]
)
def test_all_draw_into_given_axes_after_a_round_trip_and_from_a_modality(judged, plot, tmp_path):
    judged.write_h5ad(tmp_path / "judged.h5ad")
    read = ad.read_h5ad(tmp_path / "judged.h5ad")
    more = ("pearson_delta",) if plot in ("scatter_baseline", "strata") else ()
    _, ax = plt.subplots()
    assert getattr(sh.pl, plot)(read, *more, ax=ax) is ax
    mdata = md.MuData({"rna": read})
    assert getattr(sh.pl, plot)(mdata, *more, mod="rna").figure is not ax.figure


@pytest.mark.parametrize(
    "plot", ["evaluate", "leaderboard", "calibration", "scatter_baseline", "strata"]
)
def test_errors_name_the_call_and_the_metrics(judged, plot):
    function = getattr(sh.pl, plot)
    first = ("energi",) if plot in ("scatter_baseline", "strata") else ()
    named = {} if first else {"metrics": ["energi"]}
    with pytest.raises(KeyError, match="Did you mean 'energy'"):
        function(judged, *first, **named)
    with pytest.raises(KeyError, match=r"sh\.tl\.evaluate\(adata, prediction=\.\.\.\)"):
        function(ad.AnnData(np.zeros((2, 2))), *first)
    judged.uns["other"] = judged.uns["evaluation"] | {"schema": "coherence/1"}
    with pytest.raises(ValueError, match=r"another kind \(coherence/1\), where 'evaluation'"):
        function(judged, *first, key="other")
    assert not plt.get_fignums()
