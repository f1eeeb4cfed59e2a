from __future__ import annotations

import pytest
import torch

import shoal as sh
from shoal.generative import energy_distance, mmd

WIDTHS = [0.5, 2.0]
DISTANCES = {
    "energy": (energy_distance, sh.metrics.energy_distance),
    "mmd": (
        lambda x, y, **w: mmd(x, y, bandwidth=WIDTHS, **w),
        lambda x, y: sh.metrics.mmd(x, y, bandwidth=WIDTHS),
    ),
}
each = pytest.mark.parametrize(("ours", "reference"), DISTANCES.values(), ids=DISTANCES)


@pytest.fixture
def sets(generator):
    x = torch.randn(3, 40, 5, generator=generator, dtype=torch.float64)
    y = 1.2 * torch.randn(3, 30, 5, generator=generator, dtype=torch.float64) + torch.tensor(
        [[[0.0]], [[0.5]], [[9.0]]]
    )
    return x, y


@each
def test_it_is_the_number_of_the_metric(ours, reference, sets):
    x, y = sets
    expected = [reference(a.numpy(), b.numpy()) for a, b in zip(x, y, strict=True)]
    assert ours(x, y).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert ours(x.float(), y.float()).tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    far = ours(x.float() + 3000, y.float() + 3000)  # the cells themselves are rounded to 0.0002
    assert far.tolist() == pytest.approx(expected, abs=2e-3)


@each
def test_slots_of_weight_0_are_left_out(ours, reference, sets, generator):
    x, y = sets
    keep, hold = (torch.rand(s.shape[:2], generator=generator) < 0.5 for s in (x, y))
    expected = [reference(x[k, keep[k]].numpy(), y[k, hold[k]].numpy()) for k in range(3)]
    assert ours(x, y, x_weight=keep, y_weight=hold.float()).tolist() == pytest.approx(
        expected, rel=1e-9, abs=1e-12
    )


@each
def test_it_is_0_on_average_between_samples_of_one_population(ours, reference, generator):
    x, y = torch.randn(2, 4000, 10, 3, generator=generator)
    found = ours(x, y)
    assert found.mean().abs() < 3 * found.std() / 4000**0.5
    assert (found < 0).any()


@each
def test_it_does_not_depend_on_order_or_place(ours, reference, sets, generator):
    x, y = sets
    turn = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64)).Q
    order = torch.randperm(40, generator=generator)
    torch.testing.assert_close(ours(x[:, order] @ turn + 3, y @ turn + 3), ours(x, y))


@each
def test_the_gradient_is_that_of_finite_differences(ours, reference, sets):
    x, y = (s[:, :6] for s in sets)
    weight = torch.tensor([1.0, 1, 0, 1, 1, 0], dtype=torch.float64).expand(3, 6)
    assert torch.autograd.gradcheck(
        lambda x: ours(x, y, x_weight=weight), x.clone().requires_grad_()
    )


@each
@pytest.mark.parametrize("size", [6, 60])  # above 25 rows distances come from products
def test_the_gradient_is_finite_where_cells_coincide(ours, reference, size, generator):
    x = torch.randn(2, size, 4, generator=generator)
    x[:, 1] = x[:, 0]
    x.requires_grad_()
    ours(x, x.detach().clone()).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().max() < 1
    collapsed = torch.zeros(1, size, 4, requires_grad=True)
    ours(collapsed, torch.zeros(1, size, 4)).sum().backward()
    assert torch.equal(collapsed.grad, torch.zeros_like(collapsed))


@each
def test_following_the_gradient_makes_the_populations_equal(ours, reference, generator):
    y = torch.randn(1, 60, 2, generator=generator) * 0.5 + 1
    x = torch.randn(1, 60, 2, generator=generator).requires_grad_()
    start = ours(x, y).item()
    optimizer = torch.optim.Adam([x], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        ours(x, y).sum().backward()
        optimizer.step()
    assert ours(x, y).item() < 0.05 * start
    torch.testing.assert_close(x.mean(1), y.mean(1), atol=0.25, rtol=0)  # it was 1 in each column


@each
def test_a_population_without_pairs_gives_a_number_and_a_gradient(ours, reference):
    x = torch.tensor([[[1.0], [5.0]]], requires_grad=True)
    y = torch.zeros(1, 3, 1)
    value = ours(
        x, y, x_weight=torch.tensor([[1.0, 0.0]]), y_weight=torch.tensor([[1.0, 0.0, 0.0]])
    )
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert x.grad[0, 0] != 0
    assert x.grad[0, 1] == 0


@each
def test_half_precision_surroundings_do_not_touch_it(ours, reference, sets):
    x, y = (s.float() for s in sets)
    expected = ours(x, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(ours(x, y), expected)
    half = ours(x.bfloat16(), y.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, expected, atol=0.05, rtol=0.05)


# -- the energy distance with self-distances -------------------------------------------------------------------------


def halves(x, y, **weights):
    return energy_distance(x, y, biased=True, **weights) / 2


def rounding(share_x, share_y):
    """What geomloss takes off: to it, two points are never closer than 1e-4, and so is a point to itself."""
    return 1e-4 * (share_x.square().sum(-1) + share_y.square().sum(-1)) / 2


def test_half_the_biased_energy_distance_is_that_of_geomloss(sets):
    geomloss = pytest.importorskip(
        "geomloss", reason="geomloss absent: the biased energy distance is not compared with it"
    )
    x, y = sets
    theirs = geomloss.SamplesLoss("energy")
    every = [torch.full_like(s[..., 0], 1 / s.shape[1]) for s in (x, y)]
    torch.testing.assert_close(halves(x, y), theirs(x, y) + rounding(*every))
    first, second = x.clone().requires_grad_(), x.clone().requires_grad_()
    theirs(first, y).sum().backward()
    halves(second, y).sum().backward()
    torch.testing.assert_close(second.grad, first.grad)


def test_weights_of_the_biased_energy_distance_are_those_of_geomloss(sets, generator):
    geomloss = pytest.importorskip(
        "geomloss", reason="geomloss absent: weights are not compared with it"
    )
    x, y = sets
    wx, wy = (torch.rand(s.shape[:2], generator=generator, dtype=torch.float64) for s in (x, y))
    wx[:, :7] = 0
    share = [w / w.sum(1, keepdim=True) for w in (wx, wy)]
    expected = geomloss.SamplesLoss("energy")(share[0], x, share[1], y) + rounding(*share)
    torch.testing.assert_close(halves(x, y, x_weight=wx, y_weight=wy), expected)


def test_slots_of_weight_0_are_left_out_of_the_biased_energy_distance(sets):
    x, y = sets
    keep = torch.arange(40) % 3 > 0
    weight = keep.double().expand(3, 40)
    torch.testing.assert_close(
        energy_distance(x, y, biased=True, x_weight=weight), halves(x[:, keep], y) * 2
    )


@pytest.mark.parametrize(("shift", "spread"), [(0.0, 1.0), (1.5, 1.0), (0.5, 2.0)])
def test_both_energy_distances_of_normal_samples_are_the_closed_form(shift, spread, generator):
    """A mean absolute difference of normals is that of a folded normal; self-distances, 0, take shares of 1 / n from it."""

    def folded(mean: float, sd: float) -> float:
        mean, sd = torch.tensor(mean, dtype=torch.float64), torch.tensor(sd, dtype=torch.float64)
        cdf = torch.special.ndtr(-mean / sd)
        return (
            sd * (2 / torch.pi) ** 0.5 * torch.exp(-(mean**2) / (2 * sd**2)) + mean * (1 - 2 * cdf)
        ).item()

    n, m, k = 20, 30, 4000
    x = torch.randn(k, n, 1, generator=generator, dtype=torch.float64)
    y = shift + spread * torch.randn(k, m, 1, generator=generator, dtype=torch.float64)
    between = 2 * folded(shift, (1 + spread**2) ** 0.5)
    own_x, own_y = folded(0.0, 2**0.5), folded(0.0, 2**0.5 * spread)
    unbiased, biased = energy_distance(x, y), energy_distance(x, y, biased=True)
    assert (biased > 0).all()
    for found, expected in (
        (unbiased, between - own_x - own_y),
        (biased, between - (1 - 1 / n) * own_x - (1 - 1 / m) * own_y),
    ):
        assert (found.mean() - expected).abs() < 4 * found.std() / k**0.5


@pytest.mark.parametrize("size", [6, 60])
def test_the_biased_energy_distance_is_0_at_the_target_with_a_finite_gradient(size, generator):
    y = torch.randn(2, size, 4, generator=generator)
    x = y.clone().requires_grad_()
    value = energy_distance(x, y, biased=True)
    value.sum().backward()
    assert value.abs().max() < 1e-3  # single precision: distances near 0 are differences of squares
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().max() < 1
    collapsed = torch.zeros(1, size, 4, requires_grad=True)
    energy_distance(collapsed, torch.zeros(1, size, 4), biased=True).sum().backward()
    assert torch.equal(collapsed.grad, torch.zeros_like(collapsed))


def test_single_cells_have_a_biased_energy_distance():
    x, y = torch.tensor([[[1.0]]]), torch.tensor([[[4.0]]])
    assert energy_distance(x, y, biased=True).tolist() == [6.0]
