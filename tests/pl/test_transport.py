"""Arrows from cells to where a model takes them."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import PathCollection
from matplotlib.quiver import Quiver
from scipy import sparse

import shoal as sh


@pytest.fixture(scope="module")
def _screen():
    adata = sh.ds.simulate(
        n_perturbations=3, n_cells=50, n_control=150, n_genes=60, contexts=2, effect_size=6.0, rng=0
    )
    sh.pp.annotate(adata, "perturbation", control="control", context_key="context")
    sh.pp.prepare(adata, normalize="log1p", n_comps=6)
    adata.X = adata.X.toarray()
    return adata


@pytest.fixture
def screen(_screen):
    return _screen.copy()


@pytest.fixture
def model(screen):
    return sh.tl.fit(screen, "mean_shift")


def controls(adata):
    return adata[adata.obs["perturbation"] == "control"].copy()


def arrows(ax):
    (found,) = [c for c in ax.collections if isinstance(c, Quiver)]
    return np.asarray(found.get_offsets()), np.column_stack([found.U, found.V])


def clouds(ax):
    found = [c for c in ax.collections if isinstance(c, PathCollection)]
    return {
        c.get_label().split(" ")[0]: np.asarray(c.get_offsets())
        for c in found
        if c.get_sizes()[0] > 0
    }


def projected(adata, values):
    return np.asarray(values @ adata.varm["PCs"].astype(float))


def test_arrows_lead_from_the_cells_to_their_images(screen, model):
    cells = controls(screen)
    made = model.transport(cells, "P1")
    ax = sh.pl.transport(screen, prediction=made, components=(1, 2), max_arrows=1000)
    start, shift = arrows(ax)
    before, after = projected(screen, cells.X), projected(screen, made.X)
    np.testing.assert_allclose(shift, (after - before)[:, :2], atol=1e-4)
    np.testing.assert_allclose(start, (before - before.mean(axis=0))[:, :2], atol=1e-4)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("PC1", "PC2")
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert labels == ["control (150)", "real (50)", "model (150)"]
    x, y = ax.get_xlim(), ax.get_ylim()
    assert (x[0] < (start + shift)[:, 0]).all()
    assert ((start + shift)[:, 0] < x[1]).all()
    assert ((y[0] < (start + shift)[:, 1]) & ((start + shift)[:, 1] < y[1])).all()


def test_a_model_that_changes_nothing_draws_no_length(screen):
    made = controls(screen)
    made.obs["source"], made.obs["perturbation"] = made.obs_names, "P1"
    ax = sh.pl.transport(screen, prediction=made)
    np.testing.assert_allclose(arrows(ax)[1], 0, atol=1e-5)
    assert ax.get_title(loc="left") == "P1\nmean shifts: one of them is zero"


def test_the_title_compares_all_arrows_with_the_real_shift(screen):
    label = screen.obs["perturbation"].to_numpy()
    real, control = (
        projected(screen, screen.X[label == "P1"]),
        projected(screen, screen.X[label == "control"]),
    )
    shift = real.mean(axis=0) - control.mean(axis=0)
    made = controls(screen)
    made.X = made.X + 0.5 * shift @ screen.varm["PCs"].T
    made.obs["source"], made.obs["perturbation"] = made.obs_names, "P1"
    ax = sh.pl.transport(screen, prediction=made, max_arrows=10)
    assert ax.get_title(loc="left") == "P1\nmean shifts: cosine 1.00, length × 0.50"
    start, arrow = arrows(ax)
    assert len(start) == 10
    np.testing.assert_allclose(
        arrow, [[0.5 * np.linalg.norm(shift), 0]] * 10, atol=1e-4
    )  # along the real shift
    assert "model (10 of 150)" in [t.get_text() for t in ax.get_legend().get_texts()]


def test_a_seed_chooses_the_arrows(screen, model):
    made = model.transport(controls(screen), "P1")
    first, same, other = (
        arrows(sh.pl.transport(screen, prediction=made, max_arrows=9, rng=r))[0] for r in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_names_of_cells_that_repeat_do_not_say_where_arrows_start(screen, model):
    sh.tl.predict(screen, model, key_added="shifted")
    screen.obs_names = ["same", "same", *screen.obs_names[2:]]
    with pytest.raises(ValueError, match="adata.obs_names are not unique"):
        sh.pl.transport(screen, "P1", prediction="shifted")


def test_twins_of_a_layer_start_at_their_sources(screen, model):
    sh.tl.predict(screen, model, key_added="shifted")
    axes = sh.pl.transport(
        screen, ["P1", "P2"], prediction="shifted", components=(1, 2), max_arrows=1000
    )
    assert [ax.get_title(loc="left").splitlines()[0] for ax in axes] == ["P1", "P2"]
    rows = np.flatnonzero(screen.obs["perturbation"] == "P2")
    source = screen.obs_names.get_indexer(screen.obs["shifted_source"].iloc[rows])
    expected = projected(screen, screen.layers["shifted"][rows]) - projected(
        screen, screen.X[source]
    )
    np.testing.assert_allclose(arrows(axes[1])[1], expected[:, :2], atol=1e-4)
    sparse_screen = screen.copy()
    sparse_screen.layers["shifted"], sparse_screen.X = (
        sparse.csr_matrix(screen.layers["shifted"]),
        sparse.csr_matrix(screen.X),
    )
    again = sh.pl.transport(
        sparse_screen, "P2", prediction="shifted", components=(1, 2), max_arrows=1000
    )
    np.testing.assert_allclose(arrows(again)[1], expected[:, :2], atol=1e-4)


def test_one_context_alone(screen, model):
    context = str(screen.obs["context"].iloc[0])
    made = model.transport(controls(screen), "P1")
    ax = sh.pl.transport(screen, "P1", prediction=made, context=context, max_arrows=1000)
    inside = screen.obs["context"].astype(str) == context
    own = {
        k: int((inside & (screen.obs["perturbation"] == v)).sum())
        for k, v in {"control": "control", "real": "P1"}.items()
    }
    assert {k: len(v) for k, v in clouds(ax).items()} == own
    assert len(arrows(ax)[0]) == own["control"] < 150


def test_perturbations_that_were_not_measured_have_no_real_cells(screen):
    made = controls(screen)
    made.X = made.X + np.eye(60)[3]
    made.obs["source"], made.obs["perturbation"] = made.obs_names, "NEW"
    ax = sh.pl.transport(screen, prediction=made)
    assert set(clouds(ax)) == {"control"}
    assert (ax.get_title(loc="left"), ax.get_xlabel()) == ("NEW", "along the mean arrow")


def test_genes_in_another_order_and_the_last_time_of_an_interpolation(screen, model):
    made = model.transport(controls(screen), "P1")
    expected = arrows(sh.pl.transport(screen, prediction=made))[1]
    np.testing.assert_allclose(
        arrows(sh.pl.transport(screen, prediction=made[:, ::-1].copy()))[1], expected, atol=1e-5
    )
    half = made.copy()
    half.X = half.X * 0
    half.obs_names = [f"{name}-half" for name in half.obs_names]
    half.obs["time"], made.obs["time"] = 0.5, 1.0
    both = sh.pl.transport(screen, prediction=ad.concat([half, made]))
    np.testing.assert_allclose(arrows(both)[1], expected, atol=1e-5)


def test_models_of_the_basis_itself(screen):
    model = sh.tl.fit(screen, "mean_shift", use_rep="X_pca")
    cells = controls(screen)
    made = model.transport(cells, "P1")
    shift = arrows(sh.pl.transport(screen, prediction=made, components=(2, 1), max_arrows=1000))[1]
    np.testing.assert_allclose(
        shift, (np.asarray(made.X) - cells.obsm["X_pca"])[:, [1, 0]], atol=1e-5
    )
    sh.tl.predict(screen, model, key_added="latent")
    shift = arrows(
        sh.pl.transport(screen, "P1", prediction="latent", components=(1, 2), max_arrows=1000)
    )[1]
    rows = np.flatnonzero(screen.obs["perturbation"] == "P1")
    source = screen.obs_names.get_indexer(screen.obs["latent_source"].iloc[rows])
    np.testing.assert_allclose(
        shift, (screen.obsm["X_latent"][rows] - screen.obsm["X_pca"][source])[:, :2], atol=1e-5
    )


def test_errors(screen, model):
    made = model.transport(controls(screen), "P1")
    with pytest.raises(
        KeyError, match=r"sh\.tl\.predict\(adata, model, key_added='flow'\) writes it"
    ):
        sh.pl.transport(screen, "P1", prediction="flow")
    screen.layers["other"] = screen.X
    with pytest.raises(KeyError, match="'other_predicted' is not in adata.obs"):
        sh.pl.transport(screen, "P1", prediction="other")
    with pytest.raises(ValueError, match="which perturbation"):
        sh.pl.transport(screen, prediction="other")
    with pytest.raises(KeyError, match=r"'source' is not in prediction\.obs.*model\.transport"):
        sh.pl.transport(screen, prediction=screen)
    with pytest.raises(ValueError, match=r"no cell is taken to 'P2' .*; there are cells of P1"):
        sh.pl.transport(screen, "P2", prediction=made)
    with pytest.raises(
        KeyError, match=r"1 genes of the PCA are not in prediction\.var_names: gene"
    ):
        sh.pl.transport(screen, prediction=made[:, 1:].copy())
    with pytest.raises(KeyError, match="source cells of 'P1' are not in the screen, such as"):
        sh.pl.transport(
            screen[screen.obs_names != made.obs["source"].iloc[0]].copy(), prediction=made
        )
    with pytest.raises(KeyError, match="'day 9' is not in"):
        sh.pl.transport(screen, prediction=made, context="day 9")
    with pytest.raises(ValueError, match="two numbers from 1 to 6"):
        sh.pl.transport(screen, prediction=made, components=(0, 1))
    with pytest.raises(ValueError, match="max_arrows must be a whole number"):
        sh.pl.transport(screen, prediction=made, max_arrows=0)
    with pytest.raises(ValueError, match="2 perturbations do not fit into one ax"):
        sh.pl.transport(screen, ["P1", "P2"], prediction=made, ax=plt.figure().subplots())
    with pytest.raises(ValueError, match="0 perturbations; name at least one"):
        sh.pl.transport(screen, [], prediction=made)
    del screen.varm["PCs"]
    with pytest.raises(ValueError, match=r"adata\.varm\['PCs'\]"):
        sh.pl.transport(screen, prediction=made)
