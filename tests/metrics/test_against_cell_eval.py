"""The suites `cell_eval` and `vcc` against cell-eval 0.8.2 itself, from cells to tables and score."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import shoal as sh
from shoal.metrics._external_suites import EXTERNAL_SUITES

KEY, CONTROL = "perturbation", "control"


@pytest.fixture(scope="module")
def cell_eval():
    reason = (
        "cell-eval absent: suites are not compared with the package; pip install cell-eval==0.8.2"
    )
    return pytest.importorskip("cell_eval", reason=reason)


def computed(cell_eval, pred, real, folder, **options):
    """Return what cell-eval finds: values by perturbation, and their means."""
    names = {"control_pert": CONTROL, "pert_col": KEY, "num_threads": 1, "outdir": str(folder)}
    evaluator = cell_eval.MetricsEvaluator(pred.copy(), real.copy(), **names)
    return evaluator.compute(write_csv=False, break_on_error=True, **options)


@pytest.fixture(scope="module")
def tables(cell_eval, compared_screens, tmp_path_factory):
    """The table of the suite and that of cell-eval."""
    real, pred = compared_screens
    skipped = ["clustering_agreement"]  # it depends on the random numbers of Leiden
    found, _ = computed(
        cell_eval, pred, real, tmp_path_factory.mktemp("cell_eval"), skip_metrics=skipped
    )
    theirs = pd.DataFrame(found.to_dict(as_series=False)).set_index(KEY).astype(float)
    adata = real.copy()
    sh.tl.evaluate(adata, prediction=pred, suite="cell_eval", baselines=None, split=None)
    return adata.uns["evaluation"]["table"], theirs


@pytest.mark.slow
def test_suite_has_the_columns_of_cell_eval(tables):
    ours, theirs = tables
    assert set(ours) == set(theirs)
    assert set(ours.index) == set(theirs.index)
    alike = theirs.columns[theirs.nunique() == 1]
    assert set(alike) == {"de_spearman_sig", "pearson_edistance"}  # one number for the screen
    assert (theirs["overlap_at_50"] != theirs["overlap_at_N"]).any()
    assert theirs["roc_auc"].isna().sum() == 1  # of a perturbation without a significant gene


@pytest.mark.parametrize("metric", EXTERNAL_SUITES["cell_eval"].metrics)
def test_suite_equals_cell_eval(tables, metric):
    ours, theirs = tables
    assert_allclose(ours.loc[theirs.index, metric], theirs[metric], rtol=1e-9, atol=1e-12)


def test_ties_fall_as_in_cell_eval_with_a_stable_sort(
    cell_eval, compared_screens, tmp_path, monkeypatch
):
    """Three perturbations have the same real cells. numpy's own sort is not stable, on some processors not even of 6."""
    label = compared_screens[0].obs[KEY].to_numpy().astype(str)
    rows = np.concatenate([np.flatnonzero(label == name)[:40] for name in np.unique(label)])
    real, pred = (some[rows].copy() for some in compared_screens)
    first, *others = (np.flatnonzero(label[rows] == name) for name in real.var_names[[0, 1, 5]])
    for other in others:
        real.X[other] = real.X[first]
    with monkeypatch.context() as patched:
        patched.setattr(np, "argsort", partial(np.argsort, kind="stable"))
        found, _ = computed(cell_eval, pred, real, tmp_path, profile="pds")
    theirs = pd.DataFrame(found.to_dict(as_series=False)).set_index(KEY)["discrimination_score_l1"]
    sh.tl.evaluate(
        real,
        prediction=pred,
        suite="cell_eval",
        metrics=[theirs.name],
        baselines=None,
        split=None,
    )
    assert_allclose(
        real.uns["evaluation"]["table"][theirs.name].loc[theirs.index], theirs, atol=1e-12
    )


def test_score_of_the_challenge_equals_that_of_cell_eval(cell_eval, compared_screens, tmp_path):
    adata, pred = compared_screens[0].copy(), compared_screens[1]
    sh.pp.split(adata, by=KEY, test=0.5, rng=0)
    sh.tl.evaluate(adata, prediction=pred, suite="vcc", baselines=None)
    test, control = (
        (adata.obs["split"] == "test").to_numpy(),
        (adata.obs[KEY] == CONTROL).to_numpy(),
    )
    counts = adata.obs.loc[test, KEY].astype(str).value_counts()
    counts.rename_axis(KEY).rename("n_cells").to_csv(tmp_path / "counts.csv")
    mean = cell_eval.build_base_mean_adata(
        adata[~test].copy(), str(tmp_path / "counts.csv"), pert_col=KEY, control_pert=CONTROL
    )
    real, guess = adata[test | control], pred[test | control]
    means = [computed(cell_eval, made, real, tmp_path, profile="vcc")[1] for made in (guess, mean)]
    *parts, score = cell_eval.score_agg_metrics(*means)["from_baseline"].to_list()
    assert len(parts) == 3
    assert 0 < min(parts) < max(parts) < 1
    assert adata.uns["evaluation"]["params"]["score"] == pytest.approx(score, rel=1e-9)
