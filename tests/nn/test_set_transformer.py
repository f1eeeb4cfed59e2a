from __future__ import annotations

import doctest
from itertools import pairwise

import pytest
import torch

from shoal.nn import (
    FUSIONS,
    CovariateEncoder,
    CrossBlock,
    CrossTransformer,
    StepEmbedding,
    _set_transformer,
    n_parameters,
)

K, S, G, D, H = 3, 7, 5, 16, 4
fused = pytest.mark.parametrize("fusion", FUSIONS)


def opened(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Return the module, in double precision, with all weights drawn: gates and steering start at 0."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.double().parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64))
    return module


def network(fusion: str, *, heads: int = 1, depth: int = 3) -> CrossTransformer:
    return opened(
        CrossTransformer(
            G, width=D, depth=depth, n_heads=H, d_condition=6, fusion=fusion, heads=heads
        )
    )


@pytest.fixture
def inputs():
    draw = torch.Generator().manual_seed(1)
    x, control = torch.randn(2, K, S, 2 * G, generator=draw, dtype=torch.float64)
    return x, control, torch.randn(K, 1, 6, generator=draw, dtype=torch.float64)


# -- size ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("genes", "width", "depth", "n_heads", "millions"),
    [
        (2000, 512, 8, 8, 103.6),
        (12_626, 512, 8, 8, 141.8),
        (2000, 256, 4, 8, 16.9),
        (2000, 128, 4, 8, 5.5),
        (200, 128, 4, 8, 3.9),
        (200, 64, 3, 8, 1.0),
    ],
)
def test_it_has_as_many_weights_as_the_published_network(genes, width, depth, n_heads, millions):
    """Counted as published: with the covariates from the layer as wide as the genes on, and with dead weights."""
    with torch.device("meta"):
        net = CrossTransformer(genes, width=width, depth=depth, n_heads=n_heads, heads=2)
        covariates = CovariateEncoder(1, 0, hidden=genes, width=width)
        ours = (
            sum(map(n_parameters, (net, StepEmbedding(width), covariates.leave)))
            + covariates.null.numel()
        )
    dead = (
        5120 * width + width
    )  # the original has a linear layer for vectors of genes that it never uses; we do not
    assert round((ours + dead) / 1e6, 1) == millions
    if (genes, width) == (2000, 512):
        assert round(n_parameters(net.blocks) / 1e6, 1) == 92.4


@fused
def test_one_head_leaves_out_what_no_loss_reaches(fusion):
    one, two = network(fusion), network(fusion, heads=2)
    frozen = sum(p.numel() for p in two.parameters() if not p.requires_grad)
    assert frozen == n_parameters(two.control_head) + n_parameters(two.blocks[-1].controls.mlp)
    assert n_parameters(one) < n_parameters(two) - frozen
    assert all(p.requires_grad for p in one.parameters())


@fused
@pytest.mark.parametrize("heads", [1, 2])
def test_gradients_reach_every_weight_that_is_trained(fusion, heads, inputs):
    net = network(fusion, heads=heads)
    net(*inputs).square().sum().backward()
    without = [
        name
        for name, p in net.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert without == []


# -- formula ---------------------------------------------------------------------------------------------------------


def attend(attention, u, keys=None):
    """Attention written out: for each head and pair of tokens."""
    q, k, v = attention.qkv(u).chunk(3, dim=-1)
    out = []
    for a, b, c in zip(*(part.chunk(attention.n_heads, dim=-1) for part in (q, k, v)), strict=True):
        a, b = (
            part / (part.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight
            for part, norm in ((a, attention.norm_q), (b, attention.norm_k))
        )
        score = a @ b.mT / a.shape[-1] ** 0.5
        if keys is not None:
            score = score.masked_fill(~keys[:, None, :], -torch.inf)
        out.append(score.softmax(-1) @ c)
    return attention.leave(torch.cat(out, dim=-1))


def norm(h):
    return (h - h.mean(-1, keepdim=True)) / (h.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()


@fused
def test_a_block_is_its_formula(fusion):
    """Attention and MLP side by side on one state, streams that meet in the attention only."""
    block = opened(CrossBlock(D, H, 6, fusion=fusion))
    h, g = torch.randn(2, K, S, D, dtype=torch.float64)
    condition = torch.randn(K, S, 6, dtype=torch.float64)
    steer_h, steer_g = (s.steer(condition).chunk(6, dim=-1) for s in (block.cells, block.controls))
    a, b = (norm(state) * (1 + s[1]) + s[0] for state, s in ((h, steer_h), (g, steer_g)))
    if fusion == "features":
        seen = attend(block.attention, torch.cat([a, b], dim=-1))
        to_h, to_g = seen[..., :D], seen[..., D:]
    else:
        seen = attend(block.attention, torch.cat([a, b], dim=1))
        to_h, to_g = seen[:, :S], seen[:, S:]
    expected = [
        state + s[2] * to + s[5] * stream.mlp(norm(state) * (1 + s[4]) + s[3])
        for state, s, to, stream in (
            (h, steer_h, to_h, block.cells),
            (g, steer_g, to_g, block.controls),
        )
    ]
    for found, want in zip(block(h, g, condition), expected, strict=True):
        torch.testing.assert_close(found, want)


@fused
def test_the_last_block_makes_of_the_cells_what_any_block_does(fusion):
    whole, last = (CrossBlock(D, H, 6, fusion=fusion, ends=ends) for ends in (False, True))
    opened(whole)
    weights = whole.state_dict()
    rows = {"controls.steer": 2 * D, "attention.leave": D}
    kept = {
        name: value[: rows.get(name.rpartition(".")[0])]
        for name, value in weights.items()
        if not name.startswith("controls.mlp")
    }
    last.double().load_state_dict(kept)
    h, g = torch.randn(2, K, S, D, dtype=torch.float64)
    condition = torch.randn(K, 1, 6, dtype=torch.float64)
    torch.testing.assert_close(last(h, g, condition)[0], whole(h, g, condition)[0])
    assert last(h, g, condition)[1] is g


@fused
def test_untrained_blocks_are_the_identity(fusion):
    torch.manual_seed(0)
    net = CrossTransformer(G, width=D, depth=2, n_heads=H, fusion=fusion, heads=2)
    h, g = torch.randn(2, K, S, D)
    for block in net.blocks:
        for found, put in zip(block(h, g, torch.randn(K, 1, D)), (h, g), strict=True):
            assert torch.equal(found, put)
    x, control = torch.randn(2, K, S, 2 * G)
    out = net(x, control, torch.randn(K, 1, D))
    assert out.std() > 0.1  # the last layer does not start at zero
    torch.testing.assert_close(
        out, net.head.leave(norm(net.enter(x) + net.constant)), atol=1e-5, rtol=1e-5
    )


# -- sets ------------------------------------------------------------------------------------------------------------


@fused
def test_the_order_of_the_slots_goes_through(fusion, inputs):
    x, control, condition = inputs
    net, order = network(fusion), torch.randperm(S, generator=torch.Generator().manual_seed(2))
    out = net(x, control, condition)
    torch.testing.assert_close(net(x[:, order], control[:, order], condition), out[:, order])
    alone = net(x[:, order], control, condition)
    assert torch.allclose(alone, out[:, order]) == (
        fusion == "tokens"
    )  # fused by features, each cell has its control


@fused
def test_sets_do_not_see_each_other_and_their_cells_do(fusion, inputs):
    x, control, condition = inputs
    net, moved = network(fusion), x.clone()
    moved[0, 0] += 1
    changed = (net(moved, control, condition) - net(x, control, condition)).abs().amax(-1) > 1e-9
    assert changed[0].all()
    assert not changed[1:].any()


@fused
def test_slots_of_weight_0_are_as_if_they_were_not_there(fusion, inputs):
    x, control, condition = inputs
    net, weight = network(fusion), torch.tensor([1, 0, 2, 1, 0, 0.5, 0]).expand(K, S)
    keep = weight[0] > 0
    given = {"weight": weight, "control_weight": weight}
    out = net(x, control, condition, **given)
    torch.testing.assert_close(out[:, keep], net(x[:, keep], control[:, keep], condition))
    junk, rubbish = (torch.where(keep[:, None], part, 1e3) for part in (x, control))
    torch.testing.assert_close(net(junk, rubbish, condition, **given)[:, keep], out[:, keep])
    assert torch.isfinite(net(junk, rubbish, condition, **given)).all()


def test_tokens_know_which_controls_count(inputs):
    x, control, condition = inputs
    net, keep = network("tokens"), torch.arange(S) < 4
    out = net(x, control, condition, control_weight=keep.expand(K, S))
    torch.testing.assert_close(out, net(x, control[:, keep], condition))


@fused
def test_a_set_in_which_nothing_counts_is_read_whole(fusion, inputs):
    weight = torch.ones(K, S)
    weight[1] = 0
    net = network(fusion)
    out = net(*inputs, weight=weight, control_weight=weight)
    torch.testing.assert_close(out, net(*inputs))


def test_features_need_a_control_for_each_cell(inputs):
    x, control, condition = inputs
    with pytest.raises(ValueError, match="7 cells and 6 controls cannot be fused by features"):
        network("features")(x, control[:, :6], condition)
    assert network("tokens")(x, control[:, :6], condition).shape == (K, S, G)


@fused
def test_a_condition_is_told_to_sets_or_to_slots(fusion, inputs):
    x, control, condition = inputs
    net = network(fusion)
    torch.testing.assert_close(
        net(x, control, condition), net(x, control, condition.expand(K, S, -1))
    )
    several, which = (
        torch.randn(K, 3, 6, dtype=torch.float64),
        torch.arange(K * S).reshape(K, S) % 3,
    )
    each = torch.take_along_dim(several, which[..., None], 1)
    slots = torch.nn.functional.one_hot(which, 3)
    torch.testing.assert_close(net(x, control, several, slots=slots), net(x, control, each))


@fused
def test_features_that_are_0_may_be_left_out(fusion, inputs):
    x, control, condition = inputs
    net, zeros = network(fusion), torch.zeros(K, S, G, dtype=torch.float64)
    x, control = x[..., :G], control[..., :G]
    whole = net(torch.cat([x, zeros], -1), torch.cat([control, zeros], -1), condition)
    torch.testing.assert_close(net(x, control, condition), whole)


# -- use -------------------------------------------------------------------------------------------------------------


@fused
def test_it_learns_what_only_the_other_slots_tell(fusion):
    torch.manual_seed(0)
    net = CrossTransformer(2, width=16, depth=2, n_heads=2, fusion=fusion, d_control=2)
    draw = torch.Generator().manual_seed(0)
    optimizer, losses = torch.optim.Adam(net.parameters(), lr=5e-3), []
    for _ in range(150):
        x, control = torch.zeros(32, 8, 4), torch.randn(32, 8, 2, generator=draw)
        target = control.mean(1, keepdim=True).expand(32, 8, 2)
        loss = (net(x, control, torch.zeros(32, 1, 16)) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert (
        sum(losses[-10:]) < 0.3 * 10 * 0.125
    )  # 1 / 8, the variance of the mean: what a guess of 0 costs


@fused
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_gives_nearly_the_same(fusion, dtype, inputs):
    net, expected = network(fusion), network(fusion)(*inputs)
    out = net.to(dtype)(*(part.to(dtype) for part in inputs), weight=torch.ones(K, S))
    assert out.dtype == dtype
    assert (out.double() - expected).norm() < (
        1e-5 if dtype == torch.float32 else 0.1
    ) * expected.norm()


@fused
def test_mixed_precision_runs_and_trains(fusion, inputs):
    net, expected = network(fusion).float(), network(fusion)(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(*(part.float() for part in inputs), weight=torch.ones(K, S))
        loss = out.float().square().mean()
    loss.backward()
    assert (out.double() - expected).norm() < 0.1 * expected.norm()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_state_dict_round_trip(inputs):
    net, other = (
        network("features"),
        CrossTransformer(G, width=D, depth=3, n_heads=H, d_condition=6).double(),
    )
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(*inputs), other(*inputs))


def test_errors_name_what_is_wrong():
    with pytest.raises(
        ValueError, match=r"fusion='cells' is not known; choose one of 'features', 'tokens'"
    ):
        CrossBlock(D, H, D, fusion="cells")
    with pytest.raises(ValueError, match="n_heads=5 must divide the width of the attention, 32"):
        CrossBlock(D, 5, D)
    with pytest.raises(ValueError, match="heads=3"):
        CrossTransformer(G, width=D, depth=1, n_heads=H, heads=3)
    with pytest.raises(ValueError, match="depth must be a whole number"):
        CrossTransformer(G, width=D, depth=0, n_heads=H)


def test_the_example_runs():
    assert doctest.testmod(_set_transformer).failed == 0


def test_steps_are_waves_of_the_published_lengths():
    embedding, t = StepEmbedding(8), torch.arange(1000)
    seen = {}
    embedding.net[0].register_forward_hook(lambda _, given, __: seen.update(given=given[0]))
    assert embedding(t).shape == (1000, 8)
    angle = t[:, None].double() * 10_000.0 ** (-torch.arange(128, dtype=torch.float64) / 128)
    expected = torch.cat(
        [angle.sin().flip(-1), angle.cos().flip(-1)], dim=-1
    )  # longest first, here
    torch.testing.assert_close(seen["given"].double(), expected, atol=2e-3, rtol=0)
    assert 0.015 < embedding.net[0].weight.std() < 0.025
    first = seen["given"]
    assert all((a - b).norm() > 0.5 for a, b in pairwise(first))  # neighbouring steps differ
