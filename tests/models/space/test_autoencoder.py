"""The space of a network, learned by an autoencoder: it reconstructs cells that it has not seen, and looks at no others."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

torch = pytest.importorskip("torch", reason="networks need the extra 'models'")

from shoal.core._matrix import as_rows  # noqa: E402
from shoal.models.base._persistence import read_model, write_model  # noqa: E402
from shoal.models.space import _autoencoder_module, _fit_cells  # noqa: E402
from shoal.models.space._autoencoder import AutoencoderSpace, fit_autoencoder  # noqa: E402
from shoal.models.space._pca import fit_pca  # noqa: E402
from shoal.models.space._space import fit_space, space_from_dict  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
both = pytest.mark.parametrize("components", [True, False])


@pytest.fixture
def flat(rng):
    """(400, 12) values near a plane of three dimensions, a third of them zero."""
    values = (
        rng.normal(size=(400, 3)) @ rng.normal(size=(3, 12)) * 2
        + 0.1 * rng.normal(size=(400, 12))
        + 1
    )
    return np.where(rng.random(values.shape) < 0.3, 0, values)


@pytest.fixture
def circle(rng):
    """(1000, 30) values near a circle, of which one straight axis can tell half at most."""
    angle = rng.uniform(0, 2 * np.pi, 1000)
    plane = np.linalg.qr(rng.normal(size=(30, 2)))[0]
    return (
        np.column_stack([np.cos(angle), np.sin(angle)]) @ plane.T * 5
        + 0.05 * rng.normal(size=(1000, 30))
        + 2
    )


def fitted(x, n_latent=3, fit=None, rng=0, **options):
    options = {"hidden": 32, "max_epochs": 5, "lr": 3e-3} | options
    fit = np.arange(x.shape[0]) if fit is None else fit
    return fit_autoencoder(
        as_rows(x), fit, n_latent=n_latent, rng=np.random.default_rng(rng), **options
    )


def assert_same(one, two):
    """Check that two spaces are the same to the last bit."""
    one, two = one.to_dict(), two.to_dict()
    for name in one["state"]:
        np.testing.assert_array_equal(one["state"][name], two["state"][name])
    for name in one.keys() - {"state"}:
        np.testing.assert_array_equal(one[name], two[name])


# -- it learns -------------------------------------------------------------------------------------------------------


def test_a_network_alone_finds_what_lies_in_a_plane(rng):
    x = rng.normal(size=(1000, 3)) @ rng.normal(size=(3, 20)) + 3
    space = fitted(x, components=False, max_epochs=60)
    assert space.explained_by_components == pytest.approx(1, abs=1e-5)
    assert 0.97 < space.explained < 1


@both
def test_a_curve_takes_fewer_dimensions_than_components_need(circle, components):
    space = fitted(circle[:800], 1, components=components, hidden=64, max_epochs=100)
    assert space.n_dims == 1
    assert space.explained_by_components < 0.6
    assert space.explained > 0.85
    new, start = circle[800:].astype(np.float32), circle[:200].astype(np.float32)
    linear = fit_pca(
        as_rows(circle[:800]), np.arange(800), n_latent=1, rng=np.random.default_rng(0)
    )
    wrong, wrong_linear = (
        ((each.decode(each.encode(new), start) - new) ** 2).mean() for each in (space, linear)
    )
    assert wrong < 0.4 * wrong_linear


def test_the_share_is_that_of_cells_that_were_not_learned_from(rng):
    x = rng.normal(size=(300, 40))
    space = fitted(x, 5, components=False, hidden=64, max_epochs=60, patience=60)
    order = np.random.default_rng(0).permutation(300)
    seen = torch.from_numpy((x - space.mean).astype(np.float32)) / space.unit
    left = ((space.network(seen) - seen) ** 2).mean(1).detach().numpy()
    share = 1 - left / (seen**2).mean().item()
    whole = (seen[order[:30]] ** 2).mean().item()
    assert space.explained == pytest.approx(1 - left[order[:30]].mean() / whole, abs=1e-5)
    assert share[order[30:]].mean() > space.explained + 0.05  # noise is learned by heart


def test_latent_coordinates_are_centred_and_one_number_scales_all(flat):
    z = fitted(flat).encode(flat)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose((z**2).mean(), 1, rtol=1e-5)


def test_it_begins_as_a_principal_component_analysis(flat):
    space = fitted(flat, lr=1e-9)
    assert space.explained == pytest.approx(space.explained_by_components, abs=1e-6)
    linear = fit_pca(as_rows(flat), np.arange(400), n_latent=3, rng=np.random.default_rng(0))
    distances = [
        np.linalg.norm(s.encode(flat)[:200] - s.encode(flat)[200:], axis=1) for s in (space, linear)
    ]
    assert np.corrcoef(*distances)[0, 1] > 0.99


def test_the_rate_rises_and_falls_over_all_steps():
    rates = np.array([_autoencoder_module.rate(step, 200) for step in range(200)])
    assert rates.argmax() in (9, 10)
    assert rates.max() == 1
    assert (np.diff(rates[:10]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[-1] < 1e-3


def test_an_epoch_is_a_pass_over_the_cells(flat, monkeypatch):
    steps, original = [], torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self, *a, **k: steps.append(1) or original(self, *a, **k)
    )
    monkeypatch.setattr(_autoencoder_module, "BATCH", 50)
    fitted(flat, max_epochs=3)
    assert len(steps) == 3 * 8  # 360 cells, 40 being held back, in batches of 50


def test_the_best_weights_are_kept_and_patience_ends_it(flat, monkeypatch):
    errors, weights = iter([9.0, 5.0, 3.0, 4.0, 3.5, 3.1, 0.0]), []

    def scripted(network, cells, at):
        weights.append({k: v.clone() for k, v in network.state_dict().items()})
        return next(errors)

    monkeypatch.setattr(_autoencoder_module, "reconstruction_error", scripted)
    space = fitted(flat, max_epochs=50, patience=3)
    assert len(weights) == 6
    for name, value in space.network.state_dict().items():
        assert torch.equal(value, weights[2][name])
    assert not torch.equal(weights[2]["encoder.0.weight"], weights[5]["encoder.0.weight"])


# -- there and back --------------------------------------------------------------------------------------------------


@both
def test_a_control_cell_that_does_not_move_comes_back_as_it_was(flat, monkeypatch, components):
    monkeypatch.setattr(_autoencoder_module, "BLOCK", 150)
    space, start = fitted(flat, components=components), flat.astype(np.float32)
    np.testing.assert_array_equal(space.decode(space.encode(start), start), start)
    assert space.decode(space.encode(start), start) is not start


def test_what_moves_in_the_space_moves_in_genes(circle):
    space = fitted(circle, 2, max_epochs=30)
    assert space.explained > 0.95
    start = circle[:50].astype(np.float32)
    z = space.encode(start)
    moved = space.decode(z[::-1].copy(), start)
    assert ((moved - start[::-1]) ** 2).mean() < 0.1 * ((start - start[::-1]) ** 2).mean()
    before = start.copy()
    space.decode(z + 1, start)
    np.testing.assert_array_equal(start, before)


def test_blocks_are_a_matter_of_memory_only(flat, monkeypatch):
    space = fitted(flat)
    z = space.encode(flat)
    values = space.decode(z + 1, flat.astype(np.float32))
    monkeypatch.setattr(_autoencoder_module, "BLOCK", 7)
    np.testing.assert_allclose(space.encode(flat), z, atol=1e-5)
    np.testing.assert_allclose(space.decode(z + 1, flat.astype(np.float32)), values, atol=1e-4)
    assert space.encode(flat[:0]).shape == (0, 3)


# -- what it looks at ------------------------------------------------------------------------------------------------


def test_only_the_chosen_cells_are_looked_at(flat):
    fit, spoiled = np.arange(0, 400, 2), flat.copy()
    spoiled[1::2] = 1e6
    assert_same(fitted(flat, fit=fit), fitted(spoiled, fit=fit))


def test_the_same_seed_gives_the_same_space_and_touches_no_other(flat):
    before = torch.random.get_rng_state()
    assert_same(fitted(flat, rng=3), fitted(flat, rng=3))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not np.array_equal(fitted(flat, rng=3).encode(flat), fitted(flat, rng=4).encode(flat))


def test_dense_and_sparse_values_give_one_space(flat):
    one, two = fitted(flat), fitted(sparse.csr_matrix(flat))
    assert one.explained == pytest.approx(two.explained, abs=1e-3)
    np.testing.assert_allclose(one.encode(flat), two.encode(sparse.csr_matrix(flat)), atol=1e-2)
    np.testing.assert_array_equal(one.encode(flat), one.encode(sparse.csr_matrix(flat)))


def test_very_many_cells_are_a_seeded_choice(flat, monkeypatch):
    monkeypatch.setattr(_fit_cells, "FIT_CELLS", 60)
    some = fitted(flat)
    assert_same(some, fitted(flat))
    assert not np.allclose(some.mean, flat.mean(0), rtol=1e-3)


def test_fewer_cells_than_dimensions(flat):
    wide = np.random.default_rng(0).normal(size=(24, 48))
    assert fitted(wide, 30).n_dims == 21  # 22 cells to learn from
    assert fitted(np.hstack([flat[:24]] * 4), 30).n_dims == 12  # which is their rank


# -- words -----------------------------------------------------------------------------------------------------------


def test_it_says_what_it_explains_and_warns_where_that_is_little(flat, caplog):
    with caplog.at_level(logging.INFO, logger="shoal"):
        good = fitted(flat)
        assert caplog.records[-1].levelname == "INFO"
        assert (
            f"explains {100 * good.explained:.1f} % of the variance of 40 held-back training cells"
            in caplog.text
        )
        poor = fitted(flat, components=False, max_epochs=1, lr=1e-6)
    assert poor.explained < 0.1 < poor.explained_by_components
    assert caplog.records[-1].levelname == "WARNING"
    assert "let it begin with them (components=True)" in caplog.text


def test_what_cannot_be_fitted(flat):
    with pytest.raises(ValueError, match="training cells do not vary in any of the 12 features"):
        fitted(np.ones_like(flat))
    with pytest.raises(
        ValueError, match="at least 20 training cells and there are 19; use principal components"
    ):
        fitted(flat[:19])
    with pytest.raises(ValueError, match=r"holds an array of shape \(3, 4\) for each cell"):
        fitted(flat.reshape(-1, 3, 4))
    for name in ("n_latent", "hidden", "max_epochs", "patience", "lr"):
        with pytest.raises(ValueError, match=f"{name} must be above 0, not 0"):
            fitted(flat, **{name: 0})
    with pytest.raises(
        FloatingPointError,
        match=r"error is (nan|inf) after \d+ epochs; use a smaller lr than 1e\+3",
    ):
        fitted(flat, lr=1e30)


# -- on disk ---------------------------------------------------------------------------------------------------------


@both
def test_a_space_comes_back_from_a_file(flat, tmp_path, components):
    space = fitted(flat, components=components)
    write_model(tmp_path / "model", {"space": space.to_dict()}, adata=None, overwrite=False)
    back = space_from_dict(read_model(tmp_path / "model")["space"])
    assert_same(space, back)
    assert_same(space, space_from_dict(space.to_dict()))
    z = space.encode(flat)
    np.testing.assert_array_equal(back.encode(flat), z)
    start = flat[::-1].astype(np.float32)
    np.testing.assert_array_equal(back.decode(z, start), space.decode(z, start))
    assert back.description == space.description == "3 latent dimensions"


@pytest.mark.parametrize("n_latent", [3, None])
def test_so_do_the_others(flat, tmp_path, n_latent):
    rng = np.random.default_rng(0)
    space = fit_space(as_rows(flat), np.arange(400), n_latent=n_latent, rng=rng)
    write_model(tmp_path / "model", {"space": space.to_dict()}, adata=None, overwrite=False)
    back = space_from_dict(read_model(tmp_path / "model")["space"])
    np.testing.assert_array_equal(back.encode(flat), space.encode(flat))


def test_a_model_can_work_in_it(divided, tmp_path):
    pytest.importorskip("scvi", reason="networks need the extra 'models'")
    import shoal as sh

    class Curved(sh.models.Flow):
        def _fit_space(self, train, n_latent, rng):
            options = {"hidden": 16, "max_epochs": 2}
            return fit_autoencoder(self.cells.rows, train, n_latent=n_latent, rng=rng, **options)

    Curved.setup_anndata(divided, "perturbation", control="control")
    model = Curved(divided, n_latent=5, width=16, depth=1)
    assert isinstance(model.space, AutoencoderSpace)
    assert "5 latent dimensions" in model._model_summary_string
    model.train(3, batch_conditions=2, set_size=8, accelerator="cpu")
    model.save(tmp_path / "model")
    back = Curved.load(tmp_path / "model", divided)
    asked = {"perturbations": ["P1"], "n_cells": 12, "rng": 7, "n_steps": 4}
    made = [each.predict(**asked).to_df() for each in (model, back)]
    pd.testing.assert_frame_equal(*made)
    assert np.isfinite(made[0].to_numpy()).all()
