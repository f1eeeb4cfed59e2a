"""Principal axes against the singular value decomposition."""

from __future__ import annotations

import numpy as np

from shoal.metrics._pca import principal_axes


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
