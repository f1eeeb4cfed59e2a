"""The space of principal components: fitted on training cells, with a way back to genes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from shoal.core._matrix import as_rows
from shoal.metrics import _pca
from shoal.models.space import _fit_cells
from shoal.models.space._pca import fit_pca


@pytest.fixture
def x(rng):
    """(200, 12) values near a plane of three dimensions, a third of them zero."""
    values = (
        rng.normal(size=(200, 3)) @ rng.normal(size=(3, 12)) * 2
        + 0.1 * rng.normal(size=(200, 12))
        + 1
    )
    return np.where(rng.random(values.shape) < 0.3, 0, values)


def fitted(x, n_latent=3, fit=None):
    return fit_pca(
        as_rows(x),
        np.arange(x.shape[0]) if fit is None else fit,
        n_latent=n_latent,
        rng=np.random.default_rng(0),
    )


def test_axes_are_the_principal_ones_and_one_number_scales_all(x):
    space = fitted(x)
    assert space.n_dims == 3
    np.testing.assert_allclose(space.axes.T @ space.axes, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(space.mean, x.mean(0), rtol=1e-6)
    singular = np.linalg.svd(x - x.mean(0), compute_uv=False)[:3]
    z = space.encode(x)
    assert z.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(z, axis=0) * space.scale, singular, rtol=1e-4)
    np.testing.assert_allclose((z**2).mean(), 1, rtol=1e-5)


def test_what_the_axes_leave_out_of_a_control_cell_stays(x):
    space, start = fitted(x), x[:20].astype(np.float32)
    z = space.encode(start)
    np.testing.assert_allclose(space.decode(z, start), start, atol=1e-5)
    moved = space.decode(z + 1, start)
    np.testing.assert_allclose(space.encode(moved), z + 1, atol=1e-5)
    rest = np.eye(12) - space.axes @ space.axes.T
    np.testing.assert_allclose((moved - start) @ rest, 0, atol=1e-5)


@pytest.mark.parametrize("n_latent", [12, 40])
def test_with_all_dimensions_the_way_there_and_back_is_exact(x, n_latent):
    space = fitted(x, n_latent)
    assert space.n_dims == 12
    np.testing.assert_allclose(space.decode(space.encode(x), x[::-1]), x, atol=1e-4)
    np.testing.assert_allclose(space.encode(sparse.csr_matrix(x)), space.encode(x), atol=1e-5)


def test_only_the_chosen_cells_are_looked_at(x):
    fit, spoiled = np.arange(0, 200, 2), x.copy()
    spoiled[1::2] = 1e6
    one, two = fitted(x, fit=fit), fitted(spoiled, fit=fit)
    np.testing.assert_array_equal(one.axes, two.axes)
    np.testing.assert_array_equal(one.mean, two.mean)
    assert one.scale == two.scale


def test_dense_and_sparse_values_give_one_space(x):
    one, two = fitted(x), fitted(sparse.csr_matrix(x))
    np.testing.assert_allclose(one.axes, two.axes, atol=1e-5)
    assert one.scale == pytest.approx(two.scale, rel=1e-5)
    np.testing.assert_allclose(one.encode(x), two.encode(sparse.csr_matrix(x)), atol=1e-5)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_wide_matrices_are_decomposed_by_iteration(x, monkeypatch, kind):
    exact = fitted(kind(x), 2)
    monkeypatch.setattr(_pca, "EXACT", 5)
    near = fitted(kind(x), 2)
    np.testing.assert_allclose(np.abs(near.axes.T @ exact.axes), np.eye(2), atol=1e-3)


def test_very_many_cells_are_a_seeded_choice(x, monkeypatch):
    monkeypatch.setattr(_fit_cells, "FIT_CELLS", 50)
    some = fitted(x)
    np.testing.assert_array_equal(some.axes, fitted(x).axes)
    assert not np.allclose(some.mean, x.mean(0), rtol=1e-4)


def test_fewer_cells_than_components(x):
    assert fitted(x[:4], 10).n_dims == 3


def test_what_cannot_be_fitted(x):
    with pytest.raises(
        ValueError, match="the 200 training cells do not vary in any of the 12 features"
    ):
        fitted(np.ones_like(x))
    for n in (0, -3):
        with pytest.raises(
            ValueError, match=f"n_latent must be a whole number of at least 1, not {n}"
        ):
            fitted(x, n)
