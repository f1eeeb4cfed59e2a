"""Fréchet and kernel distances: closed forms, no bias, and the values of torchmetrics."""

import numpy as np
import pytest
from scipy import linalg

import shoal as sh


def normal(rng, n, d, mean=0.0, scale=1.0):
    return mean + scale * rng.normal(size=(n, d))


def test_one_dimension_is_the_closed_form():
    rng = np.random.default_rng(0)
    x, y = normal(rng, 50, 1), normal(rng, 70, 1, mean=2.0, scale=3.0)
    expected = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    assert sh.metrics.frechet_distance(x, y, corrected=False) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "m", "d"), [(40, 60, 5), (8, 60, 20), (10, 12, 40)])
def test_it_is_the_formula_with_the_root_of_the_covariances(n, m, d):
    rng = np.random.default_rng(1)
    x, y = normal(rng, n, d), normal(rng, m, d, mean=0.5) @ rng.normal(size=(d, d))
    a, b = np.cov(x.T), np.cov(y.T)
    root = linalg.sqrtm(a.astype(complex) @ b)
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b - 2 * root).real
    assert sh.metrics.frechet_distance(x, y, corrected=False) == pytest.approx(expected, rel=1e-4)


def test_the_correction_takes_the_bias_of_few_images_off():
    rng = np.random.default_rng(2)
    plain, corrected = np.array(
        [
            [sh.metrics.frechet_distance(x, y, corrected=c) for c in (False, True)]
            for x, y in ((normal(rng, 60, 6), normal(rng, 60, 6)) for _ in range(60))
        ]
    ).T
    assert plain.min() > 0
    assert abs(corrected.mean()) < 0.15 * plain.mean()


def test_the_correction_keeps_a_real_distance():
    rng = np.random.default_rng(3)
    values = [
        sh.metrics.frechet_distance(normal(rng, 80, 4), normal(rng, 80, 4, mean=1.0, scale=2.0))
        for _ in range(20)
    ]
    assert np.mean(values) == pytest.approx(4 + 4, rel=0.1)  # |shift|² and (2 - 1)² in each of 4


def test_the_kernel_distance_has_no_bias():
    rng = np.random.default_rng(4)
    null = [sh.metrics.kernel_distance(normal(rng, 20, 3), normal(rng, 30, 3)) for _ in range(300)]
    assert abs(np.mean(null)) < 3 * np.std(null) / np.sqrt(len(null))
    far = sh.metrics.kernel_distance(normal(rng, 20, 3), normal(rng, 30, 3, mean=2))
    assert far > 10 * np.std(null)


def test_the_kernel_distance_is_the_mean_over_pairs():
    rng = np.random.default_rng(5)
    x, y = normal(rng, 5, 3), normal(rng, 4, 3)

    def kernel(a, b):
        return (a @ b / 3 + 1) ** 3

    own = [
        np.mean([kernel(a, b) for i, a in enumerate(v) for j, b in enumerate(v) if i != j])
        for v in (x, y)
    ]
    between = np.mean([kernel(a, b) for a in x for b in y])
    assert sh.metrics.kernel_distance(x, y) == pytest.approx(sum(own) - 2 * between)


def test_both_are_those_of_torchmetrics():
    torch = pytest.importorskip("torch")
    fid = pytest.importorskip("torchmetrics.image.fid")
    kid = pytest.importorskip("torchmetrics.image.kid")
    rng = np.random.default_rng(6)
    x, y = normal(rng, 50, 8), normal(rng, 40, 8, mean=0.3)
    a, b = torch.as_tensor(x), torch.as_tensor(y)
    theirs = fid._compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())
    ours = sh.metrics.frechet_distance(x, y, corrected=False)
    assert ours == pytest.approx(float(theirs), rel=1e-6)
    theirs = kid.poly_mmd(a[:40], b)  # which takes sets of one size
    assert sh.metrics.kernel_distance(x[:40], y) == pytest.approx(float(theirs), rel=1e-6)


def test_the_order_of_images_and_of_features_does_not_matter():
    rng = np.random.default_rng(7)
    x, y = normal(rng, 30, 5), normal(rng, 30, 5)
    for name in ("frechet_distance", "kernel_distance"):
        metric = getattr(sh.metrics, name)
        assert metric(x[:, ::-1], y[:, ::-1]) == pytest.approx(metric(x, y))
    plain = sh.metrics.frechet_distance(x[::-1], y, corrected=False)
    assert plain == pytest.approx(sh.metrics.frechet_distance(x, y, corrected=False))


def test_few_images_are_refused():
    x = np.ones((3, 2))
    with pytest.raises(ValueError, match="at least 4 images.*corrected=False"):
        sh.metrics.frechet_distance(x, x)
    with pytest.raises(ValueError, match="at least 2"):
        sh.metrics.kernel_distance(x[:1], x)
    with pytest.raises(ValueError, match="NaN"):
        sh.metrics.kernel_distance(np.full((4, 2), np.nan), x)
    with pytest.raises(ValueError, match="equal columns"):
        sh.metrics.frechet_distance(np.ones((5, 3)), np.ones((5, 2)))
