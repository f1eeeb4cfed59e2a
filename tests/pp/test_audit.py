"""The audit: every leak is found, named, refused, and accepted only by name."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.core._screen import resolve
from shoal.pp._audit import CHECKS, audit, refuse


@pytest.fixture
def screen():
    """Simulated log-normalised screen: ten singles, three pairs, two batches, two contexts."""
    adata = sh.ds.simulate(
        n_perturbations=10,
        n_cells=20,
        n_control=60,
        n_genes=60,
        n_combinations=3,
        contexts=2,
        n_batches=3,
        rng=0,
    )
    sh.pp.annotate(
        adata,
        "perturbation",
        control="control",
        batch_key="batch",
        context_key="context",
        guide_key="guide",
    )
    sh.pp.prepare(adata, normalize="log1p", n_comps=5, n_top_genes=None)
    return adata


def status(adata, check, key="split"):
    return adata.uns[key]["table"].loc[check, "status"]


def by_hand(adata, side):
    """Audit a split that somebody wrote by hand."""
    adata.obs["hand"] = side
    return audit(adata, resolve(adata), "hand")


def test_every_check_is_recorded(screen):
    sh.pp.split(screen)
    table = screen.uns["split"]["table"]
    assert list(table.index) == list(CHECKS)
    assert list(table.columns) == ["status", "n", "detail"]
    assert set(table["status"]) <= {"ok", "by design", "not applicable"}
    assert table.loc["control_cells", "n"] == 60
    assert status(screen, "control_cells") == "by design"
    assert all(check.what and check.fix for check in CHECKS.values())


def test_what_split_writes_passes_again_after_a_file(screen, tmp_path):
    for by in ("perturbation", "combination", "context", "guide", "perturbation_context"):
        sh.pp.split(screen, by=by)
        screen.write_h5ad(tmp_path / "x.h5ad")
        back = ad.read_h5ad(tmp_path / "x.h5ad")
        again = audit(back, resolve(back))
        pd.testing.assert_frame_equal(again, screen.uns["split"]["table"], check_dtype=False)
        refuse(again, slot="obs['split']")


# -- splits made by hand -----------------------------------------------------------------------------------------------


def test_cells_divided_at_random(screen, rng):
    table = by_hand(screen, rng.choice(["train", "test"], screen.n_obs))
    assert table["status"][["same_condition", "shared_batches"]].tolist() == ["leak", "leak"]
    assert table.loc["same_condition", "n"] == 26  # 13 perturbations x 2 contexts
    with pytest.raises(
        ValueError,
        match=r"obs\['hand'\] leaks. same_condition: .*Fix: .*accept=\['same_condition', 'sh",
    ):
        refuse(table, slot="obs['hand']")


def test_a_replicate_held_out_is_no_pseudo_replicate(screen):
    table = by_hand(
        screen, np.where(screen.obs["batch"] == screen.obs["batch"].iloc[0], "test", "train")
    )
    assert table["status"][["same_condition", "shared_batches"]].tolist() == ["leak", "ok"]


def test_a_part_that_is_trained_on_in_a_combination(screen):
    pair = next(name for name in screen.obs["perturbation"].unique() if "+" in name)
    table = by_hand(
        screen, np.where(screen.obs["perturbation"] == pair.split("+")[0], "test", "train")
    )
    assert table.loc["held_out_part", "status"] == "leak"
    table = by_hand(screen, np.where(screen.obs["perturbation"] == pair, "test", "train"))
    assert table.loc["held_out_part", "status"] == "ok"
    assert table.loc["parts_seen", ["status", "n"]].tolist() == ["by design", 1]


def test_two_spellings_on_two_sides(screen):
    name = screen.obs["perturbation"].astype(str)
    pair = next(n for n in name.unique() if "+" in n)
    cells = np.flatnonzero(name == pair)[:5]
    name.iloc[cells] = "+".join(reversed(pair.split("+")))
    screen.obs["perturbation"] = name
    side = np.full(screen.n_obs, "train")
    side[cells] = "test"
    table = by_hand(screen, side)
    assert table["status"][["two_spellings", "same_condition"]].tolist() == ["leak", "leak"]
    assert pair in table.loc["two_spellings", "detail"]
    assert name.iloc[cells[0]] in table.loc["two_spellings", "detail"]


def test_a_split_changed_after_the_fact(screen):
    sh.pp.split(screen, by="guide")
    owner = screen.obs["perturbation"].iloc[-1]
    screen.obs.loc[screen.obs["perturbation"] == owner, "split"] = "test"
    table = audit(screen, resolve(screen))
    assert table.loc["unseen_perturbation", ["status", "n"]].tolist() == ["leak", 1]
    sh.pp.split(screen, by="combination")
    pair = screen.uns["split"]["units"].index[0]
    screen.obs.loc[screen.obs["perturbation"] == pair.split("+")[0], "split"] = np.nan
    table = audit(screen, resolve(screen))
    assert table.loc["parts_seen", ["status", "n"]].tolist() == ["leak", 1]


def test_columns_that_are_no_split(screen):
    with pytest.raises(KeyError, match=r"'split' is not in adata.obs.*sh.pp.split"):
        audit(screen, resolve(screen))
    with pytest.raises(
        ValueError, match="holds 'ood'; a cell is in 'train', 'val', 'test', or in none"
    ):
        by_hand(screen, np.where(screen.obs["batch"] == "batch1", "ood", "train"))
    screen.uns["hand"] = "somebody's note"
    with pytest.raises(ValueError, match="has 320 training and 0 held-out cells"):
        by_hand(screen, "train")


def test_held_out_contexts_without_controls(screen):
    screen.obs["context"] = screen.obs["context"].astype(str)
    assert (screen.obs["context"] == "context2").any()
    screen.obs.loc[(screen.obs["perturbation"] == "control"), "context"] = "context1"
    sh.pp.split(screen, by="context", test="context2")
    assert (
        "none in the held-out contexts context2"
        in screen.uns["split"]["table"].loc["control_cells", "detail"]
    )


# -- what was fitted on which cells ------------------------------------------------------------------------------------


def test_a_pca_of_all_cells_is_refused_or_accepted(screen):
    sh.pp.prepare(screen, fit_on="all", n_comps=5, n_top_genes=20)
    with pytest.raises(
        ValueError,
        match=r"pca_fit: the PCA: fitted on all cells, 20 held-out .*gene_selection: .*accept=",
    ):
        sh.pp.split(screen, test=["P01"], by="perturbation")
    assert "split" not in screen.obs
    sh.pp.split(screen, test=["P01"], accept=["pca_fit", "gene_selection"])
    assert (status(screen, "pca_fit"), status(screen, "gene_selection")) == ("accepted", "accepted")
    refuse(audit(screen, resolve(screen)), slot="obs['split']")  # what was accepted stays accepted


def test_a_pca_of_training_cells_goes_stale_with_the_split(screen, caplog):
    sh.pp.split(screen, n_folds=3, fold=0)
    sh.pp.prepare(screen, fit_on="train", n_comps=5)
    assert audit(screen, resolve(screen)).loc["pca_fit", "status"] == "ok"
    sh.pp.split(screen, n_folds=3, fold=0)
    assert status(screen, "pca_fit") == "ok"
    sh.pp.split(screen, n_folds=3, fold=1)
    assert status(screen, "pca_fit") == "stale"
    assert (
        "pca_fit: the PCA: fitted on the training cells of another split; call sh.pp.prepare"
        in caplog.text
    )
    table = audit(screen, resolve(screen))
    with pytest.raises(ValueError, match="fitted on the training cells of another split"):
        refuse(table, slot="obs['split']")
    refuse(table, slot="obs['split']", stale=False)
    sh.pp.split(screen, n_folds=3, fold=1)
    assert status(screen, "pca_fit") == "stale"
    sh.pp.split(screen, n_folds=3, fold=0)
    assert status(screen, "pca_fit") == "ok"  # back on the cells that it was fitted on
    sh.pp.split(screen, n_folds=3, fold=1)
    sh.pp.prepare(screen, fit_on="train", n_comps=5)
    assert audit(screen, resolve(screen)).loc["pca_fit", "status"] == "ok"


def test_a_pca_that_another_tool_made(screen):
    del screen.uns["pca"]
    with pytest.raises(ValueError, match="the PCA: nothing tells on which cells"):
        sh.pp.split(screen)
    del screen.obsm["X_pca"], screen.varm["PCs"]
    sh.pp.split(screen)
    assert status(screen, "pca_fit") == "not applicable"
    screen.var["highly_variable"] = np.arange(screen.n_vars) < 20
    with pytest.raises(
        ValueError, match=r"gene_selection: var\['highly_variable'\]: nothing tells"
    ):
        sh.pp.split(screen)


def embed(adata, fitted_on):
    vectors = pd.DataFrame({"0": [0.0, 1.0]}, index=["P01", "P02"])
    info = pd.DataFrame(
        {"fitted_on": [fitted_on], "transductive": [fitted_on == "all"]}, index=["mine"]
    )
    adata.uns["perturbation_embeddings"] = {"mine": vectors}
    adata.uns["perturbation_embeddings_info"] = {"table": info}


def test_embeddings(screen):
    screen.uns["perturbation_embeddings"] = {"bare": pd.DataFrame({"0": [1.0]}, index=["P01"])}
    sh.pp.split(screen)
    assert "nothing tells how bare" in screen.uns["split"]["table"].loc["embedding_fit", "detail"]
    for fitted_on in ("none", "control", "train"):
        embed(screen, fitted_on)
        sh.pp.split(screen)
        assert status(screen, "embedding_fit") == "ok"
    sh.pp.split(screen, rng=1)
    assert status(screen, "embedding_fit") == "stale"
    assert audit(screen, resolve(screen)).loc["embedding_fit", "status"] == "stale"
    embed(screen, "all")
    with pytest.raises(ValueError, match="embedding 'mine': fitted on all cells"):
        sh.pp.split(screen)


# -- identical cells ---------------------------------------------------------------------------------------------------


def test_copies_across_the_sides(screen):
    x = screen.X.tolil()
    a, b = (np.flatnonzero(screen.obs["perturbation"] == name)[:3] for name in ("P01", "P02"))
    x[a] = x[b]
    screen.X = x.tocsr()
    with pytest.raises(
        ValueError, match=f"identical_cells: .*as '{screen.obs_names[a[0]]}'.*accept="
    ):
        sh.pp.split(screen, test=["P01"], val=["P03"])
    sh.pp.split(screen, test=["P01"], accept="identical_cells")
    assert screen.uns["split"]["table"].loc["identical_cells", ["status", "n"]].tolist() == [
        "accepted",
        3,
    ]
    sh.pp.split(screen, test=["P01", "P02"])
    assert (
        "6 cells have an exact copy"
        in screen.uns["split"]["table"].loc["identical_cells", "detail"]
    )
    with pytest.raises(ValueError, match="identical_cells"):
        sh.pp.split(screen, test=["P01"], val=["P02"])


def test_no_values_to_compare(screen):
    bare = ad.AnnData(obs=screen.obs[["perturbation"]])
    sh.pp.split(bare, "perturbation", control="control")
    assert status(bare, "identical_cells") == "not applicable"
