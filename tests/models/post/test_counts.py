"""From rates to counts: sums are kept, counts stay as they are, and missing noise is added, never taken away."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from shoal.models.post._counts import as_counts, missing_share


def counted(rates, *, library=None, dispersion=0.0, seed=0):
    rates = np.asarray(rates, dtype=float)
    n, d = rates.shape
    made = as_counts(
        sparse.csr_matrix(rates),
        library=np.ones(n) if library is None else library,
        dispersion=np.broadcast_to(np.asarray(dispersion, dtype=float), (d,)),
        rng=np.random.default_rng(seed),
    )
    assert made.dtype == np.int32
    assert made.format == "csr"
    assert made.nnz == 0 or made.data.min() > 0
    return made.toarray()


def negative_binomial(rng, mean, dispersion, n):
    return rng.poisson(mean * rng.gamma(1 / dispersion, dispersion, (n, len(mean))))


def test_the_sum_of_a_gene_is_right_to_one_molecule(rng):
    rates = rng.gamma(0.3, 2.0, (700, 60)) * (rng.random((700, 60)) < 0.6)
    for dispersion in (0.0, 0.5):
        made = counted(rates, dispersion=dispersion)
        assert np.abs(made.sum(0) - rates.sum(0)).max() <= 1


def test_the_expected_count_of_a_cell_is_its_rate(rng):
    rates = rng.gamma(0.5, 1.0, (40, 3))
    mean = np.mean([counted(rates, seed=seed) for seed in range(1500)], axis=0)
    assert np.abs(mean - rates).max() < 0.15
    assert np.abs(mean - rates).mean() < 0.03


def test_counts_stay_as_they_are(rng):
    counts = negative_binomial(rng, np.array([0.05, 1.0, 30.0]), 0.4, 300)
    np.testing.assert_array_equal(counted(counts, dispersion=0.4), counts)
    rounded = np.expm1(np.log1p(counts * 0.37).astype(np.float32)).astype(float) / 0.37
    np.testing.assert_array_equal(counted(rounded, dispersion=0.4), counts)


def test_zeros_stay_zeros(rng):
    rates = rng.gamma(1.0, 3.0, (300, 20)) * (rng.random((300, 20)) < 0.5)
    assert (counted(rates, dispersion=1.0)[rates == 0] == 0).all()


@pytest.mark.parametrize("dispersion", [0.0, 0.3, 1.5])
def test_smooth_rates_become_negative_binomial_counts(dispersion):
    mean, n = np.array([0.1, 0.7, 2.3, 12.4]), 20_000
    made = counted(np.ones((n, 1)) * mean, dispersion=dispersion)
    np.testing.assert_allclose(made.mean(0), mean, atol=1 / n)
    np.testing.assert_allclose(made.var(0), mean + dispersion * mean**2, rtol=0.06)
    if dispersion:
        size = 1 / dispersion
        expected = stats.nbinom.pmf(0, size, size / (size + mean))
    else:
        expected = np.exp(-mean)
    np.testing.assert_allclose((made == 0).mean(0), expected, atol=0.012)


def test_library_sizes_are_part_of_the_law(rng):
    library = np.exp(0.4 * rng.standard_normal(20_000))
    made = counted(library[:, None] * np.array([1.1, 6.2]), library=library, dispersion=0.2)
    mean, spread = made.mean(0), library.var() / library.mean() ** 2
    expected = mean + (0.2 * (1 + spread) + spread) * mean**2
    np.testing.assert_allclose(made.var(0), expected, rtol=0.05)


@pytest.mark.parametrize("factor", [0.8, 0.5])
def test_fewer_molecules_are_a_thinning(factor, rng):
    mean = np.array([0.2, 1.5, 8.0, 40.0])
    counts = negative_binomial(rng, mean, 0.3, 20_000)
    made = counted(counts * factor, dispersion=0.3)
    np.testing.assert_allclose(made.var(0), factor * mean + 0.3 * (factor * mean) ** 2, rtol=0.1)
    thinned = rng.binomial(counts, factor)
    np.testing.assert_allclose((made == 0).mean(0), (thinned == 0).mean(0), atol=0.03)


def test_spread_that_is_there_is_never_taken_away(rng):
    counts = negative_binomial(rng, np.array([2.0, 10.0]), 2.0, 3000)
    rates = counts * 1.3
    made = counted(rates, dispersion=0.0)
    assert (made.var(0) >= rates.var(0) * 0.99).all()
    assert np.abs(made - rates).max() < 1


def test_copies_of_counts_seem_to_lack_nothing_and_smooth_genes_everything(rng):
    mean, n = np.exp(rng.normal(0, 1, 300)), 400
    counts = rng.poisson(mean * np.ones((n, 1)))
    on = counts.sum(0) > 0
    own = counts[:, on].mean(0), counts[:, on].var(0, ddof=1), np.zeros(on.sum())
    share, _ = missing_share(*own, n, 0.0, np.zeros(on.sum()))
    assert share.mean() < 0.03
    share, most = missing_share(mean, np.zeros(300), np.zeros(300), n, 0.0, np.zeros(300))
    np.testing.assert_allclose(share, 1)
    np.testing.assert_allclose(most, mean)


def test_genes_are_drawn_independently():
    made = counted(np.full((2000, 12), 0.3))
    correlation = np.corrcoef(made.T) - np.eye(12)
    assert np.abs(correlation).max() < 0.1


@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (5, 1), (3, 4)])
def test_small_populations_and_genes_that_are_off(shape):
    rates = np.zeros(shape)
    np.testing.assert_array_equal(counted(rates), 0)
    rates[:] = 0.4
    if rates.size:
        made = counted(rates, dispersion=0.5)
        assert np.abs(made.sum(0) - rates.sum(0)).max() <= 1


def test_a_seed_decides(rng):
    rates = rng.gamma(0.5, 1.0, (50, 8))
    np.testing.assert_array_equal(counted(rates, seed=3), counted(rates, seed=3))
    assert (counted(rates, seed=3) != counted(rates, seed=4)).any()
