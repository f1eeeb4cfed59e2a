"""The suites `cell_eval` and `vcc` against cell-eval 0.8.2 itself, from cells to tables and score."""

from __future__ import annotations

from functools import partial

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from numpy.testing import assert_allclose
from scipy import sparse

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
    score, parts = challenge(cell_eval, adata, pred, tmp_path)
    assert len(parts) == 3
    assert 0 < min(parts) < max(parts) < 1
    sh.tl.evaluate(adata, prediction=pred, suite="vcc", baselines=None)
    assert adata.uns["evaluation"]["params"]["score"] == pytest.approx(score, rel=1e-9)


def challenge(cell_eval, adata, pred, tmp_path):
    """Return cell-eval's score of a prediction of the test cells, and its parts."""
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
    return score, parts


# -- raw counts, which cell-eval normalises itself ---------------------------------------------------

empty_cells = pytest.mark.filterwarnings("ignore:Some cells have zero counts:UserWarning")


@pytest.fixture(scope="module")
def raw_pair(compared_screens):
    """Real and predicted counts of uneven depth, another for the test cells; one cell has none."""
    rng = np.random.default_rng(3)
    made = []
    for screen, depth in zip(compared_screens, (60, 35), strict=True):
        counts = screen.copy()
        depths = depth * rng.lognormal(0, 0.5, counts.n_obs)
        depths[(counts.obs[KEY] == counts.var_names[0]).to_numpy()] *= 2
        share = np.expm1(counts.X)
        share /= np.maximum(share.sum(axis=1, keepdims=True), 1)
        drawn = rng.poisson(share * depths[:, None] * 40).astype(np.float32)
        drawn[3] = 0
        counts.X = sparse.csr_matrix(drawn)
        made.append(counts)
    return made


@empty_cells
@pytest.mark.slow
def test_raw_counts_give_the_numbers_of_cell_eval(cell_eval, raw_pair, tmp_path):
    real, pred = raw_pair
    skipped = ["clustering_agreement"]
    found, _ = computed(cell_eval, pred, real, tmp_path, skip_metrics=skipped)
    theirs = pd.DataFrame(found.to_dict(as_series=False)).set_index(KEY).astype(float)
    adata = real.copy()
    before = adata.X.copy()
    sh.tl.evaluate(adata, prediction=pred, suite="cell_eval", baselines=None, split=None)
    ours = adata.uns["evaluation"]["table"].loc[theirs.index, theirs.columns]
    assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert (before != adata.X).nnz == 0
    assert (pred.X != raw_pair[1].X).nnz == 0


@empty_cells
def test_one_side_of_raw_counts_is_normalised_too(cell_eval, raw_pair, compared_screens, tmp_path):
    real, pred = raw_pair
    logged = real.copy()
    sc.pp.normalize_total(logged)
    sc.pp.log1p(logged)
    for one, other in ((logged, pred), (real, logged)):
        found, _ = computed(cell_eval, other, one, tmp_path, profile="minimal")
        theirs = pd.DataFrame(found.to_dict(as_series=False)).set_index(KEY).astype(float)
        adata = one.copy()
        sh.tl.evaluate(
            adata,
            prediction=other,
            suite="cell_eval",
            split=None,
            metrics=list(theirs.columns),
            baselines=None,
        )
        ours = adata.uns["evaluation"]["table"].loc[theirs.index, theirs.columns]
        assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@empty_cells
def test_score_of_the_challenge_on_raw_counts(cell_eval, raw_pair, tmp_path):
    """Real cells, predicted cells and the baseline each have a median of their own."""
    adata, pred = raw_pair[0].copy(), raw_pair[1]
    sh.pp.split(adata, by=KEY, test=0.5, rng=0)
    score, parts = challenge(cell_eval, adata, pred, tmp_path)
    assert max(parts) > 0
    sh.tl.evaluate(adata, prediction=pred, suite="vcc", baselines=None)
    assert adata.uns["evaluation"]["params"]["score"] == pytest.approx(score, rel=1e-5)
    layered = adata.copy()
    layered.layers["raw"], layered.X = adata.X, None
    sh.tl.evaluate(layered, prediction=pred, suite="vcc", baselines=None, layer="raw")
    assert layered.uns["evaluation"]["params"]["score"] == pytest.approx(score, rel=1e-5)


@pytest.mark.parametrize("suite", sorted({*EXTERNAL_SUITES} - {"cell_eval", "vcc"}))
def test_raw_counts_are_refused_where_the_package_does_not_normalise(suite, raw_pair):
    real, pred = raw_pair
    with pytest.raises(ValueError, match="raw counts; an evaluation takes log-normalised"):
        sh.tl.evaluate(real, prediction=pred, suite=suite, baselines=None, split=None)


def test_raw_counts_in_a_file_are_refused(raw_pair, tmp_path):
    raw_pair[0].write_h5ad(tmp_path / "raw.h5ad")
    backed = ad.read_h5ad(tmp_path / "raw.h5ad", backed="r")
    with pytest.raises(ValueError, match="to_memory"):
        sh.tl.evaluate(
            backed, prediction=raw_pair[1], suite="cell_eval", baselines=None, split=None
        )
    backed.file.close()


@empty_cells
@pytest.mark.slow
def test_contexts_are_normalised_each_for_itself(cell_eval, raw_pair, tmp_path):
    real, pred = (screen.copy() for screen in raw_pair)
    for screen in (real, pred):
        screen.obs["line"] = np.where(np.arange(screen.n_obs) % 3, "deep", "shallow")
        deep = (screen.obs["line"] == "deep").to_numpy()
        screen.X = sparse.csr_matrix(screen.X.multiply(np.where(deep, 3.0, 1.0)[:, None]))
    sh.pp.annotate(real, KEY, control=CONTROL, context_key="line")
    sh.tl.evaluate(
        real,
        prediction=pred,
        suite="cell_eval",
        metrics=["mae"],
        baselines=None,
        split=None,
        min_cells=2,
    )
    entry = real.uns["evaluation"]
    for line in ("deep", "shallow"):
        one, other = (screen[screen.obs["line"] == line].copy() for screen in (real, pred))
        skipped = ["clustering_agreement"]
        found, _ = computed(cell_eval, other, one, tmp_path, skip_metrics=skipped)
        theirs = pd.DataFrame(found.to_dict(as_series=False)).set_index(KEY)["mae"]
        own = entry["conditions"]["context"] == line
        ours = entry["table"]["mae"][own.to_numpy()]
        names = entry["conditions"]["perturbation"][own].astype(str)
        assert_allclose(ours, theirs.loc[names], rtol=1e-5)
