from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import r2_score

from shoal.metrics._weighted import gene_weights, weighted_mse, weighted_r2, welch_t


@pytest.fixture
def cells(rng):
    """Cells of 5 conditions over 30 genes, of unequal numbers; gene 0 responds in condition 0, gene 9 is constant."""
    groups = [rng.gamma(2, 1 + 0.1 * i, (n, 30)) for i, n in enumerate((12, 40, 7, 25, 2))]
    groups[0][:, 0] += 4
    for x in groups:
        x[:, 9] = 1.3
    return groups


def sums(groups):
    return (
        np.array([x.sum(axis=0) for x in groups]),
        np.array([(x**2).sum(axis=0) for x in groups]),
        np.array([len(x) for x in groups]),
    )


def t_of(groups, **options):
    total, square, counts = sums(groups)
    return welch_t(total, square, counts=counts, **options)


# -- the statistic ---------------------------------------------------------------------------------------------------


def test_t_equals_scipy_against_all_other_cells(cells):
    varying = np.arange(30) != 9
    for i, (x, found) in enumerate(zip(cells, t_of(cells), strict=True)):
        others = np.vstack(cells[:i] + cells[i + 1 :])
        expected = stats.ttest_ind(x[:, varying], others[:, varying], equal_var=False).statistic
        np.testing.assert_allclose(found[varying], expected, rtol=1e-9)
        assert found[9] == 0  # one value in all cells, though its sums are rounded


def test_t_compares_within_a_context_only(cells):
    group = np.array([3, 8, 3, 8, 3])
    found = t_of(cells, group=group)
    for label in (3, 8):
        rows = np.flatnonzero(group == label)
        np.testing.assert_allclose(found[rows], t_of([cells[i] for i in rows]), rtol=1e-9)


def test_t_without_a_response_is_standard_normal(rng):
    found = t_of([rng.normal(2, 1, (200, 400)) for _ in range(10)])
    assert abs(found.mean()) < 0.1
    assert found.std() == pytest.approx(1, rel=0.05)


def test_t_of_too_few_cells_is_not_known(cells):
    found = t_of([*cells, cells[0][:1], cells[0][:0]])
    assert np.isnan(found[5:]).all()
    assert np.isfinite(found[:5]).all()
    assert np.isnan(t_of(cells[:1])).all()  # no others


def test_t_of_two_different_constants_is_not_known():
    found = t_of([np.ones((4, 1)), np.full((5, 1), 2.0)])
    assert np.isnan(found).all()


def test_t_refuses_bad_counts(cells):
    total, square, counts = sums(cells)
    with pytest.raises(ValueError, match="counts must hold 5 numbers"):
        welch_t(total, square, counts=counts[:3])
    with pytest.raises(ValueError, match="numbers of cells, not -40"):
        welch_t(total, square, counts=-counts)
    with pytest.raises(ValueError, match="numbers of cells, not 2.5"):
        welch_t(total, square, counts=counts + 0.5)
    for bad in (counts.astype(str), np.array(list("abcde"))):
        with pytest.raises(TypeError, match="counts must be numbers of cells"):
            welch_t(total, square, counts=bad)
    with pytest.raises(ValueError, match=r"group must hold one label for each of 5"):
        welch_t(total, square, counts=counts, group=np.zeros(4))


def test_t_refuses_squares_that_are_none(cells):
    total, square, counts = sums(cells)
    for wrong in ((square, total, counts), (total, -square, counts), (total, square, counts // 9)):
        with pytest.raises(ValueError, match="too small to be sums of squares"):
            welch_t(*wrong[:2], counts=wrong[2])
    varies = welch_t(total, square, counts=counts) != 0
    single = welch_t(total.astype(np.float32), square.astype(np.float32), counts=counts)
    np.testing.assert_allclose(single[varies], t_of(cells)[varies], rtol=1e-3, atol=1e-3)


# -- the weights -----------------------------------------------------------------------------------------------------


def test_weights_closed_form():
    np.testing.assert_allclose(
        gene_weights(np.array([[1.0, 2, -3, 5]])), np.array([[0, 1, 4, 16]]) / 21
    )
    np.testing.assert_allclose(
        gene_weights(np.array([[1.0, 2, -3, 5]]), exponent=1), np.array([[0, 1, 2, 4]]) / 7
    )


def test_weights_are_shares_and_do_not_see_sign_or_scale(rng):
    t = rng.normal(size=(6, 20))
    found = gene_weights(t)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found >= 0).all()
    np.testing.assert_allclose(gene_weights(-7 * t), found)


def test_masked_and_unknown_genes_get_no_weight():
    t = np.array([[1.0, 2, 3, 100], [np.nan, 2, 3, np.inf]])
    mask = np.array([[True, True, True, False], [True] * 4])
    np.testing.assert_allclose(gene_weights(t, mask=mask), [[0, 0.2, 0.8, 0], [0, 0, 1, 0]])


def test_weights_of_equal_statistics_are_equal_and_without_any_zero():
    t = np.array([[2.0, -2, 2, 2], [np.nan] * 4])
    mask = np.array([[True, True, False, True], [True] * 4])
    np.testing.assert_allclose(gene_weights(t, mask=mask), [[1 / 3, 1 / 3, 0, 1 / 3], [0] * 4])


def test_weights_refuse_bad_input():
    with pytest.raises(ValueError, match="exponent must be above 0, not 0"):
        gene_weights(np.ones((2, 3)), exponent=0)
    with pytest.raises(ValueError, match=r"conditions x genes, not of shape \(3,\)"):
        gene_weights(np.ones(3))


# -- the metrics -----------------------------------------------------------------------------------------------------


@pytest.fixture
def means(rng):
    """A predicted, a real and a reference mean of 6 conditions over 50 genes, and weights."""
    reference = np.tile(rng.gamma(2, 1, 50), (6, 1))
    real = reference + rng.normal(size=(6, 50))
    return (
        real + 0.5 * rng.normal(size=real.shape),
        real,
        reference,
        gene_weights(rng.normal(size=real.shape)),
    )


def test_weighted_mse_equals_its_definition(means):
    predicted, real, _, w = means
    np.testing.assert_allclose(
        weighted_mse(predicted, real, weights=w), (w * (predicted - real) ** 2).sum(axis=1)
    )
    np.testing.assert_allclose(
        weighted_mse(predicted, real, weights=9 * w), weighted_mse(predicted, real, weights=w)
    )
    even = np.ones_like(w)
    np.testing.assert_allclose(
        weighted_mse(predicted, real, weights=even), ((predicted - real) ** 2).mean(axis=1)
    )
    assert (weighted_mse(real, real, weights=w) == 0).all()


def test_weighted_r2_equals_scikit_learn(means):
    predicted, real, reference, w = means
    expected = [
        r2_score(x - r, y - r, sample_weight=share)
        for x, y, r, share in zip(real, predicted, reference, w, strict=True)
    ]
    np.testing.assert_allclose(
        weighted_r2(predicted, real, reference=reference, weights=w), expected, rtol=1e-10
    )


def test_weighted_r2_of_the_truth_the_reference_and_a_shift_twice_too_large(means):
    _, real, reference, w = means

    def r2(x):
        return weighted_r2(x, real, reference=reference, weights=w)

    np.testing.assert_allclose(r2(real), 1)
    assert (r2(reference) <= 0).all()
    np.testing.assert_allclose(
        r2(2 * real - reference), r2(reference)
    )  # as far off as no shift at all
    assert (r2(3 * real - 2 * reference) < r2(reference)).all()


def test_weighted_metrics_look_where_the_perturbation_acts(rng):
    """2 of 500 genes respond: copying the reference is nearly the best by MSE, and the worst by weighted MSE."""
    reference, noise = np.zeros((1, 500)), 0.1 * rng.normal(size=(1, 500))
    real = reference.copy()
    real[0, :2] = 1, -1
    w = gene_weights(real)
    honest = real + noise
    assert ((reference - real) ** 2).mean() < ((honest - real) ** 2).mean()
    assert weighted_mse(reference, real, weights=w) > 20 * weighted_mse(honest, real, weights=w)
    assert weighted_r2(honest, real, reference=reference, weights=w) > 0.9


def test_not_defined_without_weights_or_without_a_shift(means):
    predicted, real, reference, w = (table.copy() for table in means)
    w[2] = 0
    real[4] = reference[4] + 0.1
    assert np.flatnonzero(np.isnan(weighted_mse(predicted, real, weights=w))).tolist() == [2]
    assert np.flatnonzero(
        np.isnan(weighted_r2(predicted, real, reference=reference, weights=w))
    ).tolist() == [2, 4]


def test_bad_input_is_refused(means):
    predicted, real, reference, w = means
    with pytest.raises(ValueError, match="weights must be at least 0, not -"):
        weighted_mse(predicted, real, weights=w - 1)
    with pytest.raises(ValueError, match=r"weights \(50,\)"):
        weighted_mse(predicted, real, weights=w[0])
    with pytest.raises(ValueError, match="6 of 6 rows of reference hold NaN"):
        weighted_r2(predicted, real, reference=np.nan * reference, weights=w)


def test_equals_scperteval(cells):
    reason = "a test against another package: pip install scperteval==0.2.0"
    de = pytest.importorskip("scperteval.blocks.de", reason=reason)
    t, varying = t_of(cells), np.arange(30) != 9
    for i, x in enumerate(cells):
        result = de.de_ttest(x, np.vstack(cells[:i] + cells[i + 1 :]))
        np.testing.assert_allclose(t[i, varying], result.statistic[varying], rtol=1e-6)
        np.testing.assert_allclose(gene_weights(t)[i], de.mejia_weights(t[i]), rtol=1e-12)
