from __future__ import annotations

import pytest
import torch

from shoal.generative import (
    GAMMAS,
    PATHS,
    drift_field,
    drift_from_heads,
    drift_from_score,
    drift_from_target,
    ends,
    path,
    score_from_denoiser,
    score_from_drift,
)

NOISY = [(p, g) for p in PATHS for g in GAMMAS if g != "zero"]
each_noisy = pytest.mark.parametrize(("name", "gamma"), NOISY)
each_clean = pytest.mark.parametrize("name", ["linear", "trigonometric", "variance_preserving"])
TIMES = torch.tensor([0.02, 0.3, 0.7, 0.95], dtype=torch.float64)


@each_noisy
def test_the_denoiser_gives_the_score(name, gamma, gaussians, generator):
    p, x = path(name, gamma, a=0.7), gaussians.sample(50, generator)
    for t in TIMES:
        score = score_from_denoiser(p, t, gaussians.eta(p, t, x))
        torch.testing.assert_close(score, gaussians.score(p, t, x))


@each_noisy
def test_the_drift_from_either_head_moves_the_density_as_the_path_does(
    name, gamma, gaussians, generator
):
    """b transports p_t: its mean and covariance change at the rates of the moments of x_t."""
    p, h = path(name, gamma, a=0.7), 1e-6
    for t in TIMES:
        mean, cov = gaussians.moments(p, t)
        (low_mean, low_cov), (high_mean, high_cov) = (
            gaussians.moments(p, t - h),
            gaussians.moments(p, t + h),
        )

        def drift(x, t=t):
            return drift_from_heads(p, t, gaussians.velocity(p, t, x), gaussians.eta(p, t, x))

        slope = drift(mean + torch.eye(len(mean))) - drift(
            mean
        )  # b is affine: b(x) = b(mean) + (x − mean) slope
        torch.testing.assert_close(
            drift(mean), (high_mean - low_mean) / (2 * h), rtol=1e-5, atol=1e-6
        )
        torch.testing.assert_close(
            slope.T @ cov + cov @ slope, (high_cov - low_cov) / (2 * h), rtol=1e-5, atol=1e-6
        )
        x = gaussians.sample(20, generator)
        by_score = drift_from_score(p, t, gaussians.velocity(p, t, x), gaussians.score(p, t, x))
        torch.testing.assert_close(by_score, drift(x))


@each_noisy
def test_the_two_forms_of_the_drift_agree_up_to_the_ends(name, gamma, gaussians, generator):
    """γ̇ may diverge at the ends; the assembled field keeps the limit of the product."""
    p, x = path(name, gamma, a=0.7), gaussians.sample(50, generator)
    field = drift_field(p, gaussians.heads(p))
    for t in torch.tensor([0.0, 1e-5, 1.0]):
        exact = drift_from_score(p, t, gaussians.velocity(p, t, x), gaussians.score(p, t, x))
        assert (field(t, x) - exact).norm() <= 0.1 * exact.norm() + 1e-9


@each_noisy
def test_heads_may_come_stacked(name, gamma, gaussians, generator):
    p, x, t = path(name, gamma, a=0.7), gaussians.sample(5, generator), torch.tensor(0.4)
    heads = gaussians.heads(p)
    stacked = drift_field(p, lambda t, x: torch.stack(heads(t, x)))
    torch.testing.assert_close(stacked(t, x), drift_field(p, heads)(t, x))


@each_clean
@pytest.mark.parametrize("gamma", ["zero", "quadratic"])
def test_the_expected_ends_add_up_to_the_point(name, gamma, gaussians, generator):
    p, x = path(name, gamma, a=0.7), gaussians.sample(50, generator)
    for t in TIMES:
        white = gaussians.whitened(p, t, x)
        eta = gaussians.eta(p, t, x) if gamma != "zero" else None
        x0, x1 = ends(p, t, x, gaussians.velocity(p, t, x), eta)
        torch.testing.assert_close(x0, gaussians.m0 + p.alpha(t) * white @ gaussians.c0)
        torch.testing.assert_close(x1, gaussians.m1 + p.beta(t) * white @ gaussians.c1)
        if eta is None:
            torch.testing.assert_close(drift_from_target(p, t, x, x1), gaussians.velocity(p, t, x))


@each_clean
def test_with_a_normal_source_the_drift_gives_the_score(name, gaussians, generator):
    d = len(gaussians.m0)
    source = type(gaussians)(torch.zeros(d), torch.eye(d), gaussians.m1, gaussians.c1)
    p, x = path(name), source.sample(50, generator)
    for t in TIMES:
        score = score_from_drift(p, t, x, source.velocity(p, t, x))
        torch.testing.assert_close(score, source.score(p, t, x))


def test_the_linear_identities_are_those_of_the_textbook(generator):
    x, b = torch.randn(2, 6, 3, generator=generator)
    t = torch.rand(6, generator=generator)
    column = t[:, None]
    x0, x1 = ends(path(), t, x, b)
    torch.testing.assert_close(x0, x - column * b)
    torch.testing.assert_close(x1, x + (1 - column) * b)
    torch.testing.assert_close(score_from_drift(path(), t, x, b), (column * b - x) / (1 - column))
    torch.testing.assert_close(drift_from_target(path(), t, x, x1), b)


def test_nothing_is_infinite_at_the_ends(generator):
    x, y = torch.randn(2, 2, 3, generator=generator)
    t = torch.tensor([0.0, 1.0])
    brownian = path("linear", "brownian")
    for value in (
        score_from_denoiser(brownian, t, y),
        drift_from_heads(brownian, t, x, y),
        drift_from_target(path(), t, x, y),
        score_from_drift(path("trigonometric"), t, x, y),
    ):
        assert torch.isfinite(value).all()
