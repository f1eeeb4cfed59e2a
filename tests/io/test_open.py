"""Files are opened by what they hold: h5ad, h5mu, zarr, 10x; in memory or on disk."""

from __future__ import annotations

import warnings

import h5py
import mudata
import numpy as np
import pytest
from scipy import sparse

import shoal as sh
from shoal.io._open import open_file

from . import screens


def dense(values):
    values = values[:] if not hasattr(values, "toarray") else values
    return values.toarray() if hasattr(values, "toarray") else np.asarray(values)


def write_10x(path, rna, gdo):
    """Write the h5 of Cell Ranger: cells by genes and guides in one matrix, by features."""
    values = np.hstack([rna.X.toarray(), gdo.X.toarray()]).astype(np.int32)
    names = [*rna.var_names, *gdo.var_names]
    kinds = ["Gene Expression"] * rna.n_vars + ["CRISPR Guide Capture"] * gdo.n_vars
    stored = sparse.csc_matrix(values.T)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array(list(rna.obs_names), dtype="S")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(stored, name)
        group["shape"] = np.array(stored.shape)
        features = group.create_group("features")
        features["id"] = np.array([f"id_{name}" for name in names], dtype="S")
        features["name"] = np.array(names, dtype="S")
        features["feature_type"] = np.array(kinds, dtype="S")
        features["genome"] = np.array(["GRCh38"] * len(names), dtype="S")
        target = [""] * rna.n_vars + list(gdo.var["target_gene_name"])
        features["target_gene_name"] = np.array(target, dtype="S")


@pytest.fixture
def state():
    """A screen of log-normalised values."""
    adata = screens.state()
    values = adata.X.toarray()
    adata.X = sparse.csr_matrix(np.log1p(values / values.sum(1, keepdims=True) * 40))
    return adata


@pytest.mark.parametrize("backed", [False, True])
@pytest.mark.parametrize("kind", ["h5ad", "zarr", "dense zarr", "h5mu", "zarr of a MuData"])
def test_every_container_gives_the_same_screen(tmp_path, state, kind, backed):
    if kind == "dense zarr":
        state.X = state.X.toarray()
    path, before = tmp_path / "file", dense(state.X)
    if kind == "h5ad":
        state.write_h5ad(path)
    elif kind.endswith("zarr"):
        state.write_zarr(path)
    else:
        both = mudata.MuData({"rna": state, "adt": screens.proteins(state)})
        (both.write_h5mu if kind == "h5mu" else both.write_zarr)(path)
    if kind == "zarr of a MuData" and backed:
        with pytest.raises(ValueError, match="cannot stay on disk"):
            sh.io.read(path, backed=True)
        return
    adata = sh.io.read(path, backed=backed)
    np.testing.assert_array_equal(dense(adata.X), before)
    assert adata.uns["shoal"]["batch_key"] == "gem_group"
    in_memory = isinstance(adata.X, np.ndarray) or type(adata.X).__module__.startswith("scipy")
    assert in_memory != backed
    if backed:  # what is on disk can be measured
        sh.pp.prepare(adata, n_comps=4)
        assert adata.obsm["X_pca"].shape == (adata.n_obs, 4)


def test_backed_and_in_memory_measure_the_same(tmp_path, state):
    state.write_zarr(tmp_path / "a.zarr")
    both = [sh.io.read(tmp_path / "a.zarr", backed=backed) for backed in (False, True)]
    for adata in both:
        sh.pp.prepare(adata, n_comps=4)
    np.testing.assert_allclose(both[0].obsm["X_pca"], both[1].obsm["X_pca"], atol=1e-5)


def test_an_h5_of_10x_is_parted_into_genes_and_guides(tmp_path):
    rna, gdo, _ = screens.tenx()
    write_10x(tmp_path / "a.h5", rna, gdo)
    opened = open_file(tmp_path / "a.h5", mod=None, backed=False)
    np.testing.assert_array_equal(dense(opened.adata.X), rna.X.toarray())
    assert opened.guides == "CRISPR Guide Capture"
    guides = opened.others[opened.guides]
    assert list(guides.var["target_gene_name"]) == list(gdo.var["target_gene_name"])
    with pytest.raises(ValueError, match="cannot stay on disk"):
        open_file(tmp_path / "a.h5", mod=None, backed=True)


def test_names_twice_are_told_once_and_by_us(tmp_path):
    adata = screens.scperturb()
    adata.write_h5ad(tmp_path / "a.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sh.io.read(tmp_path / "a.h5ad").var_names.is_unique


def test_the_modality_with_the_genes_is_asked_for(tmp_path, state):
    one, two = state, screens.proteins(state)
    mudata.MuData({"one": one, "two": two}).write_h5mu(tmp_path / "a.h5mu")
    with pytest.raises(ValueError, match=r"the modalities 'one', 'two': say which .* with mod="):
        sh.io.read(tmp_path / "a.h5mu")
    assert sh.io.read(tmp_path / "a.h5mu", mod="two").n_vars == 2
    with pytest.raises(KeyError, match="'three' is not in"):
        sh.io.read(tmp_path / "a.h5mu", mod="three")


def test_the_columns_of_a_mudata_are_there_for_its_genes(tmp_path):
    rna = screens.state()
    target = rna.obs.pop("target_gene")
    whole = mudata.MuData({"rna": rna, "adt": screens.proteins(rna)})
    whole.obs["target_gene"] = target
    whole.write_h5mu(tmp_path / "a.h5mu")
    assert list(sh.io.read(tmp_path / "a.h5mu").obs["target_gene"]) == list(target)


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("a.h5ad", None, FileNotFoundError, "no such file"),
        ("a.csv", b"a,b\n1,2\n", ValueError, "make an h5ad of it first, with scanpy.read_csv"),
        ("a.rds", b"x", ValueError, "zellkonverter"),
    ],
)
def test_what_is_no_such_file(tmp_path, name, content, error, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=said):
        sh.io.read(tmp_path / name)


def test_folders_and_other_stores(tmp_path):
    (tmp_path / "mtx").mkdir()
    (tmp_path / "mtx" / "matrix.mtx.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"is a folder of 10x: name the h5 beside it"):
        sh.io.read(tmp_path / "mtx")
    with pytest.raises(ValueError, match=r"it holds 'mtx'. Name one file"):
        sh.io.read(tmp_path)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["weights"] = [1.0]
    with pytest.raises(ValueError, match=r"holds no AnnData \(it has weights\)"):
        sh.io.read(tmp_path / "a.h5")
    import zarr

    zarr.open_group(tmp_path / "a.zarr", mode="w").create_group("weights")
    with pytest.raises(ValueError, match=r"zarr but holds no AnnData \(it has 'weights'\)"):
        sh.io.read(tmp_path / "a.zarr")
