"""Partial association: exact cases, calibration where the published calculation fails, power."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from shoal.metrics import partial_association
from shoal.metrics._association import magnitude_bins, raw_partial


def screen(n, rng, effect=0.0):
    """Coherence an exact function of signal to noise; stress a convex function of magnitude, plus noise."""
    true = rng.lognormal(0.5, 0.7, n)
    magnitude = true * np.exp(0.05 * rng.normal(size=n))
    own = 0.1 * rng.normal(size=n)
    stress = 0.05 * true**2 + own
    residual = (
        rng.normal(size=n) * (1 + 0.5 * (true > 2)) + 0.8 * np.log(magnitude) + effect * own / 0.1
    )
    return true / np.sqrt(true**2 + 9), residual, stress[:, None], magnitude


@pytest.mark.slow
@pytest.mark.parametrize(("n", "repeats"), [(25, 500), (150, 500), (1800, 120)])
def test_calibrated_where_the_raw_partial_is_not(n, repeats):
    rng = np.random.default_rng(n)
    ours, raw = [], []
    for _ in range(repeats):
        coherence, residual, stress, magnitude = screen(n, rng)
        ours.append(
            partial_association(residual, stress, magnitude=magnitude, n_perms=399, rng=rng).pvalue[
                0
            ]
        )
        raw.append(raw_partial(coherence, stress, magnitude=magnitude).pvalue[0])
    rejected = np.mean(np.array(ours) < 0.05)
    assert abs(rejected - 0.05) < 3 * np.sqrt(0.05 * 0.95 / repeats)
    assert stats.kstest(ours, "uniform").pvalue > 0.01
    assert np.mean(np.array(raw) < 0.05) > (0.75 if n == 25 else 0.95)


@pytest.mark.slow
def test_power():
    rng = np.random.default_rng(3)
    found = []
    for _ in range(100):
        _, residual, stress, magnitude = screen(150, rng, effect=0.4)
        found.append(
            partial_association(residual, stress, magnitude=magnitude, n_perms=199, rng=rng).pvalue[
                0
            ]
        )
    assert np.mean(np.array(found) < 0.05) > 0.85


def test_without_magnitude_to_hold_it_is_spearman(rng):
    """A spline of a magnitude that is independent of both takes nothing but degrees of freedom."""
    y, x = rng.normal(size=(2, 5000))
    y += x
    found = partial_association(y, x[:, None], magnitude=rng.normal(size=5000), n_perms=9, rng=rng)
    assert found.association[0] == pytest.approx(stats.spearmanr(x, y).statistic, abs=0.01)


def test_equals_regression_by_hand(rng):
    """A fit with truncated powers in place of cardinal splines spans the same natural cubic splines."""
    n = 80
    y, x, m, q = rng.normal(size=(4, n))
    found = partial_association(
        y, x[:, None], magnitude=m, covariates=q[:, None], n_perms=9, rng=rng
    )
    place, knots = (stats.rankdata(m) - 1) / (n - 1), np.linspace(0, 1, 5)

    def tail(k):
        return (np.maximum(place - knots[k], 0) ** 3 - np.maximum(place - 1, 0) ** 3) / (
            1 - knots[k]
        )

    design = np.column_stack(
        [np.ones(n), place, *[tail(k) - tail(3) for k in range(3)], stats.rankdata(q)]
    )
    ranks = np.column_stack([stats.rankdata(y), stats.rankdata(x)])
    rest = ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
    assert found.association[0] == pytest.approx(np.corrcoef(rest.T)[0, 1])


def test_depends_on_ranks_only_and_not_on_row_order(rng):
    y, x, m, q = rng.normal(size=(4, 60))
    order = rng.permutation(60)

    def run(*arrays):
        y, x, m, q = arrays
        return partial_association(
            y,
            x[:, None],
            magnitude=m,
            covariates=q[:, None],
            n_perms=99,
            rng=np.random.default_rng(1),
        )

    first = run(y, x, m, q)
    for other in (
        run(np.exp(y), x**3, np.exp(m), 2 * q),
        run(y[order], x[order], m[order], q[order]),
    ):
        assert other.association == pytest.approx(first.association)
        assert other.pvalue == first.pvalue


def test_a_covariate_explains_the_association_away(rng):
    cause, m = rng.normal(size=(2, 300))
    y, x = cause + 0.3 * rng.normal(size=(2, 300))
    open_ = partial_association(y, x[:, None], magnitude=m, n_perms=99, rng=rng)
    held = partial_association(
        y, x[:, None], magnitude=m, covariates=cause[:, None], n_perms=99, rng=rng
    )
    assert open_.association[0] > 0.8
    assert abs(held.association[0]) < 0.25


def test_interval_covers():
    """Of 95 % intervals for one fold and for two with independent errors, about 95 % hold the mean."""
    rng = np.random.default_rng(5)
    for folds in (1, 2):
        found = []
        for _ in range(200):
            x, m = rng.normal(size=(2, 100))
            y = 0.5 * x[:, None] + rng.normal(size=(100, folds))
            magnitude = np.repeat(m[:, None], folds, axis=1)
            found.append(
                partial_association(y, x[:, None], magnitude=magnitude, n_perms=1, rng=rng)
            )
        truth = np.mean([f.association for f in found])
        assert 0.9 < np.mean([f.ci_low[0] < truth < f.ci_high[0] for f in found]) <= 1
        assert np.mean([f.se for f in found]) == pytest.approx(
            np.std([f.association for f in found]), rel=0.3
        )


def test_equal_folds_are_one_fold(rng):
    y, x, m = rng.normal(size=(3, 50))
    one = partial_association(y, x[:, None], magnitude=m, n_perms=99, rng=np.random.default_rng(1))
    two = partial_association(
        np.column_stack([y, y]),
        x[:, None],
        magnitude=np.column_stack([m, m]),
        n_perms=99,
        rng=np.random.default_rng(1),
    )
    for a, b in zip(vars(one).values(), vars(two).values(), strict=True):
        assert a == pytest.approx(b)


def test_shared_error_is_harmless_only_when_cross_fitted():
    """Magnitude and response share an error; the score follows the true magnitude. Folds with other errors mend it."""
    rng = np.random.default_rng(8)
    shared, crossed = [], []
    for _ in range(100):
        true = rng.uniform(1, 3, 200)
        error = 0.3 * rng.normal(size=(200, 2))
        y = -error + 0.3 * rng.normal(size=(200, 2))
        score = (true**2 + 0.1 * rng.normal(size=200))[:, None]
        magnitude = true[:, None] + error
        shared.append(
            partial_association(y[:, 0], score, magnitude=magnitude[:, 0], n_perms=99, rng=rng)
        )
        crossed.append(
            partial_association(y, score, magnitude=magnitude[:, ::-1], n_perms=99, rng=rng)
        )
    assert np.mean([f.pvalue[0] < 0.05 for f in shared]) > 0.9
    assert np.mean([f.pvalue[0] < 0.05 for f in crossed]) < 0.12


def test_a_score_that_is_magnitude_has_no_association(rng):
    y, m = rng.normal(size=(2, 60))
    found = partial_association(
        y, np.column_stack([m, np.ones(60)]), magnitude=m, n_perms=9, rng=rng
    )
    assert np.isnan(found.association).all()
    assert np.isnan(found.pvalue).all()


def test_the_smallest_p_value(rng):
    x, m = rng.normal(size=(2, 100))
    assert (
        partial_association(x, x[:, None], magnitude=m, n_perms=199, rng=rng).pvalue[0] == 1 / 200
    )


def test_chunks_do_not_matter(rng, monkeypatch):
    y, x, m = rng.normal(size=(3, 40))

    def run():
        return partial_association(
            y, x[:, None], magnitude=m, n_perms=150, rng=np.random.default_rng(1)
        ).pvalue[0]

    whole = run()
    monkeypatch.setattr("shoal.metrics._association.CHUNK", 7)
    assert run() == whole


def test_too_few(rng):
    y, x, m = rng.normal(size=(3, 9))
    with pytest.raises(
        ValueError, match="9 perturbations are too few: .* take 5 degrees of freedom"
    ):
        partial_association(y, x[:, None], magnitude=m, n_perms=9, rng=rng)
    with pytest.raises(ValueError, match="4 perturbations are too few"):
        raw_partial(y[:4], x[:4, None], magnitude=m[:4])


def test_bins():
    np.testing.assert_array_equal(magnitude_bins(12, 10), [0] * 6 + [1] * 6)
    assert np.ptp(np.bincount(magnitude_bins(1003, 10))) <= 1
    np.testing.assert_array_equal(magnitude_bins(3, 10), [0, 0, 0])


def test_raw_partial_by_hand(rng):
    y, x, m = rng.normal(size=(3, 50))
    rest = [v - np.polyval(np.polyfit(m, v, 1), m) for v in (y, x)]
    expected = stats.spearmanr(*rest)
    found = raw_partial(y, x[:, None], magnitude=m)
    assert found.association[0] == pytest.approx(expected.statistic)
    assert found.pvalue[0] == pytest.approx(expected.pvalue)
