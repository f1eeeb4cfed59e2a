"""The default suite of metrics, part two: those computed from cells (genes, populations, hits)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._de import de_auprc, de_count_error, de_recall, de_wrong
from ._de_effects import de_direction, de_lfc_spearman, de_overlap
from ._distance import energy_distance
from ._errors import cell_error
from ._hits import hits_recall_budget, hits_recall_fdr, strongest
from ._marginals import variance_ratio, wasserstein_per_gene, zero_fraction_error
from ._mmd import mmd
from ._registry import CELL_EVAL, FEW, Metric, Scored, each, one, rows
from ._shape import bimodality_error, correlation_error
from ._transport import sinkhorn, sliced_wasserstein

if TYPE_CHECKING:
    from ._comparison import Populations, Truth

TOP = 50  # number of genes k in the overlap at k
HITS = 0.2  # share of the perturbations that are hits, and budget for a follow-up
NO_GENE = "no gene of the real cells is significant"


def _genes_of(truth: Truth, predicted: Populations, i: int) -> float:
    keep = truth.mask[i]
    return float(wasserstein_per_gene(predicted.cells[i][:, keep], truth.cells[i][:, keep]).mean())


def _sinkhorn(truth: Truth, predicted: Populations) -> Scored:
    """Sinkhorn divergence. POT is imported first, so that its absence is one reason."""
    from .._compat import require

    require("ot", extra="ot")
    return each(lambda t, g, i: sinkhorn(g.low[i], t.real.low[i]))(truth, predicted)


def _cell_error(truth: Truth, predicted: Populations) -> Scored:
    """Error of single cells, if it is known what became of the cells that they start from."""
    if isinstance(predicted.paths, str):
        raise ValueError(predicted.paths)
    before, became = predicted.paths
    return Scored(cell_error(predicted.cells, became, start=before))


CELLS = (
    Metric(
        "de_auprc",
        "genes",
        "higher",
        1.0,
        rows(lambda t, g: de_auprc(np.abs(g.genes.z), t.real.genes.fdr, mask=t.mask)),
        "genes",
        NO_GENE,
        CELL_EVAL,
    ),
    Metric(
        "de_overlap_n",
        "genes",
        "higher",
        1.0,
        rows(
            lambda t, g: de_overlap(
                g.genes.lfc,
                t.real.genes.lfc,
                predicted_fdr=g.genes.fdr,
                real_fdr=t.real.genes.fdr,
                mask=t.mask,
            )
        ),
        "genes",
        NO_GENE,
        CELL_EVAL,
    ),
    Metric(
        "de_overlap_k",
        "genes",
        "higher",
        1.0,
        rows(
            lambda t, g: de_overlap(
                g.genes.lfc,
                t.real.genes.lfc,
                predicted_fdr=g.genes.fdr,
                real_fdr=t.real.genes.fdr,
                k=TOP,
                mask=t.mask,
            )
        ),
        "genes",
        NO_GENE,
        CELL_EVAL,
    ),
    Metric(
        "de_lfc_spearman",
        "genes",
        "higher",
        1.0,
        rows(
            lambda t, g: de_lfc_spearman(
                g.genes.lfc, t.real.genes.lfc, real_fdr=t.real.genes.fdr, mask=t.mask
            )
        ),
        "genes",
        NO_GENE,
        CELL_EVAL,
        correlation=True,
    ),
    Metric(
        "de_direction",
        "genes",
        "higher",
        1.0,
        rows(
            lambda t, g: de_direction(
                g.genes.lfc, t.real.genes.lfc, real_fdr=t.real.genes.fdr, mask=t.mask
            )
        ),
        "genes",
        NO_GENE,
        CELL_EVAL,
    ),
    Metric(
        "de_recall",
        "genes",
        "higher",
        1.0,
        rows(lambda t, g: de_recall(g.genes.fdr, t.real.genes.fdr, mask=t.mask)),
        "genes",
        NO_GENE,
        CELL_EVAL,
    ),
    Metric(
        "de_count_error",
        "genes",
        "target",
        0.0,
        rows(lambda t, g: de_count_error(g.genes.fdr, t.real.genes.fdr, mask=t.mask)),
        "genes",
        NO_GENE,
        CELL_EVAL,
    ),
    Metric(
        "de_wrong",
        "genes",
        "lower",
        0.0,
        rows(lambda t, g: de_wrong(g.genes.fdr, t.real.genes.fdr, mask=t.mask)),
        "genes",
        "no gene counts",
        "shoal",
    ),
    Metric(
        "energy",
        "population",
        "lower",
        0.0,
        each(lambda t, g, i: energy_distance(g.low[i], t.real.low[i])),
        "components",
        FEW,
        "Székely & Rizzo 2013",
        masked=False,
    ),
    Metric(
        "mmd",
        "population",
        "lower",
        0.0,
        each(lambda t, g, i: mmd(g.low[i], t.real.low[i], bandwidth=t.bandwidth)),
        "components",
        FEW,
        "Gretton et al. 2012",
        masked=False,
    ),
    Metric(
        "sliced_wasserstein",
        "population",
        "lower",
        0.0,
        each(lambda t, g, i: sliced_wasserstein(g.low[i], t.real.low[i], rng=0)),
        "components",
        FEW,
        "Rabin et al. 2012",
        masked=False,
    ),
    Metric(
        "sinkhorn",
        "population",
        "lower",
        0.0,
        _sinkhorn,
        "components",
        FEW,
        "Feydy et al. 2019",
        masked=False,
    ),
    Metric(
        "wasserstein_gene",
        "population",
        "lower",
        0.0,
        each(_genes_of),
        "cells",
        FEW,
        "Vallender 1974",
    ),
    Metric(
        "variance_ratio",
        "population",
        "target",
        1.0,
        each(lambda t, g, i: variance_ratio(g.cells[i], t.cells[i])),
        "cells",
        "the real cells do not vary",
        "shoal",
        masked=False,
    ),
    Metric(
        "correlation_error",
        "population",
        "lower",
        0.0,
        each(lambda t, g, i: correlation_error(g.low[i], t.real.low[i])),
        "components",
        FEW,
        "Heidari & Montazeri 2026, in components",
        masked=False,
    ),
    Metric(
        "zero_fraction_error",
        "population",
        "lower",
        0.0,
        each(lambda t, g, i: zero_fraction_error(g.cells[i], t.cells[i])),
        "cells",
        FEW,
        "Unlasting 2025",
        masked=False,
    ),
    Metric(
        "bimodality_error",
        "population",
        "lower",
        0.0,
        each(lambda t, g, i: bimodality_error(g.cells[i], t.cells[i])),
        "cells",
        "no gene is expressed in enough cells",
        "shoal",
        masked=False,
    ),
    Metric(
        "hits_recall_budget",
        "hits",
        "higher",
        1.0,
        one(
            lambda t, g: hits_recall_budget(
                g.magnitude, strongest(t.real.magnitude, share=HITS), budget=HITS
            )
        ),
        "components",
        FEW,
        "PerturbHD 2026",
        per="screen",
        masked=False,
    ),
    Metric(
        "hits_recall_fdr",
        "hits",
        "higher",
        1.0,
        one(lambda t, g: hits_recall_fdr(g.magnitude, strongest(t.real.magnitude, share=HITS))),
        "components",
        FEW,
        "PerturbHD 2026",
        per="screen",
        masked=False,
    ),
    Metric(
        "cell_error",
        "error",
        "lower",
        0.0,
        _cell_error,
        "cells",
        "no cell moved",
        "shoal",
        negative="control",
        masked=False,
    ),
)
