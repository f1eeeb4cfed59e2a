from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import sparse, stats

from shoal.metrics import bimodality_error, correlation_error, energy_distance
from shoal.metrics._shape import correlations_of, two_groups

FORMATS = {
    "float32": lambda x: np.asarray(x, dtype=np.float32),
    "csr_matrix": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
    "csc_matrix": sparse.csc_matrix,
}


@pytest.fixture
def counts(rng):
    """Two populations of genes with many and few zeros, with values that float32 holds exactly."""
    rate = np.linspace(0.2, 4, 12)
    return rng.poisson(rate, (77, 12)) / 4.0, rng.poisson(1.4 * rate, (60, 12)) / 4.0


# -- bimodality --------------------------------------------------------------------------------------------------------


def test_two_groups_is_the_best_of_all_cuts(counts):
    x = counts[0][:, :4]

    def explained(column, cut):
        low, high = column[column <= cut], column[column > cut]
        return 1 - (len(low) * low.var() + len(high) * high.var()) / (len(column) * column.var())

    expected = [max(explained(column, cut) for cut in np.unique(column)[:-1]) for column in x.T]
    np.testing.assert_allclose(two_groups(x), expected)


@pytest.mark.parametrize(
    "draw", [stats.norm, stats.uniform, stats.bernoulli(0.05), stats.bernoulli(0.5)]
)
def test_known_laws(draw):
    expected = {stats.norm: 2 / np.pi, stats.uniform: 0.75}.get(draw, 1.0)
    x = draw.rvs(size=(50_000, 1), random_state=0) * 1.0
    assert two_groups(x)[0] == pytest.approx(expected, abs=0.01)
    assert two_groups(7 - 3 * x)[0] == pytest.approx(two_groups(x)[0])


def test_it_is_the_bimodality_index_of_two_groups(rng):
    """B^2 / (1 + B^2), with B = sqrt(w (1 - w)) |mu - nu| / s, for two groups that do not overlap."""
    group = np.arange(40_000) < 12_000
    x = 10.0 * group + rng.normal(size=40_000)
    index = np.sqrt(0.3 * 0.7) * 10
    assert two_groups(x[:, None])[0] == pytest.approx(index**2 / (1 + index**2), abs=1e-3)


@pytest.mark.parametrize("form", list(FORMATS))
def test_every_form_of_matrix_gives_the_same(form, counts):
    x, y = counts
    expected = bimodality_error(x, y)
    assert 0 < expected < 0.2
    assert bimodality_error(FORMATS[form](x), FORMATS[form](y)) == pytest.approx(expected)
    assert bimodality_error(x, FORMATS[form](y), block_bytes=1) == pytest.approx(expected)


def test_bimodality_error_is_symmetric_and_blind_to_order_scale_and_copies(counts, rng):
    x, y = counts
    found = bimodality_error(x, y, least=0)
    assert bimodality_error(y, x, least=0) == pytest.approx(found)
    assert bimodality_error(rng.permutation(x), 3 * rng.permutation(y), least=0) == pytest.approx(
        found
    )
    assert bimodality_error(x, np.tile(x, (3, 1))) == pytest.approx(0, abs=1e-12)


def test_only_genes_seen_in_enough_real_cells_count(counts):
    x, y = counts
    seen = (y != 0).sum(axis=0) >= 35
    assert 0 < seen.sum() < 12
    expected = np.abs(two_groups(x) - two_groups(y))[seen].mean()
    assert bimodality_error(x, y, least=35) == pytest.approx(expected)
    assert np.isnan(bimodality_error(x, y, least=61))
    assert np.isnan(bimodality_error(x, np.zeros((60, 12))))


def test_smooth_averaged_and_collapsed_predictions_are_seen(rng):
    """Log-normalised counts with zeros: a second sample is near 0, whatever loses the two states is far."""
    rate = rng.lognormal(-0.5, 1, 200)

    def draw():
        return np.log1p(4 * rng.negative_binomial(1, 1 / (1 + rate), (150, 200)))

    real = draw()
    floor = bimodality_error(draw(), real)
    few = bimodality_error(draw()[:50], draw()[:50])
    wrong = {
        "normal": real.mean(axis=0) + real.std(axis=0) * rng.normal(size=real.shape),
        "averages": np.mean([draw() for _ in range(5)], axis=0),
        "mean": np.tile(real.mean(axis=0), (150, 1)),
    }
    assert 0.01 < floor < 0.02 < few < 0.04
    assert bimodality_error(wrong["normal"], real) == pytest.approx(0.25, abs=0.03)
    assert min(bimodality_error(cells, real) for cells in wrong.values()) > 4 * floor
    assert bimodality_error(wrong["mean"], real) == pytest.approx(
        two_groups(real)[(real != 0).sum(0) >= 10].mean()
    )


# -- correlation -------------------------------------------------------------------------------------------------------


def test_correlations_are_numpys_and_the_influence_is_summed_cell_by_cell(counts):
    x = counts[0][:, :5]
    r, variance = correlations_of(x)
    np.testing.assert_allclose(r, np.corrcoef(x.T), atol=1e-12)
    z = stats.zscore(x)
    for i, j in combinations(range(5), 2):
        influence = z[:, i] * z[:, j] - r[i, j] * (z[:, i] ** 2 + z[:, j] ** 2) / 2
        assert variance[i, j] == pytest.approx(np.sum(influence**2) / (77 * 76))


def test_the_variance_is_that_of_a_correlation_of_normals(rng):
    """(1 - rho^2)^2 / n."""
    x = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=40_000)
    assert correlations_of(x)[1][0, 1] == pytest.approx((1 - 0.36) ** 2 / 40_000, rel=0.03)


def test_known_difference_of_two_correlations(rng):
    x, y = (rng.multivariate_normal([3, -1], [[1, r], [r, 1]], size=20_000) for r in (-0.2, 0.5))
    assert correlation_error(x, y) == pytest.approx(0.49, abs=0.03)
    assert correlation_error(y, x) == pytest.approx(correlation_error(x, y))
    assert correlation_error(5 * x + 2, y[::-1]) == pytest.approx(correlation_error(x, y))


@pytest.mark.parametrize("n", [50, 200])
def test_samples_of_one_population_are_at_0_on_average(n, rng):
    mix = np.eye(10) + 0.3 * rng.normal(size=(10, 10))
    pairs = [[rng.normal(size=(size, 10)) @ mix for size in (n, 2 * n)] for _ in range(200)]
    pairs = [
        pair if k % 2 else [np.log1p(np.exp(cells)) for cells in pair]
        for k, pair in enumerate(pairs)
    ]
    found = np.mean([correlation_error(x, y) for x, y in pairs])
    upper = np.triu_indices(10, 1)
    plug_in = np.mean(
        [((np.corrcoef(x.T) - np.corrcoef(y.T))[upper] ** 2).mean() for x, y in pairs]
    )
    assert abs(found) < 0.12 * plug_in


def test_it_sees_the_dependence_that_the_energy_distance_hardly_does(rng):
    mix = np.eye(12) + 0.35 * rng.normal(size=(12, 12))
    x, y = rng.normal(size=(2, 300, 12)) @ mix
    shuffled = rng.permuted(x, axis=0)
    assert correlation_error(shuffled, y) > 10 * abs(correlation_error(x, y))
    assert energy_distance(shuffled, y) < 0.1 * energy_distance(x + y.std(axis=0), y)
    upper = np.triu_indices(12, 1)
    assert correlation_error(shuffled, y) == pytest.approx(
        (np.corrcoef(y.T)[upper] ** 2).mean(), rel=0.2
    )


def test_columns_without_spread(rng):
    y = rng.multivariate_normal([0, 0, 0], [[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]], size=400)
    collapsed = np.tile(y.mean(axis=0), (30, 1))
    assert correlation_error(collapsed, y) == pytest.approx(0.81 / 3, abs=0.03)
    still = np.column_stack([y, np.full(400, 0.1)])
    drawn = rng.normal(size=(50, 4))
    assert correlation_error(drawn, still) == pytest.approx(correlation_error(drawn[:, :3], y))
    assert np.isnan(correlation_error(drawn, np.column_stack([y[:, 0], np.ones((400, 3))])))


# -- input -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [bimodality_error, correlation_error])
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((3, 2)), np.ones((3, 4)), "columns"),
        (np.ones((1, 2)), np.ones((3, 2)), "at least 2 cells"),
        (np.ones((3, 2)), np.array([[1, np.nan], [1, 2], [3, 4]]), "Y hold.? NaN"),
    ],
)
def test_bad_input_is_refused(metric, x, y, message):
    with pytest.raises(ValueError, match=message):
        metric(x, y)


def test_two_cells_have_no_correlation():
    with pytest.raises(ValueError, match="at least 3 cells for correlations, not 2 and 9"):
        correlation_error(np.eye(2), np.ones((9, 2)))
