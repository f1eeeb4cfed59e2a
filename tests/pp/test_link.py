"""Graphs of perturbations from edges and from vectors, and vectors that are carried along them."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh


@pytest.fixture
def adata():
    made = sh.ds.simulate(n_perturbations=5, n_cells=10, n_control=20, n_genes=30, rng=0)
    sh.pp.annotate(made, "perturbation", control="control")
    return made


def edges_of(*rows):
    return pd.DataFrame(rows, columns=["source", "target", "weight"])


def edges(adata, key="network"):
    return adata.uns["perturbation_graphs"][key]


SOME = edges_of(("P1", "P2", 1.0), ("P2", "P1", 3.0), ("P2", "P3", 2.0), ("P4", "other", 1.0))


# -- graphs ----------------------------------------------------------------------------------------


def test_edges_between_perturbations_are_kept_once_and_the_isolated_are_named(adata, caplog):
    with caplog.at_level(logging.INFO, logger="shoal"):
        sh.pp.link(adata, source=SOME)
    assert edges(adata).to_numpy().tolist() == [["P1", "P2", 3.0], ["P2", "P3", 2.0]]
    assert "2 of 5 perturbations have no edge in the graph 'network'" in caplog.text
    assert "'P4', 'P5'" in caplog.text
    about = adata.uns["perturbation_graphs_info"]["table"].loc["network"]
    assert (about["n_edges"], about["n_linked"], about["n_isolated"]) == (2, 3, 2)


def test_a_graph_without_overlap_is_refused(adata):
    with pytest.raises(ValueError, match=r"no two of the 5 perturbations.*targets="):
        sh.pp.link(adata, source=edges_of(("A", "B", 1.0)))
    assert "perturbation_graphs" not in adata.uns


def test_bad_weights_are_refused(adata):
    with pytest.raises(ValueError, match="no finite 'weight'"):
        sh.pp.link(adata, source=edges_of(("P1", "P2", np.nan)))
    with pytest.raises(ValueError, match="1 of 1 edges have a weight below 0"):
        sh.pp.link(adata, source=edges_of(("P1", "P2", -1.0)))
    sh.pp.link(adata, source=edges_of(("P1", "P2", -2.0)), negative="absolute")
    assert edges(adata)["weight"].tolist() == [2.0]
    with pytest.raises(ValueError, match="either source="):
        sh.pp.link(adata)


def test_other_names_and_equal_targets(adata):
    targets = {"P1": "TP53", "P2": "TP53", "P3": "MYC"}
    sh.pp.link(adata, source=edges_of(("MYC", "TP53", 0.5), ("A", "B", 4.0)), targets=targets)
    assert edges(adata).to_numpy().tolist() == [
        ["P1", "P2", 4.0],
        ["P1", "P3", 0.5],
        ["P2", "P3", 0.5],
    ]


def test_members_of_a_set_are_linked_by_the_number_of_sets_that_they_share(adata):
    sets = {"one": ["P1", "P2", "P3"], "two": ["P1", "P2", "x"]}
    sh.pp.link(adata, source=sets)
    assert edges(adata).to_numpy().tolist() == [
        ["P1", "P2", 2.0],
        ["P1", "P3", 1.0],
        ["P2", "P3", 1.0],
    ]


def test_genes_of_a_set_that_the_screen_lacks_are_not_paired(adata):
    """A set of many genes costs what its genes of the screen cost, and not the square of all."""
    sets = {f"s{i}": ["P1", "P2", *(f"x{j}" for j in range(20_000))] for i in range(3)}
    sh.pp.link(adata, source=sets)
    assert edges(adata).to_numpy().tolist() == [["P1", "P2", 3.0]]


@pytest.mark.parametrize("source", [{"one": ["P1 ", " P2"]}, edges_of(("P1 ", " P2", 1.0))])
def test_names_are_read_without_blanks(adata, source):
    sh.pp.link(adata, source=source)
    assert edges(adata).to_numpy().tolist() == [["P1", "P2", 1.0]]


@pytest.mark.parametrize("column", ["score", "combined_score"])
def test_a_column_that_may_hold_weights_is_told_of(adata, column, caplog):
    sh.pp.link(adata, source=SOME.rename(columns={"weight": column}))
    assert edges(adata)["weight"].tolist() == [1.0, 1.0]
    assert f"all count the same: {column!r} is not read" in caplog.text
    caplog.clear()
    sh.pp.link(adata, source=SOME.assign(other=1), overwrite=True)
    assert "not read" not in caplog.text


@pytest.mark.parametrize("header", ["P1\tP2", "P2\tP3\t0.5"])
def test_a_file_of_edges_without_a_header_is_refused(adata, header, tmp_path):
    """Its first edge would be lost without a word."""
    rest = "\t0.5" * header.count("0.5")
    (tmp_path / "x.tsv").write_text(f"{header}\nP1\tP3{rest}\nP2\tP4{rest}\n")
    with pytest.raises(ValueError, match="no header: name the columns|name every column"):
        sh.pp.link(adata, source=tmp_path / "x.tsv")


def test_targets_of_nothing_are_told_of(adata, caplog):
    table = edges_of(("TP53", "MYC", 1.0))
    sh.pp.link(adata, source=table, targets={"P1": "TP53", "P2+control": "MYC", "P33": "MYC"})
    assert edges(adata).to_numpy().tolist() == [["P1", "P2", 1.0]]
    assert "1 of its 3 names are no perturbations here: 'P33'" in caplog.text
    caplog.clear()
    every = dict.fromkeys(["P1", "P2", "P3", "P4", "P5", "another"], "TP53") | {"P2": "MYC"}
    sh.pp.link(adata, source=table, targets=every, overwrite=True)
    assert "another" not in caplog.text, "a list for all screens is no mistake"


def test_nearest_vectors_are_linked_and_opposite_ones_are_not(adata):
    angle = {"P1": 0.0, "P2": 0.3, "P3": 2.0, "P4": 2.2, "P5": 4.0}
    vectors = {name: [np.cos(a), np.sin(a)] for name, a in angle.items()}
    sh.pp.embed(adata, method="table", source=vectors, key_added="mine")
    sh.pp.link(adata, embedding="mine", n_neighbors=1)
    found = edges(adata, "mine")
    assert found[["source", "target"]].to_numpy().tolist() == [["P1", "P2"], ["P3", "P4"]]
    np.testing.assert_allclose(found["weight"], np.cos([0.3, 0.2]), rtol=1e-5)


def test_a_graph_survives_a_file_and_is_replaced(adata, tmp_path):
    sh.pp.link(adata, source=SOME)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    assert edges(again).to_numpy().tolist() == edges(adata).to_numpy().tolist()
    sh.pp.link(again, source=SOME.iloc[:1])
    assert len(edges(again)) == 1
    again.uns["perturbation_graphs"]["mine"] = SOME
    with pytest.raises(ValueError, match="was not written by sh.pp.link"):
        sh.pp.link(again, source=SOME, key_added="mine")


# -- vectors along a graph -------------------------------------------------------------------------


def test_a_gene_without_a_vector_gets_the_mean_of_its_neighbours(adata):
    table = pd.DataFrame({"P1": [1.0, 0.0], "P3": [4.0, 6.0], "P4": [0.0, 1.0], "P5": [1.0, 1.0]}).T
    sh.pp.embed(adata, method="propagated", source=table, graph=SOME.iloc[1:], key_added="carried")
    found = adata.uns["perturbation_embeddings"]["carried"]
    np.testing.assert_allclose(found.loc["P2"], (3 * np.array([1, 0]) + 2 * np.array([4, 6])) / 5)
    np.testing.assert_allclose(found.loc["P4"], [0, 1])


def test_a_gene_beyond_the_graph_has_none_and_says_why(adata):
    table = pd.DataFrame({"P1": [1.0], "P3": [4.0]}).T
    with pytest.raises(ValueError, match=r"not in the source, and not in the graph: 'P5'"):
        sh.pp.embed(adata, method="propagated", source=table, graph=SOME)
    with pytest.raises(ValueError, match=r"no path of the graph leads to one .*'P4'"):
        sh.pp.embed(adata, method="propagated", source=table, graph=SOME)
    with pytest.raises(ValueError, match="needs graph="):
        sh.pp.embed(adata, method="propagated", source=table)
    with pytest.raises(ValueError, match="smoothing must be"):
        sh.pp.embed(adata, method="propagated", source=table, graph=SOME, smoothing=-1.0)


def test_names_of_the_screen_are_taken_and_what_has_seen_the_test_stays_so(adata):
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    sh.pp.embed(adata, method="effects", key_added="seen")
    sh.pp.link(adata, source=SOME)
    sh.pp.embed(
        adata, method="propagated", source="seen", graph="network", smoothing=1.0, key_added="own"
    )
    about = adata.uns["perturbation_embeddings_info"]["table"]
    assert about.loc["own", "transductive"]
    assert about.loc["own", "fitted_on"] == "all"
    one, two = (adata.uns["perturbation_embeddings"][n].to_numpy() for n in ("seen", "own"))
    assert np.linalg.norm(two[0] - two[1]) < np.linalg.norm(one[0] - one[1])
    sh.pp.link(adata, embedding="seen", n_neighbors=2)
    assert adata.uns["perturbation_graphs_info"]["table"].loc["seen", "transductive"]


def test_real_networks_are_read(adata, read_real, find_real):
    real = read_real("renge23_hipsc_ko.h5ad")
    sh.pp.annotate(real, "perturbation", control="control", context_key="day")
    path = find_real("networks/collectri_human.csv")
    with pytest.raises(ValueError, match="weight below 0"):
        sh.pp.link(real, source=path)
    sh.pp.link(real, source=path, negative="absolute", key_added="collectri")
    assert len(edges(real, "collectri")) > 5
