"""What training cells say about the values of genes: their zeros, and the total of a cell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..._logging import logger
from ..post._zero_fraction import zero_slope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._typing import Bools, Floats
    from ...core._population import Population

SAME_TOTAL = 0.01  # cells whose totals differ by less, as a share, were normalised to one total


@dataclass(frozen=True, eq=False)
class Expression:
    r"""The zeros of every gene, and the total of a cell, over all training cells.

    All training cells count, perturbed ones and controls.

    **Zeros.** Let a response multiply the rate of a gene by r. A share p of cells without a
    molecule then becomes :math:`p^r`, for Poisson counts and for others whose bursts are
    multiplied. With r the ratio of mean log-normalised values, :math:`-\log p` is proportional to
    the mean. The slope is what both are over all training cells.

    Attributes
    ----------
    zero_slope
        (d,) minus the logarithm of the share of zeros, for a mean of 1. It is 0 for a gene that is
        off in all training cells.
    off
        (d,) genes that are off in all training cells.
    total
        Total of a cell after normalisation: the sum of ``expm1`` of its values. NaN where training
        cells differ in it by more than 1 %: they were normalised by something else than the totals
        of these genes, or on another logarithm. Cells without counts are left aside.
    totals
        Smallest and largest total of a training cell; NaN where values are no genes.
    """

    zero_slope: Floats
    off: Bools
    total: float
    totals: tuple[float, float]

    @classmethod
    def of_nothing(cls, d: int) -> Self:
        """Return what is known of d features that are no log-normalised genes: nothing."""
        nan = float("nan")
        return cls(np.zeros(d), np.zeros(d, dtype=bool), nan, (nan, nan))

    @classmethod
    def of_training(cls, cells: Population) -> Self:
        """Return what the training cells of a screen say.

        They say nothing of features that are no genes (``use_rep``), of images, and of values below
        0.
        """
        found = cells.training
        if cells.use_rep not in (None, "X") or len(cells.rows.cell_shape) > 1 or found.lowest < 0:
            return cls.of_nothing(len(cells.features))
        # half a cell more is off: a gene that is on in all training cells may be off in others
        share = (found.n - found.on + 0.5) / (found.n + 0.5)
        mean = found.sums / max(found.n, 1)
        off = found.on == 0
        slope = zero_slope(share, mean)
        low, high = found.totals
        total = (low + high) / 2 if high - low <= SAME_TOTAL * low else float("nan")
        return cls(slope, off, float(total), found.totals)

    def tell(self) -> None:
        """Log, once for each screen, why library sizes of predictions are left as they come."""
        low, high = self.totals
        if np.isnan(self.total) and np.isfinite(high):
            _tell_of_totals(f"{low:.4g}", f"{high:.4g}")

    def to_dict(self) -> dict[str, Any]:
        """Return arrays and numbers to save."""
        return {
            "zero_slope": self.zero_slope,
            "off": self.off,
            "total": self.total,
            "totals": list(self.totals),
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        """Read what `to_dict` returned; its arrays may have become tensors."""
        return cls(
            np.asarray(entry["zero_slope"]),
            np.asarray(entry["off"]),
            float(entry["total"]),
            (float(entry["totals"][0]), float(entry["totals"][1])),
        )


@cache
def _tell_of_totals(low: str, high: str) -> None:
    logger.info(
        "library sizes of predicted cells are left as they come: totals of training cells (sums of "
        "expm1) go from %s to %s. They were not normalised to one total, or together with genes "
        "that are not here, or the logarithm is not the natural one. "
        "sh.pp.prepare(adata, normalize='log1p') normalises counts to one total",
        low,
        high,
    )
