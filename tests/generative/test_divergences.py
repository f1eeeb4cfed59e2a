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
    assert ours(x, y, x_weight=keep, y_weight=hold.float()).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


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
    assert torch.autograd.gradcheck(lambda x: ours(x, y, x_weight=weight), x.clone().requires_grad_())


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
    value = ours(x, y, x_weight=torch.tensor([[1.0, 0.0]]), y_weight=torch.tensor([[1.0, 0.0, 0.0]]))
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
