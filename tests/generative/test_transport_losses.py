"""The Sinkhorn divergence and the Monge gap: closed forms, independent implementations, gradients."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from shoal.generative import energy_distance, monge_gap, sinkhorn, sinkhorn_divergence

debiased = partial(sinkhorn_divergence, biased=True)
TIGHT = {"tolerance": 1e-9, "n_iterations": 20000}
each_power = pytest.mark.parametrize("power", [1, 2])


@pytest.fixture
def sets(generator):
    x = torch.randn(2, 30, 4, generator=generator, dtype=torch.float64)
    y = 1.3 * torch.randn(2, 24, 4, generator=generator, dtype=torch.float64) + torch.tensor(
        [[[0.3]], [[2.0]]]
    )
    return x, y


# -- divergence ------------------------------------------------------------------------------------------------------


@each_power
@pytest.mark.filterwarnings("ignore")
def test_it_is_that_of_geomloss(power, sets):
    geomloss = pytest.importorskip(
        "geomloss", reason="geomloss is a test dependency for Python below 3.12"
    )
    x, y = sets
    blur = 0.8
    theirs = geomloss.SamplesLoss(
        "sinkhorn", p=power, blur=blur, scaling=0.99, debias=True, backend="tensorized"
    )
    factor = 1 if power == 1 else 2  # its cost is |x - y|^p / p
    expected = factor * theirs(x, y)
    found = debiased(x, y, epsilon=factor * blur**power, power=power, **TIGHT)
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=1e-5)


@each_power
def test_between_two_points_it_is_their_cost(power):
    x, y = torch.zeros(1, 1, 3), torch.tensor([[[3.0, 4.0, 0.0]]])
    assert debiased(x, y, epsilon=0.1, power=power).item() == pytest.approx(5.0**power)


def test_a_translation_costs_its_square_whatever_the_regularisation(generator):
    x = torch.randn(1, 40, 3, generator=generator, dtype=torch.float64)
    shift = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    for epsilon in (0.3, 3.0, 30.0):
        found = debiased(x, x + shift, epsilon=epsilon, power=2, **TIGHT)
        assert found.item() == pytest.approx(5.25, rel=1e-6)


def test_between_gaussians_it_is_the_entropic_bures_wasserstein_form(generator):
    """Janati et al. 2020: in one dimension, with e = ε/2 for the cost |x − y|², of which ours is the debiased form."""
    n, s, t, epsilon = 800, 1.0, 2.0, 1.0
    quantiles = torch.distributions.Normal(0.0, 1.0).icdf(
        (torch.arange(n, dtype=torch.float64) + 0.5) / n
    )

    def plain(a, b):  # OT_ε of N(0, a²) and N(0, b²) with KL to the product of the marginals
        d = np.sqrt(4 * a**2 * b**2 + (epsilon / 2) ** 2)
        return a**2 + b**2 - d + epsilon / 2 * (1 - np.log(epsilon) + np.log(d + epsilon / 2))

    expected = plain(s, t) - (plain(s, s) + plain(t, t)) / 2
    x, y = (scale * quantiles[None, :, None] for scale in (s, t))
    found = debiased(x, y, epsilon=epsilon, power=2, tolerance=1e-8)
    assert found.item() == pytest.approx(expected, rel=0.01)
    exact = debiased(x[:, ::4], y[:, ::4], epsilon=0.01, power=2)
    assert exact.item() == pytest.approx((s - t) ** 2, rel=0.02)  # Bures-Wasserstein


def test_with_much_regularisation_it_is_half_the_energy_distance(sets):
    x, y = sets
    found = debiased(x, y, epsilon=1e5, power=1)
    torch.testing.assert_close(found, energy_distance(x, y, biased=True) / 2, rtol=1e-3, atol=1e-6)


@each_power
def test_slots_of_weight_0_are_left_out(power, sets):
    x, y = sets
    keep, hold = (torch.arange(s.shape[1]) % 3 > 0 for s in (x, y))
    weights = {"x_weight": keep.expand(2, -1).float(), "y_weight": hold.expand(2, -1).float()}
    found = debiased(x, y, epsilon=0.5, power=power, **weights, **TIGHT)
    alone = debiased(x[:, keep], y[:, hold], epsilon=0.5, power=power, **TIGHT)
    torch.testing.assert_close(found, alone)


def test_relative_regularisation_has_no_unit(sets):
    x, y = sets
    one, ten = (
        debiased(c * x, c * y, epsilon=0.05, epsilon_relative=True, **TIGHT) for c in (1, 10)
    )
    torch.testing.assert_close(10 * one, ten)


@pytest.mark.parametrize("power", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_gradient_is_that_of_finite_differences(power, generator):
    x, y = torch.randn(2, 1, 7, 2, generator=generator, dtype=torch.float64)
    for loss in (
        lambda x: debiased(
            x, y, epsilon=0.4, power=power, tolerance=1e-12, n_iterations=20000
        ).sum(),
        lambda x: sinkhorn_divergence(
            x, y, epsilon=0.4, power=power, tolerance=1e-12, n_iterations=20000
        ).sum(),
        lambda x: monge_gap(
            y, x, epsilon=0.4, power=power, tolerance=1e-12, n_iterations=20000
        ).sum(),
    ):
        assert torch.autograd.gradcheck(
            loss, x.clone().requires_grad_(), eps=1e-5, atol=1e-5, rtol=1e-4
        )


def test_following_the_gradient_makes_the_populations_equal(generator):
    y = torch.randn(2, 60, 2, generator=generator) * 0.5 + 2
    x = torch.randn(2, 60, 2, generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.05)
    start = debiased(x, y, epsilon=0.1).detach()
    for _ in range(200):
        optimizer.zero_grad()
        debiased(x, y, epsilon=0.1).sum().backward()
        optimizer.step()
    assert (debiased(x, y, epsilon=0.1) < 0.02 * start).all()


# -- of independent halves ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@each_power
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_between_samples_of_one_population_halves_average_0_and_wholes_do_not(
    power, epsilon, generator
):
    x, y = torch.randn(2, 1500, 16, 3, generator=generator)
    found = sinkhorn_divergence(x, y, epsilon=epsilon, power=power)
    assert found.mean().abs() < 3.5 * found.std() / 1500**0.5
    whole = debiased(x, y, epsilon=epsilon, power=power)
    assert whole.mean() > 20 * whole.std() / 1500**0.5


@pytest.mark.slow
def test_halves_are_least_at_the_right_spread_and_wholes_at_one_too_small(generator):
    x, y = torch.randn(2, 3000, 16, 3, generator=generator)
    spreads = torch.tensor([0.7, 0.8, 0.9, 1.0, 1.1, 1.2])
    halves, wholes = (
        torch.stack([loss(c * x, y, epsilon=0.1).mean() for c in spreads])
        for loss in (sinkhorn_divergence, debiased)
    )
    assert spreads[halves.argmin()].item() == pytest.approx(1.0)
    assert spreads[wholes.argmin()].item() < 0.95


def test_halves_are_the_mean_of_four_less_what_is_within(generator):
    x, y = torch.randn(2, 1, 8, 2, generator=generator, dtype=torch.float64)
    halves = (x[:, ::2], x[:, 1::2], y[:, ::2], y[:, 1::2])

    def plain(a, b):
        return sinkhorn(
            torch.cdist(a, b), epsilon=torch.tensor([0.3], dtype=a.dtype), **TIGHT
        ).value

    x1, x2, y1, y2 = halves
    expected = (
        sum(plain(a, b) for a in (x1, x2) for b in (y1, y2)) / 4
        - (plain(x1, x2) + plain(y1, y2)) / 2
    )
    torch.testing.assert_close(sinkhorn_divergence(x, y, epsilon=0.3, **TIGHT), expected)


def test_of_squares_with_much_regularisation_halves_see_the_means_and_no_spread(generator):
    """With the means of the halves m and n: m1 m2 + n1 n2 - 2 m n, whose expectation is the square between the means."""
    x, y = torch.randn(2, 4, 12, 3, generator=generator, dtype=torch.float64)
    (x1, x2), (y1, y2) = ([s[:, i::2].mean(1) for i in (0, 1)] for s in (5 * x, y))
    expected = (x1 * x2 + y1 * y2 - (x1 + x2) * (y1 + y2) / 2).sum(1)
    torch.testing.assert_close(
        sinkhorn_divergence(5 * x, y, epsilon=1e7, power=2), expected, rtol=1e-3, atol=1e-3
    )


def test_halves_of_the_slots_that_count(generator):
    x, y = torch.randn(2, 2, 12, 3, generator=generator, dtype=torch.float64)
    keep = torch.arange(12) % 2 > 0  # all of them would be in one half
    found = sinkhorn_divergence(x, y, epsilon=0.3, x_weight=keep.expand(2, -1).double(), **TIGHT)
    torch.testing.assert_close(found, sinkhorn_divergence(x[:, keep], y, epsilon=0.3, **TIGHT))
    lone = torch.zeros(2, 12, dtype=torch.float64)
    lone[:, 4] = 1
    assert torch.isfinite(sinkhorn_divergence(x, y, epsilon=0.3, x_weight=lone)).all()
    odd = sinkhorn_divergence(x[:, :5], y[:, :7], epsilon=0.3)
    assert torch.isfinite(odd).all()


# -- gap -------------------------------------------------------------------------------------------------------------


@each_power
def test_an_optimal_map_has_no_gap(power, generator):
    x = torch.randn(2, 50, 3, generator=generator, dtype=torch.float64)
    pull = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    convex = (
        x @ (pull @ pull.T) + 1.0 if power == 2 else x + 4.0
    )  # gradient of a convex function; a translation
    found = monge_gap(x, convex, epsilon=0.01, power=power, **TIGHT)
    assert (found > -1e-9).all()
    assert (found < 0.01 * np.log(50)).all()


@each_power
def test_a_shuffled_map_has_the_gap_of_its_assignment(power, generator):
    from scipy.optimize import linear_sum_assignment

    x, y = torch.randn(2, 3, 40, 3, generator=generator, dtype=torch.float64)
    cost = torch.cdist(x, y) ** power
    best = [c[linear_sum_assignment(c)].mean() for c in cost.numpy()]
    expected = cost.diagonal(dim1=1, dim2=2).mean(1) - torch.tensor(best)
    found = monge_gap(x, y, epsilon=0.002, power=power, **TIGHT)
    torch.testing.assert_close(found, expected, atol=0.012, rtol=0)  # above it by ε log n at most


def test_the_gap_of_some_slots_is_that_of_them_alone(generator):
    x, y = torch.randn(2, 2, 30, 3, generator=generator, dtype=torch.float64)
    weight = (torch.arange(30) < 20).expand(2, -1).double()
    found = monge_gap(x, y, epsilon=0.1, weight=weight, **TIGHT)
    torch.testing.assert_close(found, monge_gap(x[:, :20], y[:, :20], epsilon=0.1, **TIGHT))


def test_what_is_not_there_is_named():
    x = torch.zeros(1, 2, 2)
    with pytest.raises(ValueError, match="epsilon"):
        sinkhorn_divergence(x, x, epsilon=0.0)
    with pytest.raises(ValueError, match="power"):
        monge_gap(x, x, epsilon=1.0, power=3)
