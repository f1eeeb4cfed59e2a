"""The steps between what a model returns and the cells that a user gets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shoal.models.base._expression import Expression
from shoal.models.post._library import renew_total
from shoal.models.post._mean_shrinkage import shrink_mean_change
from shoal.models.post._nonnegative import make_nonnegative
from shoal.models.post._postprocessing import Moved, Postprocessing
from shoal.models.post._zero_fraction import match_zero_fraction

POPULATION = np.repeat([0, 1], 20)


@pytest.fixture
def cells(rng):
    start = np.maximum(rng.normal(0.5, 1, size=(40, 5)), 0).astype(np.float32)
    start[:, 4] = 0
    values = rng.normal(0.3, 1, size=(40, 5)).astype(np.float32)
    return Moved(values, start, measured=start + 0.0, perturbed=np.ones(40, dtype=bool))


@pytest.fixture
def told():
    off = np.array([False, False, False, False, True])
    return Expression(np.array([1.0, 1.0, 1.0, 1.0, 0.0]), off, 20.0, (20.0, 20.0))


def run(post, cells, **changes):
    cells = replace(cells, **({"values": cells.values.copy()} | changes))
    return post(cells, POPULATION, np.random.default_rng(0))


def test_without_a_step_values_stay(cells):
    np.testing.assert_array_equal(run(Postprocessing(), cells), cells.values)


def test_the_steps_come_in_order(cells, told):
    start = cells.start
    expected = make_nonnegative(cells.values.copy(), POPULATION)
    np.testing.assert_array_equal(run(Postprocessing(nonnegative=True), cells), expected)
    post = Postprocessing(nonnegative=True, match_zeros=True, expression=told)
    expected[:, 4] = 0
    rng = np.random.default_rng(0)
    expected = match_zero_fraction(expected, start, POPULATION, told.zero_slope, rng)
    np.testing.assert_array_equal(run(post, cells), expected)
    floor = np.full(5, 0.2)
    expected[expected < floor] = 0
    post = replace(post, rounding=floor)
    np.testing.assert_array_equal(run(post, cells), expected)
    expected = shrink_mean_change(expected, start, POPULATION, 0.5, nonnegative=True)
    post = replace(post, mean_shrinkage=0.5)
    np.testing.assert_array_equal(run(post, cells), expected)
    expected = renew_total(expected, np.ones(40, dtype=bool), 20.0)
    post = replace(post, renew_library=True)
    np.testing.assert_array_equal(run(post, cells), expected)


def test_values_may_be_cut_at_0(cells):
    made = run(Postprocessing(nonnegative=True, cut=True), cells)
    np.testing.assert_array_equal(made, np.maximum(cells.values, 0))


def test_options_turn_steps_off_and_on(cells, told):
    every = {"match_zeros": True, "renew_library": True}
    post = Postprocessing(nonnegative=True, **every, expression=told)
    assert post.with_options() == post
    assert post.with_options(match_zeros=None) == post
    off = post.with_options(match_zeros=False, renew_library=False)
    plain = Postprocessing(nonnegative=True)
    np.testing.assert_array_equal(run(off, cells), run(plain, cells))
    np.testing.assert_array_equal(run(off.with_options(**every), cells), run(post, cells))
    with pytest.raises(TypeError, match="match_zeros must be True or False, not 'no'"):
        post.with_options(match_zeros="no")


def test_cells_that_did_not_move_stay_exactly_as_they_are(cells, told):
    every = {"match_zeros": True, "renew_library": True, "mean_shrinkage": 0.5}
    for cut in (True, False):
        post = Postprocessing(nonnegative=True, cut=cut, **every, expression=told)
        np.testing.assert_array_equal(run(post, cells, values=cells.start.copy()), cells.start)


def test_a_gene_that_is_off_in_training_stays_as_it_is_in_the_start_cells(cells, told):
    post = Postprocessing(nonnegative=True, match_zeros=True, expression=told)
    assert (run(post, cells)[:, 4] == 0).all()
    start = cells.start.copy()
    start[::2, 4] = 1.0  # another screen, where some cells have the gene
    made = run(post, cells, start=start, measured=start)
    np.testing.assert_array_equal(made[:, 4], start[:, 4])


def test_zeros_that_a_network_has_drawn_stay(cells, told):
    """Only cells that were perturbed at their start, whose zeros it does not draw, are matched."""
    plain = {"nonnegative": True, "cut": True, "expression": told}
    half = np.arange(40) % 2 == 0
    whole = run(Postprocessing(match_zeros=True, **plain), cells, perturbed=half)
    drawn = run(Postprocessing(match_zeros=True, zeros_drawn=True, **plain), cells, perturbed=half)
    cut = run(Postprocessing(**plain), cells, perturbed=half)
    zeros = [(made[half] == 0).sum(0) for made in (drawn, whole)]
    np.testing.assert_array_equal(*zeros)  # which of them, is drawn anew
    np.testing.assert_array_equal(drawn[~half, :4], cut[~half, :4])
    assert not drawn[:, 4].any()  # off in training, and in the start cells
    assert (whole[~half, :4] != cut[~half, :4]).any()


def test_without_one_total_library_sizes_are_left(cells, told):
    post = Postprocessing(nonnegative=True, renew_library=True, expression=told)
    unknown = replace(post, expression=replace(told, total=float("nan")))
    np.testing.assert_array_equal(
        run(unknown, cells), run(replace(post, renew_library=False), cells)
    )
    assert not np.array_equal(run(post, cells), run(unknown, cells))


def test_steps_for_values_above_0_are_left_out_of_signed_ones(cells, told):
    every = {"match_zeros": True, "renew_library": True, "cut": True}
    post = Postprocessing(**every, rounding=np.full(5, 9.0), expression=told)
    np.testing.assert_array_equal(run(post, cells), cells.values)


def test_the_mean_is_held_back_only_for_cells_that_were_perturbed_at_their_start(cells):
    post = Postprocessing(mean_shrinkage=1.0)
    for none in (None, np.zeros(40, dtype=bool)):
        np.testing.assert_array_equal(run(post, cells, perturbed=none), cells.values)
    some = np.arange(40) % 2 == 0  # of every population
    held = run(post, cells, perturbed=some)
    np.testing.assert_array_equal(held[~some], cells.values[~some])
    for rows in (some & (code == POPULATION) for code in (0, 1)):
        means = held[rows].mean(axis=0), cells.start[rows].mean(axis=0)
        np.testing.assert_allclose(*means, atol=1e-5)
