"""Names of genes in a source: symbols, Ensembl identifiers and replaced symbols find one another."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.pp._embed_names import OtherNames, second_names

IDS = {"KLF1": "ENSG00000105610", "SOX2": "ENSG00000181449", "MARCH8": "ENSG00000165406"}
VECTORS = {"KLF1": [1.0, 2.0], "SOX2": [3.0, 4.0], "MARCH8": [5.0, 6.0]}


def screen(names, var=None):
    n = 2 * len(names) + 2
    var = pd.DataFrame(index=["g"]) if var is None else var
    adata = ad.AnnData(np.zeros((n, len(var)), dtype=np.float32), var=var)
    adata.obs["perturbation"] = np.repeat(["control", *names], 2)
    sh.pp.annotate(adata, "perturbation", control="control")
    return adata


def embedded(adata, source, **options):
    sh.pp.embed(adata, method="table", source=source, **options)
    return adata.uns["perturbation_embeddings"]["table"]


def expected(names):
    return np.array([VECTORS[name] for name in names], dtype=np.float32)


BY_ID = {f"{IDS[name]}.{i + 3}": vector for i, (name, vector) in enumerate(VECTORS.items())}
VARS = {
    "ids are the names": pd.DataFrame({"gene_name": list(IDS)}, index=list(IDS.values())),
    "ids with versions": pd.DataFrame(
        {"gene_name": list(IDS)}, index=[f"{i}.12" for i in IDS.values()]
    ),
    "ids in a column": pd.DataFrame({"gene_ids": list(IDS.values())}, index=list(IDS)),
    "ids in any column": pd.DataFrame({"x": list(IDS.values()), "n": [1, 2, 3]}, index=list(IDS)),
}


@pytest.mark.parametrize("var", VARS)
def test_a_source_by_identifier_for_a_screen_by_symbol(var, caplog):
    caplog.set_level("INFO", "shoal")
    table = embedded(screen(sorted(VECTORS), VARS[var]), BY_ID)
    np.testing.assert_array_equal(table, expected(sorted(VECTORS)))
    told = [r.message for r in caplog.records if "names that are others in the source" in r.message]
    assert len(told) == 1
    assert "'KLF1' is 'ENSG00000105610.3'" in told[0]
    assert "adata.var" in told[0]


def test_a_screen_by_identifier_for_a_source_by_symbol():
    names = sorted(IDS.values())
    table = embedded(screen(names, VARS["ids are the names"]), VECTORS)
    symbols = {value: key for key, value in IDS.items()}
    np.testing.assert_array_equal(table, expected([symbols[name] for name in names]))


def test_versions_alone_differ():
    names = sorted(f"{value}.1" for value in IDS.values())
    symbols = {value: key for key, value in IDS.items()}
    table = embedded(screen(names), BY_ID)
    np.testing.assert_array_equal(table, expected([symbols[n.partition(".")[0]] for n in names]))


@pytest.mark.parametrize("column", ["symbol", "Gene_Name", "anything"])
def test_a_source_that_has_both(column, caplog):
    caplog.set_level("INFO", "shoal")
    rows = [[*VECTORS[name], name] for name in IDS]
    by_id = pd.DataFrame(rows, index=list(IDS.values()), columns=["a", "b", column])
    if column == "anything":  # then it must be the other way round
        by_id = by_id.assign(id=by_id.index).set_index(column).rename_axis(None)
        names = sorted(IDS.values())
        symbols = {value: key for key, value in IDS.items()}
        table = embedded(screen(names), by_id)
        np.testing.assert_array_equal(table, expected([symbols[name] for name in names]))
    else:
        np.testing.assert_array_equal(
            embedded(screen(sorted(IDS)), by_id), expected(sorted(VECTORS))
        )
    assert "by another column of the source" in caplog.text


@pytest.mark.parametrize(
    ("name", "called"),
    [("MARCH8", "MARCHF8"), ("SEPTIN2", "SEPT2"), ("KIAA1804", "MAP3K21"), ("CCN1", "CYR61")],
)
def test_replaced_symbols_are_found_both_ways_and_told(name, called, caplog):
    caplog.set_level("INFO", "shoal")
    for mine, theirs in ((name, called), (called, name)):
        caplog.clear()
        embedded(screen([mine]), {theirs: [1.0]})
        assert f"by former symbols: {mine!r} is {theirs!r}" in caplog.text


def test_the_own_name_comes_first(caplog):
    caplog.set_level("INFO", "shoal")
    table = embedded(screen(["MARCH8"]), {"MARCH8": [1.0], "MARCHF8": [2.0]})
    assert table.to_numpy().tolist() == [[1.0]]
    assert "others in the source" not in caplog.text


def test_several_rows_by_another_name_are_not_chosen_from():
    twice = {f"{IDS['KLF1']}.1": [1.0], f"{IDS['KLF1']}.2": [2.0]}
    with pytest.raises(
        ValueError, match=r"several of the source by adata.var_names and .*: 'KLF1'"
    ):
        embedded(screen(["KLF1"], VARS["ids in a column"]), twice)
    var = pd.DataFrame({"gene_name": ["KLF1", "KLF1"]}, index=[IDS["KLF1"], IDS["SOX2"]])
    with pytest.raises(ValueError, match="several of the source"):
        embedded(screen(["KLF1"], var), BY_ID)


def test_no_name_matched_says_that_the_kinds_of_name_differ():
    with pytest.raises(ValueError, match="2 of 2 perturbations have no vector") as err:
        embedded(screen(["KLF1", "SOX2"]), BY_ID)
    assert "the source has Ensembl identifiers ('ENSG00000105610.3'" in str(err.value)
    assert "and the screen symbols: give adata.var a column of Ensembl identifiers" in str(
        err.value
    )
    with pytest.raises(ValueError, match="the source has symbols .* and the screen Ensembl"):
        embedded(screen([IDS["KLF1"]]), VECTORS)


def test_annotations_networks_and_propagation_find_them_too(caplog):
    caplog.set_level("INFO", "shoal")
    adata = screen(sorted(IDS.values()), VARS["ids are the names"])
    sh.pp.embed(adata, method="annotations")
    assert "'ENSG00000105610' is 'KLF1'" in caplog.text
    edges = pd.DataFrame({"source": ["KLF1", "SOX2"], "target": ["SOX2", "MARCHF8"]})
    adata = screen(sorted(IDS))
    sh.pp.embed(adata, method="network", source=edges, n_comps=2)
    assert adata.uns["perturbation_embeddings"]["network"].shape == (3, 2)
    with pytest.raises(ValueError, match="not in the network: 'KLF5'"):
        sh.pp.embed(screen(["KLF1", "KLF5"]), method="network", source=edges, n_comps=2)


def test_edges_as_gears_writes_them(tmp_path):
    path = tmp_path / "go.csv"
    path.write_text(
        "source,target,importance\nKLF1,SOX2,0.9\nSOX2,MARCHF8,0.1\nKLF1,MARCHF8,0.3\nA,KLF1,0.5\n"
    )
    adata = screen(["KLF1", "MARCH8", "SOX2"])
    sh.pp.embed(adata, method="network", source=path, n_comps=2)
    by_importance = adata.uns["perturbation_embeddings"]["network"].copy()
    frame = pd.read_csv(path).rename(columns={"importance": "weight"})
    sh.pp.embed(adata, method="network", source=frame, n_comps=2)
    np.testing.assert_array_equal(by_importance, adata.uns["perturbation_embeddings"]["network"])
    sh.pp.embed(adata, method="network", source=frame.assign(weight=1.0), n_comps=2)
    assert not np.allclose(by_importance, adata.uns["perturbation_embeddings"]["network"])
    options = {"source": {"SOX2": [1.0, 0.0], "A": [0.0, 1.0]}, "graph": path}
    sh.pp.embed(adata, method="propagated", **options)
    assert len(adata.uns["perturbation_embeddings"]["propagated"]) == 3
    sh.pp.link(adata, source=path)
    edges = adata.uns["perturbation_graphs"]["network"]
    assert set(edges["source"]) | set(edges["target"]) == {"KLF1", "MARCH8", "SOX2"}
    assert sorted(edges["weight"]) == [0.1, 0.3, 0.9]


def test_an_end_that_is_itself_a_perturbation_keeps_its_name():
    edges = pd.DataFrame({"source": ["MARCHF8"], "target": ["KLF1"]})
    adata = screen(["KLF1", "MARCH8", "MARCHF8"])
    sh.pp.link(adata, source=edges)
    found = adata.uns["perturbation_graphs"]["network"]
    assert set(found["source"]) | set(found["target"]) == {"KLF1", "MARCHF8"}


def test_columns_of_other_names_are_not_numbers():
    frame = pd.DataFrame({"a": [1.0], "ens": ["ENSG00000105610.2"], "moa": ["x"]}, index=["KLF1"])
    kept, second = second_names(frame)
    assert list(kept.columns) == ["a", "moa"]
    assert second == {"ENSG00000105610": ["KLF1"]}


def test_a_screen_with_one_kind_of_names_has_no_others():
    assert OtherNames.in_screen(screen(["KLF1"])).of == {}
