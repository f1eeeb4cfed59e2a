"""Results do not depend on the order of the rows: what belongs to a cell moves along with it."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh

from .everything import FUNCTIONS, by_cell, compare, expected, quiet, screen
from .helpers import dense

LONG = ("benchmark", "evaluate_as_cell_eval")
DRAWN = ("distance_by_permutation", "coherence_by_permutation", "coherence_null")
SINGLE = {"evaluate_as_cell_eval": 1e-5}  # energy distances of float32 predictions


def shuffled(adata: ad.AnnData, seed: int) -> ad.AnnData:
    """Return the same cells in another order."""
    return adata[np.random.default_rng(seed).permutation(adata.n_obs)].copy()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow) if n in LONG else n
        for n in FUNCTIONS
        if n not in DRAWN
    ],
)
def test_rows_may_come_in_any_order(name):
    for seed in (1, 2):
        with quiet():
            found = FUNCTIONS[name](shuffled(screen(), seed))
        compare(found, expected(name), SINGLE.get(name, 1e-9))


def test_cells_that_resemble_one_another(rng):
    """Few distinct cells, so that lengths tie: folds of the PCA, widths of kernels, samples."""
    patterns = rng.integers(0, 3, (40, 6)).astype(float)
    adata = ad.AnnData(patterns[rng.integers(0, 40, 2500)])
    adata.X[:, 5] = np.where(rng.random(2500) < 0.5, 1, -1)  # another cell of the same length
    adata.obs["target"] = np.where(np.arange(2500) < 1300, "control", "A")
    sh.pp.annotate(adata, "target", control="control")
    results = []
    for one in (adata, shuffled(adata, 1)):
        sh.pp.prepare(one, n_top_genes=None, n_comps=4)
        sh.tl.distance(one, metric="mmd", use_rep="X")
        found = {"scores": by_cell(one, one.obsm["X_pca"]), "mmd": one.uns["distance"]["table"]}
        results.append(found)
    compare(results[1], results[0], 1e-6)  # scores are kept in single precision


@pytest.mark.parametrize("name", ["mean_shift", "quantile_shift"])
def test_cells_that_are_carried_over(name):
    adata = screen()
    model = sh.tl.fit(adata, name)
    control = adata[adata.obs["target"] == "control"].copy()
    made = [model.transport(one, "g3", rng=1) for one in (control, shuffled(control, 1))]
    frames = [
        pd.DataFrame(dense(m.X), index=m.obs["source"].astype(str)).sort_index() for m in made
    ]
    pd.testing.assert_frame_equal(*frames)


# -- networks --------------------------------------------------------------------------------------


def trained(adata: ad.AnnData):
    adata.obs["split"] = "train"
    with quiet():
        return sh.tl.fit(adata, "flow", max_steps=3, config={"width": 16}, rng=0)


@pytest.mark.slow
def test_a_network_draws_by_row_and_predicts_by_name():
    """As the guide says: sort the cells by name, and training is the same whatever the file's order."""
    pytest.importorskip("lightning")
    first, other = screen(), shuffled(screen(), 1)
    model = trained(first)
    for adata in (first, other):  # one model, two orders
        sh.tl.predict(adata, model, key_added="made", rng=1)
    compare({"made": by_cell(other, dense(other.layers["made"]))},
            {"made": by_cell(first, dense(first.layers["made"]))}, 1e-5)  # fmt: skip
    by_name = [trained(adata[np.argsort(adata.obs_names)].copy()) for adata in (screen(), other)]
    made = [dense(model.predict("g3", n_cells=20, rng=1).X) for model in by_name]
    np.testing.assert_array_equal(*made)
