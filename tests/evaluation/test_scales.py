"""Predictions on another scale are refused with the factor found; bad ones on the right scale are scored."""

from __future__ import annotations

import re

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

import shoal as sh

from ..helpers import dense

SCREENS = {
    "panel": {"n_genes": 60, "library_size": 3_000},
    "many genes": {"n_genes": 600, "library_size": 5_000},
    "shallow": {"n_genes": 200, "library_size": 800},
    "strong effects": {"n_genes": 200, "effect_size": [5, 4, 3, 5, 4, 3]},
    "no effects": {"n_genes": 100, "effect_size": [0] * 6},
    "contexts": {"n_genes": 80, "contexts": 2},
}


@pytest.fixture(scope="module", params=SCREENS)
def screen(request):
    adata = sh.ds.simulate(
        n_perturbations=6, n_cells=40, n_control=80, rng=1, **SCREENS[request.param]
    )
    context = {"context_key": "context"} if "contexts" in SCREENS[request.param] else {}
    sh.pp.annotate(adata, "perturbation", control="control", **context)
    adata.layers["counts"] = adata.X.copy()
    adata.X = logged(dense(adata.X))
    return adata


def logged(counts: np.ndarray, depth: float | None = None) -> np.ndarray:
    totals = counts.sum(axis=1, keepdims=True)
    return np.log1p(counts / np.maximum(totals, 1) * (depth or np.median(totals)))


def second(adata: ad.AnnData) -> np.ndarray:
    """Counts of a second experiment: cells of the first, drawn with replacement."""
    rng, rows = np.random.default_rng(2), np.arange(adata.n_obs)
    for own in adata.obs.groupby("perturbation", observed=True).indices.values():
        rows[own] = rng.choice(own, len(own))
    return dense(adata.layers["counts"])[rows].astype(np.float64)


def evaluated(adata: ad.AnnData, values: np.ndarray, **options) -> float:
    own = adata.copy()
    pred = ad.AnnData(values, obs=adata.obs.copy(), var=adata.var[[]].copy())
    sh.tl.evaluate(
        own, prediction=pred, baselines=None, split=None, n_comps=5, metrics=["mae"], **options
    )
    return own.uns["evaluation"]["table"]["mae"].mean()


def scaled(counts: np.ndarray) -> np.ndarray:
    adata = ad.AnnData(logged(counts))
    sc.pp.scale(adata)
    return np.asarray(adata.X)


def median(counts: np.ndarray) -> float:
    return float(np.median(counts.sum(axis=1)))


OTHERS = {
    "log2": (lambda c: logged(c) / np.log(2), r"1\.[345]\d* times .*: log2 against natural"),
    "log10": (lambda c: logged(c) / np.log(10), r"0\.[34]\d* times .*: log10 against natural"),
    "not logged": (lambda c: np.expm1(logged(c)), "times linear ones: not logged"),
    "CPM, not logged": (lambda c: np.expm1(logged(c, 1e6)), "not logged"),
    "8 times the depth": (
        lambda c: logged(c, 8 * median(c)),
        "scaled to about [5-9][.0-9]* times the counts .* target_sum",
    ),
    "an eighth of the depth": (lambda c: logged(c, median(c) / 8), "0.[12][.0-9]* times the "),
    "z-scored": (scaled, "below 0 in many genes, .* scaled"),
    "counts": (lambda c: c, "whole numbers, .* counts"),
    "a third": (lambda c: logged(c) / 3, r"0\.[23]\d* times the real one"),
    "zeros": (lambda c: 0 * c, "all 0"),
}


@pytest.mark.parametrize("scale", OTHERS)
def test_a_prediction_on_another_scale_is_refused_with_what_it_is(scale, screen):
    make, words = OTHERS[scale]
    with pytest.raises(ValueError, match=f"prediction.X is not on the scale of .*{words}"):
        evaluated(screen, make(second(screen)))


@pytest.mark.parametrize("n_genes", [60, 200, 500])
@pytest.mark.parametrize("real", ["median", "10,000"])
def test_ten_thousand_against_the_median_is_named_with_its_factor(n_genes, real):
    """Half of the logarithms of counts differ by about the factor of log2, which is named too."""
    adata = sh.ds.simulate(
        n_perturbations=6, n_cells=50, n_control=150, n_genes=n_genes, library_size=6_000, rng=1
    )
    adata.layers["counts"] = adata.X.copy()
    depths = {"median": median(dense(adata.X)), "10,000": 1e4}
    adata.X = logged(dense(adata.X), depths[real])
    other = depths["10,000" if real == "median" else "median"]
    with pytest.raises(ValueError, match="not on the scale") as error:
        evaluated(adata, logged(second(adata), other))
    found = re.search(r"scaled to about ([.\de+-]+) times the counts", str(error.value))
    assert found
    assert float(found[1]) == pytest.approx(other / depths[real], rel=0.4)


@pytest.mark.parametrize("suite", ["cell_eval", "systema"])
def test_suites_of_others_refuse_it_too(suite):
    adata = sh.ds.simulate(n_perturbations=4, n_cells=30, n_control=60, n_genes=60, rng=0)
    sh.pp.annotate(adata, "perturbation", control="control")
    adata.X = logged(dense(adata.X))
    pred = adata.copy()
    pred.X = adata.X / np.log(2)
    with pytest.raises(ValueError, match="1.44 times .*: log2 against natural logarithms"):
        sh.tl.evaluate(adata, prediction=pred, suite=suite, baselines=None, split=None)


def of_controls(adata: ad.AnnData) -> np.ndarray:
    return dense(adata.X)[(adata.obs["perturbation"] == "control").to_numpy()].mean(axis=0)


def moved(adata: ad.AnnData, factor: float) -> np.ndarray:
    """Cells whose effects are as many times those of the real means."""
    values, control = dense(adata.X).copy(), of_controls(adata)
    for name in adata.obs["perturbation"].unique():
        rows = (adata.obs["perturbation"] == name).to_numpy()
        values[rows] += (factor - 1) * (values[rows].mean(axis=0) - control)
    return np.maximum(values, 0)


HONEST = {
    "a second experiment": lambda a: logged(second(a)),
    "a copy of the controls": lambda a: np.tile(of_controls(a), (a.n_obs, 1)),
    "effects twice too large": lambda a: moved(a, 2),
    "effects four times too large": lambda a: moved(a, 4),
    "effects reversed": lambda a: moved(a, -1),
    "one cell for all": lambda a: np.tile(dense(a.X).mean(axis=0), (a.n_obs, 1)),
    "one value for all": lambda a: np.full(a.shape, dense(a.X).mean()),
    "noise": lambda a: np.maximum(dense(a.X) + np.random.default_rng(0).normal(0, 0.5, a.shape), 0),
    "noise below 0": lambda a: of_controls(a) + np.random.default_rng(0).normal(0, 0.3, a.shape),
    "genes mixed up": lambda a: dense(a.X)[:, np.random.default_rng(0).permutation(a.n_vars)],
    "a tenth too large": lambda a: dense(a.X) * 1.1,
}


@pytest.mark.parametrize("prediction", HONEST)
def test_bad_predictions_on_the_right_scale_are_scored(prediction, screen):
    assert np.isfinite(evaluated(screen, HONEST[prediction](screen)))


def test_signed_values_may_be_predicted_too_small_and_not_far_too_large():
    adata = sh.ds.simulate_gaussian(n_perturbations=5, n_cells=40, n_control=80, rng=0)
    sh.pp.annotate(adata, "perturbation", control="control")
    values = dense(adata.X)
    for factor in (0.0, 0.1, 0.5, 1.0, 2.0):
        assert np.isfinite(evaluated(adata, factor * values))
    with pytest.raises(ValueError, match="times the size of real values"):
        evaluated(adata, 100 * values)
    with pytest.raises(ValueError, match="no predicted mean is below 0"):
        evaluated(adata, np.abs(values) + 2)


@pytest.mark.parametrize("suite", ["calibrated", "systema", "perturbench", "unlasting", "cmonge"])
def test_raw_counts_are_refused_with_the_call_to_make(suite):
    adata = sh.ds.simulate(n_perturbations=3, n_cells=30, n_control=50, n_genes=40, rng=0)
    sh.pp.annotate(adata, "perturbation", control="control")
    with pytest.raises(ValueError, match="raw counts; an evaluation .* call sh.pp.prepare"):
        sh.tl.evaluate(adata, prediction=adata.copy(), suite=suite, baselines=None, split=None)
    assert "evaluation" not in adata.uns


@pytest.mark.parametrize("suite", ["cell_eval", "vcc"])
def test_real_values_below_0_are_refused_where_the_package_refuses_them(suite):
    adata = sh.ds.simulate_gaussian(n_perturbations=3, n_cells=30, n_control=50, rng=0)
    sh.pp.annotate(adata, "perturbation", control="control")
    with pytest.raises(ValueError, match="values below 0 .* as its package, takes log-normalised"):
        sh.tl.evaluate(adata, prediction=adata.copy(), suite=suite, baselines=None, split=None)
