"""Deterministic generation: the flow dx/dt = b(t, x) from source to target, or back.

The source is at t = 0 and the target at t = 1. The methods:

========= ===== ====================
method    order evaluations per step
========= ===== ====================
euler     1     1
midpoint  2     2
heun      2     2
rk4       4     4
dopri5    5     as many as needed
========= ===== ====================
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeAlias

from torch import Tensor

from .._compat import require
from .._validate import one_of
from ._tensors import Field
from ._times import time_grid

Step: TypeAlias = Callable[[Field, Tensor, Tensor, Tensor], Tensor]


def _euler(field: Field, t: Tensor, h: Tensor, x: Tensor) -> Tensor:
    return x + h * field(t, x)


def _midpoint(field: Field, t: Tensor, h: Tensor, x: Tensor) -> Tensor:
    return x + h * field(t + h / 2, x + h / 2 * field(t, x))


def _heun(field: Field, t: Tensor, h: Tensor, x: Tensor) -> Tensor:
    slope = field(t, x)
    return x + h / 2 * (slope + field(t + h, x + h * slope))


def _rk4(field: Field, t: Tensor, h: Tensor, x: Tensor) -> Tensor:
    a = field(t, x)
    b = field(t + h / 2, x + h / 2 * a)
    c = field(t + h / 2, x + h / 2 * b)
    d = field(t + h, x + h * c)
    return x + h / 6 * (a + 2 * b + 2 * c + d)


STEPS: dict[str, Step] = {"euler": _euler, "midpoint": _midpoint, "heun": _heun, "rk4": _rk4}
METHODS = (*STEPS, "dopri5")


def integrate(
    field: Field,
    x: Tensor,
    *,
    method: str = "heun",
    n_steps: int = 20,
    grid: Tensor | None = None,
    reverse: bool = False,
    last: str | None = None,
    tolerance: float = 1e-5,
) -> Tensor:
    """Carry points along the flow of a field.

    Gradients flow through unless they are switched off. To generate, wrap the call in
    ``torch.no_grad()``.

    Parameters
    ----------
    field
        ``field(t, x)``, called with `t` as a single number (a 0-d tensor).
    x
        (..., D) points at t = 0 (at t = 1 if `reverse`).
    method
        One of the methods in the table above.
    n_steps
        Number of equal steps, if there is no `grid`.
    grid
        (n + 1,) increasing times, see :func:`time_grid`. ``"dopri5"`` uses only the two ends.
    reverse
        Whether to go from the last time to the first: from perturbed cells to what they were.
    last
        Another fixed-step method for the last step. Use ``"euler"`` if the field has no value at
        the end, as for a network that predicts the target. Not used by ``"dopri5"``.
    tolerance
        Relative and absolute error of a step of ``"dopri5"``.

    Returns
    -------
    (..., D) points at the other end.

    Raises
    ------
    ValueError
        If there is no such method.
    ImportError
        If `method` is ``"dopri5"`` and torchdiffeq is not installed.

    Examples
    --------
    >>> import torch
    >>> x = integrate(lambda t, x: -x, torch.ones(3), method="rk4")
    """
    one_of(method, METHODS, name="method")
    if method == "dopri5":
        times = stops(grid, n_steps, reverse=reverse, like=x)[[0, -1]]
        solve = require("torchdiffeq", extra="models").odeint
        states: Tensor = solve(field, x, times, rtol=tolerance, atol=tolerance, method="dopri5")
        return states[-1]
    journey = walk(field, x, method=method, n_steps=n_steps, grid=grid, reverse=reverse, last=last)
    return deque(journey, maxlen=1).pop()[1]


def walk(
    field: Field,
    x: Tensor,
    *,
    method: str = "heun",
    n_steps: int = 20,
    grid: Tensor | None = None,
    reverse: bool = False,
    last: str | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (t, x) at each stop of a fixed-step method, the start included.

    The parameters are those of :func:`integrate`.
    """
    last = method if last is None else last
    one_of(method, STEPS, name="method")
    one_of(last, STEPS, name="last")
    times = stops(grid, n_steps, reverse=reverse, like=x)
    yield times[0], x
    names = [method] * (len(times) - 2) + [last]
    for name, t, following in zip(names, times[:-1], times[1:], strict=True):
        x = STEPS[name](field, t, following - t, x)
        yield following, x


def stops(grid: Tensor | None, n_steps: int, *, reverse: bool, like: Tensor) -> Tensor:
    """Return the times at which a sampler stops, in the order of its steps."""
    times = time_grid("uniform", n_steps, like=like)
    if grid is not None:
        times = grid.to(times)
    return times.flip(0) if reverse else times
