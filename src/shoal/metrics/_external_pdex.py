"""Differential expression as cell-eval has it from pdex, number for number.

It is a Mann-Whitney test with corrections for ties and continuity. Fold changes are of ``expm1`` of
the means without a pseudocount, kept in float32 as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from scipy import sparse

from ._cells import Cells
from ._comparison import means_of
from ._fdr import benjamini_hochberg
from ._ranksum import sums_against

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Floats, Ints, Matrix
    from ._comparison import Populations


ALPHA = np.float32(0.05)


@dataclass(frozen=True)
class Tested:
    """Differential expression of all conditions.

    Attributes
    ----------
    fdr
        (P, G) false discovery rates, float32.
    lfc
        (P, G) log2 fold changes, float32; may be infinite.
    """

    fdr: Floats
    lfc: Floats

    @cached_property
    def strongest(self) -> list[Ints]:
        """The significant genes of each condition by falling absolute fold change.

        Genes of equal fold change come in the order of the genes.
        """
        hits = [np.flatnonzero(row < ALPHA) for row in self.fdr]
        return [
            hit[np.argsort(-np.abs(row[hit]), kind="stable")]
            for row, hit in zip(self.lfc, hits, strict=True)
        ]


_TESTED: WeakKeyDictionary[Populations, Tested] = WeakKeyDictionary()


def tested(predicted: Populations) -> Tested:
    """Return the differential expression of every condition against its controls, computed once."""
    if predicted not in _TESTED:
        _TESTED[predicted] = _pdex(predicted)
    return _TESTED[predicted]


def _pdex(predicted: Populations) -> Tested:
    truth, controls = predicted.truth, predicted.effect_controls
    sums = (
        predicted.rank_sums
        if predicted.controls is None
        else sums_against(predicted.cells, controls, truth.group)
    )
    p = sums.standardised(continuity=True).pvalue
    above = _pdex_means(predicted.cells, predicted.means if predicted.exact is None else None)
    below = _pdex_means(controls, None)[truth.group]
    with np.errstate(divide="ignore", invalid="ignore"):
        lfc = np.log2(above / below)
    lfc[np.isnan(lfc)] = 0.0  # no cell expresses the gene
    return Tested(benjamini_hochberg(p).astype(np.float32), lfc.astype(np.float32))


def _pdex_means(several: Sequence[Matrix], means: Floats | None) -> Floats:
    """Return pdex's means, summed in the precision of the cells.

    Fold changes that are equal in pdex are then equal here.
    """
    # dense `Cells` come in double precision
    if isinstance(several, Cells) and not sparse.issparse(several.values):
        return np.expm1(means_of(several) if means is None else means)
    return np.stack([np.expm1(np.asarray(cells.mean(axis=0)).ravel()) for cells in several])
