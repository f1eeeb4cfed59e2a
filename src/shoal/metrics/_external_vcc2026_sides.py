"""One side of a comparison as cell-eval2 sees it: effects, their noise, differential expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._cells import Cells
from ._external_vcc2026_profiles import profiles_of
from ._fdr import benjamini_hochberg
from ._ranksum import sums_against

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Bools, Floats, Ints
    from ._external_vcc2026_profiles import Counts, Profiles

ALPHA = 0.05
LEAST_CPM = 5.0  # mean counts per million of the controls, above which a gene is tested
PSEUDO = 1e-9


@dataclass(frozen=True, eq=False)
class Side:
    """Real or predicted cells of the P targets of a panel.

    Attributes
    ----------
    bulk
        (P, G) log-normalised pseudobulk of each target.
    noise
        (P,) sampling variance of each pseudobulk, summed over genes.
    control
        (G,) pseudobulk of the control cells that effects are measured from.
    control_noise
        Its sampling variance.
    fdr
        (P, G) false discovery rate of each gene against these controls; NaN where it is not tested.
    pvalue
        (P, G) p-values of the rank-sum test.
    lfc
        (P, G) log2 fold changes of the mean counts per million.
    """

    bulk: Floats
    noise: Floats
    control: Floats
    control_noise: float
    fdr: Floats
    pvalue: Floats
    lfc: Floats

    @property
    def effects(self) -> Floats:
        """(P, G) differences from the controls."""
        return self.bulk - self.control

    @property
    def tested(self) -> Bools:
        """(P, G) genes that are tested."""
        return np.isfinite(self.fdr)

    @property
    def significant(self) -> Bools:
        """(P, G) genes with a false discovery rate below .05."""
        return self.fdr < ALPHA  # False where NaN


def side_of(
    cells: Counts,
    members: Sequence[Ints],
    controls: Counts,
    control: Ints,
    *,
    known: Profiles | None = None,
) -> Side:
    """Compare populations with control cells.

    Only genes with more than 5 counts per million on average in the controls are tested. False
    discovery rates are those of Benjamini and Hochberg over the genes of one target.

    Parameters
    ----------
    cells
        Counts of perturbed cells.
    members
        Rows of each of the P targets.
    controls, control
        Counts that hold the control cells, and their rows.
    known
        Profile of the controls, if it is known.
    """
    own = profiles_of(cells, members)
    base = profiles_of(controls, [control]) if known is None else known
    pvalue = _rank_sum_tests(cells, members, controls, control)
    tested = np.broadcast_to(base.cpm[0] > LEAST_CPM, pvalue.shape)
    return Side(
        bulk=own.bulk,
        noise=own.noise,
        control=base.bulk[0],
        control_noise=float(base.noise[0]),
        fdr=benjamini_hochberg(pvalue, mask=tested),
        pvalue=pvalue,
        lfc=np.log2((own.cpm + PSEUDO) / (base.cpm + PSEUDO)),
    )


def _rank_sum_tests(
    cells: Counts, members: Sequence[Ints], controls: Counts, control: Ints
) -> Floats:
    """Return (P, G) p-values against the controls, corrected for ties and continuity."""
    same = cells is controls
    own = cells.blocks if same else cells.logged_blocks(controls.bounds)
    group = np.zeros(len(members), dtype=np.int64)
    several = [
        sums_against(Cells(one, tuple(members)), Cells(other, (control,)), group)
        for one, other in zip(own, controls.blocks, strict=True)
    ]
    return np.hstack([sums.standardised(continuity=True).pvalue for sums in several])
