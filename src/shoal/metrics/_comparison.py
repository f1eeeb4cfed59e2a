"""What is compared: the real populations of a screen, and those that a contender gives for the same conditions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ._coherence import coherence, signed_sqrt
from ._pairs import densify, euclidean
from ._ranksum import benjamini_hochberg, log_fold_change, rank_sum
from ._reference import PairReference
from ._weighted import gene_weights, welch_t

if TYPE_CHECKING:
    from .._typing import Bools, Floats, Ints, Matrix


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
        (n_p, G) real cells of each condition, dense or CSR, log-normalised or signed.
    controls
        (m, G) real control cells of each context.
    reference
        (P, G) mean of the perturbed, estimated without the cells of the condition.
    mask
        (P, G) genes that count; the targets of the perturbation do not.
    axes
        (G, k) principal axes, of other cells than these.
    bandwidth
        Width of the kernel of the MMD.
    parts
        Means (P, G) of the two parts of a combination, NaN where a condition is none or a part was not measured.
    """

    names: tuple[str, ...]
    owner: Ints
    group: Ints
    cells: tuple[Matrix, ...]
    controls: tuple[Matrix, ...]
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
        return np.stack([mean_of(cells) for cells in self.controls])[self.group]

    @cached_property
    def low_controls(self) -> list[Floats]:
        """Control cells of each context, in components."""
        return [project(cells, self.axes) for cells in self.controls]

    @cached_property
    def references(self) -> list[PairReference]:
        """Control cells of each context, ready for energy distances."""
        return [PairReference(cells, euclidean) for cells in self.low_controls]

    @cached_property
    def weights(self) -> Floats:
        """(P, G) weights of genes, by the square of how far a perturbation differs from all others of its context."""
        sums = np.stack([len_of(c) * mean_of(c) for c in self.cells])
        squares = np.stack([_squares(c) for c in self.cells])
        t = welch_t(sums, squares, counts=np.array([len_of(c) for c in self.cells]), group=self.group)
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
    """

    truth: Truth
    cells: tuple[Matrix, ...]
    exact: Floats | None = None
    controls: tuple[Matrix, ...] | None = None

    @property
    def own_controls(self) -> tuple[Matrix, ...]:
        """Predicted control cells of each context, or the real ones."""
        return self.truth.controls if self.controls is None else self.controls

    @cached_property
    def means(self) -> Floats:
        """(P, G) means."""
        return np.stack([mean_of(cells) for cells in self.cells]) if self.exact is None else self.exact

    @cached_property
    def low(self) -> list[Floats]:
        """Cells in components."""
        return [project(cells, self.truth.axes) for cells in self.cells]

    @cached_property
    def genes(self) -> Genes:
        """Differential expression against the real controls."""
        truth = self.truth
        several = [*self.cells, *truth.controls]
        dense = not all(sparse.issparse(cells) for cells in several)
        x = np.concatenate([densify(cells) for cells in several]) if dense else sparse.vstack(several, format="csr")
        n_conditions, sizes = len(self.cells), [len_of(cells) for cells in several]
        part = np.repeat(np.arange(len(several)), sizes)
        is_control = part >= n_conditions
        context = np.concatenate([truth.group, np.arange(len(truth.controls))])[part]
        found = rank_sum(x, np.where(is_control, -1, part), n_conditions, is_control, stratum=context)
        fdr = benjamini_hochberg(found.pvalue, mask=truth.mask)
        lfc = log_fold_change(np.maximum(self.means, 0), np.maximum(truth.control, 0))
        return Genes(z=found.z, fdr=np.where(np.isfinite(fdr), fdr, 1.0), lfc=lfc)

    @cached_property
    def magnitude(self) -> Floats:
        """(P,) unbiased energy distance from the controls, in components; NaN for single cells."""
        references = self.truth.references
        return np.array(
            [
                references[at].compare(cells)[0] if len(cells) > 1 else np.nan
                for cells, at in zip(self.low, self.truth.group, strict=True)
            ]
        )

    @cached_property
    def coherence(self) -> Floats:
        """(P,) coherence r of the response; NaN for single cells."""
        controls = self.truth.low_controls
        return np.array(
            [
                float(signed_sqrt(np.array([coherence(cells, controls[at])]))[0]) if len(cells) > 1 else np.nan
                for cells, at in zip(self.low, self.truth.group, strict=True)
            ]
        )


def mean_of(cells: Matrix) -> Floats:
    """Return the mean cell, in double precision."""
    return np.asarray(cells.mean(axis=0, dtype=np.float64)).ravel()


def len_of(cells: Matrix) -> int:
    """Return the number of cells."""
    return int(cells.shape[0])


def project(cells: Matrix, axes: Floats) -> Floats:
    """Return cells in components."""
    return np.asarray(cells @ axes, dtype=np.float64)


def _squares(cells: Matrix) -> Floats:
    """Return the sum of squares of every gene."""
    square = cells.multiply(cells) if sparse.issparse(cells) else np.square(cells, dtype=np.float64)
    return np.asarray(square.sum(axis=0, dtype=np.float64)).ravel()
