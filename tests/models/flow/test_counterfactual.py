"""Measured cells carried back to where they began, and forth under another perturbation."""

from __future__ import annotations

import numpy as np
import pytest

import shoal as sh

from ...helpers import dense

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")
pytest.importorskip("scvi", reason="networks need the extra 'models'")


@pytest.fixture(scope="module")
def shifts():
    """Return pure shifts of Gaussian cells, a flow that learned them, and where each perturbed cell began."""
    adata = sh.ds.simulate_gaussian(
        n_perturbations=4,
        n_cells=200,
        n_control=800,
        n_dims=6,
        effects="shift",
        magnitude=1.0,
        rng=0,
    )
    config = {"n_latent": None, "width": 32}
    model = sh.tl.fit(adata, "flow", max_steps=300, config=config, accelerator="cpu", rng=0)
    cells = adata[adata.obs["perturbation"] != "control"].copy()
    truth = dict(
        zip(adata.uns["truth"]["table"].index, np.asarray(adata.uns["truth"]["shift"]), strict=True)
    )
    moved = np.stack([truth[name] for name in cells.obs["perturbation"]])
    return model, cells, cells.X - moved, truth


@pytest.fixture
def fitted(screen, fit_flow):
    return fit_flow(screen)


# -- what is known in closed form ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_way_back_ends_at_the_control_that_a_cell_was(shifts):
    model, cells, origin, _ = shifts
    back = model.counterfactual(cells, "control")
    off = np.linalg.norm(back.X - origin, axis=1).mean()
    assert off < 0.15 * np.linalg.norm(cells.X - origin, axis=1).mean()


def test_forth_again_is_where_the_other_perturbation_takes_it(shifts):
    model, cells, origin, truth = shifts
    there = model.counterfactual(cells, list(truth))
    for name, shift in truth.items():
        expected = origin + shift
        off = np.linalg.norm(there[there.obs["perturbation"] == name].X - expected, axis=1).mean()
        assert off < 0.25 * np.linalg.norm(cells.X - expected, axis=1).mean()


def test_back_and_forth_is_the_cell(shifts):
    model, cells, _, truth = shifts
    for name in truth:
        own = cells[cells.obs["perturbation"] == name].copy()
        np.testing.assert_allclose(model.counterfactual(own, name).X, own.X, atol=1e-3)


def test_the_way_back_comes_nearer_to_the_simulated_counterfactual(one_thread):
    adata = sh.ds.simulate(
        n_perturbations=4,
        n_cells=120,
        n_control=300,
        n_genes=100,
        effects="shift",
        counterfactual=True,
        rng=0,
    )
    before = adata.copy()
    before.X = adata.layers["counterfactual"].copy()
    depth = (adata.obs["library_size"] / adata.obs["library_size"].median()).to_numpy()[:, None]
    for each in (
        adata,
        before,
    ):  # by the depth of the whole transcriptome: that of the panel knows the effect
        each.X = each.X.multiply(1 / depth).tocsr().log1p().astype(np.float32)
    model = sh.tl.fit(
        adata, "flow", max_steps=200, config={"n_latent": 15, "width": 32}, accelerator="cpu"
    )
    back = model.counterfactual(adata, "control")
    truth, cells = (dense(each[back.obs["source"]].X) for each in (before, adata))
    off = np.linalg.norm(dense(back.X) - truth, axis=1).mean()
    assert off < 0.85 * np.linalg.norm(cells - truth, axis=1).mean()


# -- what comes back -------------------------------------------------------------------------------------------------


def test_obs_names_the_cell_and_both_conditions(screen, fitted):
    made = fitted.counterfactual(screen, ["P2", "control", "P3+P1"], context="context1")
    cells = screen[screen.obs["perturbation"] != "control"]
    n = cells.n_obs
    assert made.shape == (3 * n, screen.n_vars)
    assert made.obs_names.is_unique
    assert list(made.var_names) == list(screen.var_names)
    assert made.obs["perturbation"].tolist() == ["P2"] * n + ["control"] * n + ["P1+P3"] * n
    assert made.obs["source"].tolist() == cells.obs_names.tolist() * 3
    for key in ("perturbation", "context"):
        assert made.obs[f"source_{key}"].tolist() == cells.obs[key].tolist() * 3
    back = (made.obs["perturbation"] == "control").to_numpy()
    assert set(made.obs["context"][~back]) == {"context1"}
    assert made.obs["context"][back].tolist() == cells.obs["context"].tolist()
    assert made.obs["batch"].tolist() == cells.obs["batch"].tolist() * 3
    assert np.isfinite(dense(made.X)).all()


def test_it_can_be_written_and_read(screen, fitted, tmp_path):
    import anndata

    made = fitted.counterfactual(screen, "P2", context="context1")
    made.write_h5ad(tmp_path / "made.h5ad")
    assert (
        anndata.read_h5ad(tmp_path / "made.h5ad").obs["source_context"].tolist()
        == made.obs["source_context"].tolist()
    )


def test_what_the_components_leave_out_stays(screen, fitted):
    screen.X = screen.X.toarray() + 5.0  # so that nothing comes near 0
    cells = screen[screen.obs["perturbation"] != "control"]
    moved = fitted.counterfactual(screen, "P1").X - cells.X
    axes = fitted.space.axes
    assert np.abs(moved).max() > 0.01
    np.testing.assert_allclose(moved @ axes @ axes.T, moved, atol=1e-4)


def test_the_context_and_the_dose_are_told(one_thread):
    adata = sh.ds.simulate(
        n_perturbations=3, n_cells=20, n_control=60, n_genes=30, contexts=2, doses=(1, 10), rng=0
    )
    keys = {"context_key": "context", "dose_key": "dose"}
    sh.pp.annotate(adata, "perturbation", control="control", **keys)
    sh.pp.prepare(adata, normalize="log1p", n_comps=5)
    small = {"n_latent": 5, "width": 16, "depth": 1}
    model = sh.tl.fit(
        adata, "flow", max_steps=40, lr=1e-2, config=small, accelerator="cpu", ema=None
    )
    own = model.counterfactual(adata, "P1")
    assert own.obs["dose"].tolist() == own.obs["source_dose"].tolist()
    assert own.obs["context"].tolist() == own.obs["source_context"].tolist()
    low = model.counterfactual(adata, "P1", dose=1)
    was = own.obs["source_dose"].to_numpy()
    np.testing.assert_allclose(dense(low.X)[was == 1], dense(own.X)[was == 1], atol=1e-5)
    assert np.abs(dense(low.X) - dense(own.X))[was == 10].max() > 1e-3
    there = model.counterfactual(adata, "P1", context="context2")
    was = own.obs["source_context"].to_numpy()
    np.testing.assert_allclose(
        dense(there.X)[was == "context2"], dense(own.X)[was == "context2"], atol=1e-5
    )
    assert np.abs(dense(there.X) - dense(own.X))[was == "context1"].max() > 1e-3
    assert model.counterfactual(adata, "control", dose=1).obs["dose"].isna().all()


def test_the_order_of_rows_and_genes_does_not_matter(screen, fitted):
    mixed = screen[np.random.default_rng(0).permutation(screen.n_obs)].copy()[:, ::-1].copy()
    one, two = fitted.counterfactual(screen, "P1"), fitted.counterfactual(mixed, "P1")
    other = mixed[mixed.obs["perturbation"] != "control"].obs_names
    assert two.obs["source"].tolist() == other.tolist()
    at = one.obs.reset_index().set_index("source").loc[other, "index"]
    np.testing.assert_allclose(dense(one[at].X), dense(two[:, one.var_names].X), atol=1e-4)


# -- errors ----------------------------------------------------------------------------------------------------------


def test_errors_name_what_is_wrong(screen, fitted):
    with pytest.raises(KeyError, match="'P9' did not occur in the screen"):
        fitted.counterfactual(screen, ["P1", "P9"])
    with pytest.raises(KeyError, match="'mars' is not in the contexts of the screen"):
        fitted.counterfactual(screen, "P1", context="mars")
    with pytest.raises(
        KeyError, match="1 of the 60 features that the model was trained on are not in this"
    ):
        fitted.counterfactual(screen[:, 1:].copy(), "P1")
    with pytest.raises(ValueError, match="no perturbation was asked for"):
        fitted.counterfactual(screen, [])
    with pytest.raises(ValueError, match="annotated without a dose column"):
        fitted.counterfactual(screen, "P1", dose=1.0)
    with pytest.raises(ValueError, match="no cell of this AnnData is perturbed"):
        fitted.counterfactual(screen[screen.obs["perturbation"] == "control"].copy(), "P1")
    with pytest.raises(ValueError, match="sampler='sde' has no way back"):
        fitted.counterfactual(screen, "P1", sampler="sde")
    unknown = screen.copy()
    unknown.obs["perturbation"] = unknown.obs["perturbation"].astype(str).replace("P1", "P9")
    with pytest.raises(KeyError, match="'P9' did not occur in training"):
        fitted.counterfactual(unknown, "P2")


def test_a_model_that_is_not_trained_says_so(screen):
    sh.models.Flow.setup_anndata(screen)
    with pytest.raises(ValueError, match="this Flow is not trained"):
        sh.models.Flow(screen, n_latent=4).counterfactual(screen, "P1")


def test_from_noise_there_is_a_way_across_but_none_back(screen, fit_flow):
    model = fit_flow(screen, preset="noise2data", max_steps=3)
    assert np.isfinite(dense(model.counterfactual(screen, "P1", n_steps=4).X)).all()
    with pytest.raises(ValueError, match="begins at path_start='noise'"):
        model.counterfactual(screen, "control")
