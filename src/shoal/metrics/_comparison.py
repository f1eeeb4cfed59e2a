"""What is compared: the real populations of a screen, and those that a contender gives for the same conditions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from scipy import sparse

from ._cells import blocks_of, each_of, sizes_of
from ._coherence import coherence, signed_sqrt
from ._energies import energies
from ._ranksum import RankSums, benjamini_hochberg, log_fold_change, sums_against
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
    z, fdr, lfc
        (P, G) rank-sum statistic, false discovery rate over the genes that count, and log2 fold change of the means.
    """

    z: Floats
    fdr: Floats
    lfc: Floats


@dataclass(frozen=True, eq=False)
class Truth:
    """The real cells of P conditions, and all that predictions of them are measured with.

    Attributes
    ----------
    names
        Names of the conditions.
    owner
        (P,) perturbation of each: the unit of replication.
    group
        (P,) context of each, an index into `controls`. Conditions are told apart within a context.
    cells
        (n_p, G) real cells of each condition, dense or CSR, log-normalised or signed; matrices, or `Cells`.
    controls
        (m, G) real control cells of each context.
    reference
        (P, G) mean of the perturbed, estimated without the cells of the condition.
    mask
        (P, G) genes that count; the targets of the perturbation do not.
    axes
        (G, k) principal axes, of other cells than these.
    bandwidth
        Width of the kernel of the MMD; NaN for presets of other packages, which have their own.
    parts
        Means (P, G) of the two parts of a combination, NaN where a condition is none or a part was not measured.
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
    def control(self) -> Floats:
        """(P, G) mean of the controls of each condition."""
        return means_of(self.controls)[self.group]

    @cached_property
    def low_controls(self) -> list[Floats]:
        """Control cells of each context, in components."""
        return [project(cells, self.axes) for cells in self.controls]

    @cached_property
    def weights(self) -> Floats:
        """(P, G) weights of genes, by the square of how far a perturbation differs from all others of its context."""
        counts = sizes_of(self.cells)
        squares = np.stack([_squares(c) for c in self.cells])
        t = welch_t(counts[:, None] * self.real.means, squares, counts=counts, group=self.group)
        return gene_weights(np.nan_to_num(t), mask=self.mask & np.isfinite(t))


@dataclass(frozen=True, eq=False)
class Populations:
    """Cells that stand for the conditions of a truth: predicted ones, real ones, or controls.

    Attributes
    ----------
    truth
        What they are compared with.
    cells
        (n_p, G) cells of each condition.
    exact
        (P, G) means, where they are known better than from these cells.
    controls
        (m, G) cells that were predicted for the controls of each context. Nothing but presets of other packages, some of
        which measure predicted effects from them, looks at these.
    paths
        The cells that `cells` start from, and what truly became of these, row by row; or why that is not known.
    """

    truth: Truth
    cells: Sequence[Matrix]
    exact: Floats | None = None
    controls: Sequence[Matrix] | None = None
    paths: Paths | str = "it is not known which cell each of these starts from"

    @property
    def own_controls(self) -> Sequence[Matrix]:
        """Predicted control cells of each context, or the real ones."""
        return self.truth.controls if self.controls is None else self.controls

    @cached_property
    def own_control(self) -> Floats:
        """(P, G) mean of the own controls of each condition."""
        return (
            self.truth.control
            if self.controls is None
            else means_of(self.controls)[self.truth.group]
        )

    @cached_property
    def means(self) -> Floats:
        """(P, G) means."""
        return means_of(self.cells) if self.exact is None else self.exact

    @cached_property
    def low(self) -> list[Floats]:
        """Cells in components."""
        return [project(cells, self.truth.axes) for cells in self.cells]

    @cached_property
    def rank_sums(self) -> RankSums:
        """Rank sums of every gene against the real controls."""
        return sums_against(self.cells, self.truth.controls, self.truth.group)

    @cached_property
    def genes(self) -> Genes:
        """Differential expression against the real controls."""
        truth, found = self.truth, self.rank_sums.standardised()
        fdr = benjamini_hochberg(found.pvalue, mask=truth.mask)
        lfc = log_fold_change(np.maximum(self.means, 0), np.maximum(truth.control, 0))
        return Genes(z=found.z, fdr=np.where(np.isfinite(fdr), fdr, 1.0), lfc=lfc)

    @cached_property
    def magnitude(self) -> Floats:
        """(P,) unbiased energy distance from the controls, in components; NaN for single cells."""
        return energies(self.low, self.truth.low_controls, self.truth.group)

    @cached_property
    def coherence(self) -> Floats:
        """(P,) coherence r of the response; NaN for single cells."""
        controls = self.truth.low_controls
        return np.array(
            [
                float(signed_sqrt(np.array([coherence(cells, controls[at])]))[0])
                if len(cells) > 1
                else np.nan
                for cells, at in zip(self.low, self.truth.group, strict=True)
            ]
        )


def mean_of(cells: Matrix) -> Floats:
    """Return the mean cell, in double precision."""
    return _sum(cells) / cells.shape[0]


def means_of(several: Sequence[Matrix]) -> Floats:
    """Return the mean cell of every population, in double precision."""
    return np.stack(
        [sum(map(_sum, blocks_of(cells))) / len(cells[1]) for cells in each_of(several)]
    )


def len_of(cells: Matrix) -> int:
    """Return the number of cells."""
    return int(cells.shape[0])


def project(cells: Matrix, axes: Floats) -> Floats:
    """Return cells in components."""
    return np.asarray(cells @ axes, dtype=np.float64)


def _squares(cells: Matrix) -> Floats:
    """Return the sum of squares of every gene."""
    exact = cells.astype(np.float64)
    return _sum(exact.multiply(exact) if sparse.issparse(exact) else np.square(exact))


def _sum(cells: Matrix) -> Floats:
    """Return the sum of the cells, in double precision, which scipy's own sum of single precision is not."""
    if sparse.issparse(cells):
        return np.asarray(np.ones(cells.shape[0]) @ cells, dtype=np.float64)
    return np.asarray(np.sum(cells, axis=0, dtype=np.float64))
