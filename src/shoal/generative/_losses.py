r"""One step of training: what it draws, and what its predictions are compared with.

=========== ================================= =========================================
head        target                            estimates
=========== ================================= =========================================
velocity    α̇x0 + β̇x1                         v; without noise on the path v = b
drift       α̇x0 + β̇x1 + γ̇z                    b
denoiser    z                                 η = E[z | x_t], and the score s = −η/γ
target      x1                                E[x1 | x_t]
=========== ================================= =========================================

Which heads to train:

- Without noise: ``velocity`` or ``target``.
- With noise: ``velocity`` and ``denoiser``, two heads of one trunk. Neither of their targets
  diverges, whatever the schedule, and b and s follow from them (:mod:`._convert`).
- A ``drift`` head on a Brownian path needs ``antithetic=True``. Its target diverges as ±z/√t, and
  the pair of points with z and −z cancels this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .._validate import one_of
from ._tensors import full, normal_like
from ._times import draw_times

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._paths import Path


@dataclass(frozen=True)
class Draw:
    """Points of a path.

    Attributes
    ----------
    t
        (...,) times.
    x
        (..., D) points of the path.
    x0, x1
        (..., D) their sources and targets.
    z
        (..., D) their noise; None on a path without noise.
    """

    t: Tensor
    x: Tensor
    x0: Tensor
    x1: Tensor
    z: Tensor | None


HEADS: dict[str, Callable[[Path, Draw], Tensor]] = {
    "velocity": lambda path, d: path.velocity(d.t, d.x0, d.x1),
    "drift": lambda path, d: path.velocity(d.t, d.x0, d.x1, d.z),
    "denoiser": lambda _path, d: _noise(d),
    "target": lambda _path, d: d.x1,
}


def draw(
    path: Path,
    x0: Tensor,
    x1: Tensor,
    *,
    law: str = "uniform",
    antithetic: bool = False,
    generator: torch.Generator,
) -> Draw:
    """Draw a time and a point of the path for each pair.

    Parameters
    ----------
    path
        The path.
    x0
        (..., D) sources.
    x1
        (..., D) targets, paired with the sources.
    law
        Law of the times, see :func:`draw_times`.
    antithetic
        Whether to return each point twice, with z and with −z, on a new first axis of 2. Only if
        the path carries noise.
    generator
        Source of all random numbers.

    Returns
    -------
    The points. With `antithetic`, t is (1, ...) and x and z are (2, ..., D).
    """
    t = draw_times(law, x1.shape[:-1], like=x1, margin=path.gamma.margin, generator=generator)
    z = normal_like(x1, generator) if path.gamma else None
    if antithetic and z is not None:
        t, x0, x1, z = t[None], x0[None], x1[None], torch.stack((z, -z))
    return Draw(t, path.interpolate(t, x0, x1, z), x0, x1, z)


def regression(
    path: Path, point: Draw, predictions: Mapping[str, Tensor], *, weight: Tensor | None = None
) -> dict[str, Tensor]:
    """Return the mean squared error of each head, and their sum.

    Parameters
    ----------
    path
        The path that `point` lies on.
    point
        From :func:`draw`.
    predictions
        (..., D) predictions of each head, by its name in the table above.
    weight
        (...,) weight of each point; 0 leaves it out. By default all count the same.

    Returns
    -------
    One number (0-d) under the name of each head, and their sum under ``"loss"``.

    Raises
    ------
    ValueError
        If there are no predictions, a head is not known, or there is a denoiser on a path without
        noise.

    Examples
    --------
    >>> import torch
    >>> from shoal.generative import path
    >>> generator, line = torch.Generator().manual_seed(0), path("linear", "quadratic")
    >>> point = draw(line, torch.zeros(4, 8, 2), torch.ones(4, 8, 2), generator=generator)
    >>> losses = regression(line, point, {"velocity": 0 * point.x, "denoiser": 0 * point.x})
    >>> losses["velocity"]
    tensor(1.)
    """
    if not predictions:
        msg = f"nothing to compare: give the predictions of at least one head of {', '.join(HEADS)}"
        raise ValueError(msg)
    losses = {}
    for head, prediction in predictions.items():
        one_of(head, HEADS, name="head")
        error = (full(prediction) - full(HEADS[head](path, point))).square().mean(-1)
        losses[head] = weighted_mean(error, weight)
    return {"loss": torch.stack(list(losses.values())).sum(), **losses}


def weighted_mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """Return the weighted mean of `values` (0-d); 0 where no weight is above 0.

    The weights broadcast to the values.
    """
    if weight is None:
        return values.mean()
    weight = weight.to(values.dtype).expand_as(values)
    return (weight * values).sum() / weight.sum().clamp_min(torch.finfo(values.dtype).tiny)


def _noise(point: Draw) -> Tensor:
    if point.z is None:
        msg = (
            "a path without noise has nothing to denoise; "
            "give it a gamma other than 'zero' or drop the head"
        )
        raise ValueError(msg)
    return point.z
