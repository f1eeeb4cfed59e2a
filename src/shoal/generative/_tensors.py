"""What every file here shares: the type of a field, time against columns, precision, and explicit random numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Field: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""``field(t, x)``: x is (..., D), t broadcasts over the leading axes of x; samplers pass a single number (0-d)."""


def over(t: Tensor) -> Tensor:
    """Return `t` with a last axis of one, so that it multiplies vectors."""
    return t[..., None]


def full(x: Tensor) -> Tensor:
    """Return `x` in single precision if it comes in half; double stays double."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def normal_like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normal numbers of the shape of `x`, on the generator's device, and bring them to that of `x`."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.randn(x.shape, generator=generator, device=generator.device, dtype=dtype).to(x)


def uniform(shape: tuple[int, ...], generator: torch.Generator, *, like: Tensor) -> Tensor:
    """Draw numbers uniform on [0, 1) with the device of `like` and at least single precision."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    return torch.rand(shape, generator=generator, device=generator.device, dtype=dtype).to(
        like.device
    )
