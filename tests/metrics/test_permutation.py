from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from scipy import sparse, stats

import shoal as sh
from shoal.metrics._pairs import euclidean, gaussian
from shoal.metrics._permutation import draw, n_reached, permutation_pvalue, row_dots
from shoal.metrics._reference import PairReference, SquaredReference

WIDTH = 1.5


def references(control, *, biased, relabelling, block_bytes):
    options = {"biased": biased, "block_bytes": block_bytes}
    pairs = options | {"relabelling": relabelling}
    return {
        sh.metrics.edistance: SquaredReference(control, **options),
        sh.metrics.energy_distance: PairReference(control, euclidean, **pairs),
        sh.metrics.mmd: PairReference(control, gaussian([WIDTH]), at_zero=-1.0, **pairs),
    }


@pytest.mark.parametrize(("biased", "block_bytes"), [(False, 20_000), (True, 2**25)])
@pytest.mark.parametrize("sizes", [(420, 700), (700, 390)])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_relabelled_statistic_is_the_statistic_of_relabelled_cells(
    biased, block_bytes, sizes, kind, rng
):
    x, y = rng.normal(0.3, 1, (sizes[0], 4)), rng.normal(0, 1.2, (sizes[1], 4))
    relabelling = draw(np.array([5, sizes[0]]), sizes[1], 6, rng)
    exchange = relabelling.of(1)
    given = references(kind(y), biased=biased, relabelling=relabelling, block_bytes=block_bytes)
    for function, reference in given.items():
        options = {"biased": biased} | ({"bandwidth": WIDTH} if function is sh.metrics.mmd else {})
        observed, null = reference.compare(kind(x), exchange)
        assert observed == pytest.approx(function(x, y, **options), abs=1e-12)
        for b in range(6):
            left = exchange.leaving[[b]].toarray()[0] == 1
            entered = exchange.entering[[b]].toarray()[0] == 1
            new = np.vstack([x[~left], y[entered]]), np.vstack([y[~entered], x[left]])
            assert null[b] == pytest.approx(function(*new, **options), abs=1e-11)


def test_every_relabelling_is_equally_likely(rng):
    """2 perturbed and 3 control cells: ten ways to choose the new perturbed cells."""
    draws = draw(np.array([2, 4]), 3, 5000, rng).of(0)
    kept = 1 - draws.leaving.toarray()
    chosen = np.hstack([kept, draws.entering.toarray()])
    assert (chosen.sum(axis=1) == 2).all()
    counts = Counter(tuple(np.flatnonzero(row)) for row in chosen)
    assert set(counts) == set(combinations(range(5), 2))
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_draws_do_not_depend_on_how_large_other_groups_are():
    few, many = (draw(np.array([4, n]), 50, 20, np.random.default_rng(3)) for n in (5, 40))
    assert (few.of(0).entering != many.of(0).entering).nnz == 0
    assert (few.of(0).swapped == many.of(0).swapped).all()


def test_pvalue_counts_ties_and_is_never_zero():
    null = np.array([[1.0, 2.0, 2.0 - 1e-13, 3.0], [0.1, 0.2, 0.3, 0.4]])
    reached = n_reached(null, np.array([2.0, 5.0]))
    assert reached.tolist() == [3, 0]
    assert permutation_pvalue(reached, 4).tolist() == [0.8, 0.2]


def test_row_dots(rng):
    marks = sparse.csr_array(rng.integers(0, 2, (6, 9)).astype(float))
    dense = rng.normal(size=(6, 9))
    np.testing.assert_allclose(row_dots(marks, dense), (marks.toarray() * dense).sum(axis=1))
