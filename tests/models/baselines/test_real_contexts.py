"""Baselines that compare contexts beside those that do not, on real screens."""

from __future__ import annotations

import numpy as np
import pytest

import shoal as sh
from shoal.models.baselines._cell_knn import CellKnnShift
from shoal.models.baselines._context_distance import ContextWeighted, NearestContext
from shoal.models.baselines._own_shift import OwnShift
from shoal.models.baselines._scaled_sources import ScaledSources

from ...helpers import dense

N_COMPS = 30
CLASSES = (OwnShift, NearestContext, ContextWeighted, CellKnnShift, ScaledSources)


def energies(adata, *, shrink=True):
    """Return the mean energy distance of every baseline over held-out conditions, in PCs of training cells."""
    x, test = adata.X.toarray(), (adata.obs["split"] == "test").to_numpy()
    centred = x[~test] - x[~test].mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    screen = adata.uns["shoal"]
    keys = [screen["perturbation_key"], screen["context_key"]]
    name = adata.obs[keys].astype(str).agg(" | ".join, axis=1).to_numpy()
    found = {}
    for cls in CLASSES:
        model = cls(adata, shrink=shrink)
        model.train()
        rows, values, _ = model.twins(subset=test, rng=0)
        a, b = dense(values) @ axes[:N_COMPS].T, x[rows] @ axes[:N_COMPS].T
        own = [name[rows] == which for which in np.unique(name[rows])]
        found[cls] = float(np.mean([sh.metrics.energy_distance(a[at], b[at]) for at in own]))
    return found


@pytest.mark.slow
def test_a_held_out_cell_type_responds_as_those_with_like_controls(read_real):
    """Interferon β on seven types of immune cells, two of them held out."""
    adata = read_real("kang18_scgen_valid.h5ad")
    sh.pp.annotate(adata, "condition", control="control", context_key="cell_type")
    sh.pp.split(adata, by="context", test=["CD14+Mono", "CD8T"], rng=0)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_comps=8)
    found = energies(adata)
    for cls in (NearestContext, ContextWeighted, CellKnnShift):
        assert found[cls] < 0.6 * found[OwnShift]


@pytest.mark.slow
def test_contexts_that_resemble_one_another_alike_are_averaged(read_real):
    """Knock-outs on four days, some days held out, responses as measured: an amplitude helps, distance neither helps
    nor harms. Shrinkage by the noise helps all of them.
    """
    adata = read_real("renge23_hipsc_ko.h5ad")
    sh.pp.annotate(adata, "perturbation", control="control", context_key="day")
    sh.pp.prepare(adata, normalize="log1p", n_comps=8)
    tables, shrunk = [], []
    for seed in range(3):
        sh.pp.split(adata, by="perturbation_context", test=0.2, rng=seed, overwrite=True)
        tables.append(energies(adata, shrink=False))
        shrunk.append(energies(adata))
    mean = {cls: np.mean([table[cls] for table in tables]) for cls in CLASSES}
    assert mean[ScaledSources] < 0.95 * mean[OwnShift]
    assert mean[ContextWeighted] < 1.05 * mean[OwnShift]
    assert mean[CellKnnShift] < 1.1 * mean[OwnShift]
    assert mean[NearestContext] > mean[ContextWeighted], "one day is noisier than all"
    assert all(np.mean([table[cls] for table in shrunk]) < mean[cls] for cls in CLASSES)
