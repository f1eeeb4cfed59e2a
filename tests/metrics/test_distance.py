from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats
from scipy.spatial.distance import cdist, pdist

import shoal as sh
from shoal.metrics._pairs import Points, euclidean, gaussian, group_sums
from shoal.metrics._reference import PairReference, SquaredReference

WIDTHS = [1.0, 2.5]
LINKS = {
    "edistance": lambda d: d**2,
    "energy_distance": lambda d: d,
    "mmd": lambda d: -np.mean([np.exp(-(d**2) / (2 * w**2)) for w in WIDTHS], axis=0),
}


def measure(name, x, y, **options):
    options = options | ({"bandwidth": WIDTHS} if name == "mmd" else {})
    return getattr(sh.metrics, name)(x, y, **options)


def brute(name, x, y, *, biased=False):
    """The definition, with all pairs."""
    xx, xy, yy = (LINKS[name](cdist(a, b)) for a, b in ((x, x), (x, y), (y, y)))
    if biased:
        return 2 * xy.mean() - xx.mean() - yy.mean()
    n, m = len(x), len(y)
    return (
        2 * xy.mean()
        - (xx.sum() - xx.trace()) / (n * (n - 1))
        - (yy.sum() - yy.trace()) / (m * (m - 1))
    )


each_metric = pytest.mark.parametrize("name", list(LINKS))


@pytest.fixture
def pair(rng):
    return rng.normal(0.5, 1.3, (430, 6)), rng.standard_t(4, (950, 6))


@each_metric
@pytest.mark.parametrize("biased", [False, True])
def test_equals_all_pairs(name, biased, pair):
    assert measure(name, *pair, biased=biased) == pytest.approx(
        brute(name, *pair, biased=biased), abs=1e-11
    )


@each_metric
def test_symmetric_and_invariant_to_order_rotation_and_translation(name, pair, rng):
    x, y = pair
    found = measure(name, x, y)
    rotation = stats.ortho_group.rvs(6, random_state=rng)
    assert measure(name, y, x) == pytest.approx(found, rel=1e-10)
    assert measure(name, rng.permutation(x), rng.permutation(y)) == pytest.approx(found, rel=1e-10)
    assert measure(name, x @ rotation + 1e5, y @ rotation + 1e5) == pytest.approx(found, rel=1e-7)


@pytest.mark.parametrize("name", ["energy_distance", "mmd"])
@pytest.mark.parametrize("block_bytes", [2_000, 40_000])
def test_block_size_does_not_matter(name, block_bytes, pair):
    assert measure(name, *pair, block_bytes=block_bytes) == pytest.approx(
        measure(name, *pair), rel=1e-11
    )


def test_scaling(pair):
    x, y = pair
    assert sh.metrics.energy_distance(3 * x, 3 * y) == pytest.approx(
        3 * sh.metrics.energy_distance(x, y)
    )
    assert sh.metrics.edistance(3 * x, 3 * y) == pytest.approx(9 * sh.metrics.edistance(x, y))
    assert sh.metrics.mmd(3 * x, 3 * y) == pytest.approx(
        sh.metrics.mmd(x, y)
    )  # the default width follows


@each_metric
@pytest.mark.slow
def test_mean_over_samples_is_the_population_value(name, rng):
    """Gaussians N(0, I) and N(mu, I): all three values are known, and small samples must hit them on average."""
    mu, d = (1.2, 1) if name == "energy_distance" else (0.8, 4)
    shift = np.zeros(d)
    shift[0] = mu
    expected = {
        "edistance": 2 * mu**2,
        # E|Z| for Z ~ N(mu, 2), and 2/sqrt(pi) for mu = 0
        "energy_distance": 2 * stats.foldnorm.mean(mu / np.sqrt(2), scale=np.sqrt(2))
        - 4 / np.sqrt(np.pi),
        "mmd": np.mean(
            [
                2 * (w**2 / (w**2 + 2)) ** (d / 2) * (1 - np.exp(-(mu**2) / (2 * (w**2 + 2))))
                for w in WIDTHS
            ]
        ),
    }[name]
    found = [
        measure(name, rng.normal(size=(7, d)) + shift, rng.normal(size=(12, d)))
        for _ in range(3000)
    ]
    assert np.mean(found) == pytest.approx(expected, abs=4 * stats.sem(found))


@each_metric
@pytest.mark.slow
def test_without_an_effect_zero_on_average_and_the_biased_form_is_not(name, rng):
    samples = [(rng.standard_t(5, (6, 5)), rng.standard_t(5, (9, 5))) for _ in range(1500)]
    found = [measure(name, x, y) for x, y in samples]
    biased = [measure(name, x, y, biased=True) for x, y in samples]
    assert abs(np.mean(found)) < 4 * stats.sem(found)
    assert min(biased) > -1e-12
    assert np.mean(biased) > 20 * stats.sem(biased)


def test_energy_and_mmd_see_a_change_of_shape_and_edistance_does_not(rng):
    x, y = rng.normal(size=(900, 4)), 2 * rng.normal(size=(900, 4))
    assert sh.metrics.energy_distance(x, y) > 0.2
    assert sh.metrics.mmd(x, y) > 0.02  # the noise is 1/900
    assert abs(sh.metrics.edistance(x, y)) < 0.1


def test_equal_cells_have_distance_zero():
    x = np.tile([1e3, -2.0, 0.1], (5, 1))
    assert sh.metrics.energy_distance(x, x[:3]) == 0
    assert sh.metrics.edistance(x, x[:3]) == 0


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("block_bytes", [3_000, 2**25])
def test_sparse_equals_dense(biased, block_bytes, rng):
    x, y = (sparse.random_array((n, 30), density=0.1, rng=rng, format="csr") for n in (80, 130))
    options = {"biased": biased, "block_bytes": block_bytes}
    for name, found in {
        "edistance": SquaredReference(y, **options).compare(x)[0],
        "energy_distance": PairReference(y, euclidean, **options).compare(x)[0],
        "mmd": PairReference(y, gaussian(WIDTHS), at_zero=-1.0, **options).compare(x)[0],
    }.items():
        assert found == pytest.approx(
            brute(name, x.toarray(), y.toarray(), biased=biased), abs=1e-12
        )


def test_group_sums_equal_all_pairs(rng):
    sizes = np.array([1, 400, 3, 296])
    x = rng.normal(size=(700, 3)) + np.repeat(np.arange(4), sizes)[:, None]
    ends = np.cumsum(sizes)
    parts = [x[end - n : end] for n, end in zip(sizes, ends, strict=True)]
    expected = [[cdist(a, b).sum() for b in parts] for a in parts]
    for block_bytes in (5_000, 2**25):
        found = group_sums(Points(x, x.mean(axis=0), block_bytes=block_bytes), sizes, euclidean)
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


def test_median_bandwidth(rng):
    x = rng.normal(size=(400, 5)) * [3, 2, 1, 1, 1]
    exact = np.median(pdist(x))
    assert sh.metrics.median_bandwidth(x) == pytest.approx(exact)
    assert sh.metrics.median_bandwidth(sparse.csr_array(x), most=100) == pytest.approx(
        exact, rel=0.08
    )
    first = sh.metrics.median_bandwidth(x, most=100)
    assert sh.metrics.median_bandwidth(rng.permutation(x), most=100) == pytest.approx(
        first, rel=1e-12
    )
    with pytest.raises(
        ValueError, match=r"median distance between the 4 rows is 0.*pass bandwidth="
    ):
        sh.metrics.median_bandwidth(np.ones((4, 2)))
    with pytest.raises(ValueError, match="most=1 cells have no distance"):
        sh.metrics.median_bandwidth(x, most=1)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((3, 2)), np.ones((3, 4)), r"equal columns, not \(3, 2\) and \(3, 4\)"),
        (np.ones(3), np.ones((3, 4)), "2-D"),
        (np.ones((1, 2)), np.ones((3, 2)), "at least 2 cells, not 1 and 3"),
        (
            np.array([[1, 2], [3, 4]]),
            np.array([[1, np.nan], [np.inf, 2], [0, 0]]),
            "2 of 3 rows of Y",
        ),
    ],
)
@each_metric
def test_bad_input_is_refused(name, x, y, message):
    with pytest.raises(ValueError, match=message):
        measure(name, x, y)


@pytest.mark.parametrize("bandwidth", [0, -1.0, [1.0, np.nan], [], 1e-300, 1e300])
def test_bad_bandwidth_is_refused(bandwidth):
    with pytest.raises(ValueError, match="bandwidth="):
        sh.metrics.mmd(np.eye(3), np.eye(3), bandwidth=bandwidth)
