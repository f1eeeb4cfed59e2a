from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn import metrics as sklearn

from shoal.metrics._errors import cell_error, mae, mse, rmse

PEERS = {
    mae: sklearn.mean_absolute_error,
    mse: sklearn.mean_squared_error,
    rmse: sklearn.root_mean_squared_error,
}
each = pytest.mark.parametrize("metric", list(PEERS), ids=lambda metric: metric.__name__)


@pytest.fixture
def means(rng):
    real = rng.gamma(2, 1, (7, 40))
    return real + rng.normal(size=real.shape), real


@each
def test_equals_scikit_learn(metric, means):
    predicted, real = means
    expected = [PEERS[metric](x, y) for x, y in zip(real, predicted, strict=True)]
    np.testing.assert_allclose(metric(predicted, real), expected, rtol=1e-12)


@each
def test_perfect_symmetric_and_invariant_to_order(metric, means, rng):
    predicted, real = means
    found, genes = metric(predicted, real), rng.permutation(40)
    assert (metric(real, real) == 0).all()
    np.testing.assert_allclose(metric(real, predicted), found)
    np.testing.assert_allclose(metric(predicted[:, genes] + 5, real[:, genes] + 5), found)
    np.testing.assert_allclose(metric(predicted[::-1], real[::-1]), found[::-1])


@each
def test_the_mask_leaves_genes_out(metric, means):
    predicted, real = means
    mask = np.ones(real.shape, dtype=bool)
    mask[2, 5] = mask[4, 7] = False
    expected = metric(predicted, real)
    expected[2] = metric(np.delete(predicted, 5, axis=1), np.delete(real, 5, axis=1))[2]
    expected[4] = metric(np.delete(predicted, 7, axis=1), np.delete(real, 7, axis=1))[4]
    np.testing.assert_allclose(metric(predicted, real, mask=mask), expected, rtol=1e-12)
    mask[3] = False
    assert np.flatnonzero(np.isnan(metric(predicted, real, mask=mask))).tolist() == [3]


def test_noise_alone_gives_its_own_size(rng):
    noise = rng.normal(size=(1, 100_000))
    assert mse(noise, 0 * noise) == pytest.approx(1, rel=0.02)
    assert mae(noise, 0 * noise) == pytest.approx(np.sqrt(2 / np.pi), rel=0.02)


@each
@pytest.mark.parametrize(
    ("predicted", "options", "message"),
    [
        (np.ones((3, 5)), {}, r"predicted \(3, 5\), real \(3, 4\)"),
        (np.ones(4), {}, r"conditions x genes.*predicted \(4,\)"),
        (np.array([[0, 1, 2, np.nan]] * 3), {}, "3 of 3 rows of predicted hold NaN"),
        (np.ones((3, 4)), {"mask": np.ones((3, 4))}, "booleans of shape .3, 4., not float64"),
        (np.ones((3, 4)), {"mask": np.ones(4, dtype=bool)}, r"not bool of shape \(4,\)"),
    ],
)
def test_bad_input_is_refused(metric, predicted, options, message):
    with pytest.raises(ValueError, match=message):
        metric(predicted, np.zeros((3, 4)), **options)


# -- cells -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def cells(rng):
    start = [rng.normal(size=(n, 6)) for n in (30, 12)]
    return start, [
        x + 3 * np.eye(6)[i] + 0.1 * rng.normal(size=x.shape) for i, x in enumerate(start)
    ]


def test_cell_error_is_0_for_the_truth_1_for_no_change_and_linear_between(cells):
    start, real = cells
    np.testing.assert_array_equal(cell_error(real, real, start=start), 0)
    np.testing.assert_allclose(cell_error(start, real, start=start), 1)
    part = [x + 0.75 * (y - x) for x, y in zip(start, real, strict=True)]
    np.testing.assert_allclose(cell_error(part, real, start=start), 0.25)


def test_cell_error_equals_its_definition(cells, rng):
    start, real = cells
    predicted = [x + rng.normal(size=x.shape) for x in real]
    expected = [
        np.mean([np.linalg.norm(p - t) for p, t in zip(a, b, strict=True)])
        / np.mean([np.linalg.norm(s - t) for s, t in zip(c, b, strict=True)])
        for a, b, c in zip(predicted, real, start, strict=True)
    ]
    np.testing.assert_allclose(cell_error(predicted, real, start=start), expected)


def test_cell_error_knows_which_cell_is_which(cells, rng):
    start, real = cells
    shuffled = [rng.permutation(x) for x in real]  # the right population, the wrong cells
    assert (cell_error(shuffled, real, start=start) > 0.8).all()


def test_cell_error_is_the_same_for_sparse_cells(cells):
    start, real = ([np.where(x > 0.3, x, 0) for x in group] for group in cells)
    predicted = [0.5 * x for x in real]
    expected = cell_error(predicted, real, start=start)
    for kind in (sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix):
        as_sparse = [[kind(x) for x in group] for group in (predicted, real, start)]
        np.testing.assert_allclose(cell_error(*as_sparse[:2], start=as_sparse[2]), expected)
        np.testing.assert_allclose(
            cell_error(predicted, as_sparse[1], start=as_sparse[2]), expected
        )
    single = [[x.astype(np.float32) for x in group] for group in (predicted, real, start)]
    np.testing.assert_allclose(cell_error(*single[:2], start=single[2]), expected, rtol=1e-5)


def test_cell_error_without_cells_or_without_a_move_is_not_defined(cells):
    start, real = cells
    found = cell_error(
        [real[0][:0], start[1]], [real[0][:0], start[1]], start=[start[0][:0], start[1]]
    )
    assert np.isnan(found).all()


def test_cell_error_refuses_what_does_not_correspond(cells):
    start, real = cells
    with pytest.raises(ValueError, match="not 1, 2 and 2"):
        cell_error(real[:1], real, start=start)
    with pytest.raises(
        ValueError, match=r"population 1 must hold the same cells .*, not \(30, 6\)"
    ):
        cell_error([real[0], real[0]], real, start=start)
    with pytest.raises(ValueError, match="population 0 holds NaN"):
        cell_error([np.full_like(real[0], np.nan), real[1]], real, start=start)
