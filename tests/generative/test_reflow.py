from __future__ import annotations

import pytest
import torch

from shoal.generative import flow_cost, integrate, path

CENTRES = torch.tensor([[4.0, 0.0], [-1.0, 3.5], [-2.0, -3.0]])
SPREAD = 0.4


def mixture(t, x):
    """The drift from N(0, I) to three clusters, paired independently, in closed form."""
    variance = (1 - t) ** 2 + t**2 * SPREAD**2
    away = x[:, None] - t * CENTRES
    belief = (-away.square().sum(2) / (2 * variance)).softmax(1)
    slope = (t * SPREAD**2 - (1 - t)) / variance
    return (belief[..., None] * (CENTRES + slope * away)).sum(1)


def regressed(z0, z1, width=0.1):
    """The field of new pairs by kernel regression: E[z1 − z0 | x_t] with the pairs near x_t."""

    def field(t, x):
        between = torch.lerp(z0, z1, t)
        nearness = (-torch.cdist(x, between).square() / (2 * width**2)).softmax(1)
        return nearness @ (z1 - z0)

    return field


def test_straight_paths_cost_nothing_more(generator):
    x = torch.randn(3, 20, 2, generator=generator)
    cost = flow_cost(lambda t, x: torch.tensor([3.0, 4.0]).expand_as(x), x)
    assert cost.transport.item() == pytest.approx(25, rel=1e-4)
    assert cost.straightness.item() == pytest.approx(0, abs=1e-3)


def test_straightness_of_a_quarter_turn():
    """A circle at speed π/2: straightness π²/4 − 2 per unit radius squared, transport cost 2."""
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64) * torch.pi / 2
    for weight, square in ((None, 2.5), (torch.tensor([1.0, 0.0]), 1.0)):
        cost = flow_cost(lambda t, x: x @ turn, x, weight=weight)
        assert cost.transport.item() == pytest.approx(2 * square, rel=1e-3)
        assert cost.straightness.item() == pytest.approx((torch.pi**2 / 4 - 2) * square, rel=1e-3)


def test_reflow_straightens_and_does_not_lengthen(generator):
    pool = torch.randn(3000, 2, generator=generator)
    first = flow_cost(mixture, pool)
    z0, z1 = pool, integrate(mixture, pool, method="rk4", n_steps=50)
    paired = (
        CENTRES.square().sum(1).mean() + 2 * SPREAD**2 + 2
    ).item()  # E|x1 − x0|² of the independent pairs
    assert first.transport <= paired
    assert first.straightness <= paired
    again = regressed(z0, z1)
    held_out = torch.randn(400, 2, generator=generator)
    before, after = flow_cost(mixture, held_out), flow_cost(again, held_out, n_steps=50)
    assert after.straightness < 0.3 * before.straightness
    assert after.transport <= 1.01 * before.transport
    # so that one step is now nearly enough
    few = [
        (
            integrate(field, held_out, method="euler", n_steps=1)
            - integrate(field, held_out, n_steps=50)
        )
        .square()
        .mean()
        for field in (mixture, again)
    ]
    assert few[1] < 0.2 * few[0]


def test_reflow_between_gaussians_is_straight(gaussians, generator):
    """The flow is affine, z1 = A z0 + c, so that the next field is known: (A − I)((1−t)I + tA)⁻¹(x − tc) + c."""
    p, d = path(), len(gaussians.m0)

    def first(t, x):
        return gaussians.velocity(p, t, x)

    source, eye = gaussians.sample(500, generator), torch.eye(d)
    corners = integrate(first, torch.cat([torch.zeros(1, d), eye]), method="rk4", n_steps=100)
    c, a = corners[0], corners[1:] - corners[0]

    def second(t, x):
        return (x - t * c) @ torch.linalg.inv(torch.lerp(eye, a, t)) @ (a - eye) + c

    before, after = flow_cost(first, source), flow_cost(second, source)
    assert before.straightness > 0.01
    assert after.straightness < 1e-6 * before.straightness
    assert after.transport.item() == pytest.approx(before.transport.item(), rel=1e-4)
    independent = (
        (gaussians.m1 - gaussians.m0).square().sum() + gaussians.c0.trace() + gaussians.c1.trace()
    )
    assert after.transport < independent
