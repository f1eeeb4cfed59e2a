"""Sines and cosines of numbers: the embedding of time, and of any scalar."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def waves(value: Tensor, n: int, *, longest: float = 4.0, shortest: float = 0.2) -> Tensor:
    """Return sines and cosines of a scalar at geometrically spaced wavelengths.

    Parameters
    ----------
    value
        Tensor of any shape.
    n
        Number of wavelengths.
    longest, shortest
        First and last wavelength, in units of `value`. The defaults suit values in an interval of
        length 1: the longest wave is monotone there, and a sampler of 20 steps can follow the
        shortest.

    Returns
    -------
    Tensor of the shape of `value` with an axis of 2 n appended.
    """
    rate = torch.logspace(
        0, 1, n, base=longest / shortest, dtype=torch.float32, device=value.device
    )
    angle = value[..., None].float() * rate * (2 * torch.pi / longest)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


class TimeEmbedding(nn.Module):
    """Time in [0, 1] as a vector: waves of 16 lengths, then a small network.

    Parameters
    ----------
    width
        Length of the vector.
    n_waves
        Number of wavelengths.
    """

    def __init__(self, width: int, *, n_waves: int = 16) -> None:
        super().__init__()
        self.n_waves = n_waves
        self.net = nn.Sequential(nn.Linear(2 * n_waves, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """Return the embedding of times of any shape: an axis of `width` is appended."""
        return self.net(waves(t, self.n_waves))
