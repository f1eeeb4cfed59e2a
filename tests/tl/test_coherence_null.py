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


def guided(rng, **columns):
    guide = np.repeat([f"g{i}" for i in range(6)], 102)
    return controls_only(rng.normal(size=(612, 10)), guide=guide, **columns)


def test_recorded_guides_are_left_out_without_asking(rng):
    adata = guided(rng)
    rates(adata, n_cells=[20], n_draws=3)
    assert adata.uns["coherence_null"]["params"]["by"] == ""
    sh.pp.annotate(adata, "perturbation", control="control", guide_key="guide")
    found = rates(adata, n_cells=[20], n_draws=3)
    assert adata.uns["coherence_null"]["params"]["by"] == "guide"
    assert "left-out labels" in found.index.get_level_values("held_out")
    rates(adata, n_cells=[20], n_draws=3, by=None)
    assert adata.uns["coherence_null"]["params"]["by"] == ""
    adata.obs["guide"] = "one"
    rates(adata, n_cells=[20], n_draws=3)
    assert adata.uns["coherence_null"]["params"]["by"] == ""


@pytest.mark.parametrize("also", [[], ["half"]])
def test_labels_that_make_the_strata_are_refused(rng, also):
    """Without the label no control of its stratum is left: nothing could be drawn, and p was NaN."""
    adata = guided(rng, half=np.tile(["a", "b"], 306))
    with pytest.raises(ValueError, match=r"by='guide': no label can be left out.*strata=None"):
        rates(adata, by="guide", strata=["guide", *also], n_cells=[20], n_draws=3)
    assert "coherence_null" not in adata.uns
    adata.obs["guide"] = "one"
    with pytest.raises(ValueError, match="the controls have 1 label"):
        rates(adata, by="guide", n_cells=[20], n_draws=3)


def test_a_label_counts_the_cells_that_can_be_compared(rng):
    """Guide g0 is alone in one of two batches: only its cells in the other are measured."""
    adata = guided(rng)
    first = np.arange(612) < 40
    adata.obs["batch"] = np.where(first, "alone", "shared")
    rates(adata, by="guide", strata="batch", n_cells=[20], n_draws=3)
    table = adata.uns["coherence_null"]["table"].set_index("held_out")
    assert table.loc["g0", "n_cells"] == 62
    assert np.isfinite(table["pvalue"]).all()


def test_no_set_has_fewer_cells_than_its_size(rng):
    """Strata keep some controls of their own, so that fewer cells are free than it seems."""
    adata = guided(rng, tiny=[f"s{i}" for i in np.arange(612) // 6])
    adata.obs.loc[adata.obs["perturbation"] == "A", "tiny"] = "s0"
    with pytest.raises(ValueError, match="too few"):
        rates(adata, strata="tiny", n_cells=[300], n_draws=2)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"n_cells": []}, ValueError),
        ({"n_cells": [1]}, ValueError),
        ({"n_cells": [0]}, ValueError),
        ({"n_cells": [-5]}, ValueError),
        ({"n_cells": [30.5]}, ValueError),
        ({"n_cells": [np.nan]}, ValueError),
        ({"n_cells": ["30"]}, TypeError),
        ({"n_draws": 0}, ValueError),
        ({"n_draws": 2.5}, ValueError),
        ({"n_draws": "many"}, TypeError),
        ({"min_cells": -1}, ValueError),
    ],
)
def test_numbers_that_make_no_sense_are_refused(rng, arguments, error):
    adata = guided(rng)
    with pytest.raises(error, match=next(iter(arguments))):
        rates(adata, **arguments)
    assert "coherence_null" not in adata.uns


def test_order_of_rows_does_not_matter(rng):
    adata = guided(rng, batch=np.tile(["a", "b"], 306))
    options = {"n_cells": [20, 60], "n_draws": 5, "by": "guide", "strata": "batch", "rng": 3}
    shuffled = adata[rng.permutation(adata.n_obs)].copy()
    rates(adata, **options)
    rates(shuffled, **options)
    one, two = (a.uns["coherence_null"]["table"] for a in (adata, shuffled))
    pd.testing.assert_frame_equal(one, two, rtol=1e-9)


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


def test_labels_are_read_as_everywhere_else(rng):
    """Blanks at the ends make no further label, and blank text is none."""
    adata = controls_only(rng.normal(size=(312, 6)), guide=np.repeat(["g1", "g2 ", " g2", " "], 78))
    rates(adata, n_cells=[20], n_draws=3, by="guide")
    left = adata.uns["coherence_null"]["table"].query("held_out != 'random split'")
    assert dict(zip(left["held_out"], left["n_cells"], strict=True)) == {"g1": 78, "g2": 156}
