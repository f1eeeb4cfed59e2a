"""Control cells, prepared once and compared with many populations or relabellings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._cells import densify
from ._pairs import (
    BLOCK_BYTES,
    Points,
    add_sums,
    centre_of,
    cross_sums,
    is_sparse,
    prefix_sums,
    squares_of,
    tiles,
    within_sums,
)
from ._permutation import row_dots

if TYPE_CHECKING:
    from .._typing import Floats, Ints, Matrix
    from ._pairs import Link
    from ._permutation import Exchange, Relabelling


def noise(total: Floats, square: Floats, n: Ints | Floats | int) -> Floats:
    """Return T / n, the variance of a mean summed over columns.

    Parameters
    ----------
    total
        Sums of rows (..., d).
    square
        Sums of their squared norms.
    n
        Numbers of rows.
    """
    total, n = np.asarray(total), np.asarray(n, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.maximum(square - np.einsum("...d,...d->...", total, total) / n, 0.0)
        return np.asarray(spread / (n * (n - 1.0)))


def from_means(x: Floats, y: Floats, noise_x: Floats | float, noise_y: Floats | float) -> Floats:
    """Return the squared energy distance from means (..., d) and their noise.

    The noise is 0 for the biased form.
    """
    delta = x - y
    return np.asarray(2.0 * (np.einsum("...d,...d->...", delta, delta) - noise_x - noise_y))


def from_sums(
    cross: Floats,
    x: Floats,
    y: Floats,
    n: Ints | int,
    m: Ints | int,
    *,
    biased: bool,
    at_zero: float,
) -> Floats:
    """Return 2 E h(x,y) - E h(x,x') - E h(y,y') from sums over ordered pairs of different cells.

    `at_zero` is h of a cell with itself, which only the biased form counts.
    """
    n, m = np.asarray(n, dtype=np.float64), np.asarray(m, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        if biased:
            return np.asarray(
                2 * cross / (n * m) - (x + n * at_zero) / n**2 - (y + m * at_zero) / m**2
            )
        return np.asarray(2 * cross / (n * m) - x / (n * (n - 1)) - y / (m * (m - 1)))


class SquaredReference:
    """Control cells for comparisons by squared distance.

    Parameters
    ----------
    control
        (m, d) dense array or CSR matrix.
    biased
        Whether to return V-statistics.
    block_bytes
        Upper size of the working memory.
    """

    def __init__(
        self, control: Matrix, *, biased: bool = False, block_bytes: int = BLOCK_BYTES
    ) -> None:
        self.budget = block_bytes // 4
        self.centre = 0.0 if is_sparse(control) else centre_of(control)  # sparse rows stay sparse
        self.control, self.biased = self._centred(control), biased
        self.square = squares_of(self.control)
        self.total = _sum(self.control)

    def compare(self, values: Matrix, exchange: Exchange | None = None) -> tuple[float, Floats]:
        """Return the distance of `values` to the controls, and (B,) those of relabelled cells."""
        x = self._centred(values)
        square, total = squares_of(x), _sum(x)
        observed = self._distance(total, square.sum(), len(square), self.total, self.square.sum())
        if exchange is None:
            return float(observed), np.empty(0)
        step = max(1, int(self.budget / (8 * len(total))))
        parts = [slice(start, start + step) for start in range(0, len(exchange.swapped), step)]
        return float(observed), np.concatenate(
            [self._relabelled(x, square, total, exchange, part) for part in parts]
        )

    def _relabelled(
        self, x: Matrix, square: Floats, total: Floats, exchange: Exchange, part: slice
    ) -> Floats:
        """Return the distances after some of the exchanges of labels.

        The sums change by the cells that enter, less the cells that leave.
        """
        entering, leaving = exchange.entering[part], exchange.leaving[part]
        moved = densify(entering @ self.control) - densify(leaving @ x)
        moved_square = entering @ self.square - leaving @ square
        return self._distance(
            total + moved,
            square.sum() + moved_square,
            len(square),
            self.total - moved,
            self.square.sum() - moved_square,
        )

    def _distance(self, x: Floats, square_x: Floats, n: int, y: Floats, square_y: Floats) -> Floats:
        m = len(self.square)
        noises = (0.0, 0.0) if self.biased else (noise(x, square_x, n), noise(y, square_y, m))
        return from_means(x / n, y / m, *noises)

    def _centred(self, values: Matrix) -> Matrix:
        return (
            values.astype(np.float64)
            if is_sparse(values)
            else values.astype(np.float64) - self.centre
        )


class PairReference:
    """Control cells for comparisons pair by pair.

    Parameters
    ----------
    control
        (m, d) dense array or CSR matrix.
    link
        Function h of the squared distance, in place.
    at_zero
        h(0).
    biased
        Whether to return V-statistics.
    relabelling
        Relabellings that will be used. The sums over pairs of entering controls are made here, once
        for all perturbations.
    block_bytes
        Upper size of the working memory.
    """

    def __init__(
        self,
        control: Matrix,
        link: Link,
        *,
        at_zero: float = 0.0,
        biased: bool = False,
        relabelling: Relabelling | None = None,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self.link, self.at_zero, self.biased = link, at_zero, biased
        self.budget = block_bytes // 4
        self.centre = centre_of(control)
        self.control = self._points(control, self.centre)
        self.within = within_sums(self.control, link)
        self.entered = np.empty((0, 0))
        if relabelling is not None:
            self.entered = np.array(
                [
                    prefix_sums(self._points(control[order], self.centre), link)
                    for order in relabelling.order
                ]
            )

    def compare(self, values: Matrix, exchange: Exchange | None = None) -> tuple[float, Floats]:
        """Return the distance of `values` to the controls, and (B,) those of relabelled cells."""
        population = self._points(values, centre_of(values))
        other = self._points(values, self.centre)
        if exchange is None:
            within = within_sums(population, self.link)
            of_control, _ = cross_sums(self.control, other, self.link)
            return float(
                self._distance(of_control.sum(), within.sum(), self.within.sum(), population.n)
            ), np.empty(0)
        leaving, entering = exchange.leaving, exchange.entering
        within, left = self._left(population, leaving)
        of_control, of_values, met = self._met(other, exchange)
        rows = np.arange(len(exchange.swapped))
        # The new population is values - leaving + entering. Needed are the sums over its pairs, and
        # over its rows against all cells.
        inside = (
            within.sum() - 2 * (leaving @ within) + left
            + 2 * (entering @ of_control - met)
            + self.entered[rows, exchange.swapped]
        )  # fmt: skip
        row_sums = (
            (within + of_values).sum()
            - leaving @ (within + of_values)
            + entering @ (self.within + of_control)
        )
        total = within.sum() + 2 * of_control.sum() + self.within.sum()
        null = self._distance(
            row_sums - inside, inside, total - 2 * row_sums + inside, population.n
        )
        return float(
            self._distance(of_control.sum(), within.sum(), self.within.sum(), population.n)
        ), null

    def _left(self, population: Points, leaving: Matrix) -> tuple[Floats, Floats]:
        """Return row sums within the population, and sums over pairs of leaving cells.

        The latter are (B,), one for each relabelling.
        """
        sums, left = np.zeros(population.n), np.zeros(leaving.shape[0])
        by_column = leaving.tocsc()
        for rows, columns, tile in tiles(population, population, self.link):
            diagonal = columns.start == rows.start
            add_sums(tile, sums[rows], None if diagonal else sums[columns])
            part = row_dots(by_column[:, columns].tocsr(), by_column[:, rows].tocsr() @ tile)
            left += part if diagonal else 2 * part
        return sums, left

    def _met(self, other: Points, exchange: Exchange) -> tuple[Floats, Floats, Floats]:
        """Return cross sums for controls and for the population, and those of entering x leaving.

        The latter are (B,), one for each relabelling.
        """
        of_control, of_values, met = (
            np.zeros(self.control.n),
            np.zeros(other.n),
            np.zeros(len(exchange.swapped)),
        )
        entering, leaving = exchange.entering.tocsc(), exchange.leaving.tocsc()
        for rows, columns, tile in tiles(self.control, other, self.link):
            add_sums(tile, of_control[rows], of_values[columns])
            met += row_dots(leaving[:, columns].tocsr(), entering[:, rows].tocsr() @ tile)
        return of_control, of_values, met

    def _distance(self, cross: Floats, x: Floats, y: Floats, n: int) -> Floats:
        return from_sums(cross, x, y, n, self.control.n, biased=self.biased, at_zero=self.at_zero)

    def _points(self, values: Matrix, centre: Floats) -> Points:
        return Points(values, centre, block_bytes=self.budget)


def _sum(values: Matrix) -> Floats:
    return np.asarray(values.sum(axis=0)).ravel()
