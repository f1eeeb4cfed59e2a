"""What becomes of predicted cells in the hands of who takes them for cells; shared by benchmark scripts.

Genes that a test calls, library sizes, correlations between genes, and the spread of the cell cycle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shoal.metrics._fdr import benjamini_hochberg
from shoal.metrics._ranksum import sums_against

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shoal._typing import Bools, Floats, Ints

AS_CELLS = {
    "called": "genes that a rank-sum test calls (two-sided, false discovery rate below .05 within a condition) between predicted"
    " cells and the controls of their context, mean over conditions; the floor says what as many real cells give",
    "called_true": "those of them that are called, with the same sign, in the second half of the real cells",
    "called_false": "those that are not",
    "library_sd": "SD over cells of the log of the library size after normalisation",
    "correlation": "mean |r| between the most variable genes of training cells, in predicted cells; of few cells it is mostly"
    " noise, so compare with the row of the floor",
    "correlation_real": "the same in the second half of the real cells; larger than the floor where genes are off in all cells of"
    " one half, because the genes that vary in this half are those that count",
    "correlation_alike": "Pearson correlation between these correlations, predicted and real",
    "cycle_sd": "SD over cells of the score of the cell cycle (mean over a set of genes, less the mean over all genes), mean over"
    " the sets of G2M and E2F genes that have 5 genes in the panel",
    "cycle_sd_real": "the same in the second half of the real cells",
}
ALPHA = 0.05
LEAST_GENES = 5  # of a gene set; smaller ones give no score
CYCLE = ("HALLMARK_G2M_CHECKPOINT", "HALLMARK_E2F_TARGETS")


def called(cells: Sequence[Floats], controls: Sequence[Floats], group: Ints) -> Ints:
    """Return (P, G) signs of the genes that a rank-sum test calls in each population, 0 where it calls none.

    Parameters
    ----------
    cells
        P populations of cells, (n_p, G).
    controls
        Controls of every context, (m, G).
    group
        (P,) context of each population.
    """
    test = sums_against(cells, controls, group).standardised()
    found = benjamini_hochberg(test.pvalue) < ALPHA
    return np.where(found, np.sign(test.z), 0).astype(np.int8)


def counts_of(predicted: Ints, real: Ints) -> dict[str, float]:
    """Return the mean numbers of genes called, of those called in real cells too, and of the others."""
    true = (predicted != 0) & (predicted == real)
    several, hits = (predicted != 0).sum(axis=1), true.sum(axis=1)
    return {
        "called": float(several.mean()),
        "called_true": float(hits.mean()),
        "called_false": float((several - hits).mean()),
    }


def library_sd(cells: Floats) -> float:
    """Return the SD over log-normalised cells of the log of their library size."""
    total = np.expm1(cells).sum(axis=1)
    return float(np.std(np.log(np.maximum(total, 1.0)), ddof=1))


def correlations(predicted: Floats, real: Floats) -> dict[str, float]:
    """Return the mean absolute correlation between the genes that vary in real cells, predicted and real, and how alike they are."""
    varies = real.std(axis=0) > 0
    if varies.sum() < 3:
        return {}
    pairs = np.triu_indices(int(varies.sum()), k=1)
    of_predicted, of_real = (_correlated(cells[:, varies])[pairs] for cells in (predicted, real))
    alike = np.corrcoef(of_predicted, of_real)[0, 1] if of_predicted.std() > 0 else float("nan")
    return {
        "correlation": float(np.abs(of_predicted).mean()),
        "correlation_real": float(np.abs(of_real).mean()),
        "correlation_alike": float(alike),
    }


def _correlated(cells: Floats) -> Floats:
    """Return the correlations between genes; 0 for a gene that does not vary."""
    z = cells - cells.mean(axis=0)
    size = np.linalg.norm(z, axis=0)
    z /= np.where(size > 1e-9, size, np.inf)
    return z.T @ z


def cycle_sd(cells: Floats, sets: Sequence[Bools]) -> float:
    """Return the SD over cells of the scores of gene sets, mean over sets; NaN without a set."""
    if not sets:
        return float("nan")
    scores = [cells[:, genes].mean(axis=1) - cells.mean(axis=1) for genes in sets]
    return float(np.mean([np.std(score, ddof=1) for score in scores]))


def cycle_sets(genes: Sequence[str], folder: Path) -> list[Bools]:
    """Return which genes are in each set of the cell cycle that has enough of them; none without the file."""
    path = folder / "genesets" / "h.all.v6.2.symbols.gmt"
    if not path.exists():
        return []
    lines = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    sets = [np.isin(np.asarray(genes, dtype=str), line[2:]) for line in lines if line[0] in CYCLE]
    return [inside for inside in sets if inside.sum() >= LEAST_GENES]
