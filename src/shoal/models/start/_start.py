"""Where a prediction starts: what a start strategy offers, and the one of control cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..._typing import Ints
    from ...core._population import Population
    from ...training import Store
    from ..base._requests import PredictionRequest


@dataclass(frozen=True)
class StartingCells:
    """The cells that a network turns into predicted ones.

    Attributes
    ----------
    rows
        (n,) rows of the request that these cells are for.
    values
        (n, n_features) values that the network starts from.
    measured
        (n, n_features) values of the measured cells behind them, before any move between contexts.
    perturbed
        Whether these cells carry the requested perturbation already. The network is then given no
        perturbation: it only changes what else differs between contexts.
    """

    rows: Ints
    values: NDArray[np.float32]
    measured: NDArray[np.float32]
    perturbed: bool


class Start(Protocol):
    """A start strategy: which cells predictions start from, and training sets accordingly."""

    def training_store(self, store: Store) -> Store:
        """Return the store to train from, given the store of the screen's own cells."""

    def elsewhere(
        self, request: PredictionRequest, cells: Population, rng: np.random.Generator
    ) -> StartingCells | None:
        """Return the cells of those rows of a request that do not start at their control cells.

        Parameters
        ----------
        request
            Cells to generate.
        cells
            Population whose codes the request uses.
        rng
            Generator that the starting cells are drawn with.

        Returns
        -------
        Starting cells, or ``None`` where every row starts at its control cell.
        """


@dataclass(frozen=True)
class Controls:
    """Predictions start at control cells."""

    def training_store(self, store: Store) -> Store:
        """Return the store itself: its sources are control cells."""
        return store

    def elsewhere(
        self, request: PredictionRequest, cells: Population, rng: np.random.Generator
    ) -> None:
        """Return ``None``: every row starts at its control cell."""


def at_source(request: PredictionRequest, cells: Population, rows: Ints) -> StartingCells:
    """Return the control cells of some rows of a request as starting cells."""
    values = cells.values(request.source[rows])
    return StartingCells(rows=rows, values=values, measured=values, perturbed=False)


def starts_of(
    start: Start,
    request: PredictionRequest,
    cells: Population,
    rng: np.random.Generator,
    *,
    elsewhere: bool,
) -> list[StartingCells]:
    """Return the starting cells of all rows of a request, those at control cells first.

    Parameters
    ----------
    start, request, cells, rng
        As of `Start.elsewhere`.
    elsewhere
        Whether rows may start anywhere but at their control cells.
    """
    everywhere = np.arange(len(request))
    moved = start.elsewhere(request, cells, rng) if elsewhere else None
    if moved is None:
        return [at_source(request, cells, everywhere)]
    rest = np.setdiff1d(everywhere, moved.rows)
    return [at_source(request, cells, rest), moved] if len(rest) else [moved]
