"""Energy distances of many populations to their controls, over all pairs of cells.

A squared distance is |x|² + |c|² - 2 x.c, and the products x.c take the time. Genes that many
controls express go through one product of dense matrices. Of all other genes, only the values that
are not 0 are read. The work is done in the precision of the data.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ._cells import BLOCK, blocks_of, densify, dtypes_of, each_of
from ._kernels import compiled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._typing import Floats, Ints, Matrix
    from ._cells import Part

DENSE = 0.3  # a dense product is faster if at least this share of the controls express a gene
CONTROLS = 2048  # number of controls that a block of cells is compared with at a time
# populations with up to this many values are made dense once, larger ones in every pass
KEPT = 2**21
LANES = 32  # a block of cells is filled up to a multiple of this many rows
# bytes of a number -> share of the squared norms below which a squared distance is rounding
EQUAL = {
    4: 2e-6,
    8: 1e-13,
}


def energies(
    cells: Sequence[Matrix], controls: Sequence[Matrix], group: Ints, *, biased: bool = False
) -> Floats:
    """Return the energy distance of every population to the controls of its context.

    Parameters
    ----------
    cells
        P populations (n_p, G), dense or CSR, such as `Cells`.
    controls
        Controls (m, G) of each context.
    group
        (P,) context of each population, an index into `controls`.
    biased
        Whether to count each cell with itself (V-statistic), as in
        :func:`shoal.metrics.energy_distance`.

    Returns
    -------
    (P,) distances, float64; NaN for a single cell, if not `biased`. If all cells are of single
    precision, so are the distances of two cells; their means are taken in double precision.
    """
    single = all(
        dtype == np.float32 for several in (cells, controls) for dtype in dtypes_of(several)
    )
    references = [
        _Controls(population, np.float32 if single else np.float64, biased=biased)
        for population in each_of(controls)
    ]
    each = zip(each_of(cells), np.asarray(group).tolist(), strict=True)
    return np.array(
        [references[at].energy(population) for population, at in each], dtype=np.float64
    )


class _Controls:
    """The controls of one context. The genes that many of them express come first."""

    def __init__(self, cells: Part, dtype: type, *, biased: bool) -> None:
        self.biased, n = biased, len(cells[1])
        many = np.sum([_expressed(block) for block in blocks_of(cells)], axis=0) >= DENSE * n
        self.genes, self.n_many = np.argsort(~many, kind="stable"), int(many.sum())
        first, others = np.split(self.genes, [self.n_many])
        self.dense: Floats = np.concatenate(
            [densify(block[:, first]).astype(dtype) for block in blocks_of(cells)]
        )
        # smaller numbers have smaller rounding errors
        self.centre = self.dense.mean(axis=0, dtype=np.float64).astype(dtype)
        self.dense -= self.centre
        rest = [sparse.csr_matrix(block[:, others], dtype=dtype) for block in blocks_of(cells)]
        self.rest = sparse.vstack(rest, format="csr")
        self.squares = _squares(self.dense) + _squares(self.rest)
        self.equal = dtype(EQUAL[np.dtype(dtype).itemsize])
        total = 0.0
        # all later controls: each pair once, but twice the pairs within this block
        for i in range(0, n, BLOCK):
            x, squares = self._read(cells, i)
            total += 2 * self._to_controls(x, squares, first=i) - self._among(
                x, squares, x, squares
            )
        self.within = self._mean(total, n)

    def energy(self, cells: Part) -> float:
        """Return the energy distance of a population."""
        n, across, within = len(cells[1]), 0.0, 0.0
        once = partial(self._read, cells)
        read = cache(once) if n * len(self.genes) <= KEPT else once
        for i in range(0, n, BLOCK):
            across += self._to_controls(*read(i))
            within += self._among(*read(i), *read(i))
            within += 2 * sum(self._among(*read(i), *read(j)) for j in range(i + BLOCK, n, BLOCK))
        return 2 * across / (n * len(self.squares)) - self._mean(within, n) - self.within

    def _mean(self, total: float, n: int) -> float:
        pairs = n**2 if self.biased else n * (n - 1)
        return total / pairs if pairs else float("nan")

    def _among(self, x: Floats, squares: Floats, y: Floats, of_y: Floats) -> float:
        """Return the sum of the distances of some cells to others of the same population."""
        return float(_distances(x @ y.T, squares, of_y, self.equal))

    def _read(self, cells: Part, start: int) -> tuple[Floats, Floats]:
        """Return a block of cells and their squared norms.

        The genes are in the order of the controls, and rows of zeros fill the block up.
        """
        values, rows = cells
        block = densify(values[rows[start : start + BLOCK]]).astype(self.dense.dtype, copy=False)
        x = np.empty((-(-len(block) // LANES) * LANES, len(self.genes)), dtype=block.dtype)
        # the only mode that fills `out` in place
        np.take(block, self.genes, axis=1, out=x[: len(block)], mode="clip")
        x[len(block) :] = 0.0
        x[:, : self.n_many] -= self.centre
        return x, _squares(x[: len(block)])

    def _to_controls(self, x: Floats, squares: Floats, first: int = 0) -> float:
        """Return the sum of the distances of some cells to all controls from the first on."""
        total, rest, panel = 0.0, self.rest, np.ascontiguousarray(x[:, self.n_many :].T)
        for start in range(first, len(self.dense), CONTROLS):
            rows = slice(start, start + CONTROLS)
            products = self.dense[rows] @ x[:, : self.n_many].T
            _add_products(
                rest.data, rest.indices, rest.indptr[start : start + CONTROLS + 1], panel, products
            )
            total += _distances(products, self.squares[rows], squares, self.equal)
        return total


def _expressed(cells: Matrix) -> Ints:
    """Return (G,) numbers of values that are not 0."""
    return np.asarray(
        cells.getnnz(axis=0) if sparse.issparse(cells) else np.count_nonzero(cells, axis=0)
    )


def _squares(values: Matrix) -> Floats:
    """Return the squared norms of rows, in the precision of the rows."""
    if sparse.issparse(values):
        return np.asarray(values.multiply(values).sum(axis=1), dtype=values.dtype).ravel()
    return np.asarray(np.einsum("ij,ij->i", values, values))


def _product_loop(data, indices, indptr, other, out):  # type: ignore[no-untyped-def]
    """Add a CSR matrix times a dense one, eight entries at a time."""
    n = out.shape[1]
    for i in range(len(out)):
        row, k, end = out[i], indptr[i], indptr[i + 1]
        while k + 8 <= end:
            a, b, c, d = data[k], data[k + 1], data[k + 2], data[k + 3]
            e, f, g, h = data[k + 4], data[k + 5], data[k + 6], data[k + 7]
            of_a, of_b, of_c, of_d = (
                other[indices[k]],
                other[indices[k + 1]],
                other[indices[k + 2]],
                other[indices[k + 3]],
            )
            of_e, of_f, of_g, of_h = (
                other[indices[k + 4]],
                other[indices[k + 5]],
                other[indices[k + 6]],
                other[indices[k + 7]],
            )
            for j in range(n):
                first = (a * of_a[j] + b * of_b[j]) + (c * of_c[j] + d * of_d[j])
                row[j] += first + ((e * of_e[j] + f * of_f[j]) + (g * of_g[j] + h * of_h[j]))
            k += 8
        while k < end:
            a, of_a = data[k], other[indices[k]]
            for j in range(n):
                row[j] += a * of_a[j]
            k += 1


def _distance_loop(products, squares, other_squares, equal):  # type: ignore[no-untyped-def]
    """Return the sum of all distances.

    A row is summed in the precision of the data, and the rows in double precision.
    """
    total = 0.0
    for i in range(len(squares)):
        row_total = equal - equal
        for j in range(len(other_squares)):
            size = squares[i] + other_squares[j]
            square = size - (products[i, j] + products[i, j])
            row_total += np.sqrt(square if square > equal * size else equal - equal)
        total += row_total
    return total


_add_products = compiled(_product_loop, fastmath=True)
_distances = compiled(_distance_loop, fastmath=True)
