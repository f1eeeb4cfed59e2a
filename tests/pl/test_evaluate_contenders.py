"""The leaderboard, and the panels on calibration and strata."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import PatchCollection

import shoal as sh
from shoal.pl._evaluation import chosen, positions
from shoal.pl._leaderboard import ANGLE, HALF, _texts

from ..report.conftest import REFERENCE
from .evaluated import BASELINES, CONTENDERS, QUALITY, UNFIT, consistent

MODELS = [
    c for c in CONTENDERS if c not in ("positive control", "negative control", "control copy")
]


@pytest.fixture
def judged():
    return consistent()


def rows(ax):
    """Return the names of the rows, which are the same in every block of columns."""
    return list(dict.fromkeys(t.get_text() for t in ax.get_yticklabels()))


def contenders(ax):
    """Return the names of the rows in the tables: the prediction is called as its layer is."""
    return ["prediction" if name == "flow" else name for name in rows(ax)]


def columns(ax):
    """Return the names of the columns."""
    return [t.get_text() for t in ax.texts if t.get_rotation() == ANGLE]


def grid(ax, what):
    """Return the texts or colours of the cells as rows x columns."""
    if what == "text":
        flat = [t.get_text() for t in ax.texts if t.get_va() == "center"]
    else:
        (boxes,) = [c for c in ax.collections if isinstance(c, PatchCollection)]
        flat = [mpl.colors.to_hex(c) for c in boxes.get_facecolors()]
    return np.array(flat, dtype=object).reshape(len(rows(ax)), -1)


def test_contenders_by_quality_and_references_apart(judged):
    ax = sh.pl.leaderboard(judged)
    assert contenders(ax) == [
        *sorted(MODELS, key=lambda c: -QUALITY[c]), "positive control", "negative control", "control copy",
    ]  # fmt: skip
    at = ax.get_yticks()[: len(rows(ax))]
    np.testing.assert_allclose(np.diff(at)[len(MODELS) - 1], 1.3)
    assert (np.delete(np.diff(at), len(MODELS) - 1) == 1).all()


def test_cells_are_mean_scores_and_colours_their_positions(judged):
    ax = sh.pl.leaderboard(
        judged, metrics=["pearson_delta", "energy", "variance_ratio", "weighted_r2"]
    )
    means = judged.uns["evaluation"]["contenders"]
    texts, colours = grid(ax, "text"), grid(ax, "colour")
    assert columns(ax) == [
        "score",
        "harm",
        "pearson_delta",
        "weighted_r2",
        "energy",
        "variance_ratio",
    ]
    for i, name in enumerate(contenders(ax)):
        assert float(texts[i, 2].replace("−", "-")) == pytest.approx(
            means.loc[name, "pearson_delta"], abs=0.006
        )
        assert float(texts[i, 4].replace("−", "-")) == pytest.approx(
            means.loc[name, "energy"], abs=0.006
        )
    best, worst = rows(ax).index("positive control"), rows(ax).index("negative control")
    assert texts[best, 0] == "0.50 (0.40 to 0.60)"
    assert texts[rows(ax).index("control copy"), 0] == "−0.60 (−0.70 to −0.50)"
    assert texts[rows(ax).index("control copy"), 1] == "0.10"
    assert texts[0, 1] == "0.00"
    assert any("score 0: mean shift" in t.get_text() for t in ax.texts)
    for j in (2, 4, 5):  # whatever the direction
        assert colours[best, j] == "#0072b2"
        assert colours[worst, j] in ("#f3f1ee", "#f2f1ee")
    assert len(set(colours[:, 3])) == 1  # does not discriminate: no colour
    assert colours[0, 3] not in (colours[best, 2], colours[worst, 2])


def test_the_table_takes_the_shape_of_its_room(judged):
    """Families go on below, with the same rows, where that is nearer to the shape that is asked for."""
    shapes = {wide: sh.pl.leaderboard(judged, figsize=(wide, 6)) for wide in (60, 6)}
    n_blocks = {wide: len(ax.get_yticks()) // len(rows(ax)) for wide, ax in shapes.items()}
    assert n_blocks[60] == 1 < n_blocks[6]
    assert columns(shapes[60]) == columns(shapes[6])
    for what in ("text", "colour"):
        np.testing.assert_array_equal(grid(shapes[60], what), grid(shapes[6], what))
    ax = sh.pl.leaderboard(judged)
    assert ax.figure.get_size_inches()[0] < 9
    for many in shapes.values():  # no two blocks overlap
        boxes = next(c for c in many.collections if isinstance(c, PatchCollection))
        centres = {tuple(path.vertices.mean(axis=0).round(3)) for path in boxes.get_paths()}
        assert len(centres) == len(boxes.get_paths())


def test_position_is_the_share_of_the_range_in_mean_losses(judged):
    """A ratio that is half too small in one condition and half too large in another is not perfect."""
    entry = judged.uns["evaluation"]
    scores = entry["scores"]
    mine = scores["metric"] == "variance_ratio"
    for who, values in {
        "prediction": (0.5, 1.5),
        "positive control": (1.0, 1.0),
        "negative control": (0.25, 0.25),
    }.items():
        at = scores.index[mine & (scores["contender"] == who)]
        scores.loc[at, "value"] = np.resize(values, len(at))
    table = positions(entry, chosen(entry, ["variance_ratio"]))["variance_ratio"]
    lost = (1 / 3 + 0.2) / 2
    assert table["prediction"] == pytest.approx((0.6 - lost) / 0.6)
    assert table["positive control"] == 1
    assert table.min() >= -1


def test_a_metric_with_another_negative_control(judged):
    """Where the summary's negative control is the control copy, the range begins there."""
    entry = judged.uns["evaluation"]
    entry["summary"].loc["mmd", "negative"] = entry["contenders"].loc["control copy", "mmd"]
    table = positions(entry, chosen(entry, ["mmd", "energy"]))
    assert table.loc["control copy", "mmd"] == 0
    assert table.loc["negative control", "mmd"] > 0
    assert table.loc["negative control", "energy"] == 0
    assert "control copy" in [
        t.get_text() for t in sh.pl.strata(judged, "mmd").get_legend().get_texts()
    ]


def test_a_prediction_named_after_a_baseline_says_which_it_is(judged):
    judged.uns["evaluation"]["params"]["prediction"] = "nearest"
    assert {"nearest", "nearest (prediction)"} <= set(rows(sh.pl.leaderboard(judged)))
    ax = sh.pl.scatter_baseline(judged, "energy", against="nearest")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("nearest", "nearest (prediction)")


def test_what_has_no_score_is_last_and_says_so(judged):
    entry = judged.uns["evaluation"]
    entry["contenders"].loc["nearest", ["score", "mmd"]] = np.nan
    mine = (entry["scores"]["contender"] == "nearest") & (entry["scores"]["metric"] == "mmd")
    entry["scores"].loc[mine, "value"] = np.nan
    ax = sh.pl.leaderboard(judged, metrics=["energy", "mmd"])
    assert rows(ax)[len(MODELS) - 1] == "nearest"
    assert [t == "–" for t in grid(ax, "text")[len(MODELS) - 1]] == [True, False, False, True]


def test_n_top_keeps_the_best_baselines_and_the_prediction(judged):
    ax = sh.pl.leaderboard(judged, n_top=2)
    best = sorted([b for b in BASELINES if b in MODELS], key=lambda c: -QUALITY[c])[:2]
    assert rows(ax) == ["flow", *best, "positive control", "negative control", "control copy"]
    with pytest.raises(ValueError, match="n_top must be a whole number"):
        sh.pl.leaderboard(judged, n_top=0)


def test_the_numbers_fit_into_their_cells(judged):
    ax = sh.pl.leaderboard(judged)
    ax.figure.canvas.draw()
    width = np.ptp(ax.transData.transform([(1, 0), (0, 0)])[:, 0])
    for text in [t for t in ax.texts if t.get_va() == "center"]:
        cells = 2 * HALF if text.get_position()[0] == 0 else 1  # the score with its interval
        assert text.get_window_extent().width < cells * width
    assert ax.get_tightbbox().x0 >= 0


def test_digits_follow_the_column():
    assert _texts(np.array([0.5, -0.004, np.nan, -0.25])) == ["0.50", "0.00", "–", "−0.25"]
    assert _texts(np.array([0.05, 0.001])) == ["0.050", "0.001"]
    assert _texts(np.array([3e-4, -1e-3])) == ["3e−4", "−1e−3"]
    assert _texts(np.array([1234.0, 12.0])) == ["1234", "12"]


def test_calibration_marks_and_names(judged):
    summary = judged.uns["evaluation"]["summary"]
    ax = sh.pl.calibration(judged)
    drawn = np.concatenate(
        [c.get_offsets() for c in ax.collections if len(c.get_offsets()) and c.get_array() is None]
    )
    expected = summary[["drf", "bds"]].to_numpy()
    for point in expected:
        assert np.isclose(drawn, point).all(axis=1).any()
    lines = {float(line.get_xdata()[0]) for line in ax.lines[:1]} | {
        float(line.get_ydata()[0]) for line in ax.lines[1:2]
    }
    assert lines == {0.1, 0.5}
    named = {t.get_text() for t in ax.texts}
    assert set(UNFIT) <= named
    assert summary.groupby("family")["drf"].idxmax().isin(named).all()
    n = int(summary["discriminates"].sum())
    assert ax.get_title(loc="left") == f"{n} of {len(summary)} metrics discriminate"
    only = sh.pl.calibration(judged, label=["energy"])
    assert "energy" in [t.get_text() for t in only.texts]
    assert not set(UNFIT) & {t.get_text() for t in only.texts}
    with pytest.raises(KeyError, match="Did you mean 'energy'"):
        sh.pl.calibration(judged, label=["enregy"])


def test_strata_are_the_means_of_the_thirds(judged):
    entry = judged.uns["evaluation"]
    ax = sh.pl.strata(judged, "pearson_delta")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "positive control",
        "flow",
        REFERENCE,
        "negative control",
    ]
    strong = entry["conditions"].index[entry["conditions"]["effect_stratum"] == "strong"]
    mean = entry["table"].loc[strong, "pearson_delta"].mean()
    flow = next(line for line in ax.lines if line.get_label() == "flow")
    assert flow.get_ydata()[2] == pytest.approx(mean)
    assert [t.get_text() for t in ax.get_xticklabels()][:3] == [
        "weak\n(14)",
        "medium\n(14)",
        "strong\n(12)",
    ]
    assert len(ax.lines) == 8
    assert len(sh.pl.strata(judged, "energy", contenders=["prediction", "nearest"]).lines) == 4
    with pytest.raises(KeyError, match="Did you mean 'nearest'"):
        sh.pl.strata(judged, "energy", contenders=["neerest"])
    with pytest.raises(KeyError, match="one number for the whole screen"):
        sh.pl.strata(judged, "collapse_index")


def test_no_line_leads_to_the_mean_of_one_or_two_conditions(judged):
    table = judged.uns["evaluation"]["strata"]
    table.loc[table["stratum"] == "effect weak", "n"] = 2
    ax = sh.pl.strata(judged, "energy", contenders=["prediction"])
    line, hollow, coherence = ax.lines
    assert np.isnan(line.get_ydata()).tolist() == [True, False, False]
    assert (hollow.get_linestyle(), hollow.get_markerfacecolor()) == ("None", "white")
    assert hollow.get_xdata().tolist() == [0]
    assert np.isfinite(coherence.get_ydata()).all()


def test_the_table_shows_what_discriminates_and_what_was_asked_for(judged):
    entry = judged.uns["evaluation"]
    good = entry["summary"]["discriminates"].to_numpy(bool)
    entry["contenders"]["energy"] = np.nan

    def metrics(ax):
        return set(columns(ax)) - {"score", "harm"}

    shown = metrics(sh.pl.leaderboard(judged))
    assert shown == set(entry["summary"].index[good]) - {"energy"}
    assert metrics(sh.pl.leaderboard(judged, metrics=[UNFIT[0]])) == {UNFIT[0]}
    ax = sh.pl.leaderboard(judged)
    assert any(f"not shown: {(~good).sum()} metrics" in t.get_text() for t in ax.texts)
    entry["summary"]["discriminates"] = False
    assert metrics(sh.pl.leaderboard(judged)) == set(entry["summary"].index) - {"energy"}


def test_a_dagger_for_what_has_seen_held_out_cells(judged):
    before = rows(sh.pl.leaderboard(judged))
    table = judged.uns["evaluation"]["contenders"]
    table["transductive"] = table.index.isin(["prediction", "nearest"])
    ax = sh.pl.leaderboard(judged)
    assert rows(ax) == [f"{name} †" if name in ("flow", "nearest") else name for name in before]
    assert {t.get_text() for t in ax.get_yticklabels() if t.get_fontweight() == "bold"} == {
        "flow †"
    }
    assert any("has seen held-out cells" in t.get_text() for t in ax.texts)
    ax = sh.pl.scatter_baseline(judged, "energy", against="nearest")
    assert (ax.get_xlabel(), ax.get_ylabel()[-2:]) == ("nearest †", " †")
    lines = sh.pl.strata(
        judged, "energy", contenders=["prediction", "nearest", "positive control"]
    ).lines
    assert [line.get_label().endswith("†") for line in lines[:3]] == [True, True, False]
    assert " †   " in sh.pl.evaluate(judged).get_title("left")
    table["transductive"] = False
    ax = sh.pl.leaderboard(judged)
    assert rows(ax) == before
    assert not any("held-out" in t.get_text() for t in ax.texts)


def test_a_score_without_held_out_conditions_says_so(judged):
    said = "no held-out split: conditions may have been seen in training"

    def texts(ax):
        return " ".join([ax.get_title("left"), *(t.get_text() for t in ax.texts)]).replace(
            "\n", " "
        )

    assert said not in texts(sh.pl.evaluate(judged)) + texts(sh.pl.leaderboard(judged))
    judged.uns["evaluation"]["params"]["caution"] = said
    assert said in texts(sh.pl.evaluate(judged))
    assert said in texts(sh.pl.leaderboard(judged))


def test_rows_of_several_names_say_them_all(judged):
    entry = judged.uns["evaluation"]
    best = entry["summary"]["best_baseline"].iloc[0]
    entry["contenders"]["same_as"] = ""
    entry["contenders"].loc[best, "same_as"] = "one_rule, another_rule, third_rule"
    other = next(name for name in BASELINES if name != best)
    entry["contenders"].loc[other, "same_as"] = "fourth_rule"

    def texts(ax):
        return " ".join([ax.get_title("left"), *(t.get_text() for t in ax.texts)]).replace(
            "\n", " "
        )

    ax = sh.pl.leaderboard(judged)
    assert {f"{best} (= 3 others)", f"{other} (= fourth_rule)"} <= set(rows(ax))
    assert f"{best} = one_rule, another_rule, third_rule" in texts(ax)
    said = texts(sh.pl.evaluate(judged))
    assert f"{best} (= 3 others)" in said
    assert f"{best} = one_rule, another_rule, third_rule" in said
    ax = sh.pl.scatter_baseline(judged, "energy", against="third_rule")
    assert ax.get_xlabel() == f"third_rule (= {best})"
    (line,) = sh.pl.strata(judged, "energy", contenders=["third_rule"]).lines[:1]
    (row,) = sh.pl.strata(judged, "energy", contenders=[best]).lines[:1]
    np.testing.assert_array_equal(line.get_ydata(), row.get_ydata())


@pytest.mark.parametrize("suite", ["cell_eval", "vcc", "systema"])
def test_suites_of_other_packages_have_no_controls_to_colour_by(suite):
    adata = sh.ds.simulate(n_perturbations=6, n_cells=30, n_genes=60, rng=0)
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    sh.pp.split(adata, by="perturbation", test=0.4)
    sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="made")
    sh.tl.evaluate(adata, prediction="made", suite=suite, baselines=["perturbed_mean"])
    ax = sh.pl.leaderboard(adata)
    assert rows(ax)[0] == "made"
    assert "perturbed_mean" in rows(ax)
    assert np.isfinite(adata.uns["evaluation"]["contenders"].iloc[:, -1].astype(float)).any()
    assert len(set(grid(ax, "colour")[:, 2:].ravel())) == 1
