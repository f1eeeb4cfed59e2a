r"""Stochastic generation: diffusions with the same marginals as the flow.

For any ε(t) ≥ 0 the process

.. math:: dx = (b + \varepsilon s)\,dt + \sqrt{2\varepsilon}\,dW

has the same marginals as the flow of b. So has the reverse process with drift b − εs, run from t =
1 to 0. The choice of ε avoids a division of εs by the noise:

- ε0 γ²/γ²(½) for a path with noise (:func:`two_sided`);
- ε0 α for a standard normal source (:func:`one_sided`).

A learned b is never exact. Noise together with a learned score corrects errors that the flow alone
would carry along.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._validate import one_of
from ._convert import Heads, drift_from_heads, ends
from ._samplers import STEPS, stops
from ._tensors import Field, normal_like

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from ._paths import Path

STOCHASTIC = ("euler_maruyama", "heun")


@dataclass(frozen=True)
class Diffusion:
    """The terms of a diffusion.

    Attributes
    ----------
    terms
        ``terms(t, x)`` gives (b, εs), each (..., D).
    epsilon
        ``epsilon(t)`` gives ε.
    """

    terms: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    epsilon: Callable[[Tensor], Tensor]


def two_sided(heads: Heads, path: Path, *, eps0: float) -> Diffusion:
    """Return the diffusion of a path with noise, from the heads v and η.

    ε = ε0 γ²/γ²(½), so that εs = −ε0 γη/γ²(½).

    Parameters
    ----------
    heads
        ``heads(t, x)`` gives v and η.
    path
        The path that the heads were trained on.
    eps0
        ε at t = ½; 0 is the flow.

    Returns
    -------
    A diffusion.

    Raises
    ------
    ValueError
        If the path carries no noise or `eps0` is negative.
    """
    _check(eps0)
    if not path.gamma:
        msg = (
            "a path without noise has no score; sample the flow, "
            "or train with a gamma other than 'zero'"
        )
        raise ValueError(msg)
    gamma, scale = path.gamma, eps0 / path.gamma.peak**2

    def terms(t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        t = gamma.inner(t)
        v, eta = heads(t, x)
        return drift_from_heads(path, t, v, eta), -scale * gamma(t) * eta

    return Diffusion(terms, lambda t: scale * gamma(t) ** 2)


def one_sided(field: Field, path: Path, *, eps0: float) -> Diffusion:
    """Return the diffusion of a path without noise from a standard normal source.

    ε = ε0 α, so that εs = −ε0 E[x0 | x].

    Parameters
    ----------
    field
        The drift b. No score was learned: the score follows from b.
    path
        The path that the field was trained on, with sources drawn independently of their targets.
    eps0
        ε at t = 0; 0 is the flow.

    Returns
    -------
    A diffusion.

    Raises
    ------
    ValueError
        If the path carries noise or `eps0` is negative.
    """
    _check(eps0)
    if path.gamma:
        msg = (
            "the score follows from the drift only where gamma is 'zero', "
            f"not {path.gamma.name!r}; use two_sided"
        )
        raise ValueError(msg)

    def terms(t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        b = field(t, x)
        return b, -eps0 * ends(path, t, x, b)[0]

    return Diffusion(terms, lambda t: eps0 * path.alpha(t))


def diffuse(
    diffusion: Diffusion,
    x: Tensor,
    *,
    method: str = "heun",
    n_steps: int = 50,
    grid: Tensor | None = None,
    reverse: bool = False,
    generator: torch.Generator,
) -> Tensor:
    """Carry points along a diffusion.

    Parameters
    ----------
    diffusion
        From :func:`two_sided` or :func:`one_sided`.
    x
        (..., D) points at t = 0 (at t = 1 if `reverse`).
    method
        ``"euler_maruyama"``; or ``"heun"``, which adds the noise of the step first and then makes a
        Heun step of the drift. Both take ε in the middle of the step.
    n_steps
        Number of equal steps, if there is no `grid`.
    grid
        (n + 1,) increasing times, see :func:`time_grid`.
    reverse
        Whether to go from the last time to the first.
    generator
        Source of the noise.

    Returns
    -------
    (..., D) points at the other end.

    Raises
    ------
    ValueError
        If there is no such method.

    References
    ----------
    albergo2023stochastic
    """
    one_of(method, STOCHASTIC, name="method")
    sign = -1 if reverse else 1

    def drift(t: Tensor, x: Tensor) -> Tensor:
        b, push = diffusion.terms(t, x)
        return b + sign * push

    times = stops(grid, n_steps, reverse=reverse, like=x)
    for t, following in itertools.pairwise(times):
        h = following - t
        noise = (2 * diffusion.epsilon(t + h / 2) * h.abs()).sqrt() * normal_like(x, generator)
        x = (
            STEPS["heun"](drift, t, h, x + noise)
            if method == "heun"
            else STEPS["euler"](drift, t, h, x) + noise
        )
    return x


def _check(eps0: float) -> None:
    if not eps0 >= 0:
        msg = f"eps0 must not be below 0, and is {eps0!r}"
        raise ValueError(msg)
