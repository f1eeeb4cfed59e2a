"""The steps between what a network returns and the cells that a user gets."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.models.post._mean_shrinkage import shrink_mean_change
from shoal.models.post._nonnegative import make_nonnegative
from shoal.models.post._postprocessing import Postprocessing
from shoal.models.post._zero_fraction import match_zero_fraction


@pytest.fixture
def cells(rng):
    values = rng.normal(size=(40, 5)).astype(np.float32)
    start = np.maximum(rng.normal(0.5, 1, size=(40, 5)), 0).astype(np.float32)
    usual = start.mean(axis=0, dtype=np.float64), (start <= 0).mean(axis=0)
    return {
        "values": values,
        "start": start,
        "measured": start + 0.0,
        "population": np.repeat([0, 1], 20),
        "perturbed": True,
        "control_zeros": usual,
    }


def run(post, cells, **changes):
    return post(**{**cells, "values": cells["values"].copy(), **changes})


def test_without_a_step_values_stay(cells):
    np.testing.assert_array_equal(run(Postprocessing(), cells), cells["values"])


def test_the_steps_come_in_order(cells):
    start, population = cells["start"], cells["population"]
    expected = make_nonnegative(cells["values"].copy(), population)
    np.testing.assert_array_equal(run(Postprocessing(nonnegative=True), cells), expected)
    expected = match_zero_fraction(expected, cells["measured"], population, cells["control_zeros"])
    post = Postprocessing(nonnegative=True, match_zero_fraction=True)
    assert post.needs_control_zeros
    np.testing.assert_array_equal(run(post, cells), expected)
    floor = np.full(5, 0.2)
    expected[expected < floor] = 0
    post = Postprocessing(nonnegative=True, match_zero_fraction=True, rounding=floor)
    np.testing.assert_array_equal(run(post, cells), expected)
    expected = shrink_mean_change(expected, start, population, 0.5, nonnegative=True)
    post = Postprocessing(True, True, floor, 0.5)
    np.testing.assert_array_equal(run(post, cells), expected)


def test_steps_for_values_above_0_are_left_out_of_signed_ones(cells):
    post = Postprocessing(match_zero_fraction=True, rounding=np.full(5, 9.0))
    assert not post.needs_control_zeros
    np.testing.assert_array_equal(run(post, cells, control_zeros=None), cells["values"])


def test_the_mean_is_held_back_only_for_cells_that_were_perturbed_at_their_start(cells):
    post = Postprocessing(mean_shrinkage=1.0)
    np.testing.assert_array_equal(run(post, cells, perturbed=False), cells["values"])
    held = run(post, cells)
    for rows in (slice(20), slice(20, 40)):
        means = held[rows].mean(axis=0), cells["start"][rows].mean(axis=0)
        np.testing.assert_allclose(*means, atol=1e-5)
