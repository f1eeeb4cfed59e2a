"""What a comparison takes: the real populations of a screen and the predicted ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from scipy import sparse

from ._cells import blocks_of, each_of, sizes_of, sum_of
from ._coherence import coherence, signed_sqrt
from ._energies import energies
from ._fdr import benjamini_hochberg
from ._fold_change import log_fold_change
from ._mean_ranks import panel_genes
from ._ranksum import RankSums, sums_against
from ._weighted import gene_weights, welch_t

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Bools, Floats, Ints, Matrix

    Paths: TypeAlias = tuple[Sequence[Matrix], Sequence[Matrix]]


@dataclass(frozen=True)
class Genes:
    """Differential expression of every condition against the real controls of its context.

    Attributes
    ----------
    z
        (P, G) rank-sum statistics.
    fdr
        (P, G) false discovery rates, over the genes that count.
    lfc
        (P, G) log2 fold changes of the means.
    """

    z: Floats
    fdr: Floats
    lfc: Floats


@dataclass(frozen=True, eq=False)
class Truth:
    """The real cells of P conditions, with everything that predictions of them are measured by.

    Attributes
    ----------
    names
        Names of the conditions.
    owner
        (P,) perturbation of each condition. Perturbations are the units of replication.
    group
        (P,) context of each condition, an index into `controls`. Conditions compete within a
        context.
    cells
        (n_p, G) real cells of each condition, dense or CSR, log-normalised or signed: matrices, or
        `Cells`.
    controls
        (m, G) real control cells of each context.
    reference
        (P, G) mean of the perturbed cells, estimated without the cells of the condition.
    mask
        (P, G) genes that count: all but the targets of the perturbation.
    axes
        (G, k) principal axes, fitted to other cells than these.
    bandwidth
        Width of the kernel of the MMD. NaN for external suites, which have their own.
    parts
        Two tables (P, G): the means of the two single perturbations of a combination. NaN where the
        condition is no combination, or a single perturbation was not measured.
    """

    names: tuple[str, ...]
    owner: Ints
    group: Ints
    cells: Sequence[Matrix]
    controls: Sequence[Matrix]
    reference: Floats
    mask: Bools
    axes: Floats
    bandwidth: float
    parts: tuple[Floats, Floats]

    @cached_property
    def real(self) -> Populations:
        """The real cells as populations."""
        return Populations(self, self.cells)

    @cached_property
    def ranked(self) -> Bools:
        """(P, G) genes in which conditions are ranked: no target of any condition of the context.

        A context in which too few genes are left keeps `mask`.
        """
        return panel_genes(self.mask, self.group)

    @cached_property
    def control(self) -> Floats:
        """(P, G) mean of the real controls of each condition."""
        return means_of(self.controls)[self.group]

    @cached_property
    def low_controls(self) -> list[Floats]:
        """Real control cells of each context, in principal components."""
        return [project(cells, self.axes) for cells in self.controls]

    @cached_property
    def weights(self) -> Floats:
        """(P, G) weights of genes: how far a perturbation differs from others of its context."""
        counts = sizes_of(self.cells)
        squares = np.stack([_squares(c) for c in self.cells])
        t = welch_t(counts[:, None] * self.real.means, squares, counts=counts, group=self.group)
        return gene_weights(np.nan_to_num(t), mask=self.mask & np.isfinite(t))


@dataclass(frozen=True, eq=False)
class Populations:
    """The cells that are compared with a truth: predicted cells, real cells, or controls.

    Attributes
    ----------
    truth
        What they are compared with.
    cells
        (n_p, G) cells of each condition.
    exact
        (P, G) means, if they are known more exactly than from these cells.
    controls
        (m, G) predicted control cells of each context. Only external suites use them: some of those
        measure predicted effects from predicted controls.
    paths
        Two sequences of populations, row by row: the cells that each of `cells` started from, and
        what truly became of them. Or the reason why this is not known.
    """

    truth: Truth
    cells: Sequence[Matrix]
    exact: Floats | None = None
    controls: Sequence[Matrix] | None = None
    paths: Paths | str = "it is not known which cell each of these starts from"

    @property
    def effect_controls(self) -> Sequence[Matrix]:
        """Control cells of each context from which external suites measure predicted effects.

        They are the predicted controls, or the real ones if none were predicted.
        """
        return self.truth.controls if self.controls is None else self.controls

    @cached_property
    def effect_control(self) -> Floats:
        """(P, G) mean of `effect_controls` for each condition."""
        return (
            self.truth.control
            if self.controls is None
            else means_of(self.controls)[self.truth.group]
        )

    @cached_property
    def means(self) -> Floats:
        """(P, G) means of the conditions."""
        return means_of(self.cells) if self.exact is None else self.exact

    @cached_property
    def low(self) -> list[Floats]:
        """Cells of each condition, in principal components."""
        return [project(cells, self.truth.axes) for cells in self.cells]

    @cached_property
    def rank_sums(self) -> RankSums:
        """Rank sums of every gene against the real controls."""
        return sums_against(self.cells, self.truth.controls, self.truth.group)

    @cached_property
    def genes(self) -> Genes:
        """Differential expression against the real controls."""
        truth, test = self.truth, self.rank_sums.standardised()
        fdr = benjamini_hochberg(test.pvalue, mask=truth.mask)
        lfc = log_fold_change(np.maximum(self.means, 0), np.maximum(truth.control, 0))
        return Genes(z=test.z, fdr=np.where(np.isfinite(fdr), fdr, 1.0), lfc=lfc)

    @cached_property
    def magnitude(self) -> Floats:
        """(P,) unbiased energy distances from the controls in components; NaN for single cells."""
        return energies(self.low, self.truth.low_controls, self.truth.group)

    @cached_property
    def coherence(self) -> Floats:
        """(P,) coherences r of the responses; NaN for single cells, and of a single component."""
        controls, wide = self.truth.low_controls, self.truth.axes.shape[1] > 1
        return np.array(
            [
                float(signed_sqrt(np.array([coherence(cells, controls[at])]))[0])
                if wide and len(cells) > 1
                else np.nan
                for cells, at in zip(self.low, self.truth.group, strict=True)
            ]
        )


def mean_of(cells: Matrix) -> Floats:
    """Return the mean cell, in double precision."""
    return sum_of(cells) / cells.shape[0]


def means_of(several: Sequence[Matrix]) -> Floats:
    """Return the mean cell of every population, in double precision."""
    return np.stack(
        [sum(map(sum_of, blocks_of(cells))) / len(cells[1]) for cells in each_of(several)]
    )


def len_of(cells: Matrix) -> int:
    """Return the number of cells."""
    return int(cells.shape[0])


def project(cells: Matrix, axes: Floats) -> Floats:
    """Return cells in principal components."""
    return np.asarray(cells @ axes, dtype=np.float64)


def _squares(cells: Matrix) -> Floats:
    """Return the sum of squares of every gene."""
    exact = cells.astype(np.float64)
    return sum_of(exact.multiply(exact) if sparse.issparse(exact) else np.square(exact))
