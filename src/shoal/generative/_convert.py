r"""Conversions between the fields of one path: drift, velocity, noise, score and ends.

Four fields describe the same path:

- the velocity v = E[α̇x0 + β̇x1 | x_t];
- the expected noise η = E[z | x_t];
- the drift b, whose flow carries the source to the target;
- the score s = ∇ log p_t.

They are related by

.. math:: b = v + \dot\gamma\,\eta, \qquad s = -\eta / \gamma, \qquad b = v - \gamma\dot\gamma\, s.

On a path without noise (γ = 0), v and x_t determine the two expected ends. If the source is also
standard normal and paired independently of the target, then E[x0 | x_t] is a denoiser and gives the
score.

In all functions fields and x are (..., D), and t broadcasts over the leading axes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor

from ._schedules import MARGIN
from ._tensors import Field, over

if TYPE_CHECKING:
    from ._paths import Path

Heads: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor] | Tensor]
"""``heads(t, x)``: v and η, as a pair or stacked on the first axis."""


def drift_from_heads(path: Path, t: Tensor, v: Tensor, eta: Tensor) -> Tensor:
    """Return the drift b = v + γ̇η."""
    return v + over(path.gamma.dot(t)) * eta


def drift_from_score(path: Path, t: Tensor, v: Tensor, score: Tensor) -> Tensor:
    """Return the drift b = v − γγ̇s, which is finite wherever the score is."""
    return v - over(path.gamma.times_dot(t)) * score


def score_from_denoiser(path: Path, t: Tensor, eta: Tensor) -> Tensor:
    """Return the score s = −η/γ. Closer to an end than 0.001, γ is taken at that distance."""
    return -eta / over(path.gamma(t.clamp(MARGIN, 1 - MARGIN)))


def ends(
    path: Path, t: Tensor, x: Tensor, v: Tensor, eta: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the expected ends E[x0 | x_t] and E[x1 | x_t].

    They solve x − γη = α E0 + β E1 and v = α̇ E0 + β̇ E1. For the linear path they are x − tv and x
    + (1−t)v. The encoding_decoding path shows only one end at a time, so there is no solution and
    the result is not finite.
    """
    a, b, a_dot, b_dot = (
        over(rate(t)) for rate in (path.alpha, path.beta, path.alpha_dot, path.beta_dot)
    )
    rest = x if eta is None else x - over(path.gamma(t)) * eta
    determinant = a * b_dot - a_dot * b
    return (b_dot * rest - b * v) / determinant, (a * v - a_dot * rest) / determinant


def drift_from_target(path: Path, t: Tensor, x: Tensor, x1: Tensor) -> Tensor:
    """Return the drift of a path without noise from a prediction of the target x1.

    For the linear path it is (x1 − x) / (1−t). The drift is singular at t = 1, and α is taken at
    0.001 from the end. Let the sampler end with an Euler step (``last="euler"``), which lands on
    the prediction itself.
    """
    t = t.clamp(max=1 - MARGIN)
    x0 = (x - over(path.beta(t)) * x1) / over(path.alpha(t))
    return path.velocity(t, x0, x1)


def score_from_drift(path: Path, t: Tensor, x: Tensor, b: Tensor) -> Tensor:
    """Return the score of a path without noise from a standard normal source.

    Source and target must be paired independently. Then s = −E[x0 | x_t] / α; for the linear path
    it is (tb − x) / (1−t). Closer to t = 1 than 0.001, α is taken at that distance.
    """
    return -ends(path, t, x, b)[0] / over(path.alpha(t.clamp(max=1 - MARGIN)))


def drift_field(path: Path, heads: Heads) -> Field:
    """Return the drift as a field, from a function that gives v and η.

    Where γ̇ diverges at the ends, both heads are evaluated a little inside, so that the product γ̇η
    keeps its finite limit.
    """

    def field(t: Tensor, x: Tensor) -> Tensor:
        t = path.gamma.inner(t)
        v, eta = heads(t, x)
        return drift_from_heads(path, t, v, eta)

    return field
