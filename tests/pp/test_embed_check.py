"""pp.embed_check: what is compared, what is refused, and what is said and written."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.metrics._kernel_ridge import gaussian_width, scale_of
from shoal.metrics._vector_information import vector_information

N, GENES = 16, 30


def screen(rng, *, n=N, told=1.0):
    """A screen of log values whose shifts are `told` times linear in vectors, plus noise."""
    names = [f"Q{i:02d}" for i in range(n)]
    vectors = rng.normal(size=(n, 3))
    shifts = told * vectors @ rng.normal(size=(3, GENES)) + rng.normal(size=(n, GENES))
    label = np.repeat(["control", *names], [40, *[12] * n])
    values = 5 + 0.3 * rng.normal(size=(len(label), GENES))
    values[40:] += 0.2 * np.repeat(shifts, 12, axis=0)
    adata = ad.AnnData(np.maximum(values, 0).astype(np.float32))
    adata.obs["perturbation"] = label
    adata.var_names = [f"g{i}" for i in range(GENES)]
    sh.pp.annotate(adata, "perturbation", control="control")
    table = pd.DataFrame(vectors, index=names)
    sh.pp.embed(adata, method="table", source=table, key_added="told")
    noise = pd.DataFrame(rng.normal(size=(n, 5)), index=names)
    sh.pp.embed(adata, method="table", source=noise, key_added="noise")
    return adata


def checked(adata, **options):
    sh.pp.embed_check(adata, **{"n_perms": 99} | options)
    return adata.uns["embedding_check"]["table"]


def test_what_says_something_and_what_does_not(rng, caplog):
    caplog.set_level("INFO", "shoal")
    adata = screen(rng)
    table = checked(adata)
    assert list(table.index) == ["told", "noise"]
    assert table["informative"].tolist() == [True, False]
    assert table.loc["told", "error"] < 0.8 < table.loc["told", "error_permuted"]
    assert table["n_dims"].tolist() == [3, 5]
    assert (
        "'told' says which responses are alike (p = 0.01): over 16 perturbations, its"
        in caplog.text
    )
    assert "'noise' carries no information about which responses are alike" in caplog.text
    assert table.loc["noise", "says"] in caplog.text
    said = {record.message: record.levelname for record in caplog.records}
    assert [said[text] for text in table["says"]] == ["INFO", "WARNING"]
    assert adata.uns["embedding_check"]["params"]["fitted_on"] == "all"


def test_the_numbers_are_those_of_the_mean_shifts(rng):
    adata = screen(rng)
    means = adata.to_df().groupby(adata.obs["perturbation"], observed=True).mean()
    shifts = (means - means.loc["control"]).drop("control")
    vectors = adata.uns["perturbation_embeddings"]["told"].loc[shifts.index].to_numpy(float)
    squares = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    kernel = np.exp(-squares / (2 * gaussian_width(vectors) ** 2))
    draws = np.random.default_rng(0).spawn(1)[0]
    kernels = [kernel / scale_of(kernel)]
    expected = vector_information(kernels, shifts.to_numpy(), n_perms=99, rng=draws)
    found = checked(adata, embedding="told").loc["told"]
    assert found["error"] == pytest.approx(expected.error, rel=1e-4)
    assert found["pvalue"] == expected.pvalue


def test_only_training_cells_are_read(rng):
    adata = screen(rng)
    held = adata.obs["perturbation"].isin(["Q00", "Q01"]).to_numpy()
    adata.obs["split"] = np.where(held, "test", "train")
    before = checked(adata)
    assert before["n_perturbations"].tolist() == [14, 14]
    adata.X[held] = 9.0
    pd.testing.assert_frame_equal(checked(adata), before)
    assert adata.uns["embedding_check"]["params"]["fitted_on"] == "train"


def test_the_order_of_cells_does_not_matter(rng):
    adata = screen(rng)
    other = adata[rng.permutation(adata.n_obs)].copy()
    one, two = checked(adata), checked(other)
    np.testing.assert_allclose(one["error"], two["error"], rtol=1e-6)
    assert one["pvalue"].tolist() == two["pvalue"].tolist()


def test_target_genes_are_left_out(rng):
    adata = screen(rng, told=0.0)
    adata.var_names = [f"Q{i:02d}" for i in range(N)] + [f"g{i}" for i in range(N, GENES)]
    table = checked(adata, embedding="told")
    assert adata.uns["embedding_check"]["params"]["n_features"] == GENES - N
    own = adata.var_names.get_indexer(adata.obs["perturbation"])
    cells = np.flatnonzero(own >= 0)
    adata.X[cells, own[cells]] = 0.0  # the knock-out of each gene
    pd.testing.assert_frame_equal(checked(adata, embedding="told"), table)
    checked(adata, embedding="told", exclude=None)
    assert adata.uns["embedding_check"]["params"]["n_features"] == GENES
    only = adata[:, :N].copy()
    with pytest.raises(ValueError, match="all genes are targets of perturbations; keep them with"):
        checked(only)


def test_strata_contexts_and_representations(rng):
    adata = screen(rng)
    adata.obs["batch"] = np.where(np.arange(adata.n_obs) % 2 == 0, "a", "b")
    adata.X[(adata.obs["batch"] == "a").to_numpy()] += 3.0
    sh.pp.annotate(adata, "perturbation", control="control", batch_key="batch")
    assert checked(adata).loc["told", "pvalue"] == 0.01
    adata.obsm["X_pca"] = adata.X - adata.X.mean(axis=0)
    assert checked(adata, use_rep="X_pca").loc["told", "pvalue"] == 0.01
    assert checked(adata, kernel="linear").loc["told", "pvalue"] == 0.01


def test_joined_sources_are_weighed_in_every_permutation(rng):
    adata = screen(rng)
    sh.pp.embed(adata, method="joined", source=["noise", "told"], key_added="both")
    found = checked(adata, embedding="both").loc["both"]
    assert found["pvalue"] == 0.01
    shares = dict(part.split() for part in found["weights"].split(", "))
    assert float(shares["told"]) > float(shares["noise"])
    assert checked(adata, embedding=["told"])["weights"].tolist() == [""]


def test_what_was_made_from_responses_is_not_checked(rng):
    adata = screen(rng)
    sh.pp.embed(adata, method="effects", n_comps=3)
    sh.pp.embed(adata)
    assert list(checked(adata).index) == ["told", "noise"]
    with pytest.raises(ValueError, match="'effects' was made from the responses of this screen"):
        checked(adata, embedding=["told", "effects"])
    one_hot = checked(adata, embedding="one_hot").loc["one_hot"]
    assert (one_hot["pvalue"], one_hot["informative"]) == (1, False)


def test_bad_input_leaves_the_screen_as_it_was(rng):
    adata = screen(rng, n=4)
    before = list(adata.uns)
    for options, error, words in (
        ({}, ValueError, "4 single perturbations have both a vector in 'told' and cells, and a"),
        ({"embedding": "go"}, KeyError, "'go' is not in adata.uns"),
        ({"embedding": 3}, TypeError, "embedding must be a text"),
        ({"kernel": "cubic"}, ValueError, "kernel"),
        ({"n_perms": 9}, ValueError, "n_perms=9 cannot reach alpha=0.05; take 19 or more"),
        ({"alpha": 2}, ValueError, "alpha"),
        ({"exclude": ["g1"]}, ValueError, "exclude"),
        ({"layer": "none"}, KeyError, "none"),
        ({"key_added": "split"}, ValueError, "key_added"),
    ):
        with pytest.raises(error, match=words):
            checked(adata, **options)
        assert list(adata.uns) == before
    bare = adata.copy()
    del bare.uns["perturbation_embeddings"], bare.uns["perturbation_embeddings_info"]
    with pytest.raises(ValueError, match="there is no embedding to check"):
        checked(bare)
    for theirs in (7, "mine", ["a"], {"x": 1}, None):
        bare.uns["perturbation_embeddings"] = theirs
        with pytest.raises(ValueError, match="there is no embedding to check"):
            checked(bare)
    counts = adata.copy()
    counts.X = np.round(counts.X * 20)
    with pytest.raises(ValueError, match="X holds whole numbers"):
        checked(counts)
    for bad in (np.nan, np.inf):
        adata.uns["perturbation_embeddings"]["told"].iloc[0, 0] = bad
        with pytest.raises(ValueError, match="'told' holds a name twice, or values that are not"):
            checked(adata)


def test_few_perturbations_are_passed_over_where_all_are_checked(rng, caplog):
    caplog.set_level("INFO", "shoal")
    adata = screen(rng)
    few = {"Q00": [1.0], "Q01": [2.0]}
    sh.pp.embed(adata, method="table", source=few, missing="drop", key_added="few")
    assert list(checked(adata).index) == ["told", "noise"]
    assert "'few' is not checked: it has vectors of 2 perturbations" in caplog.text


def test_more_perturbations_than_are_compared(rng, monkeypatch, caplog):
    from shoal.pp import _embed_check

    caplog.set_level("INFO", "shoal")
    monkeypatch.setattr(_embed_check, "MOST", 8)
    assert checked(screen(rng))["n_perturbations"].tolist() == [8, 8]
    assert "8 of 16 perturbations are compared" in caplog.text


def test_it_survives_a_file(rng, tmp_path):
    adata = screen(rng)
    table = checked(adata)
    adata.write_h5ad(tmp_path / "x.h5ad")
    again = ad.read_h5ad(tmp_path / "x.h5ad").uns["embedding_check"]["table"]
    np.testing.assert_allclose(again["pvalue"], table["pvalue"])
    assert again["says"].tolist() == table["says"].tolist()


def test_perturbations_without_a_vector_are_left_out(rng):
    adata = screen(rng)
    some = adata.uns["perturbation_embeddings"]["told"].iloc[:10]
    sh.pp.embed(adata, method="table", source=some, missing="drop", key_added="some")
    assert checked(adata, embedding="some")["n_perturbations"].tolist() == [10]
    adata.obs["perturbation"] = adata.obs["perturbation"].replace("Q00", "Q01+Q02")
    sh.pp.annotate(adata, "perturbation", control="control", sep="+")
    assert checked(adata, embedding="some")["n_perturbations"].tolist() == [9]
