from __future__ import annotations

import pytest
import torch

from shoal.nn import SetTransformer
from shoal.nn._set_blocks import SetBlock

K, S, IN, OUT, D, C = 3, 7, 5, 4, 16, 6
heads = pytest.mark.parametrize("n_heads", [0, 4])


def opened(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Return the module, in double precision, with all weights drawn: gates, steering and the last layer start at 0."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.double().parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64))
    return module


def network(n_heads: int = 4, *, depth: int = 2) -> SetTransformer:
    return opened(SetTransformer(IN, OUT, width=D, depth=depth, n_heads=n_heads, d_condition=C))


@pytest.fixture
def inputs():
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(K, S, IN, generator=draw, dtype=torch.float64)
    return x, torch.randn(K, 1, C, generator=draw, dtype=torch.float64)


def norm(h):
    return (h - h.mean(-1, keepdim=True)) / (h.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()


@heads
def test_a_block_is_its_formula(n_heads):
    """The MLP stands behind the attention, which is that of the two streams: tested with them."""
    block = opened(SetBlock(D, n_heads, C, mlp_ratio=4))
    h, condition = (
        torch.randn(K, S, D, dtype=torch.float64),
        torch.randn(K, S, C, dtype=torch.float64),
    )
    shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = block.steer(condition).chunk(6, dim=-1)
    expected = h
    if n_heads:
        expected = h + gate * block.attention(norm(h) * (1 + scale) + shift, None)
    expected = expected + gate_mlp * block.mlp(norm(expected) * (1 + scale_mlp) + shift_mlp)
    torch.testing.assert_close(block(h, condition, None), expected)


@heads
def test_the_network_is_its_blocks_between_two_maps(n_heads, inputs):
    net, (x, condition) = network(n_heads), inputs
    steer = torch.nn.functional.silu(condition)
    h = net.enter(x)
    for block in net.blocks:
        h = block(h, steer, None)
    shift, scale = net.steer(steer).chunk(2, dim=-1)
    torch.testing.assert_close(net(x, condition), net.leave(norm(h) * (1 + scale) + shift))
    assert len(net.blocks) == 2


def test_at_first_it_is_exactly_zero_and_blocks_are_the_identity():
    torch.manual_seed(0)
    net, x = SetTransformer(IN, OUT, width=D, depth=2, n_heads=4), torch.randn(K, S, IN)
    condition = torch.randn(K, 1, D)
    assert torch.equal(net(x, condition), torch.zeros(K, S, OUT))
    h = torch.randn(K, S, D)
    for block in net.blocks:
        assert torch.equal(block(h, condition, None), h)
    assert net.enter.weight.std() > 0.1  # not all of it is zero: gradient reaches the last layer
    net(x, condition).sum().backward()
    assert net.leave.weight.grad.abs().max() > 0.1


@heads
def test_gradients_reach_every_weight(n_heads, inputs):
    net = network(n_heads)
    net(*inputs).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@heads
def test_the_order_of_the_slots_goes_through(n_heads, inputs):
    x, condition = inputs
    net, order = network(n_heads), torch.randperm(S, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(net(x[:, order], condition), net(x, condition)[:, order])


@heads
def test_cells_of_a_set_see_each_other_if_there_are_heads_and_sets_never_do(n_heads, inputs):
    x, condition = inputs
    net, moved = network(n_heads), x.clone()
    moved[0, 0] += 1
    changed = (net(moved, condition) - net(x, condition)).abs().amax(-1) > 1e-9
    assert changed[0, 0]
    assert (changed[0, 1:] == bool(n_heads)).all()
    assert not changed[1:].any()


def test_slots_of_weight_0_are_as_if_they_were_not_there(inputs):
    x, condition = inputs
    net, weight = network(), torch.tensor([1, 0, 2, 1, 0, 0.5, 0]).expand(K, S)
    keep = weight[0] > 0
    out = net(x, condition, weight=weight)
    torch.testing.assert_close(out[:, keep], net(x[:, keep], condition))
    junk = torch.where(keep[:, None], x, 1e3)
    torch.testing.assert_close(net(junk, condition, weight=weight)[:, keep], out[:, keep])
    assert torch.isfinite(net(junk, condition, weight=weight)).all()
    assert not torch.isclose(
        net(x, condition)[:, keep], out[:, keep]
    ).all()  # without the weight they are read


def test_a_set_in_which_nothing_counts_is_read_whole(inputs):
    weight = torch.ones(K, S)
    weight[1] = 0
    net = network()
    torch.testing.assert_close(net(*inputs, weight=weight), net(*inputs))


def test_a_condition_is_told_to_sets_or_to_slots(inputs):
    x, condition = inputs
    net = network()
    torch.testing.assert_close(net(x, condition), net(x, condition.expand(K, S, -1)))
    one = condition.expand(K, S, -1).clone()
    one[:, 0] += 1
    assert not torch.isclose(net(x, one), net(x, condition)).all(-1)[:, 0].any()


def test_it_learns_what_only_the_other_slots_tell():
    torch.manual_seed(0)
    draw, losses = torch.Generator().manual_seed(0), {}
    for n_heads in (2, 0):
        net = SetTransformer(2, 2, width=16, depth=2, n_heads=n_heads)
        optimizer, found = torch.optim.Adam(net.parameters(), lr=5e-3), []
        for _ in range(150):
            x = torch.randn(32, 8, 2, generator=draw)
            target = x.mean(1, keepdim=True).expand_as(x)
            loss = (net(x, torch.zeros(32, 1, 16)) - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        losses[n_heads] = sum(found[-10:]) / 10
    alone = 1 / 8 - 1 / 64  # what is left of the variance of the mean to a cell that knows itself
    assert losses[2] < 0.5 * alone
    assert losses[0] > 0.8 * alone


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_gives_nearly_the_same(dtype, inputs):
    net, expected = network(), network()(*inputs)
    out = net.to(dtype)(*(part.to(dtype) for part in inputs), weight=torch.ones(K, S))
    assert out.dtype == dtype
    assert (out.double() - expected).norm() < (
        1e-5 if dtype == torch.float32 else 0.1
    ) * expected.norm()


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="n_heads=5 must divide the width of the attention, 16"):
        SetTransformer(IN, OUT, width=D, depth=1, n_heads=5)
    with pytest.raises(ValueError, match="depth must be a whole number"):
        SetTransformer(IN, OUT, width=D, depth=0, n_heads=4)


def test_conditions_that_slots_share_are_told_once(inputs):
    net, (x, _) = network(), inputs
    several, which = (
        torch.randn(K, 2, C, dtype=torch.float64),
        torch.arange(K * S).reshape(K, S) % 2,
    )
    each = torch.take_along_dim(several, which[..., None], 1)
    shared = net(x, several, slots=torch.nn.functional.one_hot(which, 2))
    torch.testing.assert_close(shared, net(x, each))
