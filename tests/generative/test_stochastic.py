from __future__ import annotations

import pytest
import torch

from shoal.generative import (
    GAMMAS,
    PATHS,
    Diffusion,
    diffuse,
    drift_field,
    integrate,
    one_sided,
    path,
    two_sided,
)

NOISY = [(p, g) for p in PATHS for g in GAMMAS if g != "zero"]
each_noisy = pytest.mark.parametrize(("name", "gamma"), NOISY)
N = 40_000
AMPLITUDE = {"brownian": 2.0, "quadratic": 2.0, "sin2": 0.7}


def assert_population(x, mean, cov, tolerance=0.01):
    scale = cov.diagonal().sqrt()
    assert ((x.mean(0) - mean).abs() < tolerance * scale).all()
    assert ((x.std(0) / scale - 1).abs() < tolerance).all()


@each_noisy
def test_the_diffusion_carries_one_population_to_the_other(name, gamma, gaussians, generator):
    p = path(name, gamma, a=AMPLITUDE[gamma])
    source = gaussians.sample(N, generator)
    target = diffuse(
        two_sided(gaussians.heads(p), p, eps0=0.5), source, n_steps=100, generator=generator
    )
    assert_population(target, gaussians.m1, gaussians.c1)
    flow = integrate(drift_field(p, gaussians.heads(p)), source)
    assert (target - flow).square().mean() > 0.05  # and not along the flow


@each_noisy
def test_without_epsilon_it_is_the_flow(name, gamma, gaussians, generator):
    p, source = path(name, gamma, a=AMPLITUDE[gamma]), gaussians.sample(20, generator)
    still = two_sided(gaussians.heads(p), p, eps0=0)
    flow = drift_field(p, gaussians.heads(p))
    for stochastic, fixed in (("heun", "heun"), ("euler_maruyama", "euler")):
        for reverse in (False, True):
            found = diffuse(
                still, source, method=stochastic, n_steps=10, reverse=reverse, generator=generator
            )
            torch.testing.assert_close(
                found, integrate(flow, source, method=fixed, n_steps=10, reverse=reverse)
            )


@pytest.mark.parametrize(
    ("name", "gamma"), [("linear", "quadratic"), ("trigonometric", "brownian")]
)
def test_backwards_in_time_it_returns_to_the_source_population(name, gamma, gaussians, generator):
    p = path(name, gamma, a=AMPLITUDE[gamma])
    target = gaussians.sample(N, generator, end=1)
    diffusion = two_sided(gaussians.heads(p), p, eps0=0.5)
    assert_population(
        diffuse(diffusion, target, n_steps=100, reverse=True, generator=generator),
        gaussians.m0,
        gaussians.c0,
    )


@pytest.mark.parametrize("name", ["linear", "trigonometric"])
@pytest.mark.parametrize("eps0", [0.0, 0.5])
def test_a_normal_source_needs_the_drift_only(name, eps0, gaussians, generator):
    d = len(gaussians.m0)
    pair = type(gaussians)(torch.zeros(d), torch.eye(d), gaussians.m1, gaussians.c1)
    p = path(name)
    diffusion = one_sided(lambda t, x: pair.velocity(p, t, x), p, eps0=eps0)
    there = diffuse(diffusion, pair.sample(N, generator), n_steps=60, generator=generator)
    assert_population(there, pair.m1, pair.c1)
    back = diffuse(
        diffusion, pair.sample(N, generator, end=1), n_steps=60, reverse=True, generator=generator
    )
    assert_population(back, pair.m0, pair.c0)


@pytest.mark.parametrize("method", ["euler_maruyama", "heun"])
def test_brownian_motion_in_a_well_settles_to_its_known_variance(method, generator):
    """dx = −x dt + √(2ε) dW over time 1: variance e⁻² + ε(1 − e⁻²)."""
    well = Diffusion(lambda t, x: (-x, torch.zeros_like(x)), lambda t: torch.full_like(t, 0.3))
    x = torch.randn(N, 1, generator=generator, dtype=torch.float64)
    end = diffuse(well, x, method=method, n_steps=400, generator=generator)
    decay = torch.exp(torch.tensor(-2.0)).item()
    assert end.var().item() == pytest.approx(decay + 0.3 * (1 - decay), rel=0.02)


@pytest.mark.parametrize("method", ["euler_maruyama", "heun"])
@pytest.mark.parametrize("reverse", [False, True])
def test_few_steps_add_the_right_amount_of_noise(method, reverse, generator):
    """Noise alone, growing with time: 2∫ε = 0.6, which the middles of five steps give exactly."""
    growing = Diffusion(lambda t, x: (torch.zeros_like(x), torch.zeros_like(x)), lambda t: 0.6 * t)
    end = diffuse(
        growing, torch.zeros(N, 1), method=method, n_steps=5, reverse=reverse, generator=generator
    )
    assert end.var().item() == pytest.approx(0.6, rel=0.025)


def test_the_seed_decides(gaussians):
    p, x = path("linear", "quadratic"), torch.zeros(5, len(gaussians.m0))
    diffusion = two_sided(gaussians.heads(p), p, eps0=1)
    a, b, c = (diffuse(diffusion, x, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_what_has_no_score_is_refused(gaussians, generator):
    with pytest.raises(ValueError, match="a path without noise has no score"):
        two_sided(gaussians.heads(path()), path(), eps0=1)
    with pytest.raises(ValueError, match="only where gamma is 'zero', not 'sin2'"):
        one_sided(lambda t, x: x, path("linear", "sin2"), eps0=1)
    with pytest.raises(ValueError, match="eps0 must not be below 0, and is -1"):
        one_sided(lambda t, x: x, path(), eps0=-1)
    with pytest.raises(ValueError, match="method='rk4' is not known"):
        diffuse(
            one_sided(lambda t, x: x, path(), eps0=1),
            torch.zeros(1, 1),
            method="rk4",
            generator=generator,
        )
