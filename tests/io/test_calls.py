"""Calls of guides, wherever 10x files keep them, and the genes that the guides target."""

from __future__ import annotations

import logging

import anndata as ad
import mudata
import pandas as pd
import pytest

import shoal as sh
from shoal.core._screen import labels, resolve

from . import screens
from .test_open import write_10x

N = 12


def kept(tmp_path, where, *, targets=True):
    """Write a MuData with the calls in one of its tables."""
    rna, gdo, calls = screens.tenx()
    if not targets:
        del gdo.var["target_gene_name"]
    if where == "rna":
        rna.obs = rna.obs.join(calls)
    elif where == "guides":
        gdo.obs = gdo.obs.join(calls)
    whole = mudata.MuData({"rna": rna, "CRISPR Guide Capture": gdo})
    if where == "whole":
        whole.obs = whole.obs.join(calls)
    whole.write_h5mu(tmp_path / "a.h5mu")
    return tmp_path / "a.h5mu"


def check(adata):
    """The calls are read as perturbations of genes, by their guides."""
    stored = adata.uns["shoal"]
    assert stored["perturbation_key"] == "guide_target"
    assert stored["guide_key"] == "feature_call"
    assert (stored["sep"], stored["missing"]) == ("|", "ignore")
    assert list(stored["control"]) == ["Non-Targeting"]
    found = labels(adata, resolve(adata))
    # two guides of one cell: two genes are a combination, a gene beside a control is the gene
    assert dict(zip(found.names, found.counts, strict=True)) == {"G1": N - 1, "G1|G2": 1, "G2": N}
    assert found.is_control.sum() == 2 * N
    assert (found.code == -1).sum() == 5


@pytest.mark.parametrize("where", ["rna", "whole", "guides"])
def test_calls_are_found_in_a_mudata(tmp_path, where, caplog):
    caplog.set_level(logging.INFO, logger="shoal")
    check(sh.io.read(kept(tmp_path, where)))
    said = [record.getMessage() for record in caplog.records]
    assert any("2 of 53 cells have several guides" in line for line in said)
    assert any("modalities 'CRISPR Guide Capture'" in line for line in said)


def test_calls_come_from_the_table_of_cell_ranger(tmp_path):
    rna, gdo, calls = screens.tenx()
    write_10x(tmp_path / "a.h5", rna, gdo)
    calls.to_csv(tmp_path / "calls.csv")
    check(sh.io.read(tmp_path / "a.h5", calls=tmp_path / "calls.csv"))


@pytest.mark.parametrize("change", ["windows", "mark of Excel", "old Mac"])
def test_lines_may_end_as_in_other_systems(tmp_path, change):
    rna, gdo, calls = screens.tenx()
    write_10x(tmp_path / "a.h5", rna, gdo)
    text = calls.to_csv().encode()
    text = {
        "windows": text.replace(b"\n", b"\r\n"),
        "mark of Excel": b"\xef\xbb\xbf" + text,
        "old Mac": text.replace(b"\n", b"\r"),
    }[change]
    (tmp_path / "calls.csv").write_bytes(text)
    calls.to_csv(tmp_path / "plain.csv")
    own, plain = (
        sh.io.read(tmp_path / "a.h5", calls=tmp_path / name, targets=screens.GUIDES)
        for name in ("calls.csv", "plain.csv")
    )
    assert own.obs.equals(plain.obs)


def test_calls_in_one_matrix_of_genes_and_guides(tmp_path):
    rna, gdo, calls = screens.tenx()
    rna.var["feature_types"], gdo.var["feature_types"] = "Gene Expression", "CRISPR Guide Capture"
    both = ad.concat([rna, gdo], axis=1, join="outer")
    both.obs = both.obs.join(calls)
    both.write_h5ad(tmp_path / "a.h5ad")
    check(sh.io.read(tmp_path / "a.h5ad"))
    with pytest.raises(ValueError, match="in one matrix; read it without backed="):
        sh.io.read(tmp_path / "a.h5ad", backed=True)


def test_targets_of_guides_may_be_given(tmp_path):
    path = kept(tmp_path, "rna", targets=False)
    check(sh.io.read(path, targets=screens.GUIDES))
    table = pd.DataFrame({"id": screens.GUIDES.keys(), "target_gene_name": screens.GUIDES.values()})
    table.to_csv(tmp_path / "feature_reference.csv", index=False)
    check(sh.io.read(path, targets=tmp_path / "feature_reference.csv"))
    with pytest.raises(ValueError, match=r"2 of 4 guides have no target, such as 'n1', 'n2'"):
        sh.io.read(path, targets={"g1": "G1", "g2": "G2"})


def test_guides_that_are_ignored_are_no_perturbation(tmp_path):
    path = kept(tmp_path, "rna", targets=False)
    adata = sh.io.read(path, targets={**screens.GUIDES, "g2": "Ignore"})
    found = labels(adata, resolve(adata))
    assert dict(zip(found.names, found.counts, strict=True)) == {"G1": N}
    assert (found.code == -1).sum() == 5 + N


def test_guides_alone_ask_for_their_controls(tmp_path):
    path = kept(tmp_path, "rna", targets=False)
    with pytest.raises(ValueError, match=r"10x CRISPR.*targets=\{guide: gene, ...\}"):
        sh.io.read(path)
    adata = sh.io.read(path, control=["n1", "n2"])
    assert adata.uns["shoal"]["perturbation_key"] == "feature_call"
    assert "guide_key" not in adata.uns["shoal"]
    found = labels(adata, resolve(adata))
    assert list(found.names) == ["g1", "g1|g2", "g2"]


def test_guides_may_be_the_perturbations_although_targets_are_known(tmp_path):
    adata = sh.io.read(kept(tmp_path, "rna"), "feature_call", control=["n1", "n2"])
    assert (adata.uns["shoal"]["sep"], adata.uns["shoal"]["missing"]) == ("|", "ignore")
    assert list(labels(adata, resolve(adata)).names) == ["g1", "g1|g2", "g2"]


def test_guides_that_were_not_called_say_what_is_needed(tmp_path):
    rna, gdo, _ = screens.tenx()
    write_10x(tmp_path / "a.h5", rna, gdo)
    with pytest.raises(ValueError, match=r"no calls of them: .*protospacer_calls_per_cell.csv"):
        sh.io.read(tmp_path / "a.h5")


def test_tables_that_do_not_fit(tmp_path):
    rna, gdo, calls = screens.tenx()
    write_10x(tmp_path / "a.h5", rna, gdo)
    path = tmp_path / "calls.csv"

    def read(match, error=ValueError, **more):
        with pytest.raises(error, match=match):
            sh.io.read(tmp_path / "a.h5", **{"calls": path, **more})

    read("no such file", FileNotFoundError)
    calls.rename(columns={"feature_call": "call"}).to_csv(path)
    read("calls= takes a table with 'cell_barcode' and 'feature_call'")
    calls.set_axis([f"X{i}" for i in range(len(calls))]).rename_axis("cell_barcode").to_csv(path)
    read(
        "calls of none of the 53 cells: its barcodes are 'X0', 'X1', those of the cells 'AACG000-1'"
    )
    pd.concat([calls, calls.head(1)]).to_csv(path)
    read("holds barcodes twice: 'AACG000-1'; keep one row a cell")
    calls.to_csv(path)
    read("feature reference with 'id' and 'target_gene_name'", targets=path)
    read("which targets= needs", calls=None, targets=screens.GUIDES)
    for content, match in {
        calls.to_csv().encode("utf-16"): "is no text in UTF-8",
        calls.to_csv(sep=";").encode(): "columns are joined by ';'; write it with ','",
        calls.to_csv().encode() + b"a,b,c,d,e,f\n": "cannot be read as a csv",
        b"": "cannot be read as a csv",
    }.items():
        path.write_bytes(content)
        read(match)
    with pytest.raises(ValueError, match="holds calls already"):
        sh.io.read(kept(tmp_path, "rna"), calls=path)
