"""Gene sets from lists, mappings and GMT files."""

from __future__ import annotations

import pytest

from shoal.core._gene_sets import read_gene_sets


def test_forms(tmp_path):
    gmt = tmp_path / "x.gmt"
    gmt.write_text("UPR\tGO:1\tATF4\tXBP1\tATF4\n\nCYCLE\thttp://x\tMKI67\t\n")
    assert read_gene_sets(["b", "a", "b"]) == {"gene_set": ["b", "a"]}
    assert read_gene_sets({"x/y": ("a",), "one": "b"}) == {"x/y": ["a"], "one": ["b"]}
    assert (
        read_gene_sets(gmt)
        == read_gene_sets(str(gmt))
        == {"UPR": ["ATF4", "XBP1"], "CYCLE": ["MKI67"]}
    )


def test_refusals(tmp_path):
    gmt = tmp_path / "x.gmt"
    gmt.write_text("UPR\tGO:1\tATF4\nUPR\tGO:2\tXBP1\n")
    with pytest.raises(ValueError, match="two gene sets named 'UPR'"):
        read_gene_sets(gmt)
    with pytest.raises(
        FileNotFoundError, match=r"to score one gene, pass a list: gene_set=\['HSPA5'\]"
    ):
        read_gene_sets("HSPA5")
    with pytest.raises(ValueError, match=r"gene sets without genes: \['x'\]"):
        read_gene_sets({"x": [], "y": ["a"]})
    with pytest.raises(ValueError, match="holds no gene set"):
        read_gene_sets({})
