"""The null check on simulated controls and on real ones."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh


def controls_only(x, **columns):
    """An AnnData of controls with one perturbed dozen, which the null check never touches."""
    label = np.r_[np.repeat("control", len(x) - 12), np.repeat("A", 12)]
    obs = pd.DataFrame({"perturbation": label, **columns}, index=[str(i) for i in range(len(x))])
    return ad.AnnData(x, obs=obs)


def rates(adata, **kwargs):
    sh.tl.coherence_null(adata, "perturbation", control="control", **kwargs)
    return adata.uns["coherence_null"]["rates"].set_index(["held_out", "n_cells", "alpha"])


def test_rates_are_nominal_and_seeded(rng):
    adata = controls_only(rng.gamma(1.0, 1.0, size=(800, 10)))
    found = rates(adata, n_cells=[50, 5000], n_draws=200, rng=1)
    assert 0.02 < found.loc[("random split", 50, 0.05), "rate"] < 0.09
    assert (found["ci_low"] <= found["rate"]).all()
    assert set(found.index.get_level_values("n_cells")) == {
        50
    }  # 5,000 is more than half the controls
    pd.testing.assert_frame_equal(found, rates(adata, n_cells=[50], n_draws=200, rng=1))


def test_a_label_with_an_effect_is_found(rng):
    x = rng.normal(size=(612, 10))
    x[:100] += 1.5
    adata = controls_only(x, guide=np.repeat([f"g{i}" for i in range(6)], 102))
    rates(adata, n_cells=[20], n_draws=5, by="guide")
    table = adata.uns["coherence_null"]["table"]
    left = table[table["held_out"] != "random split"].set_index("held_out")["pvalue"]
    assert left["g0"] < 1e-6
    assert len(left) == 6


def test_too_few_controls_is_an_error(rng):
    with pytest.raises(ValueError, match="too few for pseudo-perturbations"):
        rates(controls_only(rng.normal(size=(40, 4))), n_cells=[30])


@pytest.mark.parametrize("cell_type", ["CD4 T cells", "CD14+ Monocytes"])
@pytest.mark.slow
def test_real_controls_hold_the_level(read_real, cell_type):
    """Kang's eight donors of unstimulated cells, within a cell type: the one-sample form rejects up to 99 % here."""
    adata = read_real("kang18_ctrl_8donors_null.h5ad")
    adata = adata[(adata.obs["cell_type"] == cell_type).to_numpy()].copy()
    adata.obs["perturbation"] = np.where(np.arange(adata.n_obs) < 12, "A", "control")
    sh.pp.prepare(adata, "perturbation", control="control", normalize="log1p", n_comps=30)
    found = rates(adata, n_cells=[30, 100, 300], n_draws=200)
    assert found.xs(0.05, level="alpha")["rate"].between(0.01, 0.1).all()
