"""Vectors of genes that come with the package: what is stored, and who gets one."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import shoal as sh
from shoal.pp._embed_annotations import from_annotations, packed, unpacked


def screen(*names):
    adata = ad.AnnData(np.zeros((2 * len(names) + 2, 1), dtype=np.float32))
    adata.obs["perturbation"] = np.repeat(["control", *names], 2)
    sh.pp.annotate(adata, "perturbation", control="control", sep="+")
    return adata


def vectors(adata, **options):
    sh.pp.embed(adata, method="annotations", **options)
    return adata.uns["perturbation_embeddings"]["annotations"]


def cosine(table, a, b):
    a, b = table.loc[a], table.loc[b]
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_rounding_loses_no_more_than_half_a_step(rng):
    table = rng.normal(size=(50, 7)) * np.logspace(-2, 0, 50)[:, None]
    table[0] = [1, 0, 0, 0, 0, 0, 0]
    steps, levels = packed(table)
    again = unpacked(steps, levels)
    allowed = 0.5 * steps[:, None].astype(float) + np.abs(table) / 1024  # steps have 16 bits
    assert (np.abs(again - table) <= allowed).all()
    np.testing.assert_allclose(again[0], table[0], rtol=1e-3)
    assert again.any(axis=1).all()


def test_genes_of_one_pathway_are_alike():
    table = vectors(screen("IFNGR1+JAK2", "IFNGR2", "SOX2", "INS"))
    assert table.shape == (5, 128)
    assert cosine(table, "IFNGR1", "IFNGR2") > 0.5
    for other in ("SOX2", "INS"):
        assert cosine(table, "IFNGR1", other) < cosine(table, "IFNGR1", "JAK2")


def test_leading_dimensions(caplog):
    adata = screen("SOX2", "STAT1")
    whole = vectors(adata)
    few = vectors(adata, n_comps=10)
    np.testing.assert_array_equal(few, whole.iloc[:, :10])
    caplog.set_level("INFO", "shoal")
    assert vectors(adata, n_comps=500).shape == (2, 128)
    assert "the table of annotations has 128 dimensions, not n_comps=500" in caplog.text


def test_genes_without_annotation_are_named():
    adata = screen("SOX2", "Stat1", "nosuchgene")
    with pytest.raises(ValueError, match="2 of 3 perturbations have no vector") as err:
        vectors(adata)
    assert "not among the annotated human genes: 'Stat1', 'nosuchgene'" in str(err.value)
    assert "pass targets={'Stat1': 'STAT1'}" in str(err.value)
    assert "perturbation_embeddings" not in adata.uns
    assert list(vectors(adata, missing="drop").index) == ["SOX2"]
    table = vectors(adata, targets={"Stat1": "STAT1", "nosuchgene": "IRF1"})
    assert len(table) == 3
    with pytest.raises(ValueError, match="method='annotations' has no use for source="):
        vectors(adata, source={"SOX2": [1.0]})


def test_a_gene_of_later_dimensions_alone_is_no_vector_of_zeros():
    found = from_annotations(["SOX2", "STAT1"], n_comps=1)
    assert found.values.to_numpy().all()


def test_what_is_stored_is_small_and_says_whose_it_is():
    folder = files("shoal.pp") / "gene_annotations"
    assert len((folder / "go.npz").read_bytes()) < 2e6
    text = (folder / "SOURCE.md").read_text()
    assert "CC BY 4.0" in text
    assert "Gene Ontology Consortium" in text


def test_whose_they_are_is_recorded_with_the_vectors():
    adata = screen("SOX2", "STAT1")
    vectors(adata)
    row = adata.uns["perturbation_embeddings_info"]["table"].loc["annotations"]
    assert row["source"] == "Gene Ontology (CC BY 4.0), packaged with shoal"
    assert (row["fitted_on"], row["transductive"]) == ("none", False)


def test_the_licence_goes_into_the_package():
    root = Path(__file__).parents[2]
    with (root / "pyproject.toml").open("rb") as raw:
        project = tomllib.load(raw)["project"]
    assert "CC-BY-4.0" in project["license"]
    assert any("gene_annotations" in name for name in project["license-files"])
    assert all((root / name).is_file() for name in project["license-files"])


def test_stored_vectors_are_those_of_the_source(find_real):
    with np.load(find_real("go_svd_gene_embedding_128.npz"), allow_pickle=False) as held:
        genes, table = held["genes"], held["embedding"].astype(np.float64)
    found = from_annotations(list(genes), n_comps=128)
    assert set(found.values.index) == set(genes)
    again = found.values.loc[genes].to_numpy()
    gap = np.linalg.norm(again - table, axis=1) / np.linalg.norm(table, axis=1)
    assert gap.max() < 0.04
