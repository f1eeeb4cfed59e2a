"""Times of training (laws) and times at which a sampler evaluates a model (grids)."""

from __future__ import annotations

import torch
from torch import Tensor

from .._validate import one_of, whole
from ._tensors import normal_like, uniform

LAWS = ("uniform", "edm")
GRIDS = ("uniform", "edm")
LOG_MEAN, LOG_SD = -1.2, 1.2  # mean and spread of the log noise level in training
# highest and lowest noise level of the grid, and how much it favours low ones
HIGHEST, LOWEST, BEND = (
    80.0,
    0.002,
    7.0,
)


def draw_times(
    law: str,
    shape: tuple[int, ...],
    *,
    generator: torch.Generator,
    like: Tensor,
    margin: float = 0.0,
) -> Tensor:
    """Draw the times of one step of training.

    Parameters
    ----------
    law
        ``"uniform"``; or ``"edm"``, for sources that are noise. It is the skewed law t = 1 / (1 +
        σ) with σ log-normal, and most times are between 0.3 and 0.96.
    shape
        Shape of the result, usually (K, S).
    generator
        Source of all random numbers.
    like
        A tensor on the device of the result. If it is of more than single precision, so is the
        result.
    margin
        Distance from 0 and 1 that the times keep; take ``path.gamma.margin``.

    Returns
    -------
    Times in [margin, 1 − margin].

    Raises
    ------
    ValueError
        If there is no such law.

    References
    ----------
    karras2022elucidating
    """
    one_of(law, LAWS, name="law")
    if law == "uniform":
        return margin + (1 - 2 * margin) * uniform(shape, generator, like=like)
    dtype = torch.promote_types(like.dtype, torch.float32)
    level = torch.exp(
        LOG_MEAN + LOG_SD * normal_like(like.new_empty(shape, dtype=dtype), generator)
    )
    return (1 / (1 + level)).clamp(margin, 1 - margin)


def time_grid(name: str, n_steps: int, *, like: Tensor) -> Tensor:
    """Return the times of the steps of a sampler, from 0 to 1.

    Parameters
    ----------
    name
        ``"uniform"``; or ``"edm"``, where half of the steps are at high noise. Use it only if the
        source is noise.
    n_steps
        Number of steps.
    like
        A tensor on the device of the result. If it is of more than single precision, so is the
        result.

    Returns
    -------
    (n_steps + 1,) increasing times; the first is 0 and the last is 1.

    Raises
    ------
    ValueError
        If there is no such grid, or `n_steps` is not above 0.

    References
    ----------
    karras2022elucidating
    """
    one_of(name, GRIDS, name="grid")
    n_steps = whole(n_steps, name="n_steps")
    dtype = torch.promote_types(like.dtype, torch.float32)
    if name == "uniform":
        return torch.linspace(0, 1, n_steps + 1, device=like.device, dtype=dtype)
    high, low = HIGHEST ** (1 / BEND), LOWEST ** (1 / BEND)
    level = (high + torch.linspace(0, 1, n_steps, dtype=torch.float64) * (low - high)) ** BEND
    grid = torch.cat([1 / (1 + level), level.new_ones(1)])
    grid[0] = 0  # level 80 is t = 0.012, but the source is at t = 0
    return grid.to(like.device, dtype)
