"""Principal axes against the singular value decomposition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from shoal.metrics import _pca
from shoal.metrics._pca import (
    Moments,
    axes_of_cells,
    axes_of_few_cells,
    principal_axes,
    rotated_onto,
)


def test_equals_svd(rng):
    x = rng.normal(size=(60, 8)) * np.arange(1, 9)
    x -= x.mean(axis=0)
    axes, variance = principal_axes(x.T @ x / 59, 5)
    _, size, right = np.linalg.svd(x, full_matrices=False)
    np.testing.assert_allclose(variance, size[:5] ** 2 / 59)
    np.testing.assert_allclose(np.abs(axes), np.abs(right[:5].T), atol=1e-10)


def test_signs_are_fixed(rng):
    x = rng.normal(size=(30, 6))
    axes, _ = principal_axes(np.cov(x.T), 6)
    largest = np.abs(axes).argmax(axis=0)
    assert (axes[largest, range(6)] > 0).all()


def test_directions_without_variance_are_left_out(rng):
    x = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 7))
    axes, variance = principal_axes(np.cov(x.T), 7)
    assert axes.shape == (7, 2)
    assert (variance > 1e-6).all()


def test_no_variance_at_all():
    axes, variance = principal_axes(np.zeros((3, 3)), 2)
    assert axes.shape == (3, 0)
    assert variance.shape == (0,)


# -- axes of cells, and cells in pieces ------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_axes_of_cells_are_those_of_their_covariance(rng, monkeypatch, kind):
    x = rng.normal(size=(80, 6)) * np.arange(6, 0, -1) + 3
    expected, _ = principal_axes(np.cov(x.T), 3)
    for exact in (2_000, 5):  # decomposed exactly, then by iteration
        monkeypatch.setattr(_pca, "EXACT", exact)
        axes = axes_of_cells(kind(x), 3, rng=np.random.default_rng(0))
        np.testing.assert_allclose(np.abs(axes.T @ expected), np.eye(3), atol=1e-3)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_axes_of_few_cells_are_those_of_their_covariance(rng, kind):
    x = rng.normal(size=(8, 30)) * np.arange(1, 31)
    axes = axes_of_few_cells(kind(x), 20)
    assert axes.shape == (30, 7)  # of eight cells about their mean
    expected, _ = principal_axes(np.cov(x.T), 7)
    np.testing.assert_allclose(np.abs(axes.T @ expected), np.eye(7), atol=1e-9)
    assert axes_of_few_cells(kind(np.ones((4, 9))), 3).shape == (9, 0)


def test_moments_of_pieces_are_those_of_all_cells(rng):
    x, y = rng.normal(size=(2, 30, 4)) * [1, 2, 3, 4] + 5
    one, two = Moments.zero(4), Moments.zero(4)
    for piece in np.array_split(x, 4):
        one.add(piece)
    two.add(y)
    both = Moments.sum_of([one, two])
    np.testing.assert_allclose(both.mean, np.vstack([x, y]).mean(0))
    np.testing.assert_allclose(both.covariance, np.cov(np.vstack([x, y]).T))
    np.testing.assert_allclose(both.without(one).covariance, np.cov(y.T))
    np.testing.assert_allclose(one.covariance, np.cov(x.T))  # the parts are as they were


def test_axes_are_rotated_within_their_span(rng):
    target = np.linalg.qr(rng.normal(size=(7, 3)))[0]
    turned = target @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    np.testing.assert_allclose(rotated_onto(turned, target), target, atol=1e-12)
    near = np.linalg.qr(target + 0.1 * rng.normal(size=(7, 3)))[0]
    found = rotated_onto(near @ np.linalg.qr(rng.normal(size=(3, 3)))[0], target)
    np.testing.assert_allclose(near @ (near.T @ found), found, atol=1e-12)
    np.testing.assert_allclose(found.T @ found, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("exact", [True, False])
def test_axes_are_those_of_the_values_however_stored(rng, monkeypatch, exact):
    """By decomposition and by iteration: sparse, dense and single precision; and they are the true ones."""
    monkeypatch.setattr(_pca, "EXACT", 100 if exact else 10)
    spread = 2.0 ** -np.arange(40)
    x = np.maximum((rng.normal(size=(300, 40)) * spread) @ rng.normal(size=(40, 40)), 0)
    x = x.astype(np.float32).astype(np.float64)
    forms = (x, sparse.csr_matrix(x), x.astype(np.float32), sparse.csr_matrix(x.astype(np.float32)))
    found = [_pca.axes_of_cells(form, 4, rng=np.random.default_rng(0)) for form in forms]
    for axes in found[1:]:
        np.testing.assert_allclose(axes, found[0], atol=1e-10)
    true = _pca.principal_axes(np.cov(x.T), 4)[0]
    np.testing.assert_allclose(found[0], true, atol=1e-9 if exact else 1e-3)
