"""Bad input: a clear error or a documented result, and nothing half-written."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import shoal as sh


def call(adata, **kwargs):
    sh.tl.coherence(adata, **{"perturbation_key": "perturbation", "control": "control", **kwargs})
    return adata.uns["coherence"]["table"]


def refuses(adata, error, match, **kwargs):
    """The call raises, and adata is as it was."""
    slots, columns = set(adata.uns), list(adata.obs.columns)
    with pytest.raises(error, match=match):
        call(adata, **kwargs)
    assert set(adata.uns) == slots
    assert list(adata.obs.columns) == columns


def test_control_missing_or_misspelt(screen_adata):
    refuses(screen_adata, KeyError, "Did you mean 'control'", control="contrl")
    refuses(screen_adata, ValueError, "which label of 'perturbation' is the control", control=None)
    refuses(
        screen_adata,
        ValueError,
        "which column holds the perturbations",
        perturbation_key=None,
        control=None,
    )
    refuses(screen_adata, KeyError, "'pert' is not in adata.obs", perturbation_key="pert")


def test_stratum_without_controls(screen_adata):
    screen_adata.obs.loc[screen_adata.obs["perturbation"] == "control", "batch"] = "b0"
    refuses(screen_adata, ValueError, r"'b1' \(0 controls", strata="batch")


def test_nan_label(screen_adata):
    screen_adata.obs.loc["cell70", "perturbation"] = None
    refuses(screen_adata, ValueError, "1 of 155 cells have no label")
    sh.pp.annotate(screen_adata, "perturbation", control="control", missing="ignore")
    sh.tl.coherence(screen_adata)
    assert screen_adata.uns["coherence"]["table"].loc["A", "n_cells"] == 39
    assert np.isnan(screen_adata.obs.loc["cell70", "coherence"])


def test_nan_stratum(screen_adata):
    screen_adata.obs.loc["cell70", "batch"] = None
    refuses(screen_adata, ValueError, "1 cells have no value in", strata="batch")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_values_not_finite(screen_adata, value, make):
    x = screen_adata.X.copy()
    x[3, 2] = value
    screen_adata.X = make(x)
    match = r"NaN or infinite values in 1 of 155 cells, such as 'cell3'; drop or fill them"
    refuses(screen_adata, ValueError, match)
    sh.pp.annotate(screen_adata, "perturbation", control="control")
    with pytest.raises(ValueError, match="NaN or infinite .*'cell3'"):
        sh.tl.coherence_null(screen_adata, use_rep="X", n_cells=[10], n_draws=3)
    with pytest.raises(ValueError, match="NaN or infinite .*'cell3'"):
        sh.tl.retrieve(screen_adata, use_rep="X", n_perms=9)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_perturbations_of_few_cells(screen_adata, n):
    keep = (screen_adata.obs["perturbation"] != "B") | (np.arange(155) < 100 + n)
    table = call(screen_adata[keep.to_numpy()].copy())
    row = table.loc["B"]
    assert row["n_cells"] == n
    assert row["flags"] == "few_cells"
    assert np.isnan(row["pvalue"])
    assert np.isnan(row["kappa"]) == (n < 2)
    assert np.isnan(row["ci_low"]) == (n < 3)
    assert table.loc["A", "qvalue"] < 0.01


def test_all_zero_cells_are_measured_like_others(screen_adata):
    screen_adata.X[[0, 65]] = 0
    assert np.isfinite(call(screen_adata)["kappa"]).all()


def test_duplicate_obs_names(screen_adata):
    expected = call(screen_adata).copy()
    screen_adata.obs_names = ["same"] * screen_adata.n_obs
    np.testing.assert_allclose(call(screen_adata)["kappa"], expected["kappa"])


def test_integer_labels(screen_adata):
    screen_adata.obs["perturbation"] = screen_adata.obs["perturbation"].map(
        {"control": 0, "A": 1, "B": 2, "C+D": 3}
    )
    assert list(call(screen_adata, control=0).index) == ["1", "2", "3"]


def test_names_with_slash_and_plus(screen_adata, tmp_path):
    names = screen_adata.obs["perturbation"].replace({"A": "a/b", "B": "D+C"})
    screen_adata.obs["perturbation"] = names
    assert list(call(screen_adata).index) == [
        "D+C",
        "a/b",
    ]  # one perturbation, shown as most of its cells are labelled
    screen_adata.write_h5ad(tmp_path / "x.h5ad")


def test_view_is_copied_and_its_parent_untouched(screen_adata):
    view = screen_adata[:150]
    call(view)
    assert "coherence" in view.uns
    assert "coherence" not in screen_adata.uns


def test_raw_counts_are_refused(screen_adata):
    screen_adata.X = sparse.csr_matrix(np.round(np.abs(screen_adata.X) * 5))
    refuses(screen_adata, ValueError, "raw counts")


def test_more_dimensions_than_controls(rng, screen_adata):
    screen_adata.obsm["wide"] = rng.normal(size=(155, 200))
    table = call(screen_adata, use_rep="wide")
    assert np.isfinite(table["pvalue"]).all()
    refuses(
        screen_adata,
        ValueError,
        "whitening 200 dimensions needs at least 600",
        use_rep="wide",
        whiten=True,
    )


def test_dask_with_unknown_chunks(screen_adata):
    import dask.array as da

    expected = call(screen_adata).copy()
    x = da.from_array(screen_adata.X, chunks=(50, 12))
    screen_adata.obsm["lazy"] = screen_adata.X
    unknown = x[da.from_array(np.ones(155, dtype=bool), chunks=50)]
    from shoal.core._matrix import as_rows

    assert as_rows(unknown).shape == (155, 12)
    screen_adata.X = x
    np.testing.assert_allclose(call(screen_adata)["kappa"], expected["kappa"])


def test_arguments_out_of_range(screen_adata):
    refuses(screen_adata, ValueError, "null='exact' is not known", null="exact")
    refuses(screen_adata, ValueError, "level must be a number between", level=95)
    refuses(screen_adata, ValueError, "min_cells must be a whole number", min_cells=0)
    refuses(screen_adata, KeyError, "'X_umap' is not in adata.obsm", use_rep="X_umap")
    refuses(screen_adata, ValueError, "exclude each other", use_rep="X", layer="a")
    refuses(screen_adata, KeyError, "none of the genes in exclude", exclude=["nope"])
    refuses(screen_adata, KeyError, "'depth' is not in adata.obs", depth_key="depth")
    refuses(screen_adata, ValueError, "is not numeric", depth_key="batch")


def test_exclude_needs_genes(screen_adata):
    screen_adata.obsm["X_pca"] = screen_adata.X
    refuses(screen_adata, ValueError, "fit it without them", exclude=["gene1"], use_rep="X_pca")


def test_depth_not_positive(screen_adata):
    screen_adata.obs["umis"] = np.r_[0.0, np.arange(1, 155)]
    refuses(screen_adata, ValueError, "not positive or infinite for 1 cells", depth_key="umis")
    screen_adata.obs["umis"] = np.r_[np.inf, np.arange(1, 155)]
    refuses(screen_adata, ValueError, "not positive or infinite for 1 cells", depth_key="umis")


def test_depths_that_no_curve_can_be_fitted_to(screen_adata):
    obs = screen_adata.obs
    obs["umis"] = 5.0  # whose logarithm has a standard deviation that is not quite 0
    refuses(screen_adata, ValueError, "all controls have the same 'umis'", depth_key="umis")
    obs["umis"] = np.resize([100.0, 200.0, 300.0], len(obs))
    refuses(screen_adata, ValueError, "have 3 different depths, and 4 are needed", depth_key="umis")
    of_batch = obs["batch"].map({name: 10.0 + i for i, name in enumerate(obs["batch"].unique())})
    obs["umis"] = of_batch.astype(float)
    refuses(
        screen_adata, ValueError, "stratum 'b.' have 1 different", depth_key="umis", strata="batch"
    )


def test_a_stratum_named_twice_counts_once(screen_adata):
    once = call(screen_adata, strata="batch")
    assert call(screen_adata, strata=["batch", "batch"]).equals(once)
    keys = {"context_key": "batch", "batch_key": "batch"}
    sh.pp.annotate(screen_adata, "perturbation", control="control", **keys)
    assert call(screen_adata)["kappa"].equals(once["kappa"])
    sh.tl.distance(screen_adata, use_rep="X")


def test_mod_on_an_anndata(screen_adata):
    refuses(screen_adata, ValueError, "leave mod out", mod="rna")


@pytest.mark.parametrize("n_perms", [0, -3, 2.5, np.nan])
def test_numbers_of_permutations_that_make_no_sense(screen_adata, n_perms):
    refuses(screen_adata, ValueError, "n_perms must be a whole number", n_perms=n_perms)


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_matrix])
def test_permutations_do_not_depend_on_the_order_of_rows(screen_adata, rng, storage):
    """Nor does any other column of the table."""
    screen_adata.X = storage(screen_adata.X)
    options = {"null": "permutation", "n_perms": 99, "rng": 2, "strata": "batch"}
    expected = call(screen_adata, **options)
    shuffled = call(screen_adata[rng.permutation(screen_adata.n_obs)].copy(), **options)
    assert expected["pvalue"].tolist() == shuffled["pvalue"].tolist()
    assert expected["pvalue"].between(0.02, 1).any()
    np.testing.assert_allclose(expected["kappa"], shuffled["kappa"], rtol=1e-9)
