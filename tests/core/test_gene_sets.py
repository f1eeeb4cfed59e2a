"""Gene sets from lists, mappings and GMT files."""

from __future__ import annotations

import numpy as np
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
    with pytest.raises(ValueError, match="two gene sets named 'UPR'; rename"):
        read_gene_sets(gmt)
    with pytest.raises(
        FileNotFoundError, match=r"to score one gene, pass a list: gene_set=\['HSPA5'\]"
    ):
        read_gene_sets("HSPA5")
    with pytest.raises(ValueError, match=r"gene sets without genes: \['x'\]"):
        read_gene_sets({"x": [], "y": ["a"]})
    with pytest.raises(ValueError, match="holds no gene set"):
        read_gene_sets({})


@pytest.mark.parametrize(
    ("sets", "error", "words"),
    [
        ({"a": ["G1", np.nan]}, ValueError, "'a' holds missing names"),
        ({"a": ["G1", None]}, TypeError, "gene set 'a' must be a text or a list of texts"),
        (["G1", "  "], ValueError, "holds missing names"),
        ({"a": 7}, TypeError, "gene set 'a' must be"),
        (7, TypeError, "must be a text or a list of texts"),
        ({}, ValueError, "no gene set"),
        ({"a": []}, ValueError, "gene sets without genes"),
    ],
)
def test_missing_names_are_refused(sets, error, words):
    with pytest.raises(error, match=words):
        read_gene_sets(sets)


def test_a_gmt_file_that_is_no_text(tmp_path):
    (tmp_path / "a.gmt").write_bytes(b"\xff\xfe\x00s\x00e\x00t\x80")
    with pytest.raises(ValueError, match=r"a.gmt cannot be read as a GMT file"):
        read_gene_sets(tmp_path / "a.gmt")
