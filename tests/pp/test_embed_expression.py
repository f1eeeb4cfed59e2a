"""Vectors from the screen itself: against dense algebra, and blind to held-out cells."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import shoal as sh
from shoal.core._screen import labels, resolve
from shoal.pp import _embed_expression

from ..helpers import dense


@pytest.fixture
def adata(rng):
    """Log-normal values of 8 correlated genes: 90 controls and A, B, C, A+B, D+E in two batches that differ."""
    label = np.repeat(["control", "A", "B", "C", "A+B", "D+E"], [90, 40, 30, 20, 30, 10])
    x = np.abs(rng.normal(size=(len(label), 8)) @ rng.normal(size=(8, 8)))
    batch = np.arange(len(label)) % 2
    for i, name in enumerate("ABC"):
        x[:, i] += 2 * np.char.find(label, name).clip(-1, 0) + 2
    x += 3 * batch[:, None]
    x[:, 7] = 1.0
    obs = pd.DataFrame(
        {"p": label, "batch": batch.astype(str)}, index=[f"cell{i}" for i in range(len(label))]
    )
    adata = ad.AnnData(sparse.csr_matrix(x), obs=obs)
    adata.var_names = [*"ABCDEF", "G", "H"]
    sh.pp.annotate(adata, "p", control="control", batch_key="batch", sep="+")
    return adata


def embedded(adata, method, **options):
    sh.pp.embed(adata, method=method, **options)
    key = options.get("key_added", method)
    return adata.uns["perturbation_embeddings"][key], adata.uns["perturbation_embeddings_info"][
        "table"
    ].loc[key]


def centred(adata, cells):
    values = pd.DataFrame(adata.X.toarray()[cells])
    return (
        values - values.groupby(adata.obs["batch"].to_numpy()[cells]).transform("mean")
    ).to_numpy()


def test_coexpression_is_the_correlation_within_strata(adata):
    table, row = embedded(adata, "coexpression", names=["F", "G"])
    residual = centred(adata, (adata.obs["p"] == "control").to_numpy())[:, :7]
    expected = np.corrcoef(residual.T)
    assert list(table.index) == list("ABCDEFG")
    np.testing.assert_allclose(table.to_numpy() @ table.to_numpy().T, expected, atol=1e-5)
    values = np.sort(np.linalg.eigvalsh(expected))[::-1]
    np.testing.assert_allclose((table**2).sum(), values, rtol=1e-4)
    assert row[["fitted_on", "n_fit", "transductive"]].to_list() == ["control", 90, False]

    two, _ = embedded(adata, "coexpression", names=["F", "G"], n_comps=2, key_added="two")
    np.testing.assert_allclose(two, table.iloc[:, :2], atol=1e-6)
    pooled, _ = embedded(adata, "coexpression", strata=None, key_added="pooled")
    assert (pooled["0"] > 0.5).all()  # the batches differ in all genes alike


def test_coexpression_in_many_genes_keeps_those_that_are_asked_for(adata, monkeypatch):
    whole, _ = embedded(adata, "coexpression")
    monkeypatch.setattr(_embed_expression, "MAX_GENES", 2)
    some, _ = embedded(adata, "coexpression", key_added="some")
    residual = centred(adata, (adata.obs["p"] == "control").to_numpy())
    used = np.union1d(np.argsort(-residual.var(axis=0))[:2], np.arange(5))
    assert some.shape == (5, len(used))
    assert len(used) < whole.shape[1]
    np.testing.assert_allclose(
        some.to_numpy() @ some.to_numpy().T, whole.to_numpy() @ whole.to_numpy().T, atol=1e-5
    )


def test_coexpression_names_what_it_lacks(adata):
    with pytest.raises(ValueError, match="2 of 7 perturbations") as err:
        sh.pp.embed(adata, method="coexpression", targets={"A": "H"}, names=["Y", "F"])
    assert "does not vary in control cells: 'A' (as 'H'); not in adata.var_names: 'Y'" in str(
        err.value
    )
    adata.var_names = [*"AACDEFGH"]
    with pytest.raises(ValueError, match="var_names are not unique"):
        sh.pp.embed(adata, method="coexpression")


def test_coexpression_in_controls_that_are_all_alike_says_so(adata):
    alike = adata.copy()
    rows = np.flatnonzero(labels(alike, resolve(alike)).is_control)
    values = dense(alike.X)
    values[rows] = values[rows[0]]
    alike.X = values
    with pytest.raises(ValueError, match="does not vary in control cells"):
        sh.pp.embed(alike, method="coexpression", missing="drop")


def test_effects_keep_the_inner_products_of_the_shifts(adata):
    with pytest.raises(
        ValueError, match="measured only in combinations: 'D', 'E'; not measured: 'Q'"
    ):
        sh.pp.embed(adata, method="effects", names="Q")
    table, row = embedded(adata, "effects", missing="drop")
    frame = pd.DataFrame(adata.X.toarray())
    by = [adata.obs["p"].to_numpy(), adata.obs["batch"].to_numpy()]
    means = frame.groupby(by).mean()
    expected = np.array(
        [
            np.average(
                [means.loc[(name, b)] - means.loc[("control", b)] for b in "01"],
                axis=0,
                weights=[((by[0] == name) & (by[1] == b)).sum() for b in "01"],
            )
            for name in "ABC"
        ]
    )
    assert list(table.index) == list("ABC")
    np.testing.assert_allclose(
        table.to_numpy() @ table.to_numpy().T, expected @ expected.T, rtol=1e-4, atol=1e-5
    )
    assert row[["fitted_on", "n_fit", "transductive"]].to_list() == ["all", 180, True]


@pytest.mark.parametrize("method", ["effects", "coexpression"])
def test_held_out_cells_are_not_looked_at(adata, method):
    held_out = (adata.obs["p"] == "C") | (adata.obs["p"] == "A+B") | (np.arange(adata.n_obs) < 9)
    adata.obs["split"] = pd.Categorical(
        np.where(held_out, "test", "train"), categories=["train", "val", "test"]
    )
    table, row = embedded(adata, method, missing="drop", key_added="before")
    other = adata.copy()
    values = other.X.toarray()
    values[held_out.to_numpy()] = values[held_out.to_numpy()][:, ::-1] / 2
    other.X = sparse.csr_matrix(values)
    again, _ = embedded(other, method, missing="drop", key_added="before")
    pd.testing.assert_frame_equal(table, again)
    assert not row["transductive"]
    if method == "effects":
        assert row["fitted_on"] == "train"
        assert list(table.index) == ["A", "B"]
        with pytest.raises(ValueError, match="not in the training cells: 'C'"):
            sh.pp.embed(adata, method=method)
    else:
        assert row["n_fit"] == 81


@pytest.mark.parametrize("method", ["effects", "coexpression"])
@pytest.mark.parametrize("kind", ["dense", "csc", "float32", "backed", "layer"])
def test_every_matrix_gives_the_same_vectors(adata, method, kind, tmp_path):
    expected, _ = embedded(adata, method, missing="drop")
    other = adata.copy()
    if kind == "dense":
        other.X = adata.X.toarray()
    elif kind == "csc":
        other.X = adata.X.tocsc()
    elif kind == "float32":
        other.X = adata.X.astype(np.float32)
    elif kind == "backed":
        other.write_h5ad(tmp_path / "x.h5ad")
        other = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    else:
        other.layers["log"], other.X = adata.X.copy(), None
    options = {"layer": "log"} if kind == "layer" else {}
    found, _ = embedded(other, method, missing="drop", **options)
    pd.testing.assert_frame_equal(found, expected, atol=1e-4)
    if kind == "backed":
        other.file.close()


@pytest.mark.parametrize("method", ["effects", "coexpression"])
def test_row_order_does_not_matter(adata, method, rng):
    expected, _ = embedded(adata, method, missing="drop")
    found, _ = embedded(adata[rng.permutation(adata.n_obs)].copy(), method, missing="drop")
    pd.testing.assert_frame_equal(found, expected, atol=1e-5)


@pytest.mark.parametrize("method", ["effects", "coexpression"])
def test_values_on_the_wrong_scale_are_refused(method):
    counts = sh.ds.simulate(n_perturbations=3, n_cells=20, n_control=50, n_genes=30, rng=0)
    with pytest.raises(ValueError, match=r"X holds whole numbers .* call sh\.pp\.prepare"):
        sh.pp.embed(counts, method=method, targets=None)
    counts.X = counts.X.toarray() / 3
    counts.X[0, 0] = np.nan
    with pytest.raises(ValueError, match="X holds NaN or infinite values in 1 of 110 cells"):
        sh.pp.embed(counts, method=method, missing="drop")


def test_too_few_controls(adata):
    few = adata[adata.obs["p"].ne("control") | (np.arange(adata.n_obs) < 4)].copy()
    with pytest.raises(ValueError, match="4 control cells in 2 strata are too few"):
        sh.pp.embed(few, method="coexpression")
    with pytest.raises(ValueError, match="need at least 5 control cells each"):
        sh.pp.embed(few, method="effects", missing="drop")
