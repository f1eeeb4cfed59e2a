"""Vectors of contexts: what they are made of, in which units, and what is refused."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.pp._context_plates import crossed_f, nested_f
from shoal.pp._context_request import Profiles, fitted, vectors_by
from shoal.pp._context_sources import matched

LINES = ["A549", "HeLa", "K-562", "U-2 OS"]


def screen_of(
    lines=LINES, *, per=30, n_genes=12, batches=1, nested=False, plate=0.0, line=2.0, seed=0
):
    """Return signed features: lines and plates shift all cells; one perturbation and controls."""
    rng = np.random.default_rng(seed)
    obs = pd.DataFrame(
        [
            (name, f"{name}_{b}" if nested else f"b{b}", p)
            for name in lines
            for b in range(batches)
            for p in ("control", "P1")
            for _ in range(per)
        ],
        columns=["line", "plate", "perturbation"],
    )
    shifts = {name: rng.normal(size=n_genes) * line for name in sorted(set(obs["line"]))}
    plates = {name: rng.normal(size=n_genes) * plate for name in sorted(set(obs["plate"]))}
    x = rng.normal(size=(len(obs), n_genes))
    x += np.array([shifts[name] for name in obs["line"]])
    x += np.array([plates[name] for name in obs["plate"]])
    adata = ad.AnnData(x.astype(np.float32), obs=obs.set_index(obs.index.astype(str)))
    keys = {"context_key": "line", "batch_key": "plate" if batches > 1 or nested else None}
    sh.pp.annotate(adata, "perturbation", control="control", **keys)
    return adata


def table_of(names, d=3, seed=1):
    values = np.random.default_rng(seed).normal(3.0, 5.0, size=(len(names), d))
    return pd.DataFrame(values, index=names)


def made(adata, key):
    return adata.uns["context_embeddings"][key]


# -- arithmetic ------------------------------------------------------------------------------------


def test_components_keep_the_distances_of_training_contexts_up_to_one_factor():
    values = table_of(["a", "b", "c", "d"], d=7)
    fit = fitted(Profiles(values, {}), ["a", "b", "c", "d"], 16)
    vectors = vectors_by(fit, Profiles(values, {})).to_numpy(dtype=float)
    assert vectors.shape == (4, 3)
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-6)
    assert (vectors**2).mean() == pytest.approx(1, rel=1e-5)
    own = values.to_numpy()
    ratio = [
        np.linalg.norm(vectors[i] - vectors[j]) / np.linalg.norm(own[i] - own[j])
        for i in range(4)
        for j in range(i)
    ]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


def test_columns_of_a_table_are_z_scores_of_training_contexts():
    adata = screen_of()
    adata.obs["split"] = np.where(adata.obs["line"] == "HeLa", "test", "train")
    adata.obs.loc[adata.obs["perturbation"] == "control", "split"] = "train"
    table = table_of(LINES)
    sh.pp.embed_contexts(adata, source=table)
    seen = table.drop("HeLa")
    expected = (table - seen.mean()) / seen.std(ddof=0)
    np.testing.assert_allclose(made(adata, "table").to_numpy(), expected, rtol=1e-5)
    about = adata.uns["context_embeddings_info"]["table"].loc["table"]
    assert about["trained"] == "A549, K-562, U-2 OS"
    assert about["fitted_on"] == "none"


def test_a_column_that_is_the_same_in_training_is_dropped(caplog):
    table = table_of(LINES).assign(same=1.0)
    with caplog.at_level(logging.INFO, logger="shoal"):
        sh.pp.embed_contexts(adata := screen_of(), source=table)
    assert made(adata, "table").shape == (4, 3)
    assert "1 of 4 columns do not vary" in caplog.text


# -- controls --------------------------------------------------------------------------------------


def test_own_controls_are_read_and_perturbed_cells_are_not():
    one, other = screen_of(), screen_of()
    other.X[(other.obs["perturbation"] == "P1").to_numpy()] += 100
    for adata in (one, other):
        sh.pp.embed_contexts(adata)
    pd.testing.assert_frame_equal(made(one, "controls"), made(other, "controls"))
    assert made(one, "controls").shape == (4, 3)
    about = one.uns["context_embeddings_info"]["table"].loc["controls"]
    assert (about["fitted_on"], about["n_fit"]) == ("control", 120)


def test_a_context_with_controls_alone_has_a_vector_but_no_part_in_the_axes():
    adata = screen_of()
    keep = (adata.obs["line"] != "HeLa") | (adata.obs["perturbation"] == "control")
    sh.pp.embed_contexts(adata := adata[keep.to_numpy()].copy())
    assert made(adata, "controls").shape == (4, 2)  # three contexts of training
    rest = made(adata, "controls").drop("HeLa").to_numpy(dtype=float)
    np.testing.assert_allclose(rest.mean(axis=0), 0, atol=1e-5)


def test_the_order_of_rows_does_not_matter():
    one = screen_of()
    other = one[np.random.default_rng(0).permutation(one.n_obs)].copy()
    for adata in (one, other):
        sh.pp.embed_contexts(adata)
    np.testing.assert_allclose(made(one, "controls"), made(other, "controls"), atol=1e-4)


def test_a_new_screen_is_embedded_like_an_old_one():
    whole = screen_of()
    old = whole[(whole.obs["line"] != "HeLa").to_numpy()].copy()
    new = whole[(whole.obs["line"] == "HeLa").to_numpy()].copy()
    sh.pp.embed_contexts(old)
    sh.pp.embed_contexts(new, like=old)
    keep = (whole.obs["line"] != "HeLa") | (whole.obs["perturbation"] == "control")
    sh.pp.embed_contexts(whole := whole[keep.to_numpy()].copy())
    np.testing.assert_allclose(
        made(new, "controls").loc["HeLa"], made(whole, "controls").loc["HeLa"], atol=1e-4
    )
    with pytest.raises(KeyError, match=r"'other' is not in like\.uns"):
        sh.pp.embed_contexts(new, like=old, key_added="other")


# -- names -----------------------------------------------------------------------------------------


def test_names_match_but_for_capitals_blanks_and_signs(caplog):
    bulk = ad.AnnData(np.random.default_rng(0).gamma(1.0, 50.0, size=(5, 9)).astype(np.float32))
    bulk.obs_names = ["a549", "HeLa", "K562", "U2OS", "MCF7"]
    with caplog.at_level(logging.INFO, logger="shoal"):
        sh.pp.embed_contexts(adata := screen_of(), source=bulk, names="MCF7")
    assert "'U-2 OS' is 'U2OS'" in caplog.text
    assert "share of a million" in caplog.text
    assert list(made(adata, "profiles").index) == ["A549", "HeLa", "K-562", "MCF7", "U-2 OS"]


def test_a_name_like_several_is_not_guessed():
    called, absent = matched(["K562"], ["K-562", "K 562"], {})
    assert not called
    assert "'K-562', 'K 562'" in absent["K562"]
    assert matched(["K562"], ["K-562", "K 562"], {"K562": "K 562"})[0] == {"K562": "K 562"}
    with pytest.raises(ValueError, match="'A' as 'nothing'"):
        matched(["A"], ["A"], {"A": "nothing"})


# -- what is refused -------------------------------------------------------------------------------


def test_a_line_without_vector_is_named_and_its_own_controls_are_offered():
    adata = screen_of()
    with pytest.raises(ValueError, match=r"1 of 4 contexts .*'HeLa'.*source='controls'"):
        sh.pp.embed_contexts(adata, source=table_of(LINES).drop("HeLa"))
    assert "context_embeddings" not in adata.uns
    sh.pp.embed_contexts(adata, source=table_of(LINES).drop("HeLa"), missing="drop")
    assert "HeLa" not in made(adata, "table").index
    with pytest.raises(ValueError, match="two contexts of training are needed"):
        sh.pp.embed_contexts(adata, source=table_of(["HeLa"]), missing="drop")


def test_names_that_stand_for_two_profiles_and_profiles_of_nothing(caplog):
    bulk = ad.AnnData(np.random.default_rng(0).gamma(1.0, 50.0, size=(5, 9)).astype(np.float32))
    bulk.obs_names = [*LINES, "HeLa"]
    with pytest.raises(ValueError, match=r"source.obs_names are not unique: .* 'HeLa' \(2 times"):
        sh.pp.embed_contexts(screen_of(), source=bulk)
    bulk = bulk[:4].copy()
    bulk.X[1] = 0
    with pytest.raises(ValueError, match="its vector is all zeros: 'HeLa'"):
        sh.pp.embed_contexts(screen_of(), source=bulk)
    sh.pp.embed_contexts(adata := screen_of(), source=bulk, missing="drop")
    assert "HeLa" not in made(adata, "profiles").index


def test_what_aliases_do_not_do_is_told(caplog):
    aliases = {"Hela": "A549", "U-2 OS": "A549"}
    sh.pp.embed_contexts(screen_of(), source=table_of(LINES), aliases=aliases)
    assert "aliases: 'Hela' is no context of the screen" in caplog.text
    assert "cannot be told apart by a model: 'A549' = 'U-2 OS'" in caplog.text


def test_one_line_in_training_teaches_nothing_about_lines():
    adata = screen_of()
    perturbed = adata.obs["perturbation"] != "control"
    alone = adata[(~perturbed | (adata.obs["line"] == "HeLa")).to_numpy()].copy()
    with pytest.raises(ValueError, match="only 'HeLa' has perturbed cells in training"):
        sh.pp.embed_contexts(alone)


def test_bad_values_and_equal_lines_are_refused():
    adata, table = screen_of(), table_of(LINES)
    with pytest.raises(ValueError, match="same values in all 3 columns"):
        sh.pp.embed_contexts(adata, source=table * 0 + 1)
    table.iloc[1, 1] = np.nan
    with pytest.raises(ValueError, match="missing or infinite"):
        sh.pp.embed_contexts(adata, source=table)
    with pytest.raises(ValueError, match="layer= and use_rep="):
        sh.pp.embed_contexts(adata, source=table_of(LINES), use_rep="X_pca")
    adata.uns["context_embeddings"] = {"table": table}
    with pytest.raises(ValueError, match="was not written by sh.pp.embed_contexts"):
        sh.pp.embed_contexts(adata, source=table_of(LINES))
    no_context = screen_of()
    sh.pp.annotate(no_context, "perturbation", control="control")
    with pytest.raises(ValueError, match="the screen has no contexts"):
        sh.pp.embed_contexts(no_context)


# -- plates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_f_is_about_one_where_contexts_do_not_differ(seed):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(24, 200))
    context, batch = np.repeat(np.arange(4), 6), np.tile(np.arange(6), 4)
    f, between, within = nested_f(means, context)
    assert (between, within) == (3, 20)
    assert f == pytest.approx(1, abs=0.25)
    f, between, within = crossed_f(means + rng.normal(size=(6, 200))[batch] * 9, context, batch)
    assert (between, within) == (3, 15)
    assert f == pytest.approx(1, abs=0.3)


def test_vectors_of_plates_are_warned_of():
    with pytest.warns(UserWarning, match="every context is on one batch"):
        sh.pp.embed_contexts(screen_of(nested=True))
    with pytest.warns(UserWarning, match="differ no more than those of batches"):
        sh.pp.embed_contexts(screen_of(nested=True, batches=4, line=0.0, plate=2.0))


@pytest.mark.filterwarnings("error")
def test_vectors_of_lines_are_not():
    sh.pp.embed_contexts(screen_of(nested=True, batches=4, line=4.0, plate=1.0))
    sh.pp.embed_contexts(screen_of(batches=3, line=1.0, plate=5.0))


# -- files and real data ---------------------------------------------------------------------------


LOOSELY = {"check_index_type": False, "check_column_type": False}  # pandas 3 reads text as str


def test_what_is_written_survives_a_file(tmp_path):
    adata = screen_of()
    sh.pp.embed_contexts(adata)
    sh.pp.embed_contexts(adata, source=table_of(LINES), key_added="mine")
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    for name in ("controls", "mine"):
        for slot in ("context_embeddings", "context_embedding_fits"):
            pd.testing.assert_frame_equal(
                again.uns[slot][name], adata.uns[slot][name], check_names=False, **LOOSELY
            )
    assert list(again.uns["context_embeddings_info"]["table"].index) == ["controls", "mine"]
    sh.pp.embed_contexts(again)  # its own record is known after reading
    pd.testing.assert_frame_equal(made(again, "controls"), made(adata, "controls"), **LOOSELY)


def test_the_transcriptomes_of_64_lines_know_two_of_twelve(read_real, caplog):
    adata = read_real("pca_density_12lines_standard.h5ad")
    bulk = read_real("hpa20_64lines_tpm.h5ad")
    sh.pp.annotate(adata, "perturbation", control="control", context_key="cell_line")
    with pytest.raises(ValueError, match="10 of 12 contexts have no vector"):
        sh.pp.embed_contexts(adata, source=bulk)
    with caplog.at_level(logging.INFO, logger="shoal"):
        sh.pp.embed_contexts(adata, source=bulk, missing="drop")
    assert "'U2-OS' is 'U-2 OS'" in caplog.text
    assert list(made(adata, "profiles").index) == ["SH-SY5Y", "U2-OS"]
    sh.pp.embed_contexts(adata)
    assert made(adata, "controls").shape == (12, 11)
