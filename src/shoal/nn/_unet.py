"""A U-Net for images of cells, steered by a condition: the family of Dhariwal & Nichol 2021 (ADM).

- The network goes down in levels and up again. At each level it is given what the way down had
  there (skip connections).
- A residual block is normalised, convolved, normalised again, scaled and shifted by the condition
  (FiLM), and convolved once more.
- Sizes are halved by the mean of 2 x 2 pixels, and doubled by repeating pixels. Neither has
  weights.
- Pixels attend to one another at the levels that are named, and in the middle.
- The last layer of every block, and of the network, starts at zero. An untrained network returns
  exactly 0, and an untrained block what it was given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from .._validate import whole
from ._blocks import zeroed
from ._covariates import StepEmbedding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

F = nn.functional
MOST_GROUPS = 32  # of channels that are normalised together
AT_ONCE = 2**18  # pixels that are put through at once where no gradient is needed


def group_norm(channels: int) -> nn.GroupNorm:
    """Return the norm of 32 groups of channels, or of as many as divide them if that is fewer."""
    groups = next(n for n in range(min(MOST_GROUPS, channels), 0, -1) if channels % n == 0)
    return nn.GroupNorm(groups, channels)


def zero_convolution(channels: int, out: int, size: int) -> nn.Conv2d:
    """Return a convolution with weight and bias 0."""
    return zeroed(nn.Conv2d(channels, out, size, padding=size // 2))


def steered(norm: nn.GroupNorm, h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return ``norm(h) * (1 + scale) + shift``, for h (N, C, H, W) and scale and shift (N, C).

    Images that lie in memory one after another are normalised as the channels of one image. Each
    then has weights of its own, and one pass does it all.
    """
    if not h.is_contiguous():
        return torch.addcmul(shift[..., None, None], norm(h), 1 + scale[..., None, None])
    weight, bias = norm.weight * (1 + scale), norm.bias * (1 + scale) + shift
    flat, groups = h.view(1, -1, *h.shape[2:]), len(h) * norm.num_groups
    return F.group_norm(flat, groups, weight.flatten(), bias.flatten(), norm.eps).view_as(h)


def halved(h: Tensor) -> Tensor:
    """Return the means of 2 x 2 pixels; the gradient of ``avg_pool2d`` is slow on a CPU."""
    rows = h[..., ::2, :] + h[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


class ResidualBlock(nn.Module):
    """``skip(h) + conv(silu(norm(conv(silu(norm(h)))) * (1 + scale) + shift))``.

    Parameters
    ----------
    channels, out
        Channels of the input and of the output.
    d_condition
        Length of the condition, which gives scale and shift.
    dropout
        Share of the values that are dropped before the last convolution.
    """

    def __init__(self, channels: int, out: int, d_condition: int, *, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = group_norm(channels), group_norm(out)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.steer = nn.Linear(d_condition, 2 * out)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zero_convolution(out, out, 3)
        self.skip = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """Return (N, out, H, W) from h (N, channels, H, W) and conditions (N, d_condition)."""
        scale, shift = self.steer(condition).chunk(2, dim=1)
        new = steered(self.norm2, self.conv1(F.silu(self.norm1(h))), scale, shift)
        return self.skip(h) + self.conv2(self.dropout(F.silu(new)))


class PixelAttention(nn.Module):
    """Self-attention of the pixels of an image, added to them.

    Parameters
    ----------
    channels
        Channels of the images.
    n_heads
        Number of heads; divides `channels`.
    """

    def __init__(self, channels: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm = group_norm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.leave = zeroed(nn.Linear(channels, channels))

    def forward(self, h: Tensor) -> Tensor:
        """Return (N, channels, H, W)."""
        pixels = self.norm(h).flatten(2).transpose(1, 2)  # (N, H W, channels)
        q, k, v = (
            self.qkv(pixels).unflatten(-1, (3, self.n_heads, -1)).movedim(-3, 0).transpose(-3, -2)
        )
        seen = F.scaled_dot_product_attention(q, k, v).transpose(-3, -2).flatten(-2)
        return h + self.leave(seen).transpose(1, 2).unflatten(2, h.shape[2:])


class Level(nn.Module):
    """The residual blocks of one level on one way, each followed by attention where there is any.

    Parameters
    ----------
    channels
        Channels that each block is given; those of skip connections are counted.
    out
        Channels that each block returns.
    d_condition, dropout
        Arguments of :class:`ResidualBlock`.
    n_heads
        Heads of the attention; 0 leaves it out.
    """

    def __init__(
        self, channels: Sequence[int], out: int, d_condition: int, *, dropout: float, n_heads: int
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(n, out, d_condition, dropout=dropout) for n in channels
        )
        self.attention = nn.ModuleList(
            PixelAttention(out, n_heads) if n_heads else nn.Identity() for _ in channels
        )

    def down(self, h: Tensor, condition: Tensor) -> list[Tensor]:
        """Return what comes out of each block, (N, out, H, W), one after another."""
        kept = []
        for block, attention in zip(self.blocks, self.attention, strict=True):
            h = attention(block(h, condition))
            kept.append(h)
        return kept

    def up(self, h: Tensor, kept: list[Tensor], condition: Tensor) -> Tensor:
        """Return (N, out, H, W); each block takes the last of what was kept on the way down."""
        for block, attention in zip(self.blocks, self.attention, strict=True):
            h = attention(block(torch.cat([h, kept.pop()], dim=1), condition))
        return h


class UNet(nn.Module):
    """A U-Net that returns one or several images for each image, under a time and a condition.

    Parameters
    ----------
    channels
        Channels of an image.
    size
        Height and width of an image. Each is a multiple of 2 for every level but the first.
    d_condition
        Length of the condition.
    width
        Unit of the numbers of channels.
    multipliers
        Channels of each level, in multiples of `width`.
    n_blocks
        Residual blocks of a level on the way down; there is one more on the way up.
    attention
        Numbers of the levels with attention; the level of whole images is 0.
    n_heads
        Heads of the attention.
    dropout
        Dropout in the blocks.
    out
        Channels of the result; those of an image if ``None``.

    Raises
    ------
    ValueError
        If an image cannot be halved as often as there are levels, or a number is not positive.

    Notes
    -----
    Dhariwal & Nichol 2021, *Diffusion models beat GANs on image synthesis*. The size of CellFlux is
    ``width=128, multipliers=(2, 2, 2), n_blocks=4, attention=(1,), dropout=0.3``.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        d_condition: int,
        width: int = 128,
        multipliers: Sequence[int] = (2, 2, 2),
        n_blocks: int = 4,
        attention: Sequence[int] = (1,),
        n_heads: int = 1,
        dropout: float = 0.0,
        out: int | None = None,
    ) -> None:
        super().__init__()
        for name, value in {"width": width, "n_blocks": n_blocks, "n_heads": n_heads}.items():
            whole(value, name=name)
        check_size(size, len(multipliers))
        widths = [width * multiplier for multiplier in multipliers]
        options = {"d_condition": d_condition, "dropout": dropout}
        heads = [n_heads if level in attention else 0 for level in range(len(widths))]
        now = widths[0]
        self.enter = nn.Conv2d(channels, now, 3, padding=1)
        downs, kept = [], [now]
        for level, (own, n) in enumerate(zip(widths, heads, strict=True)):
            downs.append(Level([now] + [own] * (n_blocks - 1), own, n_heads=n, **options))
            kept += [own] * (n_blocks + (level < len(widths) - 1))
            now = own
        self.downs = nn.ModuleList(downs)
        self.middle = nn.ModuleList(ResidualBlock(now, now, **options) for _ in range(2))
        self.middle_attention = PixelAttention(now, n_heads)
        ups = []
        for own, n in zip(reversed(widths), reversed(heads), strict=True):
            given = [now, *[own] * n_blocks]
            ups.append(Level([g + kept.pop() for g in given], own, n_heads=n, **options))
            now = own
        self.ups = nn.ModuleList(ups)
        self.norm = group_norm(now)
        self.leave = zero_convolution(now, channels if out is None else out, 3)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return (N, out, H, W) from images (N, channels, H, W) and conditions (N, d_condition)."""
        condition = F.silu(condition)
        on_gpu = x.device.type == "cuda"  # whose convolutions are faster with the channels last
        h = self.enter(x.contiguous(memory_format=torch.channels_last) if on_gpu else x)
        kept = [h]
        for i, level in enumerate(self.downs):
            if i:
                h = halved(h)
                kept.append(h)
            kept += level.down(h, condition)
            h = kept[-1]
        first, second = self.middle
        h = second(self.middle_attention(first(h, condition)), condition)
        for i, level in enumerate(self.ups):
            h = level.up(F.interpolate(h, scale_factor=2.0) if i else h, kept, condition)
        return self.leave(F.silu(self.norm(h)))


class ImageVelocity(nn.Module):
    """A U-Net on flat images, as flows have them.

    Parameters
    ----------
    unet
        The network.
    shape
        Shape (C, H, W) of an image.
    """

    def __init__(self, unet: UNet, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.unet, self.shape = unet, shape

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return (K, S, out * H * W) from images (K, S, C * H * W).

        The condition (K or 1, S or 1, d_condition) broadcasts over the images. Where no gradient is
        needed, images are put through a few at a time.
        """
        images = x.unflatten(-1, self.shape).flatten(0, 1)
        each = condition.expand(*x.shape[:2], -1).flatten(0, 1)
        few = max(1, AT_ONCE // (self.shape[1] * self.shape[2]))
        step = len(images) if torch.is_grad_enabled() else few
        made = [self.unet(i, c) for i, c in zip(images.split(step), each.split(step), strict=True)]
        return torch.cat(made).flatten(1).unflatten(0, x.shape[:2])


class ImageTime(StepEmbedding):
    """Time in [0, 1] as a vector, as published: 64 waves with periods from 2π to about 2π · 10,000.

    The time is not multiplied by 1,000, so that all waves but a few are nearly straight in it.
    """

    n_waves = 64


def check_size(size: tuple[int, int], n_levels: int) -> None:
    """Raise ``ValueError`` unless both sides of an image can be halved from level to level."""
    factor = 2 ** (n_levels - 1)
    if any(side % factor or side < factor for side in size):
        near = " x ".join(str(max(factor, side // factor * factor)) for side in size)
        msg = (
            f"images of {' x '.join(map(str, size))} pixels cannot be halved {n_levels - 1} times: "
            f"crop or pad them to a multiple of {factor} ({near}, say), or use fewer levels "
            f"(multipliers=)"
        )
        raise ValueError(msg)
