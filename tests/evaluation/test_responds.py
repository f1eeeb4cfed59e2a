"""Whether anything responds: real screens do, and control cells that are dealt to perturbations do not."""

from __future__ import annotations

import numpy as np
import pytest

import shoal as sh
from shoal.core._population import population
from shoal.core._screen import resolve
from shoal.evaluation._responds import responses
from shoal.evaluation._task import evaluation_tasks


def task_of(adata, *, by="perturbation", seed=0, **keys):
    sh.pp.annotate(adata, "label", control="control", **keys)
    sh.pp.split(adata, by=by, test=0.5, rng=seed)
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", cross_fit=0, n_comps=5, overwrite=True)
    return evaluation_tasks(
        population(adata, resolve(adata)),
        split="test",
        halves=True,
        n_comps=5,
        min_cells=20,
        seed=seed,
    )[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "column", "control", "keys"),
    [
        ("norman19_perturbench.h5ad", "perturbation", "control", {}),
        ("renge23_hipsc_ko.h5ad", "perturbation", "control", {"context_key": "day"}),
        (
            "papalexi21_sceptre_lowmoi.h5ad",
            "perturbation",
            "non-targeting",
            {"batch_key": "bio_rep"},
        ),
    ],
)
def test_real_screens_respond(read_real, file, column, control, keys):
    adata = read_real(file)
    adata.obs["label"] = adata.obs[column].astype(str).replace({control: "control"})
    assert responses(task_of(adata, **keys)).anything


@pytest.mark.slow
def test_dealt_controls_do_not_respond(read_real):
    """Donors and cell types differ, and are not what is dealt."""
    adata = read_real("kang18_ctrl_8donors_null.h5ad")
    adata = adata[adata.obs["cell_type"] == "CD4 T cells", :200].copy()
    told = []
    for seed in range(8):
        one, rng = adata.copy(), np.random.default_rng(seed)
        names = np.array(["control", *(f"fake{i}" for i in range(12))])
        one.obs["label"] = rng.choice(names, one.n_obs, p=[0.4] + [0.05] * 12)
        told.append(responses(task_of(one, seed=seed, batch_key="donor")).anything)
    assert sum(told) <= 1
