"""The test by replicates: its estimate, the cumulants of its null, its level and its power."""

import numpy as np
import pytest
from scipy import stats

from shoal.metrics import _replicates as rep
from shoal.metrics._replicates import Replicates, replicate_test

D = 12
CELLS = 1 / np.arange(1, D + 1)  # variances of single cells


def drawn(rng, *, groups=1, k=4, control=4, between=0.01, shift=None, uneven=False, paired=False):
    """Draw replicates of `groups` perturbations, shifted by `shift` (G, D)."""
    owner = np.r_[np.repeat(np.arange(groups), k), np.full(0 if paired else control, groups)]
    n = (
        np.exp(rng.uniform(np.log(20), np.log(300), len(owner)))
        if uneven
        else np.full(len(owner), 100.0)
    )
    spread = np.sqrt(np.broadcast_to(between, D) * CELLS)
    means = rng.normal(size=(len(owner), D)) * spread
    means += rng.normal(size=means.shape) * np.sqrt(CELLS / n[:, None])
    if shift is not None:
        means += np.vstack([shift, np.zeros(D)])[owner]
    return Replicates(means, 1 / n, owner, groups, paired)


def cells(rng, n=300):
    return rng.normal(size=(n, D)) * np.sqrt(CELLS)


def rate(rng, draws, **design):
    p = [replicate_test(drawn(rng, **design), cells(rng)).pvalue for _ in range(draws)]
    return float(np.mean(np.concatenate(p) < 0.05))


def test_estimate_is_a_sum_over_pairs_of_different_replicates():
    found = drawn(np.random.default_rng(0), groups=2, k=3, control=5, uneven=True)
    x, y = found.means[found.owner == 1], found.means[found.owner == 2]

    def pairs(a):
        return np.mean([a[i] @ a[j] for i in range(len(a)) for j in range(len(a)) if i != j])

    by_hand = pairs(x) + pairs(y) - 2 * np.mean(x @ y.T)
    assert rep.shared_shift(found)[1] == pytest.approx(by_hand, rel=1e-10)
    alone = Replicates(x, found.noise[:3], np.zeros(3, dtype=int), 1, paired=True)
    assert rep.shared_shift(alone)[0] == pytest.approx(pairs(x), rel=1e-10)


def test_estimate_has_no_bias():
    rng = np.random.default_rng(1)
    shift = np.zeros((1, D))
    shift[0, 1] = 0.2
    found = [rep.shared_shift(drawn(rng, k=3, control=3, shift=shift))[0] for _ in range(3000)]
    assert np.mean(found) == pytest.approx(0.04, abs=4 * np.std(found) / np.sqrt(3000))


def test_a_single_difference_tells_no_shape_of_the_noise():
    """With one degree of freedom the second trace is 0, and no rounding decides the p-value."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found, sample = drawn(rng, k=2, paired=True), cells(rng)
        swapped = Replicates(found.means[::-1], found.noise, found.owner, 1, paired=True)
        turn = np.linalg.qr(rng.normal(size=(D, D)))[0]
        turned = Replicates(found.means @ turn, found.noise, found.owner, 1, paired=True)
        p = replicate_test(found, sample).pvalue
        np.testing.assert_allclose(replicate_test(swapped, sample).pvalue, p, rtol=1e-8)
        np.testing.assert_allclose(replicate_test(turned, sample @ turn).pvalue, p, rtol=1e-8)


@pytest.mark.parametrize("paired", [False, True])
def test_cumulants_of_the_null(paired):
    """Variance and skewness of U at known covariances, with uneven replicates."""
    rng = np.random.default_rng(2)
    found = drawn(rng, k=3, control=5, uneven=True, paired=paired)
    size = 0.5 + rng.random(len(found.owner))
    v = 0.02 * CELLS
    spread = rep.Spread(10, 0.01, v.sum(), (v**2).sum(), (v**3).sum(), 0.01)
    variance, third = rep._cumulants(found, size, spread)
    values = []
    for _ in range(20000):
        means = rng.normal(size=found.means.shape) * np.sqrt(v * size[:, None])
        again = Replicates(means, found.noise, found.owner, 1, paired)
        values.append(rep.shared_shift(again)[0])
    assert np.var(values) == pytest.approx(variance[0], rel=0.06)
    assert stats.skew(values) == pytest.approx(third[0] / variance[0] ** 1.5, abs=0.25)


def test_traces_have_no_bias_with_fewer_replicates_than_dimensions():
    rng = np.random.default_rng(3)
    v = 0.02 * CELLS
    found = np.array(
        [
            rep._unbiased(rep._moments(rng.normal(size=(6, D)) * np.sqrt(v / 6)), 6)
            for _ in range(4000)
        ]
    )
    assert found.mean(axis=0)[:2] == pytest.approx([v.sum(), (v**2).sum()], rel=0.05)
    assert found.mean(axis=0)[2] == pytest.approx((v**3).sum(), rel=0.2)


def test_in_one_dimension_it_is_the_t_test():
    rng = np.random.default_rng(4)
    ours, theirs = [], []
    for _ in range(60):
        means = rng.normal(size=(8, 1)) + np.repeat([rng.uniform(0, 3), 0], 4)[:, None]
        found = Replicates(means, np.full(8, 1e-9), np.repeat([0, 1], 4), 1)
        ours.append(replicate_test(found, rng.normal(size=(300, 1))).pvalue[0])
        theirs.append(stats.ttest_ind(means[:4, 0], means[4:, 0]).pvalue)
    assert np.abs(np.array(ours) - theirs).max() < 0.03


def test_invariant_to_rotation_translation_scale_and_order():
    rng = np.random.default_rng(5)
    found, noise = drawn(rng, groups=4, k=3, uneven=True), cells(rng)
    p = replicate_test(found, noise).pvalue
    turn, _ = np.linalg.qr(rng.normal(size=(D, D)))
    order = rng.permutation(len(found.owner))
    moved = Replicates(
        (3 * found.means @ turn + 7)[order], found.noise[order], found.owner[order], 4
    )
    assert replicate_test(moved, 3 * noise @ turn).pvalue == pytest.approx(p, rel=1e-8)


def test_features_without_content_change_nothing():
    rng = np.random.default_rng(6)
    found, noise = drawn(rng, groups=4, k=3), cells(rng, 40)

    def wide(x):
        return np.hstack([x, np.zeros((len(x), 400))])

    again = Replicates(wide(found.means), found.noise, found.owner, 4)
    p = replicate_test(found, noise).pvalue
    assert replicate_test(again, wide(noise)).pvalue == pytest.approx(p, rel=1e-8)


@pytest.mark.parametrize(("k", "control"), [(1, 5), (3, 1), (3, 0)])
def test_few_replicates_says_nothing(k, control):
    found = replicate_test(
        drawn(np.random.default_rng(7), k=k, control=control), cells(np.random.default_rng(7))
    )
    assert np.isnan(found.pvalue).all()
    assert found.spread is None


def test_a_lfew_replicates_beside_others_is_not_tested():
    found = drawn(np.random.default_rng(8), groups=3, k=3)
    keep = ~np.isin(np.arange(len(found.owner)), [4, 5])
    less = Replicates(found.means[keep], found.noise[keep], found.owner[keep], 3)
    p = replicate_test(less, cells(np.random.default_rng(8))).pvalue
    assert np.isfinite(p).tolist() == [True, False, True]


@pytest.mark.parametrize(
    "between", [0.0, 0.01, [0.1] + [0.0] * (D - 1), 0.01 * np.arange(1, D + 1)]
)
def test_level_with_many_replicates(between):
    """Whatever the shape of the differences between replicates, about 5 % are rejected."""
    found = rate(np.random.default_rng(9), 40, groups=20, control=8, between=between, uneven=True)
    assert 0.02 < found < 0.085


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("between", [0.0, 0.01, [0.1] + [0.0] * (D - 1)])
def test_few_replicates_do_not_reject_too_often(between, paired):
    assert rate(np.random.default_rng(10), 400, between=between, uneven=True, paired=paired) < 0.085


def test_differences_in_efficacy_do_not_hide_weak_responses():
    """Guides of strong perturbations differ along the shift. That is no noise of the others."""
    rng = np.random.default_rng(11)
    shift = np.zeros((12, D))
    shift[:4, 0] = 4.0  # strong
    shift[4:8, 1] = 0.5  # weak
    hits = []
    for _ in range(10):
        found = drawn(rng, groups=12, k=4, control=6, shift=shift)
        strong = found.owner < 4
        found.means[strong] *= rng.uniform(0.3, 1.2, (strong.sum(), 1))
        hits.append(replicate_test(found, cells(rng)).pvalue < 0.05)
    assert np.mean(hits, axis=0)[:8].min() >= 0.9
    assert np.mean(hits, axis=0)[8:].mean() < 0.15
