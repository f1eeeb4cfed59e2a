"""The page on reading runs as printed, on a small file of every origin, and its table is true."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import mudata
import numpy as np
import pytest

import shoal as sh
from shoal.io._forms import FORMS, PLAIN

from . import screens
from .test_open import write_10x

PAGE = Path(__file__).parents[2] / "docs" / "user_guide" / "reading.md"
BLOCK = re.compile(r"^( *)```python\n(.*?)^ *```$", flags=re.MULTILINE | re.DOTALL)
N = 30


def renamed(adata, **names):
    adata.obs = adata.obs.rename(columns=names)
    return adata


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write the files that the page names into the folder of the test."""
    monkeypatch.chdir(tmp_path)
    plain = renamed(screens.state(N), target_gene="gene_target", cell_line="lane")
    plain.obs["gene_target"] = plain.obs["gene_target"].replace(
        {"non-targeting": "NT", "G2": "safe"}
    )
    plain.write_h5ad("screen.h5ad")
    screens.gears(N).write_h5ad("perturb_processed.h5ad")
    screens.scperturb(N).write_h5ad("NormanWeissman2019_filtered.h5ad")
    for name, rng in (("real", 0), ("pred", 1)):
        adata = screens.state(N, rng)
        del adata.obs["cell_line"]
        values = adata.X.toarray()
        adata.X = np.log1p(values / values.sum(1, keepdims=True) * 40)
        adata.write_h5ad(f"adata_{name}.h5ad")
    big = screens.replogle(N)
    big.obs["gem_group"] = big.obs["gem_group"] * 2 + 1
    big.write_h5ad("K562_essential_raw_singlecell_01.h5ad")
    rna, gdo, calls = screens.tenx(n=N)
    write_10x("filtered_feature_bc_matrix.h5", rna, gdo)
    Path("crispr_analysis").mkdir()
    calls.to_csv("crispr_analysis/protospacer_calls_per_cell.csv")
    rna.obs = rna.obs.join(calls)
    mudata.MuData({"rna": rna, "CRISPR Guide Capture": gdo}).write_h5mu("crispr.h5mu")
    screens.mantispy(N).write_h5ad("profiles.h5ad")
    screens.tahoe(N).write_h5ad("plate3_filtered.h5ad")
    for name, rng in (("lane1", 0), ("lane2", 1)):
        screens.state(N, rng).write_h5ad(f"{name}.h5ad")
    mine = renamed(screens.cell_eval2(N), target="sgRNA_target")
    mine.obs["sgRNA_target"] = mine.obs["sgRNA_target"].replace({"non-targeting": "AAVS1"})
    mine.write_h5ad("mine.h5ad")


def blocks():
    """Return the code of every section, by its heading."""
    found = {}
    for section in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE):
        code = [
            re.sub(rf"^{one[0]}", "", one[1], flags=re.MULTILINE) for one in BLOCK.findall(section)
        ]
        found[section.splitlines()[0]] = "".join(code)
    return {heading: code for heading, code in found.items() if code}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # few cells, few genes
@pytest.mark.parametrize("heading", blocks())
def test_the_page_runs(files, heading):
    left = {"sh": sh}
    level = logging.root.level
    try:
        exec(compile(blocks()[heading], heading, "exec"), left)
    finally:
        logging.root.setLevel(level)
    adata = left.get("adata", left.get("real"))
    assert "shoal" in adata.uns
    if "coherence(" in blocks()[heading]:
        table = adata.uns["coherence"]["table"]
        assert np.isfinite(table["coherence"]).sum() >= 2
    if heading.startswith("Coming from State"):
        assert isinstance(adata.uns["evaluation"]["params"]["verdict"], str)


def test_the_table_is_what_the_code_knows():
    text = PAGE.read_text(encoding="utf-8").split("## What is recognised")[1].split("\nA file")[0]
    rows = [re.split(r"(?<!\\)\|", line) for line in text.splitlines() if line.startswith("| [")]
    shown = {re.search(r"\[(.*?)\]", row[1])[1]: row for row in rows}
    assert list(shown) == [form.title for form in (*FORMS, PLAIN)]
    for form in FORMS:
        row = shown[form.title]
        if form.name != "10x":
            assert f"`{form.perturbation[0]}`" in row[2]
        assert any(label in row[3].casefold() for label in form.control)
        known = {*form.context, *form.batch, *form.dose, *form.guide}
        assert set(re.findall(r"`(.*?)`", row[5])) <= known
