from __future__ import annotations

import numpy as np
import pytest

from shoal.core._controls import LEVELS, Controls, shuffled


@pytest.fixture
def controls():
    """Contexts 0 and 1, batches 0 to 2; context 1 has no control in batch 2, and only three in batch 1."""
    context = np.repeat([0, 0, 0, 1, 1], [20, 20, 20, 20, 3])
    batch = np.repeat([0, 1, 2, 0, 1], [20, 20, 20, 20, 3])
    return Controls(cells=np.arange(100, 183), context=context, batch=batch)


@pytest.mark.parametrize(
    ("context", "batch", "level", "n"),
    [
        (0, 1, 0, 20),
        (1, 2, 1, 23),
        (1, 1, 1, 23),
        (-1, 2, 2, 20),
        (2, 0, 2, 40),
        (-1, -1, 3, 83),
        (5, 7, 3, 83),
    ],
)
def test_falls_back_by_levels(controls, context, batch, level, n):
    pool, found = controls.pool(context, batch)
    assert LEVELS[found] == LEVELS[level]
    assert len(pool) == n


def test_draws_from_the_own_stratum_without_repeats(controls, rng):
    context, batch = np.repeat([0, 1], [15, 10]), np.repeat([2, 0], [15, 10])
    cells, again = controls.draw(context, batch, rng)
    at = cells - 100
    np.testing.assert_array_equal(controls.context[at], context)
    np.testing.assert_array_equal(controls.batch[at], batch)
    assert not again.any()
    assert len(np.unique(cells)) == 25


def test_every_control_comes_once_before_any_comes_again(controls, rng):
    cells, again = controls.draw(np.zeros(50, dtype=int), np.zeros(50, dtype=int), rng)
    assert again.sum() == 30
    assert len(np.unique(cells[~again])) == 20
    assert np.bincount(cells - 100).max() == 3
    assert np.bincount(cells - 100)[:20].min() == 2


def test_the_same_seed_gives_the_same_cells_and_all_are_equally_likely(controls):
    ask = np.zeros(10, dtype=int), np.zeros(10, dtype=int)
    one, two = (controls.draw(*ask, np.random.default_rng(3))[0] for _ in range(2))
    np.testing.assert_array_equal(one, two)
    many = np.concatenate([controls.draw(*ask, np.random.default_rng(i))[0] for i in range(400)])
    counts = np.bincount(many - 100, minlength=20)[:20]
    assert abs(counts / counts.mean() - 1).max() < 0.3  # mean 200, standard error 10


def test_fewer_controls_than_least_are_all_used(rng):
    few = Controls(cells=np.array([4, 7]), context=np.zeros(2, int), batch=np.zeros(2, int))
    assert few.pool(0, 0)[1] == 0
    cells, again = shuffled(few.cells, 5, rng)
    assert set(cells) == {4, 7}
    np.testing.assert_array_equal(again, [False, False, True, True, True])


def test_a_pool_given_by_its_number_is_one_of_positions():
    for n in (3, 25):
        one, other = (shuffled(pool, n, np.random.default_rng(0)) for pool in (10, np.arange(10)))
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
