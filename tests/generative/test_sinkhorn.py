"""Entropic transport against its conditions of optimality, and independent solvers."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from shoal.generative import sinkhorn

EPSILON = (0.02, 0.2, 1.0)


@pytest.fixture
def cost(generator):
    return torch.rand(3, 12, 9, generator=generator, dtype=torch.float64)


@pytest.fixture
def masses(generator):
    """Masses of 12 and 9 cells, some of them none."""
    a, b = (torch.rand(3, n, generator=generator, dtype=torch.float64) + 0.1 for n in (12, 9))
    a[:, 3] = b[:, :2] = 0
    return a / a.sum(1, keepdim=True), b / b.sum(1, keepdim=True)


def solve(cost, *, epsilon=EPSILON, tolerance=1e-9, n_iterations=20000, **options):
    epsilon = torch.tensor(epsilon, dtype=cost.dtype)
    return sinkhorn(
        cost, epsilon=epsilon, tolerance=tolerance, n_iterations=n_iterations, **options
    )


def test_the_plan_has_the_marginals_and_is_the_entropic_optimum(cost, masses):
    a, b = masses
    found = solve(cost, a=a, b=b)
    torch.testing.assert_close(found.plan.sum(1), b, atol=1e-12, rtol=0)
    torch.testing.assert_close(found.plan.sum(2), a, atol=1e-9, rtol=0)
    assert (found.plan[:, 3] == 0).all()
    assert (found.plan[:, :, :2] == 0).all()
    # Optimal if and only if log(plan) + cost/ε is a sum of a term of the row and a term of the column.
    plan, there = found.plan[:, 4:, 2:], torch.tensor(EPSILON, dtype=torch.float64)[:, None, None]
    potential = plan.log() + cost[:, 4:, 2:] / there
    rest = (
        potential
        - potential.mean(1, keepdim=True)
        - potential.mean(2, keepdim=True)
        + potential.mean((1, 2), True)
    )
    assert rest.abs().max() < 1e-7


def test_the_value_is_that_of_the_plan(cost, masses):
    a, b = masses
    found = solve(cost, a=a, b=b)
    product = a[:, :, None] * b[:, None, :]
    there = found.plan > 0
    entropy = (
        found.plan * torch.where(there, found.plan / product.clamp_min(1e-300), 1).log()
    ).sum((1, 2))
    moved = (found.plan * cost).sum((1, 2))
    torch.testing.assert_close(
        found.value, moved + torch.tensor(EPSILON, dtype=torch.float64) * entropy
    )
    for k, epsilon in enumerate(EPSILON):
        rows, columns = (torch.nonzero(mass[k])[:, 0] for mass in (a, b))
        problem = a[k][rows], b[k][columns], cost[k][rows][:, columns]
        theirs = ot.bregman.sinkhorn_log(*(part.numpy() for part in problem), epsilon, 20000, 1e-11)
        np.testing.assert_allclose(found.plan[k][rows][:, columns].numpy(), theirs, atol=1e-7)


def test_before_it_has_converged_the_value_is_below_the_optimum(cost):
    whole = solve(cost).value
    values = torch.stack([solve(cost, n_iterations=n, tolerance=0).value for n in (1, 20, 60, 200)])
    assert (values <= whole + 1e-12).all()
    assert (values.diff(dim=0) >= -1e-12).all()


def test_a_symmetric_problem_is_solved_by_one_potential(generator):
    x = torch.randn(3, 30, 4, generator=generator, dtype=torch.float64)
    cost = torch.cdist(x, x)
    mass = torch.rand(3, 30, generator=generator, dtype=torch.float64)
    few = {"a": mass, "b": mass, "epsilon": (1.0, 2.0, 0.5), "n_iterations": 500}
    own, other = solve(cost, **few, symmetric=True), solve(cost, **few)
    torch.testing.assert_close(own.plan, own.plan.mT)
    torch.testing.assert_close(own.plan, other.plan, atol=1e-6, rtol=0)
    torch.testing.assert_close(own.value, other.value)
    assert own.n_iterations < other.n_iterations


def test_pairs_of_infinite_cost_are_not_formed(generator):
    cost = torch.rand(2, 10, 10, generator=generator, dtype=torch.float64)
    block = torch.arange(10) < 4
    allowed = block[:, None] == block[None, :]
    found = solve(cost.masked_fill(~allowed, torch.inf), epsilon=(0.1, 0.1))
    assert (found.plan[:, ~allowed] == 0).all()
    torch.testing.assert_close(found.plan.sum(2), torch.full((2, 10), 0.1, dtype=torch.float64))
    alone = solve(cost[:, :4, :4], epsilon=(0.1, 0.1))
    torch.testing.assert_close(found.plan[:, :4, :4] / 0.4, alone.plan)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_regularisation_does_not_overflow_and_nears_the_assignment(dtype, generator):
    x, y = torch.randn(2, 4, 40, 5, generator=generator, dtype=dtype) * 100
    cost = torch.cdist(x, y + 300)
    found = solve(cost, epsilon=(0.5,) * 4, tolerance=1e-3, n_iterations=3000)
    assert torch.isfinite(found.plan).all()
    for k in range(4):
        best = cost[k].numpy()[linear_sum_assignment(cost[k].numpy())].mean()
        assert found.value[k].item() == pytest.approx(best, rel=5e-3)


def test_it_stops_when_all_problems_are_solved_and_says_what_is_left(cost):
    easy, hard = (
        solve(cost, epsilon=(1.0,) * 3, tolerance=1e-3),
        solve(cost, epsilon=(0.003,) * 3, n_iterations=30),
    )
    assert easy.n_iterations < 60
    assert (easy.error < 1e-3).all()
    assert hard.n_iterations <= 30 + 10
    assert (hard.error > 1e-3).any()
    torch.testing.assert_close(hard.error, (hard.plan.sum(2) - 1 / 12).abs().sum(1))


def test_problems_do_not_see_each_other(cost):
    one = solve(cost[1:2], epsilon=EPSILON[1:2])
    torch.testing.assert_close(solve(cost).plan[1:2], one.plan, atol=1e-8, rtol=0)
