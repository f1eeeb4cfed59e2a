"""The six metrics of the Virtual Cell Challenge 2026, as cell-eval2 0.20 computes them.

All targets of a context are one panel and are scored together. Everything is computed from whole
counts, and effects of prediction and reference alike are measured from the real control cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np

from ._discrimination import discrimination_score

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._typing import Bools, Floats, Ints
    from ._external_vcc2026_sides import Side

SUITE = "vcc2026"
PDS, MSE, FIDELITY, REACH, JACCARD, NMAE = (
    "pds_cosine",
    "expr_mse_unbiased_capped_norm",
    "de_wilcoxon_direction_fidelity_yield_raw",
    "de_wilcoxon_direction_reach_raw",
    "de_wilcoxon_sig_jaccard",
    "de_wilcoxon_lfc_nmae",
)
ERROR, DISTANCE = "expr_mse_unbiased_capped", "expr_distance_unbiased"  # the two parts of MSE
PURITY = 0.9  # share of right signs down to which the list of a prediction is followed
FEWEST_GENES = 10  # significant genes below which the error of fold changes is not defined
ALONE = "the panel has one target, and there is nothing to tell it from"
NO_CALL = "no gene is significant, neither in the prediction nor in the reference"
NO_HIT = "no gene is significant in the reference"
NO_EFFECT = "the reference has no effect that its noise does not explain"
FEW_HITS = f"fewer than {FEWEST_GENES} genes are significant in the reference"


@dataclass(frozen=True)
class Rule:
    """How a metric of the challenge is read.

    Attributes
    ----------
    family
        Family of the metric, as of those of :func:`shoal.tl.evaluate`.
    direction
        Which way is better.
    perfect
        Value of a perfect prediction.
    undefined
        Why a target has no value, where it has none.
    low, high
        Bounds of the scaled value.
    worst
        Worst value of the metric, which a prediction gets that has none; NaN where the lower bound
        says it.
    """

    family: str
    direction: Literal["higher", "lower"]
    perfect: float
    undefined: str
    low: float = -np.inf
    high: float = np.inf
    worst: float = 0.0

    def scaled(self, value: float, baseline: float, replicate: float) -> float:
        """Return (u - b) / (r - b) within the bounds: 0 for the baseline, 1 for the replicate.

        NaN where there is no scale: an end is missing, the replicate is not better than the
        baseline, or the baseline is perfect or better, as with effects below their noise.
        """
        sign = 1 if self.direction == "higher" else -1
        gap, room = sign * (replicate - baseline), sign * (self.perfect - baseline)
        if not (np.isfinite(gap) and gap > 0 and room > 0):
            return float("nan")
        if not np.isfinite(value):
            value = self.worst
        share = (value - baseline) / (replicate - baseline) if np.isfinite(value) else -np.inf
        return float(np.clip(share, self.low, self.high))


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        PDS: Rule("discrimination", "higher", 1, ALONE),
        MSE: Rule("error", "lower", 0, NO_EFFECT, low=0, high=1, worst=np.nan),
        FIDELITY: Rule("genes", "higher", 1, NO_CALL),
        REACH: Rule("genes", "higher", 1, NO_HIT),
        JACCARD: Rule("genes", "higher", 1, ""),
        NMAE: Rule("genes", "lower", 0, FEW_HITS, low=-6, worst=np.nan),
    }
)


def target_values(
    predicted: Side, real: Side, *, target: Ints, names: Ints | None = None
) -> dict[str, Floats]:
    """Return every metric of every target, and the two parts of the mean squared error.

    Parameters
    ----------
    predicted, real
        The two sides of the P targets of a panel.
    target
        (P,) column of the gene of each target; -1 where it is no gene of the data.
    names
        (G,) rank of each gene in the order of names, which breaks ties; the order of the columns by
        default.

    Returns
    -------
    (P,) values by name; NaN where a target has none.
    """
    other = np.ones(real.bulk.shape, dtype=bool)  # all genes but the target's own one
    known = np.flatnonzero(target >= 0)
    other[known, target[known]] = False
    order = np.arange(real.bulk.shape[1]) if names is None else names
    return {
        PDS: discrimination(predicted, real, target),
        ERROR: squared_error(predicted, real, other),
        DISTANCE: squared_distance(real, other),
        FIDELITY: fidelity(predicted, real, other),
        REACH: reach(predicted, real, other, order),
        JACCARD: overlap(predicted, real, other),
        NMAE: fold_change_error(predicted, real, other),
    }


def panel_value(name: str, values: Mapping[str, Floats]) -> float:
    """Return a metric of the whole panel: a ratio of sums for the squared error, else the mean."""
    if name == MSE:
        error, distance = values[ERROR], values[DISTANCE]
        both = np.isfinite(error) & np.isfinite(distance)
        total = distance[both].sum()
        return float(error[both].sum() / total) if total > 0 else float("nan")
    found = values[name][np.isfinite(values[name])]
    return float(found.mean()) if found.size else float("nan")


def discrimination(predicted: Side, real: Side, target: Ints) -> Floats:
    """Return (P,) how early each predicted effect finds its own among all real effects.

    The genes of *all* targets are left out. A prediction could otherwise win by lowering the genes
    of the other targets.

    Raises
    ------
    ValueError
        If no gene is left.
    """
    kept = np.ones(real.bulk.shape[1], dtype=bool)
    kept[target[target >= 0]] = False
    if not kept.any():
        msg = (
            f"all {len(kept)} genes are targets of the panel, which are left out of pds_cosine: "
            "score more genes"
        )
        raise ValueError(msg)
    effects = predicted.effects[:, kept], real.effects[:, kept]
    return discrimination_score(*effects, metric="cosine", scale="unit")


def squared_error(predicted: Side, real: Side, other: Bools) -> Floats:
    """Return (P,) squared errors of the pseudobulk per gene, less the noise of both sides.

    The noise of the prediction counts only up to that of the real cells. And all targets together
    may claim no more noise than the spread of the prediction across targets, so that cells whose
    scatter cancels out earn nothing.
    """
    n_genes = other.sum(axis=1)
    weight = np.divide(1.0, n_genes, out=np.zeros(len(n_genes)), where=n_genes > 0)
    noise = np.minimum(predicted.noise, real.noise)
    claim = float((noise * weight).sum())
    if claim > 0:
        noise = noise * min(1.0, _spread_across(predicted.bulk, other, weight) / claim)
    squares = np.where(other, (predicted.bulk - real.bulk) ** 2, 0.0).sum(axis=1)
    return _per_gene(squares - noise - real.noise, n_genes)


def squared_distance(real: Side, other: Bools) -> Floats:
    """Return (P,) squared sizes of the real effects per gene, less the noise of both groups."""
    squares = np.where(other, real.effects**2, 0.0).sum(axis=1)
    return _per_gene(squares - real.noise - real.control_noise, other.sum(axis=1))


def _per_gene(total: Floats, n_genes: Ints) -> Floats:
    return np.divide(total, n_genes, out=np.full(len(total), np.nan), where=n_genes > 0)


def _spread_across(bulk: Floats, other: Bools, weight: Floats) -> float:
    """Return the weighted sum of squares of a prediction around its mean over targets."""
    weights = np.where(other, weight[:, None], 0.0)
    total, centred = weights.sum(axis=0), bulk - bulk.mean(axis=0)
    several = (other.sum(axis=0) >= 2) & (total > 0)
    weights, centred, total = weights[:, several], centred[:, several], total[several]
    mean = (weights * centred).sum(axis=0) / total
    return float((weights * (centred - mean) ** 2).sum())


def fidelity(predicted: Side, real: Side, other: Bools) -> Floats:
    """Return (P,) genes called with the right sign, of the calls or hits, whichever are more.

    A call is a gene that is significant in the prediction and has a direction in the reference.
    """
    calls = predicted.significant & real.tested & (real.lfc != 0) & other
    right = calls & (np.sign(predicted.lfc) == np.sign(real.lfc))
    of = np.maximum(calls.sum(axis=1), (real.significant & other).sum(axis=1))
    return np.divide(right.sum(axis=1), of, out=np.full(len(of), np.nan), where=of > 0)


def reach(predicted: Side, real: Side, other: Bools, names: Ints) -> Floats:
    """Return (P,) how far the list of a prediction goes with nine signs in ten right.

    The list holds the genes that are significant in the reference, by falling confidence of the
    prediction.
    """
    values = np.full(len(other), np.nan)
    for p, hits in enumerate(real.significant & other):
        if not hits.any():
            continue
        genes = np.flatnonzero(hits & predicted.tested[p])
        fdr, pvalue, lfc = (of[p, genes] for of in (predicted.fdr, predicted.pvalue, predicted.lfc))
        keys = (names[genes], -np.abs(lfc), pvalue, fdr)  # the last one counts first
        genes = genes[np.lexsort(keys)]
        genes = genes[real.lfc[p, genes] != 0]
        right = np.sign(predicted.lfc[p, genes]) == np.sign(real.lfc[p, genes])
        depth = np.arange(1, len(genes) + 1)
        deep = depth[np.cumsum(right) / depth >= PURITY]
        values[p] = (deep[-1] if len(deep) else 0) / hits.sum()
    return values


def overlap(predicted: Side, real: Side, other: Bools) -> Floats:
    """Return (P,) Jaccard indices of the significant genes; 1 if there are none on either side."""
    one, two = predicted.significant & other, real.significant & other
    union = (one | two).sum(axis=1)
    return np.divide((one & two).sum(axis=1), union, out=np.ones(len(union)), where=union > 0)


def fold_change_error(
    predicted: Side, real: Side, other: Bools, *, reference: Side | None = None
) -> Floats:
    """Return (P,) mean absolute errors of log fold changes, over the mean size of the real ones.

    Genes are those that are significant in the reference. One that the prediction does not test
    counts as unchanged.

    Parameters
    ----------
    predicted, real
        Sides whose fold changes are compared.
    other
        (P, G) all genes but the target's own one.
    reference
        Side that says which genes are significant, and how large changes are; `real` by default.
    """
    told = real if reference is None else reference
    hits = told.significant & other
    one, two = (np.where(side.tested, side.lfc, 0.0) for side in (predicted, real))
    error, size = (np.where(hits, of, 0.0).sum(axis=1) for of in (abs(one - two), abs(told.lfc)))
    defined = (hits.sum(axis=1) >= FEWEST_GENES) & (size > 0)
    return np.divide(error, size, out=np.full(len(error), np.nan), where=defined)
