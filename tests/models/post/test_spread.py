"""The fitted law of counts: variance = mean + dispersion x mean squared, gene by gene."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.models.post._spread import CountSums, dispersions


def sums_of(*populations):
    """Return the sums of populations, each (counts, library sizes)."""
    several = [(np.asarray(c, dtype=float), np.asarray(lib, dtype=float)) for c, lib in populations]
    return CountSums(
        n=np.array([len(c) for c, _ in several]),
        counts=np.stack([c.sum(0) for c, _ in several]),
        squares=np.stack([(c**2).sum(0) for c, _ in several]),
        by_library=np.stack([c.T @ lib for c, lib in several]),
        library=np.array([lib.sum() for _, lib in several]),
        library_squares=np.array([(lib**2).sum() for _, lib in several]),
    )


def drawn(rng, n, share, dispersion, *, spread=0.3):
    library = 3000 * np.exp(spread * rng.standard_normal(n))
    mean = library[:, None] * share
    if np.any(dispersion > 0):
        mean = mean * rng.gamma(1 / dispersion, dispersion, mean.shape)
    return rng.poisson(mean), library


def test_dispersions_of_simulated_genes_are_found(rng):
    share = np.exp(rng.normal(-7, 1.5, 200))
    truth = np.exp(rng.normal(-1, 0.6, 200))
    found = dispersions(sums_of(*(drawn(rng, 400, share * f, truth) for f in (1, 0.5, 2))))
    on = share * 3000 > 1
    error = np.log(found[on] / truth[on])
    assert abs(np.median(error)) < 0.05
    assert error.std() < 0.3


def test_poisson_counts_have_no_dispersion_whatever_the_library_sizes(rng):
    share = np.exp(rng.normal(-7, 1, 100))
    found = dispersions(sums_of(drawn(rng, 3000, share, np.zeros(100), spread=0.6)))
    assert np.average(found, weights=share) < 0.01


def test_a_difference_between_populations_is_no_spread(rng):
    share = np.full(50, 2e-3)
    several = [drawn(rng, 500, share * f, np.full(50, 0.2)) for f in (0.2, 1, 5)]
    found = dispersions(sums_of(*several))
    assert np.median(found) == pytest.approx(0.2, rel=0.1)


def test_rare_genes_get_the_trend(rng):
    share = np.repeat([1e-3, 3e-6], 100)
    found = dispersions(sums_of(drawn(rng, 300, share, np.full(200, 0.4))))
    assert found[100:].std() < 0.5 * max(found[:100].std(), found[100:].mean())
    assert np.isfinite(found).all()


@pytest.mark.parametrize("case", ["no counts", "one cell", "one gene is off"])
def test_what_tells_nothing_gives_no_dispersion(case, rng):
    counts, library = drawn(rng, 50, np.full(6, 1e-3), np.full(6, 0.3))
    if case == "no counts":
        found = dispersions(sums_of((counts * 0, library)))
        np.testing.assert_array_equal(found, 0)
    elif case == "one cell":
        np.testing.assert_array_equal(dispersions(sums_of((counts[:1], library[:1]))), 0)
    else:
        counts[:, 2] = 0
        found = dispersions(sums_of((counts, library)))
        assert found[2] == 0
        assert np.isfinite(found).all()
