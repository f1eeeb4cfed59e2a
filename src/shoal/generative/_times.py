"""At which times a model is trained (laws) and at which it is evaluated when it generates (grids)."""

from __future__ import annotations

import torch
from torch import Tensor

from .._validate import one_of, positive
from ._tensors import normal_like, uniform

LAWS = ("uniform", "edm")
GRIDS = ("uniform", "edm")
LOG_MEAN, LOG_SD = -1.2, 1.2  # of the noise level in training
HIGHEST, LOWEST, BEND = (
    80.0,
    0.002,
    7.0,
)  # noise levels of the grid, and how much it favours the low ones


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
        ``"uniform"``, or ``"edm"``: the skewed law t = 1 / (1 + σ) with σ log-normal, which spends its effort between
        t = 0.3 and 0.96 and is meant for sources that are noise.
    shape
        Shape of what is returned, usually (K, S).
    generator
        The source of randomness.
    like
        A tensor whose device is taken, and whose precision if that is more than single.
    margin
        How far from 0 and 1 to stay; take ``path.gamma.margin``.

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
    """Return the times at which a sampler stands, from 0 to 1.

    Parameters
    ----------
    name
        ``"uniform"``, or ``"edm"``: half of the steps lie where the noise is high, so use it only if the source is noise.
    n_steps
        Number of steps.
    like
        A tensor whose device is taken, and whose precision if that is more than single.

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
    positive(n_steps, name="n_steps")
    dtype = torch.promote_types(like.dtype, torch.float32)
    if name == "uniform":
        return torch.linspace(0, 1, n_steps + 1, device=like.device, dtype=dtype)
    high, low = HIGHEST ** (1 / BEND), LOWEST ** (1 / BEND)
    level = (high + torch.linspace(0, 1, n_steps, dtype=torch.float64) * (low - high)) ** BEND
    grid = torch.cat([1 / (1 + level), level.new_ones(1)])
    grid[0] = 0  # level 80 is t = 0.012; the source stands at 0
    return grid.to(like.device, dtype)
