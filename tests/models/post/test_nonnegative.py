import numpy as np
import pytest

from shoal.models.post._nonnegative import make_nonnegative

RNG = np.random.default_rng(0)


@pytest.fixture
def values():
    return RNG.normal(0.3, 1.0, (60, 7))


def test_the_means_of_each_population_are_kept_and_nothing_is_negative(values):
    population = RNG.integers(0, 3, 60)
    made = make_nonnegative(values.copy(), population)
    assert made.min() >= 0
    for code in range(3):
        rows = population == code
        np.testing.assert_allclose(
            made[rows].mean(axis=0), values[rows].mean(axis=0).clip(min=0), atol=1e-12
        )


def test_it_is_the_nearest_such_point(values):
    made = make_nonnegative(values.copy(), np.zeros(60, dtype=int))
    column = values[:, 0]
    for _ in range(200):  # any other point with these properties is farther
        other = RNG.dirichlet(np.full(60, 0.3)) * column.sum()
        assert np.square(other - column).sum() >= np.square(made[:, 0] - column).sum()


def test_closed_form_of_two_cells():
    made = make_nonnegative(np.array([[3.0], [-1.0]]), np.zeros(2, dtype=int))
    np.testing.assert_allclose(made, [[2.0], [0.0]])  # the one that stays gives what the other owes


def test_a_population_whose_mean_is_negative_becomes_zeros():
    assert not make_nonnegative(np.array([[-3.0], [1.0]]), np.zeros(2, dtype=int)).any()


def test_values_without_a_negative_one_stay_as_they_are(values):
    cells = np.abs(values)
    np.testing.assert_array_equal(make_nonnegative(cells.copy(), np.zeros(60, dtype=int)), cells)


def test_the_order_of_cells_does_not_matter_and_the_type_is_kept(values):
    population, order = RNG.integers(0, 3, 60), RNG.permutation(60)
    made = make_nonnegative(values.astype(np.float32), population)
    assert made.dtype == np.float32
    again = make_nonnegative(values.astype(np.float32)[order], population[order])
    np.testing.assert_allclose(again, made[order], rtol=1e-6)


def test_cutting_would_shrink_a_response():
    control = np.where(RNG.random(400) < 0.7, 0.0, 2.0)[:, None]
    moved, wanted = control - 0.3, control.mean() - 0.3
    assert make_nonnegative(moved.copy(), np.zeros(400, dtype=int)).mean() == pytest.approx(wanted)
    assert moved.clip(min=0).mean() > wanted + 0.15
