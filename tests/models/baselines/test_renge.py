"""Baselines on real data: RENGE (23 knock-outs x 4 days), 15 perturbation x day held out, each knock-out on one day."""

from __future__ import annotations

import numpy as np
import pytest

import shoal as sh
from shoal.models.base._registry import name_of
from shoal.models.baselines._contexts import OtherContexts
from shoal.models.baselines._distribution import QuantileShift
from shoal.models.baselines._mean_shift import MeanShift
from shoal.models.baselines._means import ControlCopy
from shoal.models.baselines._own_shift import OwnShift

from ...helpers import dense

N_COMPS = 30


@pytest.fixture(scope="module")
def renge(read_real):
    import scanpy as sc

    adata = read_real("renge23_hipsc_ko.h5ad")
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    return adata


def hold_out(adata, rng):
    """Mark 15 perturbation x day as test, of 15 different perturbations."""
    names = sorted(set(adata.obs["perturbation"]) - {"control"})
    chosen = rng.choice(names, 15, replace=False)
    days = dict(zip(chosen, rng.choice(sorted(set(adata.obs["day"])), 15), strict=True))
    test = np.array(
        [days.get(p) == d for p, d in zip(adata.obs["perturbation"], adata.obs["day"], strict=True)]
    )
    adata.obs["split"] = np.where(test, "test", "train")
    sh.pp.annotate(adata, "perturbation", control="control", context_key="day")
    return test


def energies(adata, test):
    """Return the mean unbiased energy distance of every baseline over held-out conditions, in PCs of training cells."""
    x = adata.X.toarray()
    _, _, axes = np.linalg.svd(x[~test] - x[~test].mean(axis=0), full_matrices=False)
    name = adata.obs["perturbation"].astype(str).to_numpy()
    found = {}
    classes = (ControlCopy, MeanShift, OwnShift, QuantileShift, OtherContexts)
    contenders = {name_of(cls): cls(adata) for cls in classes}
    contenders["as measured"] = OwnShift(adata, shrink=False)
    for contender, model in contenders.items():
        model.train()
        rows, values, _ = model.twins(subset=test)
        values = dense(values)
        pairs = [(values[name[rows] == p], x[rows[name[rows] == p]]) for p in np.unique(name[rows])]
        found[contender] = np.mean(
            [
                sh.metrics.energy_distance(a @ axes[:N_COMPS].T, b @ axes[:N_COMPS].T)
                for a, b in pairs
            ]
        )
    return found


@pytest.mark.slow
def test_what_knows_the_perturbation_beats_what_does_not(renge):
    tables = [energies(renge, hold_out(renge, np.random.default_rng(seed))) for seed in range(10)]
    mean = {name: np.mean([table[name] for table in tables]) for name in tables[0]}
    assert mean["control"] > mean["mean_shift"] > mean["as measured"] > mean["other_contexts"]
    assert mean["own_shift"] < 0.95 * mean["as measured"]
    assert max(mean["own_shift"], mean["quantile_shift"]) < 0.5 * mean["mean_shift"]
    for table in tables:  # in every split, not only on average
        assert (
            table["control"]
            > table["mean_shift"]
            > 1.3 * max(table["own_shift"], table["other_contexts"])
        )
