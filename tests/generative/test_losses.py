from __future__ import annotations

import pytest
import torch

from shoal.generative import HEADS, draw, drift_from_heads, ends, path, regression, weighted_mean


def pair(generator, shape=(4, 50, 3)):
    return torch.randn(2, *shape, generator=generator)


@pytest.mark.parametrize(
    ("gamma", "heads"), [("zero", ["velocity", "drift", "target"]), ("sin2", list(HEADS))]
)
def test_the_truth_has_no_loss(gamma, heads, generator):
    p, (x0, x1) = path("linear", gamma), pair(generator)
    point = draw(p, x0, x1, generator=generator)
    truth = {head: HEADS[head](p, point) for head in heads}
    assert regression(p, point, truth) == dict.fromkeys(["loss", *heads], 0)
    off = regression(p, point, {head: value + 2 for head, value in truth.items()})
    assert all(off[head].item() == pytest.approx(4, rel=1e-5) for head in heads)
    assert off["loss"].item() == pytest.approx(4 * len(heads), rel=1e-5)


@pytest.mark.parametrize("gamma", ["zero", "brownian", "quadratic"])
def test_the_analytic_fields_are_the_minimum(gamma, gaussians, generator):
    """At the minimum the error of a prediction is orthogonal to every function of (t, x)."""
    p = path("linear", gamma)
    source, target = gaussians.sample(2000, generator), gaussians.sample(2000, generator, end=1)
    point = draw(p, source, target, generator=generator)

    def analytic(t, x):
        v, eta = gaussians.velocity(p, t, x), gaussians.eta(p, t, x)
        fields = {"velocity": v, "target": ends(p, t, x, v, eta)[1]}
        return fields | (
            {"denoiser": eta, "drift": drift_from_heads(p, t, v, eta)} if p.gamma else {}
        )

    found = [analytic(t, x[None]) for t, x in zip(point.t, point.x, strict=True)]
    for head in found[0]:
        error = torch.cat([fields[head] for fields in found]) - HEADS[head](p, point)
        for probe in (
            torch.ones_like(error),
            point.x,
            torch.cos(3 * point.t[:, None]) * point.x.sin(),
        ):
            products = (error * probe).flatten()
            assert products.mean().abs() < 4 * products.std() / len(products) ** 0.5, head


def test_a_weight_of_0_leaves_a_point_out(generator):
    p, (x0, x1) = path("linear", "quadratic"), pair(generator)
    point = draw(p, x0, x1, generator=generator)
    guess = {"velocity": torch.randn(x1.shape, generator=generator), "denoiser": x0}
    keep = torch.rand(4, 50, generator=generator) < 0.3
    some = regression(p, point, guess, weight=keep.float())
    kept = regression(
        p,
        type(point)(*(value[keep] for value in (point.t, point.x, point.x0, point.x1, point.z))),
        {head: value[keep] for head, value in guess.items()},
    )
    for head, value in kept.items():
        torch.testing.assert_close(some[head], value)


def test_without_any_weight_there_is_no_loss_and_no_nan():
    values = torch.ones(3, requires_grad=True)
    mean = weighted_mean(values, torch.zeros(3))
    mean.backward()
    assert mean == 0
    assert torch.equal(values.grad, torch.zeros(3))


def test_weights_may_be_of_any_scale():
    values, weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1.0, 3.0])
    for scale in (1e-6, 1.0, 1e6):
        assert weighted_mean(values, scale * weight).item() == pytest.approx((1 + 6 + 3 + 12) / 8)


def test_times_keep_off_the_ends_where_the_noise_is_brownian():
    x = torch.zeros(100, 1000, 1)
    brownian, smooth = (
        draw(path("linear", name), x, x, generator=torch.Generator().manual_seed(0)).t
        for name in ("brownian", "sin2")
    )
    assert brownian.min() >= 0.001
    assert brownian.max() <= 0.999
    assert smooth.min() < 0.0001


def test_an_antithetic_draw_mirrors_the_noise(generator):
    p, (x0, x1) = path("linear", "brownian"), pair(generator)
    point = draw(p, x0, x1, antithetic=True, generator=generator)
    assert point.x.shape == (2, *x1.shape)
    assert point.t.shape == (1, 4, 50)
    torch.testing.assert_close(
        point.x.mean(0), p.interpolate(point.t[0], x0, x1), atol=1e-6, rtol=1e-5
    )
    weight = torch.ones(4, 50)
    assert regression(p, point, {"drift": 0 * point.x}, weight=weight)["loss"] > 0
    without = draw(path(), x0, x1, antithetic=True, generator=generator)
    assert without.x.shape == x1.shape


def test_antithetic_pairs_calm_the_gradient_of_a_brownian_drift():
    """The gradient of a one-parameter drift θ·1 over many draws: z/√t cancels, so that it scatters far less."""
    p, x0, x1 = path("linear", "brownian"), torch.zeros(1, 8, 1), torch.ones(1, 8, 1)

    def gradient(seed, *, antithetic):
        theta = torch.zeros(1, requires_grad=True)
        g = torch.Generator().manual_seed(seed)
        source, target = (x0, x1) if antithetic else (x0.repeat(1, 2, 1), x1.repeat(1, 2, 1))
        point = draw(p, source, target, antithetic=antithetic, generator=g)
        regression(p, point, {"drift": theta + 0 * point.x})["loss"].backward()
        return theta.grad.item()

    spread = [
        torch.tensor([gradient(s, antithetic=a) for s in range(200)]).std().item()
        for a in (True, False)
    ]
    assert spread[0] < 0.1 * spread[1]


def test_half_precision_predictions_are_compared_in_single(generator):
    p, (x0, x1) = path("linear", "quadratic"), pair(generator)
    point = draw(p, x0, x1, generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weight = torch.eye(3).requires_grad_()
        v = point.x @ weight
        loss = regression(p, point, {"velocity": v, "denoiser": v})["loss"]
    assert v.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    loss.backward()
    assert torch.isfinite(weight.grad).all()


def test_the_seed_decides():
    x0, x1 = torch.zeros(2, 3, 1), torch.ones(2, 3, 1)
    a, b, c = (
        draw(path("linear", "sin2"), x0, x1, generator=torch.Generator().manual_seed(s))
        for s in (1, 1, 2)
    )
    assert torch.equal(a.x, b.x)
    assert not torch.equal(a.x, c.x)


def test_what_cannot_be_compared_is_refused(generator):
    x0, x1 = pair(generator)
    point = draw(path(), x0, x1, generator=generator)
    with pytest.raises(ValueError, match="head='score' is not known; choose one of 'velocity'"):
        regression(path(), point, {"score": x0})
    with pytest.raises(ValueError, match="nothing to denoise"):
        regression(path(), point, {"denoiser": x0})
    with pytest.raises(ValueError, match="at least one head of velocity, drift, denoiser, target"):
        regression(path(), point, {})
