from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from shoal.nn import ImageTime, ImageVelocity, LinearCondition, UNet
from shoal.nn import _unet as file
from shoal.nn._unet import PixelAttention, ResidualBlock, halved

D = 16


def net(**changes):
    torch.manual_seed(0)
    sizes = {"width": 8, "multipliers": (1, 2), "n_blocks": 1, "attention": (1,)} | changes
    return UNet(2, (8, 12), d_condition=D, **sizes)


def images(n=6, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x, c = torch.randn(n, 2, 8, 12, generator=draw), torch.randn(n, D, generator=draw)
    return x, c


def trained(module, steps=60):
    """Fit images that the condition makes brighter or darker; return first and last loss."""
    x, c = images(16)
    y = x.flip(1) + c[:, :1, None, None]
    optimizer, losses = torch.optim.Adam(module.parameters(), lr=1e-2), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (module(x, c) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


def test_the_published_size_has_as_many_weights_as_published():
    parts = UNet(3, (96, 96), d_condition=512), ImageTime(512), LinearCondition(1024, 512)
    total = sum(p.numel() for part in parts for p in part.parameters())
    assert total == pytest.approx(56.2e6, abs=0.05e6)


def test_an_untrained_network_returns_zero():
    assert not net()(*images()).any()


def test_gradients_reach_every_parameter():
    module = net()
    trained(module, 8)
    assert all(p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.slow
def test_it_learns_what_the_condition_does():
    first, last = trained(net())
    assert last < 0.1 * first


def test_images_of_a_batch_do_not_meet():
    module = net()
    trained(module, 3)
    x, c = images()
    both = module(x, c)
    torch.testing.assert_close(both[:2], module(x[:2], c[:2]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_residual_block_is_its_formula(layout):
    torch.manual_seed(0)
    block = ResidualBlock(4, 6, D, dropout=0.0)
    torch.nn.init.normal_(block.conv2.weight)
    h, c = torch.randn(3, 4, 5, 5), torch.randn(3, D)
    scale, shift = (c @ block.steer.weight.T + block.steer.bias)[..., None, None].split(6, dim=1)
    inner = F.conv2d(F.silu(block.norm1(h)), block.conv1.weight, block.conv1.bias, padding=1)
    inner = F.silu(block.norm2(inner) * (1 + scale) + shift)
    inner = F.conv2d(inner, block.conv2.weight, block.conv2.bias, padding=1)
    skip = F.conv2d(h, block.skip.weight, block.skip.bias)
    torch.testing.assert_close(block(h.to(memory_format=layout), c), skip + inner)


def test_halved_images_are_means_of_four_pixels():
    h = torch.randn(2, 3, 4, 6)
    torch.testing.assert_close(halved(h), F.avg_pool2d(h, 2))


def test_attention_is_its_formula():
    torch.manual_seed(0)
    layer = PixelAttention(4, 1)
    torch.nn.init.normal_(layer.leave.weight)
    h = torch.randn(2, 4, 3, 3)
    pixels = layer.norm(h).flatten(2).transpose(1, 2)
    q, k, v = layer.qkv(pixels).chunk(3, dim=-1)
    seen = (q @ k.transpose(1, 2) / 2).softmax(-1) @ v
    expected = h + layer.leave(seen).transpose(1, 2).view_as(h)
    torch.testing.assert_close(layer(h), expected)


def test_several_heads_return_several_images():
    assert net(out=4)(*images()).shape == (6, 4, 8, 12)


def test_images_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match=r"8 x 12 pixels cannot be halved 3 times: crop or pad"):
        net(multipliers=(1, 1, 1, 1))


def test_flat_images_are_put_through_a_few_at_a_time(monkeypatch):
    unet = net()
    trained(unet, 3)
    velocity = ImageVelocity(unet, (2, 8, 12))
    x, c = images()
    flat, condition = x.flatten(1).view(2, 3, -1), c.view(2, 3, -1)
    whole = velocity(flat, condition)
    torch.testing.assert_close(whole.detach().view(6, 2, 8, 12), unet(x, c).detach())
    monkeypatch.setattr(file, "AT_ONCE", 2 * 96)
    with torch.no_grad():
        torch.testing.assert_close(velocity(flat, condition), whole.detach(), atol=1e-5, rtol=1e-4)
        one = velocity(flat, condition[:, :1])
    torch.testing.assert_close(one[:, 0], whole[:, 0].detach(), atol=1e-5, rtol=1e-4)


def test_the_time_has_waves_of_the_published_lengths():
    time = ImageTime(8)
    time.net = torch.nn.Identity()
    seen = time(torch.tensor([0.3]))[0]
    rate = 10_000 ** (-torch.arange(64) / 64)
    angles = 0.3 * rate
    torch.testing.assert_close(
        seen.sort().values, torch.cat([angles.sin(), angles.cos()]).sort()[0]
    )


# -- the condition as published --------------------------------------------------------------------


def condition(k=400):
    present = torch.ones(k, 2, dtype=torch.bool)
    present[0, 1], present[1] = False, False
    return {"parts": torch.ones(k, 2, 3) * present[..., None], "present": present}


def test_a_perturbation_that_is_left_out_adds_nothing():
    layer = LinearCondition(3, 4).eval()
    out = layer(condition())
    assert out.shape == (400, 1, 4)
    torch.testing.assert_close(out[0], out[2])  # a mean over parts
    assert not out[1].any()  # no perturbation
    assert not layer(condition(), drop=("perturbation",)).any()
    with pytest.raises(ValueError, match="drop='dose' is not known"):
        layer(condition(), drop=("dose",))


def test_the_coin_is_thrown_for_a_batch_or_for_each_cell():
    given, batch = condition(), torch.zeros(400, 5, dtype=torch.long)
    draw = torch.Generator().manual_seed(0)
    kept = {"batch": [], "sample": []}
    for coin, shares in kept.items():
        layer = LinearCondition(3, 4, dropout=0.2, coin=coin).train()
        for _ in range(50):
            out = layer(given, batch, generator=draw)[2:]
            shares.append((out != 0).any(-1).float().mean().item())
    assert set(kept["batch"]) == {0.0, 1.0}
    assert 0.6 < sum(kept["batch"]) / 50 < 0.95
    assert all(abs(share - 0.8) < 0.06 for share in kept["sample"])
    with pytest.raises(ValueError, match="pass generator="):
        layer(given, batch)
    with pytest.raises(ValueError, match="coin='cell' is not known"):
        LinearCondition(3, 4, coin="cell")
