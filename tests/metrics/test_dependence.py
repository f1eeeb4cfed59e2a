"""How genes go together: closed forms, nulls, invariances, and predictions that are wrong in one way."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from shoal.metrics import (
    correlation_similarity,
    library_spread,
    mean_squared_correlation,
    program_spread,
)


def equicorrelated(n, d, rho, rng):
    return np.sqrt(rho) * rng.normal(size=(n, 1)) + np.sqrt(1 - rho) * rng.normal(size=(n, d))


def normalised(rate, n, rng):
    counts = rng.poisson(rate * rng.lognormal(0, 0.4, (n, 1)))
    return np.log1p(1000 * counts / counts.sum(axis=1, keepdims=True))


# -- mean squared correlation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [0.2, 0.6, 0.9])
def test_columns_of_one_correlation_have_its_square(rho, rng):
    found = mean_squared_correlation(equicorrelated(20_000, 8, rho, rng))
    assert found == pytest.approx(rho**2, abs=0.02)


def test_copies_of_one_column_have_one_and_nothing_else_has_a_value():
    one = np.random.default_rng(0).normal(size=(50, 1))
    assert mean_squared_correlation(one * [1.0, -2.0, 3.0]) == pytest.approx(1)
    assert np.isnan(mean_squared_correlation(np.hstack([one, np.ones((50, 3))])))


@pytest.mark.parametrize("n", [30, 100])
def test_independent_genes_have_none_on_average_whatever_the_number_of_cells(n):
    """Also for counts with many zeros; without the correction it would be about 1 / n."""
    found = []
    for seed in range(40):
        cells = np.log1p(np.random.default_rng(seed).poisson(1.0, size=(n, 20)))
        found.append(mean_squared_correlation(cells))
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < max(4 * error, 0.2 / n)
    assert min(found) < 0


def test_units_order_and_columns_that_do_not_vary_are_no_matter(rng):
    cells = equicorrelated(60, 6, 0.3, rng)
    expected = mean_squared_correlation(cells)
    assert mean_squared_correlation(7 - 2 * cells[::-1, ::-1]) == pytest.approx(expected)
    more = np.hstack([cells, np.full((60, 2), 3.0)])
    assert mean_squared_correlation(more) == pytest.approx(expected)


def test_cells_moved_along_one_direction_by_different_amounts_are_seen(rng):
    cells = rng.normal(size=(200, 30))
    moved = cells + rng.normal(size=(200, 1)) * rng.choice([-1, 1], 30)
    assert mean_squared_correlation(cells + 3.0) == pytest.approx(0, abs=0.005)
    assert mean_squared_correlation(moved) == pytest.approx(0.25, abs=0.05)  # 1 / 2 in every pair


# -- similarity of correlations ----------------------------------------------------------------------------------------


def test_similarity_is_one_for_the_same_genes_and_none_for_shuffled_cells(rng):
    cells = rng.normal(size=(400, 4)) @ rng.normal(size=(4, 30))
    assert correlation_similarity(3 * cells + 1, cells) == pytest.approx(1)
    again = [correlation_similarity(rng.permuted(cells, axis=0), cells) for _ in range(10)]
    assert abs(np.mean(again)) < 0.05


def test_similarity_is_pearsons_correlation_of_numpys_correlations(rng):
    x, y = (rng.normal(size=(n, 7)) @ rng.normal(size=(7, 7)) for n in (40, 60))
    pairs = np.triu_indices(7, k=1)
    expected = np.corrcoef(np.corrcoef(x.T)[pairs], np.corrcoef(y.T)[pairs])[0, 1]
    assert correlation_similarity(x, y) == pytest.approx(expected)


def test_similarity_does_not_see_strength(rng):
    shared = rng.normal(size=(5000, 5)) @ rng.normal(size=(5, 20))
    alike = shared + 0.5 * rng.normal(size=shared.shape)
    weaker = shared + 3.0 * rng.normal(size=shared.shape)
    assert correlation_similarity(weaker, alike) > 0.9
    assert mean_squared_correlation(weaker) < 0.5 * mean_squared_correlation(alike)


def test_similarity_without_a_value(rng):
    cells = rng.normal(size=(20, 5))
    assert np.isnan(correlation_similarity(np.ones((20, 5)), cells))
    assert np.isnan(correlation_similarity(cells, np.where(np.arange(5) < 2, cells, 0)))
    with pytest.raises(ValueError, match="at least 3 cells in a population, not 2"):
        correlation_similarity(cells[:2], cells)


# -- library sizes -----------------------------------------------------------------------------------------------------


def test_normalised_cells_have_one_library_size(rng):
    cells = normalised(rng.lognormal(0, 1, 50), 80, rng)
    assert library_spread(cells) == pytest.approx(0, abs=1e-12)
    factor = rng.lognormal(0, 0.1, (80, 1))
    scaled = np.log1p(factor * np.expm1(cells))
    assert library_spread(scaled) == pytest.approx(np.log(factor).std(ddof=1))
    assert library_spread(sparse.csr_matrix(scaled)) == pytest.approx(library_spread(scaled))


def test_a_shift_of_logged_values_scatters_library_sizes(rng):
    """What is added to some genes of all cells counts for more in cells that have much of them."""
    cells = normalised(rng.lognormal(0, 1, 50), 80, rng)
    assert library_spread(cells + 0.5 * (np.arange(50) < 25)) > 0.01


def test_library_sizes_of_what_is_not_log_normalised_are_refused():
    cells = np.random.default_rng(0).normal(size=(20, 5))
    with pytest.raises(ValueError, match=r"below 0, such as -\d\.\d+; .* need log-normalised"):
        library_spread(cells)
    with pytest.raises(ValueError, match=r"values up to 800; .* none is above 50"):
        library_spread(np.full((20, 5), 800.0))
    with pytest.raises(ValueError, match="2 cells without any counts"):
        library_spread(np.where(np.arange(20)[:, None] < 2, 0, np.abs(cells)))


# -- programmes --------------------------------------------------------------------------------------------------------


def test_two_states_have_the_spread_of_a_coin(rng):
    """A part p of the cells is higher by a in k of G genes: SD a (1 - k / G) sqrt(p (1 - p))."""
    state = np.arange(1000) < 250
    cells = 2.0 + 3.0 * state[:, None] * (np.arange(40) < 10)
    expected = 3.0 * (1 - 10 / 40) * np.sqrt(0.25 * 0.75 * 1000 / 999)
    assert program_spread(cells, np.arange(40) < 10) == pytest.approx(expected)
    assert program_spread(sparse.csr_matrix(cells), np.arange(40) < 10) == pytest.approx(expected)


def test_what_is_common_to_all_genes_is_no_programme(rng):
    cells = rng.normal(size=(100, 30))
    genes = rng.random(30) < 0.3
    expected = program_spread(cells, genes)
    assert program_spread(cells + rng.normal(size=(100, 1)), genes) == pytest.approx(expected)
    assert program_spread(np.tile(cells.mean(axis=0), (9, 1)), genes) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("genes", "said"),
    [
        (np.zeros(5, dtype=bool), "genes holds no gene"),
        (np.ones(4, dtype=bool), "a boolean for each of the 5 columns"),
        (np.arange(5), r"adata\.var_names\.isin\(names\), not int64"),
    ],
)
def test_sets_without_genes_are_refused(genes, said):
    with pytest.raises(ValueError, match=said):
        program_spread(np.ones((9, 5)), genes)
