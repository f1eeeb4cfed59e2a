"""Several embeddings side by side."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh

NAMES = ["P1", "P2", "P3", "P4"]


@pytest.fixture
def adata(rng):
    adata = sh.ds.simulate(n_perturbations=4, n_cells=10, n_control=20, n_genes=20, rng=0)
    for name, size in (("a", 2), ("b", 3)):
        table = pd.DataFrame(rng.normal(size=(4, size)), index=NAMES)
        sh.pp.embed(adata, method="table", source=table, key_added=name)
    return adata


def stored(adata, key="joined"):
    return adata.uns["perturbation_embeddings"][key]


def info(adata, key="joined"):
    return adata.uns["perturbation_embeddings_info"]["table"].loc[key]


def test_each_source_has_the_same_spread(adata):
    sh.pp.embed(adata, method="joined", source=["a", "b"])
    table = stored(adata)
    assert list(table.columns) == ["a:0", "a:1", "b:0", "b:1", "b:2"]
    for name in ("a", "b"):
        part, own = table.filter(regex=f"^{name}:").to_numpy(), stored(adata, name).to_numpy()
        np.testing.assert_allclose(((part - part.mean(axis=0)) ** 2).sum(axis=1).mean(), 1, 1e-5)
        np.testing.assert_allclose(part / own, (part / own)[0, 0], rtol=1e-4)
    assert info(adata)[["method", "source"]].tolist() == ["joined", "a, b"]


def test_tables_and_files_by_name(adata, tmp_path):
    path = tmp_path / "b.csv"
    stored(adata, "b").to_csv(path)
    sh.pp.embed(adata, method="joined", source=["a", "b"])
    sources = {"a": "a", "b": path}
    sh.pp.embed(adata, method="joined", source=sources, key_added="again")
    np.testing.assert_allclose(stored(adata, "again"), stored(adata), rtol=1e-5)


def test_a_perturbation_needs_a_vector_in_each(adata):
    sources = {"a": "a", "few": {"P1": [1.0], "P2": [2.0], "P3": [0.0]}}
    with pytest.raises(ValueError, match="2 of 4 perturbations have no vector") as err:
        sh.pp.embed(adata, method="joined", source=sources)
    assert "'few': its vector is all zeros: 'P3'; 'few': not in the source: 'P4'" in str(err.value)
    sh.pp.embed(adata, method="joined", source=sources, missing="drop")
    assert list(stored(adata).index) == ["P1", "P2"]
    with pytest.raises(ValueError, match="4 of 4 perturbations have no vector"):
        sh.pp.embed(adata, method="joined", source=sources | {"c": {"P4": [1.0]}}, missing="drop")


def test_what_is_told_of_held_out_cells_is_told_of_all(adata):
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    sh.pp.embed(adata, method="effects", missing="drop")
    assert info(adata, "effects")["transductive"]
    sh.pp.embed(adata, method="joined", source=["a", "effects"], missing="drop")
    assert info(adata)["transductive"]
    assert info(adata)["fitted_on"] == "all"
    sh.pp.embed(adata, method="joined", source={"x": "a", "y": "effects"}, missing="drop")
    assert info(adata)["transductive"]
    sh.pp.embed(adata, method="joined", source=["a", "b"])
    assert not info(adata)["transductive"]
    assert info(adata)["fitted_on"] == "none"


def test_bad_sources(adata):
    before = list(adata.uns["perturbation_embeddings"])

    def joined(source, **options):
        sh.pp.embed(adata, method="joined", source=source, **options)

    with pytest.raises(ValueError, match=r"method='joined' needs source=: a list of embeddings"):
        joined(None)
    with pytest.raises(ValueError, match="joins two or more sources, and source= names 1"):
        joined(["a", "a"])
    with pytest.raises(KeyError, match="'go' is not in adata.uns"):
        joined(["a", "go"])
    with pytest.raises(TypeError, match="a list of embeddings of the screen.*; not str"):
        joined("a")
    with pytest.raises(TypeError, match="not DataFrame"):
        joined(stored(adata, "a"))
    with pytest.raises(ValueError, match="a name in source="):
        joined({"a/b": "a", "b": "b"})
    with pytest.raises(ValueError, match="has no use for targets="):
        joined(["a", "b"], targets={"P1": "x"})
    assert list(adata.uns["perturbation_embeddings"]) == before
    joined(["a", "b"])
    with pytest.raises(ValueError, match="'joined' is itself joined; name the embeddings"):
        joined(["a", "joined"])


LOOSE = {"check_column_type": False, "check_index_type": False}  # what pandas calls text


def test_it_survives_a_file(adata, tmp_path):
    sh.pp.embed(adata, method="joined", source=["a", "b"])
    adata.write_h5ad(tmp_path / "x.h5ad")
    again = ad.read_h5ad(tmp_path / "x.h5ad")
    pd.testing.assert_frame_equal(stored(again), stored(adata), **LOOSE)


def test_a_list_is_no_source_of_other_methods(adata):
    with pytest.raises(TypeError, match="source must be a DataFrame, a mapping .*, not list"):
        sh.pp.embed(adata, method="table", source=["a", "b"])
