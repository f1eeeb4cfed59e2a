"""External suites through `tl.evaluate`: cells and controls that they compare, gaps, the score."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy import sparse, stats

import shoal as sh
from shoal.metrics._external_suites import EXTERNAL_SUITES

from ..helpers import dense

EVERY = list(EXTERNAL_SUITES)


@pytest.fixture(scope="module")
def screen():
    """A simulated screen whose perturbations are called as genes, split, with twins of the mean shift in a layer."""
    adata = sh.ds.simulate(
        n_perturbations=8, n_cells=[24 + i for i in range(8)], n_genes=60, n_control=80, rng=0
    )
    names = [name for name in adata.obs["perturbation"].unique() if name != "control"]
    called = dict(zip(names, adata.var_names, strict=False)) | {"control": "control"}
    adata.obs["perturbation"] = adata.obs["perturbation"].astype(str).map(called)
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.split(adata, by="perturbation", test=0.5, rng=0)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=5)
    sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="twins", subset="test")
    return adata


def apart(screen):
    """Return predicted cells in an AnnData of their own, more than the real ones, the controls moved."""
    twins = screen.layers["twins"]
    pred = ad.AnnData(
        dense(twins), obs=screen.obs[["perturbation"]].copy(), var=screen.var[[]].copy()
    )
    control = (pred.obs["perturbation"] == "control").to_numpy()
    pred.X[control] = pred.X[control] * 1.1
    pred = pred[(screen.obs["split"] == "test").to_numpy() | control].copy()
    more = pred.copy()
    more.obs_names = [f"more{i}" for i in range(more.n_obs)]
    more.X = more.X * 1.05
    return ad.concat([pred, more])


@pytest.mark.parametrize("suite", EVERY)
def test_an_entry_of_the_common_form_that_survives_a_file(screen, suite, tmp_path):
    adata = screen.copy()
    sh.tl.evaluate(adata, prediction="twins", suite=suite, baselines=["perturbed_mean"])
    adata.write_h5ad(tmp_path / "x.h5ad")
    entry = ad.read_h5ad(tmp_path / "x.h5ad").uns["evaluation"]
    assert entry["params"]["suite"] == suite
    assert list(entry["table"].columns) == list(EXTERNAL_SUITES[suite].metrics)
    n = adata.obs.loc[adata.obs["split"] == "test", "perturbation"].astype(str).value_counts()
    conditions = entry["conditions"]
    assert (conditions["n_real"] == n.loc[conditions["perturbation"]].to_numpy()).all()
    assert (conditions["n_predicted"] == conditions["n_real"]).all()
    summary = entry["summary"]
    assert not summary["discriminates"].any()
    assert summary[["positive", "negative", "drf", "bds", "skill"]].isna().all(axis=None)
    extra = ["cell-eval mean"] if suite == "vcc" else []
    assert list(entry["contenders"].index) == [
        "prediction",
        "control copy",
        *extra,
        "perturbed_mean",
    ]


def test_predicted_controls_count_where_the_package_uses_them(screen):
    adata, pred = screen.copy(), apart(screen)
    name = adata.obs.loc[adata.obs["split"] == "test", "perturbation"].astype(str).iloc[0]
    mean = {
        (who, label): dense(one.X)[(one.obs["perturbation"] == label).to_numpy()].mean(0)
        for who, one in (("real", adata), ("pred", pred))
        for label in (name, "control")
    }
    shifts = [mean[who, name] - mean[who, "control"] for who in ("pred", "real")]
    sh.tl.evaluate(
        adata, prediction=pred, suite="cell_eval", metrics=["pearson_delta", "mse"], baselines=None
    )
    found = adata.uns["evaluation"]["table"].loc[name]
    assert found["pearson_delta"] == pytest.approx(
        stats.pearsonr(*shifts)[0], abs=1e-6
    )  # all predicted cells
    assert found["mse"] == pytest.approx(
        ((mean["pred", name] - mean["real", name]) ** 2).mean(), rel=1e-5
    )
    assert list(adata.uns["evaluation"]["contenders"].index) == ["prediction"]


def test_predicted_controls_are_those_of_the_context():
    adata = sh.ds.simulate(
        n_perturbations=4, n_cells=60, n_genes=40, n_control=80, contexts=2, rng=0
    )
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    sh.pp.prepare(adata, normalize="log1p", n_comps=4)
    pred = adata.copy()
    control = (pred.obs["perturbation"] == "control").to_numpy()
    first = (pred.obs["context"] == pred.obs["context"].unique()[0]).to_numpy()
    pred.X = sparse.csr_matrix(dense(pred.X) * np.where(control & first, 1.5, 1.0)[:, None])
    sh.tl.evaluate(
        adata,
        prediction=pred,
        suite="cell_eval",
        metrics=["mse", "mse_delta"],
        baselines=None,
        split=None,
    )
    entry = adata.uns["evaluation"]
    moved = (entry["conditions"]["context"] == adata.obs["context"].unique()[0]).to_numpy()
    np.testing.assert_allclose(entry["table"]["mse"], 0, atol=1e-12)
    assert (entry["table"]["mse_delta"][moved] > 1e-3).all()
    np.testing.assert_allclose(entry["table"]["mse_delta"][~moved], 0, atol=1e-12)
    with pytest.raises(ValueError, match="no control cells of"):
        sh.tl.evaluate(
            adata,
            prediction=pred[~(control & first)].copy(),
            suite="vcc",
            baselines=None,
            split=None,
        )


def test_vcc_scores_against_the_mean_that_counts_the_controls_in(screen):
    adata = screen.copy()
    sh.tl.evaluate(adata, prediction="twins", suite="vcc", baselines=None)
    entry = adata.uns["evaluation"]
    x, label = dense(adata.X), adata.obs["perturbation"].astype(str).to_numpy()
    train = (adata.obs["split"] == "train").to_numpy() & (label != "control")
    means = [x[label == name].mean(0) for name in np.unique(label[train])]
    baseline = np.mean([*means, x[label == "control"].mean(0)], axis=0)
    expected = [np.abs(x[label == name].mean(0) - baseline).mean() for name in entry["table"].index]
    contenders = entry["contenders"]
    assert contenders.loc["cell-eval mean", "mae"] == pytest.approx(np.mean(expected), rel=1e-5)
    own, base = contenders.loc["prediction"], contenders.loc["cell-eval mean"]
    parts = [1 - own["mae"] / base["mae"]] + [
        (own[m] - base[m]) / (1 - base[m]) for m in ("discrimination_score_l1", "overlap_at_N")
    ]
    assert entry["params"]["score"] == pytest.approx(np.mean(np.maximum(parts, 0)))
    sh.tl.evaluate(adata, prediction="twins", suite="vcc", metrics=["mae"], baselines=None)
    assert np.isnan(adata.uns["evaluation"]["params"]["score"])


def test_a_metric_of_another_suite_is_refused(screen):
    with pytest.raises(KeyError, match="overlap_at_N"):
        sh.tl.evaluate(screen, prediction="twins", suite="vcc", metrics=["pearson_delta"])
    with pytest.raises(ValueError, match="systema"):
        sh.tl.evaluate(screen, prediction="twins", suite="sistema")
    assert "evaluation" not in screen.uns


def test_control_twins_that_hold_nan_are_refused(screen):
    adata = screen.copy()
    twins = dense(adata.layers["twins"])
    twins[np.flatnonzero(adata.obs["perturbation"] == "control")[0]] = np.nan
    adata.layers["twins"] = twins
    with pytest.raises(ValueError, match="1 of 80 predicted cells, such as those of 'control'"):
        sh.tl.evaluate(adata, prediction="twins", suite="cell_eval", baselines=None)


def test_most_cells_may_be_equal(screen):
    """Half of all pairs of cells at distance 0 leave a kernel without a width, of which no external metric knows."""
    adata = screen.copy()
    x = np.zeros(adata.shape, dtype=np.float32)
    x[::10, :3] = 0.7
    adata.X = sparse.csr_matrix(x)
    sh.tl.evaluate(
        adata, prediction=adata.copy(), suite="cell_eval", metrics=["mae"], baselines=None
    )
    assert (adata.uns["evaluation"]["table"]["mae"] == 0).all()
