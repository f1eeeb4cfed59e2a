r"""What a perturbation does to its cells, as a mixture of states; arrays only.

A cell is in one of a few states. A state is a vector of shifts: log fold-changes of genes, or a
shift in Euclidean space.

============  ===========================================  ==================
kind          states (share of the cells)                  dispersion
============  ===========================================  ==================
shift         v (1)                                        as the controls
dispersion    v (1)                                        larger
penetrance    0 (1 - penetrance), v (penetrance)           as the controls
programmes    v (1/2), w (1/2) with v orthogonal to w      as the controls
null          0 (1)                                        as the controls
============  ===========================================  ==================

So every kind has its population mean in closed form. The states of a combination are the sums of
the states of its parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._validate import listed, one_of, positive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Bools, Floats, Ints

KINDS = ("shift", "dispersion", "penetrance", "programmes", "null")


@dataclass(frozen=True)
class Effect:
    """A mixture of states.

    Attributes
    ----------
    kind
        One of `KINDS`, or ``"combination"``.
    states
        (n_states, n_features) shift of a cell in each state.
    shares
        (n_states,) probability of each state.
    dispersion
        Factor on the variability of the cells.
    """

    kind: str
    states: Floats
    shares: Floats
    dispersion: float = 1.0

    @property
    def responds(self) -> Bools:
        """(n_states,) whether cells in a state differ from controls in distribution."""
        return np.any(self.states != 0, axis=1) | (self.dispersion != 1)

    @property
    def penetrance(self) -> float:
        """Expected share of cells that respond."""
        return float(self.shares[self.responds].sum())

    @property
    def size(self) -> float:
        """Root mean square length of the shift of a responding cell; 0 if no cell responds."""
        squares = float(self.shares @ np.square(self.states).sum(axis=1))
        return float(np.sqrt(squares / self.penetrance)) if squares else 0.0

    @property
    def mean(self) -> Floats:
        """(n_features,) mean shift of the population."""
        return self.shares @ self.states

    @property
    def log_mean_fold(self) -> Floats:
        """(n_features,) log of the mean fold-change, for states that are log fold-changes."""
        return np.log(self.shares @ np.exp(self.states))

    def scaled(self, factor: float) -> Effect:
        """Return the effect at a lower dose: shifts and excess dispersion times `factor`."""
        return Effect(
            self.kind, factor * self.states, self.shares, 1 + factor * (self.dispersion - 1)
        )

    def combined(self, other: Effect, interaction: Floats) -> Effect:
        """Return the effect of both at once.

        Cells respond to the two independently. Shifts add up, and every cell has the shift
        `interaction` beside.
        """
        states = (self.states[:, None] + other.states[None]).reshape(
            -1, self.states.shape[1]
        ) + interaction
        shares = np.outer(self.shares, other.shares).ravel()
        return Effect("combination", states, shares, max(self.dispersion, other.dispersion))


def make_effect(kind: str, vectors: Floats, *, penetrance: float, dispersion: float) -> Effect:
    """Return an effect with three states: no shift, the first vector, and the second vector.

    Parameters
    ----------
    kind
        One of `KINDS`. Only ``"programmes"`` has cells in the third state.
    vectors
        (2, n_features) shifts.
    penetrance
        Share of responding cells, for the kind ``"penetrance"``.
    dispersion
        Dispersion, for the kind ``"dispersion"``.
    """
    shares = {
        "penetrance": (1 - penetrance, penetrance, 0.0),
        "programmes": (0.0, 0.5, 0.5),
        "null": (1.0, 0.0, 0.0),
    }
    states = np.vstack([np.zeros(vectors.shape[1]), vectors])
    return Effect(
        kind,
        states,
        np.array(shares.get(kind, (0.0, 1.0, 0.0))),
        dispersion if kind == "dispersion" else 1.0,
    )


def draw_states(shares: Floats, population: Ints, rng: np.random.Generator) -> Ints:
    """Return the state of every cell, drawn from the shares of its population, independently.

    Parameters
    ----------
    shares
        (n_populations, n_states) probabilities.
    population
        (n_cells,) population of each cell.
    rng
        Source of random numbers.
    """
    bounds = np.cumsum(shares, axis=1)[:, :-1]
    return (rng.random(len(population))[:, None] >= bounds[population]).sum(axis=1)


def sparse_vectors(n_features: int, rng: np.random.Generator, share: float = 0.1) -> Floats:
    """Return two random vectors of length one, (2, n_features), that are orthogonal.

    Each is nonzero in a `share` of the features, and the two share none.
    """
    k = max(1, int(share * n_features))
    at = rng.choice(n_features, 2 * k, replace=False).reshape(2, k)
    vectors = np.zeros((2, n_features))
    np.put_along_axis(vectors, at, rng.standard_normal((2, k)), axis=1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def expected_direction(shift: Floats, variances: Floats, *, tails: str = "normal") -> Floats:
    r"""Return the mean direction E[x / |x|] of x = shift + noise, (n, d).

    With :math:`1/|x| = \frac{2}{\sqrt\pi}\int_0^\infty e^{-t^2|x|^2}\,dt`, and with
    q = 1 + 2 t^2 variance, it is

    .. math:: E\frac{x_j}{|x|} = \frac{2}{\sqrt\pi}\int_0^\infty \frac{m_j}{q_j}
              \prod_i q_i^{-1/2} e^{-t^2 m_i^2 / q_i}\,dt,

    The integral is taken by the trapezoidal rule in log t, to about 1e-10. Noise of a t
    distribution is a mixture of scales, which is a second sum.

    Parameters
    ----------
    shift
        (n, d) shifts m.
    variances
        (d,) variances of the noise, all above zero.
    tails
        ``"normal"``, or ``"t5"`` for a multivariate t with 5 degrees of freedom and the same
        variances. Coordinates of normal noise are independent.
    """
    step = 0.1
    t2 = np.exp(2 * np.arange(-25, 25 + step / 2, step))[:, None] / variances.sum()
    q = 1 + 2 * t2 * variances
    weight = step * 2 / np.sqrt(np.pi) * np.exp(0.5 * (np.log(t2[:, 0]) - np.log(q).sum(axis=1)))
    rate = (t2 / q).T
    scale, share = _scales(tails)
    damping = sum(
        w * s * np.exp(-(s**2) * (shift**2 @ rate)) for s, w in zip(scale, share, strict=True)
    )
    return shift * ((weight * damping) @ (1 / q))


def _scales(tails: str) -> tuple[Floats, Floats]:
    """Return factors on the shift and their probabilities: a mixture of normal noise."""
    if tails == "normal":
        return np.ones(1), np.ones(1)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    v = 3.5 * (nodes + 1)  # v^2 = chi2_5 / 2, and noise has scale sqrt(3 / chi2_5)
    density = v**4 * np.exp(-(v**2)) * weights
    return v * np.sqrt(2 / 3), density / density.sum()


def kinds_of(effects: str | Sequence[str], n: int) -> list[str]:
    """Return the kinds of `n` perturbations, in turn.

    Raises
    ------
    ValueError
        If a kind is not known or none is given.
    """
    asked = listed(effects, name="effects")
    if not asked:
        msg = f"effects is empty; give some of {', '.join(map(repr, KINDS))}"
        raise ValueError(msg)
    for kind in asked:
        one_of(kind, KINDS, name="effects")
    return [asked[i % len(asked)] for i in range(n)]


def per_perturbation(
    value: Any, n: int, *, name: str, low: float = 0.0, fraction: bool = True
) -> Floats:
    """Return (n,) values from one number, or from one for every perturbation.

    Raises
    ------
    ValueError
        If the length is neither, or a value is below `low`, not finite, or has a `fraction` where
        there must be none.
    """
    values = np.asarray(value)
    if values.dtype.kind not in "fiu":
        msg = f"{name} must be one number or {n}, one for each perturbation, not {value!r}"
        raise TypeError(msg)
    values = values.astype(np.float64)
    if values.ndim > 1 or values.size not in (1, n):
        msg = (
            f"{name} must be one number or {n}, one for each perturbation, not shape {values.shape}"
        )
        raise ValueError(msg)
    good = np.isfinite(values) & (values >= low) & (fraction | (values == np.floor(values)))
    if not good.all():
        kind = "a finite number" if fraction else "a whole number"
        msg = f"{name} must be {kind}, at least {low:g}, not {values[~good].flat[0]:g}"
        raise ValueError(msg)
    return np.broadcast_to(values.ravel(), (n,)) if values.size == 1 else values


def at_least_0(value: object, *, name: str) -> None:
    """Raise unless `value` is 0 or a finite number above."""
    if isinstance(value, bool) or value != 0:
        positive(value, name=name)


def names_of(n: int) -> list[str]:
    """Return ``["P01", ...]``, padded so that the names sort in order."""
    return [f"P{i:0{len(str(n))}d}" for i in range(1, n + 1)]
