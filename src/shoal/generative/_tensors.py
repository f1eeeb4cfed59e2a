"""Tools of all generative files: type of a field, time axes, precision, random numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Field: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""``field(t, x)``: x is (..., D), and t broadcasts over its leading axes (samplers pass 0-d)."""


def over(t: Tensor) -> Tensor:
    """Return `t` with a last axis of length 1, so that it multiplies vectors."""
    return t[..., None]


def full(x: Tensor) -> Tensor:
    """Return `x` in single precision if it is in half precision. Double stays double."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def root(square: Tensor) -> Tensor:
    """Return the square root. Where the square is 0 (or less), the value and its gradient are 0."""
    apart = square > 0
    return torch.where(apart, square, 1).sqrt() * apart


def normal_like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return standard normal numbers of the shape of `x`, on its device.

    They are drawn on the device of the generator.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.randn(x.shape, generator=generator, device=generator.device, dtype=dtype).to(x)


def uniform(shape: tuple[int, ...], generator: torch.Generator, *, like: Tensor) -> Tensor:
    """Return uniform numbers on [0, 1) on the device of `like`, in single precision at least."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    return torch.rand(shape, generator=generator, device=generator.device, dtype=dtype).to(
        like.device
    )
