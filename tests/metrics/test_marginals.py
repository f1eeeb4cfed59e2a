from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

import shoal as sh

FORMATS = {
    "dense": np.asarray,
    "float32": lambda x: np.asarray(x, dtype=np.float32),
    "csr_matrix": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
    "csc_matrix": sparse.csc_matrix,
}
METRICS = ("wasserstein_per_gene", "variance_ratio", "zero_fraction_error")
each_metric = pytest.mark.parametrize("name", METRICS)


def measure(name, x, y, **options):
    return getattr(sh.metrics, name)(x, y, **options)


@pytest.fixture
def counts(rng):
    """Two populations with zeros, of sizes without a common factor, with values that float32 holds exactly."""
    return rng.poisson(0.8, (77, 12)) / 4.0, rng.poisson(1.1, (40, 12)) / 4.0


@each_metric
@pytest.mark.parametrize("form", list(FORMATS))
def test_every_form_of_matrix_gives_the_same(name, form, counts):
    expected = measure(name, *counts)
    np.testing.assert_allclose(measure(name, *map(FORMATS[form], counts)), expected, rtol=1e-12)
    np.testing.assert_allclose(
        measure(name, FORMATS[form](counts[0]), counts[1]), expected, rtol=1e-12
    )


@each_metric
def test_order_of_cells_does_not_matter(name, counts, rng):
    x, y = counts
    np.testing.assert_allclose(
        measure(name, rng.permutation(x), rng.permutation(y)), measure(name, x, y), rtol=1e-12
    )


@each_metric
def test_entries_stored_twice_are_summed_and_left_as_they_are(name):
    twice = sparse.csr_matrix(
        (np.array([1.0, -1.0, 2.0]), np.array([0, 0, 1]), np.array([0, 2, 3])), shape=(2, 2)
    )
    other = np.array([[1.0, 0], [0, 3], [5, 0]])
    np.testing.assert_allclose(measure(name, twice, other), measure(name, twice.toarray(), other))
    by_column = sparse.csc_matrix(
        (twice.data, np.zeros(3, dtype=int), np.array([0, 2, 3])), shape=(2, 2)
    )
    np.testing.assert_allclose(
        measure(name, by_column, other), measure(name, by_column.toarray(), other)
    )
    assert twice.nnz == by_column.nnz == 3


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 7), (30, 30), (31, 12), (64, 16), (97, 250)])
def test_wasserstein_equals_scipy(n, m, rng):
    x, y = rng.standard_t(3, (n, 6)), rng.poisson(1, (m, 6)).astype(float)
    expected = [stats.wasserstein_distance(a, b) for a, b in zip(x.T, y.T, strict=True)]
    np.testing.assert_allclose(sh.metrics.wasserstein_per_gene(x, y), expected, rtol=1e-12)


@pytest.mark.parametrize("block_bytes", [1, 20_000])
def test_wasserstein_block_size_does_not_matter(block_bytes, counts):
    expected = sh.metrics.wasserstein_per_gene(*counts)
    found = sh.metrics.wasserstein_per_gene(
        *map(sparse.csr_matrix, counts), block_bytes=block_bytes
    )
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_wasserstein_is_a_distance(counts, rng):
    x, y = counts
    found = sh.metrics.wasserstein_per_gene(x, y)
    third = rng.normal(size=(25, 12))
    np.testing.assert_allclose(sh.metrics.wasserstein_per_gene(y, x), found, rtol=1e-12)
    np.testing.assert_array_equal(sh.metrics.wasserstein_per_gene(x, np.tile(x, (3, 1))), 0)
    np.testing.assert_allclose(
        sh.metrics.wasserstein_per_gene(3 - 2 * x, 3 - 2 * y), 2 * found, rtol=1e-12
    )
    around = sh.metrics.wasserstein_per_gene(x, third) + sh.metrics.wasserstein_per_gene(third, y)
    assert (found <= around + 1e-12).all()


def test_wasserstein_of_gaussians(rng):
    """N(0, 1) against N(mu, s): E|mu + (s - 1) Z|, the mean of a folded normal."""
    mu, s = np.array([0.0, 1.0, -0.5]), np.array([2.0, 1.2, 1.5])
    x, y = rng.normal(size=(20_000, 3)), mu + s * rng.normal(size=(15_000, 3))
    expected = stats.foldnorm.mean(np.abs(mu) / (s - 1), scale=s - 1)
    np.testing.assert_allclose(sh.metrics.wasserstein_per_gene(x, y), expected, atol=0.04)


def test_variance_ratio_is_that_of_the_traces(counts):
    x, y = counts
    expected = np.trace(np.cov(x.T)) / np.trace(np.cov(y.T))
    assert sh.metrics.variance_ratio(x, y) == pytest.approx(expected)
    assert sh.metrics.variance_ratio(y, x) == pytest.approx(1 / expected)
    rotation = stats.ortho_group.rvs(12, random_state=0)
    assert sh.metrics.variance_ratio(x @ rotation + 5, y @ rotation - 5) == pytest.approx(expected)


def test_variance_ratio_does_not_depend_on_the_number_of_predicted_cells(rng):
    y = rng.normal(size=(200, 4))
    found = [sh.metrics.variance_ratio(rng.normal(size=(5, 4)), y) for _ in range(1000)]
    assert np.mean(found) == pytest.approx(4 / np.trace(np.cov(y.T)), abs=4 * stats.sem(found))


@pytest.mark.parametrize("form", ["dense", "csr_matrix"])
def test_cells_without_spread(form, counts):
    x, y = counts
    collapsed = FORMATS[form](np.tile(x.mean(axis=0), (30, 1)))
    assert sh.metrics.variance_ratio(collapsed, y) == 0
    assert np.isnan(sh.metrics.variance_ratio(y, collapsed))


def test_zero_fraction_closed_form(counts):
    x, y = counts
    expected = np.abs((x == 0).mean(axis=0) - (y == 0).mean(axis=0)).mean()
    assert sh.metrics.zero_fraction_error(x, y) == pytest.approx(expected)
    assert sh.metrics.zero_fraction_error(y, x) == pytest.approx(expected)
    assert sh.metrics.zero_fraction_error(2 * x, y) == pytest.approx(
        expected
    )  # scale does not matter
    assert sh.metrics.zero_fraction_error(x, np.tile(x, (3, 1))) == 0
    assert sh.metrics.zero_fraction_error(np.zeros((3, 2)), np.ones((4, 2))) == 1


@pytest.mark.parametrize("form", ["dense", "csr_matrix"])
def test_small_values_may_count_as_zeros(form, counts):
    x, y = counts
    blurred = np.where(x == 0, -1e-3, x)
    assert sh.metrics.zero_fraction_error(blurred, y) == pytest.approx((y == 0).mean())
    expected = sh.metrics.zero_fraction_error(x, y)
    for cells in (blurred, -blurred):
        assert sh.metrics.zero_fraction_error(
            FORMATS[form](cells), y, tolerance=1e-3
        ) == pytest.approx(expected)


def test_zero_fraction_of_two_samples(rng):
    """E|p - q| of two binomial fractions, by the normal law: sqrt(2/pi) times the standard error."""
    x, y = (rng.random((n, 4000)) > 0.3 for n in (200, 150))
    expected = np.sqrt(2 / np.pi * 0.3 * 0.7 * (1 / 200 + 1 / 150))
    assert sh.metrics.zero_fraction_error(x * 1.0, y * 1.0) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((3, 2)), np.ones((3, 4)), "same columns, not 2 and 4"),
        (np.ones(3), np.ones((3, 4)), r"X must hold at least . cells .* shape \(3,\)"),
        (np.ones((3, 2)), np.ones((0, 2)), r"Y must hold at least . cells .* shape \(0, 2\)"),
        (np.ones((3, 0)), np.ones((3, 0)), "a gene"),
        (np.array([[1, np.nan], [1, 2]]), np.ones((3, 2)), "X holds NaN"),
        (np.ones((3, 2)), sparse.csr_matrix([[np.inf, 0], [1, 2]]), "Y holds NaN"),
    ],
)
@each_metric
def test_bad_input_is_refused(name, x, y, message):
    with pytest.raises(ValueError, match=message):
        measure(name, x, y)


def test_other_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least 2 cells"):
        sh.metrics.variance_ratio(np.ones((1, 2)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="tolerance must be a finite number of at least 0, not -1"):
        sh.metrics.zero_fraction_error(np.ones((3, 2)), np.ones((3, 2)), tolerance=-1)
