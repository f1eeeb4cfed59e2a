"""Sparse vectors give what dense ones give; searches and regressions on some equal those on all."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist

from shoal.metrics._kernel_ridge import RIDGES, fit_ridge
from shoal.metrics._pca import axes_of_rows, principal_axes
from shoal.models.baselines._deltas import dose_weights
from shoal.models.baselines._landmarks import fit_landmarks
from shoal.models.baselines._neighbours import nearest
from shoal.models.baselines._vectors import alike, apart, from_arrays, some_of, to_arrays


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "sqeuclidean"])
def test_distances_of_sparse_vectors_equal_those_of_dense_ones(rng, metric):
    a, b = rng.random((6, 5)) * (rng.random((6, 5)) < 0.5), rng.random((4, 5))
    a[2] = 0.0
    want = np.nan_to_num(cdist(a, b, metric), nan=1.0)
    np.testing.assert_allclose(apart(a, b, metric), want)
    found = apart(sparse.csr_matrix(a), sparse.csr_matrix(b), metric)
    np.testing.assert_allclose(found, want, atol=1e-7)


def test_the_nearest_are_those_of_a_stable_sort(rng):
    distances = rng.integers(0, 5, (40, 12)).astype(np.float64)  # many are equal
    for k in (1, 4, 12):
        want = np.argsort(distances, axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(nearest(distances, k), want)


def test_vectors_are_kept_as_arrays(rng):
    for vectors in (rng.random((4, 3)), sparse.identity(4, format="csr")):
        back = from_arrays(to_arrays(vectors, "v"), "v")
        assert sparse.issparse(back) == sparse.issparse(vectors)
        np.testing.assert_array_equal((back - vectors).sum(), 0.0)
    assert some_of(vectors, 2).shape == (2, 4)
    assert some_of(vectors, 5) is vectors


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (7, 7)])
def test_axes_come_from_the_smaller_product(rng, shape):
    values = rng.normal(size=shape)
    want_axes, want = principal_axes(values.T @ values, 4)
    axes, squares = axes_of_rows(values, 4)
    np.testing.assert_allclose(squares, want, rtol=1e-9)
    np.testing.assert_allclose(axes, want_axes, atol=1e-8)
    few, _ = axes_of_rows(np.outer(values[:, 0], values[0]), 4)
    assert few.shape[1] == 1  # a direction without variance is no axis


def test_a_regression_on_all_as_landmarks_is_the_exact_one(rng):
    x, y = rng.normal(size=(30, 4)), rng.normal(size=(30, 6))
    kernel = np.exp(-cdist(x, x, "sqeuclidean") / 4)
    inverse = fit_ridge(kernel, y @ y.T, RIDGES)
    new = np.exp(-cdist(rng.normal(size=(5, 4)), x, "sqeuclidean") / 4)
    k = new - kernel.mean(axis=1)
    want = (k - k.mean(axis=1, keepdims=True)) @ inverse @ y
    found = fit_landmarks(kernel, kernel, y, RIDGES)
    np.testing.assert_allclose(found.phi(new) @ (found.pull.T @ y), want, atol=1e-6)


def test_some_landmarks_come_close_where_the_kernel_is_smooth(rng):
    x = rng.uniform(-1, 1, size=(200, 2))
    y = np.column_stack([np.sin(2 * x[:, 0]), x[:, 0] * x[:, 1]])
    kernel = np.exp(-cdist(x, x, "sqeuclidean") / 2)
    found = fit_landmarks(kernel[:40, :40], kernel[:, :40], y, RIDGES)
    made = y.mean(axis=0) + found.phi(kernel[:, :40]) @ (found.pull.T @ y)
    assert np.abs(made - y).max() < 0.02


def interpolated(measured, n, wanted):
    """One perturbation's weights, level by level."""
    usable = measured > 0
    if not (wanted > 0 and usable.any()):
        return n / n.sum()
    logs = np.log10(np.where(usable, measured, 1.0))
    levels = np.unique(logs[usable])
    target = np.clip(np.log10(wanted), levels[0], levels[-1])
    weights = np.zeros(len(measured))
    for level, row in zip(levels, np.eye(len(levels)), strict=True):
        same = usable & (logs == level)
        weights[same] = np.interp(target, levels, row) * n[same] / n[same].sum()
    return weights


@pytest.mark.parametrize("wanted", [np.nan, 0.01, 0.1, 0.5, 3.0, 20.0, 100.0])
def test_doses_are_interpolated_within_each_perturbation(rng, wanted):
    owner, n = np.sort(rng.integers(0, 6, 40)), rng.integers(1, 9, 40)
    dose = rng.choice([np.nan, 0.1, 1.0, 3.0, 10.0, 30.0], 40)
    dose[owner == 2] = np.nan  # one that was measured at no dose
    want = np.concatenate(
        [interpolated(dose[owner == o], n[owner == o], wanted) for o in np.unique(owner)]
    )
    np.testing.assert_allclose(dose_weights(owner, dose, n, wanted), want, atol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_vectors_that_are_alike_are_found_without_all_pairs(rng, metric):
    dense = rng.normal(size=(50, 4))
    dense[7], dense[9], dense[11], dense[12] = dense[3], 2 * dense[4], 0.0, 0.0
    few = sparse.csr_matrix((rng.random((50, 20)) < 0.15).astype(np.float64))
    for vectors in (dense, few):
        want = apart(vectors, vectors, metric) <= 1e-6
        assert want.sum() > 50
        np.testing.assert_array_equal(alike(vectors, metric, 1e-6).toarray() > 0, want)


@pytest.mark.parametrize("seed", range(20))
def test_of_ridges_whose_errors_differ_by_rounding_the_largest_is_taken(seed):
    """Vectors equally far apart say nothing: whatever the ridge, the error is that of the mean."""
    y = np.random.default_rng(seed).normal(size=(9, 4))
    kernel = 0.3 + 0.7 * np.eye(9)
    found, want = fit_ridge(kernel, y @ y.T, RIDGES), fit_ridge(kernel, y @ y.T, RIDGES[-1:])
    np.testing.assert_array_equal(found, want)
