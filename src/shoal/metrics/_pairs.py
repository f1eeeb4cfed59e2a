"""Sums of a function of the distance over all pairs of rows, one tile at a time.

Neither all pairs nor the whole matrix are ever dense in memory. A tile of squared distances is one
product of matrices, ``[-2x, |x|^2, 1] [y, 1, |y|^2]' = |x - y|^2``. Rows are centred first, which
changes no distance. What cancels in the product is then as large as the spread of the data, and not
as large as their offset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from scipy import sparse

from ._cells import densify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .._typing import Floats, Ints, Matrix

    Link: TypeAlias = Callable[[Floats], Floats]
    Tile: TypeAlias = tuple[slice, slice, Floats]

BLOCK_BYTES = 32 * 2**20
# elements of one tile, which stays in the cache for the product, the link and the sums
TILE = 2**17
# squared norms are reduced by this share: equal rows then fall below 0, not just above it
ROUNDING = 1e-14


def euclidean(square: Floats) -> Floats:
    """Turn squared distances into distances, in place. Rounding below 0 becomes 0."""
    np.maximum(square, 0.0, out=square)
    return np.sqrt(square, out=square)


def gaussian(widths: Sequence[float]) -> Link:
    """Return the function d^2 -> -mean over widths w of exp(-d^2 / 2 w^2)."""

    def link(square: Floats) -> Floats:
        np.maximum(square, 0.0, out=square)
        total = np.zeros_like(square)
        for width in widths:
            total -= np.exp(square * (-0.5 / width**2))
        total /= len(widths)
        return total

    return link


def is_sparse(values: object) -> bool:
    """Return whether this is a matrix or array of scipy.sparse."""
    return bool(sparse.issparse(values))


def squares_of(values: Matrix) -> Floats:
    """Return the squared norm of each row."""
    if is_sparse(values):
        return np.asarray(values.multiply(values).sum(axis=1), dtype=np.float64).ravel()
    return np.asarray(np.einsum("ij,ij->i", values, values))


def centre_of(values: Matrix) -> Floats:
    """Return the mean row, as a dense array."""
    return np.asarray(values.mean(axis=0), dtype=np.float64).ravel()


class Points:
    """Rows (dense or CSR), read as dense centred panels ``[-2x, |x|^2, 1]`` of bounded size.

    Parameters
    ----------
    values
        (n, d) dense array or CSR matrix.
    centre
        (d,) row that is subtracted from all rows. Points that are compared must share it.
    block_bytes
        Upper size of one panel. A matrix that fits into one panel is kept; larger ones are read
        again in each pass.
    """

    def __init__(self, values: Matrix, centre: Floats, *, block_bytes: int = BLOCK_BYTES) -> None:
        self.values, self.centre = values, centre
        self.n, d = values.shape
        self.step = max(1, int(block_bytes / (8 * (d + 2))))
        self._kept: Floats | None = None

    def panels(self) -> Iterator[tuple[slice, Floats]]:
        """Yield (rows, (n_rows, d + 2) panel)."""
        if self.n <= self.step:
            if self._kept is None:
                self._kept = self._panel(self.values)
            yield slice(0, self.n), self._kept
            return
        for start in range(0, self.n, self.step):
            rows = slice(start, min(start + self.step, self.n))
            yield rows, self._panel(self.values[rows])

    def _panel(self, block: Matrix) -> Floats:
        x = densify(block).astype(np.float64, copy=False) - self.centre
        square = np.einsum("ij,ij->i", x, x) * (1.0 - ROUNDING)
        return np.column_stack([-2.0 * x, square, np.ones(len(x))])


def tiles(x: Points, y: Points, link: Link) -> Iterator[Tile]:
    """Yield (rows of x, rows of y, link of the squared distances).

    A tile is overwritten by the next one. With ``x is y`` only tiles on and above the diagonal are
    yielded, with 0 on the diagonal itself.
    """
    buffer = np.empty(TILE)
    for rows, left in x.panels():
        for columns, panel in y.panels():
            if x is y and columns.stop <= rows.start:
                continue
            right = np.column_stack([panel[:, :-2] * -0.5, panel[:, -1], panel[:, -2]]).T
            width = int(TILE**0.5) if x is y else min(right.shape[1], 1024)
            height = TILE // width if x is not y else width
            for i in range(0, len(left), height):
                for j in range(0, right.shape[1], width):
                    at = _shifted(rows, i, height), _shifted(columns, j, width)
                    if x is y and at[1].start < at[0].start:
                        continue
                    a, b = left[i : i + height], right[:, j : j + width]
                    out = buffer[: len(a) * b.shape[1]].reshape(len(a), b.shape[1])
                    tile = link(np.matmul(a, b, out=out))
                    if x is y and at[0].start == at[1].start:
                        np.fill_diagonal(tile, 0.0)
                    yield *at, tile


def _shifted(within: slice, start: int, length: int) -> slice:
    return slice(within.start + start, min(within.start + start + length, within.stop))


def cross_sums(x: Points, y: Points, link: Link) -> tuple[Floats, Floats]:
    """Return the sum over all rows of y for each row of x, and the reverse."""
    of_x, of_y = np.zeros(x.n), np.zeros(y.n)
    for rows, columns, tile in tiles(x, y, link):
        add_sums(tile, of_x[rows], of_y[columns])
    return of_x, of_y


def within_sums(x: Points, link: Link) -> Floats:
    """Return, for each row of x, the sum over all other rows."""
    total = np.zeros(x.n)
    for rows, columns, tile in tiles(x, x, link):
        add_sums(tile, total[rows], None if columns.start == rows.start else total[columns])
    return total


def add_sums(tile: Floats, to_rows: Floats, to_columns: Floats | None) -> None:
    """Add the row and column sums of a tile to views of running totals."""
    to_rows += tile @ np.ones(tile.shape[1])  # a product is faster than a sum along the axis
    if to_columns is not None:
        to_columns += np.ones(len(tile)) @ tile


def prefix_sums(x: Points, link: Link) -> Floats:
    """Return (n + 1,): the sum over ordered pairs among the first k rows, for k = 0..n."""
    earlier = np.zeros(x.n + 1)
    for rows, columns, tile in tiles(x, x, link):
        upper = np.triu(tile) if columns.start == rows.start else tile
        earlier[columns.start + 1 : columns.stop + 1] += upper.sum(axis=0)
    return 2.0 * np.cumsum(earlier)


def group_sums(
    x: Points,
    sizes: Ints,
    link: Link,
    *,
    watch: Callable[[Iterator[Tile]], Iterable[Tile]] | None = None,
) -> Floats:
    """Return (G, G) sums over ordered pairs of different rows, for rows sorted by group.

    Parameters
    ----------
    x
        Rows, those of the first group first.
    sizes
        (G,) numbers of rows of the groups, each at least 1.
    link
        Function of the squared distance.
    watch
        Function that the tiles pass through, such as a progress bar.
    """
    code = np.repeat(np.arange(len(sizes)), sizes)
    total = np.zeros((len(sizes), len(sizes)))
    parts = tiles(x, x, link)
    for rows, columns, tile in parts if watch is None else watch(parts):
        (a, first), (b, second) = (
            np.unique(code[where], return_index=True) for where in (rows, columns)
        )
        part = np.add.reduceat(np.add.reduceat(tile, first, axis=0), second, axis=1)
        total[np.ix_(a, b)] += part
        if columns.start != rows.start:
            total[np.ix_(b, a)] += part.T
    return total
