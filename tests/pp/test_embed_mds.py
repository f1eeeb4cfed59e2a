"""Places of populations: distances against the metric itself, scaling against scikit-learn, blind to held-out cells."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import shoal as sh
from shoal.core._results import write_table
from shoal.metrics import energy_distance
from shoal.pp import _embed_cells
from shoal.pp._embed_mds import between, root_energies, scaled, to_unit

SHIFTS = {"control": 0.0, "A": 3.0, "B": 3.1, "C": -3.0, "D": 0.0, "A+B": 5.0}


@pytest.fixture
def adata(rng):
    """Six components in two batches that are far apart; A is like B, C is their opposite, D spreads and does not move."""
    label = np.repeat(list(SHIFTS), [60, 30, 40, 30, 40, 20])
    x = rng.normal(size=(len(label), 6))
    x[:, 0] += [SHIFTS[name] for name in label]
    x[label == "D"] *= 2.5
    batch = np.arange(len(label)) % 2
    x += 50.0 * batch[:, None]
    obs = pd.DataFrame(
        {"p": label, "batch": batch.astype(str)}, index=[f"cell{i}" for i in range(len(label))]
    )
    adata = ad.AnnData(np.zeros((len(label), 3)), obs=obs, obsm={"X_pca": x})
    sh.pp.annotate(adata, "p", control="control", batch_key="batch")
    fitted(adata, "control")
    return adata


def fitted(adata, on):
    """Record on which cells the PCA was fitted, as pp.prepare does."""
    variance = pd.DataFrame({"variance": [1.0]})
    write_table(adata, "pca", variance, schema="pca/1", params={"fit_on": on, "n_fit": 60})
    adata.uns["pca"]["variance"] = np.ones(6)


def split(adata, held_out):
    adata.obs["split"] = pd.Categorical(np.where(adata.obs["p"].isin(held_out), "test", "train"))


def embedded(adata, **options):
    sh.pp.embed(adata, method="mds", **options)
    return adata.uns["perturbation_embeddings"]["mds"], adata.uns["perturbation_embeddings_info"][
        "table"
    ].loc["mds"]


def test_distances_are_roots_of_energy_distances(rng):
    several = [rng.normal(loc=i / 3, size=(n, 4)) for i, n in enumerate((5, 2, 9))]
    found = root_energies(np.concatenate(several), np.array([5, 2, 9]))
    expected = [[0 if x is y else max(energy_distance(x, y), 0) for x in several] for y in several]
    np.testing.assert_allclose(found**2, expected, atol=1e-10)


def test_points_come_back_where_they_lie(rng):
    points = rng.normal(size=(9, 3))
    np.testing.assert_allclose(between(scaled(between(points), 8)), between(points), atol=1e-6)
    assert scaled(between(points), 8).shape == (9, 3)


def test_the_stress_is_no_larger_than_that_of_scikit_learn(rng):
    from sklearn.manifold import smacof

    distances = between(rng.normal(size=(12, 6)))
    ours = ((between(scaled(distances, 2)) - distances) ** 2).sum() / 2
    starts = [rng.normal(size=(12, 2)) for _ in range(10)]
    theirs = [
        smacof(distances, n_components=2, init=start, n_init=1, normalized_stress=False)[1]
        for start in starts
    ]
    classical = np.linalg.eigh(-0.5 * (np.eye(12) - 1 / 12) @ distances**2 @ (np.eye(12) - 1 / 12))
    first = classical[1][:, -2:] * np.sqrt(classical[0][-2:])
    assert ours < 0.9 * ((between(first) - distances) ** 2).sum() / 2
    assert ours <= 1.02 * np.median(theirs)


def test_one_factor_for_all_columns():
    np.testing.assert_allclose(
        to_unit(np.array([[1.0, 5.0], [3.0, 6.0]])), [[0.0, 0.0], [1.0, 0.5]]
    )


def test_like_perturbations_are_near_and_batches_do_not_matter(adata):
    table, row = embedded(adata)
    assert list(table.index) == list("ABCD")
    assert table.to_numpy().min() == 0
    assert table.to_numpy().max() == pytest.approx(1)
    apart = pd.DataFrame(between(table.to_numpy(dtype=float)), table.index, table.index)
    assert apart.loc["A", "B"] < 0.3 * min(apart.loc["A", "D"], apart.loc["A", "C"])
    assert (
        apart.loc["D"].drop("D").min() > 0.3
    )  # the spread is seen, which a mean shift is blind to
    assert row[["fitted_on", "n_fit", "transductive", "n_dims"]].to_list() == ["all", 200, True, 3]
    pooled = adata[adata.obs["batch"] == "0"].copy()
    pooled.obsm["X_pca"] = pooled.obsm["X_pca"] + 7.0
    alone, _ = embedded(pooled, strata=None)
    np.testing.assert_allclose(between(alone.to_numpy(float)), apart, atol=0.15)


def test_held_out_cells_are_not_looked_at(adata):
    split(adata, ["C", "A+B"])
    table, row = embedded(adata, missing="drop", n_comps=2)
    assert list(table.index) == ["A", "B", "D"]
    assert row[["fitted_on", "transductive", "n_fit"]].to_list() == ["train", False, 170]
    adata.obsm["X_pca"][adata.obs["split"] == "test"] *= -9
    again, _ = embedded(adata, missing="drop", n_comps=2)
    pd.testing.assert_frame_equal(table, again)
    with pytest.raises(ValueError, match="by method='mds'; not in the training cells: 'C'"):
        embedded(adata)


@pytest.mark.parametrize(("on", "seen"), [("all", True), ("control", False), (None, True)])
def test_a_pca_that_has_seen_held_out_cells_is_passed_on(adata, on, seen):
    split(adata, ["C", "A+B"])
    fitted(adata, on) if on else adata.uns.pop("pca")
    _, row = embedded(adata, missing="drop")
    assert (row["fitted_on"], row["transductive"]) == ("all" if seen else "train", seen)


def test_many_cells_are_thinned_out_whatever_their_order(adata, rng, monkeypatch):
    monkeypatch.setattr(_embed_cells, "MOST_CELLS", 12)
    table, row = embedded(adata)
    assert row["n_fit"] == 60 + 4 * 12
    shuffled, _ = embedded(adata[rng.permutation(adata.n_obs)].copy())
    np.testing.assert_allclose(table, shuffled, atol=1e-5)


def test_bad_input(adata):
    one = adata[
        (adata.obs["p"] != "C") | (adata.obs_names == adata.obs_names[adata.obs["p"] == "C"][0])
    ].copy()
    with pytest.raises(ValueError, match="a single training cell: 'C'"):
        embedded(one)
    same = adata.copy()
    same.obsm["X_pca"][:] = 1.0
    with pytest.raises(
        ValueError, match="no distance between the 4 measured perturbations is above 0"
    ):
        embedded(same)
    adata.obsm["X_pca"][3, 0] = np.nan
    with pytest.raises(
        ValueError, match=r"obsm\['X_pca'\] holds NaN or infinite values in 1 cells"
    ):
        embedded(adata)
    del adata.obsm["X_pca"]
    with pytest.raises(
        ValueError, match=r"obsm\['X_pca'\], which is not there: call sh.pp.prepare"
    ):
        embedded(adata)
