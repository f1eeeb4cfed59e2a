from __future__ import annotations

import math

import pytest
import torch

from shoal.generative import (
    GAMMAS,
    METHODS,
    PATHS,
    drift_field,
    drift_from_target,
    integrate,
    path,
    time_grid,
    walk,
)

FITTING = [(p, g) for p in PATHS for g in GAMMAS if (p, g) != ("encoding_decoding", "zero")]


def logistic(t, x):
    """dx/dt = (1 + sin t) x (1 − x): nonlinear, depends on time, and solved in closed form."""
    return (1 + torch.sin(t)) * x * (1 - x)


def solution(x, t=1.0):
    growth = math.exp(t + 1 - math.cos(t))
    return x * growth / (1 + x * (growth - 1))


X = torch.linspace(0.05, 0.6, 12, dtype=torch.float64)[:, None]


@pytest.mark.parametrize(
    ("method", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2), ("rk4", 4)]
)
def test_the_order_of_convergence(method, order):
    errors = [
        (integrate(logistic, X, method=method, n_steps=n) - solution(X)).abs().max()
        for n in (20, 40)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.12)


def test_dopri5_keeps_its_tolerance():
    loose, tight = (
        (integrate(logistic, X, method="dopri5", tolerance=e) - solution(X)).abs().max()
        for e in (1e-4, 1e-9)
    )
    assert loose < 1e-3
    assert tight < 1e-8


@pytest.mark.parametrize("method", METHODS)
def test_there_and_back(method):
    n = 2000 if method == "euler" else 50
    there = integrate(logistic, X, method=method, n_steps=n)
    back = integrate(logistic, there, method=method, n_steps=n, reverse=True)
    assert (back - X).abs().max() < 1e-3
    assert (there - X).abs().min() > 0.05


@pytest.mark.parametrize(("name", "gamma"), FITTING)
def test_the_flow_carries_one_population_to_the_other_and_back(name, gamma, gaussians, generator):
    p = path(name, gamma, a=0.7)
    field = drift_field(p, gaussians.heads(p))
    source = gaussians.sample(300, generator)
    target = integrate(field, source, n_steps=100)
    scale = gaussians.c1.diagonal().sqrt()
    # The flow is affine and the sample has exactly the moments of its population, so only the steps err.
    assert ((target.mean(0) - gaussians.m1).abs() < 0.01 * scale).all()
    assert ((target.std(0, correction=0) / scale - 1).abs() < 0.01).all()
    torch.testing.assert_close(
        torch.cov(target.T, correction=0).reshape_as(gaussians.c1), gaussians.c1, atol=0.02, rtol=0
    )
    there = integrate(field, source, method="rk4", n_steps=50)
    back = integrate(field, there, method="rk4", n_steps=50, reverse=True)
    assert (back - source).abs().max() < 1e-3


def test_a_target_head_lands_on_its_prediction():
    end = torch.tensor([[3.0, -1.0]])
    x = torch.zeros(1, 2)

    def field(t, x):
        return drift_from_target(
            path(), t, x, end + 0.01 * (t == 1)
        )  # a network is never quite the same at the end

    assert (integrate(field, x, n_steps=5, last="euler") - end).abs().max() < 1e-5
    assert (integrate(field, x, n_steps=5) - end).abs().max() > 0.5


def test_a_walk_passes_all_stops():
    grid = time_grid("edm", 7, like=X)
    stops = list(walk(logistic, X, grid=grid))
    assert torch.equal(torch.stack([t for t, _ in stops]), grid)
    assert torch.equal(stops[0][1], X)
    assert torch.equal(stops[-1][1], integrate(logistic, X, grid=grid))
    back = [float(t) for t, _ in walk(logistic, X, grid=grid, reverse=True)]
    assert back == grid.flip(0).tolist()


@pytest.mark.parametrize("method", METHODS)
def test_precision_and_gradient_are_kept(method):
    x = X.float().requires_grad_()
    end = integrate(
        logistic, x, method=method, grid=time_grid("uniform", 8, like=X)
    )  # a grid in double precision
    assert end.dtype == torch.float32
    end.sum().backward()
    exact = X.clone().requires_grad_()
    solution(exact).sum().backward()
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=0.15, atol=0)


def test_unknown_methods_are_refused():
    with pytest.raises(ValueError, match="method='rk45' is not known; choose one of 'euler'"):
        integrate(logistic, X, method="rk45")
    with pytest.raises(ValueError, match="last='dopri5' is not known"):
        integrate(logistic, X, last="dopri5")
