"""Names of genes: targets by symbol, names that are not unique, and screens without targets."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.core._gene_names import are_ensembl, gene_names
from shoal.core._screen import Screen, resolve

TARGETS = ["KLF1", "STAT1", "HLA-DRA"]


def screen(names: str = "symbols", column: str = "gene_symbol"):
    """Return a small screen of three knock-outs; genes 0, 3 and 6 are their targets."""
    adata = sh.ds.simulate(n_genes=40, n_perturbations=3, n_cells=60, n_control=150, rng=0)
    adata.obs["perturbation"] = (
        adata.obs["perturbation"]
        .astype(str)
        .replace(dict(zip(["P1", "P2", "P3"], TARGETS, strict=True)))
    )
    symbols = np.array([f"GENE{i}" for i in range(adata.n_vars)], dtype=object)
    symbols[[0, 3, 6]] = TARGETS
    adata.var = pd.DataFrame(index=symbols.astype(str))
    if names != "symbols":
        adata.var[column] = symbols
        other = {"ensembl": "ENSG{:011d}", "numbers": "g{}"}[names]
        adata.var_names = [other.format(i) for i in range(adata.n_vars)]
    sh.pp.annotate(adata, "perturbation", control="control")
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    return adata


@pytest.fixture(scope="module", params=["ensembl", "numbers"])
def pair(request):
    """Return one screen with symbols as names and one with other names and a column of symbols."""
    return screen(), screen(request.param)


def test_targets_are_the_same_genes_whatever_the_genes_are_called(pair):
    tables = []
    for adata in pair:
        sh.tl.coherence(adata, use_rep="X", exclude="targets")
        tables.append(adata.uns["coherence"]["table"])
        left_out = adata.uns["coherence"]["params"]["exclude"].split(",")
        assert sorted(adata.var_names.get_indexer(left_out)) == [0, 3, 6]
    pd.testing.assert_frame_equal(*tables)


def test_names_that_are_symbols_in_part():
    """Some genes have a symbol as their name, others an identifier: the column knows all of them."""
    adata = screen("ensembl")
    names = np.array(adata.var_names, dtype=object)
    names[:20:2] = adata.var["gene_symbol"].to_numpy()[:20:2]  # so are targets 0 and 6, not 3
    adata.var_names = names
    genes = gene_names(adata, resolve(adata))
    assert genes.key == "gene_symbol"
    assert sorted(adata.var_names.get_indexer(genes.of(TARGETS))) == [0, 3, 6]
    del adata.var["gene_symbol"]
    assert len(gene_names(adata, resolve(adata)).of(TARGETS)) == 2


def test_prepare_leaves_targets_out_by_symbol(pair):
    used = []
    for adata in pair:
        copy = adata.copy()
        sh.pp.prepare(copy, exclude="targets", n_comps=5, n_top_genes=None)
        by_name = adata.copy()
        sh.pp.prepare(by_name, exclude=TARGETS, n_comps=5, n_top_genes=None)
        assert (copy.var["highly_variable"] == by_name.var["highly_variable"]).all()
        used.append(copy.var["highly_variable"].to_numpy())
    np.testing.assert_array_equal(*used)
    assert np.flatnonzero(~used[0]).tolist() == [0, 3, 6]


def test_evaluation_and_models_find_targets_by_symbol(pair):
    tables = []
    for adata in pair:
        copy = adata.copy()
        sh.pp.split(copy, test=["STAT1"], rng=0)
        sh.tl.predict(copy, sh.tl.fit(copy, "latent_linear"), key_added="p", subset="test")
        sh.tl.evaluate(copy, prediction="p", baselines=None, n_draws=1)
        tables.append(copy.uns["evaluation"]["table"])
    pd.testing.assert_frame_equal(*tables)


def test_gene_sets_and_coexpression_take_symbols(pair):
    answers, vectors = [], []
    for adata in pair:
        copy = adata.copy()
        sh.tl.coherence(copy)
        scores = sh.tl._signature.gene_set_shift(
            copy,
            *_plan(copy),
            pd.Index(TARGETS),
            {"set": ["STAT1", "GENE1", "GENE2"]},
            layer=None,
        )
        answers.append(scores.shift.to_numpy())
        sh.pp.embed(copy, method="coexpression", n_comps=3)
        vectors.append(copy.uns["perturbation_embeddings"]["coexpression"])
    np.testing.assert_allclose(*answers)
    pd.testing.assert_frame_equal(*vectors)


def _plan(adata):
    from shoal.core._design import make_plan
    from shoal.core._screen import labels

    found = resolve(adata)
    return make_plan(adata, labels(adata, found), strata=(), depth_key=None), found


def test_a_column_that_is_named_is_used_and_must_exist():
    adata = screen("numbers", column="my symbols")
    assert gene_names(adata, resolve(adata)).key is None, "the column has no usual name"
    with pytest.raises(KeyError, match="gene_key"):
        sh.pp.annotate(adata, "perturbation", control="control", gene_key="nothing")
    sh.pp.annotate(adata, "perturbation", control="control", gene_key="my symbols")
    assert gene_names(adata, resolve(adata)).of(["STAT1"]) == ["g3"]
    assert Screen.from_uns(adata.uns["shoal"]).gene_key == "my symbols"


def test_a_symbol_may_stand_for_several_genes_and_may_be_missing():
    adata = screen("ensembl")
    symbols = adata.var["gene_symbol"].astype(object)
    symbols.iloc[5], symbols.iloc[7] = "STAT1", np.nan
    adata.var["gene_symbol"] = symbols.astype("category")
    genes = gene_names(adata, resolve(adata))
    assert genes.of(["STAT1"]) == [adata.var_names[3], adata.var_names[5]]
    assert genes.symbols[7] == adata.var_names[7]
    assert genes.of([adata.var_names[9]]) == [adata.var_names[9]], "a name is known beside a symbol"


def test_targets_that_were_asked_for_and_are_not_there_are_an_error():
    adata = screen()
    adata.var_names = [f"x{i}" for i in range(adata.n_vars)]
    for call in (
        lambda: sh.tl.coherence(adata, use_rep="X", exclude="targets"),
        lambda: sh.pp.prepare(adata, exclude="targets"),
    ):
        with pytest.raises(ValueError, match=r"no gene to leave out.*gene_key"):
            call()
    with pytest.raises(KeyError, match="none of the genes"):
        sh.tl.coherence(adata, use_rep="X", exclude=["STAT1"])


def test_a_gene_within_a_label_is_named():
    """As in labels of knock-outs, guides and promoters."""
    adata = screen()
    longer = {"KLF1": "sgKLF1_KO", "STAT1": "STAT1_P1P2", "HLA-DRA": "HLA-DRA KD"}
    adata.obs["longer"] = adata.obs["perturbation"].astype(str).replace(longer)
    sh.pp.annotate(adata, "longer", control="control", overwrite=True)
    with pytest.raises(ValueError, match=r"\('HLA-DRA KD' holds 'HLA-DRA'\): annotate a column"):
        sh.tl.coherence(adata, use_rep="X", exclude="targets")
    with pytest.raises(ValueError, match="3 of 3 perturbations have no vector") as err:
        sh.pp.embed(adata, method="coexpression", n_comps=2)
    targets = eval(str(err.value).split("pass targets=")[1].split("}")[0] + "}")
    assert targets == {label: gene for gene, label in longer.items()}
    sh.pp.embed(adata, method="coexpression", n_comps=2, targets=targets)


def test_an_evaluation_without_targets_says_so(caplog):
    adata = screen()
    adata.var_names = [f"x{i}" for i in range(adata.n_vars)]
    sh.pp.split(adata, test=["STAT1"], rng=0)
    sh.tl.predict(adata, sh.tl.fit(adata, "mean_shift"), key_added="p", subset="test")
    with caplog.at_level(logging.WARNING, logger="shoal"):
        sh.tl.evaluate(adata, prediction="p", baselines=None, n_draws=1)
    said = [
        r.getMessage()
        for r in caplog.records
        if "leave out the genes that are perturbed" in r.getMessage()
    ]
    assert len(said) == 1
    assert "gene_key" in said[0]


def test_names_that_are_not_unique_are_refused_by_every_function_before_work():
    adata = screen()
    sh.pp.split(adata, test=["STAT1"], rng=0)
    model = sh.tl.fit(adata, "mean_shift")
    sh.tl.predict(adata, model, key_added="p", subset="test")
    names = adata.var_names.tolist()
    names[1] = names[0]
    adata.var_names = names
    calls = [
        lambda: sh.pp.annotate(adata, "perturbation", control="control"),
        lambda: sh.pp.prepare(adata),
        lambda: sh.pp.split(adata),
        lambda: sh.pp.embed(adata, method="coexpression"),
        lambda: sh.tl.coherence(adata),
        lambda: sh.tl.distance(adata),
        lambda: sh.tl.fit(adata, "mean_shift"),
        lambda: sh.tl.predict(adata, model, key_added="q"),
        lambda: model.predict("STAT1", adata=adata, n_cells=3),
        lambda: sh.tl.evaluate(adata, prediction="p"),
    ]
    for call in calls:
        with pytest.raises(
            ValueError, match=r"not unique.*'KLF1' \(2 times\).*var_names_make_uniq"
        ):
            call()


def test_ensembl_identifiers_are_recognised():
    assert are_ensembl(["ENSG00000141510", "ENSG00000141510.17", "ENSMUSG00000059552", "MT-CO1"])
    assert not are_ensembl(["TP53", "ENSA", "G1"])
    assert not are_ensembl([])
