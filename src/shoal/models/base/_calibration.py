"""What a model was wrong by on conditions left out of training: what intervals go by."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ...metrics._conformal import (
    SPREAD_OF_BOUNDS,
    Growth,
    gene_variances,
    growth,
    quantiles,
    radius,
    ranked,
    reached,
    variances_of_others,
)
from ...metrics._probability import FOUND, fit_probability
from ._kinds import Measured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._typing import Bools, Floats, Ints


@dataclass(frozen=True, eq=False)
class Errors:
    """The errors of C answers to one kind of question.

    Attributes
    ----------
    excess
        (d,) variance of measured around predicted responses, beyond the noise of measuring, at a
        growth of 1.
    at_zero, slope
        Growth of that variance with the squared size of the predicted response.
    grid
        (C, 201) quantiles over genes of the absolute errors of every condition, in their scales.
    unit
        (C,) what each condition was left out with.
    distance
        (C,) squared distance of the predicted to the measured response, less the noise of this.
    size, strength
        (C,) squared size of the predicted response, and of the measured one less its noise.
    noise
        (C,) squared size of the noise of the measured response.
    responds
        (C,) whether the measured response is more than noise.
    n
        Cells of the median condition.
    control
        Variance of the noise of the controls, in units of that of a cell: the median over
        conditions of 1 / controls.
    """

    excess: Floats
    at_zero: float
    slope: float
    grid: Floats
    unit: Ints
    distance: Floats
    size: Floats
    strength: Floats
    noise: Floats
    responds: Bools
    n: float
    control: float

    @classmethod
    def of(
        cls,
        predicted: Floats,
        measured: Floats,
        *,
        unit: Ints,
        cell: Floats,
        n: Ints,
        control: Floats,
        p_value: Floats,
    ) -> Self:
        """Return the errors of the answers to a kind of question.

        Parameters
        ----------
        predicted, measured
            (C, d) responses.
        unit
            (C,) what each condition was left out with.
        cell
            (d,) variance of one cell around the mean of its condition.
        n
            (C,) cells of each condition.
        control
            (C,) variance of the noise of its controls, in units of that of a cell.
        p_value
            (C,) p-value that the condition does not respond.
        """
        noise = (1 / n + control)[:, None] * cell
        residual, total = measured - predicted, noise.sum(axis=1)
        distance = (residual**2).sum(axis=1) - total
        size = (predicted**2).sum(axis=1)
        grows = growth(size, distance)
        factor = grows(size)[:, None]
        excess = (residual**2 - noise) / factor
        others = variances_of_others(excess, unit)
        return cls(
            excess=gene_variances(excess),
            at_zero=grows.at_zero,
            slope=grows.slope,
            grid=quantiles(residual, np.sqrt(others * factor + noise)),
            unit=np.unique(unit, return_inverse=True)[1],
            distance=distance,
            size=size,
            strength=(measured**2).sum(axis=1) - total,
            noise=total,
            responds=p_value < FOUND,
            n=float(np.median(n)),
            control=float(np.median(control)),
        )

    @property
    def n_units(self) -> int:
        """Units that were left out."""
        return len(np.unique(self.unit))

    @property
    def reached(self) -> float:
        """The highest level that so many units allow without an assumption."""
        return reached(self.unit)

    def half_widths(
        self,
        size: Floats,
        cell: Floats,
        level: float,
        *,
        n_cells: Ints | None = None,
        pooled: bool = False,
    ) -> Floats:
        """Return (m, d) half the width of the intervals of m conditions.

        Parameters
        ----------
        size
            (m,) squared sizes of their predicted responses.
        cell
            (d,) variance of one cell.
        level
            Share that is to be covered.
        n_cells
            (m,) cells of the measurements that are to be covered; those of the median condition if
            ``None``.
        pooled
            Whether the share of all genes of all conditions is meant.
        """
        n = np.full(len(size), self.n) if n_cells is None else n_cells
        noise = (1 / n + self.control)[:, None] * cell
        scale = np.sqrt(self._growth(size)[:, None] * self.excess + noise)
        found: Floats = radius(self.grid, self.unit, level, pooled=pooled) * scale
        return found

    def bounds(self, size: Floats, level: float) -> Floats:
        """Return (m,) how far off true responses are at most, in a share `level` of conditions.

        NaN where errors were no larger than the noise of measuring, which then hides them.
        """
        score = np.sqrt(np.maximum(self.distance, 0.0) / self._growth(self.size))
        distance = ranked(score, self.unit, level, spread=SPREAD_OF_BOUNDS)
        if not distance > 0 and (self.distance < 0).any():
            return np.full(len(size), np.nan)
        found: Floats = distance * np.sqrt(self._growth(size))
        return found

    def probabilities(self, size: Floats) -> Floats:
        """Return (m,) the probability that conditions respond, for squared sizes of predictions."""
        least = float(np.median(self.noise)) or 1.0
        found: Floats = fit_probability(self.size + least, self.responds)(np.asarray(size) + least)
        return found

    def covered(self, level: float, *, pooled: bool = False) -> tuple[float, float]:
        """Return which share of the weaker and of the stronger half of the C conditions is covered.

        Of pooled intervals it is the share of their genes. Halves are by the measured response.
        """
        size = radius(self.grid, self.unit, level, pooled=pooled)
        inside = self.grid <= size + 1e-12
        share = inside.mean(axis=1)
        each = share if pooled else share >= level
        strong = self.strength >= np.median(self.strength)
        return tuple(float(each[h].mean()) if h.any() else np.nan for h in (~strong, strong))

    @property
    def _growth(self) -> Growth:
        return Growth(self.at_zero, self.slope)


@dataclass(frozen=True, eq=False)
class Calibration:
    """The errors of a model by kind of question.

    Attributes
    ----------
    cell
        (d,) variance of one cell around the mean of its condition.
    measured
        Conditions of training, which say what kind of question a condition is.
    kinds
        Kind of question -> errors of the answers.
    """

    cell: Floats
    measured: Measured
    kinds: Mapping[str, Errors]

    def to_dict(self) -> dict[str, Any]:
        """Return arrays, numbers and text."""
        return {
            "cell": self.cell,
            "measured": asdict(self.measured),
            "kinds": {kind: asdict(own) for kind, own in self.kinds.items()},
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        """Return what `to_dict` was called on."""
        kinds = {kind: Errors(**own) for kind, own in entry["kinds"].items()}
        return cls(entry["cell"], Measured(**entry["measured"]), kinds)
