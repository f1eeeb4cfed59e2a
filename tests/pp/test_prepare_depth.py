"""pp.prepare(depth_key=): a panel of genes is scaled by the depth of the whole transcriptome."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import shoal as sh

CALL = {"perturbation_key": "perturbation", "control": "control"}


def untouched(adata):
    layers = set(adata.layers) - {None}  # anndata 0.13 counts X as the layer None
    return not (
        set(adata.obsm) | set(adata.varm) | set(adata.uns) - {"log1p"} | set(adata.var) | layers
    )


def test_a_panel_is_scaled_by_the_depth_of_the_transcriptome(counts, rng):
    """A perturbation that doubles half of a panel is no deeper: the other half must not fall."""
    panel = counts.X.toarray()
    inside = (counts.obs["perturbation"] == "A").to_numpy()
    panel[np.ix_(inside, np.arange(30))] *= 8
    counts.X = sparse.csr_matrix(panel)
    counts.obs["umis"] = rng.integers(20_000, 40_000, 160)
    change = {}
    for depth_key in (None, "umis"):
        adata = counts.copy()
        sh.pp.prepare(adata, **CALL, normalize="log1p", depth_key=depth_key, n_comps=5)
        x = adata.X.toarray()[:, 30:]
        control = (adata.obs["perturbation"] == "control").to_numpy()
        change[depth_key] = x[inside].mean() - x[control].mean()
    assert change[None] < -0.3
    assert abs(change["umis"]) < 0.15
    expected = np.log1p(
        panel * np.median(adata.obs["umis"][control]) / adata.obs[["umis"]].to_numpy()
    )
    np.testing.assert_allclose(adata.X.toarray(), expected, rtol=1e-6)
    params = adata.uns["pca"]["params"]
    assert params["depth_key"] == "umis"
    assert params["target_sum"] == np.median(adata.obs["umis"][control])
    assert "total_counts" not in adata.obs


def test_the_target_is_the_depth_after_scaling(counts):
    counts.obs["umis"] = 1000.0
    sh.pp.prepare(counts, **CALL, normalize="log1p", depth_key="umis", target_sum=1e4, n_comps=5)
    linear = np.expm1(counts.X.toarray())
    np.testing.assert_allclose(linear, 10 * counts.layers["counts"].toarray(), rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (None, KeyError, "'umis' is not in adata.obs"),
        ([np.nan], ValueError, "1 of 160 cells have a depth of nan .* such as cell 'c0'"),
        ([0.0, -3.0], ValueError, "2 of 160 cells have a depth of 0"),
        ([np.inf], ValueError, "1 of 160 cells have a depth of inf"),
        ("deep", ValueError, "holds .* values, such as 'deep'; it must hold numbers"),
        (True, ValueError, "holds bool values"),
        ([3.0], ValueError, "1 of 160 cells have more counts in X .* in cell 'c0'"),
    ],
)
def test_a_column_that_is_no_depth_is_refused(counts, values, error, message):
    if isinstance(values, list):
        counts.obs["umis"] = np.r_[values, np.full(160 - len(values), 5e4)]
    elif values is not None:
        counts.obs["umis"] = values
    with pytest.raises(error, match=message):
        sh.pp.prepare(counts, **CALL, normalize="log1p", depth_key="umis")
    assert untouched(counts)


def test_a_depth_needs_counts_to_scale(logged):
    logged.obs["umis"] = 5e4
    with pytest.raises(ValueError, match="depth_key='umis' says how to normalise counts"):
        sh.pp.prepare(logged, **CALL, depth_key="umis")


def test_nullable_integers_are_a_depth(counts):
    counts.obs["umis"] = np.arange(10_000, 10_160)
    tables = []
    for dtype in ("int64", "Int64", "float32"):
        adata = counts.copy()
        adata.obs["umis"] = adata.obs["umis"].astype(dtype)
        sh.pp.prepare(adata, **CALL, normalize="log1p", depth_key="umis", n_comps=5)
        tables.append(adata.X.toarray())
    np.testing.assert_array_equal(tables[0], tables[1])
    np.testing.assert_array_equal(tables[0], tables[2])
