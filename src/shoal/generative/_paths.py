r"""Paths between two populations: x_t = α(t) x0 + β(t) x1 + γ(t) z with z standard normal.

=================== ================================== ==================================
name                α                                  β
=================== ================================== ==================================
linear              1 − t                              t
trigonometric       cos(πt/2)                          sin(πt/2)
variance_preserving cos(πt/2) √(1−γ²)                  sin(πt/2) √(1−γ²)
encoding_decoding   cos²(πt) for t < ½, then 0         0 for t < ½, then cos²(πt)
=================== ================================== ==================================
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import pi
from typing import NamedTuple

import torch
from torch import Tensor

from .._validate import one_of
from ._schedules import Gamma
from ._tensors import over


class _Mix(NamedTuple):
    """The weights of the two ends and their derivatives in time."""

    alpha: Tensor
    beta: Tensor
    alpha_dot: Tensor
    beta_dot: Tensor


def _linear(t: Tensor, _gamma: Gamma) -> _Mix:
    return _Mix(1 - t, t, -torch.ones_like(t), torch.ones_like(t))


def _trigonometric(t: Tensor, _gamma: Gamma) -> _Mix:
    cos, sin = torch.cos(pi / 2 * t), torch.sin(pi / 2 * t)
    return _Mix(cos, sin, -pi / 2 * sin, pi / 2 * cos)


def _variance_preserving(t: Tensor, gamma: Gamma) -> _Mix:
    cos, sin, cos_dot, sin_dot = _trigonometric(t, gamma)
    rest = (1 - gamma(t) ** 2).sqrt()
    rest_dot = -gamma.times_dot(t) / rest
    return _Mix(
        cos * rest, sin * rest, cos_dot * rest + cos * rest_dot, sin_dot * rest + sin * rest_dot
    )


def _encoding_decoding(t: Tensor, _gamma: Gamma) -> _Mix:
    first = (t < 0.5).to(t)
    square, square_dot = torch.cos(pi * t) ** 2, -pi * torch.sin(2 * pi * t)
    return _Mix(first * square, (1 - first) * square, first * square_dot, (1 - first) * square_dot)


_MIXES = {
    "linear": _linear,
    "trigonometric": _trigonometric,
    "variance_preserving": _variance_preserving,
    "encoding_decoding": _encoding_decoding,
}
PATHS = tuple(_MIXES)


@dataclass(frozen=True)
class Path:
    """A path from the source x0 (t = 0) to the target x1 (t = 1).

    In all methods x0, x1 and z are (..., D), and `t` broadcasts over their leading axes.

    Parameters
    ----------
    name
        ``"linear"``, ``"trigonometric"``, ``"variance_preserving"`` or ``"encoding_decoding"``.
    gamma
        The noise on the path; none by default.

    Raises
    ------
    ValueError
        If there is no such path, or the noise does not fit it. The variance_preserving path needs
        noise below 1. The encoding_decoding path needs noise, because everything passes through it.

    References
    ----------
    albergo2023stochastic

    Examples
    --------
    >>> import torch
    >>> line = path("linear", "quadratic", a=2.0)
    >>> x0, x1, z = torch.randn(3, 8, 2)
    >>> x = line.interpolate(torch.rand(8), x0, x1, z)
    """

    name: str = "linear"
    gamma: Gamma = field(default_factory=Gamma)

    def __post_init__(self) -> None:
        one_of(self.name, PATHS, name="path")
        if self.name == "variance_preserving" and self.gamma.peak >= 1:
            msg = (
                "the variance_preserving path needs gamma below 1, "
                f"and {self.gamma.name!r} with a={self.gamma.a} "
                f"reaches {self.gamma.peak:.3g} at t=0.5; choose a smaller a"
            )
            raise ValueError(msg)
        if self.name == "encoding_decoding" and not self.gamma:
            msg = (
                "the encoding_decoding path needs noise: at t=0.5 nothing else is left; "
                "choose another gamma than 'zero'"
            )
            raise ValueError(msg)

    def _mix(self, t: Tensor) -> _Mix:
        return _MIXES[self.name](t, self.gamma)

    def alpha(self, t: Tensor) -> Tensor:
        """Return the weight of the source."""
        return self._mix(t).alpha

    def beta(self, t: Tensor) -> Tensor:
        """Return the weight of the target."""
        return self._mix(t).beta

    def alpha_dot(self, t: Tensor) -> Tensor:
        """Return the derivative in time of the weight of the source."""
        return self._mix(t).alpha_dot

    def beta_dot(self, t: Tensor) -> Tensor:
        """Return the derivative in time of the weight of the target."""
        return self._mix(t).beta_dot

    def interpolate(self, t: Tensor, x0: Tensor, x1: Tensor, z: Tensor | None = None) -> Tensor:
        """Return x_t; without `z`, the part of x_t without noise."""
        mix = self._mix(t)
        x = over(mix.alpha) * x0 + over(mix.beta) * x1
        return x if z is None else x + over(self.gamma(t)) * z

    def velocity(self, t: Tensor, x0: Tensor, x1: Tensor, z: Tensor | None = None) -> Tensor:
        """Return the derivative in time of x_t along one pair.

        With `z` it is the target of the drift b̂, without `z` that of the velocity v̂.
        """
        mix = self._mix(t)
        v = over(mix.alpha_dot) * x0 + over(mix.beta_dot) * x1
        return v if z is None else v + over(self.gamma.dot(t)) * z


def path(name: str = "linear", gamma: str = "zero", *, a: float = 1.0) -> Path:
    """Return a path by its name and by the name and amplitude of its noise, see :class:`Path`."""
    return Path(name, Gamma(gamma, a))
