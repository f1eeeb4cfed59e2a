r"""Noise schedules: the noise γ(t) that a path carries, zero at both ends.

========== ===================== ================ ==============================
name       γ                     γ̇                γγ̇
========== ===================== ================ ==============================
zero       0                     0                0
brownian   √(a t(1−t))           γγ̇ / γ           a(1−2t) / 2
quadratic  a t(1−t)              a(1−2t)          a² t(1−t)(1−2t)
sin2       a sin²(πt)            aπ sin(2πt)      a²π sin²(πt) sin(2πt)
========== ===================== ================ ==============================

γ̇ of the Brownian schedule diverges at the ends, but γγ̇ does not. So γ̇ is evaluated no closer to
an end than :data:`MARGIN`. Whatever is multiplied by γ̇ should be evaluated at the same time
(:meth:`Gamma.inner`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from .._validate import one_of, positive

if TYPE_CHECKING:
    from collections.abc import Callable

MARGIN = 1e-3


class _Formula(NamedTuple):
    """γ, γ̇ and γγ̇ as functions of (t, a)."""

    value: Callable[[Tensor, float], Tensor]
    dot: Callable[[Tensor, float], Tensor]
    times_dot: Callable[[Tensor, float], Tensor]


def _none(t: Tensor, _a: float) -> Tensor:
    return torch.zeros_like(t)


def _bridge(t: Tensor, a: float) -> Tensor:
    return (a * t * (1 - t)).clamp_min(0).sqrt()


_FORMULAS = {
    "zero": _Formula(_none, _none, _none),
    "brownian": _Formula(
        _bridge,
        lambda t, a: a * (1 - 2 * t) / (2 * _bridge(t.clamp(MARGIN, 1 - MARGIN), a)),
        lambda t, a: a * (1 - 2 * t) / 2,
    ),
    "quadratic": _Formula(
        lambda t, a: a * t * (1 - t),
        lambda t, a: a * (1 - 2 * t),
        lambda t, a: a**2 * t * (1 - t) * (1 - 2 * t),
    ),
    "sin2": _Formula(
        lambda t, a: a * torch.sin(pi * t) ** 2,
        lambda t, a: a * pi * torch.sin(2 * pi * t),
        lambda t, a: a**2 * pi * torch.sin(pi * t) ** 2 * torch.sin(2 * pi * t),
    ),
}
GAMMAS = tuple(_FORMULAS)


@dataclass(frozen=True)
class Gamma:
    """The noise schedule of a path.

    Parameters
    ----------
    name
        ``"zero"``, ``"brownian"``, ``"quadratic"`` or ``"sin2"``.
    a
        Its amplitude: γ(½) is √a / 2 for ``"brownian"``, a / 4 for ``"quadratic"`` and a for
        ``"sin2"``. Not used by ``"zero"``.

    Raises
    ------
    ValueError
        If there is no such schedule, or `a` is not above 0.

    References
    ----------
    albergo2023stochastic

    Examples
    --------
    >>> import torch
    >>> gamma = Gamma("brownian", 2.0)
    >>> gamma(torch.tensor(0.5))
    tensor(0.7071)
    """

    name: str = "zero"
    a: float = 1.0

    def __post_init__(self) -> None:
        one_of(self.name, GAMMAS, name="gamma")
        positive(self.a, name="a")

    def __call__(self, t: Tensor) -> Tensor:
        """Return γ(t)."""
        return _FORMULAS[self.name].value(t, self.a)

    def dot(self, t: Tensor) -> Tensor:
        """Return γ̇(t), finite at both ends."""
        return _FORMULAS[self.name].dot(t, self.a)

    def times_dot(self, t: Tensor) -> Tensor:
        """Return γ(t)γ̇(t)."""
        return _FORMULAS[self.name].times_dot(t, self.a)

    @property
    def peak(self) -> float:
        """The largest value, γ(½)."""
        return float(self(torch.tensor(0.5, dtype=torch.float64)))

    @property
    def margin(self) -> float:
        """Distance from both ends that times should keep, in training and in sampling."""
        return MARGIN if self.name == "brownian" else 0.0

    def inner(self, t: Tensor) -> Tensor:
        """Return `t`, moved inside the margin."""
        return t.clamp(self.margin, 1 - self.margin) if self.margin else t

    def __bool__(self) -> bool:
        """Whether there is noise at all."""
        return self.name != "zero"
