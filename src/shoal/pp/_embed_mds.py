"""Coordinates of populations: energy distances between them, then metric scaling."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist

from .._logging import progress
from .._settings import settings
from ..metrics._pairs import Points, centre_of, euclidean, group_sums
from ..metrics._pca import principal_axes
from ..metrics._reference import from_sums

if TYPE_CHECKING:
    from .._typing import Floats, Ints

STEPS, TOLERANCE = (
    300,
    1e-6,
)  # of the scaling: most of them, and the change of the stress at which it ends


def root_energies(values: Floats, sizes: Ints) -> Floats:
    """Return the roots of the energy distances of all pairs of populations, (G, G).

    By chance an energy distance may be below 0. Its root is 0.

    Parameters
    ----------
    values
        (n, d) cells, those of the first population first.
    sizes
        (G,) cells of each population, at least 2.
    """
    points = Points(values, centre_of(values), block_bytes=settings.block_bytes // 4)
    sums = group_sums(
        points, sizes, euclidean, watch=partial(progress, desc="pairs of populations")
    )
    own = np.diag(sums)
    found = from_sums(sums, own[:, None], own, sizes[:, None], sizes, biased=False, at_zero=0.0)
    np.fill_diagonal(found, 0.0)
    return np.sqrt(np.maximum(found, 0.0))


def scaled(distances: Floats, n_comps: int) -> Floats:
    """Return (G, k) coordinates by metric scaling (SMACOF), which starts from the classical one.

    Parameters
    ----------
    distances
        (G, G), symmetric.
    n_comps
        Most columns; fewer if the distances span fewer.
    """
    n = len(distances)
    centring = np.eye(n) - 1 / n
    axes, squares = principal_axes(-0.5 * centring @ distances**2 @ centring, n_comps)
    places = axes * np.sqrt(squares)
    stress = np.inf
    for _ in range(STEPS):
        made = between(places)
        before, stress = stress, float(((made - distances) ** 2).sum())
        if not before - stress > TOLERANCE * stress:
            break
        ratio = np.divide(distances, made, out=np.zeros_like(made), where=made > 0)
        places = (ratio.sum(axis=1)[:, None] * places - ratio @ places) / n  # the Guttman transform
    return places


def between(places: Floats) -> Floats:
    """Return the (G, G) Euclidean distances of places."""
    return np.asarray(cdist(places, places))


def to_unit(places: Floats) -> Floats:
    """Move and scale coordinates into [0, 1], with one factor, so distances keep their ratios."""
    places = places - places.min(axis=0)
    return places / places.max()
