"""The conditional map on real cells: a cell type, and doses, that it has not seen."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="networks need the extra `models`")

import shoal as sh
from shoal.metrics import energy_distance

from ...helpers import dense

pytestmark = pytest.mark.slow


def distances(adata, layers, *, control, least):
    """Return the mean energy distance of each layer, and of all controls, to the real cells of held-out perturbations."""

    def projected(values):  # the centre does not matter
        return np.asarray(values @ adata.varm["PCs"])

    begun = projected(adata[adata.obs["perturbation"] == control].X)
    held = adata.obs["split"] == "test"
    found = {name: [] for name in [*layers, "control"]}
    for name in adata.obs.loc[held, "perturbation"].unique():
        rows = (held & (adata.obs["perturbation"] == name)).to_numpy()
        if rows.sum() < least:
            continue
        real = projected(adata.X[rows])
        for layer in layers:
            found[layer].append(energy_distance(projected(adata.layers[layer][rows]), real))
        found["control"].append(energy_distance(begun, real))
    return {name: np.mean(values) for name, values in found.items()}


def test_kang_a_cell_type_that_was_not_stimulated(read_real):
    adata = read_real("kang18_scgen_valid.h5ad")
    adata.obs["perturbation"] = adata.obs["condition"]
    sh.pp.annotate(adata, "perturbation", control="control", context_key="cell_type")
    sh.pp.split(adata, by="context", test=["CD4T", "FCGR3A+Mono"])
    sh.pp.prepare(adata, normalize="log1p", fit_on="train", n_top_genes=1000, cross_fit=0)
    plan = {"max_steps": 400, "response_share": 1}  # all cells respond: no trial
    for name, options in {"mean_shift": {}, "conditional_monge": plan}.items():
        sh.tl.predict(
            adata, sh.tl.fit(adata, name, rng=0, **options), key_added=name, subset="test", rng=0
        )
    found = distances(adata, ["mean_shift", "conditional_monge"], control="control", least=20)
    assert found["conditional_monge"] < 0.6 * found["mean_shift"] < found["control"]
    rows = (adata.obs["split"] == "test").to_numpy()
    real, made = (
        (x[rows] == 0).mean() for x in map(dense, (adata.X, adata.layers["conditional_monge"]))
    )
    assert made == pytest.approx(real, abs=0.05)  # without `match_zero_fraction` it is off by .2


def test_bbbc021_doses_between_and_beyond_those_measured(read_real):
    adata = read_real("bbbc021_profiles_dose.h5ad")
    adata.obs["perturbation"] = adata.obs["compound"].astype(str)
    sh.pp.annotate(
        adata, "perturbation", control="DMSO", dose_key="concentration_uM", batch_key="plate"
    )
    sh.pp.split(adata, by="dose", test=0.4, rng=0)
    sh.pp.prepare(adata, normalize=None, fit_on="train", n_top_genes=None, cross_fit=0)
    plan = {"max_steps": 300, "response_share": 1}
    for name, options in {"mean_shift": {}, "conditional_monge": plan}.items():
        sh.tl.predict(
            adata, sh.tl.fit(adata, name, rng=0, **options), key_added=name, subset="test", rng=0
        )
    found = distances(adata, ["mean_shift", "conditional_monge"], control="DMSO", least=6)
    assert found["conditional_monge"] < 0.5 * found["mean_shift"] < found["control"]
