"""The suite `vcc2026` against cell-eval2 0.20 itself: every target, both ends of the scale, the scaled values."""

from __future__ import annotations

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

import shoal as sh
from shoal.metrics._external_vcc2026 import RULES

KEY, CONTROL = "target", "non-targeting"
REASON = (
    "cell-eval2 absent: the suite vcc2026 is not compared with it; pip install cell-eval2==0.20.0"
)
EXACT = {"rtol": 1e-9, "atol": 1e-10}
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def scorer():
    package = pytest.importorskip("cell_eval2", reason=REASON)
    return package, replace(package.EvalConfig.from_preset("vcc2026"), num_threads=1)


def screen_of(x, labels, genes):
    obs = pd.DataFrame({KEY: pd.Categorical(labels)}, index=[f"c{i}" for i in range(len(labels))])
    x = sparse.csr_matrix(x).astype(np.float32)
    return ad.AnnData(x, obs=obs, var=pd.DataFrame(index=pd.Index(genes)))


def simulated():
    """Strong effects of eight targets, and a prediction of half of each."""
    rng, n, n_genes, n_targets = np.random.default_rng(0), 1_000, 120, 8
    label = rng.permutation(np.r_[np.full(n // 5, n_targets), np.arange(n - n // 5) % n_targets])
    fold = np.where(
        rng.random((n_targets + 1, n_genes)) < 0.2,
        rng.lognormal(0, 0.8, (n_targets + 1, n_genes)),
        1,
    )
    fold[-1], fold[np.arange(n_targets), np.arange(n_targets)] = 1, 0.1
    level, genes = rng.gamma(1, 8, n_genes), [f"g{i}" for i in range(n_genes)]
    level[-5:] = 0.001  # genes that are not tested
    names = np.append(genes[:n_targets], CONTROL)[label]
    made = []
    for power in (1, 0.5):
        x = rng.poisson(level * fold[label] ** power * rng.gamma(5, 0.2, (n, 1)))
        made.append(screen_of(x, names, genes))
    return made


def thinned(real):
    """Return a poor prediction: thinned counts, half of the perturbed cells replaced by controls."""
    rng, x = np.random.default_rng(1), real.X.tocsr().copy()
    x.data = rng.binomial(x.data.astype(int), 0.7).astype(np.float32)
    x.eliminate_zeros()
    control = (real.obs[KEY] == CONTROL).to_numpy()
    rows, moved = np.arange(real.n_obs), np.flatnonzero(~control)
    moved = rng.choice(moved, len(moved) // 2, replace=False)
    rows[moved] = rng.choice(np.flatnonzero(control), len(moved))
    return ad.AnnData(x[rows], obs=real.obs.copy(), var=real.var.copy())


def compared(scorer, real, pred, *, ends=True):
    """Assert that both packages say the same, and return our result."""
    package, config = scorer
    adata = real.copy()
    sh.pp.annotate(adata, KEY, control=CONTROL)
    sh.tl.evaluate(adata, prediction=pred, suite="vcc2026")
    entry = adata.uns["evaluation"]
    if not set(real.obs[KEY]) & set(real.var_names):
        config = replace(config, target_gene_map={"*": None})
    tidy = package.compute_metrics(pred.copy(), real.copy(), config=config)
    wide = tidy.to_pandas().pivot(index="perturbation", columns="metric", values="value")
    for name, own in entry["table"].items():
        assert_allclose(own, wide.loc[own.index, name].astype(float), err_msg=name, **EXACT)
    if ends:
        both_ends_and_scale(package, config, real, tidy, entry["summary"])
    return entry


def both_ends_and_scale(package, config, real, tidy, summary):
    from cell_eval2.anchor import compute_replicate_anchor

    names = package.catalog.PROFILES["vcc2026"]

    def means(rows):
        return dict(
            package.aggregate_metrics(rows, metrics=names).select(["metric", "mean"]).iter_rows()
        )

    base = means(package.build_generic_baseline(real.copy(), config=config).results)
    _, anchor = compute_replicate_anchor(real.copy(), config=config)
    second, value = dict(anchor.select(["metric", "replicate"]).iter_rows()), means(tidy)
    for name in RULES:
        ours = summary.loc[name, ["value", "best_value", "positive", "skill"]]
        policy = replace(package.catalog.CATALOG[name].scoring, anchor=second[name])
        scaled = package.scoring.score_one(value[name], base[name], policy)
        theirs = [value[name], base[name], second[name], scaled]
        assert_allclose(ours.astype(float), theirs, err_msg=name, **EXACT)


def test_simulated_counts(scorer):
    entry = compared(scorer, *simulated())
    assert 0 < entry["params"]["score"] < 1


def test_extremes(scorer):
    """A copy of the cells, control cells for every target, and one cell for all cells of a target."""
    real, _ = simulated()
    compared(scorer, real, real.copy(), ends=False)
    control = np.flatnonzero(real.obs[KEY] == CONTROL)
    rows = np.arange(real.n_obs)
    moved = np.setdiff1d(rows, control)
    rows[moved] = control[np.arange(len(moved)) % len(control)]
    copies = real[rows].copy()
    copies.obs = real.obs.copy()
    compared(scorer, real, copies, ends=False)
    first = {name: np.flatnonzero(real.obs[KEY] == name)[0] for name in real.obs[KEY].unique()}
    one = real[[first[name] for name in real.obs[KEY]]].copy()
    one.obs = real.obs.copy()
    compared(scorer, real, one, ends=False)


def test_order_of_labels_and_of_cells_and_fewer_predicted_cells(scorer):
    """Halves are drawn in the order of categories; rows are taken in the order of the file."""
    real, pred = simulated()
    order = np.random.default_rng(3).permutation(real.n_obs)
    real = real[order].copy()
    labels = real.obs[KEY].cat.categories
    real.obs[KEY] = real.obs[KEY].cat.reorder_categories(labels[::-1])
    few = pred[np.random.default_rng(4).random(pred.n_obs) < 0.5].copy()
    compared(scorer, real, few)


RENGE = {"column": "perturbation", "control": "control"}
FILES = {
    "renge23_hipsc_ko.h5ad": ({**RENGE, "only": ("day", "5")}, True),
    "papalexi21_sceptre_lowmoi.h5ad": (
        {"column": "perturbation", "control": "non-targeting", "only": ("guide_confident", "True")},
        True,
    ),
    # pairs and singles; its small groups show no effect beyond their noise, so it has no scale there
    "norman19_perturbench.h5ad": (RENGE, False),
    # one target, which is no gene
    "kang18_scgen_valid.h5ad": (
        {"column": "condition", "control": "control", "only": ("cell_type", "CD4T")},
        False,
    ),
}


@pytest.mark.parametrize("file", FILES)
def test_real_counts(scorer, read_real, file):
    about, ends = FILES[file]
    adata = read_real(file)
    if "only" in about:
        column, value = about["only"]
        adata = adata[(adata.obs[column].astype(str) == value).to_numpy()]
    labels = adata.obs[about["column"]].astype(str).replace(about["control"], CONTROL)
    real = screen_of(adata.X, labels.to_numpy(), adata.var_names)
    if file.startswith("kang"):  # a panel of one has a rank of 1 there, whatever is predicted
        half = np.random.default_rng(0).random(real.n_obs) < 0.5
        names = real.obs[KEY].astype(str).to_numpy()
        names[half & (names != CONTROL)] = "other"
        real.obs[KEY] = pd.Categorical(names)
    compared(scorer, real, thinned(real), ends=ends)


def test_its_correlation_of_correlations_is_the_similarity_of_this_package(scorer):
    from cell_eval2.metrics.cells import cov_agreement

    rng = np.random.default_rng(0)
    mix = rng.normal(size=(4, 15))
    real, pred = (rng.normal(size=(200, 4)) @ mix + rng.normal(size=(200, 15)) for _ in range(2))
    theirs = cov_agreement(real, pred)["corr"]
    assert_allclose(sh.metrics.correlation_similarity(pred, real), theirs, rtol=1e-9)
