"""What a prediction cannot gain from: targets of other perturbations, and its number of cells."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh

from ..helpers import dense
from .tasks import TWINS, evaluated, held_out, screen

RANKS = ["pds_l1", "pds_l2", "pds_cosine", "nir", "centroid_accuracy"]
RANKS += ["retrieval_top1", "retrieval_top5", "retrieval_map"]


def of_genes(n_others=50):
    """Return a screen of six held-out perturbations with the names of genes, and so many other genes."""
    adata = screen()
    scored = list(evaluated(adata)["table"].index)
    genes = dict(zip(scored, adata.var_names, strict=False))
    adata.obs["perturbation"] = adata.obs["perturbation"].cat.rename_categories(genes)
    adata = adata[:, : len(scored) + n_others].copy()
    del adata.varm["PCs"]
    sh.pp.annotate(adata, "perturbation", control="control", overwrite=True)
    return adata


def raised_for_others(adata):
    """Return predictions that are higher in the targets of all other perturbations."""
    labels = adata.obs["perturbation"].astype(str).to_numpy()
    panel = np.isin(adata.var_names, labels)
    others = panel & (adata.var_names.to_numpy() != labels[:, None])
    return dense(adata.layers[TWINS]) + 3.0 * others


def cells_of(adata):
    """Return the held-out cells as an AnnData of predicted cells."""
    rows = held_out(adata)
    return ad.AnnData(
        dense(adata.layers[TWINS])[rows],
        obs=adata.obs.loc[rows, ["perturbation"]],
        var=adata.var[[]],
    )


def first(pred, n):
    """Return the first n predicted cells of every perturbation."""
    return pred[pred.obs.groupby("perturbation", observed=True).cumcount() < n].copy()


def warnings_of(caplog, words):
    return [r.getMessage() for r in caplog.records if words in r.getMessage()]


# -- targets of others -----------------------------------------------------------------------------------------------------


def test_targets_of_the_panel_change_no_rank(caplog):
    adata = of_genes()
    with caplog.at_level(logging.WARNING, logger="shoal"):
        honest = evaluated(adata, metrics=RANKS)["table"]
    assert not warnings_of(caplog, "ranks among")
    adata.layers[TWINS] = raised_for_others(adata).astype(np.float32)
    pd.testing.assert_frame_equal(evaluated(adata, metrics=RANKS)["table"][RANKS], honest[RANKS])


def test_suites_of_other_packages_rank_as_those_packages_do():
    adata = of_genes()
    how = {"suite": "systema", "metrics": ["centroid_accuracy"]}
    honest = evaluated(adata, **how)["summary"].loc["centroid_accuracy", "value"]
    adata.layers[TWINS] = raised_for_others(adata).astype(np.float32)
    attacked = evaluated(adata, **how)["summary"].loc["centroid_accuracy", "value"]
    assert attacked != honest


def test_a_panel_of_nearly_all_genes_is_told_of_once(caplog):
    adata = of_genes(n_others=5)
    with caplog.at_level(logging.WARNING, logger="shoal"):
        evaluated(adata, metrics=RANKS, n_comps=4)
    (said,) = warnings_of(caplog, "ranks among")
    assert "leave 5 of 11 genes" in said


# -- numbers of cells ------------------------------------------------------------------------------------------------------


def test_more_cells_call_no_more_genes():
    adata = screen()
    pred = cells_of(adata)
    controls = dense(adata.X)[(adata.obs["perturbation"] == "control").to_numpy()]
    rng, means = np.random.default_rng(0), {}
    for times in (1, 6):
        several = ad.concat([pred] * times, index_unique="-")
        drawn = controls[rng.integers(len(controls), size=several.n_obs)]
        several.X = (drawn + 0.3 * (drawn > 0)).astype(np.float32)
        found = evaluated(adata, prediction=several, metrics=["de_count_error", "energy"])
        means[times] = found["table"].mean()
    assert means[6]["de_count_error"] == pytest.approx(means[1]["de_count_error"], abs=0.5)
    assert means[6]["energy"] == pytest.approx(means[1]["energy"], abs=0.3)


@pytest.mark.parametrize("n", [2, 5])
def test_fewer_cells_are_taken_several_times(n, caplog):
    adata = screen()
    few = first(cells_of(adata), n)
    numbers = evaluated(adata)["conditions"]["n_predicted"]
    with caplog.at_level(logging.WARNING, logger="shoal"):
        found = evaluated(adata, prediction=few, metrics=["rmse", "de_recall", "energy"])
    (said,) = warnings_of(caplog, "fewer cells are predicted")
    assert f"6 of 6 conditions ('{found['table'].index[0]}: {n} for {numbers.iloc[0]}'" in said
    repeated = ad.concat([few] * (int(numbers.max()) // n), index_unique="-")
    expected = evaluated(adata, prediction=repeated, metrics=["rmse", "de_recall", "energy"])
    pd.testing.assert_frame_equal(found["table"], expected["table"])


def test_what_is_invented_cannot_be_hidden_by_predicting_few_cells():
    """An invented shift in a third of the genes; the rank sums of few cells alone would find hardly any of it."""
    adata = screen()
    pred = cells_of(adata)
    controls = dense(adata.X)[(adata.obs["perturbation"] == "control").to_numpy()]
    pred.X = controls[np.arange(pred.n_obs) % len(controls)].astype(np.float32)
    pred.X[:, ::3] += 1.0
    how = {"metrics": ["de_count_error", "energy"]}
    every = evaluated(adata, prediction=pred, **how)["table"].mean()
    for n in (2, 5):
        few = evaluated(adata, prediction=first(pred, n), **how)["table"].mean()
        assert few["de_count_error"] > every["de_count_error"] - 0.3
        assert few["energy"] > every["energy"]
