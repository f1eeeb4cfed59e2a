r"""Two diffusions that share their noise: cells are taken to noise by one, and back by the other.

A dual diffusion bridge has a network f for the cells of one population and a network g for another.
The *inversion* follows f from a cell to the noise that it stands for, and the *generation* follows
g from there to a cell of the other population. Where f and g are equal, the cell comes back.

Both walk on a *grid* of the chain, steps :math:`t_0 < \dots < t_{n-1}`. With the prediction
:math:`\hat x` of the clean cell at step i, and :math:`\hat\varepsilon = (x - \sqrt{\bar\alpha_i}
\hat x) / \sqrt{1 - \bar\alpha_i}`, the update to another step j of the grid is

.. math:: D_{i \to j}(x) = \sqrt{\bar\alpha_j}\,\hat x + \sqrt{1 - \bar\alpha_j}\,\hat\varepsilon,
   \qquad \bar\alpha_n = 0

so that the end of the inversion is noise alone. References: Su et al. 2023 (dual diffusion implicit
bridges), Song et al. 2021, Zhang et al. 2023 (exact inversion by BDIA, arXiv:2307.10829), Ning et
al. 2023 (input perturbation, arXiv:2301.11706).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from .._validate import between, one_of, whole
from ._tensors import full

if TYPE_CHECKING:
    from ._diffusion import GaussianDiffusion

Clean: TypeAlias = Callable[[Tensor, int], Tensor]
"""``clean(x, t)``: the clean cells (..., D) that noisy ones (..., D) at step t stand for."""

INVERSIONS = ("ddim", "exact")


def respaced(n: int, n_steps: int) -> tuple[int, ...]:
    """Return n of T steps, evenly spaced, upwards from 0.

    Raises
    ------
    ValueError
        If the chain does not have n steps.

    Examples
    --------
    >>> respaced(5, 500)
    (0, 100, 200, 300, 400)
    """
    n = whole(n, name="grid")
    if n > n_steps:
        msg = f"grid={n} steps cannot be taken of a chain of {n_steps}"
        raise ValueError(msg)
    return tuple(i * n_steps // n for i in range(n))


def coarser(grid: Sequence[int], n: int) -> tuple[int, ...]:
    """Return n steps of a grid, evenly spaced, upwards; the last one is among them.

    Raises
    ------
    ValueError
        If the grid does not have n steps.

    Examples
    --------
    >>> coarser((0, 100, 200, 300, 400), 2)
    (200, 400)
    """
    n = whole(n, name="n_steps")
    if n > len(grid):
        msg = f"n_steps={n} is more than the grid={len(grid)} steps that the network is trained on"
        raise ValueError(msg)
    return tuple(grid[len(grid) - 1 - i * len(grid) // n] for i in reversed(range(n)))


def perturbed_input(
    x0: Tensor,
    t: Tensor,
    *,
    diffusion: GaussianDiffusion,
    share: float,
    noise: Tensor,
) -> Tensor:
    """Return noisy cells whose noise was itself disturbed.

    They are √ᾱ x0 + √(1-ᾱ) (ε + share ξ), with ξ standard normal like ε. A network that is trained
    on them, to predict the same x0, learns to put up with the errors of its own sampler. As the
    network never sees ε by itself, the sum is drawn at once: it is normal with variance 1 + share².

    Parameters
    ----------
    x0
        (n, S, D) clean cells.
    t
        (n,) their steps.
    diffusion
        The chain.
    share
        Size of the disturbance; 0 for none, 0.1 as proposed.
    noise
        (n, S, D) standard normal numbers.
    """
    return diffusion.mixed(x0, t, noise if not share else (1 + share**2) ** 0.5 * noise)


def invert(
    clean: Clean,
    x: Tensor,
    *,
    diffusion: GaussianDiffusion,
    grid: Sequence[int],
    method: str = "ddim",
    gamma: float = 1.0,
) -> Tensor:
    """Return the noise that cells stand for.

    Parameters
    ----------
    clean
        The network of the population that the cells are of; called once a step.
    x
        (..., D) cells, which are taken as those at the first step of the grid.
    diffusion
        The chain that the network was trained on.
    grid
        Increasing steps, from :func:`respaced` or :func:`coarser`.
    method
        ``"ddim"``, whose way back is as exact as its steps are short; or ``"exact"``, which
        remembers two states and comes back to rounding (BDIA).
    gamma
        Weight of the state before the last in ``"exact"``, above 0 and at most 1.

    Returns
    -------
    (..., D) noise; or (2, ..., D) for ``"exact"``, the last state and the one before it.

    Raises
    ------
    ValueError
        If there is no such method, or `gamma` is out of range.
    """
    _check(method, gamma)
    kept = _kept(diffusion, grid)
    before, x = None, full(x)
    for i, t in enumerate(grid):
        x0 = full(clean(x, t))
        noise = _noise(x, x0, kept[i])
        after = _at(x0, noise, kept[i + 1])
        if method == "exact" and before is not None:
            after = after + (before - _at(x0, noise, kept[i - 1])) / gamma
        before, x = x, after
    return x if method == "ddim" or before is None else torch.stack([x, before])


def generate(
    clean: Clean,
    latent: Tensor,
    *,
    diffusion: GaussianDiffusion,
    grid: Sequence[int],
    method: str = "ddim",
    gamma: float = 1.0,
) -> Tensor:
    """Return the cells that noise stands for; arguments are those of :func:`invert`.

    Parameters
    ----------
    clean
        The network of the population that the cells are to be of; called once a step.
    latent
        What :func:`invert` returned, or standard normal numbers (..., D) for ``"ddim"``.
    diffusion, grid, method, gamma
        As of :func:`invert`.

    Returns
    -------
    (..., D) cells: the last prediction of the network; or for ``"exact"`` the state at the first
    step.
    """
    _check(method, gamma)
    kept = _kept(diffusion, grid)
    if method == "ddim":
        x = full(latent)
        for i in reversed(range(len(grid))):
            x0 = full(clean(x, grid[i]))
            x = x0 if i == 0 else _at(x0, _noise(x, x0, kept[i]), kept[i - 1])
        return x
    after, x = full(latent)
    for i in reversed(range(1, len(grid))):
        x0 = full(clean(x, grid[i]))
        noise = _noise(x, x0, kept[i])
        before = _at(x0, noise, kept[i - 1]) + gamma * (after - _at(x0, noise, kept[i + 1]))
        after, x = x, before
    return x


def masked_error(made: Tensor, real: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of squared errors where values count, and how many count.

    Parameters
    ----------
    made, real
        (..., D) predictions and what they should be.
    weight
        (..., D) 1 where a value counts, else 0.
    """
    error = torch.nn.functional.mse_loss(weight * made, weight * real, reduction="sum")
    return error, weight.sum()


def _check(method: str, gamma: float) -> None:
    one_of(method, INVERSIONS, name="inversion")
    between(gamma, 0, 1, name="gamma", ends=True)
    if gamma == 0:
        msg = "gamma must be above 0: the exact inversion divides by it"
        raise ValueError(msg)


def _kept(diffusion: GaussianDiffusion, grid: Sequence[int]) -> list[float]:
    """Return ᾱ at the steps of a grid, and 0 for the end."""
    return [*diffusion.alpha_bar[list(grid)].tolist(), 0.0]


def _noise(x: Tensor, x0: Tensor, kept: float) -> Tensor:
    return (x - kept**0.5 * x0) / (1 - kept) ** 0.5


def _at(x0: Tensor, noise: Tensor, kept: float) -> Tensor:
    return kept**0.5 * x0 + (1 - kept) ** 0.5 * noise
